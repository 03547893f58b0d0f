"""Sentences with the names in them marked, found by their capitals: a task on the way to entities.

    python names.py --input wiki_00.txt.zst --output names.conll --dev names_dev.conll

The vocabulary of `nano` is lower-case, so a model cannot see the capitals that the marks were made
of: it learns where names are from the words around them, of which any amount of text tells. Words
within a sentence that begin with a capital are names; the first word of a sentence is one if it is
seldom written small anywhere. `zstd` must be on the path for files that end in .zst.
"""

import argparse
import random
import re
import subprocess
from collections import Counter
from pathlib import Path

WORD = re.compile(r"[A-Za-z][A-Za-z'’-]*|\d[\d,.]*|[^\w\s]", re.UNICODE)
END = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"'])")
WORDS_MIN, WORDS_MAX = 5, 50
DEV_SENTENCES = 800
# A word that is written small in less than this share of its occurrences is a name.
SMALL = 0.1
# Capitals that do not make a name.
NOT_NAMES = {"I", "A", "January", "February", "March", "April", "May", "June", "July", "August",
             "September", "October", "November", "December", "Monday", "Tuesday", "Wednesday",
             "Thursday", "Friday", "Saturday", "Sunday"}


def lines_of(path: Path):
    if path.suffix == ".zst":
        command = ["zstd", "-dc", str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            yield from process.stdout
    else:
        with path.open() as file:
            yield from file


def sentences_of(path: Path):
    for line in lines_of(path):
        for sentence in END.split(line.strip()):
            words = WORD.findall(sentence)
            if WORDS_MIN <= len(words) <= WORDS_MAX and words[-1] in ".!?":
                yield words


def is_capital(word: str) -> bool:
    return word[0].isupper() and word not in NOT_NAMES


def tags(words: list[str], small: Counter, total: Counter) -> list[str]:
    found = [is_capital(word) for word in words]
    first = words[0].lower()
    found[0] = found[0] and small[first] < SMALL * total[first]
    # "Bank of England", "Alexander the Great"
    for at in range(1, len(words) - 1):
        if words[at] in ("of", "the", "de", "von") and found[at - 1] and is_capital(words[at + 1]):
            found[at] = True
    return ["O" if not name else "I-name" if at and found[at - 1] else "B-name"
            for at, name in enumerate(found)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--input", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--sentences", type=int, default=32_000)
    parser.add_argument("--dev", type=Path, required=True, help="800 sentences more")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    sentences = list(sentences_of(arguments.input))
    small, total = Counter(), Counter()
    for words in sentences:
        for word in words[1:]:
            total[word.lower()] += 1
            small[word.lower()] += word[0].islower()
    random.Random(arguments.seed).shuffle(sentences)
    count = arguments.sentences
    for path, some in (
        (arguments.output, sentences[:count]),
        (arguments.dev, sentences[count : count + DEV_SENTENCES]),
    ):
        with path.open("w") as file:
            for words in some:
                for word, tag in zip(words, tags(words, small, total), strict=True):
                    file.write(f"{word}\t{tag}\n")
                file.write("\n")


if __name__ == "__main__":
    main()
