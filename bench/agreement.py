"""Whether a contender computes the same as all others: only then is its time worth comparing."""

import sys
from pathlib import Path
from typing import Any

import numpy as np

from model import Set

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts" / "parity"))
from compare import relative_error  # noqa: E402

# Of the last hidden states and the pooler output, each as a whole, against float64. Right ones
# have 7e-7, 2e-2 and, with the fixed scales that NNCF finds, 1e-1. What each limit catches is in
# `test_bench.py`; for int8 that is only what is grossly wrong, so look at the error itself, and
# at that of the same graph in f32. They say nothing of what int8 costs a trained model.
LIMITS = {"f32": 1e-5, "bf16": 5e-2, "int8": 2e-1}


def real(outputs: dict[str, Any], batch: Any, what: str) -> np.ndarray:
    """[real tokens, hidden_size] of hidden states; [sequences, hidden_size] of the pooler."""
    values = np.array(outputs[what], dtype=np.float64)
    if what == "pooler" or batch.mask is None:
        return values
    kept = np.array(batch.mask, dtype=bool).ravel()
    if values.size % kept.size:
        return values
    return values.reshape(kept.size, -1)[kept].ravel()


def error_of(
    found: list[dict[str, Any]], truth: list[dict[str, Any]], sets: list[Set], pooler: bool
) -> float:
    """The largest relative error over all outputs; infinite where one is missing."""
    lines = {line["shape"]: line for line in found}
    errors = []
    for one, right in zip(sets, truth, strict=True):
        outputs = lines.get(one.shape, {}).get("outputs", [])
        if len(outputs) != len(one.batches):
            return float("inf")
        for got, want, batch in zip(outputs, right["outputs"], one.batches, strict=True):
            for what in ("hidden", "pooler") if pooler else ("hidden",):
                errors.append(relative_error(real(got, batch, what), real(want, batch, what)))
    return max(errors)
