"""Prolongation: from a coarse grid of columns to the fine one, a copy into each of the columns it stands for.

Definition   (P x)[i, j] = x[X(i), Y(j)], where column (i, j) is part of the coarse one at (X(i), Y(j)): see ``pairing``.
Spaces       Coarse columns -> fine columns, cut alike.
Adjoint      (P* y)[I, J] = the sum of y[i, j] over X(i) = I, Y(j) = J: the restriction of a residual.
Why          P is a 0/1 matrix with one 1 a row; its transpose sums.
Cost         No messages: blocks cut no coarse column.
Trap         A restriction that is not exactly P* makes the cycle unsymmetric, and conjugate gradients stall.
"""

from __future__ import annotations

import numpy as np

from refimpl.operator import Operator, Traffic

from .blocks import Block


class Prolongation(Operator):
    """P from the columns of ``coarse``, which is ``fine.coarser()``, to those of ``fine``."""

    norm_bound = 2.0

    def __init__(self, coarse: Block, fine: Block) -> None:
        self.domain, self.range = coarse.space, fine.space
        self.pairing = fine.pairings[0].within(fine.space.local_box)

    def forward(self, x: np.ndarray) -> np.ndarray:  # y[i, j] = x[X(i), Y(j)]
        self.domain.check(x, self)
        return self.pairing.copied(x)

    def adjoint(self, y: np.ndarray) -> np.ndarray:  # x[I, J] = sum over X(i) = I, Y(j) = J of y[i, j]
        self.range.check(y, self, "adjoint")
        return self.pairing.summed(y)

    def traffic(self) -> Traffic:
        return Traffic()

    def up(self, x: np.ndarray) -> np.ndarray:
        """``forward`` on flat blocks."""
        return self.forward(x.reshape(self.domain.local_shape)).ravel()

    def down(self, y: np.ndarray) -> np.ndarray:
        """``adjoint`` on flat blocks."""
        return self.adjoint(y.reshape(self.range.local_shape)).ravel()
