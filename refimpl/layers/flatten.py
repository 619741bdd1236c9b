"""Flatten: the last axes of a tensor as one, in C order.

Definition   y[.., k] = x[.., i_0, i_1, .., i_d] with k = (i_0 n_1 + i_1) n_2 + ..: the axes from ``start`` on become one.
Spaces       x: of these axes only the first may be cut; a block [a, b) of it is the block [a m, b m) of the new axis, with
             m = n_1 .. n_d, so no number leaves its rank. The blocks of y are whole multiples of m, and so uneven in general.
Tangent      dy = dx in the other shape.      Adjoint: dx = dy in the old shape: a permutation of nothing.
Cost         No messages.
Trap         Where a later axis is cut, a rank's numbers are no range of the new axis, but many: repartition first.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from ..arrays import Array, fresh, namespace
from ..partition import whole_numbers
from ..space import Space
from .axis_sum import read_tensor_axes
from .layer import Blocks, Layer


class Flatten(Layer):
    """The axes of ``X`` from ``start`` on as one: (batch, channels, height, width) becomes (batch, features).

    Raises ValueError where the axis does not exist, or an axis after it is not whole (cut, or with ghosts).
    """

    def __init__(self, X: Space, start: int = 1) -> None:
        (start,) = read_tensor_axes("Flatten", X, whole_numbers("Flatten: start", (start,)))
        for axis in range(start + 1, X.ndim):
            if not X.is_whole(axis):
                raise ValueError(
                    f"Flatten: axis {axis} of {X!r} has the blocks {list(X.blocks[axis])}; of the axes that become one "
                    f"only the first, {start}, may be cut; repartition before"
                )
        m = prod(X.shape[start + 1 :])
        rows = [*X.blocks[:start], [(m * a, m * b) for a, b in X.blocks[start]]]
        shape = (*X.shape[:start], m * X.shape[start])
        super().__init__(X, X.replace(shape=shape, cuts=X.cuts[: start + 1], blocks=dict(enumerate(rows))))

    def value(self, x: Array) -> Array:  # y[.., k] = x[.., i_0, .., i_d]
        return fresh(namespace(x).reshape(x, self.range.local_shape))

    def derivative(self, x: Array) -> tuple[Array, Callable, Callable]:
        def tangent(dx: Array, d: Blocks) -> Array:  # dy[.., k] = dx[.., i_0, .., i_d]
            return self.value(dx)

        def adjoint(dy: Array) -> tuple[Array, Blocks]:  # dx[.., i_0, .., i_d] = dy[.., k]
            return fresh(namespace(dy).reshape(dy, self.domain.local_shape)), {}

        return self.value(x), tangent, adjoint
