"""Tile graph: what a graph that is worked on tile by tile (tiled.py) does in one tile, and the weights that it needs for it.

Definition   That of the graph (compose.py), at some points: arrays (channels, points), and what each spectral convolution is
             there.
Tangent      dy_n = J_n (sum of dy_i, dw_n).
Adjoint      c_n = sum of J_m* c_m over the nodes m that read n; the parts of dw_n are summed over the tiles by the caller.
Weights      Broadcast to all ranks before the first tile; their gradients are added up at the owners after the last. Both are
             started and finished, so that something else can be computed meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import add
from typing import Any

import numpy as np

from ..operator import Operator
from .compose import Graph, Names, give, unfolded
from .fourier import SpectralConvolution
from .layer import Blocks, Layer
from .point_maps import PointMap, Weights, as_matrix, point_map

Values = dict[str, np.ndarray]  # of nodes, in a tile: (channels, points)
Started = dict[tuple[str, str], Any]  # (node, weight): on its way


class TileGraph(Graph):
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

    @property
    def broadcasts(self) -> dict[tuple[str, str], Operator]:
        """(node, weight) -> what brings it from its owners; of all but the spectral weights."""
        return {(name, key): B for name, layer in self.maps.items() for key, B in layer.broadcasts.items()}

    def start(self, parameters: Blocks) -> Started:
        """Send the weights to every rank."""
        return {(name, key): B.start(parameters[f"{name}.{key}"]) for (name, key), B in self.broadcasts.items()}

    def brought(self, started: Started) -> dict[str, Weights]:
        """The weights that are on their way, on every rank."""
        brought: dict[str, Weights] = {name: {} for name in self.maps}
        for (name, key), B in self.broadcasts.items():
            brought[name][key] = as_matrix(key, B.finish(started[name, key]))
        return brought

    def start_adjoint(self, sums: dict[str, Weights]) -> Started:
        """Send every rank's sums to the owners."""
        total = lambda a, W: a.astype(W.dtype).reshape(W.local_shape)
        return {
            (name, key): B.start_adjoint(total(sums[name][key], B.range)) for (name, key), B in self.broadcasts.items()
        }

    def gradients(self, started: Started) -> Blocks:
        """The sums of all ranks that are on their way, at the owners."""
        return {f"{name}.{key}": B.finish_adjoint(started[name, key]) for (name, key), B in self.broadcasts.items()}


def on_one_grid(S: SpectralConvolution) -> bool:
    """Does the result have the points of x?"""
    X, Y = S.domain, S.range
    return X.shape[2:] == Y.shape[2:] and X.blocks[2:] == Y.blocks[2:]


def added(at: Values, names: Sequence[str]) -> np.ndarray:
    return at[names[0]] if len(names) == 1 else reduce(add, (at[name] for name in names))
