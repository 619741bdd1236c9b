"""OPM Flow as a peer of the CO2 simulator: a case as Flow's input deck, a run of it, and what it has found.

Deck         Two phases without exchange: brine is Flow's water, CO2 its dead oil. b(p), the pores' expansion, two-point
             fluxes, upwinding and Peaceman's index are the same formulas in both.
Tables       Flow's curves are linear between points. A Corey with ``table_points`` is the same in both; of one without, and of
             Brooks and Corey's, the deck has POINTS points.
Steps        One to each report time, or it is an error. Ours at most double, and only after an easy one.
Tolerance    ``tolerance`` means the same in both. Flow's error of mass is relative to all pores, aquifers included: it gets
             what is as much CO2 as ours at the end of the run. As shipped, it overlooks the tolerance in cells of 3 % of all
             pores: in all of a plume, if there are aquifers. Here it does not. The linear solver gets our TOLERANCE.
Wells        Flow takes the density of the CO2 in a bore at the bore's pressure, we at that of the cell (``injection``): so with
             several perforations saturations differ by some 1e-4, and with one by less than 1e-7.
Left out     Sloping tops, layers of uneven thickness (Flow would cut the columns into faults), inactive cells, several rocks.
Results      are in Flow's restart file, of Fortran's records: the length in bytes, big-endian, before and after each. A record
             with a name, a count and a type precedes the numbers, in records of at most a thousand.
Reference    Rasmussen et al. (2021), The Open Porous Media Flow reservoir simulator.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from time import process_time
from typing import Any

import numpy as np

from solvers.two_phase import BrooksCorey, Case, Corey, Fluids, Injector, Reservoir, simulate
from solvers.two_phase.fluids import BRINE, CO2
from solvers.two_phase.linear import TOLERANCE
from solvers.two_phase.wells import Well, inflow_at

BAR, DAY, MILLIDARCY, CENTIPOISE = 1e5, 86400.0, 9.869233e-16, 1e-3  # SI
POINTS = 641
NUMBERS, BYTES = {b"DOUB": ">f8", b"REAL": ">f4", b"INTE": ">i4"}, {b"DOUB": 8, b"CHAR": 8, b"MESS": 0}
INSTALL = "apt-get install libopm-simulators-bin"


@dataclass(frozen=True, eq=False)
class Run:
    """``saturation`` of CO2 and ``pressure`` of brine in Pa at the report times, (T, nx, ny, nz); the iterations in all,
    and the ``seconds`` of CPU time."""

    saturation: np.ndarray
    pressure: np.ndarray
    newton_iterations: int
    linear_iterations: int
    seconds: float

    def gaps(self, other: Run) -> tuple[np.ndarray, np.ndarray]:
        """How far (saturation, pressure in bar) differ, (T, nx, ny, nz)."""
        return np.abs(self.saturation - other.saturation), np.abs(self.pressure - other.pressure) / BAR


def run_ours(case: Case) -> Run:
    """Run our simulator, its set-up included. RuntimeError where it takes other steps than Flow will."""
    start = process_time()
    result = simulate(case)
    seconds = process_time() - start
    if len(result.steps) != len(_ends(case)) - 1:
        raise RuntimeError(f"{len(result.steps)} steps; Flow takes {len(_ends(case)) - 1}")
    iterations = result.newton_iterations, result.linear_iterations
    return Run(result.saturation[1:], result.pressure[1:], *iterations, seconds)


def flow_version() -> str | None:
    """The version of the ``flow`` that is installed; None without one."""
    return _finished(["flow", "--version"])[0].split()[-1] if shutil.which("flow") else None


def run_flow(case: Case, folder: Path, linear: str = "ilu0", reduction: float = TOLERANCE) -> Run:
    """Run Flow on one thread in ``folder``, with its ``linear`` solver, to the relative ``reduction`` of residuals; the seconds
    are less those of a dry run, which only reads the deck.

    RuntimeError where it fails, ValueError where a deck would not mean the case.
    """
    reservoir, fluids = case.reservoir, case.reservoir.fluids
    path = folder / "CASE.DATA"
    path.write_text(deck(case))
    command = ["flow", str(path), f"--output-dir={folder}", *_choices(case)]
    command += [f"--linear-solver={linear}", f"--linear-solver-reduction={reduction}"]
    _, start = _finished([*command, "--enable-dry-run=true"])
    printed, seconds = _finished(command)
    newton, linear = (
        int(re.findall(rf"Overall {kind} Iterations: *(\d+)", printed)[-1]) for kind in ("Newton", "Linear")
    )
    frames: dict[str, list] = {"PRESSURE": [], "SWAT": []}
    for name, values in _arrays(path.with_suffix(".UNRST")):
        if name in frames:
            frames[name].append(values.reshape(reservoir.grid.shape, order="F"))
    kept = np.searchsorted(_ends(case)[1:], case.times)
    saturation = 1.0 - np.array(frames["SWAT"])[kept]
    pressure = BAR * np.array(frames["PRESSURE"])[kept] - _capillary_pressure(fluids, saturation)
    return Run(saturation, pressure, newton, linear, seconds - start)


def deck(case: Case) -> str:
    """The input deck. ValueError where it would not mean the case."""
    reservoir, fluids, initial = case.reservoir, case.reservoir.fluids, case.initial
    _check(reservoir)
    grid, rock, wells, table = reservoir.grid, reservoir.rock, reservoir.wells, _saturation_table(fluids)
    mu_brine, mu_co2 = (mu / CENTIPOISE for mu in fluids.viscosity)
    c_brine, c_co2 = (c * BAR for c in fluids.compressibility)
    reference, layers = fluids.reference_pressure / BAR, max(k1 - k0 for k0, k1 in (well.layers for well in wells))
    oil = initial.pressure + _capillary_pressure(fluids, initial.saturation)
    field = lambda name, values: _record(name, *np.broadcast_to(values, grid.shape).ravel(order="F"))
    parts = [
        "RUNSPEC\nOIL\nWATER\nMETRIC\nUNIFOUT",
        _record("DIMENS", *grid.shape),
        _record("TABDIMS", 1, 1, len(table)),
        _record("WELLDIMS", len(wells), layers, 1, len(wells)),
        _record("START", 1, "JAN", 2000),
        "GRID",
        *(field(name, length) for name, length in zip(("DX", "DY", "DZ"), grid.lengths, strict=True)),
        _record("TOPS", f"{grid.shape[0] * grid.shape[1]}*{np.ravel(grid.top)[0]}"),
        *(
            field(f"PERM{axis}", k / MILLIDARCY)
            for axis, k in zip("XYZ", map(np.asarray, rock.permeability), strict=True)
        ),
        field("PORO", rock.porosity),
        "EDIT",
        field("MULTPV", reservoir.multiplier.reshape(grid.shape)),
        "PROPS",
        _record("PVTW", reference, 1.0, c_brine, mu_brine, 0.0),
        _record("PVCDO", reference, 1.0, c_co2, mu_co2, 0.0),
        _record("ROCK", rock.reference_pressure / BAR, rock.compressibility * BAR),
        _record("DENSITY", fluids.density[CO2], fluids.density[BRINE], 1.0),
        _record("SWOF", *table.ravel()),
        "SOLUTION",
        field("PRESSURE", oil / BAR),
        field("SWAT", 1.0 - initial.saturation),
        "SUMMARY\nSCHEDULE",
        _record("RPTRST", "BASIC=2"),
        *_schedule(case),
    ]
    return "\n".join([*parts, "END\n"])


def _check(reservoir: Reservoir) -> None:
    fluids = reservoir.fluids
    one_rock = isinstance(fluids.relative_permeability, Corey) and (
        fluids.capillary is None
        or isinstance(fluids.capillary, BrooksCorey)
        and np.ndim(fluids.capillary.entry_pressure) == 0
    )
    if (
        np.ptp(reservoir.grid.depth, axis=(0, 1)).any()
        or not reservoir.active.all()
        or not one_rock
        or not reservoir.wells
    ):
        raise ValueError("deck: expected a flat top, even layers, active cells, one rock for all, and a well")


def _choices(case: Case) -> list[str]:
    """What Flow is told besides the deck."""
    pores, reservoir = case.reservoir.pore_volume.sum(), case.reservoir
    ends = _ends(case)
    rates = [sum(inflow_at(w, start) for w in reservoir.wells if isinstance(w, Injector)) for start in ends[:-1]]
    return [
        "--enable-adaptive-time-stepping=false",
        "--full-time-step-initially=true",
        f"--tolerance-cnv={case.control.tolerance}",
        f"--tolerance-mb={case.control.mass_tolerance * np.dot(rates, np.diff(ends)) / pores}",
        "--relaxed-max-pv-fraction=0",
        "--ecl-enable-drift-compensation=false",
        "--threads-per-process=1",
        "--ecl-output-double-precision=true",
    ]


def _finished(command: list[str]) -> tuple[str, float]:
    """(what the command prints, its CPU seconds)."""
    before = getrusage(RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True)
    after = getrusage(RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {(done.stdout + done.stderr)[-2000:]}")
    return done.stdout, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _capillary_pressure(fluids: Fluids, saturation: np.ndarray) -> np.ndarray | float:
    return 0.0 if fluids.capillary is None else fluids.capillary_pressure(saturation)[0]


def _saturation_table(fluids: Fluids) -> np.ndarray:
    """(points, 4): brine saturation, k_rw, k_rn, p_c in bar."""
    curve = fluids.relative_permeability
    S = np.linspace(curve.largest_saturation, 0.0, curve.table_points or POINTS)
    (brine, _), (co2, _) = curve.evaluate(S)
    return np.stack(np.broadcast_arrays(1.0 - S, brine, co2, _capillary_pressure(fluids, S) / BAR), axis=1)


def _schedule(case: Case) -> Iterator[str]:
    """The wells, and what they do when."""
    for number, well in enumerate(case.wells):
        (i, j), (k0, k1), name = well.cell, well.layers, f"W{number}"
        depth, phase = case.reservoir.grid.depth[i, j, k0], "OIL" if isinstance(well, Injector) else "LIQ"
        yield _list("WELSPECS", name, "ALL", i + 1, j + 1, depth, phase, "1*", "STD", "SHUT", "NO")  # no crossflow
        yield _list("COMPDAT", name, i + 1, j + 1, k0 + 1, k1, "OPEN", "2*", 2.0 * well.radius)
    ends = _ends(case)
    for start, end in zip(ends, ends[1:], strict=False):
        if start in (0.0, *case.reservoir.schedule):
            yield from (_control(f"W{number}", well, start) for number, well in enumerate(case.wells))
        yield _record("TSTEP", (end - start) / DAY)


def _control(name: str, well: Well, time: float) -> str:
    rate = abs(inflow_at(well, time)) * DAY
    status, unlimited = "SHUT" if rate == 0.0 else "OPEN", rate == np.inf
    bhp = "1*" if well.bhp == np.inf else well.bhp / BAR
    if isinstance(well, Injector):
        return _list(
            "WCONINJE", name, "OIL", status, "BHP" if unlimited else "RATE", "1*" if unlimited else rate, "1*", bhp
        )
    return _list("WCONPROD", name, status, "BHP" if unlimited else "LRAT", "3*", "1*" if unlimited else rate, "1*", bhp)


def _ends(case: Case) -> list[float]:
    """0, and where Flow's report steps end: at our report times, and where a rate changes, s."""
    return sorted({0.0, *case.times, *(time for time in case.reservoir.schedule if time < case.times[-1])})


def _list(name: str, *values: Any) -> str:
    """A keyword whose records a further slash ends."""
    return _record(name, *values) + "\n/"


def _record(name: str, *values: Any) -> str:
    """A keyword and its values, a few on each line."""
    words = [f"{value:.17g}" if isinstance(value, float) else str(value) for value in values]
    return "\n".join([name, *(" ".join(words[n : n + 8]) for n in range(0, len(words), 8)), "/"])


def _arrays(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """(name, values) of all numbers in a restart file."""
    records = _records(path.read_bytes())
    for head in records:
        name, count, kind = head[:8].decode().strip(), int.from_bytes(head[8:12], "big"), head[12:16]
        body = b""
        while len(body) < count * BYTES.get(kind, 4):
            body += next(records)
        if kind in NUMBERS:
            yield name, np.frombuffer(body, NUMBERS[kind])


def _records(data: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        yield data[at + 4 : at + 4 + size]
        at += size + 8
