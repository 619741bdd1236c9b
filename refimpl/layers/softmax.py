"""Softmax along an axis, which may be split over ranks; and its logarithm.

Definition   y_i = e^{x_i} / sum_j e^{x_j} along ``axis``;   LogSoftmax: z_i = log y_i = x_i - log sum_j e^{x_j}.
Spaces       X -> X, X real. S is the sum along the axis, over all ranks (axis_sum.py); m = max x is taken off first, which
             changes nothing but keeps e^x from overflowing.
Tangent      dy = y (dx - S(y dx));             dz = dx - S(y dx).
Adjoint      dx = y dy - y S*(y dy);            dx = dz - y S* dz, with S* restricted to the sums: the sum of the sums' copies.
Why          J = diag(y) - diag(y) E A L diag(y), with L the rank's own sum, A the AllSumReduce, E = L* the repetition.
             A = A*, so J = J*. For the logarithm J = 1 - E A L diag(y), so J* = 1 - diag(y) E A L.
Cost         Two all-reduces of n / n_axis numbers for the value, one for a tangent or an adjoint.
Trap         The sum must run over the whole axis: a softmax of each rank's block is another function.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .. import wire
from ..arrays import Array, namespace, to_host
from ..movement.grid_axes import group_of
from ..operator import Traffic
from ..space import Space
from .axis_sum import AxisSum
from .layer import Layer


class Softmax(Layer):
    """Probabilities along ``axis``.

    Raises ValueError where X is complex, or the axis does not exist, is empty or has ghosts.
    """

    told = ("axis",)

    def __init__(self, X: Space, axis: int = 1) -> None:
        super().__init__(X, X)
        self.axis, self.sum = axis, AxisSum(X, (axis,), type(self).__name__)
        if X.dtype.kind != "f" or not self.sum.count:
            raise ValueError(f"{type(self).__name__}: expected a real space with numbers along axis {axis}, got {X!r}")
        self.group = group_of(X.partition, X.cuts[self.sum.axes[0]])

    def value(self, x: Array) -> Array:
        shifted, e, total = self._exponentials(x)
        return e / total

    def derivative(self, x: Array) -> tuple[Array, Callable, Callable]:
        y = self.value(x)

        def tangent(dx: Array, dparameters: dict) -> Array:  # dy = y (dx - S(y dx))
            return y * (dx - self.sum.forward(y * dx))

        def adjoint(dy: Array) -> tuple[Array, dict]:  # dx = y (dy - S(y dy))
            return tangent(dy, {}), {}

        return y, tangent, adjoint

    def traffic(self) -> Traffic:
        return self.sum.traffic()

    def _exponentials(self, x: Array) -> tuple[Array, Array, Array]:
        """x - m, e^(x - m), and their sum, with m the largest x along the axis."""
        xp, (axis,) = namespace(x), self.sum.axes
        shifted = x - self._largest(x, axis)
        e = xp.exp(shifted)
        return shifted, e, self.sum.forward(e)

    def _largest(self, x: Array, axis: int) -> Array:
        if not self.group:
            return self.sum.range.zeros()
        m = np.max(to_host(x), axis=axis, keepdims=True, initial=-np.inf)
        return self.sum.range.adopt(wire.finish(wire.start_all_reduce(self.domain.comm, self.group, m, "MAX")))


class LogSoftmax(Softmax):
    """Logarithms of probabilities along ``axis``."""

    def value(self, x: Array) -> Array:
        return self._value_and_softmax(x)[0]

    def derivative(self, x: Array) -> tuple[Array, Callable, Callable]:
        z, y = self._value_and_softmax(x)

        def tangent(dx: Array, dparameters: dict) -> Array:  # dz = dx - S(y dx)
            return dx - self.sum.forward(y * dx)

        def adjoint(dz: Array) -> tuple[Array, dict]:  # dx = dz - y S(dz)
            return dz - y * self.sum.forward(dz), {}

        return z, tangent, adjoint

    def _value_and_softmax(self, x: Array) -> tuple[Array, Array]:
        shifted, e, total = self._exponentials(x)
        return shifted - namespace(x).log(total), e / total
