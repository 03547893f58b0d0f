"""The relative error of one tensor against another: the only measure of agreement used here.

Not an element-wise tolerance: a tensor of zeros passes `allclose` where the true values are
small, and a single element near zero fails it where the tensor is right.
"""

import numpy as np


def relative_error(got: np.ndarray, want: np.ndarray) -> float:
    """||got - want|| / ||want||, infinite for another shape, a value that is not finite, or a
    tensor that should be zero and is not."""
    if got.shape != want.shape or not np.isfinite(got).all() or not np.isfinite(want).all():
        return float("inf")
    got, want = got.astype(np.float64), want.astype(np.float64)
    difference, scale = np.linalg.norm(got - want), np.linalg.norm(want)
    if scale == 0.0:
        return 0.0 if difference == 0.0 else float("inf")
    return float(difference / scale)
