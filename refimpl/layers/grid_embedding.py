"""Grid embedding: the coordinates of its point joined to each number of channels, as further channels.

Definition   y[b, :, j] = (x[b, :, j], t_1(j), .., t_d(j)) with t_i(j) = a_i + (b_i - a_i) j_i / N_i at the point
             j = (j_1, .., j_d) of a grid of N_1 .. N_d points: the coordinates of a periodic grid, without b_i.
Spaces       x (batch, c, N_1, .., N_d) -> y (batch, c + d, N_1, .., N_d); the channels are whole, all other axes are cut in any
             way. A rank takes the coordinates of its own indices in the whole tensor.
Tangent      dy = (dx, 0).      Adjoint: dx = the first c channels of dy.
Why          The coordinates do not depend on x, so J is the padding of the channels, and J* their restriction.
Cost         No messages.
Trap         Coordinates of the local block, from 0 on every rank, are right on one rank only.
Reference    Li et al., arXiv 2010.08895 (the input of the FNO with its positions).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..arrays import Array, fresh, namespace
from ..space import Space
from .layer import Blocks, Layer


class GridEmbedding(Layer):
    """``X`` with its coordinates in ``bounds``, one (a, b) for each space axis, by default all (0, 1).

    Raises ValueError where the channels are not whole, there is no space axis, or not one pair of bounds for each.
    """

    told = ("bounds",)

    def __init__(self, X: Space, bounds: Sequence[tuple[float, float]] | None = None) -> None:
        d = X.ndim - 2
        if d < 1 or not X.is_whole(1):
            raise ValueError(f"GridEmbedding: expected (batch, whole channels, space axes), got {X!r}")
        self.bounds = [(float(a), float(b)) for a, b in ([(0, 1)] * d if bounds is None else bounds)]
        if len(self.bounds) != d:
            raise ValueError(f"GridEmbedding: expected one pair of bounds for each of {d} axes, got {self.bounds}")
        super().__init__(X, X.replace(shape=(X.shape[0], X.shape[1] + d, *X.shape[2:])))
        self.coordinates = X.adopt(self._coordinates(d))

    def _coordinates(self, d: int) -> np.ndarray:
        """t of this rank's points, (batch, d, its points)."""
        batch, _, *points = self.range.local_shape
        t = np.zeros((batch, d if self.domain.partition.active else 0, *points), self.domain.dtype)
        for i, ((a, b), (start, stop)) in enumerate(zip(self.bounds, self.domain.local_box[2:], strict=True)):
            line = a + (b - a) * np.arange(start, stop) / max(self.domain.shape[2 + i], 1)
            t[:, i : i + 1] = line.reshape(-1, *[1] * (d - 1 - i))
        return t

    def value(self, x: Array) -> Array:  # y = (x, t)
        return namespace(x).concat([x, self.coordinates], axis=1)

    def derivative(self, x: Array) -> tuple[Array, Callable, Callable]:
        xp = namespace(x)

        def tangent(dx: Array, d: Blocks) -> Array:  # dy = (dx, 0)
            return xp.concat([dx, xp.zeros_like(self.coordinates)], axis=1)

        def adjoint(dy: Array) -> tuple[Array, Blocks]:  # dx = dy without the last d channels
            return fresh(dy[:, : self.domain.local_shape[1], ...]), {}

        return self.value(x), tangent, adjoint
