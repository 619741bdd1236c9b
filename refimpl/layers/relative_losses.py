"""Relative losses: the error of each sample in relation to its size, and their mean over the batch.

Definition   L(p, t) = (1/B) sum over the B samples of |p_b - t_b| / |t_b| (reduction "mean"), or the sum, with the norm
             RelativeLp  |e|^p = sum of |e_i|^p over all entries of a sample;   RelativeL2: p = 2
             RelativeH1  |e|^2 = sum of e_i^2 + sum over the space axes of (D_k e)_i^2, D_k the difference quotient along axis k
Spaces       X -> R on rank 0 (losses.py); axis 0 is the batch, and the space axes are 2 and on.
Difference   D : X -> X,   (D x)_i = (x_{i+1} - x_i) / h; at the last index 0, or with x_0 next to it where periodic. It is
             a halo of width 1 and a local difference, D = L H, so D* = H* L*.
Tangent      dL = <g, dp>,   g_b = (gradient of |e_b| at e_b) / (B |t_b|), and zero where e_b = 0.
             Lp: sign(e) (|e| / |e_b|)^(p-1);   H1: (e + sum of D_k* D_k e) / |e_b|.
Range        Powers p other than 2 are taken of |e_i| / m_b, m_b the largest |e_i| of the sample: no power of a number that is
             small, or large, gets lost.
Cost         A pool of a number a sample for each of two norms, and for a p other than 2 of another; H1 also four halo exchanges
             an axis.
Reference    Li et al., arXiv 2010.08895 (relative L2), and Li et al., arXiv 2106.06898 (Sobolev losses).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import fsum, inf, prod

import numpy as np

from .. import wire
from ..arrays import Array, namespace, to_host
from ..movement import HaloExchange
from ..operator import Operator, Traffic
from ..space import Space
from .losses import Loss


class RelativeLoss(Loss):
    """The base: a subclass gives ``norms_and_gradient(e)``. ZeroDivisionError on all ranks where a target is zero."""

    def norms_and_gradient(self, e: Array) -> tuple[np.ndarray, Array]:
        """|e_b| for every sample b of the batch, on every rank; and this rank's block of the gradient of |e_b|."""
        raise NotImplementedError

    def value_and_gradient(self, prediction: Array, target: Array) -> tuple[float, Array]:
        (errors, gradient), (sizes, _) = self.norms_and_gradient(prediction - target), self.norms_and_gradient(target)
        if not np.all(sizes):
            raise ZeroDivisionError(
                f"{type(self).__name__}: the targets of samples {np.flatnonzero(sizes == 0).tolist()} are zero, so they have "
                "no relative error; leave them out, or use MSE"
            )
        n = len(sizes) if self.reduction == "mean" else 1
        return fsum(errors / sizes) / n, gradient * self._each(1 / (n * sizes))

    def pooled(self, e: Array, op: Callable) -> np.ndarray:
        """``op`` (np.sum or np.max) of a block's numbers over each sample b of the batch, on every rank."""
        found = np.zeros(self.domain.shape[0])
        batch, *others = e.shape
        rows = to_host(e).reshape(batch, prod(others)).astype(np.float64)
        found[self.domain.local_slice[0]] = op(rows, axis=1, initial=0.0)
        return op(np.stack(wire.pool(self.domain.comm, found)), axis=0)

    def root_of(self, squares: Array, half_gradient: Array) -> tuple[np.ndarray, Array]:
        """The norm whose square is the sum of ``squares``, and its gradient."""
        norms = np.sqrt(self.pooled(squares, np.sum))
        return norms, half_gradient * self._each(inverse(norms))

    def _each(self, numbers: np.ndarray) -> Array:
        """One number for each sample of this rank, to be multiplied with a block."""
        mine = numbers[self.domain.local_slice[0]].reshape(-1, *[1] * (self.domain.ndim - 1))
        return self.domain.adopt(mine.astype(self.domain.dtype))


class RelativeLp(RelativeLoss):
    """The relative error in the norm of power ``p`` >= 1, a finite one."""

    told: tuple[str, ...] = ("reduction", "power")

    def __init__(self, X: Space, reduction: str = "mean", p: float = 2.0) -> None:
        super().__init__(X, reduction)
        if not 1 <= p < inf:
            raise ValueError(f"{type(self).__name__}: expected a finite p >= 1, got {p}")
        self.power = float(p)

    def norms_and_gradient(self, e: Array) -> tuple[np.ndarray, Array]:
        if self.power == 2:
            return self.root_of(e * e, e)
        xp, p = namespace(e), self.power
        largest = self.pooled(xp.abs(e), np.max)
        u = xp.abs(e) * self._each(inverse(largest))
        sums = self.pooled(u**p, np.sum)
        return largest * sums ** (1 / p), xp.sign(e) * (u * self._each(inverse(sums ** (1 / p)))) ** (p - 1)


class RelativeL2(RelativeLp):
    """The relative error in the Euclidean norm."""

    def __init__(self, X: Space, reduction: str = "mean") -> None:
        super().__init__(X, reduction)


class RelativeH1(RelativeLoss):
    """The relative error with that of the difference quotients; ``spacing``: the cell size along each space axis."""

    told = ("reduction", "spacing", "boundary")

    def __init__(
        self, X: Space, reduction: str = "mean", spacing: Sequence[float] | None = None, boundary: str = "open"
    ) -> None:
        super().__init__(X, reduction)
        spacing = [1.0] * max(X.ndim - 2, 0) if spacing is None else spacing
        if X.ndim < 3 or len(spacing) != X.ndim - 2 or not all(h > 0 for h in spacing):
            raise ValueError(
                f"RelativeH1: expected a spacing > 0 for each space axis (2 and on) of {X!r}, got {spacing!r}"
            )
        self.spacing, self.boundary = tuple(spacing), boundary
        self.differences = [Difference(X, 2 + k, h, boundary) for k, h in enumerate(spacing)]

    def norms_and_gradient(self, e: Array) -> tuple[np.ndarray, Array]:
        quotients = [D.forward(e) for D in self.differences]
        squares = sum((q * q for q in quotients), e * e)
        return self.root_of(squares, sum((D.adjoint(q) for D, q in zip(self.differences, quotients, strict=True)), e))


def inverse(numbers: np.ndarray) -> np.ndarray:
    """1 / n, and 0 for 0."""
    return np.divide(1, numbers, out=np.zeros_like(numbers), where=numbers > 0)


class Difference(Operator):
    """D x = (x_{i+1} - x_i) / h along a tensor ``axis``; boundary "open" or "periodic". ValueError where they do not fit."""

    told = ("axis", "h", "boundary")

    def __init__(self, X: Space, axis: int, h: float = 1.0, boundary: str = "open") -> None:
        if boundary not in ("open", "periodic") or not h > 0 or not 0 <= axis < X.ndim:
            raise ValueError(
                f'Difference: expected an axis of {X!r}, h > 0 and boundary="open" or "periodic", got {axis}, {h}, {boundary!r}'
            )
        widths = [(0, int(i == axis and X.shape[axis] > 0)) for i in range(X.ndim)]
        self.halo = HaloExchange(X, widths, "periodic" if boundary == "periodic" else "zero")
        self.domain = self.range = X
        self.axis, self.h, self.boundary, self.norm_bound = axis, h, boundary, 2 / h
        start, stop = X.local_box[axis]
        last = boundary == "open" and start < stop == X.shape[axis]  # then the last index is here; it has none
        self.quotients = stop - start - last

    def forward(self, x: Array) -> Array:  # y_i = (x_{i+1} - x_i) / h
        self.domain.check(x, self)
        with wire.unchecked():
            x = self.halo.forward(x)
        y = self.range.zeros()
        y[self._at(0)] = (x[self._at(1)] - x[self._at(0)]) / self.h
        return y

    def adjoint(self, y: Array) -> Array:  # x_{i+1} += y_i / h,  x_i -= y_i / h, also in the ghosts; x = H* of it
        self.range.check(y, self, "adjoint")
        x = self.halo.range.zeros()
        x[self._at(1)] += y[self._at(0)] / self.h
        x[self._at(0)] -= y[self._at(0)] / self.h
        with wire.unchecked():
            return self.halo.adjoint(x)

    def traffic(self) -> Traffic:
        return self.halo.traffic()

    def _at(self, shift: int) -> tuple:
        """The quotients' places, moved by ``shift``."""
        n = self.quotients
        return (slice(None),) * self.axis + (slice(shift, shift + n) if n else slice(0, 0), ...)
