#!/usr/bin/env python3
"""A stand-in for `albert serve`, to work on its page without a model: it serves
crates/albert-server/page under a strict Content-Security-Policy, and answers every task with
numbers made from a hash of the text. It knows nothing of language; it keeps the shapes, the errors
and the order of the real answers.

    python3 scripts/page/mock_server.py [--port 8090] [--key SECRET] [--slow SECONDS] [--few]
    python3 scripts/page/mock_server.py --server http://127.0.0.1:8080

A text that holds `!too-long!` is refused with 422, `!busy!` with 429. --few loads one model alone.
With --server, it is that server which answers; the page is still that of this checkout, so it can
be changed without building anything.
"""

import argparse
import hashlib
import itertools
import json
import random
import re
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "crates/albert-server/page"
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
INTENTS = [f"intent_{n}_of_a_customer" for n in range(77)]
MODELS = {
    "albert-base": (["fill-mask", "order", "similarity", "embeddings"], []),
    "albert-large": (["fill-mask", "order", "similarity", "embeddings"], []),
    "reviews": (["classify", "embeddings"], ["negative", "positive"]),
    "bank": (["classify"], INTENTS),
    "entailment": (["classify"], ["entailment", "neutral", "contradiction"]),
    "entities": (["tag"], ["O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC", "B-MISC", "I-MISC"]),
    "squad": (["answer"], []),
    "race": (["choose"], []),
}
WORDS = "▁was ▁is ▁city ▁river ▁London ▁Vienna ▁Paris ing , ▁1914 ▁great ▁<b>bold</b> ▁school s ▁north".split()
BEGAN = time.time()
SEEN = {"requests": 0, "tokens": 0}


def dice(*parts):
    return random.Random(hashlib.sha256(json.dumps(parts).encode()).digest())


def shares(count, *parts):
    rolls = [dice(*parts, n).random() ** 4 + 1e-4 for n in range(count)]
    return [roll / sum(rolls) for roll in rolls]


class Refused(Exception):
    def __init__(self, status, code, message, param=None):
        super().__init__(message)
        self.status, self.code, self.message, self.param = status, code, message, param


def checked(text, param):
    if "!too-long!" in text:
        raise Refused(422, "text_too_long", "The text has 731 tokens, but the model reads 512: shorten it, or set truncate.", param)
    if "!busy!" in text:
        raise Refused(429, "queue_full", "The queue is full.")
    return text


def fill_mask(model, body):
    def one(text):
        def mask(at):
            scores = sorted(shares(len(WORDS), model, text, at), reverse=True)
            tokens = dice(text, at).sample(WORDS, len(WORDS))
            rows = zip(tokens, range(len(tokens)), scores)
            return {"position": at, "predictions": [{"token": t, "id": i, "score": s} for t, i, s in rows][: body.get("top_k", 5)]}
        count = text.count("[MASK]")
        if not count:
            raise Refused(422, "no_mask", "texts[0] has no [MASK].", "texts[0]")
        return {"text": text, "masks": [mask(at) for at in range(count)]}
    return [one(checked(text, f"texts[{n}]")) for n, text in enumerate(body["texts"])]


def classify(model, body):
    def one(text):
        plain = text if isinstance(text, str) else text["text"]
        checked(plain, "texts[0]")
        labels = body.get("labels") or MODELS[model][1]
        scores = dict(zip(labels, shares(len(labels), model, text)))
        best = max(scores, key=scores.get)
        holding = {"labels": [label for label in labels if scores[label] > 0.2]} if body.get("several") else {}
        return {"text": plain, "label": best, "score": scores[best], "scores": scores, **holding}
    return [one(text) for text in body["texts"]]


def tag(model, body):
    def one(text):
        found = re.finditer(r"(?:[A-Z][\w-]+ ?)+", checked(text, "texts[0]"))
        spans = [(m.start(), m.start() + len(m.group().rstrip())) for m in found]
        kinds = ["PER", "ORG", "LOC", "MISC"]
        return {"text": text, "entities": [
            {"label": dice(text[a:b]).choice(kinds), "text": text[a:b], "start": a, "end": b, "score": 0.4 + 0.6 * dice(text, a).random()}
            for a, b in spans]}
    return [one(text) for text in body["texts"]]


def answer(model, body):
    def one(question):
        context = checked(question["context"], "questions[0]")
        words = [m.span() for m in re.finditer(r"\w+", context)]
        roll = dice(question)
        first = roll.randrange(max(1, len(words) - 6))
        spans = [(first, first + 1), (first, first + 4), (first + 1, first + 1), (roll.randrange(len(words)),) * 2]
        rows = [(words[min(a, len(words) - 1)][0], words[min(b, len(words) - 1)][1]) for a, b in spans]
        scores = sorted(shares(len(rows), question), reverse=True)
        candidates = [{"answer": context[a:b], "score": s, "start": a, "end": b} for (a, b), s in zip(rows, scores)]
        best = candidates[0] if not body.get("no_answer") else {"answer": "", "score": 0.9, "start": None, "end": None}
        return {"question": question["question"], **best, "no_answer_score": 0.02, "candidates": candidates[: body.get("top_k", 4)]}
    return [one(question) for question in body["questions"]]


def choose(model, body):
    def one(question):
        scores = shares(len(question["options"]), question)
        index = scores.index(max(scores))
        return {"question": question.get("question", ""), "choice": question["options"][index], "index": index, "scores": scores}
    return [one(question) for question in body["questions"]]


def order(model, body):
    def one(texts):
        follows = lambda a, b: dice(model, *sorted([a, b])).random() if a < b else 1 - dice(model, *sorted([a, b])).random()
        if len(texts) == 2:
            share = follows(*texts)
            return {"first": texts[0], "second": texts[1], "in_order": share, "swapped": 1 - share}
        places = list(range(len(texts)))
        dice(model, sorted(texts)).shuffle(places)
        places.sort(key=lambda n: hashlib.md5(texts[n].encode()).digest())
        return {"texts": [texts[n] for n in places], "order": places, "score": 0.4}
    return [one([checked(text, "lists[0]") for text in texts]) for texts in body["lists"]]


def vector(model, text):
    roll = dice(model, text)
    raw = [roll.gauss(0.4, 1) for _ in range(256)]
    norm = sum(x * x for x in raw) ** 0.5
    return [x / norm for x in raw]


def similarity(model, body):
    rows = [vector(model, checked(text, f"texts[{n}]")) for n, text in enumerate(body["texts"])]
    return {"model": model, "scores": [[sum(map(lambda x, y: x * y, a, b)) for b in rows] for a in rows]}


def embeddings(model, body):
    texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
    data = [{"object": "embedding", "index": n, "embedding": vector(model, checked(t, f"input[{n}]"))} for n, t in enumerate(texts)]
    return {"object": "list", "model": model, "data": data, "usage": {"prompt_tokens": 12, "total_tokens": 12}}


TASKS = {"fill-mask": fill_mask, "classify": classify, "tag": tag, "answer": answer, "choose": choose,
         "order": order, "similarity": similarity, "embeddings": embeddings}


class Handler(BaseHTTPRequestHandler):
    options = None

    def log_message(self, *_):
        pass

    def send(self, status, kind, content, **headers):
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-security-policy", POLICY)
        self.send_header("x-content-type-options", "nosniff")
        self.send_header("content-length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def json(self, value, status=200, **headers):
        self.send(status, "application/json", json.dumps(value).encode(), **headers)

    def guarded(self, answer):
        try:
            if self.options.key and self.headers.get("authorization") != f"Bearer {self.options.key}":
                raise Refused(401, "invalid_api_key", "The key is missing or wrong.")
            answer()
        except Refused as error:
            extra = {"retry_after": "3"} if error.status == 429 else {}
            self.json({"error": {"code": error.code, "message": error.message, "type": "invalid_request_error", "param": error.param}}, error.status, **extra)

    def forward(self, content=None):
        """Passes the request on, and the answer back."""
        names = ("authorization", "content-type")
        headers = {name: self.headers[name] for name in names if self.headers[name]}
        request = urllib.request.Request(self.options.server.rstrip("/") + self.path, content, headers)
        try:
            response = urllib.request.urlopen(request)
        except urllib.error.HTTPError as error:
            response = error
        wait = response.headers["retry-after"]
        extra = {"retry_after": wait} if wait else {}
        self.send(response.status, response.headers["content-type"] or "text/plain", response.read(), **extra)

    def do_GET(self):
        path = self.path.split("?")[0]
        if self.options.server and (path.startswith("/v1/") or path == "/openapi.json"):
            self.forward()
            return
        if path.startswith("/v1/"):
            self.guarded(lambda: self.get(path))
            return
        name = {"/": "index.html", "/docs": "docs.html"}.get(path, path[1:])
        file = PAGE / name
        if path == "/openapi.json":
            self.json(OPENAPI)
        elif "/" in name or not file.is_file():
            self.send(404, "text/plain", b"no such file")
        else:
            self.send(200, TYPES[file.suffix] + "; charset=utf-8", file.read_bytes())

    def get(self, path):
        if path == "/v1/models":
            models = dict(itertools.islice(MODELS.items(), 1)) if self.options.few else MODELS
            self.json({"object": "list", "data": [
                {"id": name, "object": "model", "created": 0, "owned_by": "local", "tasks": tasks, "labels": labels,
                 "max_tokens": 512, "precision": "bf16", "parameters": 11_683_584} for name, (tasks, labels) in models.items()]})
        elif path == "/v1/stats":
            rate = SEEN["tokens"] + 2000 * (1 + dice(int(time.time()) // 2).random())
            SEEN["tokens"] = 0
            self.json({"uptime_seconds": time.time() - BEGAN, "tokens_per_second": rate, "requests": SEEN["requests"],
                       "queue_tokens": 0, "memory_bytes": 187_000_000, "models": []})
        else:
            raise Refused(404, "not_found", f"There is no {path}.")

    def do_POST(self):
        content = self.rfile.read(int(self.headers["content-length"]))
        if self.options.server:
            self.forward(content)
        else:
            self.guarded(lambda: self.post(json.loads(content)))

    def post(self, body):
        began = time.time()
        task = self.path.removeprefix("/v1/")
        if task not in TASKS:
            raise Refused(404, "not_found", f"There is no {self.path}.")
        if body.get("model") not in MODELS:
            raise Refused(404, "model_not_found", f"There is no model {body.get('model')}.")
        time.sleep(self.options.slow)
        SEEN["requests"] += 1
        SEEN["tokens"] += 300
        answer = TASKS[task](body["model"], body)
        if isinstance(answer, list):
            usage = {"tokens": len(json.dumps(body)) // 5, "seconds": time.time() - began}
            answer = {"model": body["model"], "results": answer, "usage": usage}
        self.json(answer)


OPENAPI = {
    "openapi": "3.1.0",
    "info": {"title": "albert", "version": "0.0.0", "description": "Small language models on this machine."},
    "paths": {
        "/v1/fill-mask": {"post": {
            "tags": ["Tasks"], "summary": "Fill in the words behind [MASK]", "description": "Texts are answered in their order.",
            "requestBody": {"required": True, "content": {"application/json": {
                "schema": {"$ref": "#/components/schemas/FillMask"}, "example": {"texts": ["The [MASK] barks."], "top_k": 3}}}},
            "responses": {"200": {"description": "The guesses"}, "422": {"description": "Wrong fields, or a text that is too long"}}}},
        "/v1/classify": {"post": {
            "tags": ["Tasks"], "summary": "Label texts",
            "requestBody": {"required": True, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Classify"}}}},
            "responses": {"200": {"description": "The labels", "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Labels"}}}}}}},
        "/v1/models/{id}": {"get": {
            "tags": ["Models"], "summary": "One model", "parameters": [{"name": "id", "in": "path", "required": True, "schema": {"type": "string"}, "description": "Its name"}],
            "responses": {"200": {"description": "The model"}}}},
    },
    "components": {"schemas": {
        "Classify": {"type": "object", "required": ["texts"], "properties": {
            "texts": {"type": "array", "items": {"$ref": "#/components/schemas/TextOrPair"}},
            "labels": {"type": ["array", "null"], "items": {"type": "string"}},
            "how": {"oneOf": [{"type": "null"}, {"$ref": "#/components/schemas/How"}]}}},
        "TextOrPair": {"oneOf": [{"type": "string", "example": "A good film."}, {"$ref": "#/components/schemas/Pair"}], "description": "A text, or two"},
        "Pair": {"type": "object", "required": ["text"], "properties": {"text": {"type": "string"}, "pair": {"type": ["string", "null"]}}},
        "How": {"type": "string", "enum": ["fast", "well"]},
        "Labels": {"type": "object", "required": ["results"], "properties": {"results": {"type": "array", "items": {
            "type": "object", "required": ["label", "scores"], "properties": {
                "label": {"type": "string"}, "scores": {"type": "object", "additionalProperties": {"type": "number"}}}}}}},
        "FillMask": {"type": "object", "required": ["texts"], "properties": {
        "model": {"type": ["string", "null"], "description": "The first that can do it, if absent"},
        "texts": {"type": "array", "items": {"type": "string"}, "description": "Texts with [MASK]"},
        "top_k": {"type": "integer", "default": 5, "minimum": 1}}}}},
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8090)
    parser.add_argument("--server", metavar="URL")
    parser.add_argument("--key")
    parser.add_argument("--slow", type=float, default=0.0)
    parser.add_argument("--few", action="store_true")
    Handler.options = parser.parse_args()
    server = ThreadingHTTPServer(("127.0.0.1", Handler.options.port), Handler)
    print(f"http://127.0.0.1:{Handler.options.port}/", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
