"""ReduceScatterLinear: a row-parallel linear layer, which takes cut features and adds up and scatters its products.

Definition   y[.., o] = sum_i W[o, i] x[.., i] + b[o], along the last axis (the features). With experts, the first axis e of x
             counts them:  y[e, .., o] = sum_i W[e, o, i] x[e, .., i] + b[e, o].
Spaces       A grid axis a cuts the features of x, and in y the features or another axis (a sequence), whose blocks it cuts once
             more.   W: cut by a along in;   b: as y is. The other grid axes cut x and y alike, or hold copies.
Layer        The form of bilinear.py, K the product of features:  G  nothing;  S  each block of W from its owner, the first rank
             along the other grid axes, to all of them (Broadcast; AllGather where sharded);  R  the products are added up along
             a and scattered (ReduceScatter).
Why          W x = sum over blocks of W's columns times blocks of x, and each rank has one of these terms.
Dual         Its adjoint in x is that of AllGatherLinear: R* gathers the cotangent of y.
Cost         (c - 1) / c of a whole y sent by each of c ranks, adjoint (c - 1) blocks; a tree for W over the other axes.
Trap         Each rank's product is a partial sum: to keep one block of it without adding the others looks right in shape.
Reference    Shoeybi et al., "Megatron-LM", arXiv 1909.08053; Korthikanti et al., arXiv 2205.05198 (sequence parallelism);
             Rajbhandari et al., "ZeRO", arXiv 1910.02054 (sharded weights).
"""

from __future__ import annotations

from ..movement import ReduceScatter
from ..movement.grid_axes import read_axes
from ..space import Space
from .bilinear import Bilinear, Unmoved
from .feature_product import FeatureProduct, read_features
from .linear import uniform_weights
from .owners import cut_again, from_owners
from .spread import Spread


class ReduceScatterLinear(Bilinear):
    """``out`` features from those of ``X``, which the grid axis ``axis`` cuts; in y it cuts the tensor axis ``onto``.

    ``sharded``: the ranks along the other grid axes own a part of each weight each. ``experts``: the first axis counts experts.
    Weights uniform in +-1/sqrt(in) by (seed, index), bias zero.
    Raises ValueError where out < 1, the features are not cut by that grid axis alone, or x has no axis ``onto``.
    """

    told = ("seed",)

    def __init__(
        self,
        X: Space,
        out: int,
        axis: int,
        onto: int = -1,
        bias: bool = True,
        sharded: bool = False,
        experts: bool = False,
        seed: int = 0,
    ) -> None:
        first = read_features(self, X, out, experts)
        axes, n = read_axes("ReduceScatterLinear", X, axis), X.shape[-1]
        if X.cuts[-1] != axes or not -X.ndim <= onto < X.ndim:
            raise ValueError(
                f"ReduceScatterLinear: expected features cut by grid axis {axis}, and one of {X.ndim} tensor axes for it in y, "
                f"got cuts {X.cuts} and onto = {onto}"
            )
        rows = {i: X.blocks[i] for i in range(X.ndim - 1)}
        Z = X.replace(shape=(*X.shape[:-1], out), cuts=(*X.cuts[:-1], None), blocks=rows)  # the products
        Y = cut_again(Z, onto, axes)
        used = X.replace(
            shape=(*X.shape[:first], out, n),
            cuts=(*X.cuts[:first], None, axis),
            blocks={i: X.blocks[i] for i in range(first)} | {first + 1: X.blocks[-1]},
        )
        S = from_owners(used, first, sharded)
        B = Spread(Y, (*range(first), -1), sharded) if bias else None
        super().__init__(X, Y, FeatureProduct(experts), Unmoved(X), S, ReduceScatter(Z, axis, range=Y), B)
        self.seed = seed
        self.parameters["W"] = uniform_weights(S.domain, n, seed)
