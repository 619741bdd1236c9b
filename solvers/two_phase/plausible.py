"""Plausible: a run that cannot be is refused before its first step, by the name and the value of what is wrong.

Units        A number that is off by orders of magnitude is in other units: millidarcy for m2, bar for Pa, cP for Pa s, km for
             m, kg/s for m3/s, days or years for s. What rock, brine, CO2 and wells really have is inside the bounds.
Schedules    A rate that is to change after the last report never would: the run is too short, or the rows are in other units.
Wells        A well whose limit is on the wrong side of the pressure around it can pass nothing, unless wells of the other kind
             move more than the cells around it give way over the difference. An injector whose rate is far beyond what its
             limit lets in is a mistake as well: for as much as goes in, its rate is inf.
Volume       Without producers, the wells that no limit holds back cannot bring in more than what is in the box gives way for,
             and into a rigid box nothing goes at all.
Aquifers     MOST_PORES times a pore volume: the mass that goes in is lost in the rounding of what they hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..checks import Bounds, check_values, check_within
from .fluids import BRINE, CO2
from .injection import well_terms
from .phases import evaluate_phases
from .reservoir import Reservoir, State, hydrostatic
from .saturation_functions import GIVES_WAY
from .wells import Injector, Well, named, schedule, volume_asked

MOST_PORES = 1e7
DAYS = "s (a day is 8.64e4 s, a year 3.16e7 s)"
BOUNDS = {
    "cells": Bounds(1, 1e10, "in all"),
    "permeability": Bounds(1e-30, 1e-8, "m2 (1 darcy is 9.87e-13 m2)", zero=True),
    "porosity": Bounds(1e-6, 1.0, "of the rock's volume", zero=True),
    "multiplier": Bounds(1e-6, MOST_PORES, "times the pore volume"),
    "depth": Bounds(-2e4, 2e4, "m"),
    "largest depth": Bounds(10.0, 2e4, "m (1 km is 1000 m)", zero=True),
    "length of a cell": Bounds(1e-4, 1e6, "m"),
    "density of brine": Bounds(700.0, 2000.0, "kg/m3 (1 g/cm3 is 1000 kg/m3)"),
    "density of CO2": Bounds(1.0, 2000.0, "kg/m3 (1 g/cm3 is 1000 kg/m3)"),
    "viscosity": Bounds(1e-6, 1e-2, "Pa s (1 cP is 1e-3 Pa s)"),
    "compressibility": Bounds(0.0, 1e-6, "1/Pa (1 per bar is 1e-5 1/Pa)"),
    "reference pressure": Bounds(1e4, 1e9, "Pa (1 bar is 1e5 Pa)", zero=True),
    "entry pressure": Bounds(100.0, 1e8, "Pa (1 bar is 1e5 Pa)", zero=True),
    "initial pressure": Bounds(1e4, 1e9, "Pa (1 bar is 1e5 Pa)"),
    "bottom-hole pressure": Bounds(1e4, 2e9, "Pa (1 bar is 1e5 Pa)"),
    "radius": Bounds(1e-4, 10.0, "m"),
    "time": Bounds(1e-3, 1e15, "s", zero=True),
    "end": Bounds(1e4, 1e15, DAYS),
    "last row": Bounds(1e4, 1e15, DAYS, zero=True),
}
MOST_CO2, MEGATON_A_YEAR = 3500.0, 31.7  # kg/s that a well brings in, and in a megaton a year
MOST_BEYOND = 100.0  # times what a well's limit lets in at first


def check_run(reservoir: Reservoir, times: Sequence[float], initial: State | None) -> tuple[np.ndarray, State]:
    """(times, initial state) as arrays. Raises ValueError where times or the state are unfit, or the run is not plausible."""
    reports, state = _checked_times(times), _checked_state(reservoir, initial)
    check_units(reservoir, reports, state)
    check_schedules(reservoir, float(reports[-1]))
    check_wells(reservoir, state, float(reports[-1]))
    check_volume(reservoir, state, float(reports[-1]))
    return reports, state


def check_units(reservoir: Reservoir, times: np.ndarray, state: State) -> None:
    """Raise ValueError where a number is so far from any that it must be in other units."""
    grid, rock, fluids = reservoir.grid, reservoir.rock, reservoir.fluids
    capillary = fluids.capillary
    entries = [getattr(curve, "entry_pressure", 0.0) for curve in getattr(capillary, "curves", [capillary])]
    given = [
        *(
            ("permeability", f"permeability {name}", k)
            for name, k in zip(("kx", "ky", "kz"), rock.permeability, strict=True)
        ),
        ("porosity", "porosity", rock.porosity),
        ("multiplier", "boundary", reservoir.multiplier.reshape(grid.shape)),
        ("depth", "top", grid.top),
        ("largest depth", "largest depth of top", np.abs(grid.top).max()),
        *(("length of a cell", f"spacing {name}", h) for name, h in zip(("dx", "dy", "dz"), grid.spacing, strict=True)),
        *((f"density of {name}",) * 2 + (v,) for name, v in zip(("brine", "CO2"), fluids.density, strict=True)),
        *(("viscosity", f"viscosity of {name}", v) for name, v in zip(("brine", "CO2"), fluids.viscosity, strict=True)),
        *(("compressibility", "compressibility", v) for v in (*fluids.compressibility, rock.compressibility)),
        *(
            ("reference pressure", "reference_pressure", v)
            for v in (fluids.reference_pressure, rock.reference_pressure)
        ),
        *(("entry pressure", "capillary entry_pressure", v) for v in entries),
        ("initial pressure", "initial pressure (by pressure, datum and top)", state.pressure),
        ("time", "times of the reports", times),
        ("end", "last of the times of the reports", times[-1]),
    ]
    for number, well in enumerate(reservoir.wells):
        rates = [rate for _, rate in schedule(well) if rate < np.inf]
        starts = [time for time, _ in schedule(well)]
        given.append(("time", f"times in the rate of {named(number, well)}", starts))
        given.append(("last row", f"last of the times in the rate of {named(number, well)}", starts[-1]))
        given.append(("radius", f"radius of {named(number, well)}", well.radius))
        given.append(("rate", f"rate of {named(number, well)}", max(rates, default=0.0)))
        if well.bhp < np.inf:
            given.append(("bottom-hole pressure", f"bhp, the limit of {named(number, well)}", well.bhp))
    density = fluids.density[CO2]
    unit = f"m3/s at reference pressure (1 Mt of CO2 a year is {MEGATON_A_YEAR / density:.2g} m3/s)"
    bounds = BOUNDS | {"rate": Bounds(0.0, MOST_CO2 / density, unit)}
    for bound, name, values in given:
        check_within("two_phase", f"the {name}", values, bounds[bound])


def check_schedules(reservoir: Reservoir, end: float) -> None:
    """Raise ValueError where a well's rate is to change after the run."""
    for number, well in enumerate(reservoir.wells):
        if (last := schedule(well)[-1][0]) > end:
            raise ValueError(
                f"two_phase: the rate of {named(number, well)} changes at {last:g} s, and the last of the times of the reports "
                f"is {end:g} s; leave the row out, or give later times"
            )


def check_wells(reservoir: Reservoir, state: State, end: float) -> None:
    """Raise ValueError where an injector's limit lets nothing in at the initial state, or hardly anything of its rate, and
    where a producer's lets nothing out; unless wells of the other kind can change that before it is needed."""
    wells, fluids, P = reservoir.perforations, reservoir.fluids, state.pressure.ravel()
    phases = evaluate_phases(fluids, P, state.saturation.ravel())
    limit = np.where(np.isfinite(wells.bhp), wells.bhp, 0.0)
    terms = well_terms(replace(wells, rate=wells.sign * np.inf), fluids, limit, phases, phases)
    passes = np.abs(wells.per_well(terms.q).sum(axis=0))
    for number, well in enumerate(reservoir.wells):
        most = max(rate for _, rate in schedule(well))
        at_once = isinstance(well, Injector) and wells.rate[number] > 0.0
        if not well.bhp < np.inf or most == 0.0:
            continue
        gap = abs(P[wells.first[number]] - well.bhp)
        around = wells.cell[wells.well == number]
        if not at_once and _others_move(reservoir, well, end) > _given_way(reservoir, around, gap):
            continue
        if passes[number] == 0.0:
            raise ValueError(
                f"two_phase: {named(number, well)} can pass nothing within its limit of {well.bhp:g} Pa: the pressure in the "
                f"rock around it is {P[wells.first[number]]:g} Pa; give another bhp"
            )
        if isinstance(well, Injector) and MOST_BEYOND * passes[number] < most < np.inf:
            raise ValueError(
                f"two_phase: {named(number, well)} cannot come near its rate of {most:g} m3/s: within its limit of "
                f"{well.bhp:g} Pa {passes[number]:.3g} m3/s go in at first; lower the rate, or raise bhp or the "
                "permeability, or give inf for what goes in"
            )


def _others_move(reservoir: Reservoir, well: Well, end: float) -> float:
    """The most that wells of the other kind than ``well`` can bring in, or take out, m3."""
    return sum(volume_asked(other, end) for other in reservoir.wells if type(other) is not type(well))


def _given_way(reservoir: Reservoir, cells: np.ndarray, change: float) -> float:
    """The volume by which brine and pores of these cells, without aquifers, give way to a change of pressure in Pa, m3."""
    pores = (reservoir.pore_volume / reservoir.multiplier)[cells].sum()
    return float(pores * change * (reservoir.rock.compressibility + reservoir.fluids.compressibility[BRINE]))


def check_volume(reservoir: Reservoir, state: State, end: float) -> None:
    """Raise ValueError where wells of one kind are to change what is in a box that does not give way, or to bring in, without a
    limit, more than it makes room for."""
    wells, brine, rock = reservoir.wells, reservoir.fluids.compressibility[BRINE], reservoir.rock.compressibility
    if len({type(well) for well in wells}) != 1:
        return
    gives = rock + (max(reservoir.fluids.compressibility) if state.saturation.any() else brine)
    if gives == 0.0 and any(volume_asked(well, end) for well in wells):
        raise ValueError(
            "two_phase: injectors alone, or producers alone, change nothing in a box that does not give way: got "
            f"rock_compressibility = {rock:g} and compressibility = {reservoir.fluids.compressibility}, in 1/Pa"
        )
    volume = sum(volume_asked(well, end) for well in wells if well.bhp == np.inf)
    pores = float(reservoir.pore_volume[reservoir.active.ravel()].sum())
    room = pores * min(1.0, gives * (most := BOUNDS["initial pressure"].high))
    if volume > room:
        raise ValueError(
            f"two_phase: the wells without a limit are to inject {volume:.3g} m3 by {end:g} s, and at {most:g} Pa the pores "
            f"make room for {room:.3g} m3 with all aquifers; lower the rates, which are in m3/s, or give the wells limits"
        )


def _checked_times(times: Sequence[float]) -> np.ndarray:
    reports = np.asarray(times, dtype=float)
    increasing = reports.ndim == 1 and bool((np.diff(reports, prepend=0.0) > 0.0).all())
    if not increasing or reports.size == 0 or reports[-1] == np.inf:
        raise ValueError(
            f"two_phase: expected times of the reports in s, finite, increasing, the first above 0, got {reports}"
        )
    return reports


def _checked_state(reservoir: Reservoir, state: State | None) -> State:
    if state is None:
        return hydrostatic(reservoir)
    shape, S = reservoir.grid.shape, state.saturation
    largest = reservoir.fluids.relative_permeability.largest_saturation
    if np.shape(state.pressure) != shape or np.shape(S) != shape:
        raise ValueError(
            f"two_phase: the initial state must have the grid's {shape}, got pressure {np.shape(state.pressure)} and "
            f"saturation {np.shape(state.saturation)}"
        )
    check_values("two_phase: the initial pressure must be finite, in Pa", state.pressure, np.isfinite(state.pressure))
    mobile = np.reshape(np.broadcast_to(largest + GIVES_WAY, S.size), shape)
    check_values(
        "two_phase: the initial saturation must be in 0..1 less what brine keeps", S, (S >= 0.0) & (S <= mobile)
    )
    return State(np.asarray(state.pressure, dtype=float), np.asarray(S, dtype=float))
