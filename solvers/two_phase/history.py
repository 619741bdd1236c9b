"""History: a whole run as a layer, from the initial state to the frames, with rock and rates as parameters.

Definition   x_n solves R(x_n, x_n-1, dt_n, m) = 0; the frames are states (p, S) after some of the steps. The gradient of any
             scalar of the frames (a plume's mismatch, the mass in place, a pressure) with respect to the initial state and
             the parameters of ``properties`` is J* of the scalar's gradient.
Steps        are given, and held fixed: those that ``simulate`` accepted (``steps_of``).
Tangent      The steps from the first to the last, each with one linear solve.
Adjoint      The steps from the last to the first (``sensitivity``), one transposed solve each; the cotangent of a frame is
             added where it was made. Coefficients gather their cotangents on the way, and are traced to the rock once.
Checkpoints  Every k-th state is kept, and the last. The steps between two of them are made again before they are gone through
             backwards: for k = 1 none is; for k = sqrt(steps), 2 k states are kept at most, for one run more.
Accuracy     A state solves its equations to the tolerances of ``control``, and then, by one more iteration of Newton's method
             with an exact solve, to round-off: a derivative at a state is as exact as the state.
Cost         A step forward takes some 4 to 7 Jacobians and solves; back, one of each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise

import numpy as np
from threadpoolctl import threadpool_limits

from refimpl import Partition
from refimpl.layers.layer import Blocks, Layer

from .assembly import Assembly, Coefficients
from .blocks import one_rank
from .control import SimulationError, StepControl, StepFailed
from .linear import linear_solver
from .newton import refined, solve_step
from .properties import Properties
from .reservoir import Reservoir, State
from .sensitivity import Sensitivity
from .simulate import Result
from .transposed import exact_solver


def steps_of(result: Result) -> list[int]:
    """After which of the steps of ``result`` its frames were made, frame 0 left out: History's ``frames``."""
    ends = np.cumsum(result.steps)
    return [1 + int(np.argmin(np.abs(ends - time))) for time in result.times[1:]]


class History(Layer):
    """The states of ``reservoir`` after ``steps``, s, of which those numbered in ``frames`` (1: after the first; default: the
    last alone) are given. To fit a run to observed frames:

        H = History(reservoir, result.steps, steps_of(result))
        frames, J = H.linearize(H.block_of(hydrostatic(reservoir)))
        dx, gradients = J.adjoint(frames - observed)

    The initial state is a block (2, nx, ny, nz), brine pressure in Pa and CO2 saturation; the frames are blocks
    (frames, 2, nx, ny, nz). ``parameters``: see ``properties``. ``partition``: (ranks along x, along y), by default this
    process alone. ``control``: when Newton's method stops. ``every``: how many steps lie between two states that are kept.
    Raises ValueError where steps are not positive, frames do not increase or are beyond the steps; and when it is called,
    SimulationError where a step cannot be solved; on all ranks.
    """

    told = ("steps", "frames", "every")

    def __init__(
        self,
        reservoir: Reservoir,
        steps: Sequence[float],
        frames: Sequence[int] | None = None,
        partition: Partition | None = None,
        control: StepControl | None = None,
        every: int = 1,
    ) -> None:
        self.steps, self.frames = tuple(map(float, steps)), tuple(map(int, frames or [len(steps)]))
        if not self.steps or not all(0.0 < dt < np.inf for dt in self.steps) or every < 1:
            raise ValueError(f"History: expected steps > 0 in s and every >= 1, got {self.steps} and {every}")
        if not all(0 < a < b for a, b in zip(self.frames, [*self.frames[1:], len(self.steps) + 1], strict=True)):
            raise ValueError(f"History: expected frames that increase within 1..{len(self.steps)}, got {self.frames}")
        self.assembly, self.control = Assembly(reservoir, partition or one_rank()), control or StepControl()
        self.every = every
        self.properties, self.linear = Properties(self.assembly), linear_solver(self.assembly)
        self.exact = exact_solver(self.linear)
        begins = np.cumsum([0.0, *self.steps[:-1]])
        self.periods = np.searchsorted(self.properties.starts, begins * (1.0 + 1e-12), side="right") - 1
        cells = self.assembly.block.space
        cut = {axis + 1: row for axis, row in enumerate(cells.blocks)}
        X = cells.replace(shape=(2, *cells.shape), cuts=(None, *cells.cuts), blocks=cut)
        cut = {axis + 1: row for axis, row in enumerate(X.blocks)}
        super().__init__(X, X.replace(shape=(len(self.frames), *X.shape), cuts=(None, *X.cuts), blocks=cut))
        self.parameter_spaces, self.parameters = self.properties.spaces, self.properties.given

    def block_of(self, state: State) -> np.ndarray:
        """This rank's block of a whole ``state``."""
        return np.stack([state.pressure, state.saturation])[self.domain.local_slice].astype(float)

    def value(self, u: np.ndarray) -> np.ndarray:
        equations = self._equations(self.parameters)
        return self._framed(self._march(equations, self.vector(u), 0, len(self.steps)))

    def derivative(self, u: np.ndarray) -> tuple[np.ndarray, Callable, Callable]:
        parameters = dict(self.parameters)
        equations, kept = self._equations(parameters), [self.vector(u)]

        def states() -> Iterator[np.ndarray]:
            for n, x in enumerate(self._march(equations, kept[0], 0, len(self.steps)), 1):
                if n % self.every == 0 or n == len(self.steps):
                    kept.append(x)
                yield x

        def again(first: int) -> list[np.ndarray]:
            """The states from a kept one, before step ``first``, to the next that is kept."""
            x, end = kept[first // self.every : first // self.every + 2]
            last = min(first + self.every, len(self.steps))
            return [x, *self._march(equations, x, first, last - 1), end]

        def step(n: int, x_old: np.ndarray, x: np.ndarray) -> Sensitivity:
            return Sensitivity(equations[self.periods[n]], self.exact, x, x_old, self.steps[n])

        segments = range(0, len(self.steps), self.every)

        def tangent(du: np.ndarray, d: Blocks) -> np.ndarray:
            dm, dx = self.properties.tangent(parameters, d), self.vector(du)

            def changes(dx: np.ndarray) -> Iterator[np.ndarray]:
                for first in segments:
                    for n, (x_old, x) in enumerate(pairwise(again(first)), first):
                        with self._named(n):
                            dx = step(n, x_old, x).tangent(dx, dm[self.periods[n]])
                        yield dx

            return self._framed(changes(dx))

        def adjoint(dframes: np.ndarray) -> tuple[np.ndarray, Blocks]:
            gathered = [_nothing(equations[0]) for _ in equations]
            cotangents = dict(zip(self.frames, dframes.reshape(len(self.frames), -1), strict=True))
            g = np.zeros(self.assembly.size)
            for first in reversed(segments):
                for n, (x_old, x) in reversed(list(enumerate(pairwise(again(first)), first))):
                    if n + 1 in cotangents:
                        g += self.vector(cotangents[n + 1])
                    with self._named(n):
                        g, dm = step(n, x_old, x).adjoint(g)
                    period = self.periods[n]
                    gathered[period] = Coefficients(*(a + b for a, b in zip(gathered[period], dm, strict=True)))
            return self._block(g), self.properties.adjoint(parameters, gathered)

        return self._framed(states()), tangent, adjoint

    def _equations(self, parameters: Blocks) -> list[Assembly]:
        """Those of each period."""
        return [self.assembly.having(given) for given in self.properties.value(parameters)]

    def _march(self, equations: list[Assembly], x: np.ndarray, first: int, last: int) -> Iterator[np.ndarray]:
        """The states after the steps from ``first`` to ``last``, without it."""
        for n in range(first, last):
            x = self._advance(equations, x, n)
            yield x

    def _advance(self, equations: list[Assembly], x: np.ndarray, n: int) -> np.ndarray:
        """The state after step n from x, whose bottom-hole pressures begin anew with a period."""
        assembly = equations[self.periods[n]]
        if n == 0 or self.periods[n] != self.periods[n - 1]:
            x = assembly.drive(x)
        with self._named(n):
            dt, (y, _) = self.steps[n], solve_step(assembly, self.linear.solve, x, self.steps[n], self.control)
            return refined(assembly, self.exact.solve, y, x, dt)

    @contextmanager
    def _named(self, n: int) -> Iterator[None]:
        """What is solved here is a part of step n."""
        try:
            with threadpool_limits(1, "blas"):  # the vectors are too short for more threads to help
                yield
        except StepFailed as failure:
            raise SimulationError(
                f"History: step {n + 1} of {self.steps[n]:.3g} s failed; give shorter steps. {failure}"
            ) from failure

    def _framed(self, states: Iterator[np.ndarray]) -> np.ndarray:
        frames = [self._block(x) for n, x in enumerate(states, 1) if n in self.frames]
        return np.stack(frames).reshape(self.range.local_shape)

    def vector(self, u: np.ndarray) -> np.ndarray:
        """The vector of a state's block ``u``, 0 for the wells."""
        return np.concatenate([u.reshape(2, -1).T.ravel(), np.zeros(self.assembly.own_wells.size)])

    def _block(self, x: np.ndarray) -> np.ndarray:
        """The block of a vector."""
        p, S, _ = self.assembly.unpack(x)
        return np.stack([p, S]).reshape(self.domain.local_shape)


def _nothing(assembly: Assembly) -> Coefficients:
    sizes = assembly.cells, assembly.left.size, assembly.wells.index.size, assembly.own_wells.size
    return Coefficients(*map(np.zeros, sizes))
