#!/usr/bin/env python3
"""The server that one would write in Python, for comparison: FastAPI on uvicorn, OpenVINO in bf16,
requests of many callers computed together. It answers `POST /v1/classify` in the form of `albert
serve`, so that serve_load.py loads either.

    pip install -r scripts/bench/python_server_requirements.txt
    python_server.py --model reviews/model --port 8081
    serve_load.py --url http://127.0.0.1:8081 --texts dev.tsv --compare 0 --label python

The model is exported once, as bench/export.py exports encoders: attention written out, ONNX, then
OpenVINO; the files are kept in --cache. As in `albert serve` there is no timer: whenever the model
is free it takes what waits, up to a budget of tokens (here with the padding, which is computed
too), and what would wait too long is refused with 429. Texts are padded to the longest of a batch
and bf16 rounds otherwise for other shapes, so answers differ a little from those alone; that is
why --compare is 0 above.

--streams says how many batches are computed at a time, each with its part of the threads: try 1
and the number of cores, and compare with the better.
"""

import argparse
import asyncio
import hashlib
import json
import os
import time
from collections import deque
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict
from tokenizers import Encoding, Tokenizer

INPUTS = ["input_ids", "token_type_ids", "attention_mask"]
OPSET = 17
# As `albert serve` has them.
BATCH_TOKENS, QUEUE_TOKENS, MAX_TEXTS = 1024, 131_072, 1024


class Refused(Exception):
    """A request that is not answered."""

    def __init__(self, status: int, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.param = status, code, message, param


class TextPair(BaseModel):
    model_config = ConfigDict(extra="forbid")
    text: str
    pair: str | None = None


class ClassifyRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")
    model: str | None = None
    texts: list[str | TextPair]


@dataclass
class Sequence:
    """A text that waits, or is computed."""

    encoding: Encoding
    logits: asyncio.Future[np.ndarray]


def exported(model: Path, cache: Path) -> Path:
    """The model in OpenVINO's form, made once, in a process that takes its memory along."""
    weights = hashlib.sha256((model / "model.safetensors").read_bytes()).hexdigest()[:16]
    out = cache / f"{weights}.xml"
    if not out.exists():
        process = get_context("spawn").Process(target=export, args=(model, out))
        process.start()
        process.join()
        if process.exitcode != 0:
            raise SystemExit(f"error: {model} cannot be exported: see above")
    return out


def export(model: Path, out: Path) -> None:
    import openvino
    import torch
    from transformers import AutoModelForSequenceClassification

    class Exported(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = AutoModelForSequenceClassification.from_pretrained(
                model, attn_implementation="eager", dtype=torch.float32
            ).eval()

        def forward(
            self, ids: torch.Tensor, types: torch.Tensor, mask: torch.Tensor
        ) -> torch.Tensor:
            logits: torch.Tensor = self.model(ids, attention_mask=mask, token_type_ids=types).logits
            return logits

    out.parent.mkdir(parents=True, exist_ok=True)
    ids, onnx = torch.ones((2, 8), dtype=torch.int64), out.with_suffix(".onnx")
    torch.onnx.export(
        Exported(),
        (ids, torch.zeros_like(ids), ids),
        str(onnx),
        input_names=INPUTS,
        output_names=["logits"],
        dynamic_axes={name: {0: "sequences", 1: "tokens"} for name in INPUTS}
        | {"logits": {0: "sequences"}},
        opset_version=OPSET,
        dynamo=False,
    )
    # Under another name until it is whole: the .xml is what says that it is there.
    unfinished = out.with_name("unfinished-" + out.name)
    openvino.save_model(openvino.convert_model(onnx), unfinished, compress_to_fp16=False)
    unfinished.with_suffix(".bin").rename(out.with_suffix(".bin"))
    unfinished.rename(out)
    onnx.unlink()


class Engine:
    """The compiled model: as many batches at a time as there are streams."""

    def __init__(self, file: Path, options: argparse.Namespace, pad: int) -> None:
        import openvino
        import openvino.properties as properties
        from openvino.properties import hint

        core, self.pad = openvino.Core(), pad
        able = core.get_property("CPU", properties.device.capabilities)
        if options.precision == "bf16" and "BF16" not in able:
            raise SystemExit("error: this processor has no bf16 that OpenVINO uses: say f32")
        types = {"f32": openvino.Type.f32, "bf16": openvino.Type.bf16}
        mode = hint.PerformanceMode
        self.compiled = core.compile_model(
            file,
            "CPU",
            {
                hint.inference_precision: types[options.precision],
                hint.performance_mode: mode.LATENCY if options.streams == 1 else mode.THROUGHPUT,
                properties.inference_num_threads: options.threads,
                properties.num_streams: options.streams,
            },
        )
        self.requests = [self.compiled.create_infer_request() for _ in range(options.streams)]

    def compute(self, stream: int, encodings: list[Encoding]) -> np.ndarray:
        """The logits of each; called by one thread of each stream."""
        shape = len(encodings), max(len(encoding.ids) for encoding in encodings)
        ids = np.full(shape, self.pad, np.int64)
        types, mask = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        for row, encoding in enumerate(encodings):
            count = len(encoding.ids)
            ids[row, :count] = encoding.ids
            types[row, :count] = encoding.type_ids
            mask[row, :count] = 1
        feed = dict(zip(INPUTS, (ids, types, mask), strict=True))
        outputs = self.requests[stream].infer(feed, share_inputs=True, share_outputs=False)
        return np.asarray(outputs[0], np.float64)


class Batcher:
    """What waits, and the tasks that take from it."""

    def __init__(self, engine: Engine, batch_tokens: int, queue_tokens: int) -> None:
        self.engine, self.budget, self.limit = engine, batch_tokens, queue_tokens
        self.waiting: deque[Sequence] = deque()
        self.held = 0
        self.some = asyncio.Event()

    async def logits(self, encodings: list[Encoding]) -> list[np.ndarray]:
        tokens = sum(len(encoding.ids) for encoding in encodings)
        if self.held + tokens > self.limit:
            message = f"more than {self.limit} tokens wait for this model: try again later"
            raise Refused(429, "overloaded", message)
        self.held += tokens
        loop = asyncio.get_running_loop()
        mine = [Sequence(encoding, loop.create_future()) for encoding in encodings]
        self.waiting.extend(mine)
        self.some.set()
        try:
            return [await sequence.logits for sequence in mine]
        finally:
            self.held -= tokens

    def take(self) -> list[Sequence]:
        """The first ones, as many as fit into the budget with their padding."""
        batch: list[Sequence] = []
        longest = 0
        while self.waiting:
            longest = max(longest, len(self.waiting[0].encoding.ids))
            if batch and longest * (len(batch) + 1) > self.budget:
                break
            batch.append(self.waiting.popleft())
        return batch

    async def run(self, stream: int) -> None:
        loop, thread = asyncio.get_running_loop(), ThreadPoolExecutor(1)
        while True:
            while not self.waiting:
                self.some.clear()
                await self.some.wait()
            batch = self.take()
            encodings = [sequence.encoding for sequence in batch]
            try:
                logits = await loop.run_in_executor(thread, self.engine.compute, stream, encodings)
            except Exception as error:
                for sequence in batch:
                    if not sequence.logits.done():
                        sequence.logits.set_exception(error)
                continue
            for sequence, row in zip(batch, logits, strict=True):
                if not sequence.logits.done():
                    sequence.logits.set_result(row)


class Classifier:
    """Texts in, labels out."""

    def __init__(self, options: argparse.Namespace) -> None:
        directory, config = options.model, json.loads((options.model / "config.json").read_text())
        self.name = options.name or directory.resolve().name
        kind = config.get("problem_type") or "single_label_classification"
        if kind != "single_label_classification":
            raise SystemExit(f"error: {directory}: problem_type is {kind}, only one label is known")
        labels = config["id2label"]
        self.labels = [labels[str(index)] for index in range(len(labels))]
        self.positions = config["max_position_embeddings"]
        self.tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        engine = Engine(
            exported(directory, options.cache), options, config.get("pad_token_id") or 0
        )
        self.streams = options.streams
        self.batcher = Batcher(engine, options.batch_tokens, options.queue_tokens)

    def encode(self, texts: list[tuple[str, str | None]]) -> list[Encoding]:
        inputs: list[Any] = [text if pair is None else (text, pair) for text, pair in texts]
        encodings = self.tokenizer.encode_batch_fast(inputs)
        for index, encoding in enumerate(encodings):
            if len(encoding.ids) > self.positions:
                message = f"the text has {len(encoding.ids)} tokens, the model {self.positions}"
                raise Refused(422, "text_too_long", message, f"texts[{index}]")
        return list(encodings)

    def result(self, text: str, pair: str | None, logits: np.ndarray) -> dict[str, Any]:
        powers = np.exp(logits - logits.max())
        scores = (powers / powers.sum()).tolist()
        best = int(logits.argmax())
        named: dict[str, Any] = {"text": text} if pair is None else {"text": text, "pair": pair}
        named |= {"label": self.labels[best], "score": scores[best]}
        named["scores"] = dict(zip(self.labels, scores, strict=True))
        return named

    async def answer(self, asked: ClassifyRequest, began: float) -> bytes:
        if asked.model not in (None, self.name):
            message = f"there is no model {asked.model!r} here, but {self.name}"
            raise Refused(404, "model_not_found", message, "model")
        if not asked.texts:
            raise Refused(422, "invalid_input", "there is no input: give one or more")
        if len(asked.texts) > MAX_TEXTS:
            raise Refused(413, "too_many_texts", f"more than {MAX_TEXTS} inputs: send fewer")
        texts = [
            (one, None) if isinstance(one, str) else (one.text, one.pair) for one in asked.texts
        ]
        encodings = self.encode(texts)
        logits = await self.batcher.logits(encodings)
        results = [
            self.result(text, pair, row) for (text, pair), row in zip(texts, logits, strict=True)
        ]
        tokens = sum(len(encoding.ids) for encoding in encodings)
        usage = {"tokens": tokens, "seconds": time.perf_counter() - began}
        return orjson.dumps({"model": self.name, "results": results, "usage": usage})


def refusal(refused: Refused) -> Response:
    error = {"code": refused.code, "message": refused.message, "param": refused.param}
    headers = {"Retry-After": "1"} if refused.status == 429 else None
    body = orjson.dumps({"error": error})
    return Response(body, refused.status, headers, media_type="application/json")


def make_app(classifier: Classifier) -> FastAPI:
    @asynccontextmanager
    async def running(_: FastAPI) -> AsyncIterator[None]:
        batcher, streams = classifier.batcher, range(classifier.streams)
        tasks = [asyncio.create_task(batcher.run(stream)) for stream in streams]
        yield
        for task in tasks:
            task.cancel()

    app = FastAPI(lifespan=running)

    @app.post("/v1/classify")
    async def classify(asked: ClassifyRequest) -> Response:
        # As bytes: what FastAPI would check and convert again is ours and right already.
        body = await classifier.answer(asked, time.perf_counter())
        return Response(body, media_type="application/json")

    @app.get("/ready")
    async def ready() -> dict[str, str]:
        return {"status": "ok"}

    @app.exception_handler(Refused)
    async def refused(_: Request, error: Refused) -> Response:
        return refusal(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:])
        return refusal(Refused(422, "invalid_field", f"{where}: {first['msg']}", where or None))

    return app


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    cores, add = len(os.sched_getaffinity(0)), parser.add_argument
    add("--model", type=Path, required=True, help="a directory with a model that labels texts")
    add("--name", help="by which requests ask for it; if absent, the directory's")
    add("--cache", type=Path, default=Path.home() / ".cache" / "albert-bench", help="for exports")
    add("--host", default="127.0.0.1")
    add("--port", type=int, default=8081)
    add("--precision", choices=["bf16", "f32"], default="bf16")
    add("--threads", type=int, default=cores, help="that compute, of all streams")
    add("--streams", type=int, default=1, help="batches that are computed at a time")
    add("--batch-tokens", type=int, default=BATCH_TOKENS, help="of a batch, padding included")
    add("--queue-tokens", type=int, default=QUEUE_TOKENS, help="that wait, before 429")
    options = parser.parse_args()
    app = make_app(Classifier(options))
    # uvloop and httptools are what uvicorn[standard] brings for speed.
    uvicorn.run(
        app,
        host=options.host,
        port=options.port,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )


if __name__ == "__main__":
    main()
