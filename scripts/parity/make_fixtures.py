"""Writes the golden fixtures of the model: `python make_fixtures.py OUT`.

For each tiny configuration OUT/<name> is a directory of `save_pretrained` (config.json,
model.safetensors) with batch.json and expected.safetensors beside it. Everything expected is
computed by transformers in float64 from the float32 weights and stored as float32, so it is the
truth to one rounding; the table printed at the end says how far torch's own float32 is from it.
"""

import argparse
import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file
from transformers import (
    AlbertConfig,
    AlbertForPreTraining,
    BertConfig,
    BertForPreTraining,
    PreTrainedModel,
)
from transformers.utils import logging

from compare import relative_error
from lamb import Lamb, clip_by_norm, global_norm, is_excluded, scheduled_learning_rate

STEPS = 10
IGNORED = -100
CLS, SEP, MASK, FIRST_WORD = 2, 3, 4, 5
PAD = 0

Tensors = dict[str, np.ndarray]


@dataclass
class Case:
    """One fixture. With larger matrices in a deep case all tokens of a sequence become alike, the
    gradients of queries and keys vanish and only rounding is left of them in float32."""

    name: str
    seed: int
    config: AlbertConfig | BertConfig
    lengths: list[int]
    matrix_std: float = 0.3
    lamb: bool = False


def albert(**keys) -> AlbertConfig:
    return AlbertConfig(classifier_dropout_prob=0.0, **keys)


def cases() -> list[Case]:
    """Sizes are odd on purpose: no dimension is a multiple of a vector register. In each case
    one sequence fills every position and one is a single token."""
    shared = albert(
        vocab_size=61, embedding_size=12, hidden_size=24, num_hidden_layers=3,
        num_attention_heads=3, intermediate_size=40, max_position_embeddings=32,
        hidden_act="gelu_new",
    )  # fmt: skip
    groups = albert(
        vocab_size=47, embedding_size=10, hidden_size=20, num_hidden_layers=4,
        num_hidden_groups=2, inner_group_num=2, num_attention_heads=4, intermediate_size=36,
        max_position_embeddings=24, hidden_act="gelu", layer_norm_eps=1e-3,
    )  # fmt: skip
    relu_heads = albert(
        vocab_size=53, embedding_size=11, hidden_size=26, num_hidden_layers=2,
        num_attention_heads=2, intermediate_size=37, max_position_embeddings=29,
        hidden_act="relu", layer_norm_eps=1e-12,
    )  # fmt: skip
    bert = BertConfig(
        vocab_size=61, hidden_size=24, num_hidden_layers=2, num_attention_heads=3,
        intermediate_size=44, max_position_embeddings=32, hidden_act="gelu",
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    return [
        Case("albert_shared", 1, shared, [19, 32, 1, 7, 12], lamb=True),
        Case("albert_groups", 2, groups, [9, 1, 24, 16], matrix_std=0.2),
        Case("albert_relu_heads", 3, relu_heads, [29, 5, 1, 17]),
        Case("bert", 4, bert, [11, 32, 1, 23, 6]),
    ]


def draw_weights(model: PreTrainedModel, matrix_std: float, rng: np.random.Generator) -> None:
    """Large weights, so that an error anywhere shows: 0.02 would hide it."""
    for name, parameter in sorted(model.named_parameters()):
        w = rng.standard_normal(tuple(parameter.shape))
        if "LayerNorm" in name or "layer_norm" in name:
            w = 0.2 * w + (1.0 if name.endswith("weight") else 0.0)
        else:
            w *= 0.2 if "bias" in name else matrix_std
        parameter.data.copy_(torch.from_numpy(w))


def draw_sequence(length: int, label: int, config, rng: np.random.Generator) -> dict:
    """[CLS] A [SEP] B [SEP] cut to `length`, about a quarter of it asked for, most as [MASK]."""
    ids = rng.integers(FIRST_WORD, config.vocab_size, length)
    middle = length // 2
    types = np.where(np.arange(length) > middle, 1, 0)
    ids[middle] = SEP
    ids[-1] = SEP
    ids[0] = CLS
    words = np.flatnonzero(ids >= FIRST_WORD)
    asked = np.sort(rng.permutation(words)[: (len(words) + 3) // 4])
    labels = ids[asked].copy()
    ids[asked[rng.random(len(asked)) < 0.8]] = MASK
    assert PAD not in ids
    return {
        "input_ids": ids.tolist(),
        "token_type_ids": types.tolist(),
        "masked_positions": asked.tolist(),
        "masked_labels": labels.tolist(),
        "sentence_label": label,
    }


def draw_batch(case: Case, rng: np.random.Generator) -> list[dict]:
    batch = [draw_sequence(n, i % 2, case.config, rng) for i, n in enumerate(case.lengths)]
    assert any(not sequence["masked_positions"] for sequence in batch)
    return batch


def pad(batch: list[dict]) -> dict[str, torch.Tensor]:
    """The batch as transformers takes it: right-padded, labels -100 where nothing is asked."""
    shape = (len(batch), max(len(sequence["input_ids"]) for sequence in batch))
    ids, types = np.full(shape, PAD), np.zeros(shape, int)
    attended, labels = np.zeros(shape, int), np.full(shape, IGNORED)
    for i, sequence in enumerate(batch):
        length = len(sequence["input_ids"])
        ids[i, :length] = sequence["input_ids"]
        types[i, :length] = sequence["token_type_ids"]
        attended[i, :length] = 1
        labels[i, sequence["masked_positions"]] = sequence["masked_labels"]
    arrays = {
        "input_ids": ids,
        "token_type_ids": types,
        "attention_mask": attended,
        "labels": labels,
    }
    padded = {name: torch.from_numpy(array) for name, array in arrays.items()}
    padded["sentence_labels"] = torch.tensor([s["sentence_label"] for s in batch])
    return padded


def forward(model: PreTrainedModel, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Encoder and heads, with the two losses when the inputs hold labels."""
    keys = ("input_ids", "token_type_ids", "attention_mask")
    encoded = model.base_model(**{key: inputs[key] for key in keys if key in inputs})
    hidden, pooled = encoded.last_hidden_state, encoded.pooler_output
    if model.config.model_type == "bert":
        predictions, order = model.cls(hidden, pooled)
    else:
        predictions, order = model.predictions(hidden), model.sop_classifier(pooled)
    outputs = {
        "last_hidden_state": hidden,
        "pooler_output": pooled,
        "prediction_logits": predictions,
        "sop_logits": order,
    }
    if "labels" in inputs:
        cross_entropy = torch.nn.functional.cross_entropy
        outputs["mlm_loss"] = cross_entropy(predictions.flatten(0, 1), inputs["labels"].flatten())
        outputs["sop_loss"] = cross_entropy(order, inputs["sentence_labels"])
        outputs["loss"] = outputs["mlm_loss"] + outputs["sop_loss"]
    return outputs


def as_array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().numpy().copy()


def expected_outputs(model: PreTrainedModel, batch: list[dict]) -> Tensors:
    """Outputs of each sequence on its own and the losses of the batch."""
    expected = {}
    for i, sequence in enumerate(batch):
        inputs = {
            key: torch.tensor([sequence[key]]) for key in ("input_ids", "token_type_ids")
        }
        for name, tensor in forward(model, inputs).items():
            expected[f"{name}.{i}"] = as_array(tensor[0])
    losses = forward(model, pad(batch))
    for name in ("loss", "mlm_loss", "sop_loss"):
        expected[name] = as_array(losses[name]).reshape(1)
    return expected


def check_padding_agrees(model: PreTrainedModel, batch: list[dict], expected: Tensors) -> None:
    """Padded with a mask, transformers gives what it gives sequence by sequence."""
    padded = forward(model, pad(batch))
    for i, sequence in enumerate(batch):
        for name in ("last_hidden_state", "pooler_output", "prediction_logits", "sop_logits"):
            got = as_array(padded[name][i])
            if name in ("last_hidden_state", "prediction_logits"):
                got = got[: len(sequence["input_ids"])]
            assert relative_error(got, expected[f"{name}.{i}"]) < 1e-12, name


def check_loss_is_the_librarys(model: PreTrainedModel, batch: list[dict], loss: float) -> None:
    """Our sum of the two means is the loss that transformers itself returns."""
    inputs = pad(batch)
    key = "next_sentence_label" if model.config.model_type == "bert" else "sentence_order_label"
    inputs[key] = inputs.pop("sentence_labels")
    assert abs(model(**inputs).loss.item() - loss) < 1e-12 * loss


def loss_and_gradients(model: PreTrainedModel, batch: list[dict]) -> tuple[float, Tensors]:
    model.zero_grad()
    loss = forward(model, pad(batch))["loss"]
    loss.backward()
    # named_parameters gives a tied tensor once: the decoder's part is in word_embeddings.
    return loss.item(), {name: as_array(p.grad) for name, p in model.named_parameters()}


def zero_key_bias(gradients: Tensors) -> Tensors:
    """The gradient of a key bias is exactly zero (it moves all scores of a query alike), what is
    computed is rounding: stored as the zero it is."""
    cleaned = dict(gradients)
    for name in gradients:
        if name.endswith("key.bias"):
            scale = np.linalg.norm(gradients[name.replace("key.bias", "query.bias")])
            rounding = 1e4 * np.finfo(gradients[name].dtype).eps
            assert np.linalg.norm(gradients[name]) < rounding * scale, name
            cleaned[name] = np.zeros_like(gradients[name])
    return cleaned


def parameters_of(model: PreTrainedModel) -> Tensors:
    return {name: as_array(p) for name, p in model.named_parameters()}


def run_adamw(model: PreTrainedModel, batch: list[dict]) -> Tensors:
    """Ten steps of torch.optim.AdamW on the same batch; losses are those before each step."""
    model = copy.deepcopy(model)
    named = list(model.named_parameters())
    groups = [
        {"params": [p for n, p in named if not is_excluded(n)], "weight_decay": 0.01},
        {"params": [p for n, p in named if is_excluded(n)], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.999), eps=1e-6)
    losses = []
    for _ in range(STEPS):
        losses.append(loss_and_gradients(model, batch)[0])
        optimizer.step()
    expected = {f"adamw.{name}": w for name, w in parameters_of(model).items()}
    return expected | {"adamw_losses": np.array(losses)}


def run_lamb(
    model: PreTrainedModel,
    batch: list[dict],
    prefix: str,
    learning_rate: Callable[[int], float],
    norm_max: float | None,
) -> Tensors:
    """Ten LAMB steps on the same batch: parameters in float64 throughout."""
    model = copy.deepcopy(model)
    parameters = parameters_of(model)
    optimizer = Lamb(parameters)
    log = {"losses": [], "grad_norms": [], "learning_rates": []}
    for step in range(STEPS):
        loss, gradients = loss_and_gradients(model, batch)
        norm = global_norm(gradients)
        if norm_max is not None:
            gradients = clip_by_norm(gradients, norm, norm_max)
        optimizer.step(parameters, gradients, learning_rate(step))
        for name, parameter in model.named_parameters():
            parameter.data.copy_(torch.from_numpy(parameters[name]))
        log["losses"].append(loss)
        log["grad_norms"].append(norm)
        log["learning_rates"].append(learning_rate(step))
    expected = {f"{prefix}.{name}": w for name, w in parameters.items()}
    return expected | {f"{prefix}_{key}": np.array(values) for key, values in log.items()}


def run_all(model: PreTrainedModel, batch: list[dict], lamb: bool) -> Tensors:
    """Everything that is expected of one model, in its own precision."""
    expected = expected_outputs(model, batch)
    _, gradients = loss_and_gradients(model, batch)
    expected |= {f"grad.{name}": g for name, g in zero_key_bias(gradients).items()}
    expected |= run_adamw(model, batch)
    if lamb:
        peak = 0.00176
        expected |= run_lamb(model, batch, "lamb", lambda step: peak, None)
        schedule = lambda step: scheduled_learning_rate(step, peak, 4, STEPS)  # noqa: E731
        expected |= run_lamb(model, batch, "lamb_schedule", schedule, 1.0)
    return expected


def build(case: Case, rng: np.random.Generator) -> PreTrainedModel:
    model_type = BertForPreTraining if case.config.model_type == "bert" else AlbertForPreTraining
    case.config._attn_implementation = "eager"
    model = model_type(case.config).eval()
    draw_weights(model, case.matrix_std, rng)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    return model


def check_it_loads(directory: Path, model: PreTrainedModel) -> None:
    loaded, info = type(model).from_pretrained(directory, output_loading_info=True)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    for name, parameter in loaded.named_parameters():
        assert torch.equal(parameter, model.get_parameter(name)), name


def write(case: Case, out: Path) -> dict[str, float]:
    """Writes one fixture; returns the relative error of torch's float32 per kind of tensor."""
    rng = np.random.default_rng(case.seed)
    model = build(case, rng)
    batch = draw_batch(case, rng)
    directory = out / case.name
    model.save_pretrained(directory)
    check_it_loads(directory, model)
    exact_model = copy.deepcopy(model).double()
    exact = run_all(exact_model, batch, case.lamb)
    check_padding_agrees(exact_model, batch, exact)
    check_loss_is_the_librarys(exact_model, batch, exact["loss"].item())
    single = run_all(model, batch, case.lamb)
    lines = ",\n".join(json.dumps(sequence) for sequence in batch)
    (directory / "batch.json").write_text(f'{{"sequences": [\n{lines}\n]}}\n')
    stored = {name: tensor.astype(np.float32) for name, tensor in exact.items()}
    save_file(stored, directory / "expected.safetensors")
    for file in directory.glob("*.safetensors"):
        file.chmod(0o644)
    return noise(single, exact)


def noise(single: Tensors, exact: Tensors) -> dict[str, float]:
    """The worst relative error of each kind of tensor. A fixture that float32 cannot compute
    well would make every tolerance a guess, so it is refused."""
    worst: dict[str, float] = {}
    for name, want in exact.items():
        kind = name.split(".")[0] + (" key.bias" if name.endswith("key.bias") else "")
        worst[kind] = max(worst.get(kind, 0.0), relative_error(single[name], want))
        assert worst[kind] < (1e-3 if "key.bias" in kind else 5e-6), name
    return worst


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="the directory to write to")
    arguments = parser.parse_args()
    logging.disable_progress_bar()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    for case in cases():
        print(case.name, "(relative error of torch float32)")
        for kind, error in write(case, arguments.out).items():
            print(f"  {kind:30} {error:.1e}")


if __name__ == "__main__":
    main()
