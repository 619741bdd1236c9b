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

from .. import wire
from ..arrays import Array, to_host
from ..operator import Operator, Traffic
from ..partition import Partition
from ..space import Space


class Broadcast(Operator):
    """The blocks of ``X`` copied to all matching ranks of ``P_y``.

    Raises ValueError where P_y lives on another communicator, or its grid is not one that X's grid broadcasts to.
    """

    def __init__(self, X: Space, P_y: Partition) -> None:
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
        self.domain.check(x, self)
        me, y, x = self.domain.comm.rank, self.range.zeros(), to_host(x)
        for root, copies in self.groups:
            if me == root or me in copies:
                block = x.copy() if me == root else to_host(self.range.zeros())
                block = wire.broadcast(self.domain.comm, joined(root, copies), root, block)
                y = self.range.adopt(block) if me in copies else y
        return y

    def adjoint(self, y: Array) -> Array:  # W -> V:  x_p = sum of y_q over the copies q of p
        self.range.check(y, self)
        me, x, y = self.domain.comm.rank, self.domain.zeros(), to_host(y)
        for root, copies in self.groups:
            if me == root or me in copies:
                block = y if me in copies else to_host(self.domain.zeros())
                block = wire.reduce(self.domain.comm, joined(root, copies), root, block)
                x = self.domain.adopt(block) if me == root else x
        return x

    def traffic(self) -> Traffic:
        me, total = self.domain.comm.rank, Traffic()
        for root, copies in self.groups:
            if me == root or me in copies:
                p, n = len(joined(root, copies)), self._bytes(root)
                total += Traffic(wire.broadcast_cost(p, n, me == root), wire.reduce_cost(p, n, me == root))
        return total

    def _bytes(self, root: int) -> int:
        return prod(b - a for a, b in self.domain.boxes[root]) * self.domain.dtype.itemsize


def broadcasts(P_x: Partition, P_y: Partition) -> bool:
    """True where the grid of P_x, aligned on the right, has the entries of P_y or 1, on the same communicator."""
    new = len(P_y.shape) - len(P_x.shape)
    agrees = new >= 0 and all(p in (1, q) for p, q in zip(P_x.shape, P_y.shape[new:], strict=True))
    return agrees and P_x.comm == P_y.comm


def joined(root: int, copies: tuple[int, ...]) -> tuple[int, ...]:
    """The ranks that take part: the copies, and the root in front where it holds none."""
    return copies if root in copies else (root, *copies)
