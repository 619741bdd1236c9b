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

from collections.abc import Callable

import numpy as np

from ..arrays import Array
from .layer import Blocks
from .tile_graph import TileGraph
from .tiled_point import TiledPoint


class Tiled(TileGraph):
    """The graph of ``nodes`` and ``outputs``. Raises ValueError where X is not real, or a layer cannot be worked on so."""

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
