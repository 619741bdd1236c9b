"""simulate: from a reservoir and report times to the history of pressure and saturation.

Steps        What remains of a report interval is cut into equal steps of at most the proposed length. A step that fails is
             halved; one that is solved in a few iterations doubles the proposal. The accepted steps are recorded: a
             gradient holds them fixed.
Mass         |held - initially held - injected| / (in place + injected), the larger of the two phases', worst over all
             steps. In place is what the box itself holds: the multiples of pore volume that stand for aquifers count in
             what is held, but not in what the error is relative to.
Ranks        The columns of cells are cut over a partition; every rank has the frames of its own. Accepted steps, iterations
             and states are those of one rank: every sum over cells has an order that does not depend on the partition.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from threadpoolctl import threadpool_limits

from refimpl import Partition, Space, wire

from .assembly import Assembly
from .blocks import one_rank
from .control import SimulationError, StepControl, StepFailed
from .linear import linear_solver
from .newton import solve_step
from .reservoir import Reservoir, State, hydrostatic

YEAR = 365.25 * 86400.0  # s
EASY = 6  # iterations: a step solved in so few doubles the proposal


@dataclass(frozen=True, eq=False)
class Result:
    """The history: frame 0 is the initial state, frame n the state at the n-th report time.

    ``times`` (T+1,) s; ``saturation`` of CO2 and ``pressure`` of brine in Pa, (T+1, nx, ny, nz), of the cells of this rank:
    each frame is a block of ``space``; ``bhp`` (T+1, wells), the wells' bottom-hole pressures in Pa (frame 0: what would
    drive the rates); ``steps``, the accepted time steps in s; ``newton_iterations`` in all, failed steps included;
    ``mass_balance_error``, see the page; ``seconds`` of wall time.
    """

    times: np.ndarray
    saturation: np.ndarray
    pressure: np.ndarray
    bhp: np.ndarray
    steps: list[float]
    newton_iterations: int
    mass_balance_error: float
    seconds: float
    space: Space


def simulate(
    reservoir: Reservoir,
    times: Sequence[float],
    initial: State | None = None,
    control: StepControl | None = None,
    progress: Callable[[float, str], None] | None = None,
    partition: Partition | None = None,
) -> Result:
    """Simulate from ``initial`` (default: brine at rest, see ``hydrostatic``) to the report ``times`` in s.

    The times increase, the first above 0. ``progress(fraction, text)`` is called after each of them, on every rank.
    ``partition``: (ranks along x, along y); by default this process alone, without MPI. All ranks of its communicator give
    the same arguments, the initial state whole.
    Raises ValueError where times or the initial state are unfit, SimulationError where steps would have to be too short
    or too many; on all ranks.
    """
    start = time.perf_counter()
    reports, state = _checked_times(times), _checked_state(reservoir, initial)
    partition = partition or one_rank()
    wire.vote(partition.comm, None, f"simulate of {reservoir.grid.shape} cells, {reports.size} times, over {partition}")
    assembly = Assembly(reservoir, partition)
    with threadpool_limits(1, "blas"), wire.unchecked():  # the vectors are too short for more threads to help
        march = March(assembly, control or StepControl(), assembly.pack(state))
        frames = [march.x]
        for report in reports.tolist():
            march.to(report)
            frames.append(march.x)
            if progress:
                progress(report / reports[-1], march.summary())
        parts = [np.stack(part) for part in zip(*map(assembly.unpack, frames), strict=True)]
        bhp = assembly.gather_wells(parts[2].T).T
    space = assembly.block.space
    pressure, saturation = (part.reshape(len(part), *space.local_shape) for part in parts[:2])
    return Result(
        times=np.concatenate([[0.0], reports]),
        saturation=saturation,
        pressure=pressure,
        bhp=bhp,
        steps=march.steps,
        newton_iterations=march.iterations,
        mass_balance_error=march.mass_balance_error,
        seconds=time.perf_counter() - start,
        space=space,
    )


class March:
    """The state ``x`` at ``time``, and what it took to get there: ``steps``, ``iterations``, ``mass_balance_error``."""

    def __init__(self, assembly: Assembly, control: StepControl, x: np.ndarray) -> None:
        self.assembly, self.control, self.x = assembly, control, x
        self.solve = linear_solver(assembly)
        self.time, self.proposal = 0.0, min(control.first or self._gentle_step(), control.longest)
        self.steps: list[float] = []
        self.iterations, self.mass_balance_error = 0, 0.0
        self.initial_mass = assembly.held_in_all(x)

    def to(self, report: float) -> None:
        """March to the time ``report`` in s."""
        while self.time < report:
            self._check_count()
            remaining = report - self.time
            pieces = ceil(remaining / min(self.proposal, remaining) * (1.0 - 1e-12))
            dt = remaining / pieces
            try:
                self.x, iterations = solve_step(self.assembly, self.solve, self.x, dt, self.control)
            except StepFailed as failure:
                self._shorten(dt, failure)
                continue
            self.time = report if pieces == 1 else self.time + dt
            self._record(dt, iterations)

    def summary(self) -> str:
        """Where the march stands, in words."""
        return f"{self.time / YEAR:.2f} years, {len(self.steps)} steps, {self.iterations} Newton iterations"

    def _gentle_step(self) -> float:
        """The time, s, in which the wells inject the pore volume of their cells."""
        wells, pore_volume = self.assembly.reservoir.perforations, self.assembly.reservoir.pore_volume
        volume = np.bincount(wells.well, pore_volume[wells.cell], wells.rate.size)
        at_work = wells.rate > 0.0
        return float((volume[at_work] / wells.rate[at_work]).min(initial=np.inf))

    def _record(self, dt: float, iterations: int) -> None:
        self.steps.append(dt)
        self.iterations += iterations
        grown = max(self.proposal, 2.0 * dt) if iterations <= EASY else dt
        self.proposal = min(grown, self.control.longest)
        injected = np.array([0.0, self.assembly.rate * self.time])
        held = self.assembly.held_in_all(self.x)
        reference = np.maximum(self.assembly.in_place(self.x) + injected, np.finfo(float).tiny)
        error = np.abs(held - self.initial_mass - injected) / reference
        self.mass_balance_error = max(self.mass_balance_error, float(error.max()))

    def _check_count(self) -> None:
        if len(self.steps) >= self.control.most_steps:
            raise SimulationError(
                f"simulate: {len(self.steps)} steps led to {self.time / YEAR:.4g} years only, and most_steps allows no "
                "more; allow longer steps or more of them, or look for cells far smaller than the others"
            )

    def _shorten(self, dt: float, failure: StepFailed) -> None:
        self.iterations += failure.iterations
        self.proposal = 0.5 * dt
        if self.proposal < self.control.shortest:
            raise SimulationError(
                f"simulate: at {self.time / YEAR:.4g} years a step of {dt:.3g} s failed, and half of it is below the "
                f"shortest, {self.control.shortest:g} s. {failure}"
            ) from failure


def _checked_times(times: Sequence[float]) -> np.ndarray:
    reports = np.asarray(times, dtype=float)
    increasing = reports.ndim == 1 and bool((np.diff(reports, prepend=0.0) > 0.0).all())
    if not increasing or reports.size == 0 or reports[-1] == np.inf:
        raise ValueError("simulate: expected report times in s, increasing, the first above 0")
    return reports


def _checked_state(reservoir: Reservoir, state: State | None) -> State:
    if state is None:
        return hydrostatic(reservoir)
    shape, largest = reservoir.grid.shape, reservoir.fluids.relative_permeability.largest_saturation
    if np.shape(state.pressure) != shape or np.shape(state.saturation) != shape:
        raise ValueError(
            f"simulate: the initial state must have the grid's {shape}, got pressure {np.shape(state.pressure)} and "
            f"saturation {np.shape(state.saturation)}"
        )
    if not np.isfinite(state.pressure).all() or not ((state.saturation >= 0.0) & (state.saturation <= largest)).all():
        raise ValueError(f"simulate: the initial pressure must be finite, and the initial saturation in 0..{largest:g}")
    return State(np.asarray(state.pressure, dtype=float), np.asarray(state.saturation, dtype=float))
