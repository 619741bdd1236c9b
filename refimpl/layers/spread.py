"""Spread: a small tensor over some axes of a large one, repeated along the others on every rank.

Definition   B : V -> Z,   (B w)[.., 0, i, 0, ..] = w[i] on every rank that holds a block at i, in a shape with length 1 on the
             other axes, so that it multiplies or is added to a block as NumPy broadcasts.
Spaces       V: cut as X is on the given axes; each piece lives on one rank.   Z: the grid axes that cut the others hold copies.
Adjoint      B* : Z -> V, the sum of the copies on their owner: a SumReduce. What a weight's gradient needs before it is the sum
             over the block's own entries, ``local_sum``: the adjoint of NumPy's repetition.
Why          B is a broadcast with other names for the axes.
Cost         A tree for each piece, both ways.
"""

from __future__ import annotations

from collections.abc import Sequence

from .. import wire
from ..arrays import Array, contiguous, namespace
from ..movement import Broadcast
from ..operator import Operator, Traffic
from ..space import Space
from .axis_sum import read_tensor_axes


class Spread(Operator):
    """From a tensor over ``axes`` of ``X``, owned once, to what multiplies a block of X.

    Raises ValueError where an axis does not exist.
    """

    def __init__(self, X: Space, axes: Sequence[int]) -> None:
        axes = read_tensor_axes("Spread", X, axes)
        cuts = [X.cuts[i] for i in axes]
        owners = X.partition.face({g for cut in cuts for g in cut})
        shape, rows = [X.shape[i] for i in axes], [X.blocks[i] for i in axes]
        self.domain = X.replace(partition=owners, shape=shape, cuts=cuts, blocks=dict(enumerate(rows)))
        self.broadcast = Broadcast(self.domain, X.partition)
        self.range = X.replace(
            shape=[n if i in axes else 1 for i, n in enumerate(X.shape)],
            cuts=[cut if i in axes else () for i, cut in enumerate(X.cuts)],
            blocks={i: X.blocks[i] for i in axes},
        )
        self.others = tuple(i for i in range(X.ndim) if i not in axes)
        self.norm_bound = self.broadcast.norm_bound

    def forward(self, w: Array) -> Array:  # z = B w
        self.domain.check(w, self)
        with wire.unchecked():
            return namespace(w).reshape(self.broadcast.forward(w), self.range.local_shape)

    def adjoint(self, z: Array) -> Array:  # w = B* z
        self.range.check(z, self, "adjoint")
        with wire.unchecked():
            return self.broadcast.adjoint(namespace(z).reshape(z, self.broadcast.range.local_shape))

    def traffic(self) -> Traffic:
        return self.broadcast.traffic()

    def local_sum(self, y: Array) -> Array:
        """A block of X summed over the other axes, as this rank's block of Z."""
        if not self.range.partition.active or not self.others:
            return y
        return namespace(y).sum(contiguous(y), axis=self.others, keepdims=True)
