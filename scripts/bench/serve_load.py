#!/usr/bin/env python3
"""Loads a running server with texts of real lengths, and says how it fared, in JSON lines.

    serve_load.py --texts dev.tsv --pid PID                    # closed loop: 64 clients for 30 s
    serve_load.py --texts dev.tsv --rates 25,50,75,100         # then open loop, by percent of that
    serve_load.py --texts dev.tsv --overload 10 --seconds 300 --pid PID
    serve_load.py ... --label albert > albert.jsonl
    serve_load.py ... --label python --with albert.jsonl --plot latency.svg > python.jsonl

In the closed loop every client sends its next request when the last is answered: what the server
can do at most. In the open loop requests come at random times (Poisson) whatever the server does,
and a latency begins when its request was due, not when a connection was free for it: a server that
stands still for a second is charged for all who came in that second. An overload is an open loop at
that many times the maximum; of a part of the texts the answers are fetched beforehand, one by one
from the idle server, and every accepted answer for these must be the same to the byte.

It shares the machine with the server: plain sockets, requests made beforehand, nothing parsed but a
number. `generator_cpu` says how much of a core it took all the same, and `late_ms` how late its
requests left; if either is large, the figures are its own and not the server's. Python 3.11 alone.
"""

import argparse
import asyncio
import json
import math
import os
import random
import re
import sys
import time
from array import array
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

# Where each route has its texts; several routes have a form of their own.
FIELDS = {"/v1/embeddings": "input", "/embed": "inputs", "/embed_all": "inputs"}
TOKENS = re.compile(rb'"(?:total_)?tokens":\s*(\d+)')
LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)
LOST, UNANSWERED = -1, -2
Times: TypeAlias = "array[float]"  # seconds
# For answers that are still due when a phase ends; longer than a server takes for any request.
PATIENCE = 75.0


@dataclass
class Request:
    """A request as it is sent."""

    index: int
    data: bytes
    due: float = 0.0
    sent: float = 0.0
    retried: bool = False
    done: "Callable[[Request, int, bytes], None] | None" = None

    def due_at(self, due: float, done: "Callable[[Request, int, bytes], None]") -> "Request":
        return Request(self.index, self.data, due=due, done=done)


class Connection(asyncio.Protocol):
    """A connection that is kept, with one request at a time on it."""

    def __init__(self, pool: "Pool") -> None:
        self.pool = pool
        self.buffer = bytearray()
        self.request: Request | None = None
        self.used = False
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def send(self, request: Request) -> None:
        self.request, request.sent = request, time.perf_counter()
        self.transport.write(request.data)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self.buffer[:end])
        length = LENGTH.search(head)
        if length is None:
            raise SystemExit(f"error: an answer without a length: {head[:200]!r}")
        whole = end + 4 + int(length.group(1))
        if len(self.buffer) < whole:
            return
        status, body = int(head[9:12]), bytes(self.buffer[end + 4 : whole])
        del self.buffer[:whole]
        request, self.request, self.used = self.request, None, True
        if b"connection: close" in head.lower():
            self.transport.close()
        else:
            self.pool.free(self)
        if request is not None and request.done is not None:
            request.done(request, status, body)

    def connection_lost(self, _error: Exception | None) -> None:
        self.pool.lost(self)
        request, self.request = self.request, None
        if request is None or request.done is None:
            return
        if self.used and not self.buffer and not request.retried:
            # The server closed it, as it may when nothing is sent for long, while this was sent.
            request.retried = True
            self.pool.send(request)
        else:
            request.done(request, LOST, b"")


class Pool:
    """Connections to the server, and requests that wait for one."""

    def __init__(self, host: str, port: int, most: int) -> None:
        self.host, self.port, self.most = host, port, most
        self.idle: list[Connection] = []
        self.open: set[Connection] = set()
        self.opening = 0
        self.waiting: deque[Request] = deque()
        self.tasks: set[asyncio.Task[None]] = set()

    def send(self, request: Request) -> None:
        if self.idle:
            self.idle.pop().send(request)
            return
        self.waiting.append(request)
        self.grow()

    def grow(self) -> None:
        """Opens a connection, if there may be one more."""
        if len(self.open) + self.opening < self.most:
            self.opening += 1
            task = asyncio.get_running_loop().create_task(self.connect())
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def connect(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(
                lambda: Connection(self), self.host, self.port
            )
        except OSError:
            self.opening -= 1
            if self.waiting and not self.open:
                request = self.waiting.popleft()
                if request.done is not None:
                    request.done(request, LOST, b"")
            return
        self.opening -= 1
        self.open.add(connection)
        self.free(connection)

    def free(self, connection: Connection) -> None:
        if self.waiting:
            connection.send(self.waiting.popleft())
        else:
            self.idle.append(connection)

    def lost(self, connection: Connection) -> None:
        self.open.discard(connection)
        if connection in self.idle:
            self.idle.remove(connection)
        if self.waiting:
            self.grow()

    def close(self) -> None:
        self.waiting.clear()
        for connection in list(self.open):
            connection.request = None
            connection.transport.abort()


@dataclass
class Counted:
    """What came of the requests of a phase."""

    texts: int
    latencies: dict[int, Times] = field(default_factory=dict)
    late: Times = field(default_factory=lambda: array("d"))
    tokens: int = 0
    outstanding: int = 0
    compared: int = 0
    wrong: int = 0
    # The results of some texts, as they are alone.
    alone: dict[int, bytes] = field(default_factory=dict)

    def add(self, request: Request, status: int, body: bytes) -> None:
        latencies = self.latencies.setdefault(status, array("d"))
        latencies.append(time.perf_counter() - request.due)
        self.late.append(request.sent - request.due)
        if status != 200:
            return
        found = TOKENS.search(body, max(0, len(body) - 200))
        self.tokens += int(found.group(1)) if found else 0
        alone = self.alone.get(request.index)
        if alone is not None:
            self.compared += 1
            self.wrong += results(body) != alone

    def record(self, phase: str, seconds: float, cpu: float, **more: Any) -> dict[str, Any]:
        answered = len(self.latencies.get(200, ()))
        record = {
            "phase": phase,
            **more,
            "seconds": round(seconds, 3),
            "requests_per_second": round(answered / seconds, 2),
            "texts_per_second": round(answered * self.texts / seconds, 2),
            "tokens_per_second": round(self.tokens / seconds, 1),
            "latency_ms": quantiles(self.latencies.get(200, array("d"))),
            "statuses": {named(status): len(times) for status, times in self.latencies.items()},
            "late_ms": quantiles(self.late),
            "generator_cpu": round(cpu / seconds, 3),
        }
        refused = self.latencies.get(429)
        if refused:
            record["refused_latency_ms"] = quantiles(refused)
        if self.alone:
            record |= {"compared": self.compared, "wrong": self.wrong}
        return record


def named(status: int) -> str:
    return {LOST: "connection lost", UNANSWERED: "unanswered"}.get(status, str(status))


def results(body: bytes) -> bytes:
    """An answer without what differs from one time to the next."""
    return body[: body.rfind(b'"usage"')]


def quantiles(times: Times) -> dict[str, float]:
    """In milliseconds; the smallest latency that so many do not exceed."""
    ordered = sorted(times)
    if not ordered:
        return {}
    at = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}
    rank = {name: max(0, math.ceil(share * len(ordered)) - 1) for name, share in at.items()}
    return {name: round(1000 * ordered[index], 3) for name, index in rank.items()}


def resident_bytes(pid: int) -> int | None:
    """Memory of the server that is in RAM; none if it is gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    found = re.search(r"VmRSS:\s*(\d+) kB", text)
    return int(found.group(1)) * 1024 if found else None


class Load:
    """Puts a server under load."""

    def __init__(self, options: argparse.Namespace, requests: list[Request]) -> None:
        self.options, self.requests = options, requests
        url = urlsplit(options.url)
        self.host, self.port = url.hostname or "127.0.0.1", url.port or 80
        self.random = random.Random(options.seed)
        self.records: list[dict[str, Any]] = []

    def say(self, record: dict[str, Any]) -> None:
        own = {"label": self.options.label, "route": self.options.route}
        own["texts_per_request"] = self.options.texts_per_request
        record = own | record
        self.records.append(record)
        print(json.dumps(record), flush=True)

    def endless(self) -> Iterator[Request]:
        """The requests in an order of chance, again and again."""
        while True:
            order = list(self.requests)
            self.random.shuffle(order)
            yield from order

    async def closed(self, seconds: float, counted: Counted) -> float:
        """Every client sends again when it is answered; gives the seconds it took."""
        pool = Pool(self.host, self.port, self.options.clients)
        began, requests = time.perf_counter(), self.endless()
        ends = began + seconds

        def again(request: Request, status: int, body: bytes) -> None:
            now = time.perf_counter()
            if now <= ends:
                counted.add(request, status, body)
                if status == LOST:
                    # Not at once: a server that is gone would be asked without end.
                    asyncio.get_running_loop().call_later(0.1, send)
                else:
                    send()

        def send() -> None:
            pool.send(next(requests).due_at(time.perf_counter(), again))

        for _ in range(self.options.clients):
            send()
        await asyncio.sleep(ends - time.perf_counter())
        pool.close()
        return seconds

    async def open(self, rate: float, seconds: float, counted: Counted) -> float:
        """Requests at random times, so many a second; gives the seconds until all were answered,
        which are more than were asked for if the server falls behind."""
        pool = Pool(self.host, self.port, self.options.connections)
        requests, began = self.endless(), time.perf_counter()
        due, last = began, began

        def add(request: Request, status: int, body: bytes) -> None:
            nonlocal last
            last = time.perf_counter()
            counted.outstanding -= 1
            counted.add(request, status, body)

        while due < began + seconds:
            now = time.perf_counter()
            while due <= now and due < began + seconds:
                counted.outstanding += 1
                pool.send(next(requests).due_at(due, add))
                due += self.random.expovariate(rate)
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
        until = time.perf_counter() + PATIENCE
        while counted.outstanding and time.perf_counter() < until:
            await asyncio.sleep(0.02)
        if counted.outstanding:
            counted.latencies[UNANSWERED] = array("d", [PATIENCE] * counted.outstanding)
        pool.close()
        return max(seconds, last - began)

    async def measured(self, phase: str, run: Any, counted: Counted, **more: Any) -> dict[str, Any]:
        """Runs a phase; its record goes out, and the server's memory meanwhile."""
        watch = asyncio.create_task(self.watch(phase))
        cpu = time.process_time()
        seconds = await run
        cpu = time.process_time() - cpu
        watch.cancel()
        memory = resident_bytes(self.options.pid) if self.options.pid else None
        if memory is not None:
            more["resident_bytes"] = memory
        record = counted.record(phase, seconds, cpu, **more)
        self.say(record)
        return record

    async def watch(self, phase: str) -> None:
        """The server's memory, once a second; its lines stand for themselves."""
        began = time.perf_counter()
        while self.options.pid and phase == "overload":
            memory = resident_bytes(self.options.pid)
            if memory is None:
                raise SystemExit(f"error: there is no process {self.options.pid} any more")
            second = round(time.perf_counter() - began, 1)
            self.say({"phase": "memory", "second": second, "resident_bytes": memory})
            await asyncio.sleep(1.0)

    async def alone(self) -> dict[int, bytes]:
        """Some answers of the idle server, one at a time."""
        pool, answers = Pool(self.host, self.port, 1), {}
        for request in self.requests[: self.options.compare]:
            answered: asyncio.Future[tuple[int, bytes]] = asyncio.Future()

            def keep(_request: Request, status: int, body: bytes, to: Any = answered) -> None:
                to.set_result((status, body))

            pool.send(request.due_at(time.perf_counter(), keep))
            status, body = await answered
            if status == LOST:
                raise SystemExit(f"error: nobody answers at {self.options.url}")
            if status != 200:
                raise SystemExit(f"error: the idle server answered {named(status)}: {body[:300]!r}")
            answers[request.index] = results(body)
        pool.close()
        return answers

    async def run(self) -> int:
        options, texts = self.options, self.options.texts_per_request
        alone = await self.alone()
        await self.closed(options.warm_up, Counted(texts))
        seconds = min(options.seconds, 30.0) if options.overload else options.seconds
        counted = Counted(texts, alone=alone)
        most = await self.measured(
            "closed", self.closed(seconds, counted), counted, clients=options.clients
        )
        wrong, rate = counted.wrong, most["requests_per_second"]
        if rate == 0:
            raise SystemExit(f"error: nothing was answered in {seconds:g} s: {most['statuses']}")
        for percent in options.rates:
            counted, asked = Counted(texts, alone=alone), rate * percent / 100
            run = self.open(asked, options.seconds, counted)
            await self.measured("open", run, counted, percent=percent, rate=round(asked, 2))
            wrong += counted.wrong
        if options.overload:
            counted, asked = Counted(texts, alone=alone), rate * options.overload
            run = self.open(asked, options.seconds, counted)
            await self.measured(
                "overload", run, counted, times=options.overload, rate=round(asked, 2)
            )
            wrong += counted.wrong
        return wrong


def read_texts(path: Path) -> list[str]:
    """Lines; of a TSV with a header, the column `sentence` or else the first."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if path.suffix == ".tsv" and lines:
        header = lines[0].split("\t")
        column = header.index("sentence") if "sentence" in header else 0
        lines = [line.split("\t")[column] for line in lines[1:]]
    if not lines:
        raise SystemExit(f"error: {path} has no texts")
    return lines


def make_requests(options: argparse.Namespace) -> list[Request]:
    """The bytes of every request."""
    texts, count = read_texts(options.texts), options.texts_per_request
    url = urlsplit(options.url)
    if url.scheme != "http":
        raise SystemExit(f"error: {options.url}: only http, without TLS, is spoken here")
    head = f"POST {options.route} HTTP/1.1\r\nHost: {url.netloc}\r\n"
    if options.api_key:
        head += f"Authorization: Bearer {options.api_key}\r\n"
    head += "Content-Type: application/json\r\nContent-Length: "
    requests = []
    for index in range(len(texts) // count):
        body: dict[str, Any] = {"model": options.model} if options.model else {}
        body[FIELDS.get(options.route, "texts")] = texts[index * count : (index + 1) * count]
        data = json.dumps(body).encode()
        requests.append(Request(index, f"{head}{len(data)}\r\n\r\n".encode() + data))
    if not requests:
        raise SystemExit(f"error: {options.texts} has fewer texts than one request takes")
    return requests


COLOURS = {"p50": "#94a3b8", "p95": "#f59e0b", "p99": "#c2410c"}
DASHES = ["", "6 4", "2 3", "8 3 2 3"]
WIDE, HIGH, LEFT, TOP, RIGHT, BOTTOM = 720, 420, 64, 48, 150, 48


def decades(low: float, high: float) -> list[float]:
    """Powers of ten around both, two at least."""
    first = math.floor(math.log10(low))
    last = max(math.ceil(math.log10(high)), first + 1)
    return [10.0**power for power in range(first, last + 1)]


def plot(records: list[dict[str, Any]], file: Path) -> None:
    """Latency against load, the latency by powers of ten; a dash pattern for each label."""
    points = [record for record in records if record["phase"] == "open" and record["latency_ms"]]
    if not points:
        raise SystemExit("error: there is no open loop to draw: give --rates")
    rate = [record["rate"] * record["texts_per_request"] for record in points]
    times = [record["latency_ms"][name] for record in points for name in COLOURS]
    ticks = decades(min(times), max(times))
    low, high = math.log10(ticks[0]), math.log10(ticks[-1])
    most: float = max(rate) * 1.05

    def x(value: float) -> float:
        return LEFT + value / most * (WIDE - LEFT - RIGHT)

    def y(value: float) -> float:
        share: float = (high - math.log10(value)) / (high - low)
        return TOP + share * (HIGH - TOP - BOTTOM)

    parts = [text(LEFT, 26, "Latency against load", ' font-size="15" font-weight="bold"')]
    for tick in ticks:
        parts.append(line([(LEFT, y(tick)), (WIDE - RIGHT, y(tick))], "#e2e8f0"))
        parts.append(text(LEFT - 6, y(tick) + 4, f"{tick:g} ms", ' text-anchor="end"'))
    step = 10.0 ** math.floor(math.log10(most)) / (
        2 if most / 10 ** math.floor(math.log10(most)) < 4 else 1
    )
    for tick in range(int(most / step) + 1):
        parts.append(text(x(tick * step), HIGH - 28, f"{tick * step:g}", ' text-anchor="middle"'))
    parts.append(
        text(
            (LEFT + WIDE - RIGHT) / 2,
            HIGH - 10,
            "texts asked for per second",
            ' text-anchor="middle"',
        )
    )
    beside = TOP + 8
    for number, label in enumerate(dict.fromkeys(record["label"] for record in points)):
        dash = f' stroke-dasharray="{DASHES[number % len(DASHES)]}"'
        own = sorted(
            (where, record)
            for where, record in zip(rate, points, strict=True)
            if record["label"] == label
        )
        for name, colour in COLOURS.items():
            parts.append(
                line(
                    [(x(where), y(record["latency_ms"][name])) for where, record in own],
                    colour,
                    dash,
                )
            )
            parts.append(
                line([(WIDE - RIGHT + 10, beside), (WIDE - RIGHT + 38, beside)], colour, dash)
            )
            parts.append(text(WIDE - RIGHT + 44, beside + 4, f"{label} {name}"))
            beside += 18
    file.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDE} {HIGH}" width="{WIDE}"'
        f' height="{HIGH}"'
        ' font-family="system-ui, sans-serif" font-size="11" fill="#1e293b">\n'
        f'<rect width="{WIDE}" height="{HIGH}" fill="white"/>\n' + "\n".join(parts) + "\n</svg>\n",
        encoding="utf-8",
    )


def text(x: float, y: float, words: str, style: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}"{style}>{escape(words)}</text>'


def line(points: list[tuple[float, float]], colour: str, style: str = "") -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"{style}/>'


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--url", default="http://127.0.0.1:8080")
    add("--route", default="/v1/classify")
    add("--model", help="if absent, the server chooses")
    add("--texts", type=Path, required=True, help="lines, or a TSV with a header")
    add("--texts-per-request", type=int, default=1)
    add("--clients", type=int, default=64, help="of the closed loop")
    add(
        "--connections",
        type=int,
        default=800,
        help="of open loops, at most; with all in use, requests wait here, which their latencies "
        "count: to fill a server's queue there must be as many as requests fit into it",
    )
    add("--seconds", type=float, default=30.0, help="of each phase")
    add("--warm-up", type=float, default=2.0, help="seconds before anything is measured")
    add(
        "--rates",
        type=lambda text: [float(part) for part in text.split(",")],
        default=[],
        help="open loops at these percents of the closed loop's rate",
    )
    add("--overload", type=float, default=0.0, help="an open loop at so many times that rate")
    add("--compare", type=int, default=200, help="texts whose answers are compared")
    add("--pid", type=int, help="the server's process, for its memory")
    add("--api-key", default=os.environ.get("ALBERT_API_KEY"), help="or ALBERT_API_KEY")
    add("--label", default="server", help="a name for it in the lines and the picture")
    add(
        "--with",
        dest="beside",
        type=Path,
        action="append",
        default=[],
        help="lines of an earlier run, to be drawn too",
    )
    add("--plot", type=Path, help="draw the open loops as SVG")
    add("--seed", type=int, default=1, help="of the times and the order of requests")
    options = parser.parse_args()
    for name in ("texts_per_request", "clients", "connections", "seconds"):
        if getattr(options, name) <= 0:
            parser.error(f"--{name.replace('_', '-')} must be more than 0")
    return options


def main() -> None:
    options = arguments()
    load = Load(options, make_requests(options))
    wrong = asyncio.run(load.run())
    if options.plot:
        earlier = [line for file in options.beside for line in file.read_text().splitlines()]
        plot([json.loads(line) for line in earlier] + load.records, options.plot)
    if wrong:
        sys.exit(f"error: {wrong} answers were not those of the texts alone")


if __name__ == "__main__":
    main()
