"""Repartition: cut a tensor anew, over any other grid on any other ranks.

Definition   T : V -> W,   (T x)[j] = x[j] for every global index j; only where it is kept changes.
Spaces       V: disjoint blocks on P_x.   W: the same tensor on P_y. Scatter is P_x of one rank, gather P_y of one rank.
Adjoint      T* : W -> V,   (T* y)[i] = sum of y[i] over the copies of i in W. Where the blocks of V and of W hold each index
             once, T is a permutation, and T* = T^-1 is the repartition back.
Why          Every row of T has a single 1, so <T x, y> = sum_j x[j] y[j] = <x, T* y>.
Norm         1 without copies in W, else at most sqrt(copies), and less where V holds copies that share the reading.
Cost         One packed message to each rank whose box overlaps the own block; the same blocks on P_y = P_x send nothing.
Trap         Where V holds copies, each rank reads the copy in its own part of the grid; the other copies are not in the sum.
Reference    Hewett and Grady, arXiv 2006.03108 (there: the generalised all-to-all).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..partition import Partition, expect_partitions
from ..space import Space
from .boxes import BoxCopy


class Repartition(BoxCopy):
    """The tensor of ``X`` on the partition ``P_y``; ``cuts`` and ``blocks`` of the range as for a Space.

    On the partition of X itself, and without cuts and blocks, it is the identity: the blocks stay as they are.
    Raises ValueError where P_y is on another communicator, or the cuts do not fit.
    """

    def __init__(
        self,
        X: Space,
        P_y: Partition,
        cuts: Sequence[int | tuple[int, ...] | None] | None = None,
        blocks: Mapping[int, Sequence[tuple[int, int]]] | None = None,
    ) -> None:
        expect_partitions(type(self).__name__, P_y)
        if P_y == X.partition and cuts is None and blocks is None:
            Y = X
        else:
            cuts = X.cuts if cuts is None and P_y.shape == X.partition.shape else cuts
            Y = X.replace(partition=P_y, cuts=cuts, blocks=blocks or {})
        super().__init__(X, Y)
