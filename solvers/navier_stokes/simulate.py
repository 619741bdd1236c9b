"""simulate: from a flow to its history.

Steps        All steps of a run have one length, the end over frames times steps: a gradient holds it fixed, and ab2 needs it.
             Each is compared with what is stable at the speed that the flow has then, before it is made.
Parallel     The cells are cut over a ``grid`` of ranks, by default along x. Every rank has the frames of its own cells.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np

from refimpl import Space, wire

from ..interrupts import between_steps
from .flow import Flow
from .observables import energy, enstrophy, vorticity
from .schemes import longest_step, stable
from .step import Step


def units(ndim: int) -> dict[str, str]:
    """Of what Frame and Result hold, in a box of so many axes, for a density of 1."""
    return {
        "time": "s",
        "steps": "1",
        "velocity": "m/s",
        "vorticity": "1/s",
        "energy": f"m{ndim + 2}/s2",
        "enstrophy": f"m{ndim}/s2",
        "drag": f"m{ndim + 1}/s2",
        "divergence": "1/s",
        "dt": "s",
        "seconds": "s",
    }


HEADROOM = 1.25  # times the steps that are needed at a speed: a flow that has become too fast becomes faster


class UnstableStep(RuntimeError):
    """A step is longer than is stable, or a velocity is not finite."""


@dataclass(frozen=True, eq=False)
class Frame:
    """The flow at ``time`` s, after ``steps``: this rank's blocks of ``velocity`` (d, ..) m/s on the faces and of ``vorticity``
    (1 or 3, ..) 1/s at the centres; and of all ranks together, for a density of 1, ``energy`` m^(d+2)/s2, ``enstrophy`` m^d/s2,
    ``drag`` (d,), the force on the ball, m^(d+1)/s2, and the largest ``divergence`` 1/s.
    """

    time: float
    steps: int
    velocity: np.ndarray
    vorticity: np.ndarray
    energy: float
    enstrophy: float
    drag: np.ndarray
    divergence: float


@dataclass(frozen=True, eq=False)
class Result:
    """The history: frame 0 is the initial state, frame n that after n parts of the time; ``space`` of a velocity, the length
    ``dt`` of a step in s, ``seconds`` of wall time."""

    space: Space
    frames: list[Frame]
    dt: float
    seconds: float

    @property
    def units(self) -> dict[str, str]:
        """Of the numbers of a frame, and of ``dt`` and ``seconds``; SI, for a density of 1."""
        return units(len(self.space.shape) - 1)

    def all(self, name: str) -> np.ndarray:
        """The attribute ``name`` of all frames: (T+1, ..)."""
        return np.stack([getattr(frame, name) for frame in self.frames])


def simulate(
    flow: Flow,
    comm: Any = None,
    grid: Sequence[int] | None = None,
    initial: np.ndarray | None = None,
    progress: Callable[[float, str], None] | None = None,
) -> Result:
    """Simulate ``flow`` on the ranks of ``comm`` (default: all); collective.

    ``initial``: this rank's block of the velocity at first, in place of that of the flow; its divergence is taken away.
    ``progress(fraction, text)`` is called after each step, on every rank; Ctrl-C ends a run of one rank there. Raises
    ValueError on all ranks where an argument does not fit, UnstableStep where a step is too long or a number is not finite.
    """
    start, comm = time.perf_counter(), wire.world() if comm is None else comm
    with between_steps(progress, comm) as told:
        run = Run(flow, comm, grid, initial, told)
        frames = list(run.frames())
    return Result(run.flow_step.velocities, frames, run.flow_step.dt, time.perf_counter() - start)


def steps_per_frame(flow: Flow) -> int:
    """What the flow says, or as few as are stable at three times the largest speed that is given and at what the force adds."""
    return flow.steps or max(1, ceil(flow.end / flow.frames / flow.longest_driven_step))


class Run:
    """A run: its state ``x`` after some ``steps``, and its ``frames``; the arguments are those of simulate."""

    def __init__(
        self,
        flow: Flow,
        comm: Any = None,
        grid: Sequence[int] | None = None,
        initial: np.ndarray | None = None,
        progress: Callable[[float, str], None] | None = None,
    ) -> None:
        comm = wire.world() if comm is None else comm
        S = flow.mesh.scalars(comm, grid or (comm.size, *(1 for _ in flow.shape[1:])))
        self.flow, self.mesh, self.steps, self.progress = flow, flow.mesh, 0, progress
        self.steps_per_frame = steps_per_frame(flow)
        self.flow_step = Step(flow, S, flow.end / (flow.frames * self.steps_per_frame))
        u = initial_velocity(flow, self.flow_step.velocities) if initial is None else initial
        u = self.flow_step.project.forward(u)
        with wire.unchecked():
            self.x = self.flow_step.begin(u)

    def frames(self) -> Iterator[Frame]:
        """The initial state, and what comes after each part of the time."""
        yield self.frame()
        for _ in range(self.flow.frames):
            for _ in range(self.steps_per_frame):
                self.step()
                if self.progress:
                    self.progress(self.steps / (self.flow.frames * self.steps_per_frame), self.summary())
            yield self.frame()

    @property
    def velocity(self) -> np.ndarray:
        return self.x[: self.mesh.ndim]

    def step(self) -> None:
        """One step. Raises UnstableStep on all ranks where it would not be stable."""
        self.check_stable()
        with wire.unchecked():
            self.x = self.flow_step.value(self.x)
        self.steps += 1

    def frame(self) -> Frame:
        """The state as it is now."""
        step, mesh = self.flow_step, self.mesh
        with wire.unchecked():
            w, divergence = step.surrounded(self.velocity), step.project.divergence.forward(self.velocity)
            drag = step.drag(self.x)
        sums = self._over_ranks([energy(w, mesh), enstrophy(w, mesh), *drag], "SUM")
        most = self._over_ranks([np.abs(divergence).max(initial=0.0)], "MAX")
        return Frame(
            self.steps * step.dt,
            self.steps,
            self.velocity.copy(),
            vorticity(w, mesh),
            float(sums[0]),
            float(sums[1]),
            sums[2:],
            float(most[0]),
        )

    def summary(self) -> str:
        """Where the run is, in words."""
        return f"{self.steps * self.flow_step.dt:.4g} s, {self.steps} steps"

    def check_stable(self) -> None:
        """Raise UnstableStep, on all ranks, where the next step would not be stable."""
        flow, dt = self.flow, self.flow_step.dt
        speeds = self._over_ranks([np.abs(v).max(initial=0.0) for v in self.velocity], "MAX")
        rate = float(sum(u / h for u, h in zip(speeds, self.mesh.spacing, strict=True)))
        if not np.isfinite(rate):
            raise UnstableStep(f"after {self.summary()}, a velocity is not finite")
        if not stable(flow.scheme, dt, rate, flow.viscosity, self.mesh.spacing):
            longest = longest_step(flow.scheme, rate, flow.viscosity, self.mesh.spacing)
            enough = ceil(HEADROOM * flow.end / flow.frames / longest) if longest else 0
            remedy = f"give steps >= {enough} in each frame, or a larger viscosity" if longest else "take rk3"
            raise UnstableStep(
                f"after {self.summary()}, steps of {apart(dt, longest)} s of {flow.scheme} are not stable: the fluid has "
                f"reached {', '.join(f'{u:.3g}' for u in speeds)} m/s, at which at most {apart(longest, dt)} s are; {remedy}"
            )

    def _over_ranks(self, numbers: Sequence[float], op: str) -> np.ndarray:
        comm = self.flow_step.domain.comm
        return wire.finish(wire.start_all_reduce(comm, wire.everyone(comm), np.array(numbers, float), op))


def apart(number: float, other: float) -> str:
    """The ``number``, in so many digits that ``other`` looks different."""
    shown = (f"{number:.{digits}g}" for digits in range(4, 17) if f"{number:.{digits}g}" != f"{other:.{digits}g}")
    return next(shown, repr(number))


def initial_velocity(flow: Flow, V: Space) -> np.ndarray:
    """This rank's block of the velocity that the flow begins with."""
    mesh, u = flow.mesh, np.zeros(V.local_shape)
    if flow.initial == "inflow":
        u += np.reshape(flow.inflow, (mesh.ndim, *(1,) * mesh.ndim))
    if flow.initial == "taylor-green":  # u = sin x cos y cos z, v = -cos x sin y cos z of the largest waves that fit
        for component, sign in ((0, 1.0), (1, -1.0)):
            waves = [2.0 * np.pi * x / n for x, n in zip(mesh.positions(V, component), mesh.lengths, strict=True)]
            rest = waves[:component] + waves[component + 1 :]
            u[component] = sign * np.sin(waves[component]) * np.prod(np.broadcast_arrays(*map(np.cos, rest)), axis=0)
    for at in mesh.low_walls(V):
        u[at] = 0.0
    return u
