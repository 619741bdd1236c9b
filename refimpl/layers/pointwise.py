"""Pointwise layers: y_i = g(x_i), element by element.

Definition   Identity x;   ReLU max(x, 0);   Tanh tanh x;   Sigmoid s(x) = 1 / (1 + e^-x);   SiLU x s(x);
             Softplus log(1 + e^x);   GELU x Phi(x), Phi(x) = (1 + erf(x / sqrt 2)) / 2, the exact form;
             TanhGELU x (1 + tanh u) / 2, u = sqrt(2 / pi) (x + 0.044715 x^3), its approximation.
Spaces       X -> X, any partition. X may be complex where g is analytic: all but ReLU.
Tangent      dy = g'(x) dx.   ReLU 1 where x > 0, else 0;   Tanh 1 - y^2;   Sigmoid s(x) s(-x);   SiLU s + x s(x) s(-x);
             Softplus s(x);   GELU Phi + x phi, phi the normal density;   TanhGELU (1 + t) / 2 + x (1 - t^2) u' / 2, t = tanh u.
Adjoint      dx = conj(g'(x)) dy, where a real slope is its own conjugate.
Why          <g' dx, dy> = sum conj(g' dx) dy = sum conj(dx) (conj(g') dy) = <dx, conj(g') dy>: a diagonal matrix.
Cost         No messages. In float32, erf(x / sqrt 2) = tanh(x q(x^2)) with a polynomial q of degree 6 and an error below
             1.4e-7, at the level of float32's own rounding; it is several times faster than erf, which the others use.
Reference    Hendrycks and Gimpel, "Gaussian error linear units", arXiv 1606.08415 (both GELUs, and SiLU).
"""

from __future__ import annotations

from collections.abc import Callable
from math import pi, sqrt

import numpy as np

from ..arrays import Array, fresh, namespace, to_host
from ..space import Space
from .layer import Layer

# Minimax fit of atanh(erf(x / sqrt 2)) / x on |x| <= 5.6 in powers of x^2; from 5.8 on, its tanh is exactly 1 in float32.
ERF_LIMIT = 5.8
ERF_FIT = (
    7.978849411e-01,
    3.633308411e-02,
    -3.259460937e-05,
    -5.530638009e-05,
    3.964786174e-06,
    -1.322674308e-07,
    1.756312428e-09,
)
TILE = 1 << 14  # elements worked on at a time: they stay in cache through all passes


class Pointwise(Layer):
    """The base: a subclass gives ``function(x)`` and ``function_and_slope(x)`` of arrays of any shape."""

    def __init__(self, X: Space) -> None:
        super().__init__(X, X)

    def function(self, x: Array) -> Array:
        raise NotImplementedError

    def function_and_slope(self, x: Array) -> tuple[Array, Array]:
        raise NotImplementedError

    def value(self, x: Array) -> Array:  # y = g(x)
        return self.function(x)

    def derivative(self, x: Array) -> tuple[Array, Callable, Callable]:
        xp, (y, slope) = namespace(x), self.function_and_slope(x)
        conjugate = xp.conj(slope) if xp.isdtype(slope.dtype, "complex floating") else slope

        def tangent(dx: Array, dparameters: dict) -> Array:  # dy = g'(x) dx
            return slope * dx

        def adjoint(dy: Array) -> tuple[Array, dict]:  # dx = conj(g'(x)) dy
            return conjugate * dy, {}

        return y, tangent, adjoint


class GELU(Pointwise):
    """g(x) = x Phi(x), with the exact erf."""

    def function(self, x: Array) -> Array:
        return gelu(x)

    def function_and_slope(self, x: Array) -> tuple[Array, Array]:
        return gelu_and_slope(x)


class ReLU(Pointwise):
    """g(x) = max(x, 0), with slope 0 at 0. Raises ValueError on complex spaces: their numbers have no order."""

    def __init__(self, X: Space) -> None:
        if X.dtype.kind == "c":
            raise ValueError(f"ReLU: expected a real space, as complex numbers have no order, got {X!r}")
        super().__init__(X)

    def function(self, x: Array) -> Array:
        xp = namespace(x)
        return xp.maximum(x, xp.zeros_like(x))

    def function_and_slope(self, x: Array) -> tuple[Array, Array]:
        return self.function(x), namespace(x).astype(x > 0, x.dtype)


class Identity(Pointwise):
    """g(x) = x, as a fresh array."""

    def function(self, x: Array) -> Array:
        return fresh(x)

    def function_and_slope(self, x: Array) -> tuple[Array, Array]:
        return fresh(x), namespace(x).ones_like(x)


class Tanh(Pointwise):
    """g(x) = tanh x."""

    def function(self, x: Array) -> Array:
        return namespace(x).tanh(x)

    def function_and_slope(self, x: Array) -> tuple[Array, Array]:
        y = namespace(x).tanh(x)
        return y, 1 - y * y


class Sigmoid(Pointwise):
    """g(x) = s(x) = 1 / (1 + e^-x)."""

    def function(self, x: Array) -> Array:
        return logistic(x)[0]

    def function_and_slope(self, x: Array) -> tuple[Array, Array]:
        return logistic(x)


class SiLU(Pointwise):
    """g(x) = x s(x)."""

    def function(self, x: Array) -> Array:
        return x * logistic(x)[0]

    def function_and_slope(self, x: Array) -> tuple[Array, Array]:
        s, slope = logistic(x)
        return x * s, s + x * slope


class Softplus(Pointwise):
    """g(x) = log(1 + e^x)."""

    def function(self, x: Array) -> Array:
        return softplus(x)

    def function_and_slope(self, x: Array) -> tuple[Array, Array]:
        return softplus(x), logistic(x)[0]


class TanhGELU(Pointwise):
    """g(x) = x (1 + tanh u) / 2 with u = sqrt(2 / pi) (x + 0.044715 x^3)."""

    def function(self, x: Array) -> Array:
        return self.function_and_slope(x)[0]

    def function_and_slope(self, x: Array) -> tuple[Array, Array]:
        square, c = x * x, sqrt(2 / pi)
        t = namespace(x).tanh(c * x * (1 + 0.044715 * square))
        half = (1 + t) / 2
        return x * half, half + x * (1 - t * t) * (0.5 * c) * (1 + 3 * 0.044715 * square)


def is_right(x: Array) -> Array:
    """Re x >= 0."""
    xp = namespace(x)
    return (xp.real(x) if xp.isdtype(x.dtype, "complex floating") else x) >= 0


def logistic(x: Array) -> tuple[Array, Array]:
    """s(x) = 1 / (1 + e^-x) and its derivative s(x) s(-x), without overflow, and accurate far out on both sides."""
    xp, right = namespace(x), is_right(x)
    e = xp.exp(xp.where(right, -x, x))
    near_one = 1 / (1 + e)
    return xp.where(right, near_one, e * near_one), e * near_one * near_one


def softplus(x: Array) -> Array:
    """log(1 + e^x), as x + log(1 + e^-x) on the right, so that nothing overflows."""
    xp, right = namespace(x), is_right(x)
    return xp.where(right, x, xp.zeros_like(x)) + xp.log1p(xp.exp(xp.where(right, -x, x)))


def gelu(x: Array) -> Array:
    """x Phi(x), tile by tile."""
    return _tiled(lambda t: (t * _normal_cdf(t),), x, 1)[0]


def gelu_and_slope(x: Array) -> tuple[Array, Array]:
    """x Phi(x) and its derivative Phi(x) + x phi(x), tile by tile."""

    def both(t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        cdf = _normal_cdf(t)
        return t * cdf, cdf + t * np.exp(t * t * t.dtype.type(-0.5)) * t.dtype.type(1 / sqrt(2 * pi))

    return _tiled(both, x, 2)


def _tiled(function: Callable, x: Array, results: int) -> tuple[Array, ...]:
    host = to_host(x)
    flat, outs = host.ravel(), [np.empty_like(host) for _ in range(results)]
    for start in range(0, flat.size, TILE):
        for out, part in zip(outs, function(flat[start : start + TILE]), strict=True):
            out.ravel()[start : start + TILE] = part
    if isinstance(x, np.ndarray):
        return tuple(outs)
    xp = namespace(x)
    return tuple(xp.asarray(out, device=x.device) for out in outs)


def _normal_cdf(x: np.ndarray) -> np.ndarray:
    """Phi(x) = (1 + erf(x / sqrt 2)) / 2."""
    if x.dtype != np.float32:
        from scipy.special import erf

        return 0.5 + 0.5 * erf(x * sqrt(0.5))
    z = np.clip(x, np.float32(-ERF_LIMIT), np.float32(ERF_LIMIT))
    square = z * z
    q = np.full_like(z, ERF_FIT[-1])
    for coefficient in ERF_FIT[-2::-1]:
        q *= square
        q += np.float32(coefficient)
    q *= z
    np.tanh(q, out=q)
    q *= np.float32(0.5)
    q += np.float32(0.5)
    return q
