"""Prolongation: from a coarse grid of columns to the fine one, a copy into each of the 2 x 2 columns it stands for.

Definition   (P x)[i, j] = x[i // 2, j // 2].      Spaces   coarse columns -> fine columns, cut alike.
Adjoint      (P* y)[i, j] = sum of y[2 i, 2 j], y[2 i, 2 j + 1], y[2 i + 1, 2 j], y[2 i + 1, 2 j + 1], those that exist: the
             restriction of a residual.
Why          P is a 0/1 matrix with one 1 a row; its transpose sums.
Cost         No messages: blocks begin at even columns.
Trap         A restriction that is not exactly P* makes the V-cycle unsymmetric, and conjugate gradients stall.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from refimpl.operator import Operator, Traffic

from .blocks import Block


class Prolongation(Operator):
    """P from the columns of ``coarse``, which is ``fine.coarser()``, to those of ``fine``."""

    norm_bound = 2.0

    def __init__(self, coarse: Block, fine: Block) -> None:
        self.domain, self.range = coarse.space, fine.space

    def forward(self, x: np.ndarray) -> np.ndarray:  # y[2 i + a, 2 j + b] = x[i, j]
        self.domain.check(x, self)
        y = self.range.zeros()
        for part, there in self._parts(y):
            part[...] = x[there]
        return y

    def adjoint(self, y: np.ndarray) -> np.ndarray:  # x[i, j] = sum over a, b of y[2 i + a, 2 j + b]
        self.range.check(y, self, "adjoint")
        x = self.domain.zeros()
        for part, there in self._parts(y):
            x[there] += part
        return x

    def traffic(self) -> Traffic:
        return Traffic()

    def up(self, x: np.ndarray) -> np.ndarray:
        """``forward`` on flat blocks."""
        return self.forward(x.reshape(self.domain.local_shape)).ravel()

    def down(self, y: np.ndarray) -> np.ndarray:
        """``adjoint`` on flat blocks."""
        return self.adjoint(y.reshape(self.range.local_shape)).ravel()

    @staticmethod
    def _parts(y: np.ndarray) -> Iterator[tuple[np.ndarray, tuple[slice, slice]]]:
        """Each of the four kinds of fine columns, and where the coarse columns that have one stand."""
        for a, b in np.ndindex(2, 2):
            part = y[a::2, b::2]
            yield part, (slice(part.shape[0]), slice(part.shape[1]))
