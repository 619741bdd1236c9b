"""Broadcast: copy every block of one partition to all ranks of a larger one.

Definition   Let V be the memory of the blocks on P_x, and W that of P_y, which holds several copies of each block.
             B : V -> W,   (B x)_q = x_p   for every rank q of P_y whose grid coordinates agree with those of p.
             Agree as NumPy broadcasts shapes: aligned on the right, and 1 agrees with everything. To align otherwise, lay the
             same ranks out anew: ``P.transpose()`` has the axes reversed, ``P.reshape((*P.shape, 1))`` aligns on the left.
Spaces       V: any space on P_x.   W: the same tensor on P_y; the new grid axes cut nothing, so they hold copies.
Adjoint      B* : W -> V,   (B* y)_p = sum of y_q over the copies q of p,   which is SumReduce.
Why          <B x, y>_W = sum_q <x_p(q), y_q> = sum_p <x_p, sum_q->p y_q> = <x, B* y>_V. In words: a number that is copied
             to c places influences the result through each of them, so its c sensitivities are added.
             As a matrix, B is c identities on top of each other; its transpose has them side by side, which adds.
Norm         |B x|^2 = c |x|^2 for c copies, so |B| = sqrt(c).
Cost         One tree for each block: ceil(log2 c) messages deep, (c - 1) n words in all (c n where the root holds no copy);
             adjoint the same, and as many sums.
Trap         Taking "keep my copy" for the adjoint: right only if all copies were one vector counted once. Here every copy
             counts, and a gradient that reaches a shared weight through c ranks is the sum of c contributions.
Reference    Hewett and Grady, "A linear algebraic approach to model parallelism in deep learning", arXiv 2006.03108.
"""

from __future__ import annotations

from math import prod, sqrt

import numpy as np

from .. import wire
from ..arrays import Array, to_wire
from ..operator import Operator, Traffic
from ..partition import Partition, expect_partitions
from ..space import Space

Started = list[wire.Pending]


class Broadcast(Operator):
    """The blocks of ``X`` copied to all matching ranks of ``P_y``.

    Raises ValueError where P_y lives on another communicator, or its grid is not one that X's grid broadcasts to.
    """

    def __init__(self, X: Space, P_y: Partition) -> None:
        expect_partitions("Broadcast", P_y)
        P_x = X.partition
        new = len(P_y.shape) - len(P_x.shape)
        if not broadcasts(P_x, P_y):
            raise ValueError(
                f"Broadcast: the grid {P_x.shape} cannot be broadcast to {P_y.shape}; aligned on the right, each entry "
                "must be equal or 1, and both partitions must be on one communicator"
            )
        cuts = [tuple(g + new for g in cut) for cut in X.cuts]
        cuts = [tuple(g for g in cut if P_x.shape[g - new] == P_y.shape[g]) for cut in cuts]
        self.domain = X
        self.range = X.replace(partition=P_y, cuts=cuts, blocks=dict(enumerate(X.blocks)))
        self.groups = self._groups(P_x, P_y, new)
        self.mine = [(root, copies) for root, copies in self.groups if X.comm.rank in joined(root, copies)]
        self.norm_bound = sqrt(P_y.size / P_x.size)

    @staticmethod
    def _groups(P_x: Partition, P_y: Partition, new: int) -> list[tuple[int, tuple[int, ...]]]:
        """(root, copies) for each place of P_x, in an order that all ranks share."""
        copies: dict[int, list[int]] = {r: [] for r in P_x.ranks}
        for place, q in enumerate(P_y.ranks):
            coords = zip(P_y.coords_of(place)[new:], P_x.shape, strict=True)
            copies[P_x.rank_at([0 if p == 1 else c for c, p in coords])].append(q)
        return [(root, tuple(members)) for root, members in copies.items()]

    def forward(self, x: Array) -> Array:  # V -> W:  y_q = x_p
        return self.finish(self.start(x))

    def adjoint(self, y: Array) -> Array:  # W -> V:  x_p = sum of y_q over the copies q of p
        return self.finish_adjoint(self.start_adjoint(y))

    def start(self, x: Array) -> Started:
        self.domain.check(x, self)
        comm, x = self.domain.comm, to_wire(x)
        room = lambda root: np.empty(self._shape(root), x.dtype, like=x)
        blocks = [x.copy() if comm.rank == root else room(root) for root, _ in self.mine]
        pairs = zip(self.mine, blocks, strict=True)
        return [wire.start_broadcast(comm, joined(root, copies), root, block) for (root, copies), block in pairs]

    def finish(self, started: Started) -> Array:
        blocks = [wire.finish(pending) for pending in started]
        held = [block for (_, copies), block in zip(self.mine, blocks, strict=True) if self.domain.comm.rank in copies]
        return self.range.adopt(held[0]) if held else self.range.zeros()

    def start_adjoint(self, y: Array) -> Started:
        self.range.check(y, self, "adjoint")
        comm, y = self.domain.comm, to_wire(y)
        nothing = lambda root: np.zeros(self._shape(root), y.dtype, like=y)
        blocks = [y if comm.rank in copies else nothing(root) for root, copies in self.mine]
        pairs = zip(self.mine, blocks, strict=True)
        return [wire.start_reduce(comm, joined(root, copies), root, block) for (root, copies), block in pairs]

    def finish_adjoint(self, started: Started) -> Array:
        blocks = [wire.finish(pending) for pending in started]
        owned = [block for (root, _), block in zip(self.mine, blocks, strict=True) if self.domain.comm.rank == root]
        return self.domain.adopt(owned[0]) if owned else self.domain.zeros()

    def traffic(self) -> Traffic:
        me, total = self.domain.comm.rank, Traffic()
        for root, copies in self.mine:
            p, n = len(joined(root, copies)), prod(self._shape(root)) * self.domain.dtype.itemsize
            total += Traffic(wire.broadcast_cost(p, n, me == root), wire.reduce_cost(p, n, me == root))
        return total

    def _shape(self, root: int) -> list[int]:
        """Of the block of ``root``."""
        return [b - a for a, b in self.domain.boxes[root]]


def broadcasts(P_x: Partition, P_y: Partition) -> bool:
    """True where the grid of P_x, aligned on the right, has the entries of P_y or 1, on the same communicator."""
    new = len(P_y.shape) - len(P_x.shape)
    agrees = new >= 0 and all(p in (1, q) for p, q in zip(P_x.shape, P_y.shape[new:], strict=True))
    return agrees and P_x.comm == P_y.comm


def joined(root: int, copies: tuple[int, ...]) -> tuple[int, ...]:
    """The ranks that take part: the copies, and the root in front where it holds none."""
    return copies if root in copies else (root, *copies)
