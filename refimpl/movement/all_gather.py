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
from ..arrays import Array, to_host
from ..operator import Operator, Traffic
from ..space import Box, Space
from .grid_axes import group_of, read_axes


class AllGather(Operator):
    """The blocks of ``X`` along the grid axes ``axes``, whole on each rank of them.

    Raises ValueError where an axis does not exist or holds copies, or where the gathered blocks do not follow one another
    without gap or overlap.
    """

    def __init__(self, X: Space, axes: int | Sequence[int]) -> None:
        self.axes = read_axes("AllGather", X, axes)
        self.domain, self.range = X, gathered(X, self.axes)
        self.group = group_of(X.partition, self.axes)
        self.places = [inside(X.boxes[r], self.range.local_box) for r in self.group]
        self.sizes = [prod(s.stop - s.start for s in place) for place in self.places]
        self.norm_bound = sqrt(prod(X.partition.shape[g] for g in self.axes))

    def forward(self, x: Array) -> Array:  # V -> W:  y_p[block q] = x_q
        self.domain.check(x, self)
        y = np.zeros(self.range.local_shape, self.range.dtype)
        if self.group:
            parts = wire.all_gather(self.domain.comm, self.group, to_host(x).ravel(), self.sizes)
            for place, part in zip(self.places, parts, strict=True):
                y[place] = part.reshape(y[place].shape)
        return self.range.adopt(y)

    def adjoint(self, y: Array) -> Array:  # W -> V:  x_q = sum over p of y_p[block q]
        self.range.check(y, self, "adjoint")
        x = np.zeros(self.domain.local_shape, self.domain.dtype)
        if self.group:
            y = to_host(y)
            parts = [y[place].ravel() for place in self.places]
            x = wire.reduce_scatter(self.domain.comm, self.group, parts).reshape(x.shape)
        return self.domain.adopt(x)

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
