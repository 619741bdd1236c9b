"""Recomputed: layers one after the other, of which some inputs are not kept between value and adjoint, but made again.

Definition   y = F_n(.. F_1(x)), as Sequential (compose.py).
Recomputed   In a row of layers that work tile by tile and have a spectral convolution (Fourier blocks), every second one keeps
             no input. Its adjoint makes it tile by tile from what the layer before keeps (tiled_point.py), to the last bit.
Memory       One activation less for every second block; and none is made for it later: there are only tiles.
Cost         A block's value without its forward transform, once more for two blocks, and no message: an eighth of their time.
Reference    Griewank and Walther, "Algorithm 799: revolve", 2000 (what to keep, and what to make again).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from itertools import pairwise
from typing import TypeGuard

from ..arrays import Array
from .compose import Sequential
from .layer import Layer
from .tiled import Tiled
from .tiled_point import TiledPoint


class Recomputed(Sequential):
    """The ``layers`` of Sequential; with ``recompute=False`` it is that."""

    def __init__(self, layers: Mapping[str, Layer], recompute: bool = True) -> None:
        super().__init__(layers)
        self.recompute = recompute

    @cached_property
    def recomputed(self) -> dict[str, Tiled]:
        """The layers whose inputs are not kept, each with the one that makes it."""
        found: dict[str, Tiled] = {}
        for (before, F), (name, G) in pairwise(self.layers.items() if self.recompute else ()):
            if before not in found and has_convolutions(F) and has_convolutions(G):
                found[name] = F
        return found

    def derivatives(self) -> Callable[[str, Array], tuple]:
        before: TiledPoint | None = None

        def derivative(name: str, x: Array) -> tuple:
            nonlocal before
            layer = self.layers[name]
            if not (isinstance(layer, Tiled) and layer.goes(x)):
                return layer.derivative(x)
            point = layer.at(x)
            y = point.value()
            if before and name in self.recomputed:
                point.forget(before)
            before = point
            return y, point.tangent, point.adjoint, {}

        return derivative


def has_convolutions(F: Layer) -> TypeGuard[Tiled]:
    """Is F worked on tile by tile, and in rows of the last axis?"""
    return isinstance(F, Tiled) and F.in_tiles and bool(F.convolutions)
