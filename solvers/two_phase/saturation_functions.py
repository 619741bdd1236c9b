"""Relative permeability (Corey) and capillary pressure (Brooks-Corey) as functions of the CO2 saturation S.

Effective    e = (1 - S - S_wr) / (1 - S_wr - S_nr): 1 where only brine flows, 0 where only CO2 does; clipped to 0..1.
Corey        k_rw = e^n_w,   k_rn = (1 - e)^n_n. With ``table_points`` the two are interpolated linearly between that
             many equidistant saturations from S = 0 to S = 1 - S_wr, as a simulator's input deck has them.
Brooks-Corey p_c = p_n - p_w = p_e s^(-1/lambda),   s = (1 - S - S_wr) / (1 - S_wr). It has no bound at s = 0, so below
             s_0 it goes on along its tangent. p_e is the entry pressure: where it steps up between two rocks, CO2 is held
             back until its own pressure has risen as much: a capillary seal.
Trapping     Below S = S_nr the CO2 does not flow: what brine drives out of a cell, it drives out down to S_nr and no further.
             There is no hysteresis: the curve is the same while CO2 comes in, so that a cell also fills to S_nr before
             it passes any CO2 on.
Beyond       Brine that no longer flows still gives way where the pressure rises: it shrinks, and the pores widen. So S may pass
             1 - S_wr, by at most GIVES_WAY; the relative permeabilities stay there what they are at 1 - S_wr.
Regions      Rocks of different kinds have curves of their own (``Regions``).
Derivatives  d/dS stands beside each value; at the ends of an interval it is the one-sided derivative from inside.
Reference    Corey (1954); Brooks and Corey (1964).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from ..checks import Bounds, check_values, check_within, numbers
from ..records import settle

EXPONENTS = Bounds(1.0, 50.0, "of Corey's curves")
POINTS = Bounds(2, 1e6, "in a table")
DISTRIBUTION = Bounds(0.1, 100.0, "of the sizes of pores")
LINEAR = Bounds(1e-4, 0.9999, "of the mobile brine")
GIVES_WAY = 0.01  # of a saturation: brine that shrinks by 5 % in pores where a fifth of it is left

Pair = tuple[np.ndarray, np.ndarray]  # a value and its derivative with respect to S


@dataclass(frozen=True)
class Corey:
    """Corey relative permeabilities.

    ``exponents``     of brine and CO2
    ``residuals``     saturations of brine and CO2 below which they do not flow
    ``table_points``  of a table that is interpolated linearly; without it, the formula

    Raises ValueError where an exponent is not in 1..50 or residuals are not in 0..1 with a sum below 1.
    """

    exponents: tuple[float, float] = (2.0, 2.0)
    residuals: tuple[float, float] = (0.2, 0.0)
    table_points: int | None = None

    def __post_init__(self) -> None:
        settle(self)
        check_within("Corey", "exponents (brine, CO2)", self.exponents, EXPONENTS)
        if not (min(self.residuals) >= 0.0 and sum(self.residuals) < 1.0):
            raise ValueError(f"Corey: expected residuals (brine, CO2) >= 0 with a sum below 1, got {self.residuals}")
        if self.table_points is not None:
            check_within("Corey", "table_points", self.table_points, POINTS)

    @property
    def largest_saturation(self) -> float:
        """The CO2 saturation at which brine no longer flows, 1 - S_wr."""
        return 1.0 - self.residuals[0]

    def at(self, cells: np.ndarray) -> Corey:
        """The curves of some ``cells``: they are the same in all."""
        return self

    def evaluate(self, saturation: np.ndarray) -> tuple[Pair, Pair]:
        """((k_rw, dk_rw/dS), (k_rn, dk_rn/dS)) at the CO2 ``saturation``, an array of any shape."""
        return self._formula(saturation) if self.table_points is None else self._interpolated(saturation)

    def _formula(self, saturation: np.ndarray) -> tuple[Pair, Pair]:
        (n_w, n_n), width = self.exponents, 1.0 - self.residuals[0] - self.residuals[1]
        e = (1.0 - saturation - self.residuals[0]) / width
        slope = np.where((e.real >= 0.0) & (e.real <= 1.0), -1.0 / width, 0.0)  # de/dS
        e = np.where(e.real < 0.0, 0.0, np.where(e.real > 1.0, 1.0, e))
        brine = e**n_w, n_w * e ** (n_w - 1.0) * slope
        co2 = (1.0 - e) ** n_n, -n_n * (1.0 - e) ** (n_n - 1.0) * slope
        return brine, co2

    def _interpolated(self, saturation: np.ndarray) -> tuple[Pair, Pair]:
        points = np.linspace(0.0, self.largest_saturation, self.table_points)
        step = points[1]
        inside = saturation.real <= points[-1]
        saturation = np.where(inside, saturation, points[-1])
        place = np.clip((saturation.real / step).astype(int), 0, points.size - 2)
        weight = saturation / step - place
        result = []
        for values, _ in self._formula(points):
            rise = np.diff(values)[place]
            result.append((values[place] + weight * rise, inside * rise / step))
        return result[0], result[1]


@dataclass(frozen=True)
class BrooksCorey:
    """Brooks-Corey capillary pressure.

    ``entry_pressure``  p_e, Pa: a number, or an array (nx, ny, nz), one for each cell
    ``exponent``        lambda
    ``linear_below``    the effective brine saturation s_0 under which the curve is its tangent

    Raises ValueError where an entry pressure is negative or not finite, or the other numbers are out of range.
    """

    entry_pressure: float | tuple | np.ndarray
    exponent: float = 2.0
    linear_below: float = 0.05

    def __post_init__(self) -> None:
        settle(self)
        entry = numbers("BrooksCorey: expected entry_pressure to be a number or an array, in Pa", self.entry_pressure)
        fine = (entry >= 0.0) & (entry < np.inf)
        check_values("BrooksCorey: entry_pressure: expected entry pressures in Pa, finite and >= 0", entry, fine)
        check_within("BrooksCorey", "exponent", self.exponent, DISTRIBUTION)
        check_within("BrooksCorey", "linear_below", self.linear_below, LINEAR)

    def at(self, cells: np.ndarray) -> BrooksCorey:
        """The curves of some ``cells``, flat indices."""
        entry = self.entry_pressure
        return self if np.ndim(entry) == 0 else replace(self, entry_pressure=np.ravel(entry)[cells])

    def evaluate(self, effective: np.ndarray) -> Pair:
        """(p_c, dp_c/ds) in Pa at the ``effective`` brine saturation s, an array of flat cell order."""
        entry, power = np.ravel(self.entry_pressure), -1.0 / self.exponent
        s = np.where(effective.real < self.linear_below, self.linear_below, effective)
        slope = entry * power * s ** (power - 1.0)
        return entry * s**power + slope * (effective - s), slope


@dataclass(frozen=True, eq=False)
class Regions:
    """One curve for each kind of rock: ``region`` (nx, ny, nz), integers, says which of the ``curves`` a cell has. It stands
    where one Corey stands, or one BrooksCorey with a number for its entry pressure.

    Raises ValueError where a region has no curve, or the curves are not of one kind.
    """

    region: np.ndarray
    curves: Sequence[Any]

    def __post_init__(self) -> None:
        region, count = np.asarray(self.region), len(self.curves)
        if region.dtype.kind not in "iu":
            raise ValueError(f"Regions: expected region to be an array of integers, got {region.dtype}")
        kinds = {type(curve).__name__ for curve in self.curves}
        if kinds not in ({"Corey"}, {"BrooksCorey"}):
            raise ValueError(
                f"Regions: expected curves of one kind, Corey or BrooksCorey, got {', '.join(sorted(kinds))}"
            )
        what = f"Regions: for {count} curves {', '.join(kinds)}, expected regions in 0..{count - 1}"
        check_values(what, region, (region >= 0) & (region < count))
        if any(np.ndim(getattr(curve, "entry_pressure", 0.0)) for curve in self.curves):
            raise ValueError("Regions: expected a number for the entry pressure of each region, got an array")

    @cached_property
    def largest_saturation(self) -> np.ndarray:
        """(cells,): the CO2 saturation at which brine no longer flows."""
        return np.array([curve.largest_saturation for curve in self.curves])[np.ravel(self.region)]

    @cached_property
    def cells(self) -> list[np.ndarray]:
        """The flat indices of each region's cells."""
        return [np.flatnonzero(np.ravel(self.region) == number) for number in range(len(self.curves))]

    def at(self, cells: np.ndarray) -> Regions:
        """The curves of some ``cells``, flat indices."""
        return Regions(np.ravel(self.region)[cells], self.curves)

    def evaluate(self, saturation: np.ndarray) -> np.ndarray:
        """What the curves give, side by side: the same pairs as one curve's ``evaluate``, arrays (cells,)."""
        parts = [
            np.array(curve.evaluate(saturation[cells])) for curve, cells in zip(self.curves, self.cells, strict=True)
        ]
        result = np.empty((*parts[0].shape[:-1], saturation.size), saturation.dtype)
        for cells, values in zip(self.cells, parts, strict=True):
            result[..., cells] = values
        return result
