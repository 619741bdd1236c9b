"""GeneralLinear: a linear layer on three partitions, one for the input, one for the weights and one for the output.

Definition   y[.., o] = sum_i W[o, i] x[.., i] + b[o], along the last axis (the features).
Partitions   P_x (batch.., p_in), P_w (batch.., p_out, p_in) and P_y (batch.., p_out) have one batch grid, which cuts the other
             axes of x; ones in front may be left out. Their ranks may be the same, overlap or be disjoint.
Layer        The form of bilinear.py, K the product of features:  G  each block of x goes to the p_out ranks of its column
             (Broadcast);  S  each block of W, owned at the first batch coordinate, to all of them (Broadcast; AllGather where
             sharded);  R  the p_in products of a row are added up on P_y (SumReduce).
Why          W x in blocks: y_o = sum over i of W_oi x_i; the operator of blocks has p_out copies of x_i and sums over p_in.
Cost         A tree over p_out for each block of x, one over the batch ranks for each of W, one over p_in for each of y.
Trap         The bias belongs to y: added to each of the p_in products, it would count p_in times.
Reference    Hewett and Grady, arXiv 2006.03108 (the affine layer; there in two dimensions, P_x (1, p_in), P_y (1, p_out)).
"""

from __future__ import annotations

from ..movement import Broadcast, SumReduce
from ..partition import Partition
from ..space import Space
from .bilinear import Bilinear
from .feature_product import FeatureProduct, read_features
from .linear import uniform_weights
from .owners import from_owners
from .spread import Spread


class GeneralLinear(Bilinear):
    """``out`` features from those of ``X``, with weights on ``P_w`` and the output on ``P_y``.

    Weights uniform in +-1/sqrt(in) by (seed, index), bias zero. ``sharded``: the batch ranks own a part of each weight each.
    Raises ValueError where out < 1, the grids do not fit together, or the last grid axis of X does not cut the features.
    """

    told = ("seed",)

    def __init__(
        self,
        X: Space,
        out: int,
        P_w: Partition,
        P_y: Partition,
        bias: bool = True,
        sharded: bool = False,
        seed: int = 0,
    ) -> None:
        read_features(self, X, out)
        P_x = X.partition
        P_w, P_y = (with_batch(P, len(P_x.shape) + more) for P, more in ((P_w, 1), (P_y, 0)))
        batch, p_in, p_out = P_x.shape[:-1], P_x.shape[-1:], P_y.shape[-1:]
        if P_w.shape != batch + p_out + p_in or P_y.shape != batch + p_out or not X.comm == P_w.comm == P_y.comm:
            raise ValueError(
                f"GeneralLinear: expected grids (batch.., p_in), (batch.., p_out, p_in) and (batch.., p_out) for x, W and y "
                f"on one communicator, got {P_x.shape}, {P_w.shape} and {P_y.shape}"
            )
        n, shape = len(batch), (*X.shape[:-1], out)
        if X.cuts[-1] != (n,):
            raise ValueError(f"GeneralLinear: the last grid axis of {X!r} must cut the features, got cuts {X.cuts}")
        Y = X.replace(partition=P_y, shape=shape, blocks=dict(enumerate(X.blocks[:-1])))
        G = Broadcast(in_rows(X), P_w)
        R = SumReduce(Y.replace(partition=P_w, blocks=dict(enumerate(Y.blocks))), P_y.reshape((*P_y.shape, 1)))
        used = X.replace(partition=P_w, shape=(out, X.shape[-1]), cuts=(n, n + 1), blocks={1: X.blocks[-1]})
        S = from_owners(used, 0, sharded)
        super().__init__(X, Y, FeatureProduct(), G, S, R, Spread(Y, (-1,), sharded) if bias else None)
        self.seed = seed
        self.parameters["W"] = uniform_weights(S.domain, X.shape[-1], seed)


def in_rows(X: Space) -> Space:
    """``X``, whose features the last axis of the grid cuts, on (batch.., 1, p_in): the row that P_w has p_out copies of."""
    grid = X.partition.shape
    P = X.partition.reshape((*grid[:-1], 1, grid[-1]))
    return X.replace(partition=P, cuts=(*X.cuts[:-1], len(grid)), blocks=dict(enumerate(X.blocks)))


def with_batch(P: Partition, axes: int) -> Partition:
    """``P`` with ones in front, so that its grid has ``axes`` axes."""
    return P.reshape((1,) * (axes - len(P.shape)) + P.shape)
