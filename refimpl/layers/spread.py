"""Spread: a small tensor over some axes of a large one, repeated along the others on every rank.

Definition   B : V -> Z,   (B w)[.., 0, i, 0, ..] = w[i] on every rank that holds a block at i, in a shape with length 1 on the
             other axes, so that it multiplies or is added to a block as NumPy broadcasts.
Spaces       V: cut as X is on the given axes; each piece lives with one owner, or in parts on all that use it (owners.py).
             Z: the grid axes that cut the other axes of X hold copies.
Adjoint      B* : Z -> V, the sum of the copies on their owners. What a weight's gradient needs before it is the sum over the
             block's own entries, ``local_sum``: the adjoint of NumPy's repetition.
Why          B is S of owners.py with other names for the axes.
Cost         That of S.
"""

from __future__ import annotations

from collections.abc import Sequence

from .. import wire
from ..arrays import Array, contiguous, namespace
from ..operator import Operator, Traffic
from ..space import Space
from .axis_sum import read_tensor_axes
from .owners import from_owners


class Spread(Operator):
    """From a tensor over ``axes`` of ``X``, owned once, to what multiplies a block of X; ``sharded`` along the last of them.

    Raises ValueError where an axis does not exist.
    """

    def __init__(self, X: Space, axes: int | Sequence[int], sharded: bool = False) -> None:
        axes = read_tensor_axes("Spread", X, axes)
        rows = {place: X.blocks[i] for place, i in enumerate(axes)}
        used = X.replace(shape=[X.shape[i] for i in axes], cuts=[X.cuts[i] for i in axes], blocks=rows)
        self.owned = from_owners(used, -1, sharded)
        self.domain = self.owned.domain
        self.range = X.replace(
            shape=[n if i in axes else 1 for i, n in enumerate(X.shape)],
            cuts=[cut if i in axes else () for i, cut in enumerate(X.cuts)],
            blocks={i: X.blocks[i] for i in axes},
        )
        self.others = tuple(i for i in range(X.ndim) if i not in axes)
        self.norm_bound = self.owned.norm_bound

    def forward(self, w: Array) -> Array:  # z = B w
        self.domain.check(w, self)
        with wire.unchecked():
            return namespace(w).reshape(self.owned.forward(w), self.range.local_shape)

    def adjoint(self, z: Array) -> Array:  # w = B* z
        self.range.check(z, self, "adjoint")
        with wire.unchecked():
            return self.owned.adjoint(namespace(z).reshape(z, self.owned.range.local_shape))

    def traffic(self) -> Traffic:
        return self.owned.traffic()

    def local_sum(self, y: Array) -> Array:
        """A block of X summed over the other axes, as this rank's block of Z."""
        if not self.range.partition.active or not self.others:
            return y
        return namespace(y).sum(contiguous(y), axis=self.others, keepdims=True)
