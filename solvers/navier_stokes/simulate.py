"""simulate: from a flow to its history.

Steps        All steps of a run have one length, the end over frames times steps: a gradient holds it fixed, and ab2 needs it.
             Each is compared with what is stable at the speed that the flow has then, before it is made.
Parallel     The cells are cut over a ``grid`` of ranks, by default along x. Every rank has the frames of its own cells.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np

from refimpl import Space, wire

from .flow import Flow
from .observables import energy, enstrophy, vorticity
from .schemes import longest_step, stable
from .step import Step

SAFETY = 2.0  # times the largest speed that is given: what a flow may reach


class UnstableStep(RuntimeError):
    """A step is longer than is stable, or a velocity is not finite."""


@dataclass(frozen=True, eq=False)
class Result:
    """The history: frame 0 is the initial state, frame n that after n parts of the time.

    ``space`` of a velocity; ``times`` (T+1,) s; this rank's blocks of ``velocity`` (T+1, d, ..) m/s and of ``vorticity``
    (T+1, 1 or 3, ..) 1/s at the centres. Of all ranks together, for a density of 1: ``energy`` (T+1,) m^(d+2)/s2, ``enstrophy``
    (T+1,) m^d/s2, ``drag`` (T+1, d), the force on the ball, m^(d+1)/s2; ``divergence``, the largest of any frame, 1/s. The
    number of ``steps`` and their ``dt`` in s; ``seconds`` of wall time.
    """

    space: Space
    times: np.ndarray
    velocity: np.ndarray
    vorticity: np.ndarray
    energy: np.ndarray
    enstrophy: np.ndarray
    drag: np.ndarray
    divergence: float
    steps: int
    dt: float
    seconds: float


def simulate(
    flow: Flow,
    comm: Any = None,
    grid: Sequence[int] | None = None,
    initial: np.ndarray | None = None,
    progress: Callable[[float, str], None] | None = None,
) -> Result:
    """Simulate ``flow`` on the ranks of ``comm`` (default: all); collective.

    ``initial``: this rank's block of the velocity at first, in place of that of the flow; its divergence is taken away.
    ``progress(fraction, text)`` is called after each step, on every rank. Raises ValueError on all ranks where an argument
    does not fit, UnstableStep where a step is too long or a number is not finite.
    """
    start, comm = time.perf_counter(), wire.world() if comm is None else comm
    S = flow.mesh.scalars(comm, grid or (comm.size, *(1 for _ in flow.shape[1:])))
    steps = steps_per_frame(flow)
    run = Run(flow, S, flow.end / (flow.frames * steps), initial)
    frames = [run.frame()]
    for _ in range(flow.frames):
        for _ in range(steps):
            run.step()
            if progress:
                progress(run.steps / (flow.frames * steps), run.summary())
        frames.append(run.frame())
    velocity, curls, scalars = zip(*frames, strict=True)
    energies, enstrophies, divergences, *drags = np.transpose(scalars)
    return Result(
        space=run.flow_step.velocities,
        times=np.linspace(0.0, flow.end, flow.frames + 1),
        velocity=np.stack(velocity),
        vorticity=np.stack(curls),
        energy=energies,
        enstrophy=enstrophies,
        drag=np.transpose(drags),
        divergence=float(divergences.max()),
        steps=run.steps,
        dt=run.flow_step.dt,
        seconds=time.perf_counter() - start,
    )


def steps_per_frame(flow: Flow) -> int:
    """What the flow says, or as few as are stable at SAFETY times the largest speed that is given."""
    if flow.steps:
        return flow.steps
    longest = longest_step(flow.scheme, SAFETY * flow.rate, flow.viscosity, flow.mesh.spacing)
    if longest < 1e-9 * flow.end:
        raise ValueError(f"simulate: no step of {flow.scheme} is stable at a viscosity of {flow.viscosity}; take rk3")
    return max(1, ceil(flow.end / flow.frames / longest))


class Run:
    """The state ``x`` after some ``steps``."""

    def __init__(self, flow: Flow, S: Space, dt: float, initial: np.ndarray | None) -> None:
        self.flow, self.mesh, self.flow_step, self.steps = flow, flow.mesh, Step(flow, S, dt), 0
        u = initial_velocity(flow, self.flow_step.velocities) if initial is None else initial
        u = self.flow_step.project.forward(u)
        with wire.unchecked():
            self.x = self.flow_step.begin(u)

    @property
    def velocity(self) -> np.ndarray:
        return self.x[: self.mesh.ndim]

    def step(self) -> None:
        """One step. Raises UnstableStep on all ranks where it would not be stable."""
        self._check_stable()
        with wire.unchecked():
            self.x = self.flow_step.value(self.x)
        self.steps += 1

    def frame(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Velocity, vorticity, and the numbers of all ranks together: energy, enstrophy, divergence, drag."""
        step = self.flow_step
        with wire.unchecked():
            w, divergence = step.surrounded(self.velocity), step.project.divergence.forward(self.velocity)
            drag = step.drag(self.x)
        sums = self._over_ranks([energy(w, self.mesh), enstrophy(w, self.mesh), *drag], "SUM")
        most = self._over_ranks([np.abs(divergence).max(initial=0.0)], "MAX")
        return self.velocity.copy(), vorticity(w, self.mesh), np.array([*sums[:2], *most, *sums[2:]])

    def summary(self) -> str:
        """Where the run is, in words."""
        return f"{self.steps * self.flow_step.dt:.4g} s, {self.steps} steps"

    def _check_stable(self) -> None:
        flow, dt = self.flow, self.flow_step.dt
        speeds = self._over_ranks([np.abs(v).max(initial=0.0) for v in self.velocity], "MAX")
        rate = float(sum(u / h for u, h in zip(speeds, self.mesh.spacing, strict=True)))
        if not np.isfinite(rate):
            raise UnstableStep(f"simulate: after {self.summary()}, a velocity is not finite")
        if not stable(flow.scheme, dt, rate, flow.viscosity, self.mesh.spacing):
            longest = longest_step(flow.scheme, rate, flow.viscosity, self.mesh.spacing)
            raise UnstableStep(
                f"simulate: after {self.summary()}, steps of {dt:.4g} s of {flow.scheme} are not stable: the fluid has reached "
                f"{', '.join(f'{u:.3g}' for u in speeds)} m/s, at which at most {longest:.4g} s are; give steps >= "
                f"{ceil(flow.end / flow.frames / longest) if longest else 'any'} in each frame, or a larger viscosity"
            )

    def _over_ranks(self, numbers: Sequence[float], op: str) -> np.ndarray:
        comm = self.flow_step.domain.comm
        return wire.finish(wire.start_all_reduce(comm, wire.everyone(comm), np.array(numbers, float), op))


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
