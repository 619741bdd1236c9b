"""Losses: from a prediction to one number, on rank 0.

Definition   MSE: (1/n) |p - t|^2 over all n entries.   RelativeL2: the mean over the batch of |p_b - t_b| / |t_b|.
Spaces       X -> R, where R lives on rank 0 of the communicator. ``value`` is told to all ranks as a report.
Tangent      dL = <g, dp> with the gradient g at p.   MSE: g = 2 (p - t) / n;
             RelativeL2: g_b = (p_b - t_b) / (B |p_b - t_b| |t_b|), and zero where p_b = t_b.
Adjoint      dp = c g for the number c on rank 0, which is broadcast.
Why          R has one copy. If every rank passed a c of its own, the gradient would be P times too large.
Cost         One pool of the sums; adjoint: one broadcast of one number.
Reference    Li et al., arXiv 2010.08895 (the relative L2 loss).
"""

from __future__ import annotations

from math import fsum, prod
from numbers import Real

import numpy as np

from .. import wire
from ..arrays import Array, to_host
from ..movement import Broadcast
from ..operator import Operator, Traffic
from ..partition import Partition
from ..space import Product, Space


class Functional(Operator):
    """x -> <g, x> on rank 0, for a block ``g`` of the space X."""

    def __init__(self, X: Space, g: Array) -> None:
        self.domain, self.gradient = X, g
        self.range = Space(Partition(X.comm, ()), ())
        self.tell = Broadcast(self.range, X.partition)

    def forward(self, dx: Array) -> np.ndarray:  # dL = sum over ranks of <g_p, dx_p>
        self.domain.check(dx, self)
        with wire.unchecked():
            return self.tell.adjoint(np.array(self.domain.local_inner(self.gradient, dx)))

    def adjoint(self, c: float) -> Array:  # dx_p = c g_p, with the c of rank 0
        c = np.array(float(c)) if isinstance(c, Real) else c
        self.range.check(c, self)
        with wire.unchecked():
            return self.gradient * float(self.tell.forward(c))

    def traffic(self) -> Traffic:
        return self.tell.traffic().reversed


class Loss:
    """The base: a subclass gives ``value_and_gradient(prediction, target)`` of blocks.

    Raises ValueError where X is complex, holds a number twice, or has none to take a mean of.
    """

    def __init__(self, X: Space) -> None:
        copies = prod(X.partition.shape[g] for g in X.copy_axes)
        once = copies == 1 and all(X.covers_once(axis) for axis in range(X.ndim))
        if X.dtype.kind != "f" or X.field != "real" or not once or not prod(X.shape):
            raise ValueError(
                f"{type(self).__name__}: expected a real space, not empty, in which every number is held once, got {X!r}"
            )
        self.domain = X
        self.pair = Product(prediction=X, target=X)

    def __call__(self, prediction: Array, target: Array) -> float:
        """The loss, the same number on every rank."""
        return self.linearize(prediction, target)[0]

    def linearize(self, prediction: Array, target: Array) -> tuple[float, Functional]:
        """The loss, and its derivative with respect to the prediction."""
        self.pair.check({"prediction": prediction, "target": target}, self)
        with wire.unchecked():
            value, gradient = self.value_and_gradient(prediction, target)
        return value, Functional(self.domain, gradient)

    def value_and_gradient(self, prediction: Array, target: Array) -> tuple[float, Array]:
        raise NotImplementedError


class MSE(Loss):
    """(1/n) |p - t|^2."""

    def value_and_gradient(self, prediction: Array, target: Array) -> tuple[float, Array]:
        error, n = prediction - target, prod(self.domain.shape)
        return self.domain.inner(error, error) / n, error * (2 / n)


class RelativeL2(Loss):
    """The mean over the batch (axis 0) of |p_b - t_b| / |t_b|. ZeroDivisionError on all ranks where a target is zero."""

    def value_and_gradient(self, prediction: Array, target: Array) -> tuple[float, Array]:
        error = prediction - target
        errors, sizes = self._norms(error), self._norms(target)
        if not np.all(sizes):
            raise ZeroDivisionError(
                f"RelativeL2: the targets of samples {np.flatnonzero(sizes == 0).tolist()} are zero, so they have no relative "
                "error; leave them out, or use MSE"
            )
        scale = np.divide(1, errors * sizes * len(sizes), out=np.zeros_like(errors), where=errors > 0)
        mine = scale[self.domain.local_slice[0]].reshape(-1, *[1] * (error.ndim - 1)).astype(self.domain.dtype)
        return fsum(errors / sizes) / len(sizes), error * self.domain.adopt(mine)

    def _norms(self, x: Array) -> np.ndarray:
        """|x_b| for every sample b of the batch, on every rank."""
        squares = np.zeros(self.domain.shape[0])
        batch, *others = x.shape
        flat = to_host(x).astype(np.float64).reshape(batch, prod(others))
        squares[self.domain.local_slice[0]] = np.einsum("bi,bi->b", flat, flat)
        return np.sqrt(np.sum(wire.pool(self.domain.comm, squares), axis=0))
