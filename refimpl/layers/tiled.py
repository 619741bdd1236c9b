"""Tiled: a graph of layers that work at each point of space alone, and of spectral convolutions, worked on tile by tile.

Definition   That of the graph (compose.py). Its layers are matrices and affine maps along the channels and functions of single
             numbers (point_maps.py), and graphs of such; and spectral convolutions of the graph's own x (spectral_tiles.py).
Spaces       X -> Y, real, cut as the layers allow.
Tangent      As of the graph:   dy_n = J_n (sum of dy_i, dw_n).
Adjoint      As of the graph:   c_n = sum of J_m* c_m over the nodes m that read n;   dw = B* (the sum over all tiles).
Tiles        All layers are applied to some thousand points at a time, while they are in a core's cache. No array of the size of
             the whole is made but the result: what lies between, also of many more channels, is never there as a whole.
Recomputed   A linearisation (tiled_point.py) keeps x, which it was given, and the modes. The adjoint makes what lies between
             once more.
Messages     Those of the graph, each weight once a pass; what is made again is on the rank.
Trap         Other array libraries than NumPy do not write into tiles; they go the graph's way. So does a convolution that
             transforms its last axis elsewhere (cut, with a repartition: fourier_forms.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from operator import add

import numpy as np

from ..arrays import Array
from .compose import Graph, Names, give, unfolded
from .fourier import SpectralConvolution
from .layer import Blocks, Layer
from .point_maps import PointMap, Weights, as_matrix, point_map
from .tiled_point import TiledPoint, Values


class Tiled(Graph):
    """The graph of ``nodes`` and ``outputs``. Raises ValueError where X is not real, or a layer cannot be worked on so."""

    def __init__(self, nodes: Mapping[str, tuple[Layer, Names]], outputs: Names = ()) -> None:
        super().__init__(nodes, outputs)
        leaves, self.ends = unfolded(self)
        self.maps: dict[str, PointMap] = {}
        self.steps: dict[str, tuple[str, ...]] = {}
        self.convolutions: dict[str, SpectralConvolution] = {}
        for name, (layer, inputs) in leaves.items():
            if isinstance(layer, SpectralConvolution) and inputs == ("x",) and on_one_grid(layer):
                self.convolutions[name] = layer
            else:
                self.maps[name], self.steps[name] = self._map(name, layer), inputs
        self.read = {i for inputs in self.steps.values() for i in inputs}
        self.channels = max(X.shape[1] for X in (self.domain, *(layer.range for layer, _ in leaves.values())))

    def _map(self, name: str, layer: Layer) -> PointMap:
        found, who = point_map(layer), type(self).__name__
        if self.domain.dtype.kind != "f":
            raise ValueError(f"{who}: expected a real tensor, got {self.domain!r}")
        if found is None:
            raise ValueError(
                f"{who}: {name} is a {type(layer).__name__}; expected layers that work at each point alone, or a "
                "SpectralConvolution of x onto its own grid; use Graph"
            )
        return found

    # ---- all points --------------------------------------------------------------------------------------------------

    @property
    def in_tiles(self) -> bool:
        """Is the last axis of each convolution transformed where its points are?"""
        both = (T for S in self.convolutions.values() for T in (S.down, S.up))
        return all(bool(T.own) and T.own[0].axis == self.domain.ndim - 1 for T in both)

    def value(self, x: Array) -> Array:
        return self.at(x).value() if self.goes(x) else super().value(x)

    def derivative(self, x: Array) -> tuple[Array, Callable, Callable, Blocks]:
        if not self.goes(x):
            return super().derivative(x)
        point = self.at(x)
        return point.value(), point.tangent, point.adjoint, {}

    def goes(self, x: Array) -> bool:
        """Is ``x`` worked on tile by tile? See the trap."""
        return self.in_tiles and isinstance(x, np.ndarray)

    def frozen(self) -> Tiled:
        return self

    def at(self, x: np.ndarray) -> TiledPoint:
        """The layer at x, with the weights that it has now. See tiled_point.py."""
        return TiledPoint(self, x)

    # ---- one tile ----------------------------------------------------------------------------------------------------

    def _inputs(self, at: Values, w: dict[str, Weights]) -> Values:
        """What each layer is applied to; ``at`` gets the values that are read."""
        xs = {}
        for name, inputs in self.steps.items():
            xs[name] = added(at, inputs)
            if name in self.read:
                at[name] = self.maps[name].value(xs[name], w[name])
        return xs

    def through(self, at: Values, w: dict[str, Weights]) -> np.ndarray:
        """y_n = F_n(sum of y_i), from ``at``: x and each S x."""
        xs = self._inputs(at, w)
        return added(at | {o: self.maps[o].value(xs[o], w[o]) for o in self.ends if o not in at}, self.ends)

    def forth(self, at: Values, d: Values, w: dict[str, Weights], dw: dict[str, Weights]) -> np.ndarray:
        """dy_n = J_n (sum of dy_i, dw_n), with ``d`` the changes of ``at``."""
        for name, x in self._inputs(at, w).items():
            d[name] = self.maps[name].tangent(x, added(d, self.steps[name]), w[name], dw[name])
        return added(d, self.ends)

    def back(self, at: Values, dy: np.ndarray, w: dict[str, Weights], sums: dict[str, Weights]) -> Values:
        """The cotangents of ``at``:  c_i += dx_n,  (dx_n, dw_n) = J_n* c_n;  the parts dw_n are added to ``sums``."""
        xs, c = self._inputs(at, w), Values()
        give(dy, self.ends, c)
        for name, inputs in reversed(self.steps.items()):
            dx, parts = self.maps[name].adjoint(xs[name], c.pop(name), w[name])
            give(dx, inputs, c)
            for key, part in parts.items():
                sums[name][key] += part
        return c

    # ---- weights -----------------------------------------------------------------------------------------------------

    def brought(self, parameters: Blocks) -> dict[str, Weights]:
        """All but the spectral ones, on every rank."""
        brought = {}
        for name, layer in self.maps.items():
            own = {key: B.forward(parameters[f"{name}.{key}"]) for key, B in layer.broadcasts.items()}
            brought[name] = {key: as_matrix(key, a) for key, a in own.items()}
        return brought

    def gradients(self, sums: dict[str, Weights]) -> Blocks:
        """The sums of all ranks, at the owners."""
        gradients: Blocks = {}
        for name, own in sums.items():
            for key, B in self.maps[name].broadcasts.items():
                total = own[key].astype(B.range.dtype).reshape(B.range.local_shape)
                gradients[f"{name}.{key}"] = B.adjoint(total)
        return gradients


def on_one_grid(S: SpectralConvolution) -> bool:
    """Does the result have the points of x?"""
    X, Y = S.domain, S.range
    return X.shape[2:] == Y.shape[2:] and X.blocks[2:] == Y.blocks[2:]


def added(at: Values, names: Sequence[str]) -> np.ndarray:
    return at[names[0]] if len(names) == 1 else reduce(add, (at[name] for name in names))
