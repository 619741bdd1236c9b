"""Relative losses: the error of each sample in relation to its size, and their mean over the batch.

Definition   L(p, t) = (1/B) sum over the B samples of |p_b - t_b| / |t_b| (reduction "mean"), or the sum, with the norm
             RelativeLp  |e|^p = sum of |e_i|^p over all entries of a sample;   RelativeL2: p = 2
             RelativeH1  |e|^2 = sum of e_i^2 + sum over the space axes of (D_k e)_i^2, D_k the difference quotient along axis k
Spaces       X -> R on rank 0 (losses.py); axis 0 is the batch, and the space axes are 2 and on.
Difference   D : X -> X,   (D x)_i = (x_{i+1} - x_i) / h; at the last index 0, or with x_0 next to it where periodic. It is
             a halo of width 1 and a local difference, D = L H, so D* = H* L*.
Tangent      dL = <g, dp>,   g_b = (gradient of |e_b| at e_b) / (B |t_b|), and zero where e_b = 0.
             Lp: sign(e) |e|^(p-1) / |e_b|^(p-1);   H1: (e + sum of D_k* D_k e) / |e_b|.
Cost         One pool of two numbers a sample; H1 also four halo exchanges an axis.
Reference    Li et al., arXiv 2010.08895 (relative L2), and Li et al., arXiv 2106.06898 (Sobolev losses).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum, prod

import numpy as np

from .. import wire
from ..arrays import Array, namespace, to_host
from ..movement import HaloExchange
from ..operator import Operator, Traffic
from ..space import Space
from .losses import Loss


class RelativeLoss(Loss):
    """The base: a subclass gives ``powers_and_gradient(e)``. ZeroDivisionError on all ranks where a target is zero."""

    power = 2.0

    def powers_and_gradient(self, e: Array) -> tuple[Array, Array]:
        """A block whose sum over a sample is |e_b|^power, and that sum's gradient over ``power``."""
        raise NotImplementedError

    def value_and_gradient(self, prediction: Array, target: Array) -> tuple[float, Array]:
        terms, gradient = self.powers_and_gradient(prediction - target)
        errors, sizes = self._norms(terms), self._norms(self.powers_and_gradient(target)[0])
        if not np.all(sizes):
            raise ZeroDivisionError(
                f"{type(self).__name__}: the targets of samples {np.flatnonzero(sizes == 0).tolist()} are zero, so they have "
                "no relative error; leave them out, or use MSE"
            )
        n = len(sizes) if self.reduction == "mean" else 1
        slopes = n * sizes * errors ** (self.power - 1)
        scale = np.divide(1, slopes, out=np.zeros_like(errors), where=errors > 0)
        mine = scale[self.domain.local_slice[0]].reshape(-1, *[1] * (gradient.ndim - 1)).astype(self.domain.dtype)
        return fsum(errors / sizes) / n, gradient * self.domain.adopt(mine)

    def _norms(self, terms: Array) -> np.ndarray:
        """|e_b| for every sample b of the batch, on every rank."""
        sums = np.zeros(self.domain.shape[0])
        batch, *others = terms.shape
        sums[self.domain.local_slice[0]] = np.sum(to_host(terms).reshape(batch, prod(others)), axis=1, dtype=np.float64)
        return np.sum(wire.pool(self.domain.comm, sums), axis=0) ** (1 / self.power)


class RelativeLp(RelativeLoss):
    """The relative error in the norm of power ``p`` >= 1."""

    told: tuple[str, ...] = ("reduction", "power")

    def __init__(self, X: Space, reduction: str = "mean", p: float = 2.0) -> None:
        super().__init__(X, reduction)
        if not p >= 1:
            raise ValueError(f"{type(self).__name__}: expected p >= 1, got {p}")
        self.power = float(p)

    def powers_and_gradient(self, e: Array) -> tuple[Array, Array]:
        xp = namespace(e)
        if self.power == 2:
            return e * e, e
        size = xp.abs(e)
        return size**self.power, xp.sign(e) * size ** (self.power - 1)


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

    def powers_and_gradient(self, e: Array) -> tuple[Array, Array]:
        quotients = [D.forward(e) for D in self.differences]
        terms = sum((q * q for q in quotients), e * e)
        return terms, sum((D.adjoint(q) for D, q in zip(self.differences, quotients, strict=True)), e)


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
