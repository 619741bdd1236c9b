"""simulate: from a reservoir and report times to the history of pressure and saturation.

Steps        What remains of a report interval is cut into equal steps of at most the proposed length. A step that fails is
             halved; one that is solved in a few iterations doubles the proposal. Steps also end where a well's rate
             changes, and begin anew there as gently as at first. The accepted steps are recorded: a gradient holds them
             fixed.
Mass         |held - initially held - gone in through the wells| / (in place + gone through the wells), the larger of the two
             phases', worst over all steps. A well on its rate counts with that rate, whatever the cells got. In place is what
             the box itself holds: the multiples of pore volume that stand for aquifers count in what is held, but not in
             what the error is relative to.
Ranks        The columns of cells are cut over a partition; every rank has the frames of its own. Accepted steps, iterations
             and states are those of one rank: every sum over cells has an order that does not depend on the partition.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from threadpoolctl import threadpool_limits

from refimpl import Partition, Space, wire

from ..interrupts import between_steps
from .assembly import Assembly
from .blocks import one_rank
from .case import Case
from .control import SimulationError, StepControl, StepFailed
from .fluids import CO2
from .linear import linear_solver
from .newton import mass_scale, solve_step
from .plausible import check_run
from .reservoir import Reservoir, State

YEAR = 365.25 * 86400.0  # s
UNITS = {
    "times": "s",
    "saturation": "1",
    "pressure": "Pa",
    "bhp": "Pa",
    "well_volume": "m3 at reference pressure",
    "steps": "s",
    "newton_iterations": "1",
    "linear_iterations": "1",
    "mass_balance_error": "1",
    "seconds": "s",
}
EASY = 6  # iterations: a step solved in so few doubles the proposal


@dataclass(frozen=True, eq=False)
class Result:
    """The history: frame 0 is the initial state, frame n the state at the n-th report time.

    ``times`` (T+1,) s; ``saturation`` of CO2 and ``pressure`` of brine in Pa, (T+1, nx, ny, nz), of the cells of this rank:
    each frame is a block of ``space``; ``bhp`` (T+1, wells), the wells' bottom-hole pressures in Pa (frame 0: what would
    drive the rates); ``well_volume`` (T+1, wells, 2), the brine and CO2 that each well has brought into the rock until then,
    reference m3 (negative: produced); ``steps``, the accepted time steps in s; ``newton_iterations`` and
    ``linear_iterations`` in all, failed steps included; ``mass_balance_error``, see the page; ``seconds`` of wall time.
    """

    times: np.ndarray
    saturation: np.ndarray
    pressure: np.ndarray
    bhp: np.ndarray
    well_volume: np.ndarray
    steps: list[float]
    newton_iterations: int
    linear_iterations: int
    mass_balance_error: float
    seconds: float
    space: Space

    @property
    def units(self) -> dict[str, str]:
        """Of each array and number, SI."""
        return UNITS


def simulate(
    case: Case | Reservoir,
    times: Sequence[float] | None = None,
    initial: State | None = None,
    control: StepControl | None = None,
    progress: Callable[[float, str], None] | None = None,
    partition: Partition | None = None,
) -> Result:
    """Simulate a ``case``; or a reservoir, from ``initial`` (default: brine at rest, see ``hydrostatic``) to the report
    ``times`` in s. What is given beside a case replaces what it says.

    The times increase, the first above 0. ``progress(fraction, text)`` is called before each step and at the end, on
    every rank; there Ctrl-C ends a run of one rank.
    ``partition``: (ranks along x, along y); by default this process alone, without MPI. All ranks of its communicator give
    the same arguments, the initial state whole.
    Raises ValueError where times or the initial state are unfit or the run is not plausible (see ``plausible``),
    SimulationError where steps would have to be too short or too many; on all ranks.
    """
    if isinstance(case, Case):
        given = case.times if times is None else times, initial or case.initial, control or case.control
        return simulate(case.reservoir, *given, progress, partition)
    start, reservoir, partition = time.perf_counter(), case, partition or one_rank()
    reports, state = check_run(reservoir, () if times is None else times, initial)
    march = begin(reservoir, state, control or StepControl(), partition, f"{reports.size} times")
    assembly, frames, volumes = march.assembly, [march.x], [march.well_volume]
    with between_steps(progress, partition.comm) as told:
        for _ in marched(march, reports.tolist(), told):
            frames.append(march.x)
            volumes.append(march.well_volume)
    parts = [np.stack(part) for part in zip(*map(assembly.unpack, frames), strict=True)]
    space = assembly.block.space
    pressure, saturation = (part.reshape(len(part), *space.local_shape) for part in parts[:2])
    return Result(
        times=np.concatenate([[0.0], reports]),
        saturation=saturation,
        pressure=pressure,
        bhp=assembly.gather_wells(parts[2].T).T,
        well_volume=np.stack(volumes),
        steps=march.steps,
        newton_iterations=march.iterations,
        linear_iterations=march.linear.iterations,
        mass_balance_error=march.mass_balance_error,
        seconds=time.perf_counter() - start,
        space=space,
    )


def begin(reservoir: Reservoir, state: State, control: StepControl, partition: Partition, told: str = "") -> March:
    """The march at the whole ``state``; collective. All ranks must call for the same, as far as ``told`` says it."""
    wire.vote(partition.comm, None, f"simulate of {reservoir.grid.shape} cells, {told}, over {partition}")
    assembly = Assembly(reservoir, partition)
    with threadpool_limits(1, "blas"), wire.unchecked():
        return March(assembly, control, assembly.pack(state))


def marched(march: March, reports: Sequence[float], progress: Callable[[float, str], None]) -> Iterator[float]:
    """March to one after another of the ``reports`` that are still ahead, and stop at each of them; ``progress`` is told before
    each step, so that what is told of a report has been taken up, and at the end."""
    tell = lambda: progress(march.time / reports[-1], march.summary())
    for report in reports:
        if march.time < report:
            with threadpool_limits(1, "blas"), wire.unchecked():  # the vectors are too short for more threads to help
                march.to(report, tell)
            yield report
    tell()


class March:
    """The state ``x`` at ``time``, and what it took to get there: ``steps``, ``iterations``, ``linear``'s iterations,
    ``well_volume`` (wells, 2), ``mass_balance_error``."""

    def __init__(self, assembly: Assembly, control: StepControl, x: np.ndarray) -> None:
        self.assembly, self.control, self.x = assembly, control, x
        self.linear = linear_solver(assembly)
        self.time, self.proposal = 0.0, self._first_step()
        self.steps: list[float] = []
        self.iterations, self.mass_balance_error = 0, 0.0
        self.initial_mass = assembly.held_in_all(x)
        self.well_volume = np.zeros((assembly.rates.size, 2))

    def to(self, report: float, before_step: Callable[[], None] = lambda: None) -> None:
        """March to the time ``report`` in s, by the times at which a well's rate changes."""
        changes = self.assembly.reservoir.schedule
        for end in [*(change for change in changes if self.time < change < report), report]:
            if self.time in changes:
                self._change_rates()
            self._to(end, before_step)

    def _to(self, end: float, before_step: Callable[[], None]) -> None:
        while self.time < end:
            before_step()
            self._check_count()
            remaining = end - self.time
            pieces = ceil(remaining / min(self.proposal, remaining) * (1.0 - 1e-12))
            dt = remaining / pieces
            try:
                x, iterations = solve_step(self.assembly, self.linear.solve, self.x, dt, self.control)
            except StepFailed as failure:
                self._shorten(dt, failure)
                continue
            self.time = end if pieces == 1 else self.time + dt
            self._record(x, dt, iterations)

    def _change_rates(self) -> None:
        """The wells' rates from now on; the pressures that drive them are where Newton's method begins."""
        self.assembly = self.assembly.at(self.time)
        self.x = self.assembly.drive(self.x)
        self.proposal = min(self.proposal, self._first_step())

    def summary(self) -> str:
        """Where the march stands, in words."""
        return f"{self.time / YEAR:.2f} years, {len(self.steps)} steps, {self.iterations} Newton iterations"

    def _first_step(self) -> float:
        """What the control says, or the time, s, in which the wells inject the pore volume of their cells."""
        wells, pore_volume = self.assembly.reservoir.perforations, self.assembly.reservoir.pore_volume
        flow, on_limit = self.assembly.well_flow(self.x, self.x)
        rate, volume = np.where(on_limit, flow[:, CO2], self.assembly.rates), wells.per_well(pore_volume[wells.cell])
        at_work = rate > 0.0
        gentle = float((volume[at_work] / rate[at_work]).min(initial=np.inf))
        return min(self.control.first or gentle, self.control.longest)

    def _record(self, x: np.ndarray, dt: float, iterations: int) -> None:
        (flow, _), self.x = self.assembly.well_flow(x, self.x), x
        self.steps.append(dt)
        self.iterations += iterations
        self.well_volume = self.well_volume + dt * flow
        grown = max(self.proposal, 2.0 * dt) if iterations <= EASY else dt
        self.proposal = min(grown, self.control.longest)
        held = self.assembly.held_in_all(x)
        through = np.abs(self.well_volume).sum(axis=0)
        error = np.abs(held - self.initial_mass - self.well_volume.sum(axis=0)) / mass_scale(self.assembly, x, through)
        self.mass_balance_error = max(self.mass_balance_error, float(error.max()))

    def _check_count(self) -> None:
        if len(self.steps) >= self.control.most_steps:
            raise SimulationError(
                f"two_phase: {len(self.steps)} steps led to {self.time / YEAR:.4g} years only, and most_steps allows no "
                "more; allow longer steps or more of them, or look for cells far smaller than the others"
            )

    def _shorten(self, dt: float, failure: StepFailed) -> None:
        self.iterations += failure.iterations
        self.proposal = 0.5 * dt
        if self.proposal < self.control.shortest:
            raise SimulationError(
                f"two_phase: at {self.time / YEAR:.4g} years a step of {dt:.3g} s failed, and half of it is below the "
                f"shortest, {self.control.shortest:g} s. {failure}"
            ) from failure
