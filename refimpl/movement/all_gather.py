"""AllGather: every rank along some grid axes receives the blocks of all of them.

Definition   Let the grid axes a cut a tensor into blocks x_q.
             G : V -> W,   (G x)_p = the blocks x_q of p's group, put together.
Spaces       V: blocks along a.   W: the whole on each rank along a, so that a holds copies.
Adjoint      G* : W -> V,   (G* y)_q = sum over the group's ranks p of the part of y_p that is block q: ReduceScatter.
Why          Block q goes to c ranks, as in a broadcast, so its c sensitivities are added: G is c identities (permuted)
             on top of each other.
Norm         Every number is copied c times: |G| = sqrt(c).
Cost         (c - 1) times the own block, sent by each rank; adjoint: n (c - 1) / c of the whole, and as many sums.
Trap         "Keep my block" is the adjoint only into a space whose copies count once. Here they all count.
Reference    Thakur, Rabenseifner and Gropp, "Optimization of collective communication operations in MPICH", 2005.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod, sqrt

import numpy as np

from .. import wire
from ..arrays import Array, to_wire
from ..operator import Operator, Traffic
from ..space import Box, Space
from .grid_axes import group_of, read_axes
from .parcels import Place, packed, place, unpacked


class AllGather(Operator):
    """The blocks of ``X`` along the grid axes ``axes``, whole on each rank of them.

    Raises ValueError where an axis does not exist or holds copies, or where the gathered blocks do not follow one another
    without gap or overlap.
    """

    def __init__(self, X: Space, axes: int | Sequence[int]) -> None:
        self.axes = read_axes("AllGather", X, axes)
        self.comm, self.domain, self.range = X.comm, X, gathered(X, self.axes)
        self.group = group_of(X.partition, self.axes)
        self.places = [place(inside(X.boxes[r], self.range.local_box)) for r in self.group]
        self.sizes = [p.size for p in self.places]
        self.stacked = in_order(self.places, self.range.local_shape)
        self.norm_bound = sqrt(prod(X.partition.shape[g] for g in self.axes))

    def forward(self, x: Array) -> Array:  # V -> W:  y_p[block q] = x_q
        return self.finish(self.start(x))

    def adjoint(self, y: Array) -> Array:  # W -> V:  x_q = sum over p of y_p[block q]
        return self.finish_adjoint(self.start_adjoint(y))

    def start(self, x: Array) -> wire.Pending | None:
        self.domain.check(x, self)
        return wire.start_all_gather(self.comm, self.group, to_wire(x).ravel(), self.sizes) if self.group else None

    def finish(self, pending: wire.Pending | None) -> Array:
        if not pending:
            return self.range.zeros()
        blocks = wire.finish(pending)
        if self.stacked:
            return self.range.adopt(blocks.reshape(self.range.local_shape))
        y = np.empty(self.range.local_shape, self.range.dtype, like=blocks)
        for p, block in unpacked(blocks, self.places):
            y[p.where] = block
        return self.range.adopt(y)

    def start_adjoint(self, y: Array) -> wire.Pending | None:
        self.range.check(y, self, "adjoint")
        if not self.group:
            return None
        y = to_wire(y)
        blocks = y.ravel() if self.stacked else packed(y, self.places)
        return wire.start_reduce_scatter(self.comm, self.group, blocks, self.sizes)

    def finish_adjoint(self, pending: wire.Pending | None) -> Array:
        if not pending:
            return self.domain.zeros()
        return self.domain.adopt(wire.finish(pending).reshape(self.domain.local_shape))

    def traffic(self) -> Traffic:
        if not self.group:
            return Traffic()
        p, word = len(self.group), self.domain.dtype.itemsize
        own, whole = prod(self.domain.local_shape) * word, sum(self.sizes) * word
        return Traffic(wire.all_gather_cost(p, own), wire.reduce_scatter_cost(p, whole))


def gathered(X: Space, axes: Sequence[int]) -> Space:
    """``X`` with the grid axes ``axes`` cutting nothing: neighbouring blocks along them become one."""
    copies = [g for g in axes if g in X.copy_axes and X.partition.shape[g] > 1]
    if copies:
        raise ValueError(f"AllGather: grid axes {copies} of {X!r} hold copies, there are no blocks to be put together")
    cuts = [tuple(g for g in cut if g not in axes) for cut in X.cuts]
    blocks = {}
    for i, cut in enumerate(X.cuts):
        inner = prod(X.partition.shape[g] for g in cut if g in axes)
        if [g in axes for g in cut] != sorted(g in axes for g in cut):
            raise ValueError(f"AllGather: of grid axes {cut}, which cut tensor axis {i}, only the last can be gathered")
        runs = [X.blocks[i][k : k + inner] for k in range(0, len(X.blocks[i]), inner)]
        if any(a[1] != b[0] for run in runs for a, b in zip(run[:-1], run[1:], strict=True)):
            raise ValueError(f"AllGather: the blocks {list(X.blocks[i])} along axis {i} leave gaps or overlap")
        blocks[i] = [(run[0][0], run[-1][1]) for run in runs]
    return X.replace(cuts=cuts, blocks=blocks)


def inside(box: Box, outer: Box) -> tuple[slice, ...]:
    """``box`` as slices of an array that holds ``outer``."""
    return tuple(slice(a - start, b - start) for (a, b), (start, _) in zip(box, outer, strict=True))


def in_order(places: Sequence[Place], shape: tuple[int, ...]) -> bool:
    """Do the boxes, one behind the other, lie as in the memory of an array of this shape?"""
    lead = next((i for i, n in enumerate(shape) if n != 1), 0)  # the axis along which memory can be cut in pieces
    starts = [p.where[lead].start for p in places] if shape else []
    return starts == sorted(starts) and all(p.shape[lead + 1 :] == shape[lead + 1 :] for p in places)
