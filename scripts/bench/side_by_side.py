"""Training ALBERT-base in float32, this project and PyTorch in turn on the same machine.

    cargo build --release -p albert --example speed
    python side_by_side.py [--rounds 5] [--shape 8x128]

Needs the packages of ../parity/requirements.txt. Each round runs both programs, each of which
takes the median of several runs; printed are the medians over the rounds and their ratio. Nothing
else should be running.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent

# What PyTorch's best is called: `training-masked` predicts the masked positions only, as we do.
TASKS = {"training": "training-masked"}


def rates(command: list[str]) -> dict[str, float]:
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    records = [json.loads(line) for line in lines if line.startswith("{")]
    return {record["task"]: record["tokens_per_second"] for record in records}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shape", default="8x128")
    arguments = parser.parse_args()
    ours = [str(ROOT / "target/release/examples/speed"), "base", arguments.shape, "5"]
    theirs = [sys.executable, str(HERE / "pytorch_speed.py"), "--shape", arguments.shape]
    theirs += ["--repeats", "5"]
    for name in TASKS.values():
        theirs += ["--task", name]
    rounds = [(rates(ours), rates(theirs)) for _ in range(arguments.rounds)]
    print(f"{'tokens per second':20}{'albert':>10}{'PyTorch':>10}{'ratio':>8}")
    for task, name in TASKS.items():
        mine = statistics.median(a[task] for a, _ in rounds)
        other = statistics.median(b[name] for _, b in rounds)
        print(f"{task:20}{mine:10.0f}{other:10.0f}{mine / other:8.2f}")


if __name__ == "__main__":
    main()
