"""Models of every head, held against transformers.

    python heads.py fixtures OUT                 writes the golden fixtures of the heads
    python heads.py check --albert-binary PATH [--count 20] [--seed 0] [--full | --model DIR]

`check` draws configs (groups, inner groups, widths, heads, activations, eps), makes of each a model
with every head and random weights, and compares all that `albert forward` gives, for sequences of
many lengths, with transformers in float64. With --full the configs are albert-base-v2 and
bert-base, with --model it is the model in a directory. Exit code 0: they agree; 1: they do not. transformers 4.57 itself
fails on some configs with inner groups; 5.23 does not.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors.numpy import load_file, save_file
from torch import nn
from transformers import AlbertConfig, AlbertModel, BertConfig, BertModel
from transformers.models.xlnet import modeling_xlnet as xlnet

from compare import relative_error
from make_fixtures import as_array, draw_weights

ERROR_MAX = 1e-4
HEADS = [
    "ForSequenceClassification",
    "ForTokenClassification",
    "ForMultipleChoice",
    "ForQuestionAnswering",
    "ForPreTraining",
    "ForMaskedLM",
    "Model",
]
BERT_HEADS = [*HEADS, "ForNextSentencePrediction"]
LABELS = 5


class Joint(nn.Module):
    """The joint head of SQuAD 2.0 as transformers has it for XLNet, on ALBERT or BERT."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        albert = isinstance(config, AlbertConfig)
        setattr(self, "albert" if albert else "bert", (AlbertModel if albert else BertModel)(config))
        part = lambda name: getattr(xlnet, f"XLNetPooler{name}", None) or getattr(xlnet, f"Pooler{name}")
        self.start_logits = part("StartLogits")(config)
        self.end_logits = part("EndLogits")(config)
        self.answer_class = part("AnswerClass")(config)

    @torch.no_grad()
    def forward(self, ids, types, context: range, count: int) -> dict[str, torch.Tensor]:
        """The likeliest starts and ends among the first token and those in `context`."""
        base = self.albert if isinstance(self.config, AlbertConfig) else self.bert
        hidden = base(input_ids=ids, token_type_ids=types).last_hidden_state
        closed = torch.ones(ids.shape, dtype=hidden.dtype)
        closed[0, [0, *context]] = 0
        # The modules subtract 1e30, which is minus infinity for every purpose.
        start = torch.log_softmax(self.start_logits(hidden, p_mask=closed), -1)
        count = min(count, int((closed == 0).sum()))
        scores, tokens = torch.topk(start[0], count)
        share = torch.einsum("l,lh->h", start[0].exp(), hidden[0])[None]
        answerable = self.answer_class(hidden, start_states=share, cls_index=torch.tensor([0]))
        ends, end_scores = [], []
        for token in tokens:
            at = token.view(1)
            logits = self.end_logits(hidden, start_positions=at, p_mask=closed)
            top = torch.topk(torch.log_softmax(logits, -1)[0], count)
            ends.append(top.indices)
            end_scores.append(top.values)
        return {
            "start_tokens": tokens,
            "start_scores": scores,
            "end_tokens": torch.stack(ends),
            "end_scores": torch.stack(end_scores),
            "no_answer": answerable.view(1),
        }


    def loss(self, ids, types, context: range, span: tuple[int, int], impossible: bool):
        """As `squad_utils.py` of the original ALBERT has it, without dropout."""
        base = self.albert if isinstance(self.config, AlbertConfig) else self.bert
        hidden = base(input_ids=ids, token_type_ids=types).last_hidden_state
        closed = torch.ones(ids.shape, dtype=hidden.dtype)
        closed[0, [0, *context]] = 0
        start, end = torch.tensor([span[0]]), torch.tensor([span[1]])
        start_logits = self.start_logits(hidden, p_mask=closed)
        end_logits = self.end_logits(hidden, start_positions=start, p_mask=closed)
        share = torch.einsum("l,lh->h", torch.softmax(start_logits[0], -1), hidden[0])[None]
        answerable = self.answer_class(hidden, start_states=share, cls_index=torch.tensor([0]))
        truth = torch.tensor([float(impossible)], dtype=hidden.dtype)
        entropy = nn.functional.cross_entropy
        spans = (entropy(start_logits, start) + entropy(end_logits, end)) / 2
        return spans + nn.functional.binary_cross_entropy_with_logits(answerable, truth) / 2


def build(config, head: str):
    """A model, with a config that says what its outputs are."""
    family = "Albert" if isinstance(config, AlbertConfig) else "Bert"
    if head == "ForJointQuestionAnswering":
        config.architectures = [family + head]
        return Joint(config)
    if head in ("ForSequenceClassification", "ForTokenClassification"):
        config.id2label = {i: f"label {i}" for i in range(LABELS)}
        config.label2id = {name: i for i, name in config.id2label.items()}
    return getattr(transformers, family + head)(config)


def save(model, directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    if not isinstance(model, Joint):
        model.float().save_pretrained(directory)
        return
    # Not from `to_json_string`, which leaves out what has the default value.
    keys = [
        "architectures", "model_type", "vocab_size", "hidden_size", "num_hidden_layers",
        "num_attention_heads", "intermediate_size", "hidden_act", "hidden_dropout_prob",
        "attention_probs_dropout_prob", "max_position_embeddings", "type_vocab_size",
        "initializer_range", "layer_norm_eps", "embedding_size", "num_hidden_groups",
        "inner_group_num",
    ]  # fmt: skip
    config = {key: getattr(model.config, key) for key in keys if hasattr(model.config, key)}
    directory.joinpath("config.json").write_text(json.dumps(config, indent=1) + "\n")
    weights = {name: as_array(x) for name, x in model.state_dict().items() if "_ids" not in name}
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})


@torch.no_grad()
def outputs(model, sequence: dict) -> dict[str, np.ndarray]:
    """What `albert forward` gives for a sequence, by its names."""
    ids = torch.tensor([sequence["input_ids"]])
    types = torch.tensor([sequence["token_type_ids"]])
    name = type(model).__name__
    base = getattr(model, model.base_model_prefix, model)
    plain = base(input_ids=ids, token_type_ids=types)
    wanted = {"last_hidden_state": plain.last_hidden_state[0]}
    if plain.pooler_output is not None:
        wanted["pooler_output"] = plain.pooler_output[0]
    if name.endswith("MultipleChoice"):
        out = model(input_ids=ids[None], token_type_ids=types[None])
    elif name.endswith("Model"):
        return {key: as_array(tensor) for key, tensor in wanted.items()}
    else:
        out = model(input_ids=ids, token_type_ids=types)
    if name.endswith("ForPreTraining"):
        wanted["prediction_logits"] = out.prediction_logits[0]
        order = "sop_logits" if name.startswith("Albert") else "seq_relationship_logits"
        wanted["sop_logits"] = out[order][0]
    elif name.endswith("MaskedLM"):
        wanted["prediction_logits"] = out.logits[0]
    elif name.endswith("NextSentencePrediction"):
        wanted["sop_logits"] = out.logits[0]
    elif name.endswith("QuestionAnswering"):
        wanted["logits"] = torch.stack([out.start_logits[0], out.end_logits[0]], -1)
    else:
        wanted["logits"] = out.logits[0]
    return {key: as_array(tensor) for key, tensor in wanted.items()}


def draw_config(rng: np.random.Generator, albert: bool):
    heads = int(rng.integers(1, 5))
    hidden = heads * int(rng.integers(2, 24))
    keys = dict(
        vocab_size=int(rng.integers(8, 300)),
        hidden_size=hidden,
        num_attention_heads=heads,
        intermediate_size=int(rng.integers(1, 130)),
        max_position_embeddings=int(rng.integers(8, 140)),
        hidden_act=str(rng.choice(["gelu", "gelu_new", "relu"])),
        layer_norm_eps=float(rng.choice([1e-12, 1e-5, 1e-3])),
        type_vocab_size=int(rng.integers(2, 4)),
    )
    layers = int(rng.integers(1, 6))
    if not albert:
        return BertConfig(num_hidden_layers=layers, **keys)
    groups = int(rng.choice([g for g in range(1, layers + 1) if layers % g == 0]))
    return AlbertConfig(
        num_hidden_layers=layers,
        num_hidden_groups=groups,
        inner_group_num=int(rng.integers(1, 4)),
        embedding_size=int(rng.integers(2, 40)),
        **keys,
    )


def draw_sequences(config, rng: np.random.Generator, count: int) -> list[dict]:
    positions = config.max_position_embeddings
    lengths = [1, positions, *rng.integers(2, positions + 1, count - 2).tolist()]
    # Not the padding, whose embedding torch gives no gradient.
    draw = lambda length: {
        "input_ids": rng.integers(1, config.vocab_size, length).tolist(),
        "token_type_ids": np.sort(rng.integers(0, 2, length)).tolist(),
    }
    return [draw(length) for length in lengths]


def run(binary: Path, directory: Path, sequences: list[dict]) -> dict[str, np.ndarray]:
    source, target = directory / "input.jsonl", directory / "output.safetensors"
    source.write_text("".join(json.dumps(sequence) + "\n" for sequence in sequences))
    command = [binary, "forward", "--model", directory, "--input", source, "--output", target]
    printed = subprocess.run(command, check=True, capture_output=True, text=True)
    if printed.stderr:
        print(printed.stderr, end="")
    return load_file(target)


class Worst:
    """The largest error of each output of each kind of model."""

    def __init__(self, binary: Path, rng: np.random.Generator):
        self.binary, self.rng = binary, rng
        self.errors: dict[str, tuple[float, str]] = {}

    def check(self, model, directory: Path, where: str) -> None:
        """Compares `model`, which is saved in `directory`."""
        sequences = draw_sequences(model.config, self.rng, 5)
        got = run(self.binary, directory, sequences)
        model, name = model.double(), type(model).__name__
        for i, sequence in enumerate(sequences):
            for kind, want in outputs(model, sequence).items():
                found = got.pop(f"{kind}.{i}", np.array(np.nan))
                error = relative_error(found.reshape(-1), want.reshape(-1))
                self.add(f"{name} {kind}", error, where)
        for unexpected in got:
            self.add(f"{name} {unexpected} is not expected", np.inf, where)

    def add(self, what: str, error: float, where: str) -> None:
        if not error <= self.errors.get(what, (-1.0, ""))[0]:
            self.errors[what] = error, where

    def agree(self) -> bool:
        for name, (error, where) in sorted(self.errors.items()):
            verdict = "" if error <= ERROR_MAX else "  FAILED"
            print(f"{name:52} {error:.1e} ({where}){verdict}")
        return all(error <= ERROR_MAX for error, _ in self.errors.values())


def check_drawn(worst: Worst, configs) -> None:
    for number, config in enumerate(configs):
        for head in HEADS if isinstance(config, AlbertConfig) else BERT_HEADS:
            model = build(type(config)(**config.to_diff_dict()), head).eval()
            if config.vocab_size < 1000:
                draw_weights(model, 0.2, worst.rng)
            with tempfile.TemporaryDirectory() as directory:
                save(model, Path(directory))
                worst.check(model, Path(directory), f"config {number}")


def check_saved(worst: Worst, directory: Path) -> None:
    config = transformers.AutoConfig.from_pretrained(directory)
    kind = getattr(transformers, config.architectures[0])
    model, info = kind.from_pretrained(directory, output_loading_info=True)
    if info["missing_keys"] or info["unexpected_keys"] or info["mismatched_keys"]:
        sys.exit(f"{directory}: {info}")
    worst.check(model.eval(), directory, str(directory))


def losses(model, sequences: list[dict]) -> list[torch.Tensor]:
    """What transformers makes of each sequence and a target; of the options of a choice, at once."""
    ids = [torch.tensor([sequence["input_ids"]]) for sequence in sequences]
    types = [torch.tensor([sequence["token_type_ids"]]) for sequence in sequences]
    name, found = type(model).__name__, []
    if name.endswith("MultipleChoice"):
        padded = lambda rows: nn.utils.rnn.pad_sequence([row[0] for row in rows], batch_first=True)
        mask = padded([torch.ones_like(row) for row in ids])
        inputs = dict(input_ids=padded(ids), token_type_ids=padded(types), attention_mask=mask)
        inputs = {key: rows[None] for key, rows in inputs.items()}
        return [model(**inputs, labels=torch.tensor([1])).loss]
    for number, (row, kinds) in enumerate(zip(ids, types)):
        length = row.shape[1]
        if name == "Joint":
            context = range(length // 2, length)
            impossible = number % 2 == 0
            span = (0, 0) if impossible else (length // 2, length - 1)
            found.append(model.loss(row, kinds, context, span, impossible))
            continue
        if name.endswith("SequenceClassification"):
            target = dict(labels=torch.tensor([number % LABELS]))
        elif name.endswith("TokenClassification"):
            labels = torch.arange(length) % (LABELS + 1) - 1
            target = dict(labels=torch.where(labels < 0, -100, labels)[None])
            if length == 1:
                continue  # The only token is not asked about: a mean of nothing.
        else:
            target = dict(
                start_positions=torch.tensor([length // 3]), end_positions=torch.tensor([length // 2])
            )
        found.append(model(input_ids=row, token_type_ids=kinds, **target).loss)
    return found


def write_fixtures(out: Path) -> None:
    """One tiny model for each head and family."""
    rng = np.random.default_rng(7)
    sizes = dict(
        vocab_size=29, hidden_size=18, num_attention_heads=3, intermediate_size=22,
        num_hidden_layers=2, max_position_embeddings=21,
    )  # fmt: skip
    for head in [*HEADS[:4], "ForJointQuestionAnswering"]:
        for config in [
            AlbertConfig(embedding_size=7, hidden_act="gelu_new", **sizes),
            BertConfig(hidden_act="gelu", **sizes),
        ]:
            directory = out / f"{config.model_type}_{head.removeprefix('For').lower()}"
            model = build(config, head).eval()
            draw_weights(model, 0.3, rng)
            save(model, directory)
            sequences = draw_sequences(config, rng, 3)
            directory.joinpath("batch.json").write_text(json.dumps({"sequences": sequences}) + "\n")
            model, expected = model.double(), {}
            for i, sequence in enumerate(sequences):
                if isinstance(model, Joint):
                    ids = torch.tensor([sequence["input_ids"]])
                    types = torch.tensor([sequence["token_type_ids"]])
                    context = range(ids.shape[1] // 2, ids.shape[1])
                    found = model(ids, types, context, 3).items()
                    values = {key: np.asarray(tensor, np.float32) for key, tensor in found}
                else:
                    values = {"logits": outputs(model, sequence)["logits"].astype(np.float32)}
                expected |= {f"{key}.{i}": np.ascontiguousarray(x) for key, x in values.items()}
            loss = sum(losses(model, sequences))
            loss.backward()
            expected["loss"] = np.array([loss.item()], np.float32)
            for name, parameter in model.named_parameters():
                if parameter.grad is not None:
                    expected[f"grad.{name}"] = as_array(parameter.grad).astype(np.float32)
            save_file(expected, directory / "expected.safetensors")
            print(directory)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("fixtures").add_argument("out", type=Path)
    checking = commands.add_parser("check")
    checking.add_argument("--albert-binary", type=Path, required=True)
    checking.add_argument("--count", type=int, default=20)
    checking.add_argument("--seed", type=int, default=0)
    checking.add_argument("--full", action="store_true")
    checking.add_argument("--model", type=Path)
    arguments = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    if arguments.command == "fixtures":
        write_fixtures(arguments.out)
        return
    worst = Worst(arguments.albert_binary, np.random.default_rng(arguments.seed))
    torch.manual_seed(arguments.seed)
    if arguments.model is not None:
        check_saved(worst, arguments.model)
    elif arguments.full:
        base = AlbertConfig(
            hidden_size=768, num_attention_heads=12, intermediate_size=3072, hidden_act="gelu_new"
        )
        check_drawn(worst, [base, BertConfig()])
    else:
        drawn = (draw_config(worst.rng, number % 2 == 0) for number in range(arguments.count))
        check_drawn(worst, drawn)
    agrees = worst.agree()
    print("agree" if agrees else "DISAGREE")
    sys.exit(0 if agrees else 1)


if __name__ == "__main__":
    main()
