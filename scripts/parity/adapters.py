"""Adapters (LoRA), held against PEFT.

    python adapters.py --albert-binary PATH --example PATH [--seed 0]

The example is `cargo build --release --example adapter`. For ALBERT and BERT, several heads, targets
and scales, with small models of random weights:

read      an adapter of random numbers that PEFT wrote, beside a base without a head: logits
merged    the same, written as a model by `albert convert --adapter`, which transformers reads
losses    ten steps of torch.optim.AdamW on fixed batches, against ours
trained   the tensors that these ten steps make
moved     how far they went from their start
float32   the same of torch's own float32 against its float64, to hold `moved` beside; no limit
written   our adapter after these steps, loaded by `PeftModel.from_pretrained`: logits

An adapter for each depth of an ALBERT is PEFT's on a model with a group for each layer. Exit code 0:
they agree; 1: they do not. Needs `pip install peft` (0.21.2) besides requirements.txt.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.numpy import load_file
from transformers import AlbertConfig, BertConfig

from compare import relative_error
from heads import Worst, draw_sequences
from make_fixtures import as_array, draw_weights

LABELS = 3
STEPS, RATE, EPSILON, DECAY = 10, 1e-2, 1e-6, 0.01
LIMITS = {"read": 1e-5, "merged": 1e-5, "losses": 1e-5, "trained": 1e-4, "moved": 5e-4, "written": 1e-5}
LIMITS["float32"] = np.inf


@dataclass
class Case:
    name: str
    config: AlbertConfig | BertConfig
    targets: list[str] | str
    head: str = "ForSequenceClassification"
    task: str | None = "SEQ_CLS"
    keys: dict = field(default_factory=dict)
    per_depth: bool = False

    @property
    def labels(self) -> int:
        return 2 if "Question" in self.head else LABELS


def cases() -> list[Case]:
    sizes = dict(
        vocab_size=61, hidden_size=24, num_attention_heads=3, intermediate_size=40,
        num_hidden_layers=3, max_position_embeddings=19, hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    albert = lambda **more: AlbertConfig(
        embedding_size=10, hidden_act="gelu_new", classifier_dropout_prob=0.0, **sizes | more
    )
    bert = lambda: BertConfig(classifier_dropout=0.0, **sizes)
    usual = ["query", "value"]
    whole = dict(modules_to_save=["pooler"])
    return [
        Case("albert", albert(), usual),
        Case("albert all-linear", albert(), "all-linear", keys=dict(use_rslora=True)),
        Case("albert pooler", albert(), ["attention.dense", "ffn", "ffn_output"], keys=whole),
        Case("albert groups", albert(num_hidden_layers=4, num_hidden_groups=2), usual),
        Case("albert depths", albert(), ["query", "ffn"], per_depth=True),
        Case(
            "albert groups depths",
            albert(num_hidden_layers=4, num_hidden_groups=2),
            ["value"],
            per_depth=True,
        ),
        Case("albert tokens", albert(), usual, "ForTokenClassification", "TOKEN_CLS"),
        Case("albert questions", albert(), usual, "ForQuestionAnswering", "QUESTION_ANS"),
        Case("albert choices", albert(), usual, "ForMultipleChoice", None, dict(modules_to_save=["classifier"])),
        Case("bert", bert(), usual),
        Case("bert all-linear", bert(), "all-linear"),
        Case("bert pooler", bert(), ["key", "output.dense", "intermediate.dense"], keys=whole),
        Case("bert tokens", bert(), usual, "ForTokenClassification", "TOKEN_CLS"),
    ]


def kind(config, head: str):
    return getattr(transformers, ("Albert" if isinstance(config, AlbertConfig) else "Bert") + head)


def own_depths(model):
    """The same ALBERT with a group for each layer, whose weights are those of its group."""
    config = type(model.config)(**model.config.to_dict())
    layers, groups = config.num_hidden_layers, config.num_hidden_groups
    config.num_hidden_groups = layers
    expanded = type(model)(config)
    state, marker = model.state_dict(), "albert_layer_groups."
    for name in expanded.state_dict():
        shared = name
        if marker in name:
            head, rest = name.split(marker)
            layer, rest = rest.split(".", 1)
            shared = f"{head}{marker}{int(int(layer) / (layers / groups))}.{rest}"
        expanded.state_dict()[name].copy_(state[shared])
    return expanded


def with_head(base: Path, case: Case):
    """The base, whose head, if it has none, is random: an adapter brings its own."""
    model = kind(case.config, case.head).from_pretrained(base, num_labels=case.labels)
    return own_depths(model) if case.per_depth else model


@torch.no_grad()
def logits(model, sequences: list[dict]) -> np.ndarray:
    # Not through PEFT's own classes: that for questions leaves out the types of the tokens.
    plain = model.get_base_model() if isinstance(model, PeftModel) else model
    is_choice = type(plain).__name__.endswith("MultipleChoice")
    rows = []
    for sequence in sequences:
        ids = torch.tensor([sequence["input_ids"]])
        types = torch.tensor([sequence["token_type_ids"]])
        if is_choice:
            ids, types = ids[None], types[None]
        out = plain(input_ids=ids, token_type_ids=types)
        if "logits" in out:
            rows.append(out.logits.reshape(-1))
        else:
            rows.append(torch.stack([out.start_logits[0], out.end_logits[0]], -1).reshape(-1))
    return as_array(torch.cat(rows))


class Ours:
    def __init__(self, binary: Path, example: Path, directory: Path, sequences: list[dict]):
        self.binary, self.example, self.directory = binary, example, directory
        self.sequences = sequences

    def run(self, *command) -> str:
        printed = subprocess.run(command, check=True, capture_output=True, text=True)
        unexpected = [
            line for line in printed.stderr.splitlines()
            if not any(part in line for part in ["has no ", "no tokenizer was written"])
        ]  # fmt: skip
        if unexpected:
            print("\n".join(unexpected))
        return printed.stdout

    def logits(self, model: Path, adapter: Path) -> np.ndarray:
        source, target = self.directory / "input.jsonl", self.directory / "output.safetensors"
        source.write_text("".join(json.dumps(sequence) + "\n" for sequence in self.sequences))
        self.run(
            self.binary, "forward", "--model", model, "--adapter", adapter, "--input", source,
            "--output", target,
        )  # fmt: skip
        found = load_file(target)
        return np.concatenate([found[f"logits.{i}"].reshape(-1) for i in range(len(self.sequences))])

    def merge(self, model: Path, adapter: Path, to: Path) -> None:
        self.run(self.binary, "convert", "--from", model, "--adapter", adapter, "--to", to)

    def train(self, model: Path, adapter: Path, batches: list[list[dict]], to: Path) -> np.ndarray:
        file = self.directory / "batches.jsonl"
        file.write_text("".join(json.dumps(batch) + "\n" for batch in batches))
        return np.array([float(x) for x in self.run(self.example, model, adapter, file, to).split()])


def trained_by_torch(model, batches: list[list[dict]]) -> np.ndarray:
    """The losses before each step; leaves the trained numbers in `model`, in its precision."""
    model.train()
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for name, p in named if "bias" not in name], "weight_decay": DECAY},
            {"params": [p for name, p in named if "bias" in name], "weight_decay": 0.0},
        ],
        lr=RATE,
        betas=(0.9, 0.999),
        eps=EPSILON,
    )
    losses = []
    for batch in batches:
        optimizer.zero_grad()
        each = [
            model(
                input_ids=torch.tensor([one["input_ids"]]),
                token_type_ids=torch.tensor([one["token_type_ids"]]),
                labels=torch.tensor([one["label"]]),
            ).loss
            for one in batch
        ]
        loss = sum(each) / len(each)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    model.eval()
    return np.array(losses)


def check_training(worst, case: Case, ours: Ours, base: Path, adapter: Path, rng) -> None:
    draw = lambda: [
        one | {"label": int(rng.integers(LABELS))} for one in draw_sequences(case.config, rng, 4)
    ]
    batches = [draw() for _ in range(STEPS)]
    before = load_file(adapter / "adapter_model.safetensors")
    # The example trains beside a model with its head.
    headed = ours.directory / "headed"
    kind(case.config, case.head).from_pretrained(base, num_labels=case.labels).save_pretrained(headed)
    out = ours.directory / "trained"
    losses = ours.train(headed, adapter, batches, out)
    fresh = lambda: PeftModel.from_pretrained(with_head(base, case), adapter, is_trainable=True)
    single, model = fresh(), fresh().double()
    trained_by_torch(single, batches)
    add(worst, case, "losses", losses, trained_by_torch(model, batches))
    theirs = ours.directory / "theirs"
    single.save_pretrained(theirs)
    of_single = load_file(theirs / "adapter_model.safetensors")
    model.save_pretrained(theirs)
    want = load_file(theirs / "adapter_model.safetensors")
    got = load_file(out / "adapter_model.safetensors")
    if want.keys() != got.keys():
        raise SystemExit(f"{case.name}: other tensors: {want.keys() ^ got.keys()}")
    for name in want:
        add(worst, case, "trained", got[name], want[name].astype(np.float64))
        way = want[name] - before[name]
        add(worst, case, "moved", got[name] - before[name], way)
        add(worst, case, "float32", of_single[name] - before[name], way)
    written = PeftModel.from_pretrained(with_head(base, case), out).eval().double()
    mine = ours.logits(base, out)
    add(worst, case, "written", mine, logits(written, ours.sequences))
    if relative_error(mine, ours.logits(base, adapter)) < 0.1:
        raise SystemExit(f"{case.name}: training changed nothing")


def add(worst: dict, case: Case, what: str, got: np.ndarray, want: np.ndarray) -> None:
    error = relative_error(got.reshape(-1), want.reshape(-1))
    worst[case.name, what] = max(error, worst.get((case.name, what), 0.0))


def check(case: Case, worst: dict, binary: Path, example: Path, rng, directory: Path) -> None:
    base, adapter, merged = (directory / name for name in ("base", "adapter", "merged"))
    bare = kind(case.config, "Model")(case.config)
    draw_weights(bare, 0.2, rng)
    bare.save_pretrained(base)
    keys = dict(r=4, lora_alpha=6, target_modules=case.targets, task_type=case.task) | case.keys
    model = get_peft_model(with_head(base, case), LoraConfig(**keys))
    for _, parameter in sorted(model.named_parameters()):
        if parameter.requires_grad:
            # Larger ones, and the float32 of torch itself leaves its float64 within ten steps.
            drawn = 0.1 * rng.standard_normal(tuple(parameter.shape))
            parameter.data.copy_(torch.from_numpy(drawn))
    model.save_pretrained(adapter)
    ours = Ours(binary, example, directory, draw_sequences(case.config, rng, 5))
    want = logits(model.eval().double(), ours.sequences)
    if case.head == "ForMultipleChoice":
        # PEFT has no task of that name, so that the adapter must be told.
        config = case.config.to_dict() | {"architectures": [kind(case.config, case.head).__name__]}
        config = {key: config[key] for key in config if key not in ("return_dict", "is_encoder_decoder")}
        (adapter / "config.json").write_text(json.dumps(config))
    add(worst, case, "read", ours.logits(base, adapter), want)
    ours.merge(base, adapter, merged)
    whole, info = kind(case.config, case.head).from_pretrained(merged, output_loading_info=True)
    if info["missing_keys"] or info["mismatched_keys"]:
        sys.exit(f"{case.name}: the merged model: {info}")
    add(worst, case, "merged", logits(whole.eval().double(), ours.sequences), want)
    if case.head == "ForSequenceClassification":
        check_training(worst, case, ours, base, adapter, rng)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--albert-binary", type=Path, required=True)
    parser.add_argument("--example", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    rng, worst = np.random.default_rng(arguments.seed), {}
    torch.manual_seed(arguments.seed)
    for case in cases():
        with tempfile.TemporaryDirectory() as directory:
            binary, example = arguments.albert_binary.resolve(), arguments.example.resolve()
            check(case, worst, binary, example, rng, Path(directory))
    agrees = True
    for (name, what), error in worst.items():
        fails = not error <= LIMITS[what]
        agrees &= not fails
        print(f"{name:24} {what:10} {error:.1e}{'  FAILED' if fails else ''}")
    print("agree" if agrees else "DISAGREE")
    sys.exit(0 if agrees else 1)


if __name__ == "__main__":
    main()
