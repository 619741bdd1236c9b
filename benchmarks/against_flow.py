"""The CO2 simulator against OPM Flow: the same runs, alternating, and how far the two solutions differ (see ``two_phase``)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from tqdm import tqdm

from solvers.two_phase import Case, Corey, Injector, State, StepControl
from solvers.two_phase.assembly import Assembly
from solvers.two_phase.fluids import CO2

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "adjoint_tests"))
from hard_rock import lognormal
from opm_flow import DAY, INSTALL, Run, flow_version, run_flow, run_ours

SHAPES, LINEAR, AT_MOST = ((30, 30, 20), (60, 60, 10)), ("ilu0", "cpr_quasiimpes"), 4.0
DAYS = (1, 2, 4, 8, 16, 32, *range(60, 541, 30))
PLUME = 0.01  # a saturation of CO2
COLUMNS = (
    "OPM Flow",
    "Newton (linear) iterations: ours; Flow's",
    "CPU us a cell and Newton iteration: ours [quartiles]",
    "Flow's",
    "ours / Flow",
    "whole run",
)


def against_flow(rounds: int) -> Iterator[str]:
    """The lines of a report; one line if Flow is not here."""
    version = flow_version()
    if version is None:
        yield f"OPM Flow: not here ({INSTALL})"
        return
    yield f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|"
    found = []
    for shape in SHAPES:
        case, name = injection(shape), " x ".join(map(str, shape))
        ours, *theirs = alternating(case, rounds)
        for linear, runs in zip(LINEAR, theirs, strict=True):
            yield f"| {name}, Flow {version}, {linear} | {row(ours, runs, int(np.prod(shape)))} |"
        found.append(f"{name}: {agreement(case, ours[0], theirs[0][0])}")
    yield "\n" + "\n\n".join(found)


def injection(shape: tuple[int, int, int]) -> Case:
    """CO2 for 2 % of the pores in a year and a half, by three perforations below in lognormal rock between aquifers."""
    nx, ny, nz = shape
    k, spacing, porosity = 3.0 * lognormal(shape, 1.0), (30.0, 30.0, 5.0), 0.25
    rate = 0.02 * porosity * float(np.prod(spacing)) * k.size / (DAYS[-1] * DAY)
    return Case(
        shape=shape,
        spacing=spacing,
        permeability=(k, k, 0.1 * k),
        porosity=porosity,
        times=tuple(DAY * day for day in DAYS),
        top=800.0,
        boundary="open",
        wells=(Injector((nx // 2, ny // 2), (nz - 3, nz), rate),),
        relative_permeability=(Corey(table_points=161),),
        control=StepControl(first=np.inf, tolerance=1e-6, mass_tolerance=1e-8),
    )


def alternating(case: Case, rounds: int) -> list[list[Run]]:
    """The runs of each contender: ours, and Flow's with each linear solver; who begins changes from round to round."""
    contenders = [lambda folder: run_ours(case)]
    for linear in LINEAR:
        contenders.append(lambda folder, linear=linear: run_flow(case, folder, linear))
    runs: list[list[Run]] = [[] for _ in contenders]
    for r in tqdm(range(rounds), "against Flow", leave=False):
        for n in range(len(contenders)):
            who = (r + n) % len(contenders)
            with TemporaryDirectory() as folder:
                runs[who].append(contenders[who](Path(folder)))
    return runs


def row(ours: list[Run], theirs: list[Run], cells: int) -> str:
    """One row of the table; the ratios are of runs in the same round."""
    counts = [f"{runs[0].newton_iterations} ({runs[0].linear_iterations})" for runs in (ours, theirs)]
    whole = np.array([[run.seconds for run in runs] for runs in (ours, theirs)])
    each = whole * 1e6 / cells / [[runs[0].newton_iterations] for runs in (ours, theirs)]
    ratio = each[0] / each[1]
    verdict = f" (at most {AT_MOST:g}: {'met' if np.median(ratio) <= AT_MOST else 'missed'})"
    cells_of_row = ["; ".join(counts), *map(spread, each), f"**{spread(ratio)}**{verdict}", spread(whole[0] / whole[1])]
    return " | ".join(cells_of_row)


def spread(values: np.ndarray) -> str:
    low, middle, high = np.percentile(values, [25, 50, 75])
    return f"{middle:.2f} [{low:.2f}, {high:.2f}]"


def agreement(case: Case, ours: Run, theirs: Run) -> str:
    """How far two solutions differ, in words."""
    saturation, pressure = ours.gaps(theirs)
    assembly = Assembly(case.reservoir)
    held = [assembly.held_in_all(assembly.pack(State(r.pressure[-1], r.saturation[-1])))[CO2] for r in (ours, theirs)]
    plume, flows = (run.saturation[-1] > PLUME for run in (ours, theirs))
    return (
        f"CO2 saturation up to {ours.saturation.max():.2f} differs by at most {saturation.max():.1e} at any time, by "
        f"{saturation[-1].mean():.1e} in the mean at the end, pressure by {pressure.max():.1e} bar; CO2 in place by "
        f"{abs(held[0] / held[1] - 1.0):.0e}; of {plume.sum()} cells of the plume (saturation above {PLUME}), "
        f"{(plume ^ flows).sum()} are not in both."
    )
