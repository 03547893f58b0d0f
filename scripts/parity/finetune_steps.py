"""Ten steps of fine-tuning, here and in transformers, from the same model on the same examples.

    python finetune_steps.py --albert-binary PATH --data DATA [--only albert-tokens] [--faults]

For every head, ALBERT and BERT: a small model with random weights and the head is saved by
transformers; `albert finetune` trains it for ten steps, without dropout, in f32 and in the order of
the file, over the end of an epoch; the same steps are taken with torch in float64. Also with
gradients accumulated over many small parts, with weights of classes, and with the reference's
schedule. Compared are the tokens of each step (exactly), its loss and the norm of its gradient
before clipping, and every tensor after the last step: the tensor, and how it moved.

`--faults` takes the steps of transformers with one thing wrong at a time, and demands that each
is seen. Exit code 0: all agree (and all faults were seen); 1: not.

DATA has glue, ner, qa and albert/spiece.model. Needs the packages of requirements.txt, or of
requirements-4.txt.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors.numpy import load_file
from tokenizers import BertWordPieceTokenizer
from transformers import (
    AlbertConfig,
    AlbertModel,
    BertConfig,
    BertTokenizerFast,
    PreTrainedTokenizerFast,
)

import finetune_data as data
from compare import relative_error
from heads import Joint, save

STEPS = 10
BATCH = 8
# More than five batches, so that the sixth is smaller and the last four are a second epoch's.
ROWS = 44
# Of each of two texts; each gives several windows.
QUESTIONS = 4
MAX_LENGTH = 64
DOC_STRIDE = 24
LAYERS = 3
RATE = 1e-3
WEIGHT_DECAY = 0.01
CLIP_NORM = 1.0

LOSS_ERROR_MAX = 1e-4
NORM_ERROR_MAX = 1e-4
TENSOR_ERROR_MAX = 1e-5
MOVE_ERROR_MAX = 1e-3

# What moves all that a softmax compares alike has the gradient zero, and in float64 stays. In f32
# rounding is left of it (1e-8 and less), which Adam enlarges. Of these tensors, by the ends of their
# names, only how little they move is checked: by at most this share of the most that Adam can move
# them, which is the learning rate in each step. That torch leaves them is checked too.
NO_GRADIENT = {
    "": ["key.bias"],
    "choice": ["classifier.bias"],
    # The norm is the last before the head; ALBERT's is that of all layers.
    "spans": ["qa_outputs.bias", f"encoder.layer.{LAYERS - 1}.output.LayerNorm.bias"],
    "joint": ["start_logits.dense.bias", "end_logits.LayerNorm.bias", "end_logits.dense_1.bias"],
}
NO_GRADIENT_MOVE_MAX = 0.05

SIZES = dict(
    hidden_size=48, num_hidden_layers=LAYERS, num_attention_heads=4, intermediate_size=80,
    max_position_embeddings=MAX_LENGTH, initializer_range=0.15, hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
)  # fmt: skip

HEADS = {
    "label": "SequenceClassification",
    "labels": "SequenceClassification",
    "number": "SequenceClassification",
    "tokens": "TokenClassification",
    "choice": "MultipleChoice",
    "spans": "QuestionAnswering",
    "joint": "JointQuestionAnswering",
}
TASKS = {
    "label": "mrpc", "labels": "multi-label", "number": "sts-b", "tokens": "ner",
    "choice": "race", "spans": "squad1", "joint": "squad2",
}  # fmt: skip


@dataclass
class Material:
    """The examples of a kind of head."""

    file: Path
    rows: list[dict]
    labels: list[str]


@dataclass
class Case:
    family: str
    kind: str
    variation: str = ""
    # Tokens that are computed at a time; 0 for all of a step.
    part: int = 0
    weights: str = ""
    warmup: int = 0

    def name(self) -> str:
        return "-".join(filter(None, [self.family, self.kind, self.variation]))

    def flags(self) -> list[str]:
        flags = ["--tokens-per-batch", str(self.part or 100_000)]
        if self.weights:
            flags += ["--class-weights", self.weights]
        if self.warmup:
            return [*flags, "--schedule", "linear", "--warmup-steps", str(self.warmup)]
        return [*flags, "--schedule", "constant", "--warmup-steps", "0"]


def cases() -> list[Case]:
    found = []
    for family in ("albert", "bert"):
        found += [Case(family, kind) for kind in HEADS]
        found += [Case(family, kind, "parts", part=100) for kind in HEADS]
        found.append(Case(family, "label", "balanced", weights="balanced"))
        found.append(Case(family, "label", "weighted-parts", part=100, weights="0=0.3,1=2.5"))
        found.append(Case(family, "tokens", "weighted", weights="O=0.1,B-person=3"))
        found.append(Case(family, "label", "schedule", warmup=4))
    return found


# Files


def head_of_table(source: Path, target: Path, count: int) -> Path:
    """The header and the rows after it."""
    lines = source.read_text(encoding="utf-8").split("\n")
    target.write_text("\n".join(lines[: count + 1]) + "\n", encoding="utf-8")
    return target


def make_tags(source: Path, out: Path) -> Material:
    """Sentences with entities, that there be something to learn."""
    rows = [row for row in data.read_conll(source) if set(row["tags"]) != {"O"}][:ROWS]
    lines = ["".join(f"{word}\t{tag}\n" for word, tag in zip(row["words"], row["tags"])) for row in rows]
    file = out / "tags.conll"
    file.write_text("\n".join(lines))
    return Material(file, rows, sorted({tag for row in rows for tag in row["tags"]}))


def make_labels(tags: Material, out: Path) -> Material:
    """Which types of entities occur in a sentence: several, one or none."""
    file = out / "labels.jsonl"
    kinds = [sorted({tag[2:] for tag in row["tags"] if tag != "O"}) for row in tags.rows]
    lines = [
        {"text": " ".join(row["words"]), "label": names if number % 7 else []}
        for number, (row, names) in enumerate(zip(tags.rows, kinds))
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    rows = data.read_labels(file)
    return Material(file, rows, sorted({name for row in rows for name in row["labels"]}))


def make_choices(source: Path, out: Path) -> Material:
    """Questions about a text, with the answers to others about the same text as wrong options."""
    lines = []
    for paragraph in json.loads(source.read_text())["data"][0]["paragraphs"]:
        qas = paragraph["qas"]
        if len(qas) < 4:
            continue
        answers = [qa["answers"][0]["text"] for qa in qas]
        options = [[answers[(i + shift - i % 4) % len(qas)] for shift in range(4)] for i in range(len(qas))]
        lines.append({
            "id": f"high{len(lines)}.txt",
            "article": paragraph["context"],
            "questions": [qa["question"] for qa in qas],
            "options": options,
            "answers": ["ABCD"[i % 4] for i in range(len(qas))],
        })  # fmt: skip
    level = out / "race/high"
    level.mkdir(parents=True)
    file = level / "all.txt"
    asked, few = 0, []
    for line in lines:
        if asked + len(line["questions"]) <= ROWS:
            few.append(line)
            asked += len(line["questions"])
    file.write_text("".join(json.dumps(line) + "\n" for line in few))
    return Material(out / "race", data.read_race(file), [])


def make_questions(source: Path, out: Path) -> Material:
    """A few questions about the first paragraphs of two articles."""
    articles = json.loads(source.read_text())["data"]
    first = lambda article: article["paragraphs"][0]
    few = [
        {"title": "", "paragraphs": [first(article) | {"qas": first(article)["qas"][:QUESTIONS]}]}
        for article in articles[:2]
    ]
    file = out / source.name
    file.write_text(json.dumps({"version": "", "data": few}))
    return Material(file, data.read_squad(file), [])


def make_material(source: Path, out: Path) -> dict[str, Material]:
    pairs = head_of_table(source / "glue/MRPC/train.tsv", out / "mrpc.tsv", ROWS)
    numbers = head_of_table(source / "glue/STS-B/train.tsv", out / "sts.tsv", ROWS)
    tags = make_tags(source / "ner/wnut17/wnut17train.conll", out)
    rows = data.read_glue(pairs, "#1 String", "#2 String", "Quality")
    scores = data.read_glue(numbers, "sentence1", "sentence2", "score")
    return {
        "label": Material(pairs, rows, ["0", "1"]),
        "labels": make_labels(tags, out),
        "number": Material(numbers, scores, []),
        "tokens": tags,
        "choice": make_choices(source / "qa/xquad_en.json", out),
        "spans": make_questions(source / "qa/squad1_train_subset.json", out),
        "joint": make_questions(source / "qa/squad2_train_part.json", out),
    }


def make_tokenizers(binary: Path, source: Path, out: Path) -> dict:
    """ALBERT's own as the program writes it, since what transformers makes of a spiece.model cuts
    texts otherwise; and a WordPiece trained on the spot."""
    whole, written = out / "whole-albert", out / "tokenizer-albert"
    save(AlbertModel(AlbertConfig(**SIZES, vocab_size=30_000)), whole)
    (whole / "spiece.model").write_bytes((source / "albert/spiece.model").read_bytes())
    subprocess.run([binary, "convert", "--from", whole, "--to", written], check=True, capture_output=True)
    trained = BertWordPieceTokenizer(lowercase=True)
    rows = (source / "glue/SST-2/train.tsv").read_text().splitlines()[1:]
    trained.train_from_iterator(rows[:20000], vocab_size=3000, show_progress=False)
    vocabulary = out / "tokenizer-bert"
    vocabulary.mkdir()
    trained.save_model(str(vocabulary))
    return {
        "albert": PreTrainedTokenizerFast.from_pretrained(written),
        "bert": BertTokenizerFast.from_pretrained(vocabulary),
    }


# Models


def make_model(case: Case, labels: list[str], vocabulary: int, rng_seed: int):
    """Small, with weights large enough that an error anywhere shows, and no dropout."""
    sizes = SIZES | dict(vocab_size=vocabulary)
    if case.family == "albert":
        config = AlbertConfig(
            embedding_size=24, hidden_act="gelu_new", classifier_dropout_prob=0.0, **sizes
        )
    else:
        config = BertConfig(hidden_act="gelu", classifier_dropout=0.0, **sizes)
    if case.kind in ("label", "labels", "tokens"):
        config.id2label = dict(enumerate(labels))
        config.label2id = {label: i for i, label in enumerate(labels)}
    if case.kind == "number":
        config.num_labels = 1
    problems = {
        "label": "single_label_classification",
        "labels": "multi_label_classification",
        "number": "regression",
    }
    config.problem_type = problems.get(case.kind)
    torch.manual_seed(rng_seed)
    family = {"albert": "Albert", "bert": "Bert"}[case.family]
    if case.kind == "joint":
        config.architectures = [f"{family}ForJointQuestionAnswering"]
        model = Joint(config)
        for parameter in model.parameters():
            if parameter.ndim == 2:
                torch.nn.init.normal_(parameter, std=0.15)
    else:
        model = getattr(transformers, f"{family}For{HEADS[case.kind]}")(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model


# Steps


@dataclass
class Outcome:
    """What a side measured at each step, and its tensors afterwards."""

    losses: list[float]
    norms: list[float]
    tokens: list[int]
    tensors: dict[str, np.ndarray]


@dataclass
class Fault:
    """One thing that is done otherwise than it should."""

    weight_decay: float = WEIGHT_DECAY
    decays_all: bool = False
    clip_norm: float = CLIP_NORM
    eps: float = 1e-6
    beta2: float = 0.999
    late: int = 0
    order: bool = False
    unweighted: bool = False


def class_weights(case: Case, units, labels: list[str]) -> torch.Tensor | None:
    if not case.weights:
        return None
    if case.weights == "balanced":
        targets = [unit.target for unit in units]
        return torch.tensor([len(units) / (len(labels) * targets.count(i)) for i in range(len(labels))])
    given = dict(pair.split("=") for pair in case.weights.split(","))
    return torch.tensor([float(given.get(label, 1)) for label in labels])


def joint_loss(model, units) -> torch.Tensor:
    """Each window by itself, as `heads.py` has the loss of the original."""
    losses = []
    for unit in units:
        ids, types = (torch.tensor([row]) for row in unit.sequences[0])
        shown = [i for i, offset in enumerate(unit.offsets) if offset is not None]
        context = range(shown[0], shown[-1] + 1)
        losses.append(model.loss(ids, types, context, unit.target, unit.target == (0, 0)))
    return sum(losses) / len(units)


def theirs(case: Case, model, tokenizer, material: Material, fault: Fault) -> Outcome:
    kind = "spans" if case.kind == "joint" else case.kind
    units = data.encode(tokenizer, kind, material.rows, material.labels, MAX_LENGTH, DOC_STRIDE)
    weights = None if fault.unweighted else class_weights(case, units, material.labels)
    model = model.train()
    groups = data.groups_of(model, fault.weight_decay)
    if fault.decays_all:
        groups[1]["weight_decay"] = fault.weight_decay
    optimizer = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, fault.beta2), eps=fault.eps)
    shape = data.linear_with_warmup(case.warmup, STEPS) if case.warmup else lambda step: 1.0
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: shape(step + fault.late))
    batches = [units[start : start + BATCH] for start in range(0, len(units), BATCH)]
    if not len(batches) < STEPS:
        sys.exit(f"{case.name()}: {len(units)} examples do not show the end of an epoch")
    outcome, total, used = Outcome([], [], [], {}), 0, set()
    for step in range(STEPS):
        batch = batches[step % len(batches)]
        if fault.order:
            batch = batches[(step + 1) % len(batches)]
        if case.kind == "joint":
            loss = joint_loss(model, batch)
        else:
            loss = data.loss_of(model, kind, batch, tokenizer.pad_token_id, weights)
        loss.backward()
        used |= {name for name, x in model.named_parameters() if x.grad is not None}
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), fault.clip_norm)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        total += sum(unit.tokens() for unit in batch)
        outcome.losses.append(loss.item())
        outcome.norms.append(norm.item())
        outcome.tokens.append(total)
    # The rest, such as the pooler of the joint head, is no part of our model.
    tensors = model.named_parameters()
    outcome.tensors = {name: x.detach().numpy().copy() for name, x in tensors if name in used}
    return outcome


def ours(case: Case, binary: Path, model: Path, material: Material, out: Path) -> Outcome:
    command = [
        binary, "finetune", "--model", model, "--task", TASKS[case.kind],
        "--train", material.file, "--output", out, "--steps", STEPS, "--batch-size", BATCH,
        "--max-length", MAX_LENGTH, "--doc-stride", DOC_STRIDE, "--shuffle", "false",
        "--dropout", 0, "--attention-dropout", 0, "--classifier-dropout", 0,
        "--learning-rate", RATE, "--weight-decay", WEIGHT_DECAY, "--clip-norm", CLIP_NORM,
        "--precision", "f32", "--log-steps", 1, *case.flags(),
    ]  # fmt: skip
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    said = done.stdout + done.stderr
    if done.returncode != 0:
        sys.exit(f"{case.name()}: {binary} finetune: exit code {done.returncode}\n{said}")
    if "trained further" not in said:
        sys.exit(f"{case.name()}: the head of the model was not kept\n{said}")
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    of = lambda key: [line[key] for line in lines]
    tensors = load_file(out / "model/model.safetensors")
    return Outcome(of("loss"), of("grad_norm"), of("tokens"), tensors)


# Comparison


def worst(got: list[float], want: list[float]) -> float:
    if len(got) != len(want) or not all(map(math.isfinite, [*got, *want])):
        return math.inf
    return max(abs(a - b) / abs(b) for a, b in zip(got, want))


@dataclass
class Errors:
    loss: float
    norm: float
    tensor: tuple[float, str]
    move: tuple[float, str]
    clipped: int
    wrong: list[str]

    def __init__(self, kind: str, got: Outcome, want: Outcome, before: dict[str, np.ndarray]):
        self.still = tuple(NO_GRADIENT[""] + NO_GRADIENT.get(kind, []))
        self.wrong = [] if got.tokens == want.tokens else [f"tokens {got.tokens}, not {want.tokens}"]
        self.loss, self.norm = worst(got.losses, want.losses), worst(got.norms, want.norms)
        self.tensor = self.move = (0.0, "")
        self.clipped = sum(norm > CLIP_NORM for norm in want.norms)
        if set(got.tensors) != set(want.tensors):
            names = sorted(set(got.tensors) ^ set(want.tensors))
            self.wrong.append(f"tensors of one side alone: {', '.join(names)}")
        for name in set(got.tensors) & set(want.tensors):
            self.add(name, got.tensors[name], want.tensors[name], before[name])
        limits = [
            ("loss", self.loss, LOSS_ERROR_MAX),
            ("norm of the gradient", self.norm, NORM_ERROR_MAX),
            (f"{self.tensor[1]}", self.tensor[0], TENSOR_ERROR_MAX),
            (f"the move of {self.move[1]}", self.move[0], MOVE_ERROR_MAX),
        ]
        for what, error, most in limits:
            if not error <= most:
                self.wrong.append(f"{what}: {error:.1e}, more than {most:.0e}")

    def add(self, name: str, got, want, before) -> None:
        before = before.astype(np.float64)
        if got.shape != want.shape:
            self.wrong.append(f"{name}: shape {got.shape}, not {want.shape}")
            return
        if name.endswith(self.still):
            share = lambda tensor: float(np.sqrt(np.mean((tensor - before) ** 2))) / (RATE * STEPS)
            if not (share(got) <= NO_GRADIENT_MOVE_MAX and share(want) <= 1e-6):
                self.wrong.append(
                    f"{name} has the gradient zero, and moved by {share(got):.1e} of the most there "
                    f"is, in torch by {share(want):.1e}"
                )
            return
        self.tensor = max(self.tensor, (relative_error(got, want), name))
        self.move = max(self.move, (relative_error(got - before, want - before), name))

    def line(self, name: str) -> str:
        errors = f"{self.loss:9.1e}{self.norm:9.1e}{self.tensor[0]:9.1e}{self.move[0]:9.1e}"
        return f"{name:28}{errors}{self.clipped:9}  {'FAILED' if self.wrong else ''}"


FAULTS = {
    "no weight decay": Fault(weight_decay=0.0),
    "biases and norms decayed": Fault(decays_all=True),
    "no clipping": Fault(clip_norm=1e9),
    "epsilon 1e-8": Fault(eps=1e-8),
    "beta2 0.99": Fault(beta2=0.99),
    "schedule a step late": Fault(late=1),
    "the next batch": Fault(order=True),
    "no weights of classes": Fault(unweighted=True),
}


class Session:
    def __init__(self, arguments, out: Path):
        self.binary, self.out = arguments.albert_binary.resolve(), out
        self.material = make_material(arguments.data, out)
        self.tokenizers = make_tokenizers(self.binary, arguments.data, out)
        self.seed = arguments.seed
        # The last of our runs, which is every fault's too.
        self.ran, self.got = "", None

    def run(self, case: Case, fault: Fault) -> Errors:
        material, tokenizer = self.material[case.kind], self.tokenizers[case.family]
        directory, target = self.out / case.name(), self.out / f"{case.name()}-run"
        model = make_model(case, material.labels, len(tokenizer), self.seed)
        if not directory.exists():
            save(model, directory)
            tokenizer.save_pretrained(directory)
        before = load_file(directory / "model.safetensors")
        if case.name() != self.ran:
            self.ran = case.name()
            self.got = ours(case, self.binary, directory, material, target)
        torch.set_default_dtype(torch.float64)
        want = theirs(case, model.double(), tokenizer, material, fault)
        torch.set_default_dtype(torch.float32)
        return Errors(case.kind, self.got, want, before)


def check(session: Session, only: str) -> bool:
    print(f"{'':28}{'loss':>9}{'norm':>9}{'tensor':>9}{'move':>9}{'clipped':>9}")
    good = True
    for case in cases():
        if only not in case.name():
            continue
        errors = session.run(case, Fault())
        print(errors.line(case.name()), *errors.wrong, sep="\n    ", flush=True)
        good &= not errors.wrong
    return good


def check_faults(session: Session) -> bool:
    """Of one case that has everything: weights, small parts, a schedule."""
    case = Case("albert", "label", "faults", part=100, weights="0=0.3,1=2.5", warmup=4)
    good = not session.run(case, Fault()).wrong
    print(f"{'nothing wrong':28}{'agrees' if good else 'DISAGREES'}")
    for name, fault in FAULTS.items():
        errors = session.run(case, fault)
        print(f"{name:28}{'; '.join(errors.wrong) or 'NOT SEEN'}", flush=True)
        good &= bool(errors.wrong)
    return good


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--albert-binary", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", default="", help="cases with this in their name")
    parser.add_argument("--faults", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as directory:
        session = Session(arguments, Path(directory))
        good = check_faults(session) if arguments.faults else check(session, arguments.only)
    print("agree" if good else "DISAGREE")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
