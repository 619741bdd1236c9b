"""Scatter and gather: a whole tensor on one rank, cut over many; and back.

Definition   Let V be the memory of one rank, which holds the whole x, and W that of the blocks J_q.
             C : V -> W,   (C x)_q = x[J_q]   (scatter);       G : W -> V,   (G y)[J_q] = y_q   (gather).
Spaces       V: any space on a partition of one rank.   W: the same tensor on any other, each index once.
Adjoint      C* = G and G* = C: each is a permutation of the world's memory, and the other is its inverse.
Why          <C x, y> = sum_q <x[J_q], y_q> = <x, G y>, since each index is in one block.
Norm         1; a scatter to copies has sqrt(copies), and its adjoint adds the copies.
Cost         One message to or from each other rank that holds a block; P - 1 messages at the root.
Trap         Where W holds copies, gather reads one of them, so it is not the adjoint of the scatter to them, which adds.
Reference    Hewett and Grady, arXiv 2006.03108 (special cases of the generalised all-to-all).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..partition import Partition
from ..space import Space
from .repartition import Repartition


class Scatter(Repartition):
    """The whole tensor of ``X``, on one rank, cut over ``P_y``; ``cuts`` and ``blocks`` as for a Space.

    Raises ValueError where X is on more than one rank, or P_y does not fit.
    """

    def __init__(
        self,
        X: Space,
        P_y: Partition,
        cuts: Sequence[int | tuple[int, ...] | None] | None = None,
        blocks: Mapping[int, Sequence[tuple[int, int]]] | None = None,
    ) -> None:
        if X.partition.size != 1:
            raise ValueError(f"Scatter: expected a space on one rank, got {X!r}; see Repartition for the others")
        super().__init__(X, P_y, cuts, blocks)


class Gather(Repartition):
    """The blocks of ``X`` put together on ``root``, a rank of the communicator.

    Raises ValueError where there is no such rank, or the blocks of X overlap or leave gaps.
    """

    def __init__(self, X: Space, root: int = 0) -> None:
        super().__init__(X, Partition(X.comm, (1,) * len(X.partition.shape), ranks=[root]), X.cuts)
