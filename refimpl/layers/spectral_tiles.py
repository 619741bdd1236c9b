"""Spectral tiles: a spectral convolution S (fourier.py) whose last step, or first step of its adjoint, is done tile by tile.

Definition   S h = Re F_n* q,   q = F_{n-1}* .. F_1* G D (R z),   z = T h: all axes but the last are done on q, which has the
             few kept modes of the last axis in place of its points. What is left of the inverse transform goes over the points.
Tangent      The same of dz = T dh R + z dR.
Adjoint      Of du: F_n du, tile by tile; then all other axes on it, dz = D T du, and q = F_{n-1}* .. F_1* G (dz R*), of which
             S* du = Re F_n* q is made tile by tile again;   dR = z* dz.
Spaces       A tile is (channels, rows, N_n) of one sample, a row being the points of the last axis; q (batch, modes, channels,
             rows). Of a row that is cut, a tile meets its own columns of F_n, and F_n du is the sum of what its tiles give.
Kept         z and the kept modes of S h, which are few; q is made of them when it is needed.
Messages     Those of S, in value and tangent; in the adjoint those of its adjoint. R and dR, where ranks of other batches share
             them, travel while transforms are computed and tiles are written.
Trap         The first step of S* alone reads u; what it writes is complete only after the last tile.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from .axis_transform import paired
from .fourier import SpectralConvolution
from .linear import adjoint_of
from .tiles import Tile


class SpectralTiles:
    """S at the block ``h``, with the weight that it has now. Each q is (batch, modes, channels, rows)."""

    def __init__(self, S: SpectralConvolution, h: np.ndarray) -> None:
        coming = S.share.start(S.parameters["R"])  # it travels while T h is computed
        self.S, self.z = S, S.down.forward(h)
        self.R = S.share.finish(coming)
        self.spectrum = self._kept(self.z @ self.R)
        self.F_up, self.F_down = (paired(T.own[0].F) for T in (S.up, S.down))

    def value(self) -> np.ndarray:
        """The q of S h."""
        return self._last(self.spectrum)

    def tangent(self, dh: np.ndarray, dR: np.ndarray) -> np.ndarray:  # dT* D (R T dh + dR T h)
        """The q of S dh + dS h, for the owner's dR."""
        S, coming = self.S, self.S.share.start(dR)
        return self._last(self._kept(S.down.forward(dh) @ self.R + self.z @ S.share.finish(coming)))

    def adjoint(self, modes: np.ndarray) -> tuple[np.ndarray, Any]:  # T* (R* D T du),  dR = z* D T du
        """The q of S* du, and dR on its way to the owner (``share``), of what ``to_modes`` has made of all tiles of du."""
        S = self.S
        inner = S.up.inner(np.moveaxis(modes, 1, 0).reshape(modes.shape[1], *S.range.local_shape[:-1]))
        del modes  # their memory
        dz = S.up.collect.forward(inner) * S.D
        leaving = S.share.start_adjoint(adjoint_of(self.z) @ dz)
        q = S.down.inner_adjoint(S.down.collect.adjoint(dz @ adjoint_of(self.R)))
        return by_rows(q), leaving

    def no_modes(self) -> np.ndarray:
        """A q of zeros, to which ``to_modes`` adds: a block may have modes and no points."""
        Z = self.S.up.own[0].range
        return by_rows(np.zeros(Z.local_shape, Z.dtype))

    def from_modes(self, q: np.ndarray, tile: Tile) -> np.ndarray:
        """S h in a tile (channels, points)."""
        return from_modes(self.F_up[tile.points], q[tile.sample, :, :, tile.rows])

    def to_modes(self, du: np.ndarray, q: np.ndarray, tile: Tile) -> None:
        """Add F_n du of a tile (channels, points)."""
        to_modes(self.F_up[tile.points], du, q[tile.sample, :, :, tile.rows])

    def from_modes_of_adjoint(self, q: np.ndarray, tile: Tile) -> np.ndarray:
        """S* du in a tile."""
        return from_modes(self.F_down[tile.points], q[tile.sample, :, :, tile.rows])

    def _kept(self, modes: np.ndarray) -> np.ndarray:  # G D
        return self.S.up.collect.adjoint(modes * self.S.D)

    def _last(self, spectrum: np.ndarray) -> np.ndarray:
        return by_rows(self.S.up.inner_adjoint(spectrum))


def by_rows(q: np.ndarray) -> np.ndarray:
    """(modes, batch, channels, N_1, .., N_{n-1}) as (batch, modes, channels, rows)."""
    return np.moveaxis(q.reshape(*q.shape[:3], prod(q.shape[3:])), 1, 0)


def to_modes(F: np.ndarray, u: np.ndarray, out: np.ndarray) -> None:
    """Add F u along the last axis of (channels, rows N), real, to ``out`` (modes, channels, rows), complex; F ``paired``."""
    modes, *rows = out.shape
    y = u.reshape(prod(rows), len(F)) @ F
    out += np.moveaxis(y.view(out.dtype).reshape(*rows, modes), -1, 0)


def from_modes(F: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Re F* q, from (modes, channels, rows), complex, to (channels, rows N), real; F is ``paired``."""
    modes, channels, rows = q.shape
    y = np.ascontiguousarray(np.moveaxis(q, 0, -1)).view(F.dtype).reshape(channels * rows, 2 * modes)
    return (y @ F.T).reshape(channels, rows * len(F))
