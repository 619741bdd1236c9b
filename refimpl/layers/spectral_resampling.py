"""Spectral resampling: a tensor's lowest frequencies on a grid of other points, so that waves stay what they are.

Definition   U : X -> Y,   U = T_Y* D T_X,   with T_X and T_Y the truncated transforms (fourier.py) of the two grids, to the
             same frequencies, and D_k = w_k / (N_1 .. N_n), w of the grid of Y and N of that of X: what is kept of the
             trigonometric polynomial through the points of x, evaluated at the points of y.
Spaces       X (batch, channels, N_1, .., N_n) -> Y (batch, channels, M_1, .., M_n), cut in any way on one grid of ranks.
Adjoint      U* = T_X* D T_Y.
Why          D is real and diagonal. x_j = sum of z_k exp(2 pi i k j / N) / N at j / N is taken at j / M instead, frequency by
             frequency; both grids must hold them, or they would become others.
Cost         The kept frequencies travel, once to be put together and once to be given out: fourier.py.
Trap         Of the highest frequency of an even axis, N / 2 and -N / 2 are one on the grid of N points and two on a finer one.
Reference    Trefethen, "Spectral methods in MATLAB", 2000, chapter 3 (the interpolant of a grid function).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod, sqrt

from .. import wire
from ..arrays import Array
from ..operator import Operator, Traffic
from ..partition import whole_numbers
from ..space import Space
from .fourier import Modes, TruncatedFourier


class SpectralResampling(Operator):
    """The ``modes`` of ``X`` (as in TruncatedFourier) at ``sizes`` points along the last axes.

    Raises ValueError where there is not a size for each of the modes, or one of the grids does not hold them.
    """

    told = ("modes",)

    def __init__(self, X: Space, sizes: Sequence[int], modes: Modes) -> None:
        sizes = whole_numbers("SpectralResampling: sizes", sizes)
        self.down = TruncatedFourier(X, modes)
        self.modes, n = self.down.modes, len(self.down.modes)
        if len(sizes) != n or min(sizes) < 1:
            raise ValueError(f"SpectralResampling: expected a size >= 1 for each of {n} axes, got {sizes}")
        self.domain, self.range = X, X.replace(shape=(*X.shape[: X.ndim - n], *sizes))
        self.up = TruncatedFourier(self.range, self.modes)
        finer = prod(sizes) / prod(X.shape[X.ndim - n :])
        self.D = self.up.range.adopt(self.up.inverse_weights * finer)
        self.norm_bound = 2 * sqrt(finer)  # |T_Y*| |D| |T_X|, with M points and N before: sqrt(M) (2 / N) sqrt(N)

    def forward(self, x: Array) -> Array:  # y = T_Y* D T_X x
        self.domain.check(x, self)
        with wire.unchecked():
            return self.up.adjoint(self.down.forward(x) * self.D)

    def adjoint(self, y: Array) -> Array:  # x = T_X* D T_Y y
        self.range.check(y, self, "adjoint")
        with wire.unchecked():
            return self.down.adjoint(self.up.forward(y) * self.D)

    def traffic(self) -> Traffic:
        return self.down.traffic() + self.up.traffic().reversed
