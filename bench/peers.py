"""Who is measured, and how one is asked: every turn is a process of its own.

A process that has ended burns nothing while the next is measured, which cannot be said of the
thread pools of one that waits.
"""

import importlib.metadata
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from model import Batch, Set, has_tokenizer

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent


class Absent(Exception):
    """A contender cannot take part; the reason, in a line."""


@dataclass(frozen=True)
class Contender:
    name: str
    precision: str
    # Of `worker.py`, or `rten`, or `albert`.
    engine: str
    # What it reads: a file of `export.py`; empty for the model's own directory.
    file: str = ""
    # What the arithmetic around int8 products is in, where that can be chosen.
    rest: str = ""
    compiled: bool = False


CONTENDERS = [
    Contender("albert-f32", "f32", "albert"),
    Contender("pytorch-f32", "f32", "pytorch"),
    Contender("onnxruntime-f32", "f32", "onnxruntime", "fused.onnx"),
    Contender("openvino-f32", "f32", "openvino", "openvino.xml", "f32"),
    Contender("rten-f32", "f32", "rten", "gelu.onnx"),
    Contender("albert-bf16", "bf16", "albert"),
    Contender("pytorch-bf16", "bf16", "pytorch"),
    Contender("pytorch-bf16-compile", "bf16", "pytorch", compiled=True),
    Contender("openvino-bf16", "bf16", "openvino", "openvino.xml", "bf16"),
    Contender("albert-int8", "int8", "albert"),
    Contender("onnxruntime-int8", "int8", "onnxruntime", "fused-int8.onnx"),
    # Whether the rest is faster in f32 or in bf16 depends on the processor.
    Contender("openvino-int8-f32", "int8", "openvino", "openvino-int8.xml", "f32"),
    Contender("openvino-int8-bf16", "int8", "openvino", "openvino-int8.xml", "bf16"),
    Contender("rten-int8", "int8", "rten", "gelu-int8.onnx"),
]
# In float64, what all are compared with.
TRUTH = Contender("reference", "f64", "pytorch")


@dataclass
class Setting:
    """What is the same for every contender."""

    model: Path
    # None for a model that was given; otherwise what `albert` calls it.
    preset: str | None
    work: Path
    threads: int
    seconds: float = 3.0
    iterations: int = 3
    # A turn that takes longer is given up.
    limit: float = 1800.0
    mixed: Path | None = None
    calibration: list[Batch] = field(default_factory=list)
    # The programs, once they are found or built; the commit where `albert` is of this tree.
    albert: list[str] = field(default_factory=list)
    commit: str = ""
    rten: list[str] = field(default_factory=list)

    @property
    def graphs(self) -> Path:
        return self.work / "graphs"


def run(command: list[str], setting: Setting) -> str:
    """What a process prints."""
    threads = str(setting.threads)
    environment = os.environ | {
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "HF_HUB_OFFLINE": "1",
        # In the process itself: what helpers left behind used would count as someone else's.
        "TORCHINDUCTOR_COMPILE_THREADS": "1",
        "TORCHINDUCTOR_CACHE_DIR": str(setting.work / "inductor"),
    }
    try:
        started = subprocess.Popen(
            command,
            env=environment,
            text=True,
            start_new_session=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    except OSError as error:
        raise Absent(f"{command[0]}: {error.strerror}") from None
    with started as process:
        try:
            out, problems = process.communicate(timeout=setting.limit)
        except subprocess.TimeoutExpired:
            raise Absent(f"took longer than {setting.limit:.0f} s") from None
        finally:
            if process.poll() is None:
                # Compilers started by it, too: it leads a group of its own.
                os.killpg(process.pid, signal.SIGKILL)
    if process.returncode != 0:
        raise Absent(reason_in(problems) or f"ended with {process.returncode}")
    return out


def reason_in(problems: str) -> str:
    """The last line that says it is an error, or else the last one."""
    lines = [line.strip() for line in problems.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"error\b|[\w.]*(Error|Exception)\b", line)]
    return (errors or lines or [""])[-1]


def run_job(program: list[str], job: dict[str, Any], setting: Setting) -> str:
    with tempfile.TemporaryDirectory(dir=setting.work) as directory:
        file = Path(directory) / "job.json"
        file.write_text(json.dumps(job))
        return run(program + [str(file)], setting)


def json_lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def prepare(contender: Contender, setting: Setting) -> None:
    """Makes the file it reads."""
    if contender.engine == "rten" and not setting.rten:
        setting.rten = [str(build_rten(setting))]
    if contender.file:
        setting.graphs.mkdir(exist_ok=True)
        job = {
            "file": contender.file,
            "model": str(setting.model),
            "directory": str(setting.graphs),
            "calibration": [batch._asdict() for batch in setting.calibration],
        }
        run_job([sys.executable, str(HERE / "export.py")], job, setting)


CARGO = ["cargo", "build", "--release", "--locked", "--quiet"]


def build_rten(setting: Setting) -> Path:
    target = setting.work.parent / "rten"
    manifest = str(HERE / "rten" / "Cargo.toml")
    run(CARGO + ["--manifest-path", manifest, "--target-dir", str(target)], setting)
    return target / "release" / "rten-bench"


def build_albert(setting: Setting) -> None:
    """Of this tree, so that the commit in the record is that of the program."""
    target = setting.work.parent / "albert"
    manifest = str(ROOT / "Cargo.toml")
    run(
        CARGO + ["-p", "albert-cli", "--manifest-path", manifest, "--target-dir", str(target)],
        setting,
    )
    git = ["git", "-C", str(ROOT)]
    changed = run(git + ["status", "--porcelain", "--untracked-files=no"], setting).strip()
    commit = run(git + ["rev-parse", "--short", "HEAD"], setting).strip()
    setting.albert = [str(target / "release" / "albert")]
    setting.commit = f"+{commit}" + (".changed" if changed else "")


def measure(
    contender: Contender, sets: list[Set], setting: Setting, check: bool = False
) -> list[dict[str, Any]]:
    """A line for each set, as `worker.py` describes them."""
    if contender.engine == "albert":
        return (
            check_albert(contender, sets, setting)
            if check
            else time_albert(contender, sets, setting)
        )
    file = str(setting.graphs / contender.file if contender.file else setting.model)
    job = {
        "engine": contender.engine,
        "file": file,
        "model": file,
        "precision": contender.precision,
        "rest": contender.rest,
        "compile": contender.compiled,
        "threads": setting.threads,
        "seconds": setting.seconds,
        "iterations": setting.iterations,
        "check": check,
        "sets": [
            {"shape": one.shape, "batches": [batch._asdict() for batch in one.batches]}
            for one in sets
        ],
    }
    worker = [sys.executable, str(HERE / "worker.py")]
    return json_lines(run_job(setting.rten if contender.engine == "rten" else worker, job, setting))


def time_albert(contender: Contender, sets: list[Set], setting: Setting) -> list[dict[str, Any]]:
    command = setting.albert + ["bench", "--precision", contender.precision]
    command += ["--threads", str(setting.threads), "--json"]
    tokenizer = setting.preset is None or has_tokenizer(setting.model)
    which = ["--model", str(setting.model)] if tokenizer else ["--preset", str(setting.preset)]
    shapes = [word for one in sets if one.shape != "mixed" for word in ("--shape", one.shape)]
    found = json_lines(run(command + which + shapes, setting)) if shapes else []
    for one in sets:
        if one.shape == "mixed":
            found += json_lines(run(command + which + ["--mixed", str(setting.mixed)], setting))
    expected = {one.shape: one.tokens() for one in sets}
    return [same_tokens(line, expected.get(line["shape"])) for line in found]


def same_tokens(line: dict[str, Any], expected: int | None) -> dict[str, Any]:
    """Refuses a rate of other work than the peers'; 1 % is for rounding in what was printed."""
    tokens = line["tokens_per_second"] * line["milliseconds"] / 1e3
    if expected is None or abs(tokens / expected - 1) > 0.01:
        reason = f"albert bench ran {tokens:.0f} tokens in a pass, and the peers {expected}"
        return {"shape": line["shape"], "error": reason}
    return line


def check_albert(contender: Contender, sets: list[Set], setting: Setting) -> list[dict[str, Any]]:
    """Its outputs, laid out as the peers' are: what is padding there is zero here."""
    from safetensors.numpy import load_file

    with tempfile.TemporaryDirectory(dir=setting.work) as directory:
        ids, out = Path(directory) / "ids.jsonl", Path(directory) / "out.safetensors"
        rows = [row for one in sets for batch in one.batches for row in batch.rows()]
        ids.write_text("".join(json.dumps({"input_ids": row}) + "\n" for row in rows))
        command = setting.albert + ["forward", "--model", str(setting.model)]
        command += ["--precision", contender.precision, "--threads", str(setting.threads)]
        run(command + ["--input", str(ids), "--output", str(out)], setting)
        tensors = load_file(out)
    found, number = [], 0
    for one in sets:
        outputs = []
        for batch in one.batches:
            hidden: list[float] = []
            pooler: list[float] = []
            for row, given in zip(batch.rows(), batch.ids, strict=True):
                states = tensors[f"last_hidden_state.{number}"]
                hidden += states.ravel().tolist()
                hidden += [0.0] * (len(given) - len(row)) * states.shape[1]
                if f"pooler_output.{number}" in tensors:
                    pooler += tensors[f"pooler_output.{number}"].tolist()
                number += 1
            outputs.append({"hidden": hidden, "pooler": pooler})
        found.append({"shape": one.shape, "outputs": outputs})
    return found


def version(contender: Contender, setting: Setting) -> str:
    """As installed; that of `albert` with the commit where this tree was built."""
    if contender.engine == "albert":
        return run(setting.albert + ["--version"], setting).split()[-1] + setting.commit
    if contender.engine == "rten":
        lock = (HERE / "rten" / "Cargo.lock").read_text()
        found = re.search(r'name = "rten"\nversion = "([^"]+)"', lock)
        return found[1] if found else ""
    package = {"pytorch": "torch"}.get(contender.engine, contender.engine)
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        raise Absent(f"{package} is not installed") from None
