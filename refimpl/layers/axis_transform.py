"""Axis transform: some frequencies along one axis of a tensor. A truncated Fourier transform (fourier.py) is one for each axis.

Definition   (F x)[k] = sum_j exp(-2 pi i k j / N) x[j]   along an axis of N points, for the frequencies k that are asked for.
Split axis   A rank applies the columns of its own j: what comes is its part of F x, a sum over the ranks that cut the axis.
Spaces       X real or complex -> Y complex, with the field of X: the axis is taken away, and its frequencies are the axis
             ``place`` of Y, whole on each rank. The grid axes that cut the axis then hold copies: the parts of the sum.
Adjoint      (F* y)[j] = sum_k exp(2 pi i k j / N) y[k]   on the rank's own j; of a real X the real part.
Why          <F x, y> = Re sum_k conj(sum_j F[k, j] x_j) y_k = sum_j x_j Re sum_k conj(F[k, j]) y_k = <x, F* y>.
Cost         No message. One product of matrices: 8 K flops a point, 4 K a real one. With X's last axis and ``place`` 0 the
             product does the transposition, and nothing else is moved. F is made once and kept: K complex numbers a point of
             the axis, which are few beside x but in 1-d.
Fast         Of an uncut axis whose length scipy.fft likes (no prime factor above 11), from FAST frequencies on, scipy.fft takes
             the rows whole. Measured: its time over the product's, forward and adjoint together, one thread, with 160 and 80
             thousand rows of 128 and 256 points; float32 real, complex, float64 real, complex:
             K = 32: 1.2, 1.1, 1.1, 0.9;   48: 1.0, 0.9, 0.9, 0.8;   64: 0.9, 0.8, 0.7, 0.7;   128: 0.6, 0.6, 0.5, 0.6.
             With AVX-512, and real rows as they are transformed now, float32 real, complex, float64 real:
             K = 32: 1.9, 2.5, 1.6;   48: 1.6, 2.1, 1.1;   64: 1.3, 2.1, 0.9;   128: 1.0, 2.1, 0.6.
             On lengths with a large prime factor (86, 118, 262 points) the product wins up to 128 frequencies, by 1.1 to 11.
             So the sizes of the papers, at most 32 frequencies an axis, are all products; so are tiles (fourier_block.py).
Trap         Of a cut axis F is a part alone: whoever reads it as F x forgets the sum.
"""

from __future__ import annotations

from functools import cached_property
from math import prod, sqrt

import numpy as np

from ..arrays import Array, contiguous, namespace
from ..operator import Operator, Traffic
from ..space import Space

FAST = {"complex64": 128, "complex128": 64}  # frequencies, by the type of the result
ROWS = 2048  # of a product that is transposed, while it is in cache


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
        x = contiguous(xp.moveaxis(x, self.axis, -1))
        y = self.fast_forward(x) if self.fast else last_to_first(self.F, x)
        return xp.moveaxis(y, 0, self.place)

    def adjoint(self, y: Array) -> Array:  # x[j] = sum_k conj(F[k, j]) y[k]
        self.range.check(y, self, "adjoint")
        xp = namespace(y)
        y = contiguous(xp.moveaxis(y, self.place, 0))
        x = self.fast_adjoint(y) if self.fast else first_to_last(self.F, y, self.real)
        return xp.moveaxis(x, -1, self.axis)

    def fast_forward(self, x: np.ndarray) -> np.ndarray:
        """As ``last_to_first``: all frequencies of the rows, of which k are taken."""
        from scipy import fft

        z = fft.rfft(x) if self.half else fft.fft(x)
        return np.moveaxis(z[..., self.places], -1, 0)

    def fast_adjoint(self, y: np.ndarray) -> np.ndarray:
        """As ``first_to_last``: zero at all frequencies but k. irfft adds the conjugate of all but 0 and N / 2."""
        from scipy import fft

        n = self.domain.shape[self.axis]
        z = np.zeros((*y.shape[1:], n // 2 + 1 if self.half else n), y.dtype)
        z[..., self.places] = np.moveaxis(y, 0, -1)
        if self.half:
            z[..., 1 : (n + 1) // 2] *= 0.5
            return fft.irfft(z, n, norm="forward")
        x = fft.ifft(z, norm="forward")
        return x.real if self.real else x

    @property
    def half(self) -> bool:
        """Are the points real, and all frequencies in 0..N / 2?"""
        return self.real and 0 <= min(self.k) and max(self.k) <= self.domain.shape[self.axis] // 2

    @property
    def places(self) -> np.ndarray:
        """Where the frequencies are in a whole spectrum."""
        return np.array(self.k) % self.domain.shape[self.axis]

    @cached_property
    def fast(self) -> bool:
        """Is scipy.fft the faster way? See the page."""
        X, n = self.domain, self.domain.shape[self.axis]
        if len(self.k) < FAST[self.range.dtype.name] or X.xp is not np or X.local_box[self.axis] != (0, n):
            return False
        from scipy.fft import next_fast_len

        return next_fast_len(n) == n

    def traffic(self) -> Traffic:
        return Traffic()

    @cached_property
    def F(self) -> np.ndarray:
        """F[k, j] for the indices j of this rank's block, in the precision of X; as ``paired`` wants it in memory."""
        n, (start, stop) = self.domain.shape[self.axis], self.domain.local_box[self.axis]
        k = self.k if self.domain.partition.active else ()
        turns = np.outer(np.arange(start, stop), k) % n / n  # the product is exact: no large angles
        return np.exp(-2j * np.pi * turns).astype(self.range.dtype).T


def last_to_first(F: np.ndarray, z: Array) -> Array:
    """sum_j F[k, j] z[.., j] as an array (k, ..); a real ``z`` meets the real and the imaginary part of F in one product."""
    xp, s = namespace(z), z.shape
    rows, F = xp.reshape(z, (prod(s[:-1]), s[-1])), _like(F, z)
    if isinstance(z, np.ndarray) and z.dtype.kind == "f":
        y, pairs = np.empty((len(F), len(rows)), F.dtype), paired(F)
        for start in range(0, len(rows), ROWS):
            some = slice(start, start + ROWS)
            y[:, some] = (rows[some] @ pairs).view(F.dtype).T
    elif xp.isdtype(z.dtype, "real floating"):
        parts = xp.concat([xp.real(F), xp.imag(F)]) @ rows.T
        y = parts[: F.shape[0], :] + 1j * parts[F.shape[0] :, :]
    else:
        y = F @ rows.T
    return xp.reshape(y, (F.shape[0], *s[:-1]))


def paired(F: np.ndarray) -> np.ndarray:
    """(points, 2 frequencies), real: z @ paired is F z, as the real and imaginary parts lie side by side in memory.

    BLAS makes this product in half the time of the transposed one. Of an AxisTransform's F it is no copy.
    """
    return np.ascontiguousarray(F.T).view(F.real.dtype)


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
