"""Pointwise layers: y_i = g(x_i), element by element.

Definition   Identity x;   ReLU max(x, 0);   Tanh tanh x;   Sigmoid s(x) = 1 / (1 + e^-x);   SiLU x s(x);
             Softplus log(1 + e^x);   GELU x Phi(x), Phi(x) = (1 + erf(x / sqrt 2)) / 2, the exact form;
             TanhGELU x (1 + tanh u) / 2, u = sqrt(2 / pi) (x + 0.044715 x^3), its approximation.
Spaces       X -> X, any partition. X may be complex where g is analytic: all but ReLU.
Tangent      dy = g'(x) dx.   ReLU 1 where x > 0, else 0;   Tanh 1 - y^2;   Sigmoid s(x) s(-x);   SiLU s + x s(x) s(-x);
             Softplus s(x);   GELU Phi + x phi, phi the normal density;   TanhGELU (1 + t) / 2 + x (1 - t^2) u' / 2, t = tanh u.
Adjoint      dx = conj(g'(x)) dy, where a real slope is its own conjugate.
Why          <g' dx, dy> = sum conj(g' dx) dy = sum conj(dx) (conj(g') dy) = <dx, conj(g') dy>: a diagonal matrix.
Cost         No messages. For GELU in float32, Phi and g' are straight lines between 1024 nodes a unit, a + b x with a and b
             of the nearest node: errors of y below 2e-7 max(|x|, 1), and 4e-7 |y| for |x| < 1, of g' 2.1e-7, which is the
             level of float32's own rounding, and many times faster than erf, which the other dtypes use. Beyond |x| = 6, Phi
             and g' are 0 or 1; where x is infinite, y is NaN.
Trap         Lines of g itself are as good in absolute terms, but lose the square of a small x, and of y one part in 2500.
Reference    Hendrycks and Gimpel, "Gaussian error linear units", arXiv 1606.08415 (both GELUs, and SiLU).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from math import pi, sqrt

import numpy as np

from ..arrays import Array, fresh, namespace, to_host
from ..space import Space
from .layer import Layer

NODES, LAST_NODE = 1024, 6  # nodes a unit on |x| <= 6: beyond, Phi is 0 or 1 in float32
TO_NODE = np.float32(
    12 * NODES
)  # the float32 that are as large lie 1 / NODES apart, so that adding it rounds to a node
FIRST_PLACE = int(TO_NODE.view(np.int32)) - NODES * LAST_NODE  # of the node -6, by the bits of the sum
TILE = 1 << 15  # elements worked on at a time: they stay in cache through all passes


class Pointwise(Layer):
    """The base: a subclass gives ``function(x)`` and ``function_and_slope(x)`` of arrays of any shape."""

    def __init__(self, X: Space) -> None:
        super().__init__(X, X)

    def function(self, x: Array) -> Array:
        raise NotImplementedError

    def function_and_slope(self, x: Array) -> tuple[Array, Array]:
        raise NotImplementedError

    def slope(self, x: Array) -> Array:
        return self.function_and_slope(x)[1]

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

    def slope(self, x: Array) -> Array:
        return gelu_slope(x)

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
    return _tiled((VALUE,), x)[0]


def gelu_slope(x: Array) -> Array:
    """Phi(x) + x phi(x), the derivative of x Phi(x), tile by tile."""
    return _tiled((SLOPE,), x)[0]


def gelu_and_slope(x: Array) -> tuple[Array, Array]:
    """x Phi(x) and its derivative, tile by tile."""
    return _tiled((VALUE, SLOPE), x)


VALUE, SLOPE = 0, 1


def _tiled(wanted: Sequence[int], x: Array) -> tuple[Array, ...]:
    host = to_host(x)
    outs, write = [np.empty_like(host) for _ in wanted], _lines if host.dtype == np.float32 else _formulas
    flat, flat_outs = host.ravel(), [out.ravel() for out in outs]
    with np.errstate(under="ignore", over="ignore", invalid="ignore"):  # far out, where g is 0 or x
        for start in range(0, flat.size, TILE):
            tile = slice(start, start + TILE)
            write(wanted, flat[tile], [out[tile] for out in flat_outs])
    if isinstance(x, np.ndarray):
        return tuple(outs)
    xp = namespace(x)
    return tuple(xp.asarray(out, device=x.device) for out in outs)


def _formulas(wanted: Sequence[int], x: np.ndarray, outs: Sequence[np.ndarray]) -> None:
    """g = x Phi and g' = Phi + x phi."""
    cdf = _normal_cdf(x)
    for which, out in zip(wanted, outs, strict=True):
        out[...] = x * cdf if which == VALUE else cdf + x * _normal_density(x)


def _lines(wanted: Sequence[int], x: np.ndarray, outs: Sequence[np.ndarray]) -> None:
    """g = x Phi and g' in float32, Phi and g' as a + b x with the numbers of the nearest node."""
    place = (x + TO_NODE).view(np.int32).astype(np.intp)
    place -= FIRST_PLACE
    for which, out in zip(wanted, outs, strict=True):
        a, b = _nodes()[which]
        b.take(place, mode="clip", out=out)
        out *= x
        out += a.take(place, mode="clip")
        if which == VALUE:
            out *= x


@lru_cache(maxsize=1)
def _nodes() -> list[tuple[np.ndarray, np.ndarray]]:
    """The tangents a + b x of Phi and of g' at the nodes; Phi' = phi, g'' = (2 - x^2) phi."""
    x = np.arange(-LAST_NODE * NODES, LAST_NODE * NODES + 1) / NODES
    cdf, density = _normal_cdf(x), _normal_density(x)
    slope, curvature = cdf + x * density, (2 - x * x) * density
    lines = [(cdf - x * density, density), (slope - x * curvature, curvature)]
    for a, b in lines:
        a[0] = b[0] = b[-1] = 0  # of all that lies further out on the left, and on the right
        a[-1] = 1
    return [(a.astype(np.float32), b.astype(np.float32)) for a, b in lines]


def _normal_cdf(x: np.ndarray) -> np.ndarray:
    from scipy.special import erf

    return 0.5 + 0.5 * erf(x * sqrt(0.5))


def _normal_density(x: np.ndarray) -> np.ndarray:
    return np.exp(-0.5 * x * x) / sqrt(2 * pi)
