"""Wells: vertical injectors of CO2 and producers, perforated in some layers of one column.

Schedule     A rate is a number, or rows (time in s, rate): each holds from its time to the next one's, and nothing flows
             before the first. Rate 0 shuts the well in. Time steps end where a row begins.
Control      A well delivers its rate as long as its bottom-hole pressure keeps to its limit; where the rate needs more, the
             pressure stays at the limit and the rate falls short (see ``injection``).
Index        A perforation passes q = W lambda (pressure in the bore - pressure of the cell), with
                 W = 2 pi sqrt(kx ky) dz / ln(r_o / r_w), and Peaceman's radius, at which the cell's pressure is found,
                 r_o = 0.28 sqrt((ky/kx)^(1/2) dx^2 + (kx/ky)^(1/2) dy^2) / ((ky/kx)^(1/4) + (kx/ky)^(1/4)),
             which is 0.14 sqrt(dx^2 + dy^2) where kx = ky.
Reference    Peaceman (1983), Interpretation of well-block pressures in numerical reservoir simulation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..grid import Grid
from ..records import settle

WHOLE = 0.99  # of a volume: a well that moved less fell short of it

Rate = float | Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Injector:
    """An injector of CO2.

    ``cell``    (i, j), its column, counted from 0
    ``layers``  (k0, k1), where it is perforated: k0 <= k < k1, like a range, counted from the top
    ``rate``    m3/s of CO2 at the fluids' reference pressure (times the density there: kg/s), or rows (time, rate); inf: as
                much as goes in at ``bhp``
    ``radius``  of the bore, m
    ``bhp``     the largest bottom-hole pressure, at the first perforation, Pa (default: no limit)

    Raises ValueError where a rate is negative, rows do not follow each other, a radius or pressure is not positive, or no
    layer is perforated.
    """

    cell: tuple[int, int]
    layers: tuple[int, int]
    rate: Rate
    radius: float = 0.1
    bhp: float = np.inf

    def __post_init__(self) -> None:
        _check(self)
        if self.bhp == np.inf and not all(rate < np.inf for _, rate in schedule(self)):
            raise ValueError(f"Injector: without a limit bhp, expected rates in m3/s that are finite, got {self.rate}")


@dataclass(frozen=True)
class Producer:
    """A producer: what flows out of its cells is brine and CO2 by their mobilities.

    ``cell``    (i, j), its column, counted from 0
    ``layers``  (k0, k1), where it is perforated: k0 <= k < k1, like a range, counted from the top
    ``bhp``     the smallest bottom-hole pressure, at the first perforation, Pa
    ``rate``    the largest production, both phases together, m3/s at the fluids' reference pressure (default: whatever comes
                at ``bhp``), or rows (time, rate); a tiny one makes a monitoring well
    ``radius``  of the bore, m

    Raises ValueError as Injector does.
    """

    cell: tuple[int, int]
    layers: tuple[int, int]
    bhp: float
    rate: Rate = np.inf
    radius: float = 0.1

    def __post_init__(self) -> None:
        _check(self)
        if not self.bhp < np.inf:
            raise ValueError(f"Producer: expected bhp in Pa, finite, got {self.bhp}")


Well = Injector | Producer


def schedule(well: Well) -> tuple[tuple[float, float], ...]:
    """The rows (time, rate) of a well."""
    return tuple(well.rate) if isinstance(well.rate, Sequence) else ((0.0, well.rate),)


def inflow_at(well: Well, time: float) -> float:
    """What the well is to bring into the rock from ``time`` on, m3/s: a producer's is negative."""
    rate = 0.0
    for start, value in schedule(well):
        rate = value if start <= time else rate
    return rate if isinstance(well, Injector) else -rate


def volume_asked(well: Well, end: float) -> float:
    """What the rates of a well are to move until ``end`` in s, m3 at reference pressure."""
    rows = schedule(well)
    starts = [min(time, end) for time, _ in rows] + [end]
    return sum(rate * (b - a) for (_, rate), a, b in zip(rows, starts, starts[1:], strict=False) if a < b)


def shortfalls(wells: Sequence[Well], end: float, volume: np.ndarray) -> Iterator[str]:
    """Of each well that moved less until ``end`` than its rates say, what; ``volume`` (wells, 2) as in a Result, m3."""
    for number, (well, moved) in enumerate(zip(wells, np.abs(volume.sum(axis=1)), strict=True)):
        asked = volume_asked(well, end)
        if moved < WHOLE * asked < np.inf:
            way = "brought in" if isinstance(well, Injector) else "took out"
            yield f"{named(number, well)} {way} {moved:.3g} of {asked:.3g} m3: held back by its limit of {well.bhp:g} Pa"


def _check(well: Well) -> None:
    name = type(well).__name__
    settle(well)
    if well.layers[0] >= well.layers[1]:
        raise ValueError(f"{name}: expected layers (k0, k1) with k0 < k1, got {well.layers}")
    if not (rows := schedule(well)):
        raise ValueError(f"{name}: expected a rate, or rows (time, rate), got {well.rate}")
    times, rates = zip(*rows, strict=True)
    if not all(rate >= 0.0 for rate in rates) or not 0.0 < well.radius < np.inf:
        raise ValueError(f"{name}: expected rate >= 0 in m3/s and radius > 0 in m, got {well.rate} and {well.radius}")
    if not (times[0] >= 0.0 and times[-1] < np.inf and all(a < b for a, b in zip(times, times[1:], strict=False))):
        raise ValueError(f"{name}: expected rows (time, rate) with times in s >= 0 that increase, got {well.rate}")
    if not well.bhp > 0.0:
        raise ValueError(f"{name}: expected bhp > 0 in Pa, got {well.bhp}")


@dataclass(frozen=True, eq=False)
class Perforations:
    """All perforations of all wells, one entry each: the flat index of its ``cell``, its ``well``, its connection ``index``
    W in m3, and its ``drop``, the depth below its well's first perforation in m. Per well: ``first``, the cell of its first
    perforation; ``sign``, +1 for an injector and -1 for a producer; ``bhp``, its limit in Pa; and ``rate``, what it is to
    bring into the rock now, m3/s."""

    cell: np.ndarray
    well: np.ndarray
    index: np.ndarray
    drop: np.ndarray
    first: np.ndarray
    sign: np.ndarray
    bhp: np.ndarray
    rate: np.ndarray

    def per_well(self, values: np.ndarray) -> np.ndarray:
        """(..., wells): the sums of ``values`` (..., perforations)."""
        sums = np.zeros((*values.shape[:-1], self.rate.size), values.dtype)
        np.add.at(sums.T, self.well, values.T)
        return sums

    def at(self, local: np.ndarray, own: np.ndarray) -> tuple[np.ndarray, Perforations]:
        """(numbers, perforations) of the wells in the cells ``own``; ``local``: the new index of each cell."""
        numbers = np.flatnonzero(np.isin(self.first, own))
        here = np.isin(self.well, numbers)
        return numbers, Perforations(
            cell=local[self.cell[here]],
            well=np.searchsorted(numbers, self.well[here]),
            index=self.index[here],
            drop=self.drop[here],
            first=local[self.first[numbers]],
            sign=self.sign[numbers],
            bhp=self.bhp[numbers],
            rate=self.rate[numbers],
        )


def perforate(
    grid: Grid, active: np.ndarray, permeability: Sequence[np.ndarray], wells: Sequence[Well]
) -> Perforations:
    """The perforations of ``wells`` in rock of ``permeability`` (kx, ky, kz), arrays (nx, ny, nz) in m2, at time 0.

    Raises ValueError where a well is outside the grid or perforated in a cell that is not ``active``, wider than Peaceman's
    radius, or in impermeable rock only.
    """
    cells, numbers, indices, drops, first = [], [], [], [], []
    for number, well in enumerate(wells):
        _check_inside(grid, active, number, well)
        (i, j), layers = well.cell, np.arange(*well.layers)
        cells.append(np.ravel_multi_index((np.full(layers.size, i), np.full(layers.size, j), layers), grid.shape))
        numbers.append(np.full(layers.size, number))
        indices.append(_connection(grid, permeability, number, well))
        drops.append(grid.depth[i, j, layers] - grid.depth[i, j, layers[0]])
        first.append(cells[-1][0])
    cell, number_of, index, drop = (np.concatenate([np.zeros(0), *a]) for a in (cells, numbers, indices, drops))
    return Perforations(
        cell=cell.astype(int),
        well=number_of.astype(int),
        index=index,
        drop=drop,
        first=np.array(first, dtype=int),
        sign=np.array([1.0 if isinstance(well, Injector) else -1.0 for well in wells]),
        bhp=np.array([well.bhp for well in wells], dtype=float),
        rate=np.array([inflow_at(well, 0.0) for well in wells], dtype=float),
    )


def named(number: int, well: Well) -> str:
    """How errors name a well."""
    return f"well {number} ({type(well).__name__.lower()})"


def _check_inside(grid: Grid, active: np.ndarray, number: int, well: Well) -> None:
    (i, j), (k0, k1), (nx, ny, nz) = well.cell, well.layers, grid.shape
    if not (0 <= i < nx and 0 <= j < ny and 0 <= k0 and k1 <= nz):
        raise ValueError(
            f"{named(number, well)}: cell {well.cell} and layers {well.layers} are outside the grid of {grid.shape} "
            "cells; indices start at 0"
        )
    for k in range(k0, k1):
        if not active[i, j, k]:
            raise ValueError(
                f"{named(number, well)}: its perforation in layer {k} is in an inactive cell, {(i, j, k)}; perforate only "
                "active ones"
            )


def _connection(grid: Grid, permeability: Sequence[np.ndarray], number: int, well: Well) -> np.ndarray:
    """W of each perforation of one well, m3."""
    place = (*well.cell, slice(*well.layers))
    kx, ky, dx, dy, dz = (values[place] for values in (*permeability[:2], *grid.lengths))
    open_ = (kx > 0.0) & (ky > 0.0)
    if not open_.any():
        raise ValueError(
            f"{named(number, well)}: the rock has no horizontal permeability in any of layers {well.layers}"
        )
    with np.errstate(over="ignore", invalid="ignore"):  # what is absurd ``plausible`` refuses
        ratio = np.sqrt(np.divide(ky, kx, out=np.ones_like(kx), where=open_))
        radius = 0.28 * np.sqrt(ratio * dx**2 + dy**2 / ratio) / (np.sqrt(ratio) + 1.0 / np.sqrt(ratio))
    if not (radius > well.radius).all():
        raise ValueError(
            f"{named(number, well)}: its radius {well.radius} m must be below Peaceman's radius of its cells, "
            f"{radius.min():.3g} m; use wider cells or a thinner bore"
        )
    return 2.0 * np.pi * np.sqrt(kx * ky) * dz / np.log(radius / well.radius)
