"""The files that peers read, made once from the model's directory and kept beside it.

| file | for | what |
|---|---|---|
| `model.onnx` | all below | encoder and pooler, attention written out |
| `fused.onnx` | ONNX Runtime | the same after its own transformer optimiser |
| `fused-int8.onnx` | ONNX Runtime | that, with dynamically quantised products |
| `gelu.onnx`, `gelu-int8.onnx` | rten | fused as far as rten knows the operators |
| `openvino.xml` | OpenVINO | from `model.onnx` |
| `openvino-int8.xml` | OpenVINO | quantised after training by NNCF |

`python export.py JOB.json`, in a process of its own: a library that fails takes only itself along.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

INPUTS = ["input_ids", "token_type_ids", "attention_mask"]
OUTPUTS = ["last_hidden_state", "pooler_output"]
OPSET = 17


def export_onnx(model: Path, out: Path, _job: dict[str, Any]) -> None:
    """Attention written out, as ONNX Runtime's fusions expect it of transformers 5."""
    import torch
    from transformers import AutoModel

    class Exported(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = AutoModel.from_pretrained(
                model, attn_implementation="eager", dtype=torch.float32
            ).eval()

        def forward(
            self, ids: torch.Tensor, types: torch.Tensor, mask: torch.Tensor
        ) -> tuple[torch.Tensor, torch.Tensor]:
            outputs = self.model(ids, attention_mask=mask, token_type_ids=types)
            return outputs.last_hidden_state, outputs.pooler_output

    ids = torch.ones((2, 8), dtype=torch.int64)
    axes = {name: {0: "sequences", 1: "tokens"} for name in INPUTS + OUTPUTS[:1]}
    # The newer exporter writes shapes in a way that ONNX Runtime's fusions do not recognise.
    torch.onnx.export(
        Exported(),
        (ids, torch.zeros_like(ids), ids),
        str(out),
        input_names=INPUTS,
        output_names=OUTPUTS,
        dynamic_axes=axes | {OUTPUTS[1]: {0: "sequences"}},
        opset_version=OPSET,
        dynamo=False,
    )


def fuse(model: Path, out: Path, attention: bool) -> None:
    from onnxruntime.transformers.fusion_options import FusionOptions
    from onnxruntime.transformers.optimizer import optimize_model

    config = json.loads((model / "config.json").read_text())
    options = FusionOptions("bert")
    options.enable_attention = attention
    options.enable_embed_layer_norm = False
    options.enable_bias_gelu = attention
    graph = optimize_model(
        str(out.with_name("model.onnx")),
        model_type="bert",
        num_heads=config["num_attention_heads"],
        hidden_size=config["hidden_size"],
        optimization_options=options,
        opt_level=0,
    )
    # Fusing query, key and value writes the one layer's weights out for every application.
    graph.remove_duplicated_initializer(cache={})
    graph.save_model_to_file(str(out))


def quantise_onnx(source: Path, out: Path) -> None:
    """Dynamically, a scale for each column: weights int8, activations uint8 as they come."""
    from onnx import TensorProto
    from onnxruntime.quantization import QuantType, quantize_dynamic

    # Fused operators have no shape inference, so the type has to be said.
    options = {"DefaultTensorType": TensorProto.FLOAT}
    quantize_dynamic(
        source, out, per_channel=True, weight_type=QuantType.QInt8, extra_options=options
    )


def export_openvino(_model: Path, out: Path, _job: dict[str, Any]) -> None:
    import openvino

    graph = openvino.convert_model(out.with_name("model.onnx"))
    openvino.save_model(graph, out, compress_to_fp16=False)


def quantise_openvino(_model: Path, out: Path, job: dict[str, Any]) -> None:
    import nncf
    import numpy as np
    import openvino

    def feed(batch: dict[str, Any]) -> dict[str, np.ndarray]:
        ids = np.array(batch["ids"], dtype=np.int64)
        mask = np.ones_like(ids) if batch["mask"] is None else np.array(batch["mask"], np.int64)
        return dict(zip(INPUTS, (ids, np.zeros_like(ids), mask), strict=True))

    graph = openvino.Core().read_model(out.with_name("openvino.xml"))
    batches = nncf.Dataset(job["calibration"], feed)
    quantised = nncf.quantize(
        graph, batches, model_type=nncf.ModelType.TRANSFORMER, subset_size=len(job["calibration"])
    )
    openvino.save_model(quantised, out, compress_to_fp16=False)


Maker = Callable[[Path, Path, dict[str, Any]], None]
MAKERS: dict[str, Maker] = {
    "model.onnx": export_onnx,
    "fused.onnx": lambda model, out, _: fuse(model, out, attention=True),
    "gelu.onnx": lambda model, out, _: fuse(model, out, attention=False),
    "fused-int8.onnx": lambda _, out, __: quantise_onnx(out.with_name("fused.onnx"), out),
    "gelu-int8.onnx": lambda _, out, __: quantise_onnx(out.with_name("gelu.onnx"), out),
    "openvino.xml": export_openvino,
    "openvino-int8.xml": quantise_openvino,
}
# What each is made from, in the order in which they must be made.
CHAINS: dict[str, list[str]] = {
    "fused.onnx": ["model.onnx"],
    "gelu.onnx": ["model.onnx"],
    "fused-int8.onnx": ["model.onnx", "fused.onnx"],
    "gelu-int8.onnx": ["model.onnx", "gelu.onnx"],
    "openvino.xml": ["model.onnx"],
    "openvino-int8.xml": ["model.onnx", "openvino.xml"],
}


def make(name: str, model: Path, directory: Path, job: dict[str, Any]) -> None:
    """Makes a file, unless it is there; under another name until it is whole."""
    out = directory / name
    if out.exists():
        return
    unfinished = out.with_name("unfinished-" + out.name)
    MAKERS[name](model, unfinished, job)
    if out.suffix == ".xml":
        unfinished.with_suffix(".bin").rename(out.with_suffix(".bin"))
    unfinished.rename(out)


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text())
    directory = Path(job["directory"])
    for name in CHAINS.get(job["file"], []) + [job["file"]]:
        make(name, Path(job["model"]), directory, job)


if __name__ == "__main__":
    main()
