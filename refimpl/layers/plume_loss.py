"""PlumeL2: the relative L2 error in which the cells that the plume has reached count more.

Definition   L(p, t) = (1/B) sum over the B samples of |p_b - t_b|_w / |t_b|_w (reduction "mean"), or the sum, with
             |e|_w^2 = sum_i w_i e_i^2,   w_i = weight where t_i > threshold, else 1.
Spaces       X -> R on rank 0 (losses.py); axis 0 is the batch.
Tangent      dL = <g, dp>,   g_b = w_b (p_b - t_b) / (B |p_b - t_b|_w |t_b|_w), and zero where p_b = t_b.
Adjoint      dp = c g for the number c on rank 0.
Why          With s = sqrt(w), |e|_w = |s e|. So L(p, t) is the relative L2 error of s p and s t, and by the chain rule its
             gradient is s times that one's.
Cost         That of RelativeL2: one pool of two numbers a sample.
Trap         w is a function of the target alone. One of the prediction would jump where a cell is reached: no gradient there.
Reference    The threshold is that of the plume error in training/metrics.py; a weight of 1 is RelativeL2.
"""

from __future__ import annotations

from math import isfinite, sqrt

from ..arrays import Array, namespace
from ..space import Space
from .relative_losses import RelativeL2


class PlumeL2(RelativeL2):
    """The relative L2 error with ``weight`` >= 1 where the target exceeds ``threshold``, and 1 elsewhere."""

    told = ("reduction", "weight", "threshold")

    def __init__(self, X: Space, reduction: str = "mean", weight: float = 10.0, threshold: float = 0.01) -> None:
        super().__init__(X, reduction)
        if not (1 <= weight < float("inf") and isfinite(threshold)):
            raise ValueError(f"PlumeL2: expected a finite weight >= 1 and threshold, got {weight} and {threshold}")
        self.weight, self.threshold = weight, threshold

    def value_and_gradient(self, prediction: Array, target: Array) -> tuple[float, Array]:  # |e|_w = |s e|
        xp = namespace(target)
        s = 1 + (sqrt(self.weight) - 1) * xp.astype(target > self.threshold, target.dtype)
        value, gradient = super().value_and_gradient(s * prediction, s * target)
        return value, s * gradient
