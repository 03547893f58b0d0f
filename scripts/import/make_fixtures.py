"""Writes the golden fixtures of the readers of foreign files: `python make_fixtures.py OUT`.

OUT/albert and OUT/bert each hold one tiny model of random weights with what transformers computes
with it in float64, and the same weights in every format that is read. All weights are exact in
bfloat16 and in float16, so that every file must give the same float32 numbers to the bit.

The checkpoints of TensorFlow are written by another program, since PyTorch and TensorFlow rarely
live in one environment: `python make_tensorflow.py OUT HEADS`, afterwards.
"""

import argparse
import io
import json
import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AlbertConfig, AlbertForPreTraining, BertConfig, BertForPreTraining

SIZES = dict(
    vocab_size=13, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=10,
    max_position_embeddings=7, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
)  # fmt: skip
INPUT_IDS = [[2, 7, 4, 3, 12, 10, 3]]
TOKEN_TYPE_IDS = [[0, 0, 0, 0, 1, 1, 1]]


def models():
    """ALBERT, and BERT with one layer less."""
    albert = AlbertConfig(
        **SIZES, embedding_size=4, num_hidden_groups=1, inner_group_num=1,
        classifier_dropout_prob=0.0, hidden_act="gelu_new",
    )  # fmt: skip
    bert = BertConfig(**{**SIZES, "num_hidden_layers": 1}, hidden_act="gelu")
    return [("albert", AlbertForPreTraining(albert)), ("bert", BertForPreTraining(bert))]


def randomise(model) -> None:
    generator = torch.Generator().manual_seed(7)
    for parameter in model.parameters():
        noise = torch.randn(parameter.shape, generator=generator) * 0.4
        # Steps of 1/64 below 2: exact in every floating-point format.
        parameter.data = (noise.clamp(-1.9, 1.9) * 64).round() / 64
    model.tie_weights()
    model.eval()


def unique(model) -> dict[str, torch.Tensor]:
    """The tensors of the model without the repetitions that tying makes."""
    tied = ("predictions.decoder.", "cls.predictions.decoder.")
    tensors = {n: t for n, t in model.state_dict().items() if not n.startswith(tied)}
    return {n: t.detach().contiguous().clone() for n, t in tensors.items() if "position_ids" not in n}


def write_expected(model, directory: Path) -> None:
    copied = type(model)(model.config)
    copied.load_state_dict(model.state_dict())
    double = copied.double().eval()
    with torch.no_grad():
        ids, types = torch.tensor(INPUT_IDS), torch.tensor(TOKEN_TYPE_IDS)
        output = double(input_ids=ids, token_type_ids=types)
    order = output[1]
    expected = {
        "input_ids": INPUT_IDS[0],
        "token_type_ids": TOKEN_TYPE_IDS[0],
        "prediction_logits": output.prediction_logits[0].flatten().tolist(),
        "sop_logits": order[0].tolist(),
    }
    (directory / "expected.json").write_text(json.dumps(expected) + "\n")


def strided(tensors: dict[str, torch.Tensor]) -> OrderedDict:
    """Transposed, cut out of common storages, with a gap before and after, and repeated."""
    result = OrderedDict()
    biases = torch.cat([torch.full((3,), torch.nan)] + [t for t in tensors.values() if t.dim() == 1])
    at = 3
    for number, (name, tensor) in enumerate(tensors.items()):
        if tensor.dim() == 1:
            result[name] = biases[at : at + len(tensor)]
            at += len(tensor)
        elif number % 2 == 0:
            result[name] = tensor.t().contiguous().t()
        else:
            wide = torch.full((tensor.shape[0], tensor.shape[1] + 2), torch.nan)
            wide[:, 1:-1] = tensor
            result[name] = wide[:, 1:-1]
    return result


def old_names(tensors: dict[str, torch.Tensor]) -> OrderedDict:
    def old(name: str) -> str:
        if "LayerNorm" in name:
            name = name.replace(".weight", ".gamma").replace(".bias", ".beta")
        return "module." + name

    return OrderedDict((old(name), tensor) for name, tensor in tensors.items())


def write_shards(tensors: dict[str, torch.Tensor], directory: Path, stem: str, ending: str) -> None:
    """As `save_pretrained(max_shard_size=...)` does."""
    names = list(tensors)
    halves = [names[: len(names) // 2], names[len(names) // 2 :]]
    weight_map = {}
    for number, half in enumerate(halves, 1):
        file = f"{stem}-{number:05}-of-00002.{ending}"
        part = {name: tensors[name] for name in half}
        if ending == "bin":
            torch.save(part, directory / file)
        else:
            save_file(part, directory / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(half, file)
    size = sum(t.numel() * t.element_size() for t in tensors.values())
    table = {"metadata": {"total_size": size}, "weight_map": dict(sorted(weight_map.items()))}
    (directory / f"{stem}.{ending}.index.json").write_text(json.dumps(table) + "\n")


class Evil:
    def __reduce__(self):
        return (os.system, ("touch executed",))


def rezipped(path: Path, pickled: bytes) -> None:
    """The archive at `path` with another data.pkl."""
    with zipfile.ZipFile(path) as archive:
        entries = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in entries.items():
            archive.writestr(name, pickled if name.endswith("/data.pkl") else data)


def write_albert(model, directory: Path) -> None:
    tensors = unique(model)
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    types = [torch.half, torch.bfloat16, torch.float, torch.double]
    mixed = {n: t.to(types[number % 4]) for number, (n, t) in enumerate(tensors.items())}
    save_file(mixed, directory / "mixed.safetensors")
    torch.save(mixed, directory / "mixed.bin")
    # With the tied decoder, as a state_dict has it.
    torch.save(model.state_dict(), directory / "zip.bin")
    torch.save(model.state_dict(), directory / "legacy.bin", _use_new_zipfile_serialization=False)
    torch.save(strided(tensors), directory / "strided.bin")
    parameters = {n: torch.nn.Parameter(t) for n, t in tensors.items()}
    torch.save(
        {"epoch": 3, "loss": 0.5, "state_dict": parameters, "names": ["a", None, True]},
        directory / "training.bin",
    )
    write_shards(tensors, directory, "model", "safetensors")
    write_shards(tensors, directory, "pytorch_model", "bin")


def write_evil(directory: Path) -> None:
    torch.save({"a": torch.ones(2)}, directory / "evil_zip.bin")
    rezipped(directory / "evil_zip.bin", pickle.dumps({"a": Evil()}, protocol=2))
    buffer = io.BytesIO()
    for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, {"a": Evil()}, []):
        pickle.dump(part, buffer, protocol=2)
    (directory / "evil_legacy.bin").write_bytes(buffer.getvalue())
    torch.save({"config": io.BytesIO, "a": torch.ones(2)}, directory / "evil_class.bin")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    for name, model in models():
        directory = out / name
        directory.mkdir(parents=True, exist_ok=True)
        randomise(model)
        model.config.architectures = [type(model).__name__]
        model.config.save_pretrained(directory)
        write_expected(model, directory)
        if name == "albert":
            write_albert(model, directory)
            write_evil(directory)
        else:
            tensors = unique(model)
            save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
            torch.save(old_names(tensors), directory / "old_names.bin")
    print("wrote", sum(1 for _ in out.rglob("*.*")), "files")


if __name__ == "__main__":
    main()
