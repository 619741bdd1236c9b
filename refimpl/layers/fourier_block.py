"""FourierBlock: y = g(A ._c h + S h), the layer of a Fourier neural operator, worked on tile by tile.

Definition   u = A ._c h + S h,   y = g(u):   A a matrix along the channels, S a spectral convolution (fourier.py), g the GELU.
Spaces       X -> X, real (batch, channels, N_1, .., N_n), cut as A and S allow: the channels are whole.
Tangent      dy = g'(u) (A dh + dA h + S dh + dS h).
Adjoint      du = g'(u) dy;   dh = A* du + S* du,   dA = B* (du h*),   dR = z* (D T du), with z = T h (fourier.py).
Tiles        S h = Re F_n* q: of the inverse transform, all axes but the last are done on q, which has the few kept modes of
             the last axis in place of its points. What is left goes over the points once, some thousand at a time, while they
             are in a core's cache: F_n* q, A h, their sum, and g. No array of the size of h is made but the result.
Recomputed   A linearisation keeps h, which it was given, and the kept modes. The adjoint makes u again, tile by tile: two
             products more, and no g'(u) to be written, kept and read.
Messages     Those of A and S and no more: what is made again is on the rank. Where S transforms its last axis elsewhere (cut,
             with a repartition), A, S and g are done one after the other.
Trap         Other array libraries than NumPy do not write into tiles; they compute the same in steps.
Reference    Li et al., arXiv 2010.08895 (the block);  Grady et al., arXiv 2204.01205 (model-parallel).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from math import prod

import numpy as np

from ..arrays import Array, contiguous
from ..space import Space
from .compose import Graph
from .fourier import SpectralConvolution
from .layer import Blocks
from .linear import Linear, adjoint_of
from .pointwise import GELU, gelu, gelu_slope
from .tiles import points, tiles


class FourierBlock(Graph):
    """g(A ._c h + S h) on ``X``, with A by ``seed``, and S with ``modes`` and ``form`` by ``spectral_seed``.

    Raises ValueError where X is not real, and as Linear and SpectralConvolution do.
    """

    def __init__(
        self, X: Space, modes: Sequence[int], seed: int = 0, spectral_seed: int = 0, form: str | None = None
    ) -> None:
        if X.dtype.kind != "f":
            raise ValueError(f"FourierBlock: expected a real tensor, got {X!r}")
        self.linear = Linear(X, X.shape[1], bias=False, seed=seed)
        self.spectral = SpectralConvolution(X, modes, seed=spectral_seed, form=form)
        u = ("linear", "spectral")
        super().__init__({"linear": (self.linear, "x"), "spectral": (self.spectral, "x"), "gelu": (GELU(X), u)})

    @property
    def in_tiles(self) -> bool:
        """Is the last axis transformed where its points are?"""
        own = self.spectral.up.own
        return bool(own) and own[0].axis == self.domain.ndim - 1

    def value(self, x: Array) -> Array:  # y = g(A h + S h)
        if not (self.in_tiles and isinstance(x, np.ndarray)):
            return super().value(x)
        return self._over_points(gelu, *self._brought(x)[:3])

    def derivative(self, x: Array) -> tuple[Array, Callable, Callable, Blocks]:
        if not (self.in_tiles and isinstance(x, np.ndarray)):
            return super().derivative(x)
        S, (h, A, spectrum, z, R) = self.spectral, self._brought(x)

        def tangent(dx: Array, d: Blocks) -> Array:  # dy = g'(u) (A dh + dA h + S dh + dS h)
            dz = S.down.forward(dx) @ R + z @ S.share.forward(d["spectral.R"])
            dA = self.linear.broadcasts["W"].forward(d["linear.W"])
            du = S.up.adjoint(dz * S.D) + (A @ points(dx) + dA @ points(x)).reshape(x.shape)
            return self._over_points(gelu_slope, h, A, spectrum) * du

        def adjoint(dy: Array) -> tuple[Array, Blocks]:  # dh = A* du + S* du,  dA = B* (du h*),  dR = z* (D T du)
            dh, dA, last = self._adjoint_of_points(contiguous(dy), h, A, spectrum)
            last = last.reshape(len(last), *x.shape[:-1])
            dz = S.up.collect.forward(S.up.inner(last)) * S.D
            q = self._by_rows(S.down.collect.adjoint(dz @ adjoint_of(R)))
            for b, rows in over(dh):
                dh[b, :, rows] += from_modes(self._F, q[:, b, :, rows])
            gradients = {"linear.W": self.linear.broadcasts["W"].adjoint(dA.astype(A.dtype))}
            return dh.reshape(x.shape), gradients | {"spectral.R": S.share.adjoint(adjoint_of(z) @ dz)}

        return self._over_points(gelu, h, A, spectrum), tangent, adjoint, {}

    def frozen(self) -> FourierBlock:
        return self

    # ---- over the points, tile by tile -------------------------------------------------------------------------------

    def _over_points(self, function: Callable, h: np.ndarray, A: np.ndarray, spectrum: np.ndarray) -> np.ndarray:
        """g or g' of u = A h + Re F* q, as a block of the range."""
        y, q = np.empty_like(h), self._by_rows(spectrum)
        for b, rows in over(h):
            y[b, :, rows] = function(self._sum(h, A, q, b, rows))
        return y.reshape(self.range.local_shape)

    def _adjoint_of_points(self, dy: np.ndarray, h: np.ndarray, A: np.ndarray, spectrum: np.ndarray) -> tuple:
        """A* du, du h* and F du, with du = g'(u) dy."""
        dy, q = dy.reshape(h.shape), self._by_rows(spectrum)
        dh, dA, last = np.empty_like(h), np.zeros(A.shape), np.empty_like(q)
        for b, rows in over(h):
            du = gelu_slope(self._sum(h, A, q, b, rows))
            du *= dy[b, :, rows]
            dA += columns(du) @ columns(h[b, :, rows]).T
            dh[b, :, rows] = (A.T @ columns(du)).reshape(du.shape)
            last[:, b, :, rows] = to_modes(self._F, du)
        return dh, dA, last

    def _sum(self, h: np.ndarray, A: np.ndarray, q: np.ndarray, b: int, rows: slice) -> np.ndarray:
        """u = A h + Re F* q in a tile (channels, rows, N)."""
        u = from_modes(self._F, q[:, b, :, rows])
        u += (A @ columns(h[b, :, rows])).reshape(u.shape)
        return u

    def _brought(self, x: np.ndarray) -> tuple:
        """h as (batch, channels, rows, N), A, the kept modes of S h on this rank's axes, z and R."""
        S, (A, _) = self.spectral, self.linear.copies({"W": self.linear.parameters["W"]})
        z, R = S.down.forward(x), S.share.forward(S.parameters["R"])
        batch, channels, *rows, n = x.shape
        return contiguous(x).reshape(batch, channels, prod(rows), n), A, S.up.collect.adjoint(z @ R * S.D), z, R

    def _by_rows(self, spectrum: np.ndarray) -> np.ndarray:
        """q as (modes of the last axis, batch, channels, rows)."""
        q = self.spectral.up.inner_adjoint(spectrum)
        return q.reshape(*q.shape[:3], prod(q.shape[3:]))

    @cached_property
    def _F(self) -> np.ndarray:
        """The real and the imaginary part of the last axis's matrix, one on top of the other."""
        F = self.spectral.up.own[0].F
        return np.concatenate([F.real, F.imag])


def over(h: np.ndarray) -> Iterator[tuple[int, slice]]:
    """The tiles of (batch, channels, rows, N)."""
    batch, channels, rows, n = h.shape
    return tiles(batch, rows, channels * n)


def columns(tile: np.ndarray) -> np.ndarray:
    """(channels, rows, N) as (channels, points)."""
    return tile.reshape(len(tile), prod(tile.shape[1:]))


def to_modes(F: np.ndarray, u: np.ndarray) -> np.ndarray:
    """F u along the last axis of (channels, rows, N), real, to (modes, channels, rows), complex."""
    parts = (F @ u.reshape(prod(u.shape[:2]), u.shape[2]).T).reshape(2, len(F) // 2, *u.shape[:2])
    return parts[0] + 1j * parts[1]


def from_modes(F: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Re F* q, from (modes, channels, rows), complex, to (channels, rows, N), real."""
    parts = np.stack([q.real, q.imag])
    return (parts.reshape(len(F), prod(q.shape[1:])).T @ F).reshape(*q.shape[1:], F.shape[1])
