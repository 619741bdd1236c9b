"""Point maps: what a layer does to the channels of one point, for as many points as are given at a time.

Definition   On a tile x (channels, points), with the layer's weights w as every rank has them:
             Matrix   y = W x + b          of Linear along the channels
             Affine   y = w x + b          of ChannelAffine
             Function y = g(x)             of a pointwise layer
Tangent      dy = W dx + dW x + db;   dy = w dx + dw x + db;   dy = g'(x) dx.
Adjoint      dx = W* dy, dW = dy x*, db = sum of dy;   dx = w dy, dw = sum of x dy, db = sum of dy;   dx = g'(x) dy.
             What belongs to the weights is this tile's part. The sum over all tiles goes back through ``broadcasts``.
Spaces       Real, and NumPy's. No messages: ``broadcasts`` tells of each weight which operator brings it to the ranks.
Trap         A product of a matrix of one column is an outer one, which NumPy's matmul does not give to BLAS.
Reference    See linear.py, channel_affine.py, pointwise.py.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..operator import Operator
from .channel_affine import ChannelAffine
from .layer import Layer
from .linear import Linear
from .pointwise import Pointwise

Weights = dict[str, np.ndarray]  # a matrix (out, in); a vector as a column (channels, 1)


class PointMap:
    """The map of one layer."""

    def __init__(self, layer: Layer, broadcasts: Mapping[str, Operator]) -> None:
        self.layer, self.broadcasts = layer, broadcasts

    def value(self, x: np.ndarray, w: Weights) -> np.ndarray:
        raise NotImplementedError

    def tangent(self, x: np.ndarray, dx: np.ndarray, w: Weights, dw: Weights) -> np.ndarray:
        raise NotImplementedError

    def adjoint(self, x: np.ndarray, dy: np.ndarray, w: Weights) -> tuple[np.ndarray, Weights]:
        """dx, and the parts of the gradients."""
        raise NotImplementedError


class Matrix(PointMap):
    def value(self, x: np.ndarray, w: Weights) -> np.ndarray:  # y = W x + b
        return plus_bias(product(w["W"], x), w)

    def tangent(self, x: np.ndarray, dx: np.ndarray, w: Weights, dw: Weights) -> np.ndarray:  # dy = W dx + dW x + db
        return plus_bias(product(w["W"], dx) + product(dw["W"], x), dw)

    def adjoint(self, x: np.ndarray, dy: np.ndarray, w: Weights) -> tuple[np.ndarray, Weights]:  # dx = W* dy
        parts = {"W": lambda: dy @ x.T, "b": lambda: row_sums(dy)}
        return product(w["W"].T, dy), {key: parts[key]() for key in w}


class Affine(PointMap):
    def value(self, x: np.ndarray, w: Weights) -> np.ndarray:  # y = w x + b
        return plus_bias(w["w"] * x, w) if "w" in w else x + w["b"]

    def tangent(self, x: np.ndarray, dx: np.ndarray, w: Weights, dw: Weights) -> np.ndarray:  # dy = w dx + dw x + db
        return plus_bias(w["w"] * dx + dw["w"] * x, dw) if "w" in w else dx + dw["b"]

    def adjoint(self, x: np.ndarray, dy: np.ndarray, w: Weights) -> tuple[np.ndarray, Weights]:  # dx = w dy
        parts = {"w": lambda: np.vecdot(x, dy)[:, None], "b": lambda: row_sums(dy)}
        return w["w"] * dy if "w" in w else dy, {key: parts[key]() for key in w}


class Function(PointMap):
    layer: Pointwise

    def value(self, x: np.ndarray, w: Weights) -> np.ndarray:  # y = g(x)
        return self.layer.function(x)

    def tangent(self, x: np.ndarray, dx: np.ndarray, w: Weights, dw: Weights) -> np.ndarray:  # dy = g'(x) dx
        return self.layer.slope(x) * dx

    def adjoint(self, x: np.ndarray, dy: np.ndarray, w: Weights) -> tuple[np.ndarray, Weights]:  # dx = g'(x) dy
        return self.layer.slope(x) * dy, {}


def point_map(layer: Layer) -> PointMap | None:
    """The map of a layer, where there is one."""
    if isinstance(layer, Linear) and layer.axis == 1:
        return Matrix(layer, layer.broadcasts)
    if isinstance(layer, ChannelAffine):
        return Affine(layer, dict.fromkeys(layer.parameters, layer.spread))
    return Function(layer, {}) if isinstance(layer, Pointwise) else None


def as_matrix(key: str, a: np.ndarray) -> np.ndarray:
    """A weight as a matrix; a vector is a column."""
    return a if key == "W" else a.reshape(-1, 1)


def product(W: np.ndarray, x: np.ndarray) -> np.ndarray:
    """W x; see the trap."""
    return W * x if W.shape[1] == 1 else W @ x


def plus_bias(y: np.ndarray, w: Weights) -> np.ndarray:
    """``y`` with the bias added in place, where there is one."""
    if "b" in w:
        y += w["b"]
    return y


def row_sums(a: np.ndarray) -> np.ndarray:
    """The sum over the points, as a column; as a product, which is faster than NumPy's sum."""
    return a @ np.ones((a.shape[1], 1), a.dtype)
