"""Interpolation: a tensor resampled along its space axes, to more or fewer points.

Definition   With i + f = s(j), 0 <= f < 1, the place of point j of m among the n old ones, along an axis, one after the other:
             nearest         y[.., j] = x[.., i]                                      s = floor(j n / m)
             linear          y[.., j] = (1 - f) x[.., i] + f x[.., i + 1]             s cut off at 0 and n - 1
             cubic           y[.., j] = sum of c(f - p) x[.., i + p], p = -1 .. 2     i + p cut off at 0 and n - 1
             For linear and cubic s = (j + 1/2) n / m - 1/2: the points are centres of cells;
             with align_corners s = j (n - 1) / (m - 1): the first and the last point stay; m = 1: s = 0.
             c(t) = 5/4 |t|^3 - 9/4 |t|^2 + 1 for |t| <= 1,   -3/4 (|t|^3 - 5 |t|^2 + 8 |t| - 4) for |t| <= 2 (Keys, a = -3/4).
             These are the definitions of torch and DistDL, here in whole numbers, so that no s is rounded across a point.
Split axis   A rank with the points [j_0, j_1) reads the old points from s(j_0) to s(j_1 - 1), whoever owns them: G, one copy of
             boxes. Then y = M G x, M = M_1 .. M_n with one small sparse matrix an axis: the rank's rows of the whole matrix.
Spaces       X (batch, channels, 1 to 3 space axes), any axis cut in any blocks, to the same with other sizes in balanced ones.
Tangent      dy = M G dx.      Adjoint: dx = G* M* dy, M* = M_n* .. M_1*.
Why          y is linear in x, so it is its own derivative; the rows of all ranks together are each row once.
Norm         sqrt of (largest sum of |weights| of a row) times (that of a column), an axis.
Cost         One packed message to each rank that owns a part of what is read; 4 flops a number and axis.
Trap         Interpolating each block by itself: right sizes, and wrong numbers at every boundary between blocks.
Reference    torch.nn.functional.interpolate; Hewett and Grady, arXiv 2006.03108 (DistDL's interpolation); Keys, "Cubic
             convolution interpolation for digital image processing", 1981.
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
    """The space axes (2 and on) of ``X`` at ``sizes`` points; ``mode``: "nearest", "linear" or "cubic".

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
        if mode not in ("nearest", "linear", "cubic") or (align_corners and mode == "nearest"):
            modes = '"nearest", or "linear" or "cubic", which may align corners'
            raise ValueError(f"Interpolation: expected mode={modes}, got {mode!r}, {align_corners}")
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
        sums = (abs(M).sum(axis=axis).max() for M in whole for axis in (0, 1))
        self.norm_bound = sqrt(copies * prod(map(float, sums)))

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
    """The whole matrix of an axis: m rows with one, two or four weights each, whose sum is 1."""
    from scipy.sparse import csr_array

    j = np.arange(m)
    if mode == "nearest":
        place, unit = j * n // m, 1
    elif align_corners:
        place, unit = j * (n - 1), max(m - 1, 1)
    else:
        place, unit = (2 * j + 1) * n - m, 2 * m
    if mode == "linear":
        place = np.clip(place, 0, unit * (n - 1))
    i, f = place // unit, place % unit / unit  # s(j) = i + f
    weights = {p: keys(f - p) for p in (-1, 0, 1, 2)} if mode == "cubic" else {0: 1 - f, 1: f}
    places = [np.clip(i + p, 0, n - 1) for p in weights]
    entries = np.concatenate([*weights.values()]), (np.tile(j, len(weights)), np.concatenate(places))
    M = csr_array(entries, shape=(m, n))
    M.eliminate_zeros()
    return M


def keys(t: np.ndarray) -> np.ndarray:
    """c(t), the weight of a point at a distance of t <= 2."""
    t = abs(t)
    return np.where(t <= 1, (1.25 * t - 2.25) * t * t + 1, -0.75 * (((t - 5) * t + 8) * t - 4))


def columns(M: Any, first: int, last: int) -> tuple[int, int]:
    """The (start, stop) of the columns that the rows first..last-1 of a matrix use."""
    used = M.indices[M.indptr[first] : M.indptr[last]]
    return (int(used.min()), int(used.max()) + 1) if used.size else (0, 0)


def along(axis: int, M: Any, x: np.ndarray) -> np.ndarray:
    """The matrix applied along an axis."""
    x = np.moveaxis(x, axis, 0)
    others = x.shape[1:]
    return np.moveaxis((M @ x.reshape(len(x), prod(others))).reshape(M.shape[0], *others), 0, axis)
