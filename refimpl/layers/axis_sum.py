"""AxisSum: the sum of a tensor along some of its axes, on every rank that holds a part of it.

Definition   S : X -> Z,   (S x)[.., 0, ..] = sum of x[.., i, ..] over the indices i of the axes, which stay with length 1.
Split axis   Each rank sums its block, and an AllSumReduce A adds these over the grid axes that cut the axes: S = A L.
Spaces       X: blocks that hold each index once.   Z: the axes have length 1; the grid axes that cut them hold copies.
Adjoint      S* = L* A,   (S* z)[.., i, ..] = (A z)[.., 0, ..]: add the copies' cotangents, then repeat along the axes.
Why          A is its own adjoint, and the adjoint of a local sum is a repetition: (A L)* = L* A.
Norm         sqrt(n c) for n numbers in a sum that has c copies.
Cost         2 (c - 1) / c times the sums, both ways.
Trap         Repeating z without adding its copies first: right only where all copies happen to hold 1/c of the cotangent.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod, sqrt
from numbers import Integral

from .. import wire
from ..arrays import Array, contiguous, namespace
from ..movement import AllSumReduce
from ..operator import Identity, Operator, Traffic
from ..partition import whole_numbers
from ..space import Space


class AxisSum(Operator):
    """The sum of ``X`` along the tensor ``axes``, for ``who``.

    Raises ValueError, by the name of ``who``, where an axis does not exist, or has gaps or ghosts.
    """

    told = ("axes",)

    def __init__(self, X: Space, axes: int | Sequence[int], who: str = "AxisSum") -> None:
        self.axes = read_tensor_axes(who, X, axes)
        for axis in self.axes:
            if not X.covers_once(axis):
                raise ValueError(f"{who}: blocks {list(X.blocks[axis])} of axis {axis} leave gaps or overlap")
        grid_axes = [g for axis in self.axes for g in X.cuts[axis]]
        shape = [1 if i in self.axes else n for i, n in enumerate(X.shape)]
        cuts = [() if i in self.axes else cut for i, cut in enumerate(X.cuts)]
        kept = {i: row for i, row in enumerate(X.blocks) if i not in self.axes}
        self.domain, self.range = X, X.replace(shape=shape, cuts=cuts, blocks=kept)
        self.over = AllSumReduce(self.range, grid_axes) if grid_axes else Identity(self.range)
        copies = prod(X.partition.shape[g] for g in grid_axes)
        self.count = prod(X.shape[axis] for axis in self.axes)
        self.norm_bound = sqrt(self.count * copies)

    def forward(self, x: Array) -> Array:  # z = A L x
        self.domain.check(x, self)
        with wire.unchecked():
            if not self.domain.partition.active:
                return self.over.forward(self.range.zeros())
            return self.over.forward(namespace(x).sum(contiguous(x), axis=self.axes, keepdims=True))

    def adjoint(self, z: Array) -> Array:  # x = L* A z
        self.range.check(z, self, "adjoint")
        with wire.unchecked():
            z, xp = self.over.adjoint(z), namespace(z)
            return xp.asarray(xp.broadcast_to(z, self.domain.local_shape), copy=True)

    def traffic(self) -> Traffic:
        return self.over.traffic()


def read_tensor_axes(who: str, X: Space, axes: int | Sequence[int]) -> tuple[int, ...]:
    """Tensor axes, or one, sorted and from 0; ValueError where one does not exist or is named twice."""
    given = whole_numbers(f"{who}: axes", (axes,) if isinstance(axes, Integral) else axes)
    read = sorted(axis % X.ndim if -X.ndim <= axis < X.ndim else X.ndim for axis in given)
    if len(set(read)) != len(read) or (read and read[-1] == X.ndim) or not read:
        raise ValueError(f"{who}: axes {given} must name different axes of a tensor of {X.ndim}")
    return tuple(read)
