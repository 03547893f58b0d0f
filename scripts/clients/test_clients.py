#!/usr/bin/env python3
"""Uses a running `albert serve` with the Python clients `openai` and `huggingface_hub` as they are,
and checks their answers against what the server says when it is asked directly.

    pip install -r scripts/clients/requirements.txt
    albert serve --model words=WORDS --model labels=CLASSIFIER &
    python3 scripts/clients/test_clients.py http://127.0.0.1:8080 [--key KEY] [NAME ...]

What needs a key or a model that is not there is skipped, and said to be. With names, only the tests
whose names hold one of them run.
"""

import argparse
import asyncio
import base64
import inspect
import json
import sys
import traceback
import urllib.request
from collections.abc import Callable
from typing import Any

import numpy as np
import openai
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError

TEXTS = ["A masterpiece.", "Not worth the ticket.", ""]


class Skipped(Exception):
    """What a test needs is not there."""


class Server:
    """The server, asked directly and through clients."""

    def __init__(self, url: str, key: str | None) -> None:
        self.url, self.key = url.rstrip("/"), key
        self.models = self.ask("/v1/models")["data"]

    def ask(self, path: str, body: Any = None) -> Any:
        headers = {"Content-Type": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers)
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def openai(self, key: str | None = None) -> openai.OpenAI:
        """Without its retries, which would only make a failure slow."""
        key = key or self.key or "none"
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0)

    def hub(self, path: str) -> InferenceClient:
        # Without any key it would send that of its user's account at the hub, if there is one.
        return InferenceClient(model=self.url + path, token=self.key or "none")

    def able(self, task: str) -> dict[str, Any]:
        """The first model that can do it, which answers where none is named."""
        for model in self.models:
            if task in model["tasks"]:
                return dict(model)
        raise Skipped(f"no model can {task}")


def equal(found: Any, expected: Any, what: str) -> None:
    if found != expected:
        raise AssertionError(f"{what}: {str(found)[:200]} is not {str(expected)[:200]}")


def same_vectors(found: Any, expected: Any, what: str) -> None:
    """To the bit, as 32-bit numbers."""
    found, expected = np.array(found, np.float32), np.array(expected, np.float32)
    equal(found.shape, expected.shape, f"{what}: shape")
    if found.tobytes() != expected.tobytes():
        raise AssertionError(f"{what}: they differ by {np.abs(found - expected).max()}")


def refused(
    kind: type[openai.APIStatusError], code: str, param: str | None, call: Callable[[], Any]
) -> openai.APIStatusError:
    """That a call of openai's client fails so."""
    try:
        call()
    except kind as error:
        equal((error.code, error.param), (code, param), "the error's code and param")
        if not error.request_id:
            raise AssertionError("the error has no request id") from error
        return error
    raise AssertionError(f"no {kind.__name__}")


def refused_by_hub(status: int, words: str, call: Callable[[], Any]) -> None:
    """That a call of huggingface_hub's client fails so, and says why."""
    try:
        call()
    except HfHubHTTPError as error:
        equal(error.response.status_code, status, "status")
        if words not in str(error):
            raise AssertionError(f"{words!r} is not in: {error}") from error
        return
    raise AssertionError("no HfHubHTTPError")


def vectors(answer: openai.types.CreateEmbeddingResponse) -> list[list[float]]:
    equal([one.index for one in answer.data], list(range(len(answer.data))), "the indices")
    return [one.embedding for one in answer.data]


def test_openai_embeddings(server: Server) -> None:
    model = server.able("embeddings")["id"]
    client = server.openai()
    # This client asks for base64 unless it is told otherwise.
    packed = client.embeddings.create(model=model, input=TEXTS)
    plain = client.embeddings.create(model=model, input=TEXTS, encoding_format="float")
    raw = client.embeddings.create(model=model, input=TEXTS, encoding_format="base64")
    same_vectors(vectors(packed), vectors(plain), "base64 and float")
    text: Any = raw.data[1].embedding
    from_text = np.frombuffer(base64.b64decode(text, validate=True), "<f4")
    same_vectors(from_text, plain.data[1].embedding, "base64 asked for")
    direct = server.ask("/v1/embeddings", {"model": model, "input": TEXTS})
    same_vectors(vectors(packed), [one["embedding"] for one in direct["data"]], "asked directly")
    equal(packed.model, model, "the model")
    if not packed.usage.total_tokens == packed.usage.prompt_tokens > 2 * len(TEXTS):
        raise AssertionError(f"usage: {packed.usage}")
    for text, vector in zip(TEXTS, vectors(packed), strict=True):
        alone = client.embeddings.create(model=model, input=text, user="somebody")
        same_vectors(vectors(alone), [vector], f"{text!r} alone")


def test_openai_token_ids(server: Server) -> None:
    model = server.able("embeddings")["id"]
    create = server.openai().embeddings.create
    asked = {"model": model, "inputs": TEXTS, "add_special_tokens": True}
    ids = [[token["id"] for token in text] for text in server.ask("/tokenize", asked)]
    texts = vectors(create(model=model, input=TEXTS))
    same_vectors(vectors(create(model=model, input=ids)), texts, "lists of ids")
    same_vectors(vectors(create(model=model, input=ids[0])), texts[:1], "a list of ids")


def test_openai_dimensions(server: Server) -> None:
    model = server.able("embeddings")
    create, width = server.openai().embeddings.create, model["dimensions"]
    answer = create(model=model["id"], input="a", dimensions=width)
    equal(len(answer.data[0].embedding), width, "dimensions")
    refused(
        openai.UnprocessableEntityError,
        "invalid_input",
        "dimensions",
        lambda: create(model=model["id"], input="a", dimensions=width - 1),
    )


def test_openai_async(server: Server) -> None:
    model = server.able("embeddings")["id"]

    async def many() -> list[list[float]]:
        key = server.key or "none"
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key=key) as client:
            calls = [client.embeddings.create(model=model, input=text) for text in TEXTS * 8]
            return [vectors(answer)[0] for answer in await asyncio.gather(*calls)]

    together = vectors(server.openai().embeddings.create(model=model, input=TEXTS))
    same_vectors(asyncio.run(many()), together * 8, "many at a time")


def test_openai_models(server: Server) -> None:
    client = server.openai()
    listed = list(client.models.list())
    equal([model.id for model in listed], [model["id"] for model in server.models], "the models")
    for model, direct in zip(listed, server.models, strict=True):
        # What OpenAI does not have is there all the same.
        equal(model.model_dump(exclude_unset=True), direct, model.id)
        equal(client.models.retrieve(model.id).id, model.id, "one model")


def test_openai_refusals(server: Server) -> None:
    model = server.able("embeddings")
    client, name = server.openai(), model["id"]
    create, wrong = client.embeddings.create, openai.UnprocessableEntityError
    missing, nothing = openai.NotFoundError, "model_not_found"
    refused(missing, nothing, "model", lambda: create(model="none-such", input="a"))
    refused(missing, nothing, "model", lambda: client.models.retrieve("none-such"))
    refused(wrong, "invalid_input", None, lambda: create(model=name, input=[]))
    too_long = "word " * 2 * model["max_tokens"]
    error = refused(
        wrong, "text_too_long", "input[1]", lambda: create(model=name, input=["a", too_long])
    )
    if "tokens" not in error.message:
        raise AssertionError(error.message)
    field: Any = {"nested": 1}
    refused(wrong, "invalid_field", "input", lambda: create(model=name, input=field))
    most = server.ask("/info")["max_client_batch_size"]
    error = refused(
        openai.APIStatusError,
        "too_many_texts",
        None,
        lambda: create(model=name, input=["a"] * (most + 1)),
    )
    equal(error.status_code, 413, "status")
    refused(
        missing,
        "not_found",
        None,
        lambda: client.chat.completions.create(model=name, messages=[]),
    )


def test_openai_keys(server: Server) -> None:
    if not server.key:
        raise Skipped("no --key")
    client = server.openai(key="wrong-" + server.key)
    refused(openai.AuthenticationError, "invalid_api_key", None, lambda: list(client.models.list()))


def test_hub_feature_extraction(server: Server) -> None:
    server.able("embeddings")
    client = server.hub("/embed")
    found = client.feature_extraction(TEXTS)
    same_vectors(found, server.ask("/embed", {"inputs": TEXTS}), "asked directly")
    same_vectors(client.feature_extraction(TEXTS[0]), found[:1], "one text")
    plain = client.feature_extraction(TEXTS, normalize=False)
    lengths = np.linalg.norm(plain, axis=1, keepdims=True)
    if np.abs(lengths - 1).max() < 0.01 or np.abs(plain / lengths - found).max() > 1e-6:
        raise AssertionError(f"normalize=False: lengths {lengths.ravel()}")


def test_hub_dimensions(server: Server) -> None:
    """What is asked for is given or refused, and not passed over."""
    width = server.able("embeddings")["dimensions"] // 2
    try:
        found = server.hub("/embed").feature_extraction(TEXTS, dimensions=width)
    except HfHubHTTPError as error:
        equal(error.response.status_code, 422, "status")
        return
    equal(found.shape, (len(TEXTS), width), "shape")


def test_hub_truncation(server: Server) -> None:
    model = server.able("embeddings")
    client, text = server.hub("/embed"), "word " * 2 * model["max_tokens"]
    refused_by_hub(422, "tokens", lambda: client.feature_extraction(text))
    cut = client.feature_extraction(text, truncate=True, truncation_direction="right")
    equal(cut.shape, (1, model["dimensions"]), "shape")
    refused_by_hub(
        422,
        "truncation_direction",
        lambda: client.feature_extraction(text, truncate=True, truncation_direction="left"),
    )
    refused_by_hub(422, "prompt_name", lambda: client.feature_extraction("a", prompt_name="query"))


def test_hub_sentence_similarity(server: Server) -> None:
    server.able("similarity")
    found = server.hub("/similarity").sentence_similarity(TEXTS[0], TEXTS)
    units = server.hub("/embed").feature_extraction(TEXTS).astype(np.float64)
    cosines = units @ units[0]
    if np.abs(np.array(found) - cosines).max() > 1e-5:
        raise AssertionError(f"{found} are not {cosines}")
    if abs(found[0] - 1) > 1e-6:
        raise AssertionError(f"a text is not like itself: {found[0]}")


def test_hub_text_classification(server: Server) -> None:
    server.able("classify")
    for text in TEXTS:
        found: Any = server.hub("/predict").text_classification(text)
        # This client takes the first of what comes, here the likeliest label, and not a list of
        # all, as it says itself: so it is with text-embeddings-inference too.
        direct = server.ask("/v1/classify", {"texts": [text]})["results"][0]
        equal(found.label, direct["label"], "the label")
        equal(np.float32(found.score), np.float32(direct["score"]), "its score")


def test_hub_refusals(server: Server) -> None:
    """Tasks that have no route of this client's form are refused, in words that it shows."""
    for call in [
        lambda: server.hub("/v1/fill-mask").fill_mask("A [MASK]."),
        lambda: server.hub("/v1/tag").token_classification("Ann"),
        lambda: server.hub("/v1/answer").question_answering(question="Who?", context="Ann."),
        lambda: server.hub("/v1/classify").zero_shot_classification("A", ["b", "c"]),
    ]:
        refused_by_hub(422, "unknown field `inputs`", call)
    refused_by_hub(404, "see /docs", lambda: server.hub("/none-such").feature_extraction("a"))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("url")
    parser.add_argument("names", nargs="*")
    parser.add_argument("--key", help="one of the server's, if it wants one")
    options = parser.parse_args()
    server = Server(options.url, options.key)
    tests = inspect.getmembers(sys.modules[__name__], inspect.isfunction)
    tests = [(name, test) for name, test in tests if name.startswith("test_")]
    chosen = [
        (name, test)
        for name, test in tests
        if not options.names or any(part in name for part in options.names)
    ]
    if not chosen:
        sys.exit("error: no test has such a name")
    failed = 0
    for name, test in chosen:
        try:
            test(server)
            print(f"ok      {name}")
        except Skipped as why:
            print(f"skipped {name}: {why}")
        except Exception:
            failed += 1
            print(f"FAILED  {name}")
            traceback.print_exc()
    sys.exit(f"{failed} of {len(chosen)} failed" if failed else 0)


if __name__ == "__main__":
    main()
