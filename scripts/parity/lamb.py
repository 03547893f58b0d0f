"""LAMB, clipping and the learning-rate schedule written out formula by formula in float64.

Sources: "Large Batch Optimization for Deep Learning: Training BERT in 76 minutes"
(arXiv 1904.00962), algorithm 2, in the form of google-research/albert `lamb_optimizer.py` and
`optimization.py`: no bias correction, no limit on the trust ratio. Not an optimizer to train
with: it is slow and plain so that it can be compared line by line with the formulas.
"""

import re

import numpy as np

BETA_1, BETA_2 = 0.9, 0.999
EPSILON = 1e-6
WEIGHT_DECAY = 0.01

Tensors = dict[str, np.ndarray]


def is_excluded(name: str) -> bool:
    """Whether a parameter has neither weight decay nor layer adaptation."""
    return re.search("LayerNorm|layer_norm|bias", name) is not None


class Lamb:
    """The moments `m` and `v` of every parameter, zero at first."""

    def __init__(self, parameters: Tensors):
        self.m = {name: np.zeros_like(w) for name, w in parameters.items()}
        self.v = {name: np.zeros_like(w) for name, w in parameters.items()}

    def step(self, parameters: Tensors, gradients: Tensors, learning_rate: float) -> None:
        """Replaces every parameter w by w - learning_rate * ratio * u."""
        for name, w in parameters.items():
            g = gradients[name]
            self.m[name] = BETA_1 * self.m[name] + (1.0 - BETA_1) * g
            self.v[name] = BETA_2 * self.v[name] + (1.0 - BETA_2) * g * g
            u = self.m[name] / (np.sqrt(self.v[name]) + EPSILON)
            ratio = 1.0
            if not is_excluded(name):
                u = u + WEIGHT_DECAY * w
                w_norm, u_norm = np.sqrt(np.sum(w * w)), np.sqrt(np.sum(u * u))
                if w_norm > 0.0 and u_norm > 0.0:
                    ratio = w_norm / u_norm
            parameters[name] = w - learning_rate * ratio * u


def global_norm(gradients: Tensors) -> float:
    """The norm of all gradients together, a tied tensor counted once."""
    return float(np.sqrt(sum(np.sum(g * g) for g in gradients.values())))


def clip_by_norm(gradients: Tensors, norm: float, norm_max: float) -> Tensors:
    """The gradients of global norm `norm` times norm_max / max(norm, norm_max).

    As tf.clip_by_global_norm; torch's clip_grad_norm_ adds 1e-6 to the norm."""
    return {name: g * (norm_max / max(norm, norm_max)) for name, g in gradients.items()}


def scheduled_learning_rate(step: int, peak: float, warmup_steps: int, steps: int) -> float:
    """The rate of step `step`, which counts from 0: linear warm-up from 0, then the line from
    `peak` at step 0 to 0 at step `steps`. The two meet with a jump, as in the reference."""
    if step < warmup_steps:
        return peak * step / warmup_steps
    return peak * (1.0 - min(step, steps) / steps)
