"""Compares a tokenizer directory that `Tokenizer::save` wrote, as transformers reads it, with a reference.

    python scripts/tokenizer/verify.py DIR IDS.jsonl

IDS.jsonl is what `albert tokenizer encode --tokenizer T --input TEXT.zst --no-special-tokens --json`
printed. Prints the share of non-empty lines whose ids are equal, and the first few that differ.

Used with transformers 4.57.6 (tokenizers 0.22.2) and 5.23.0 (tokenizers 0.23.3), Python 3.11.
"""

import json
import sys

import transformers
from transformers import AutoTokenizer


def main(directory, ids):
    tokenizer = AutoTokenizer.from_pretrained(directory)
    lines = [json.loads(line) for line in open(ids, encoding="utf-8")]
    lines = [line for line in lines if line["text"]]
    theirs = tokenizer([line["text"] for line in lines], add_special_tokens=False)["input_ids"]
    wrong = [(line, ids) for line, ids in zip(lines, theirs) if line["ids"] != ids]
    print(f"transformers {transformers.__version__}, {type(tokenizer).__name__}: "
          f"{len(lines) - len(wrong)} of {len(lines)} equal ({1 - len(wrong) / len(lines):.4%})")
    for line, ids in wrong[:8]:
        first = next((i for i, (a, b) in enumerate(zip(line["ids"], ids)) if a != b), 0)
        around = slice(max(0, first - 2), first + 5)
        print("  here  ", tokenizer.convert_ids_to_tokens(line["ids"][around]))
        print("  theirs", tokenizer.convert_ids_to_tokens(ids[around]))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
