"""One turn of a Python peer, in a process of its own: `python worker.py JOB.json`.

The job: {"engine", "file", "precision", "rest", "compile", "threads", "seconds", "iterations",
"check", "sets": [{"shape", "batches": [{"ids", "mask"}]}]}. Printed is a JSON line for each set:
{"shape", "milliseconds"} of one pass over its batches, or, to check, {"shape", "outputs":
[{"hidden", "pooler"}]}, or {"shape", "error"}. `rten/src/main.rs` does the same for rten.
"""

import json
import statistics
import sys
import time
import warnings
from pathlib import Path
from typing import Any

from engines import ENGINES, Engine, feed_of

# Characters of a library's error that are kept; some print their whole stack.
REASON_MAX = 300


def one_pass(engine: Engine, feeds: list[Any]) -> float:
    start = time.perf_counter()
    for feed in feeds:
        engine.run(feed)
    return time.perf_counter() - start


def milliseconds(engine: Engine, feeds: list[Any], job: dict[str, Any]) -> float:
    """The median, after a quarter of the time to warm up. The first pass may compile: not
    counted at all."""
    one_pass(engine, feeds)
    warm = one_pass(engine, feeds)
    while warm < job["seconds"] / 4:
        warm += one_pass(engine, feeds)
    seconds: list[float] = []
    while sum(seconds) < job["seconds"] or len(seconds) < job["iterations"]:
        seconds.append(one_pass(engine, feeds))
    return 1e3 * statistics.median(seconds)


def outputs(engine: Engine, feeds: list[Any]) -> list[dict[str, list[float]]]:
    found = []
    for feed in feeds:
        hidden, pooler = engine.values(engine.run(feed))
        found.append({"hidden": hidden.ravel().tolist(), "pooler": pooler.ravel().tolist()})
    return found


def measure(engine: Engine, batches: list[Any], job: dict[str, Any]) -> dict[str, Any]:
    try:
        feeds = engine.prepare([feed_of(batch) for batch in batches])
        if job["check"]:
            return {"outputs": outputs(engine, feeds)}
        return {"milliseconds": milliseconds(engine, feeds, job)}
    except Exception as error:
        # Whatever a library raises is what is reported.
        reason = " ".join(str(error).split()) or type(error).__name__
        return {"error": reason[:REASON_MAX]}


def main() -> None:
    warnings.simplefilter("ignore")
    job = json.loads(Path(sys.argv[1]).read_text())
    engine = ENGINES[job["engine"]](job)
    for one in job["sets"]:
        print(
            json.dumps({"shape": one["shape"], **measure(engine, one["batches"], job)}), flush=True
        )


if __name__ == "__main__":
    main()
