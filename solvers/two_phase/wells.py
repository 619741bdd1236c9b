"""Wells: vertical CO2 injectors, perforated in some layers of one column.

Index        A perforation passes q = W lambda (pressure in the bore - pressure of the cell), with
                 W = 2 pi sqrt(kx ky) dz / ln(r_o / r_w), and Peaceman's radius, at which the cell's pressure is found,
                 r_o = 0.28 sqrt((ky/kx)^(1/2) dx^2 + (kx/ky)^(1/2) dy^2) / ((ky/kx)^(1/4) + (kx/ky)^(1/4)),
             which is 0.14 sqrt(dx^2 + dy^2) where kx = ky.
Reference    Peaceman (1983), Interpretation of well-block pressures in numerical reservoir simulation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..grid import Grid


@dataclass(frozen=True)
class Injector:
    """An injector in the column ``cell`` = (i, j), perforated in ``layers`` = (k0, k1): where k0 <= k < k1, like a range.

    ``rate``    m3/s of CO2 at the fluids' reference pressure (times the density there: kg/s), constant
    ``radius``  of the bore, m

    Raises ValueError where the rate is negative, the radius not positive, or no layer is perforated.
    """

    cell: tuple[int, int]
    layers: tuple[int, int]
    rate: float
    radius: float = 0.1

    def __post_init__(self) -> None:
        if len(self.cell) != 2 or len(self.layers) != 2 or self.layers[0] >= self.layers[1]:
            raise ValueError(
                f"Injector: expected cell (i, j) and layers (k0, k1) with k0 < k1, got {self.cell} and {self.layers}"
            )
        if not (0.0 <= self.rate < np.inf and 0.0 < self.radius < np.inf):
            raise ValueError(
                f"Injector: expected rate >= 0 in m3/s and radius > 0 in m, got {self.rate} and {self.radius}"
            )


@dataclass(frozen=True, eq=False)
class Perforations:
    """All perforations of all wells, one entry each: the flat index of its ``cell``, its ``well``, its connection ``index``
    W in m3, and its ``drop``, the depth below its well's first perforation in m. Per well: ``rate``, and ``first``, the
    cell of its first perforation."""

    cell: np.ndarray
    well: np.ndarray
    index: np.ndarray
    drop: np.ndarray
    rate: np.ndarray
    first: np.ndarray

    def at(self, local: np.ndarray, own: np.ndarray) -> tuple[np.ndarray, Perforations]:
        """(numbers, perforations) of the wells in the cells ``own``; ``local``: the new index of each cell."""
        numbers = np.flatnonzero(np.isin(self.first, own))
        here = np.isin(self.well, numbers)
        return numbers, Perforations(
            cell=local[self.cell[here]],
            well=np.searchsorted(numbers, self.well[here]),
            index=self.index[here],
            drop=self.drop[here],
            rate=self.rate[numbers],
            first=local[self.first[numbers]],
        )


def perforate(grid: Grid, permeability: Sequence[np.ndarray], injectors: Sequence[Injector]) -> Perforations:
    """The perforations of ``injectors`` in rock of ``permeability`` (kx, ky, kz), arrays (nx, ny, nz) in m2.

    Raises ValueError where a well is outside the grid, wider than Peaceman's radius, or in impermeable rock only.
    """
    cells, wells, indices, drops, first = [], [], [], [], []
    for number, well in enumerate(injectors):
        _check_inside(grid, number, well)
        (i, j), layers = well.cell, np.arange(*well.layers)
        cells.append(np.ravel_multi_index((np.full(layers.size, i), np.full(layers.size, j), layers), grid.shape))
        wells.append(np.full(layers.size, number))
        indices.append(_connection(grid, permeability, number, well))
        drops.append(grid.depth[i, j, layers] - grid.depth[i, j, layers[0]])
        first.append(cells[-1][0])
    rate = np.array([well.rate for well in injectors], dtype=float)
    cell, number_of, index, drop = (np.concatenate([np.zeros(0), *a]) for a in (cells, wells, indices, drops))
    return Perforations(cell.astype(int), number_of.astype(int), index, drop, rate, np.array(first, dtype=int))


def _check_inside(grid: Grid, number: int, well: Injector) -> None:
    (i, j), (k0, k1), (nx, ny, nz) = well.cell, well.layers, grid.shape
    if not (0 <= i < nx and 0 <= j < ny and 0 <= k0 and k1 <= nz):
        raise ValueError(
            f"injector {number}: cell {well.cell} and layers {well.layers} are outside the grid of {grid.shape} cells; "
            "indices start at 0"
        )


def _connection(grid: Grid, permeability: Sequence[np.ndarray], number: int, well: Injector) -> np.ndarray:
    """W of each perforation of one well, m3."""
    (i, j), (dx, dy, dz) = well.cell, grid.spacing
    kx, ky = (k[i, j, slice(*well.layers)] for k in permeability[:2])
    open_ = (kx > 0.0) & (ky > 0.0)
    if not open_.any():
        raise ValueError(f"injector {number}: the rock has no horizontal permeability in any of layers {well.layers}")
    ratio = np.sqrt(np.divide(ky, kx, out=np.ones_like(kx), where=open_))
    radius = 0.28 * np.sqrt(ratio * dx**2 + dy**2 / ratio) / (np.sqrt(ratio) + 1.0 / np.sqrt(ratio))
    if not (radius > well.radius).all():
        raise ValueError(
            f"injector {number}: its radius {well.radius} m must be below Peaceman's radius of its cells, "
            f"{radius.min():.3g} m; use wider cells or a thinner bore"
        )
    return 2.0 * np.pi * np.sqrt(kx * ky) * dz / np.log(radius / well.radius)
