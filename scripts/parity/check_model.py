"""Compares the program with transformers on a model or tokenizer directory.

    python check_model.py --albert-binary PATH --model DIR [--input FILE.jsonl]
    python check_model.py --albert-binary PATH --tokenizer DIR --input FILE.txt [--slow]

Exit code 0: they agree; 1: they do not. Works with transformers 4 and 5.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file
from transformers import (
    AlbertForPreTraining,
    AutoConfig,
    AutoTokenizer,
    BertForPreTraining,
    PreTrainedModel,
)
from transformers.utils import logging

from compare import relative_error
from make_fixtures import as_array, forward

ERROR_MAX = 1e-4
DIFFERENCES_SHOWN = 5


def load_model(directory: Path) -> PreTrainedModel:
    """The model in float64, having used every tensor of the file and found every one it needs."""
    types = {"albert": AlbertForPreTraining, "bert": BertForPreTraining}
    model_type = AutoConfig.from_pretrained(directory).model_type
    if model_type not in types:
        sys.exit(f"{directory / 'config.json'}: model_type {model_type!r} is none of {[*types]}")
    model, info = types[model_type].from_pretrained(directory, output_loading_info=True)
    for key in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if info[key]:
            sys.exit(f"{directory}: {key}: {sorted(map(str, info[key]))}")
    return model.eval().double()


def draw_inputs(config) -> list[dict]:
    """Sequences of one token, of every position, and of lengths between."""
    rng = np.random.default_rng(0)
    positions = config.max_position_embeddings
    lengths = sorted({1, 2, *rng.integers(3, min(positions, 128) + 1, 6).tolist(), positions})
    sequences = []
    for length in lengths:
        ids = rng.integers(1, config.vocab_size, length)
        types = np.arange(length) * 2 // (length + 1)
        sequences.append({"input_ids": ids.tolist(), "token_type_ids": types.tolist()})
    return sequences


def run_forward(binary: Path, model: Path, sequences: list[dict]) -> dict[str, np.ndarray]:
    with tempfile.TemporaryDirectory() as directory:
        source, target = Path(directory, "input.jsonl"), Path(directory, "output.safetensors")
        source.write_text("".join(json.dumps(sequence) + "\n" for sequence in sequences))
        command = [binary, "forward", "--model", model, "--input", source, "--output", target]
        subprocess.run(command, check=True)
        return load_file(target)


def check_model(binary: Path, directory: Path, source: Path | None) -> bool:
    model = load_model(directory)
    sequences = draw_inputs(model.config)
    if source is not None:
        sequences = [json.loads(line) for line in source.read_text().splitlines() if line]
    got = run_forward(binary, directory, sequences)
    agrees = True
    print(f"{'tensor':24} {'shape':>16} {'relative error':>14}")
    for i, sequence in enumerate(sequences):
        with torch.no_grad():
            wanted = forward(model, {key: torch.tensor([ids]) for key, ids in sequence.items()})
        for kind, tensor in wanted.items():
            want = as_array(tensor[0])
            error = relative_error(got.pop(f"{kind}.{i}", np.array(np.nan)), want)
            agrees &= error <= ERROR_MAX
            verdict = "" if error <= ERROR_MAX else "  FAILED"
            print(f"{kind + '.' + str(i):24} {want.shape!s:>16} {error:14.1e}{verdict}")
    for name in got:
        print(f"{name}: not expected")
    return agrees and not got


def read_lines(path: Path) -> list[str]:
    """Lines end at line feeds only, not at the other line ends of Unicode."""
    lines = path.read_bytes().decode().split("\n")
    return [line.removesuffix("\r") for line in lines]


def run_encode(binary: Path, directory: Path, source: Path) -> list[dict]:
    command = [binary, "tokenizer", "encode", "--tokenizer", directory, "--input", source, "--json"]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.decode()
    return [json.loads(line) for line in output.split("\n") if line]


def check_tokenizer(arguments: argparse.Namespace) -> bool:
    """Equal ids on every line that is not blank."""
    directory, source = arguments.tokenizer, arguments.input
    tokenizer = AutoTokenizer.from_pretrained(directory, use_fast=not arguments.slow)
    print(f"{type(tokenizer).__name__}, {'fast' if tokenizer.is_fast else 'slow'}")
    lines = [line for line in read_lines(source) if line.strip()]
    encoded = run_encode(arguments.albert_binary, directory, source)
    encoded = [record for record in encoded if record["text"].strip()]
    if [record["text"] for record in encoded] != lines:
        print(f"{len(encoded)} texts came back for {len(lines)} lines of {source}, or others")
        return False
    equal, shown = 0, 0
    for record in encoded:
        special = not arguments.no_special_tokens
        ids = tokenizer.encode(record["text"], add_special_tokens=special)
        equal += ids == record["ids"]
        if ids != record["ids"] and shown < DIFFERENCES_SHOWN:
            shown += 1
            print(f"text:         {record['text'][:200]}")
            print(f"transformers: {difference(tokenizer, ids, record['ids'])}")
            print(f"albert:       {difference(tokenizer, record['ids'], ids)}")
    print(f"{equal} of {len(lines)} lines have equal ids ({equal / max(len(lines), 1):.4f})")
    return equal == len(lines) and equal > 0


def difference(tokenizer, ids: list[int], other: list[int]) -> list[str]:
    """The tokens from just before the first one that differs."""
    shorter = min(len(ids), len(other))
    same = next((i for i in range(shorter) if ids[i] != other[i]), shorter)
    return tokenizer.convert_ids_to_tokens(ids[max(same - 2, 0) : same + 10])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--albert-binary", type=Path, required=True)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--model", type=Path, help="compare the outputs of this model")
    what.add_argument("--tokenizer", type=Path, help="compare the ids of this tokenizer")
    parser.add_argument(
        "--input",
        type=Path,
        help="with --model JSON lines (drawn when absent), with --tokenizer text",
    )
    parser.add_argument("--slow", action="store_true", help="the slow tokenizer of transformers 4")
    parser.add_argument("--no-special-tokens", action="store_true", help="the program adds none")
    arguments = parser.parse_args()
    logging.disable_progress_bar()
    if arguments.model is not None:
        agrees = check_model(arguments.albert_binary, arguments.model, arguments.input)
    elif arguments.input is None:
        parser.error("--tokenizer needs --input")
    else:
        agrees = check_tokenizer(arguments)
    print("agree" if agrees else "DISAGREE")
    sys.exit(0 if agrees else 1)


if __name__ == "__main__":
    main()
