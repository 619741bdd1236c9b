"""Embedding: a row of a table for every token, with a table that may be cut along rows, columns, or over data-parallel ranks.

Definition   y[.., :] = W[x[..], :], for tokens x, whole numbers 0 .. count - 1 held as real ones, and a table W (count, width).
Form         y = R E_x S W. S brings to each rank the rows and columns that it uses, E_x is its 0/1 matrix with a 1 in the row
             of each token (and a row of zeros for a token in another rank's part of the table), and R adds up what was found.
Spaces       x on any partition. y has one axis more, the last. W is cut by grid axes along which x holds copies:
             none                   each rank uses the whole table: S = B, the broadcast from its owner;   R = 1
             cut along columns      each uses its columns; y's last axis is cut as they are;               R = 1
             cut along rows         each finds the tokens of its rows (the vocabulary is parallel):        R = AllSumReduce
             Along the other grid axes, one rank owns what several use; or, ``sharded``, each owns a part: S = AllGather.
Tangent      dy = R E_x S dW: y is constant in x but for jumps, so dx has no part in it.
Adjoint      dx = 0;   dW = S* E_x* R* dy. E_x* adds the cotangents of equal tokens in one row; S* is a sum-reduce to the
             owner, or a reduce-scatter that leaves to each its part.
Why          At fixed tokens y is linear in W, a product of three matrices.
Cost         S and R, both ways, and a vote on the tokens at every pass, never left out: a wrong one would read another row.
Trap         Where a token occurs twice, assigning its cotangents in place of adding them keeps the last one.
Reference    Shoeybi et al., "Megatron-LM", arXiv 1909.08053 (rows); Rajbhandari et al., "ZeRO", arXiv 1910.02054 (sharded).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import wire
from ..arrays import Array, to_host
from ..movement import AllSumReduce
from ..operator import Identity, Traffic
from ..partition import whole_numbers
from ..space import Space
from .layer import Blocks, Layer
from .owners import from_owners


class Embedding(Layer):
    """Rows of ``width`` numbers for ``count`` different tokens in the real space ``X``.

    ``cuts``: the grid axes that cut the table's rows and its columns, as for a Space. ``sharded``: along all others, the
    ranks share the table out. It is standard normal by (seed, index).
    Raises ValueError where these do not fit, and at each pass, on all ranks, where a rank has a token that is none.
    """

    told = ("seed",)

    def __init__(
        self,
        X: Space,
        count: int,
        width: int,
        cuts: Sequence[int | tuple[int, ...] | None] = (None, None),
        sharded: bool = False,
        seed: int = 0,
    ) -> None:
        count, width = whole_numbers("Embedding: count and width", (count, width))
        if X.dtype.kind != "f" or min(count, width) < 1 or count > 2 / float(np.finfo(X.dtype).eps):
            raise ValueError(
                f"Embedding: expected count and width >= 1, and a real space that holds all whole numbers below count, "
                f"got {count}, {width} and {X!r}"
            )
        W = X.replace(shape=(count, width), cuts=cuts, blocks={})  # as it is used
        rows, columns = W.cuts
        if not {*rows, *columns} <= set(X.copy_axes):
            raise ValueError(
                f"Embedding: the table can be cut by grid axes {X.copy_axes}, along which {X!r} holds copies, got {W.cuts}"
            )
        tokens = dict(enumerate(X.blocks))
        super().__init__(X, X.replace(shape=(*X.shape, width), cuts=(*X.cuts, columns), blocks=tokens))
        self.count, self.first_row = count, W.local_box[0][0]
        self.S, self.R = from_owners(W, 0, sharded), AllSumReduce(self.range, rows) if rows else Identity(self.range)
        self.seed = seed
        self.parameter_spaces, self.parameters = {"W": self.S.domain}, {"W": self.S.domain.random(seed)}

    def value(self, x: Array) -> Array:  # y = R E_x S W
        return self._look_up(self.selection(x), self.parameters)

    def derivative(self, x: Array) -> tuple[Array, Callable, Callable]:
        E = self.selection(x)

        def tangent(dx: Array, d: Blocks) -> Array:  # dy = R E_x S dW
            return self._look_up(E, d)

        def adjoint(dy: Array) -> tuple[Array, Blocks]:  # dx = 0,  dW = S* E_x* R* dy
            dz = to_host(self.R.adjoint(dy)).reshape(E.shape[0], self.S.range.local_shape[1])
            return self.domain.zeros(), {"W": self.S.adjoint(self.S.range.adopt(E.T @ dz))}

        return self._look_up(E, self.parameters), tangent, adjoint

    def _look_up(self, E: Any, parameters: Blocks) -> Array:
        z = E @ to_host(self.S.forward(parameters["W"]))
        return self.R.forward(self.R.domain.adopt(z.reshape(self.range.local_shape)))

    def selection(self, x: Array) -> Any:
        """E_x, a sparse matrix from this rank's rows of the table to its tokens. ValueError on all ranks for a wrong token."""
        from scipy.sparse import csr_array

        x, rows = to_host(x), self.S.range.local_shape[0]
        wire.vote(self.domain.comm, self._wrong_token(x), f"tokens of {self.signature}")
        row = x.ravel().astype(np.int64) - self.first_row
        (mine,) = np.nonzero((row >= 0) & (row < rows))
        return csr_array((np.ones(len(mine), x.dtype), (mine, row[mine])), shape=(x.size, rows))

    def _wrong_token(self, x: np.ndarray) -> ValueError | None:
        wrong = np.argwhere(~((x >= 0) & (x < self.count) & (x == np.floor(x))))
        if not len(wrong):
            return None
        place = tuple(int(i) + start for i, (start, _) in zip(wrong[0], self.domain.local_box, strict=True))
        value = x[tuple(wrong[0])]
        return ValueError(
            f"Embedding on rank {self.domain.comm.rank}: expected whole numbers 0..{self.count - 1}, got {value} at {place}"
        )

    def traffic(self) -> Traffic:
        return self.S.traffic() + self.R.traffic()
