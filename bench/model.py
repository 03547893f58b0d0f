"""The model that every contender runs, and the token ids it runs on.

A preset gets random weights from a fixed seed. Speed does not depend on them, but agreement does:
biases and the weights of norms are drawn too, because with zeros and ones a peer that left them
out would still agree, and an optimiser could.
"""

import json
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

SEED = 0
SPREAD = 0.02
BATCH = 32
# Ids below are special tokens and punctuation in ALBERT's vocabularies.
FIRST_WORD = 13
TOKENIZER_FILES = ("spiece.model", "tokenizer.json", "tokenizer_config.json")

# Layers, hidden size, heads, feed-forward size, vocabulary: as `albert` knows them.
PRESETS = {
    "nano": (6, 256, 4, 1024, 16_000),
    "base": (12, 768, 12, 3072, 30_000),
    "large": (24, 1024, 16, 4096, 30_000),
    "xlarge": (24, 2048, 16, 8192, 30_000),
    "xxlarge": (12, 4096, 64, 16_384, 30_000),
}


class Batch(NamedTuple):
    """Sequences padded to one length: [sequences][tokens]."""

    ids: list[list[int]]
    # 0 where a token is padding; None where there is none.
    mask: list[list[int]] | None = None

    def rows(self) -> list[list[int]]:
        """The sequences without their padding."""
        if self.mask is None:
            return self.ids
        return [row[: sum(kept)] for row, kept in zip(self.ids, self.mask, strict=True)]


class Set(NamedTuple):
    """Batches that are timed together, under the name of their shape."""

    shape: str
    batches: list[Batch]

    def tokens(self) -> int:
        """The real ones: padding is nobody's work done."""
        return sum(len(row) for batch in self.batches for row in batch.rows())


def make_preset(directory: Path, preset: str) -> None:
    """Writes config.json and model.safetensors, unless they are there."""
    if (directory / "model.safetensors").exists():
        return
    import torch
    from transformers import AlbertConfig, AlbertForPreTraining

    layers, hidden_size, heads, intermediate_size, vocab_size = PRESETS[preset]
    config = AlbertConfig(
        num_hidden_layers=layers,
        hidden_size=hidden_size,
        num_attention_heads=heads,
        intermediate_size=intermediate_size,
        vocab_size=vocab_size,
        hidden_act="gelu_new",
    )
    model = AlbertForPreTraining(config)
    generator = torch.Generator().manual_seed(SEED)
    for name, parameter in model.named_parameters():
        is_norm = "layernorm" in name.lower().replace("_", "") and name.endswith("weight")
        torch.nn.init.normal_(parameter, float(is_norm), SPREAD, generator=generator)
    unfinished = directory.with_name(directory.name + ".unfinished")
    model.save_pretrained(unfinished)
    unfinished.rename(directory)


def has_tokenizer(directory: Path) -> bool:
    return any((directory / name).exists() for name in TOKENIZER_FILES[:2])


def copy_tokenizer(source: Path, directory: Path) -> None:
    """`source` is a tokenizer's file or a directory with one."""
    files = [source] if source.is_file() else [source / name for name in TOKENIZER_FILES]
    found = [file for file in files if file.exists()]
    if not found:
        raise SystemExit(f"error: {source}: no {' or '.join(TOKENIZER_FILES[:2])} there")
    for file in found:
        shutil.copyfile(file, directory / file.name)


def config_of(directory: Path) -> dict[str, Any]:
    return json.loads((directory / "config.json").read_text())


def random_row(generator: random.Random, vocab_size: int, tokens: int) -> list[int]:
    return [generator.randrange(FIRST_WORD, vocab_size) for _ in range(tokens)]


def random_batch(generator: random.Random, vocab_size: int, sequences: int, tokens: int) -> Batch:
    return Batch([random_row(generator, vocab_size, tokens) for _ in range(sequences)])


def fixed_sets(vocab_size: int, shapes: list[str]) -> list[Set]:
    """A set of one batch for each shape, `8x128` being 8 sequences of 128 tokens."""
    generator = random.Random(SEED)
    sizes = [tuple(map(int, shape.split("x"))) for shape in shapes]
    batches = [random_batch(generator, vocab_size, *size) for size in sizes]
    return [Set(shape, [batch]) for shape, batch in zip(shapes, batches, strict=True)]


def padded(rows: list[list[int]], pad: int = 0) -> Batch:
    longest = max(map(len, rows))
    ids = [row + [pad] * (longest - len(row)) for row in rows]
    if all(len(row) == longest for row in rows):
        return Batch(ids)
    return Batch(ids, [[1] * len(row) + [0] * (longest - len(row)) for row in rows])


def mixed_set(albert: list[str], directory: Path, file: Path) -> Set:
    """The lines of a file as the tokenizer of the model cuts them, in batches in their order.

    A tab on the first line says that every line is a pair.
    """
    config = config_of(directory)
    longest, vocab_size = config["max_position_embeddings"], config["vocab_size"]
    with file.open(encoding="utf-8") as lines:
        pair = ["--pair"] if "\t" in lines.readline() else []
    command = albert + ["tokenizer", "encode", "--json", "--model", str(directory)]
    command += ["--input", str(file)] + pair
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"error: {file}: {done.stderr.strip()}")
    rows = [json.loads(line)["ids"] for line in done.stdout.splitlines()]
    for number, row in enumerate(rows, start=1):
        if max(row) >= vocab_size:
            raise SystemExit(
                f"error: {file}: line {number} has id {max(row)}, and the model {vocab_size} words;"
                " give the tokenizer that the model has"
            )
        if len(row) > longest:
            raise SystemExit(
                f"error: {file}: line {number} has {len(row)} tokens, and the model takes"
                f" {longest}; shorten it, so that everyone runs the same tokens"
            )
    if not rows:
        raise SystemExit(f"error: {file} has no lines")
    batches = [padded(rows[start : start + BATCH]) for start in range(0, len(rows), BATCH)]
    return Set("mixed", batches)


def check_sets(vocab_size: int, longest: int) -> list[Set]:
    """What every contender must compute alike: one short sequence, two longer, some padded."""
    generator = random.Random(SEED + 1)
    lengths = {"1x16": [16], "2x40": [40, 40], "padded": [9, 33, 21]}
    sets = []
    for name, tokens in lengths.items():
        rows = [random_row(generator, vocab_size, min(count, longest)) for count in tokens]
        sets.append(Set(name, [padded(rows)]))
    return sets
