"""AllGatherLinear: a column-parallel linear layer, which gathers its input and leaves its output cut.

Definition   y[.., o] = sum_i W[o, i] x[.., i] + b[o], along the last axis (the features). With experts, the first axis e of x
             counts them:  y[e, .., o] = sum_i W[e, o, i] x[e, .., i] + b[e, o].
Spaces       A grid axis a cuts the features of x, or another axis of it (a sequence).   y: cut by a along its features alone.
             W: cut by a along out; so is b. The other grid axes cut x and y alike, or hold copies.
Layer        The form of bilinear.py, K the product of features:  G  x gathered along a (AllGather);  S  each block of W from
             its owner, the first rank along the other grid axes, to all of them (Broadcast; AllGather where sharded);
             R  nothing.
Why          Each rank has all of x and some rows of W, and so some entries of W x.
Dual         Its adjoint in x is that of ReduceScatterLinear: G* adds the ranks' cotangents of x and leaves each a block.
Cost         (c - 1) blocks of x sent by each of c ranks, adjoint as many words; a tree for W over the other axes.
Trap         Gathering x where it is already whole on every rank (copies): then there is nothing to gather, and no need to.
Reference    Shoeybi et al., "Megatron-LM", arXiv 1909.08053; Korthikanti et al., arXiv 2205.05198 (sequence parallelism);
             Rajbhandari et al., "ZeRO", arXiv 1910.02054 (sharded weights).
"""

from __future__ import annotations

from ..movement import AllGather
from ..movement.grid_axes import read_axes
from ..space import Space
from .bilinear import Bilinear, Unmoved
from .feature_product import FeatureProduct, read_features
from .linear import uniform_weights
from .owners import from_owners
from .spread import Spread


class AllGatherLinear(Bilinear):
    """``out`` features from those of ``X``, which is gathered along the grid axis ``axis``, by which y is cut.

    ``sharded``: the ranks along the other grid axes own a part of each weight each. ``experts``: the first axis counts experts.
    Weights uniform in +-1/sqrt(in) by (seed, index), bias zero.
    Raises ValueError where out < 1, the grid has no such axis, it holds copies, or the features are not whole once gathered.
    """

    told = ("seed",)

    def __init__(
        self,
        X: Space,
        out: int,
        axis: int,
        bias: bool = True,
        sharded: bool = False,
        experts: bool = False,
        seed: int = 0,
    ) -> None:
        first = read_features(self, X, out, experts)
        G = AllGather(X, read_axes("AllGatherLinear", X, axis))
        U, n = G.range, X.shape[-1]  # x as it is used
        if not U.is_whole(X.ndim - 1):
            raise ValueError(f"AllGatherLinear: the features of {X!r} are still cut once grid axis {axis} is gathered")
        rows = {i: U.blocks[i] for i in range(X.ndim - 1)}
        Y = U.replace(shape=(*X.shape[:-1], out), cuts=(*U.cuts[:-1], axis), blocks=rows)
        used = U.replace(
            shape=(*X.shape[:first], out, n),
            cuts=(*U.cuts[:first], axis, None),
            blocks={i: U.blocks[i] for i in range(first)},
        )
        S = from_owners(used, first, sharded)
        B = Spread(Y, (*range(first), -1), sharded) if bias else None
        super().__init__(X, Y, FeatureProduct(experts), G, S, Unmoved(Y), B)
        self.seed = seed
        self.parameters["W"] = uniform_weights(S.domain, n, seed)
