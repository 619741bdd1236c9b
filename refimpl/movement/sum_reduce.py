"""SumReduce: add up the copies of every block, onto a smaller partition.

Definition   S : W -> V,   (S y)_p = sum of y_q over the ranks q of P_y whose grid coordinates agree with those of p.
Spaces       W: a space on P_y with independent copies along the grid axes that P_x has not.   V: the same tensor on P_x.
Adjoint      S* : V -> W,   (S* x)_q = x_p, which is Broadcast: S is defined as B*, so S* = B.
Why          <S y, x>_V = <B* y, x>_V = <y, B x>_W.  A sum passes its sensitivity on to each of its terms unchanged.
Norm         |S| = |B| = sqrt(c) for c copies.
Cost         One tree for each block: ceil(log2 c) messages deep, (c - 1) n words and sums in all. The tree fixes the
             order of the sum, which is not left to right: bitwise the same each time on one partition, not on another.
Trap         A sum that stays on all ranks is another operator (AllSumReduce), with another adjoint: itself.
Reference    Hewett and Grady, arXiv 2006.03108.
"""

from __future__ import annotations

from typing import Any

from .. import wire
from ..arrays import Array
from ..operator import Operator, Traffic
from ..partition import Partition, expect_partitions
from ..space import Space
from .broadcast import Broadcast, broadcasts


class SumReduce(Operator):
    """The copies in ``Y`` added onto ``P_x``, whose grid broadcasts to that of Y.

    Raises ValueError where it does not, or where a grid axis to be summed cuts the tensor (its blocks are no copies).
    """

    def __init__(self, Y: Space, P_x: Partition) -> None:
        expect_partitions("SumReduce", P_x)
        P_y, new = Y.partition, len(Y.partition.shape) - len(P_x.shape)
        if not broadcasts(P_x, P_y):
            raise ValueError(
                f"SumReduce: the copies on the grid {P_y.shape} cannot be summed onto {P_x.shape}; aligned on the right, each "
                "entry of the latter must be equal or 1, and both partitions must be on one communicator"
            )
        summed = {g for g, q in enumerate(P_y.shape) if q > 1 and (g < new or P_x.shape[g - new] == 1)}
        if any(summed & set(cut) for cut in Y.cuts):
            raise ValueError(
                f"SumReduce: the grid axes {sorted(summed)} of {P_y.shape} are summed onto {P_x.shape}, but cut the tensor "
                f"(cuts {Y.cuts}): blocks of different indices cannot be added; give these axes copies with cuts="
            )
        cuts = [tuple(g - new for g in cut if g >= new) for cut in Y.cuts]
        X = Y.replace(partition=P_x, cuts=cuts, blocks=dict(enumerate(Y.blocks)))
        self.broadcast = Broadcast(X, P_y)
        self.domain, self.range, self.norm_bound = Y, X, self.broadcast.norm_bound

    def forward(self, y: Array) -> Array:  # W -> V:  x_p = sum of y_q over the copies q of p
        return self.finish(self.start(y))

    def adjoint(self, x: Array) -> Array:  # V -> W:  y_q = x_p
        return self.finish_adjoint(self.start_adjoint(x))

    def start(self, y: Array) -> Any:
        self.domain.check(y, self)
        with wire.unchecked():
            return self.broadcast.start_adjoint(y)

    def finish(self, pending: Any) -> Array:
        return self.broadcast.finish_adjoint(pending)

    def start_adjoint(self, x: Array) -> Any:
        self.range.check(x, self, "adjoint")
        with wire.unchecked():
            return self.broadcast.start(x)

    def finish_adjoint(self, pending: Any) -> Array:
        return self.broadcast.finish(pending)

    def traffic(self) -> Traffic:
        return self.broadcast.traffic().reversed
