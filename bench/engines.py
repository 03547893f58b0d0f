"""The Python peers: load a model, run batches of token ids. Each as fast as its makers know how.

A library is imported only by its own engine, so that one which is missing stops no other.
"""

from typing import Any, Protocol

import numpy as np

INPUTS = ("input_ids", "token_type_ids", "attention_mask")
Feed = dict[str, np.ndarray]
# Last hidden state [sequences, tokens, hidden_size], pooler output [sequences, hidden_size].
Outputs = tuple[np.ndarray, np.ndarray]


class Engine(Protocol):
    def prepare(self, feeds: list[Any]) -> list[Any]:
        """Whatever can be done once for these batches; the feeds as `run` takes them."""

    def run(self, feed: Any) -> Any:
        """What is timed: token ids in, last hidden state and pooler output there."""

    def values(self, outputs: Any) -> Outputs:
        """The outputs as float32."""


def feed_of(batch: dict[str, Any]) -> Feed:
    ids = np.array(batch["ids"], dtype=np.int64)
    mask = np.ones_like(ids) if batch["mask"] is None else np.array(batch["mask"], np.int64)
    return dict(zip(INPUTS, (ids, np.zeros_like(ids), mask), strict=True))


class Torch:
    """As transformers has it, converted as a whole; the mask only where something is padded."""

    def __init__(self, job: dict[str, Any]) -> None:
        import torch
        from transformers import AutoModel

        torch.set_num_threads(job["threads"])
        torch.set_grad_enabled(False)
        self.torch = torch
        self.compiled = job["compile"]
        types = {"f64": torch.float64, "f32": torch.float32, "bf16": torch.bfloat16}
        dtype = types[job["precision"]]
        self.model = AutoModel.from_pretrained(job["file"], dtype=dtype).eval()

    def prepare(self, feeds: list[Feed]) -> list[Any]:
        tensors = []
        for feed in feeds:
            padded = not feed["attention_mask"].all()
            names = INPUTS if padded else INPUTS[:2]
            tensors.append({name: self.torch.from_numpy(feed[name]) for name in names})
        self.call = self.model
        if self.compiled:
            # Freezing packs the weights once, as is advised for inference on a CPU.
            self.torch._inductor.config.freezing = True
            self.torch._dynamo.reset()
            # Many lengths would be compiled one by one, or at last not at all.
            self.call = self.torch.compile(self.model, dynamic=len(feeds) > 1)
        return tensors

    def run(self, feed: Any) -> Any:
        return self.call(**feed)

    def values(self, outputs: Any) -> Outputs:
        return outputs.last_hidden_state.float().numpy(), outputs.pooler_output.float().numpy()


class OnnxRuntime:
    def __init__(self, job: dict[str, Any]) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = job["threads"]
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            job["file"], options, providers=["CPUExecutionProvider"]
        )

    def prepare(self, feeds: list[Feed]) -> list[Feed]:
        return feeds

    def run(self, feed: Feed) -> Any:
        return self.session.run(None, feed)

    def values(self, outputs: Any) -> Outputs:
        return outputs[0], outputs[1]


class OpenVino:
    """One request at a time on all threads; of fixed shape where there is one batch only."""

    def __init__(self, job: dict[str, Any]) -> None:
        import openvino
        import openvino.properties as properties
        from openvino.properties import hint

        self.core = openvino.Core()
        able = self.core.get_property("CPU", properties.device.capabilities)
        if job["rest"] == "bf16" and "BF16" not in able:
            raise SystemExit("error: this processor has no bf16 that OpenVINO uses")
        self.file = job["file"]
        self.settings = {
            hint.inference_precision: {"f32": openvino.Type.f32, "bf16": openvino.Type.bf16}[
                job["rest"]
            ],
            hint.performance_mode: hint.PerformanceMode.LATENCY,
            hint.execution_mode: hint.ExecutionMode.PERFORMANCE,
            properties.inference_num_threads: job["threads"],
            properties.num_streams: 1,
        }

    def prepare(self, feeds: list[Feed]) -> list[Feed]:
        graph = self.core.read_model(self.file)
        if len(feeds) == 1:
            graph.reshape({name: values.shape for name, values in feeds[0].items()})
        compiled = self.core.compile_model(graph, "CPU", self.settings)
        self.request = compiled.create_infer_request()
        return feeds

    def run(self, feed: Feed) -> Any:
        return self.request.infer(feed, share_inputs=True, share_outputs=True)

    def values(self, outputs: Any) -> Outputs:
        return np.array(outputs[0]), np.array(outputs[1])


ENGINES = {"pytorch": Torch, "onnxruntime": OnnxRuntime, "openvino": OpenVino}
