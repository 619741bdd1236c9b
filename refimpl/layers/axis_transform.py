"""Axis transform: some frequencies along one axis of a tensor. A truncated Fourier transform (fourier.py) is one for each axis.

Definition   (F x)[k] = sum_j exp(-2 pi i k j / N) x[j]   along an axis of N points, for the frequencies k that are asked for.
Split axis   A rank applies the columns of its own j: what comes is its part of F x, a sum over the ranks that cut the axis.
Spaces       X real or complex -> Y complex, with the field of X: the axis is taken away, and its frequencies are the axis
             ``place`` of Y, whole on each rank. The grid axes that cut the axis then hold copies: the parts of the sum.
Adjoint      (F* y)[j] = sum_k exp(2 pi i k j / N) y[k]   on the rank's own j; of a real X the real part.
Why          <F x, y> = Re sum_k conj(sum_j F[k, j] x_j) y_k = sum_j x_j Re sum_k conj(F[k, j]) y_k = <x, F* y>.
Cost         No message. One product of matrices: 8 K flops a point, 4 K a real one. With X's last axis and ``place`` 0 the
             product does the transposition, and nothing else is moved.
Trap         Of a cut axis F is a part alone: whoever reads it as F x forgets the sum.
"""

from __future__ import annotations

from functools import cached_property
from math import prod, sqrt

import numpy as np

from ..arrays import Array, contiguous, namespace
from ..operator import Operator, Traffic
from ..space import Space


class AxisTransform(Operator):
    """The frequencies ``k`` along ``axis`` of the space ``X``, as the axis ``place`` of the result."""

    told = ("axis", "place", "k")

    def __init__(self, X: Space, axis: int, k: np.ndarray, place: int = 0) -> None:
        self.domain, self.axis, self.place, self.k = X, axis, place, tuple(map(int, k))
        self.real, self.norm_bound = X.dtype.kind == "f", sqrt(X.shape[axis])
        others = [i for i in range(X.ndim) if i != axis]
        before, after = others[:place], others[place:]
        self.range = X.replace(
            shape=[*(X.shape[i] for i in before), len(k), *(X.shape[i] for i in after)],
            dtype=np.result_type(X.dtype, np.complex64),
            field=X.field,
            cuts=[*(X.cuts[i] for i in before), (), *(X.cuts[i] for i in after)],
            blocks={j + (j >= place): X.blocks[i] for j, i in enumerate(others)},
        )

    def forward(self, x: Array) -> Array:  # y[k] = sum_j F[k, j] x[j]
        self.domain.check(x, self)
        xp = namespace(x)
        return xp.moveaxis(last_to_first(self.F, contiguous(xp.moveaxis(x, self.axis, -1))), 0, self.place)

    def adjoint(self, y: Array) -> Array:  # x[j] = sum_k conj(F[k, j]) y[k]
        self.range.check(y, self, "adjoint")
        xp = namespace(y)
        return xp.moveaxis(first_to_last(self.F, contiguous(xp.moveaxis(y, self.place, 0)), self.real), -1, self.axis)

    def traffic(self) -> Traffic:
        return Traffic()

    @cached_property
    def F(self) -> np.ndarray:
        """F[k, j] for the indices j of this rank's block, in the precision of X."""
        n, (start, stop) = self.domain.shape[self.axis], self.domain.local_box[self.axis]
        k = self.k if self.domain.partition.active else ()
        turns = np.outer(k, np.arange(start, stop)) % n / n  # the product is exact: no large angles
        return np.exp(-2j * np.pi * turns).astype(self.range.dtype)


def last_to_first(F: np.ndarray, z: Array) -> Array:
    """sum_j F[k, j] z[.., j] as an array (k, ..); a real ``z`` meets the real and the imaginary part of F in one product."""
    xp, s = namespace(z), z.shape
    rows, F = xp.reshape(z, (prod(s[:-1]), s[-1])), _like(F, z)
    if xp.isdtype(z.dtype, "real floating"):
        parts = xp.concat([xp.real(F), xp.imag(F)]) @ rows.T
        y = parts[: F.shape[0], :] + 1j * parts[F.shape[0] :, :]
    else:
        y = F @ rows.T
    return xp.reshape(y, (F.shape[0], *s[:-1]))


def first_to_last(F: np.ndarray, z: Array, real: bool) -> Array:
    """sum_k conj(F[k, j]) z[k, ..] as an array (.., j), or its real part: the adjoint of ``last_to_first``."""
    xp, s = namespace(z), z.shape
    rows, F = xp.reshape(z, (s[0], prod(s[1:]))), _like(F, z)
    if real:
        y = xp.concat([xp.real(rows), xp.imag(rows)]).T @ xp.concat([xp.real(F), xp.imag(F)])
    else:
        y = rows.T @ xp.conj(F)
    return xp.reshape(y, (*s[1:], F.shape[1]))


def _like(F: np.ndarray, z: Array) -> Array:
    return F if isinstance(z, np.ndarray) else namespace(z).asarray(F, device=z.device)
