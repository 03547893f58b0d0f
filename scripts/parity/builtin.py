"""The models in the box, in transformers: the same logits, the same scores.

    python builtin.py --albert-binary PATH --data DATA

DATA has glue/SST-2/dev.tsv, intents/banking77/test.csv and ner/wnut17/emerging.test.annotated. The
models are written out by `albert convert --from NAME`. Their logits (float32 on both sides) are
compared on every text, the accuracies by transformers with those that `albert evaluate` gives, also
in bf16 and int8. Exit code 0: they agree and int8 loses at most half a point; 1: they do not.
"""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from transformers.utils import logging

from check_model import check_model
from compare import relative_error

ERROR_MAX = 1e-4
POINTS_OF_INT8 = 0.5


def sst2(path: Path) -> tuple[list[str], list[str]]:
    rows = [line.split("\t") for line in path.read_text().splitlines()[1:]]
    return [row[0] for row in rows], [["negative", "positive"][int(row[1])] for row in rows]


def banking77(path: Path) -> tuple[list[str], list[str]]:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [row["text"] for row in rows], [row["category"] for row in rows]


def by_transformers(directory: Path, texts: list[str]) -> tuple[np.ndarray, list[str]]:
    """The logits of every text, one at a time, so that there is no padding."""
    tokenizer = AutoTokenizer.from_pretrained(directory)
    model = AutoModelForSequenceClassification.from_pretrained(directory).eval().float()
    with torch.no_grad():
        logits = [model(**tokenizer(text, return_tensors="pt")).logits[0] for text in texts]
    logits = torch.stack(logits).numpy()
    return logits, [model.config.id2label[int(best)] for best in logits.argmax(1)]


def log_probabilities(logits: np.ndarray) -> np.ndarray:
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


def by_albert(binary: Path, model: str, texts: list[str]) -> np.ndarray:
    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory, "texts.jsonl")
        source.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        command = [binary, "classify", "--model", model, "--input", source, "--json"]
        command += ["--precision", "f32"]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    lines = [json.loads(line) for line in output.splitlines()]
    return np.log(np.array([list(line["scores"].values()) for line in lines]))


def evaluate(binary: Path, model: str, task: list, precision: str) -> dict:
    command = [binary, "evaluate", "--model", model, *task, "--precision", precision, "--json"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(output)["metrics"]


def check(binary: Path, name: str, texts: list[str], labels: list[str], task: list) -> bool:
    with tempfile.TemporaryDirectory() as directory:
        command = [binary, "convert", "--from", name, "--to", directory, "--precision", "f32"]
        subprocess.run(command, check=True)
        logits, predicted = by_transformers(Path(directory), texts)
    theirs = float(np.mean([a == b for a, b in zip(predicted, labels, strict=True)]))
    # Of the logits the program prints the probabilities; constants that shift them all are lost.
    error = relative_error(by_albert(binary, name, texts), log_probabilities(logits))
    ours = {p: evaluate(binary, name, task, p)["accuracy"] for p in ("f32", "bf16", "int8")}
    print(f"{name}: {len(texts)} texts, relative error of the log-probabilities {error:.1e}")
    print(f"  accuracy: transformers {100 * theirs:.2f}, albert "
          + ", ".join(f"{p} {100 * value:.2f}" for p, value in ours.items()))
    lost = 100 * (ours["f32"] - ours["int8"])
    return error <= ERROR_MAX and theirs == ours["f32"] and lost <= POINTS_OF_INT8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--albert-binary", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    arguments = parser.parse_args()
    logging.set_verbosity_error()
    binary, data = arguments.albert_binary.absolute(), arguments.data
    film, bank = data / "glue/SST-2/dev.tsv", data / "intents/banking77/test.csv"
    names = data / "ner/wnut17/emerging.test.annotated"
    with tempfile.TemporaryDirectory() as directory:
        command = [binary, "convert", "--from", "nano", "--to", directory, "--precision", "f32"]
        subprocess.run(command, check=True)
        agree = check_model(binary, Path(directory), None)
    task = ["--task", "sst-2", "--data", film]
    agree &= check(binary, "nano-sentiment", *sst2(film), task)
    task = ["--task", "classify", "--data", bank, "--label-column", "category"]
    agree &= check(binary, "nano-intents", *banking77(bank), task)
    f1 = {
        precision: evaluate(binary, "nano-entities", ["--task", "ner", "--data", names], precision)
        for precision in ("f32", "bf16", "int8")
    }
    print("nano-entities: entity F1 " + ", ".join(
        f"{precision} {100 * found['entity_f1']:.2f}" for precision, found in f1.items()
    ))
    sys.exit(0 if agree else 1)


if __name__ == "__main__":
    main()
