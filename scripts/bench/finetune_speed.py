"""Fine-tuning ALBERT on the real lengths of SST-2 and MRPC, this project and PyTorch in turn.

    cargo build --release -p albert-cli
    python finetune_speed.py --data DATA --record speed.jsonl [--rounds 3] [--task sst-2]
                             [--contender pytorch:static-16:bf16] [--examples 1600]

DATA has glue/SST-2, glue/MRPC and albert/spiece.model. ALBERT-base with random weights, batches of
32 examples, AdamW, clipping, as many threads on both sides. A sample of the training file is seen
twice, and the second time counted: the same examples on both sides, and the same number of real
tokens, which is checked. `pytorch_finetune.py` says what PyTorch runs; of its variants the fastest is
what the ratio is to. Evaluations, checkpoints and reading the files count on neither side.

Every run adds a JSON line to the record, and the table is printed at the end. Nothing else should be
running: the share of the cores that others took is in each line, and above 5 % there is a warning.
Needs the packages of ../parity/requirements.txt and a C++ compiler.
"""

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path

import torch
import transformers
from transformers import AlbertConfig, AlbertModel

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(ROOT / "bench"), str(HERE)]
from machine import OTHERS_MAX, Others, processor  # noqa: E402
from pytorch_speed import SIZES  # noqa: E402

TASKS = {"sst-2": "SST-2", "mrpc": "MRPC"}
CONTENDERS = [
    "albert:bf16",
    "pytorch:dynamic-1:bf16",
    "pytorch:dynamic-8:bf16",
    "pytorch:dynamic-16:bf16",
    "pytorch:static-16:bf16",
]
LOG_STEPS = 5


def make_model(size: str, albert: Path, spiece: Path, out: Path) -> Path:
    """Random weights; the tokenizer is written by the program, so that both sides read the same."""
    hidden, intermediate, heads, layers = SIZES[size]
    config = AlbertConfig(
        hidden_size=hidden, intermediate_size=intermediate, num_attention_heads=heads,
        num_hidden_layers=layers, vocab_size=30_000, embedding_size=128, hidden_act="gelu_new",
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, classifier_dropout_prob=0.1,
    )  # fmt: skip
    torch.manual_seed(0)
    AlbertModel(config).save_pretrained(out / "made")
    (out / "made/spiece.model").write_bytes(spiece.read_bytes())
    command = [albert, "convert", "--from", out / "made", "--to", out / "model"]
    subprocess.run(command, check=True, capture_output=True)
    return out / "model"


def sample(source: Path, count: int, target: Path) -> Path:
    """The header and so many lines."""
    header, *lines = source.read_text(encoding="utf-8-sig").rstrip("\n").split("\n")
    if count > len(lines):
        sys.exit(f"{source} has {len(lines)} examples, fewer than {count}")
    drawn = random.Random(0).sample(lines, count)
    target.write_text("\n".join([header, *drawn]) + "\n", encoding="utf-8")
    return target


def ours(albert: Path, model: Path, task: str, train: Path, precision: str, threads: int) -> dict:
    with tempfile.TemporaryDirectory() as directory:
        run = Path(directory) / "run"
        command = [
            albert, "finetune", "--model", model, "--task", task, "--train", train,
            "--output", run, "--epochs", 2, "--batch-size", 32, "--precision", precision,
            "--threads", threads, "--log-steps", LOG_STEPS,
        ]  # fmt: skip
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"{albert} finetune: exit code {done.returncode}\n{done.stderr}")
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    half = lines[len(lines) // 2 - 1]
    if half["epoch"] != 1.0:
        sys.exit(f"the examples of an epoch must be a multiple of {32 * LOG_STEPS}")
    seconds, examples, before = 0.0, 0.0, half["tokens"]
    for line in lines[len(lines) // 2 :]:
        took = (line["tokens"] - before) / line["tokens_per_second"]
        seconds, examples = seconds + took, examples + took * line["examples_per_second"]
        before = line["tokens"]
    version = subprocess.run([albert, "--version"], capture_output=True, text=True).stdout.strip()
    return {
        "tokens": before - half["tokens"],
        "examples": round(examples),
        "seconds": seconds,
        "padding": 0.0,
        "loss": lines[-1]["loss"],
        "version": version,
    }


def theirs(model: Path, task: str, train: Path, variant: str, precision: str, threads: int) -> dict:
    command = [
        sys.executable, HERE / "pytorch_finetune.py", "--model", model, "--task", task,
        "--train", train, "--variant", variant, "--precision", precision, "--threads", threads,
    ]  # fmt: skip
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"pytorch_finetune.py {variant}: exit code {done.returncode}\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def one_run(arguments, model: Path, task: str, train: Path, contender: str, number: int) -> dict:
    others = Others()
    side, *rest = contender.split(":")
    if side == "albert":
        found = ours(arguments.albert_binary, model, task, train, *rest, arguments.threads)
    else:
        found = theirs(model, task, train, *rest, arguments.threads)
    found |= {
        "task": task,
        "model": arguments.size,
        "contender": contender,
        "round": number,
        "tokens_per_second": round(found["tokens"] / found["seconds"], 1),
        "examples_per_second": round(found["examples"] / found["seconds"], 2),
        "threads": arguments.threads,
        "others": others.share(),
        "processor": processor(),
        "date": date.today().isoformat(),
    }
    with arguments.record.open("a") as record:
        record.write(json.dumps(found) + "\n")
    if (found["others"] or 0.0) > OTHERS_MAX:
        print(f"warning: {found['others']:.0%} of the cores went to others", file=sys.stderr)
    if found.get("compiled_meanwhile"):
        print(f"warning: {contender} went on compiling while it was timed", file=sys.stderr)
    return found


def print_table(runs: list[dict]) -> None:
    for task in dict.fromkeys(run["task"] for run in runs):
        of_task = [run for run in runs if run["task"] == task]
        if len({(run["tokens"], run["examples"]) for run in of_task}) != 1:
            sys.exit(f"{task}: not everyone was given the same tokens")
        rates = {}
        for run in of_task:
            rates.setdefault(run["contender"], []).append(run)
        median = {
            name: statistics.median(run["tokens_per_second"] for run in own)
            for name, own in rates.items()
        }
        first = of_task[0]
        print(f"\n{task}: {first['examples']} examples of {first['tokens'] / first['examples']:.1f} tokens")
        print(f"{'':28}{'tokens/s':>10}{'from':>9}{'to':>9}{'examples/s':>12}{'padding':>9}")
        for name, own in rates.items():
            all_rates = [run["tokens_per_second"] for run in own]
            examples = statistics.median(run["examples_per_second"] for run in own)
            print(
                f"{name:28}{median[name]:10.0f}{min(all_rates):9.0f}{max(all_rates):9.0f}"
                f"{examples:12.1f}{own[0]['padding']:9.1%}"
            )
        for precision in ("bf16", "f32"):
            of = lambda side: [
                rate for name, rate in median.items()
                if name.startswith(side) and name.endswith(precision)
            ]  # fmt: skip
            if of("albert") and of("pytorch"):
                ratio = of("albert")[0] / max(of("pytorch"))
                print(f"{precision}: {ratio:.2f} times the fastest of PyTorch")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--record", type=Path, required=True, help="a line for each run is added")
    parser.add_argument("--albert-binary", type=Path, default=ROOT / "target/release/albert")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--task", action="append", choices=[*TASKS])
    parser.add_argument("--contender", action="append", help=f"default: {' '.join(CONTENDERS)}")
    parser.add_argument("--also", action="append", default=[], help="one more, as pytorch:eager-1:f32")
    parser.add_argument("--size", choices=[*SIZES], default="base")
    parser.add_argument("--examples", type=int, default=1600)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    arguments.albert_binary = arguments.albert_binary.resolve()
    transformers.utils.logging.set_verbosity_error()
    contenders = (arguments.contender or CONTENDERS) + arguments.also
    runs = []
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory)
        spiece = arguments.data / "albert/spiece.model"
        model = make_model(arguments.size, arguments.albert_binary, spiece, out)
        for number in range(arguments.rounds):
            for task in arguments.task or TASKS:
                source = arguments.data / "glue" / TASKS[task] / "train.tsv"
                train = sample(source, arguments.examples, out / f"{task}.tsv")
                # Every second round backwards, so that what warms up or tires favours nobody.
                for contender in contenders[:: 1 if number % 2 == 0 else -1]:
                    run = one_run(arguments, model, task, train, contender, number)
                    print(f"{task:8}{contender:28}{run['tokens_per_second']:10.0f}", flush=True)
                    runs.append(run)
    print_table(runs)


if __name__ == "__main__":
    main()
