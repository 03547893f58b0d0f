"""How often a model puts whole sentences of held-out text in their order.

    python sentence_pairs.py --albert-binary PATH --input heldout.txt.zst [--model nano]

Of 600 paragraphs drawn at random the first sentence and the second, and the first two and the next
two. Pre-training also counts single sentences that were cut in two, which are far easier to order.
`zstd` must be on the path for files that end in .zst.
"""

import argparse
import json
import random
import re
import subprocess
import tempfile
from pathlib import Path

from names import lines_of

PARAGRAPHS = 600
SENTENCES_MIN = 5
CHARACTERS = range(21, 300)
END = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--albert-binary", type=Path, required=True)
    parser.add_argument("--input", type=Path, required=True)
    parser.add_argument("--model", default="nano")
    arguments = parser.parse_args()
    paragraphs = [END.split(line.strip()) for line in lines_of(arguments.input)]
    paragraphs = [p for p in paragraphs if len(p) >= SENTENCES_MIN]
    for count in (1, 2):
        pairs = [[" ".join(p[:count]), " ".join(p[count : 2 * count])] for p in paragraphs]
        pairs = [pair for pair in pairs if all(len(text) in CHARACTERS for text in pair)]
        random.Random(1).shuffle(pairs)
        pairs = pairs[:PARAGRAPHS]
        with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
            file.writelines(json.dumps({"texts": pair}) + "\n" for pair in pairs)
            file.flush()
            command = [arguments.albert_binary, "order", "--model", arguments.model]
            command += ["--input", file.name, "--texts-column", "texts", "--json"]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        right = sum(json.loads(line)["order"] == [0, 1] for line in output.splitlines())
        print(f"{count} and {count} sentences: {right} of {len(pairs)} in order, "
              f"{100 * right / len(pairs):.1f} %")


if __name__ == "__main__":
    main()
