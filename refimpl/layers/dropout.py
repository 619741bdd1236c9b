"""Dropout: in training, set each number to zero with a given probability, and scale the others up.

Definition   y_i = m_i x_i,   m_i = 0 where u_i < p, else 1 / (1 - p), so that the mean of y_i is x_i.
             u_i is uniform by (seed, step, global index) alone: one mask on every partition, equal in copies, new in each step.
Spaces       X -> X, any partition.
Tangent      dy = m dx.      Adjoint: dx = m dy, a real diagonal matrix.
Step         The number of steps made so far is the layer's one statistic: a pass at step k uses mask k, and ``J.new_state``
             says k + 1. So a pass can be repeated, and a resumed training goes on with the masks that it would have used.
Frozen       ``layer.frozen()`` is the identity.
Cost         One broadcast of one number.
Reference    Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", 2014.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..arrays import Array
from ..movement import Broadcast
from ..random_numbers import split
from ..space import Space
from .layer import Blocks, Layer
from .pointwise import Identity


class Dropout(Layer):
    """Numbers of ``X`` set to zero with probability ``p``. Raises ValueError where p is not in [0, 1)."""

    told = ("p", "seed")

    def __init__(self, X: Space, p: float = 0.5, seed: int = 0) -> None:
        if not (isinstance(p, int | float) and 0 <= p < 1):
            raise ValueError(f"Dropout: expected a probability 0 <= p < 1, got {p!r}")
        super().__init__(X, X)
        self.p, self.seed = p, seed
        self.uniforms = X.replace(dtype="float64", xp=np, device=None)
        step = X.replace(partition=X.partition.face(()), shape=(), dtype="float64", cuts=(), blocks={})
        self.statistics_spaces, self.statistics = {"step": step}, {"step": step.zeros()}
        self.tell = Broadcast(step, X.partition)

    def mask(self) -> Array:
        """m, at the present step."""
        step = int(self.tell.forward(self.statistics["step"]))
        u = self.uniforms.uniform(split(self.seed, step))
        return self.domain.adopt(((u >= self.p) / (1 - self.p)).astype(self.domain.dtype))

    def value(self, x: Array) -> Array:  # y = m x
        return self.mask() * x

    def derivative(self, x: Array) -> tuple[Array, Callable, Callable, Blocks]:
        m = self.mask()

        def tangent(dx: Array, d: Blocks) -> Array:  # dy = m dx
            return m * dx

        def adjoint(dy: Array) -> tuple[Array, Blocks]:  # dx = m dy
            return m * dy, {}

        return m * x, tangent, adjoint, {"step": self.statistics["step"] + 1}

    def frozen(self) -> Layer:
        return Identity(self.domain)
