"""Tiled point: a layer that is worked on tile by tile (tiled.py) at one x. Its value, tangent and adjoint there.

Definition   y = F(x, w);   dy = J (dx, dw);   (dx, dw) = J* dy:   those of the layer, for all tiles in turn, with the weights
             that it has now; a gradient is the sum over the tiles.
Kept         x, which was given, and the modes of each convolution. All else is made again, in a tile, where it is needed.
Made again   In place of x the point of the layer before may be kept, of which x is the value (``forget``): then x is made of
             what that one keeps, tile by tile, and need not be there as a whole between value and adjoint.
Messages     Those of the layer. Nothing is sent to make x or what lies between again. Weights travel while the modes of x are
             computed, and gradients while the last tiles of dx are written; the modes must be there before the first tile.
Trap         A convolution reads all of x: its modes can only be made where x is there, when the point is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod
from typing import Any

import numpy as np

from ..arrays import contiguous
from ..space import Space
from .layer import Blocks
from .point_maps import Weights
from .spectral_tiles import SpectralTiles
from .tile_graph import TileGraph, Values
from .tiles import Tile, columns, tiles

InTile = Callable[[Tile], Any]  # what is asked for, in a tile
Modes = dict[str, np.ndarray]  # q of each spectral convolution


class TiledPoint:
    """``F`` at the block ``x``."""

    def __init__(self, F: TileGraph, x: np.ndarray) -> None:
        coming = F.start(F.parameters)
        self.F, self.spectral = F, {name: SpectralTiles(S, x) for name, S in F.convolutions.items()}
        self.w = F.brought(coming)
        self.source: np.ndarray | TiledPoint = self._rows(F.domain, x)

    def forget(self, before: TiledPoint) -> None:
        """Do not keep x, which is the value at ``before``, in the same rows."""
        self.source = before

    def value(self) -> np.ndarray:
        return self._written(self.outputs())

    def tangent(self, dx: np.ndarray, d: Blocks) -> np.ndarray:  # dy_n = J_n (sum of dy_i, dw_n)
        at, coming = self.inputs(), self.F.start(d)
        dq = {name: S.tangent(dx, d[f"{name}.R"]) for name, S in self.spectral.items()}
        dw = self.F.brought(coming)
        change = self._with_convolutions(part_of(self._rows(self.F.domain, dx)), dq)
        return self._written(lambda tile: self.F.forth(at(tile), change(tile), self.w, dw))

    def adjoint(self, dy: np.ndarray) -> tuple[np.ndarray, Blocks]:  # c_i += dx_n,  (dx_n, dw_n) = J_n* c_n
        dx, sums = (
            self.F.domain.zeros(),
            {n: {k: np.zeros(a.shape) for k, a in own.items()} for n, own in self.w.items()},
        )
        rows_of_dx = self._rows(self.F.domain, dx)
        dq = self._adjoint_but_convolutions(self._rows(self.F.range, dy), rows_of_dx, sums)
        del dy  # its memory, where nobody else needs it
        leaving, dR = self.F.start_adjoint(sums), {}
        for name, S in self.spectral.items():
            q, dR[name] = S.adjoint(dq.pop(name))
            for tile in self._tiles():
                columns(rows_of_dx, tile)[...] += S.from_modes_of_adjoint(q, tile)
        gradients = self.F.gradients(leaving)
        return dx, gradients | {f"{name}.R": S.S.share.finish_adjoint(dR[name]) for name, S in self.spectral.items()}

    def _adjoint_but_convolutions(self, dy: np.ndarray, dx: np.ndarray, sums: dict[str, Weights]) -> Modes:
        """Write c_x to ``dx``, and add the parts of gradients to ``sums``; the first step of each S* c."""
        c_y, at, dq = part_of(dy), self.inputs(), {name: S.no_modes() for name, S in self.spectral.items()}
        for tile in self._tiles():
            c = self.F.back(at(tile), c_y(tile), self.w, sums)
            if "x" in c:
                columns(dx, tile)[...] = c["x"]
            for name, S in self.spectral.items():
                S.to_modes(c[name], dq[name], tile)
        return dq

    # ---- any tile ----------------------------------------------------------------------------------------------------

    def outputs(self) -> InTile:
        """y."""
        at = self.inputs()
        return lambda tile: self.F.through(at(tile), self.w)

    def inputs(self) -> InTile:
        """x and each S x, for the nodes that read them."""
        x = self.source.outputs() if isinstance(self.source, TiledPoint) else part_of(self.source)
        return self._with_convolutions(x, {name: S.value() for name, S in self.spectral.items()})

    def _with_convolutions(self, x: InTile, q: Modes) -> InTile:
        def values(tile: Tile) -> Values:
            made = {name: S.from_modes(q[name], tile) for name, S in self.spectral.items()}
            return {"x": x(tile)} | made

        return values

    # ---- all points --------------------------------------------------------------------------------------------------

    def _written(self, made: InTile) -> np.ndarray:
        """All tiles as a block of the range."""
        y = np.empty(self.F.range.local_shape, self.F.range.dtype)
        all_rows = self._rows(self.F.range, y)
        for tile in self._tiles():
            columns(all_rows, tile)[...] = made(tile)
        return y

    def _rows(self, X: Space, x: np.ndarray) -> np.ndarray:
        return contiguous(x).reshape(self._rows_of(X))

    def _rows_of(self, X: Space) -> tuple[int, int, int, int]:
        """(batch, channels, rows, N): N is the last axis where there is a convolution, else 1."""
        batch, channels, *sides = X.local_shape
        n = max(sides[-1], 1) if self.F.convolutions else 1
        return batch, channels, prod(sides) // n, n

    def _tiles(self) -> Iterator[Tile]:
        batch, _, rows, n = self._rows_of(self.F.domain)
        return tiles(batch, rows, n, self.F.channels)


def part_of(a: np.ndarray) -> InTile:
    """The tiles of an array (batch, channels, rows, N)."""
    return lambda tile: columns(a, tile)
