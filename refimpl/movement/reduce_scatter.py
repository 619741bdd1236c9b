"""ReduceScatter: add up whole tensors along some grid axes, and leave each rank a block of the sum.

Definition   Let every rank along the grid axes a hold a whole y_p (or the whole of what a would cut).
             R : W -> V,   (R y)_q = sum over the group's ranks p of the part of y_p that is block q.
Spaces       W: copies along a.   V: blocks along a; by default grid axis i cuts tensor axis i.
Adjoint      R* : V -> W, the blocks put together on every rank, which is AllGather: R = G*, so R* = G.
Why          <R y, x>_V = <G* y, x>_V = <y, G x>_W.
Norm         |R| = |G| = sqrt(c).
Cost         n (c - 1) / c words sent by each rank, and as many sums; adjoint: (c - 1) times the own block.
Trap         Each rank's whole is a partial sum of its own: copies that are equal would be counted c times.
Reference    Thakur, Rabenseifner and Gropp, "Optimization of collective communication operations in MPICH", 2005.
"""

from __future__ import annotations

from collections.abc import Sequence

from .. import wire
from ..arrays import Array
from ..operator import Operator, Traffic
from ..space import Space
from .all_gather import AllGather
from .grid_axes import read_axes


class ReduceScatter(Operator):
    """The sum of the wholes of ``Y`` along the grid axes ``axes``, cut into blocks along them.

    ``range``: the space of the blocks, where grid axis i does not cut tensor axis i in balanced blocks.
    Raises ValueError where an axis does not exist or cuts already, or where gathering ``range`` does not give Y.
    """

    def __init__(self, Y: Space, axes: int | Sequence[int], range: Space | None = None) -> None:
        self.axes = read_axes("ReduceScatter", Y, axes)
        if not set(self.axes) <= set(Y.copy_axes):
            raise ValueError(
                f"ReduceScatter: grid axes {self.axes} must hold copies to be summed; those that do are {Y.copy_axes}"
            )
        if range is None and any(g >= Y.ndim for g in self.axes):
            raise ValueError(
                f"ReduceScatter: no tensor axis for grid axes {self.axes} of {Y.partition.shape}; say range="
            )
        X = range or Y.replace(cuts=[cut + ((i,) if i in self.axes else ()) for i, cut in enumerate(Y.cuts)])
        self.all_gather = AllGather(X, self.axes)
        if self.all_gather.range != Y:
            raise ValueError(f"ReduceScatter: gathering {X!r} gives {self.all_gather.range!r}, expected {Y!r}")
        self.domain, self.range, self.norm_bound = Y, X, self.all_gather.norm_bound

    def forward(self, y: Array) -> Array:  # W -> V:  x_q = sum over p of y_p[block q]
        return self.finish(self.start(y))

    def adjoint(self, x: Array) -> Array:  # V -> W:  y_p[block q] = x_q
        return self.finish_adjoint(self.start_adjoint(x))

    def start(self, y: Array) -> wire.Pending | None:
        self.domain.check(y, self)
        with wire.unchecked():
            return self.all_gather.start_adjoint(y)

    def finish(self, pending: wire.Pending | None) -> Array:
        return self.all_gather.finish_adjoint(pending)

    def start_adjoint(self, x: Array) -> wire.Pending | None:
        self.range.check(x, self, "adjoint")
        with wire.unchecked():
            return self.all_gather.start(x)

    def finish_adjoint(self, pending: wire.Pending | None) -> Array:
        return self.all_gather.finish(pending)

    def traffic(self) -> Traffic:
        return self.all_gather.traffic().reversed
