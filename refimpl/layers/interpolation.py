"""Interpolation: a tensor resampled along its space axes, to more or fewer points.

Definition   y[.., j] = (1 - f) x[.., i] + f x[.., i + 1] along an axis, with i + f = s(j) the place of point j of m among the n
             old ones, cut off at 0 and n - 1; one axis after the other.
             nearest                 s = floor(j n / m)
             linear                  s = (j + 1/2) n / m - 1/2       the points are centres of cells
             linear, align_corners   s = j (n - 1) / (m - 1)         the first and the last point stay; m = 1: s = 0
             These are the definitions of torch and DistDL, here in whole numbers, so that no s is rounded across a point.
Split axis   A rank with the points [j_0, j_1) reads the old points from s(j_0) to s(j_1 - 1), whoever owns them: G, one copy of
             boxes. Then y = M G x, M = M_1 .. M_n with one small sparse matrix an axis: the rank's rows of the whole matrix.
Spaces       X (batch, channels, 1 to 3 space axes), any axis cut in any blocks, to the same with other sizes in balanced ones.
Tangent      dy = M G dx.      Adjoint: dx = G* M* dy, M* = M_n* .. M_1*.
Why          y is linear in x, so it is its own derivative; the rows of all ranks together are each row once.
Norm         sqrt of (largest row sum, which is 1) times (largest column sum), an axis.
Cost         One packed message to each rank that owns a part of what is read; 4 flops a number and axis.
Trap         Interpolating each block by itself: right sizes, and wrong numbers at every boundary between blocks.
Reference    torch.nn.functional.interpolate; Hewett and Grady, arXiv 2006.03108 (DistDL's interpolation).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod, sqrt
from numbers import Integral
from typing import Any

import numpy as np

from .. import wire
from ..arrays import Array, to_host
from ..movement.boxes import BoxCopy
from ..operator import Operator, Traffic
from ..partition import whole_numbers
from ..space import Space
from .apply import Apply


class Resampling(Operator):
    """The space axes (2 and on) of ``X`` at ``sizes`` points; ``mode``: "nearest" or "linear".

    Raises ValueError where these do not fit, X has not 1 to 3 space axes or no points on one, or blocks overlap or leave gaps.
    """

    told = ("mode", "align_corners")

    def __init__(
        self, X: Space, sizes: int | Sequence[int], mode: str = "nearest", align_corners: bool = False
    ) -> None:
        sizes = whole_numbers("Interpolation: sizes", [sizes] * (X.ndim - 2) if isinstance(sizes, Integral) else sizes)
        if not 3 <= X.ndim <= 5 or min(X.shape[2:]) < 1 or not all(X.covers_once(axis) for axis in range(X.ndim)):
            raise ValueError(
                f"Interpolation: expected (batch, channels, 1 to 3 axes with points), each number held in one block, got {X!r}"
            )
        if len(sizes) != X.ndim - 2 or min(sizes) < 1:
            raise ValueError(f"Interpolation: expected a size >= 1 for each of {X.ndim - 2} space axes, got {sizes}")
        if mode not in ("nearest", "linear") or (align_corners and mode == "nearest"):
            raise ValueError(
                f'Interpolation: expected mode="nearest" or "linear", which may align corners, got {mode!r}, {align_corners}'
            )
        self.domain, self.range = X, X.replace(shape=(*X.shape[:2], *sizes))
        self.mode, self.align_corners = mode, align_corners
        whole = [axis_matrix(n, m, mode, align_corners) for n, m in zip(X.shape[2:], sizes, strict=True)]
        rows = dict(enumerate(X.blocks))
        for axis, M in enumerate(whole, start=2):
            rows[axis] = tuple(columns(M, first, last) for first, last in self.range.blocks[axis])
        self.boxes = BoxCopy(X, X.replace(blocks=rows))
        kept = list(zip(self.range.local_slice, self.boxes.range.local_slice, strict=True))
        real = np.zeros(0, X.dtype).real.dtype
        self.matrices = [
            M[kept[axis]].astype(real) for axis, M in enumerate(whole, start=2)
        ]  # M_1, .., M_n for this rank
        copies = prod(X.partition.shape[g] for g in X.copy_axes)
        self.norm_bound = sqrt(copies * prod(float(M.sum(axis=0).max()) for M in whole))

    def forward(self, x: Array) -> Array:  # y = M_1 .. M_n G x
        self.domain.check(x, self)
        with wire.unchecked():
            y = to_host(self.boxes.forward(x))
        for axis, M in reversed(list(enumerate(self.matrices, start=2))):
            y = along(axis, M, y)
        return self.range.adopt(np.ascontiguousarray(y))

    def adjoint(self, y: Array) -> Array:  # x = G* M_n* .. M_1* y
        self.range.check(y, self, "adjoint")
        x = to_host(y)
        for axis, M in enumerate(self.matrices, start=2):
            x = along(axis, M.T, x)
        with wire.unchecked():
            return self.boxes.adjoint(self.boxes.range.adopt(np.ascontiguousarray(x)))

    def traffic(self) -> Traffic:
        return self.boxes.traffic()


class Interpolation(Apply):
    """The layer of a resampling; arguments and errors as there."""

    def __init__(
        self, X: Space, sizes: int | Sequence[int], mode: str = "nearest", align_corners: bool = False
    ) -> None:
        super().__init__(Resampling(X, sizes, mode, align_corners))


class Upsample(Interpolation):
    """An interpolation to ``factor`` >= 1 times as many points along each space axis; errors as there."""

    def __init__(self, X: Space, factor: int, mode: str = "nearest", align_corners: bool = False) -> None:
        (factor,) = whole_numbers("Upsample: factor", (factor,))
        if factor < 1:
            raise ValueError(f"Upsample: expected a factor >= 1, got {factor}")
        super().__init__(X, [factor * n for n in X.shape[2:]], mode, align_corners)


def axis_matrix(n: int, m: int, mode: str, align_corners: bool) -> Any:
    """The whole matrix of an axis: m rows with one or two weights each, whose sum is 1."""
    from scipy.sparse import csr_array

    j = np.arange(m)
    if mode == "nearest":
        place, unit = j * n // m, 1
    elif align_corners:
        place, unit = j * (n - 1), max(m - 1, 1)
    else:
        place, unit = np.clip((2 * j + 1) * n - m, 0, 2 * m * (n - 1)), 2 * m
    i, f = place // unit, place % unit / unit  # s(j) = i + f
    entries = np.concatenate([1 - f, f]), (np.tile(j, 2), np.concatenate([i, np.minimum(i + 1, n - 1)]))
    M = csr_array(entries, shape=(m, n))
    M.eliminate_zeros()
    return M


def columns(M: Any, first: int, last: int) -> tuple[int, int]:
    """The (start, stop) of the columns that the rows first..last-1 of a matrix use."""
    used = M.indices[M.indptr[first] : M.indptr[last]]
    return (int(used.min()), int(used.max()) + 1) if used.size else (0, 0)


def along(axis: int, M: Any, x: np.ndarray) -> np.ndarray:
    """The matrix applied along an axis."""
    x = np.moveaxis(x, axis, 0)
    others = x.shape[1:]
    return np.moveaxis((M @ x.reshape(len(x), prod(others))).reshape(M.shape[0], *others), 0, axis)
