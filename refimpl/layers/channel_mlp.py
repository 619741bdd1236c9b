"""ChannelMLP: linear maps along the channels with a GELU between them, worked on tile by tile.

Definition   u_1 = W_1 ._c x + b_1,   u_k = W_k ._c g(u_{k-1}) + b_k,   y = u_n, or g(u_n) where ``activated``; g the GELU.
Spaces       X (batch, channels, ..), the channels whole, to the same with other channels; W_k and b_k as in linear.py.
Tangent      du_k = W_k da_{k-1} + dW_k a_{k-1} + db_k,   da_k = g'(u_k) du_k,   from da_0 = dx.
Adjoint      du_k = g'(u_k) da_k;   dW_k = B* (du_k a_{k-1}*),   db_k = B* (sum of du_k),   da_{k-1} = W_k* du_k;   dx = da_0.
Tiles        All maps are applied to some thousand points at a time, while they are in a core's cache. So the hidden channels,
             which may be many more than those of x and y, are never there as a whole.
Recomputed   A linearisation keeps x, which it was given. The adjoint makes the u_k of a tile again.
Trap         Other array libraries than NumPy do not write into tiles; they compute the same in steps.
Reference    Li et al., arXiv 2010.08895 (lifting and projection).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import numpy as np

from ..arrays import Array
from ..space import Space
from .compose import Sequential, chain, part
from .layer import Blocks, Layer
from .linear import Linear
from .pointwise import GELU, gelu, gelu_slope
from .tiles import points, tiles

Weights = list[tuple[Array, Array]]


class ChannelMLP(Sequential):
    """``widths``: name -> channels after each linear map, the k-th with weights by seed + k; ``activated``: a GELU at the end.

    Raises ValueError where X is not real or there is no map, and as Linear does.
    """

    def __init__(self, X: Space, widths: Mapping[str, int], activated: bool = False, seed: int = 0) -> None:
        if X.dtype.kind != "f" or not widths:
            raise ValueError(f"ChannelMLP: expected a real tensor and at least one width, got {X!r} and {widths}")
        makers: dict[str, Callable[[Space], Layer]] = {}
        for k, (name, width) in enumerate(widths.items()):
            makers |= {name: partial(Linear, out=width, seed=seed + k), f"{name}_gelu": GELU}
        if not activated:
            makers.popitem()
        super().__init__(chain(X, makers))
        self.linears = [layer for layer in self.layers.values() if isinstance(layer, Linear)]
        self.names, self.activated = list(widths), activated

    def value(self, x: Array) -> Array:  # y = g(.. W_2 g(W_1 x + b_1) + b_2 ..)
        if not isinstance(x, np.ndarray):
            return super().value(x)
        return self._all_points(points(x), self._weights(self.parameters))

    def derivative(self, x: Array) -> tuple[Array, Callable, Callable, Blocks]:
        if not isinstance(x, np.ndarray):
            return super().derivative(x)
        h, weights = points(x), self._weights(self.parameters)

        def tangent(dx: Array, d: Blocks) -> Array:
            dh, changes = points(dx), self._weights(d)
            dy = np.empty((len(h), self.range.shape[1], h.shape[2]), h.dtype)
            for b, at in self._tiles(h):
                dy[b, :, at] = self._forth(dh[b, :, at], h[b, :, at], weights, changes)
            return dy.reshape(self.range.local_shape)

        def adjoint(dy: Array) -> tuple[Array, Blocks]:
            da, dx = points(dy), np.empty_like(h)
            sums = [(np.zeros(W.shape), np.zeros(b.shape)) for W, b in weights]
            for b, at in self._tiles(h):
                dx[b, :, at] = self._back(da[b, :, at], h[b, :, at], weights, sums)
            gradients: Blocks = {}
            for name, linear, (dW, db) in zip(self.names, self.linears, sums, strict=True):
                parts = {"W": dW.astype(h.dtype), "b": db[:, 0].astype(h.dtype)}
                gradients |= {f"{name}.{key}": B.adjoint(parts[key]) for key, B in linear.broadcasts.items()}
            return dx.reshape(x.shape), gradients

        return self._all_points(h, weights), tangent, adjoint, {}

    def frozen(self) -> ChannelMLP:
        return self

    # ---- tile by tile ------------------------------------------------------------------------------------------------

    def _all_points(self, h: np.ndarray, weights: Weights) -> np.ndarray:
        y = np.empty((len(h), self.range.shape[1], h.shape[2]), h.dtype)
        for b, at in self._tiles(h):
            y[b, :, at] = self._through(h[b, :, at], weights)[-1][1]
        return y.reshape(self.range.local_shape)

    def _through(self, a: np.ndarray, weights: Weights) -> list[tuple[np.ndarray, np.ndarray]]:
        """(u_k, a_k) of a tile (channels, points):  u_k = W_k a_{k-1} + b_k,  a_k = g(u_k)."""
        steps = []
        for k, (W, b) in enumerate(weights):
            u = W @ a
            u += b
            a = gelu(u) if self._has_gelu(k) else u
            steps.append((u, a))
        return steps

    def _forth(self, da: np.ndarray, a: np.ndarray, weights: Weights, changes: Weights) -> np.ndarray:
        """dy of a tile:  du_k = W_k da_{k-1} + dW_k a_{k-1} + db_k,  da_k = g'(u_k) du_k."""
        steps = self._through(a, weights)
        for k, ((W, _), (dW, db), (u, after)) in enumerate(zip(weights, changes, steps, strict=True)):
            du = W @ da + dW @ a + db
            a, da = after, gelu_slope(u) * du if self._has_gelu(k) else du
        return da

    def _back(self, da: np.ndarray, x: np.ndarray, weights: Weights, sums: Weights) -> np.ndarray:
        """dx of a tile, and its part of each dW_k and db_k added to ``sums``:  du_k = g'(u_k) da_k,  da_{k-1} = W_k* du_k."""
        steps = self._through(x, weights)
        before = [x, *(a for _, a in steps[:-1])]
        for k in reversed(range(len(steps))):
            du = gelu_slope(steps[k][0]) * da if self._has_gelu(k) else da
            sums[k][0][...] += du @ before[k].T
            sums[k][1][...] += du.sum(axis=1, keepdims=True)
            da = weights[k][0].T @ du
        return da

    def _weights(self, parameters: Blocks) -> Weights:
        """W_k, and b_k as a column, on every rank."""
        return [linear.copies(part(parameters, name)) for name, linear in zip(self.names, self.linears, strict=True)]

    def _has_gelu(self, k: int) -> bool:
        return self.activated or k < len(self.linears) - 1

    def _tiles(self, h: np.ndarray) -> Iterator[tuple[int, slice]]:
        widest = max(h.shape[1], *(linear.range.shape[1] for linear in self.linears))
        return tiles(len(h), h.shape[2], widest)
