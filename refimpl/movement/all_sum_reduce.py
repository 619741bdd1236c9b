"""AllSumReduce: add up blocks along grid axes, and leave the sum on all of them.

Definition   Let V be a space whose ranks fall into groups along the grid axes a.
             A : V -> V,   (A x)_p = sum of x_q over the ranks q of p's group.
Spaces       V -> V: a space with copies along a (or, as memory, blocks of equal shape).
Adjoint      A* = A: with S the sum of a group and B the broadcast to it, A = B S, so A* = S* B* = B S.
Why          As a matrix, A is a block of ones (times the identity) for each group, which is symmetric.
Norm         A has rank one in a group of c, with |A| = c.
Cost         2 n (c - 1) / c words a rank.
Trap         "Sum forward, copy backward" pairs A with B: a gradient too small by the factor c, unless the copies of the
             cotangent happen to be partial sums already.
Reference    Hewett and Grady, arXiv 2006.03108.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from .. import wire
from ..arrays import Array, to_wire
from ..operator import Operator, Traffic
from ..space import Space
from .grid_axes import group_of, read_axes


class AllSumReduce(Operator):
    """The sum over the grid axes ``axes`` of ``X``, on every rank of them.

    Raises ValueError where an axis does not exist, or blocks of different shapes would be added.
    """

    told = ("axes",)

    def __init__(self, X: Space, axes: int | Sequence[int]) -> None:
        self.domain = self.range = X
        self.axes = read_axes("AllSumReduce", X, axes)
        for axis, cut in enumerate(X.cuts):
            sizes = {b - a for a, b in X.blocks[axis]}
            if set(cut) & set(self.axes) and len(sizes) > 1:
                raise ValueError(
                    f"AllSumReduce: grid axes {self.axes} cut tensor axis {axis} into blocks of sizes {sorted(sizes)}; "
                    "only blocks of equal shape can be added"
                )
        self.group = group_of(X.partition, self.axes)
        self.norm_bound = float(prod(X.partition.shape[g] for g in self.axes))

    def forward(self, x: Array) -> Array:  # V -> V:  y_p = sum of x_q over the group
        return self.finish(self.start(x))

    def adjoint(self, y: Array) -> Array:  # V -> V:  x_p = sum of y_q over the group
        return self.forward(y)

    def start(self, x: Array) -> wire.Pending | None:
        self.domain.check(x, self)
        return wire.start_all_reduce(self.domain.comm, self.group, to_wire(x)) if self.group else None

    def finish(self, pending: wire.Pending | None) -> Array:
        return self.domain.adopt(wire.finish(pending)) if pending else self.domain.zeros()

    def start_adjoint(self, y: Array) -> wire.Pending | None:
        return self.start(y)

    def finish_adjoint(self, pending: wire.Pending | None) -> Array:
        return self.finish(pending)

    def traffic(self) -> Traffic:
        n = prod(self.domain.local_shape) * self.domain.dtype.itemsize
        cost = wire.all_reduce_cost(len(self.group), n) if self.group else wire.Sent()
        return Traffic(cost, cost)
