"""The tasks of fine-tuning as transformers reads them: files to rows, rows to tokens, tokens to
padded batches, batches to a loss. What the other `finetune_*.py` stand on; a program of its own it
is not.

The rows are read here from the files themselves, and the tokens are those of the tokenizers of
transformers, so that nothing of ours stands on both sides. Windows of questions and the places of
their answers are those of the example `run_qa.py` of transformers, but for the stride, which is
counted as in the original: from the start of one window to the start of the next.
"""

import csv
import json
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch.nn import functional as F

IGNORED = -100


@dataclass
class Unit:
    """What is drawn as a whole: a sequence, or the options of a choice."""

    sequences: list[tuple[list[int], list[int]]]
    target: object
    # Of a question: which it is, and the characters of its context that each token stands for.
    question: int = 0
    offsets: list[tuple[int, int] | None] = field(default_factory=list)

    def tokens(self) -> int:
        return sum(len(ids) for ids, _ in self.sequences)


# Files


def read_glue(path: Path, first: str, second: str | None, label: str) -> list[dict]:
    """Tabs between fields, and quotes that mean nothing."""
    lines = path.read_text(encoding="utf-8-sig").split("\n")
    columns = lines[0].split("\t")
    rows = [dict(zip(columns, line.split("\t"))) for line in lines[1:] if line]
    texts = lambda row: {"text": row[first], "pair": row[second] if second else None}
    return [texts(row) | {"label": row[label]} for row in rows]


def read_conll(path: Path) -> list[dict]:
    sentences, words, tags = [], [], []
    for line in [*path.read_text().split("\n"), ""]:
        if line.strip():
            fields = line.split()
            words.append(fields[0])
            tags.append(fields[-1])
        elif words:
            sentences.append({"words": words, "tags": tags})
            words, tags = [], []
    return sentences


def read_csv(path: Path, text: str, label: str) -> list[dict]:
    with path.open(newline="") as file:
        return [{"text": row[text], "pair": None, "label": row[label]} for row in csv.DictReader(file)]


def read_labels(path: Path) -> list[dict]:
    """JSON lines, each with a text and a list of labels."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [{"text": row["text"], "pair": None, "labels": row["label"]} for row in rows]


def read_race(path: Path) -> list[dict]:
    """`all.txt` of a level: an article on each line."""
    rows = []
    for line in path.read_text().splitlines():
        article = json.loads(line)
        for question, options, answer in zip(
            article["questions"], article["options"], article["answers"]
        ):
            filled = [
                question.replace("_", option) if "_" in question else f"{question} {option}"
                for option in options
            ]
            rows.append({"context": article["article"], "options": filled, "label": "ABCD".index(answer)})
    return rows


def read_squad(path: Path) -> list[dict]:
    rows = []
    for article in json.loads(path.read_text())["data"]:
        for paragraph in article["paragraphs"]:
            for qa in paragraph["qas"]:
                rows.append({
                    "context": paragraph["context"],
                    "question": qa["question"],
                    "answers": [] if qa.get("is_impossible") else qa["answers"],
                })  # fmt: skip
    return rows


# Tokens


def types_of(encoding) -> list[int]:
    return list(encoding["token_type_ids"])


def encode_words(tokenizer, row: dict, ids: dict[str, int], max_length: int) -> list[Unit]:
    """A word has its tag at its first token."""
    encoding = tokenizer(
        row["words"], is_split_into_words=True, truncation=True, max_length=max_length,
        return_token_type_ids=True,
    )  # fmt: skip
    labels, last = [], None
    for word in encoding.word_ids():
        labels.append(ids[row["tags"][word]] if word is not None and word != last else IGNORED)
        last = word
    return [Unit([(encoding["input_ids"], types_of(encoding))], labels)]


def encode_choice(tokenizer, row: dict, max_length: int) -> list[Unit]:
    sequences = []
    for option in row["options"]:
        encoding = tokenizer(
            row["context"], option, truncation="only_first", max_length=max_length,
            return_token_type_ids=True,
        )  # fmt: skip
        sequences.append((encoding["input_ids"], types_of(encoding)))
    return [Unit(sequences, row["label"])]


def encode_question(
    tokenizer, row: dict, number: int, max_length: int, doc_stride: int
) -> list[Unit]:
    """A unit for each window; the target is first and last token of the answer, or the first token
    twice in a window that does not show it."""
    taken = len(tokenizer(row["question"], add_special_tokens=False)["input_ids"]) + 3
    room = max_length - taken
    encoding = tokenizer(
        row["question"], row["context"], truncation="only_second", max_length=max_length,
        stride=max(0, room - doc_stride), return_overflowing_tokens=True,
        return_offsets_mapping=True, return_token_type_ids=True,
    )  # fmt: skip
    units = []
    for window, ids in enumerate(encoding["input_ids"]):
        sides = encoding.sequence_ids(window)
        offsets = [
            offset if side == 1 else None
            for offset, side in zip(encoding["offset_mapping"][window], sides)
        ]
        answer = row["answers"][0] if row["answers"] else None
        target = span_of(answer, offsets) if answer else (0, 0)
        sequence = (ids, encoding["token_type_ids"][window])
        units.append(Unit([sequence], target, number, offsets))
    return units


def span_of(answer: dict, offsets: list[tuple[int, int] | None]) -> tuple[int, int]:
    """As `run_qa.py` finds it."""
    start, end = answer["answer_start"], answer["answer_start"] + len(answer["text"])
    shown = [i for i, offset in enumerate(offsets) if offset is not None]
    first, last = shown[0], shown[-1]
    if offsets[first][0] > start or offsets[last][1] < end:
        return 0, 0
    while first <= shown[-1] and offsets[first][0] <= start:
        first += 1
    while offsets[last][1] >= end:
        last -= 1
    return first - 1, last + 1


def encode(
    tokenizer, kind: str, rows: list[dict], labels: list[str], max_length: int, doc_stride: int = 128
) -> list[Unit]:
    ids = {label: i for i, label in enumerate(labels)}
    units = []
    for number, row in enumerate(rows):
        if kind == "tokens":
            units += encode_words(tokenizer, row, ids, max_length)
        elif kind == "choice":
            units += encode_choice(tokenizer, row, max_length)
        elif kind == "spans":
            units += encode_question(tokenizer, row, number, max_length, doc_stride)
        else:
            encoding = tokenizer(
                row["text"], row["pair"], truncation=True, max_length=max_length,
                return_token_type_ids=True,
            )  # fmt: skip
            target = {
                "label": lambda: ids[row["label"]],
                "labels": lambda: [float(label in row["labels"]) for label in labels],
                "number": lambda: float(row["label"]),
            }[kind]()
            units.append(Unit([(encoding["input_ids"], types_of(encoding))], target))
    return units


# Batches


def collate(kind: str, units: list[Unit], pad: int, multiple: int = 1) -> dict[str, torch.Tensor]:
    """The inputs of transformers, padded to the longest sequence, rounded up to `multiple`."""
    sequences = [sequence for unit in units for sequence in unit.sequences]
    length = max(len(ids) for ids, _ in sequences)
    length = -(-length // multiple) * multiple
    fill = lambda row, value: list(row) + [value] * (length - len(row))
    batch = {
        "input_ids": torch.tensor([fill(ids, pad) for ids, _ in sequences]),
        "token_type_ids": torch.tensor([fill(types, 0) for _, types in sequences]),
        "attention_mask": torch.tensor([fill([1] * len(ids), 0) for ids, _ in sequences]),
    }
    targets = [unit.target for unit in units]
    if kind == "choice":
        options = len(units[0].sequences)
        batch = {key: rows.view(-1, options, length) for key, rows in batch.items()}
    if kind == "tokens":
        batch["labels"] = torch.tensor([fill(target, IGNORED) for target in targets])
    elif kind == "spans":
        batch["start_positions"], batch["end_positions"] = map(torch.tensor, zip(*targets))
    else:
        floats = torch.get_default_dtype() if kind in ("labels", "number") else torch.long
        batch["labels"] = torch.tensor(targets, dtype=floats)
    return batch


def loss_of(model, kind: str, units: list[Unit], pad: int, weights=None) -> torch.Tensor:
    """The mean loss of `units`, as the model of transformers computes it by itself.

    It knows no weights of classes, so with `weights` the loss is that of torch. Of questions it
    lets the padding take part in the softmax over the tokens; so they are given one at a time,
    without padding."""
    if kind == "spans":
        return sum(model(**collate(kind, [unit], pad)).loss for unit in units) / len(units)
    batch = collate(kind, units, pad)
    if weights is None:
        return model(**batch).loss
    labels = batch.pop("labels")
    logits = model(**batch).logits
    return F.cross_entropy(
        logits.flatten(0, -2), labels.flatten(), weight=weights, ignore_index=IGNORED
    )


# Training


def groups_of(model, weight_decay: float) -> list[dict]:
    """As the Trainer of transformers cuts them: no decay for biases and layer norms."""
    norms = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, torch.nn.LayerNorm)
        for parameter in module.parameters()
    }
    plain, decayed = [], []
    for name, parameter in model.named_parameters():
        (plain if "bias" in name or id(parameter) in norms else decayed).append(parameter)
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]


def linear_with_warmup(warmup: int, steps: int):
    """The reference's: the decay runs from step 0, and is overridden during warm-up
    (`optimization.py:36`)."""
    return lambda step: step / warmup if step < warmup else max(0.0, 1.0 - step / steps)
