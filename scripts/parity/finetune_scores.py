"""The same small model fine-tuned here and in transformers with the same settings: the scores of both.

    python finetune_scores.py --albert-binary PATH --model DIR --data DATA --results scores.jsonl
                              [--task mrpc] [--seeds 3] [--limit 10000] [--table]

DIR is a pretrained model of this project or any that transformers loads. Each task is learned with
each seed on both sides, one run at a time: ours by `albert finetune`, theirs by the model and the
tokenizer of transformers in a plain loop with torch's AdamW, the same schedule, clipping, batch size
and dropout. What a seed decides (the head's first weights, the order, dropout) is not the same on
the two sides, so scores can only be alike. Scored is the model of the last step, on the development
data, theirs by scikit-learn, SciPy, seqeval and SQuAD's own rules.

A finished run is a line of the results, and is not run again; so the command can be stopped and
repeated. SST-2 is learned from its first `--limit` examples, which the table says. The question is
whether the medians are as near as seeds are to each other: no farther apart than the wider of the two
ranges. Ranges of three that do not even overlap come by chance in one of ten tasks. Exit code 0: all
runs are there and near; 1: not.

Needs the packages of requirements-4.txt (the rules of SQuAD are not in transformers 5.23), and
scikit-learn, scipy and seqeval.
"""

import argparse
import json
import math
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import scipy.stats
import sklearn.metrics
import torch
import transformers
from seqeval.metrics import f1_score as entity_f1
from transformers import AutoTokenizer
from transformers.data.metrics import squad_metrics

import finetune_data as data
from scores import f1_of_version_1

CLIP_NORM = 1.0
WEIGHT_DECAY = 0.01
EPSILON = 1e-6
WARMUP_SHARE = 0.1
HEAD_DROPOUT = 0.1
DOC_STRIDE = 128
MAX_ANSWER_LENGTH = 30
CANDIDATES = 20
EVALUATION_BATCH = 32


@dataclass(frozen=True)
class Task:
    """How a task is learned; the rates are for models about 256 wide."""

    kind: str
    albert: str
    train: str
    dev: str
    score: str
    rate: float
    epochs: int
    batch: int = 32
    max_length: int = 128


TASKS = {
    "sst-2": Task("label", "sst-2", "glue/SST-2/train.tsv", "glue/SST-2/dev.tsv", "accuracy", 2e-4, 2),
    "mrpc": Task("label", "mrpc", "glue/MRPC/train.tsv", "glue/MRPC/dev.tsv", "accuracy", 2e-4, 4),
    "sts-b": Task("number", "sts-b", "glue/STS-B/train.tsv", "glue/STS-B/dev.tsv", "pearson", 2e-4, 4),
    "rte": Task("label", "rte", "glue/RTE/train.tsv", "glue/RTE/dev.tsv", "accuracy", 1e-4, 4, 32, 256),
    "wnut-17": Task(
        "tokens", "ner", "ner/wnut17/wnut17train.conll", "ner/wnut17/emerging.dev.conll",
        "entity_f1", 4e-4, 5, 16,
    ),
    "banking77": Task(
        "label", "classify", "intents/banking77/train.csv", "intents/banking77/test.csv",
        "accuracy", 4e-4, 6,
    ),
    "squad": Task(
        "spans", "squad1", "qa/squad1_train_subset.json", "qa/xquad_en.json", "f1", 2e-4, 3, 16, 256,
    ),
}  # fmt: skip
COLUMNS = {
    "sst-2": ("sentence", None, "label"),
    "mrpc": ("#1 String", "#2 String", "Quality"),
    "sts-b": ("sentence1", "sentence2", "score"),
    "rte": ("sentence1", "sentence2", "label"),
}
CLASSES = {"label": "SequenceClassification", "number": "SequenceClassification",
           "tokens": "TokenClassification", "spans": "QuestionAnswering"}  # fmt: skip


def read(name: str, path: Path) -> list[dict]:
    if name in COLUMNS:
        return data.read_glue(path, *COLUMNS[name])
    if name == "banking77":
        return data.read_csv(path, "text", "category")
    return data.read_conll(path) if name == "wnut-17" else data.read_squad(path)


def labels_of(task: Task, rows: list[dict]) -> list[str]:
    if task.kind == "tokens":
        return sorted({tag for row in rows for tag in row["tags"]})
    return sorted({row["label"] for row in rows}) if task.kind == "label" else []


def limited(path: Path, limit: int | None, directory: Path) -> Path:
    if limit is None:
        return path
    target = directory / path.name
    target.write_text("\n".join(path.read_text().split("\n")[: limit + 1]) + "\n")
    return target


# Ours


def ours(arguments, name: str, task: Task, train: Path, seed: int, directory: Path) -> dict:
    run = directory / f"{name}-{seed}"
    command = [
        arguments.albert_binary, "finetune", "--model", arguments.model, "--task", task.albert,
        "--train", train, "--dev", arguments.data / task.dev, "--output", run, "--seed", seed,
        "--epochs", task.epochs, "--batch-size", task.batch, "--learning-rate", task.rate,
        "--schedule", "linear", "--warmup-share", WARMUP_SHARE, "--clip-norm", CLIP_NORM,
        "--weight-decay", WEIGHT_DECAY, "--epsilon", EPSILON, "--max-length", task.max_length,
        "--classifier-dropout", HEAD_DROPOUT, *dropout_flags(arguments.model),
        "--precision", arguments.precision, "--threads", arguments.threads,
        # The last step is always evaluated.
        "--eval-steps", 1_000_000_000,
    ]  # fmt: skip
    if name == "banking77":
        command += ["--label-column", "category"]
    if task.kind == "spans":
        command += ["--doc-stride", DOC_STRIDE]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{name}: albert finetune: exit code {done.returncode}\n{done.stderr}")
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    shutil.rmtree(run)
    evaluations = [line for line in lines if line.get("eval")]
    return evaluations[-1]["files"][0]["metrics"] | {"steps": evaluations[-1]["step"]}


def dropout_flags(model: Path) -> list:
    """Those of the model, where a recipe would say otherwise."""
    config = json.loads((model / "config.json").read_text())
    hidden, attention = config["hidden_dropout_prob"], config["attention_probs_dropout_prob"]
    return ["--dropout", hidden, "--attention-dropout", attention]


# Theirs


def load(task: Task, directory: Path, labels: list[str]):
    """The encoder of the model, under a new head."""
    config = transformers.AutoConfig.from_pretrained(directory)
    config.num_labels = max(1, len(labels)) if task.kind != "spans" else 2
    config.problem_type = {"label": "single_label_classification", "number": "regression"}.get(task.kind)
    # ALBERT's name for it, and BERT's.
    config.classifier_dropout_prob = config.classifier_dropout = HEAD_DROPOUT
    kind = getattr(transformers, f"AutoModelFor{CLASSES[task.kind]}")
    model, info = kind.from_pretrained(directory, config=config, output_loading_info=True)
    missing = [key for key in info["missing_keys"] if not key.startswith(("classifier", "qa_outputs"))]
    if missing:
        sys.exit(f"{directory} lacks {', '.join(missing)}")
    return model


def train(model, task: Task, units: list[data.Unit], pad: int, draw: random.Random, autocast: bool) -> int:
    steps = math.ceil(len(units) / task.batch) * task.epochs
    optimizer = torch.optim.AdamW(data.groups_of(model, WEIGHT_DECAY), lr=task.rate, eps=EPSILON)
    shape = data.linear_with_warmup(round(WARMUP_SHARE * steps), steps)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, shape)
    model.train()
    for _ in range(task.epochs):
        order = draw.sample(units, len(units))
        for start in range(0, len(order), task.batch):
            inputs = data.collate(task.kind, order[start : start + task.batch], pad)
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                loss = model(**inputs).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
    return steps


@torch.no_grad()
def logits_of(model, kind: str, units: list[data.Unit], pad: int) -> list:
    """Of each unit in its order: a row for the sequence, rows for the tokens."""
    model.eval()
    order = sorted(range(len(units)), key=lambda i: units[i].tokens())
    found: list = [None] * len(units)
    for start in range(0, len(order), EVALUATION_BATCH):
        own = order[start : start + EVALUATION_BATCH]
        inputs = data.collate(kind, [units[i] for i in own], pad)
        for key in ("labels", "start_positions", "end_positions"):
            inputs.pop(key, None)
        out = model(**inputs)
        both = kind == "spans"
        logits = torch.stack([out.start_logits, out.end_logits], -1) if both else out.logits
        for i, rows in zip(own, logits):
            found[i] = rows[: units[i].tokens()] if kind in ("tokens", "spans") else rows
    return found


def score_classes(rows: list[dict], labels: list[str], logits: list, binary: bool) -> dict:
    gold = [labels.index(row["label"]) for row in rows]
    predicted = [int(row.argmax()) for row in logits]
    scores = {"accuracy": sklearn.metrics.accuracy_score(gold, predicted)}
    return scores | ({"f1": sklearn.metrics.f1_score(gold, predicted)} if binary else {})


def score_numbers(rows: list[dict], logits: list) -> dict:
    gold, predicted = [float(row["label"]) for row in rows], [row.item() for row in logits]
    return {
        "pearson": float(scipy.stats.pearsonr(gold, predicted).statistic),
        "spearman": float(scipy.stats.spearmanr(gold, predicted).statistic),
    }


def score_tags(rows: list[dict], tokenizer, task: Task, labels: list[str], logits: list) -> dict:
    """A word has the tag of its first token; one that was cut off has none."""
    predicted = []
    for row, tokens in zip(rows, logits):
        encoding = tokenizer(
            row["words"], is_split_into_words=True, truncation=True, max_length=task.max_length
        )
        tags = ["O"] * len(row["words"])
        for token, word in reversed(list(enumerate(encoding.word_ids()))):
            if word is not None:
                tags[word] = labels[int(tokens[token].argmax())]
        predicted.append(tags)
    return {"entity_f1": float(entity_f1([row["tags"] for row in rows], predicted))}


def best_text(context: str, windows: list[tuple[data.Unit, torch.Tensor]]) -> str:
    """The likeliest span of at most so many tokens, as `run_qa.py` finds it."""
    best, text = -math.inf, ""
    for unit, logits in windows:
        tops = [logits[:, side].topk(min(CANDIDATES, len(logits))).indices.tolist() for side in (0, 1)]
        for first in tops[0]:
            for last in tops[1]:
                shown = unit.offsets[first] is not None and unit.offsets[last] is not None
                if not shown or not first <= last < first + MAX_ANSWER_LENGTH:
                    continue
                score = float(logits[first, 0] + logits[last, 1])
                if score > best:
                    best = score
                    text = context[unit.offsets[first][0] : unit.offsets[last][1]]
    return text


def score_answers(rows: list[dict], units: list[data.Unit], logits: list) -> dict:
    windows: dict[int, list] = {}
    for unit, of_unit in zip(units, logits):
        windows.setdefault(unit.question, []).append((unit, of_unit))
    exact = f1 = 0.0
    for number, row in enumerate(rows):
        text = best_text(row["context"], windows[number]).strip()
        gold = [answer["text"] for answer in row["answers"]]
        exact += max(squad_metrics.compute_exact(answer, text) for answer in gold)
        f1 += max(f1_of_version_1(answer, text) for answer in gold)
    return {"f1": f1 / len(rows), "exact": exact / len(rows)}


def theirs(arguments, name: str, task: Task, path: Path, seed: int) -> dict:
    rows, dev = read(name, path), read(name, arguments.data / task.dev)
    labels = labels_of(task, rows)
    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    torch.manual_seed(seed)
    model = load(task, arguments.model, labels)
    if task.kind == "tokens":
        # Tags that only the development data has are of no model: as none.
        for row in dev:
            row["known"] = [tag if tag in labels else "O" for tag in row["tags"]]
    encode = lambda rows: data.encode(tokenizer, task.kind, rows, labels, task.max_length, DOC_STRIDE)
    pad = tokenizer.pad_token_id
    units = encode(rows)
    steps = train(model, task, units, pad, random.Random(seed), arguments.autocast)
    if task.kind == "tokens":
        seen = encode([row | {"tags": row["known"]} for row in dev])
    else:
        seen = encode(dev)
    logits = logits_of(model, task.kind, seen, pad)
    scores = {
        "label": lambda: score_classes(dev, labels, logits, len(labels) == 2),
        "number": lambda: score_numbers(dev, logits),
        "tokens": lambda: score_tags(dev, tokenizer, task, labels, logits),
        "spans": lambda: score_answers(dev, seen, logits),
    }[task.kind]()
    return scores | {"steps": steps}


# Results


def settings_of(arguments, name: str, side: str) -> dict:
    """What a result depends on, besides the seed."""
    task = asdict(TASKS[name]) | {"limit": arguments.limit if name == "sst-2" else None}
    precision = arguments.precision if side == "albert" else ("bf16" if arguments.autocast else "f32")
    return task | {"model": str(arguments.model), "precision": precision}


def read_results(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def find(results: list[dict], arguments, name: str, side: str, seed: int) -> dict | None:
    settings = settings_of(arguments, name, side)
    for result in results:
        if (result["task"], result["side"], result["seed"]) == (name, side, seed):
            if result["settings"] == settings:
                return result
    return None


def run_all(arguments, names: list[str]) -> None:
    for seed in range(1, arguments.seeds + 1):
        for name in names:
            for side in ("albert", "transformers"):
                if find(read_results(arguments.results), arguments, name, side, seed):
                    continue
                started = time.monotonic()
                with tempfile.TemporaryDirectory() as directory:
                    settings = settings_of(arguments, name, side)
                    path = limited(arguments.data / TASKS[name].train, settings["limit"], Path(directory))
                    rest = (name, TASKS[name], path, seed)
                    of_albert = side == "albert"
                    found = ours(arguments, *rest, Path(directory)) if of_albert else theirs(arguments, *rest)
                result = {
                    "task": name, "side": side, "seed": seed, "scores": found,
                    "seconds": round(time.monotonic() - started), "settings": settings,
                    "version": f"transformers {transformers.__version__}, torch {torch.__version__}",
                }  # fmt: skip
                with arguments.results.open("a") as file:
                    file.write(json.dumps(result) + "\n")
                score = found[TASKS[name].score]
                print(f"{name:10} seed {seed} {side:14}{score:8.4f}{result['seconds']:8} s", flush=True)


def print_table(arguments, names: list[str]) -> bool:
    results, good = read_results(arguments.results), True
    print(f"{'':12}{'score':10}{'albert':>24}{'transformers':>28}{'apart':>10}")
    for name in names:
        task, spans, steps = TASKS[name], [], set()
        for side in ("albert", "transformers"):
            own = [find(results, arguments, name, side, s) for s in range(1, arguments.seeds + 1)]
            scores = [found["scores"][task.score] for found in own if found]
            steps |= {found["scores"]["steps"] for found in own if found}
            spans.append(scores)
        if any(len(scores) < arguments.seeds for scores in spans):
            print(f"{name:12}{task.score:10}  {len(spans[0])} and {len(spans[1])} runs so far")
            good = False
            continue
        good &= print_row(name, task.score, *spans)
        if len(steps) > 1:
            print(f"    the steps differ: {sorted(steps)}")
            good = False
        if name == "sst-2" and arguments.limit:
            print(f"    of the first {arguments.limit:,} examples")
    return good


def print_row(name: str, score: str, mine: list[float], other: list[float]) -> bool:
    show = lambda scores: f"{statistics.median(scores):.4f} ({min(scores):.4f}-{max(scores):.4f})"
    apart = abs(statistics.median(mine) - statistics.median(other))
    near = apart <= max(max(scores) - min(scores) for scores in (mine, other))
    overlap = min(mine) <= max(other) and min(other) <= max(mine)
    verdict = "near" if near else "FAR"
    verdict += "" if overlap else ", ranges apart"
    print(f"{name:12}{score:10}{show(mine):>24}{show(other):>28}{apart:10.4f}  {verdict}")
    return near


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--albert-binary", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--task", action="append", choices=[*TASKS])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--limit", type=int, help="of SST-2's examples; all without")
    parser.add_argument("--precision", default="auto", help="ours; auto is what users get")
    parser.add_argument("--autocast", action="store_true", help="bf16 also in transformers")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--table", action="store_true", help="run nothing, print what there is")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    names = arguments.task or [*TASKS]
    if not arguments.table:
        run_all(arguments, names)
    sys.exit(0 if print_table(arguments, names) else 1)


if __name__ == "__main__":
    main()
