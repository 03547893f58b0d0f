"""Training ALBERT, this project and PyTorch in turn on the same machine.

    cargo build --release -p albert --example speed
    python side_by_side.py [--rounds 3] [--precision bf16] [--case base:8x128] ...

Needs the packages of ../parity/requirements.txt and a C++ compiler. Each round runs, for each
case, our step, that of `AlbertForPreTraining` compiled by PyTorch, and the same with the
masked-word head at the masked positions only; each takes the median of several steps. Printed are
the medians over the rounds, the ratios, and the share of the processor's peak that we reach.
Nothing else should be running.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CASES = ["base:8x128", "small:64x128"]
REPEATS = "5"


def record(command: list[str]) -> dict:
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return json.loads(next(line for line in lines if line.startswith("{")))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", choices=["f32", "bf16"], default="bf16")
    parser.add_argument("--case", action="append", metavar="MODEL:SHAPE", help=f"default: {CASES}")
    arguments = parser.parse_args()
    precision = arguments.precision
    print(f"{'training, tokens/s':20}{'albert':>8}{'of peak':>9}{'PyTorch':>9}{'ratio':>7}", end="")
    print(f"{'masked only':>13}{'ratio':>7}")
    for case in arguments.case or CASES:
        model, shape = case.split(":")
        ours = [str(ROOT / "target/release/examples/speed"), model, shape, REPEATS, precision]
        theirs = [sys.executable, str(HERE / "pytorch_speed.py"), "--model", model]
        theirs += ["--shape", shape, "--precision", precision, "--repeats", REPEATS]
        commands = [ours, theirs, [*theirs, "--masked-only"]]
        rounds = [[record(command) for command in commands] for _ in range(arguments.rounds)]
        mine, whole, masked = (
            statistics.median(row[i]["tokens_per_second"] for row in rounds) for i in range(3)
        )
        share = statistics.median(row[0]["peak_share"] for row in rounds)
        print(f"{case + ' ' + precision:20}{mine:8.0f}{share:8.0%} {whole:9.0f}", end="")
        print(f"{mine / whole:7.2f}{masked:13.0f}{mine / masked:7.2f}", flush=True)


if __name__ == "__main__":
    main()
