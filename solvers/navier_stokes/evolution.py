"""Evolution: a whole run as a layer, from the first velocity to the frames, with its physics as parameters.

Definition   The frames (u(t_1), .., u(t_T)) of steps of ``flow``, as simulate.py makes them, one behind the other.
Parameters   Those of a step (step.py). The gradient of any scalar of the frames with respect to the first velocity, the
             viscosity and the ball is J* of the scalar's gradient.
Adjoint      The steps from the last to the first; the cotangent of a frame is added where it was made.
Checkpoints  Every k-th state is kept. The steps between two of them are made again before they are gone through backwards: for
             k = 1 none is; for k = sqrt(steps), 2 k states are kept at most, for one run more. The derivative of a step makes
             its stages once more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from refimpl import Space
from refimpl.layers.layer import Blocks, Layer

from .flow import Flow
from .simulate import steps_per_frame
from .step import Step


class Evolution(Layer):
    """The frames of ``flow``, on velocities cut as the numbers a cell ``S`` are. ``every``: how many steps lie between two
    states that are kept. Raises ValueError where it is below 1."""

    told = ("steps", "every")

    def __init__(self, flow: Flow, S: Space, every: int = 1) -> None:
        if every < 1:
            raise ValueError(f"Evolution: expected every >= 1, got {every}")
        self.steps, self.every = steps_per_frame(flow), every
        self.step = Step(flow, S, flow.end / (flow.frames * self.steps))
        V = self.step.velocities
        frames = V.replace(
            shape=(flow.frames, *V.shape),
            cuts=(None, *V.cuts),
            blocks={axis + 1: row for axis, row in enumerate(V.blocks)},
        )
        self.domain, self.range, self.count = V, frames, flow.frames
        self.parameter_spaces, self.statistics, self.statistics_spaces = self.step.parameter_spaces, {}, {}

    def value(self, u: np.ndarray) -> np.ndarray:
        states = self._march(self.step.begin(u), self.count * self.steps)
        return np.stack([self._velocity(x) for n, x in enumerate(states, 1) if n % self.steps == 0])

    def derivative(self, u: np.ndarray) -> tuple[np.ndarray, Callable, Callable]:
        first, begin, begin_adjoint = self.step.begin_derivative(u)
        total, kept, frames = self.count * self.steps, [first], []
        for n, x in enumerate(self._march(first, total), 1):
            if n % self.every == 0:
                kept.append(x)
            if n % self.steps == 0:
                frames.append(self._velocity(x))
        segments = range(0, total, self.every)

        def again(start: int) -> list[tuple[int, np.ndarray]]:
            """(step, the state before it) from the kept one, before step ``start``, to the next that is kept."""
            x, count = kept[start // self.every], min(self.every, total - start)
            return list(enumerate([x, *self._march(x, count - 1)], start))

        def tangent(du: np.ndarray, d: Blocks) -> np.ndarray:
            dx, dframes = begin(du, d), []
            for start in segments:
                for n, x in again(start):
                    dx = self.step.derivative(x)[1](dx, d)
                    if (n + 1) % self.steps == 0:
                        dframes.append(self._velocity(dx))
            return np.stack(dframes)

        def adjoint(dframes: np.ndarray) -> tuple[np.ndarray, Blocks]:
            dx = np.zeros_like(first)
            gradients: Blocks = {}
            for start in reversed(segments):
                for n, x in reversed(again(start)):
                    if (n + 1) % self.steps == 0:
                        self._velocity(dx)[...] += dframes[n // self.steps]
                    dx, more = self.step.derivative(x)[2](dx)
                    gradients = added(gradients, more)
            du, more = begin_adjoint(dx)
            return du, added(gradients, more)

        return np.stack(frames), tangent, adjoint

    def _march(self, x: np.ndarray, steps: int) -> Iterator[np.ndarray]:
        """The states after each of the steps from x."""
        for _ in range(steps):
            x = self.step.value(x)
            yield x

    def _velocity(self, x: np.ndarray) -> np.ndarray:
        return x[: self.step.flow.mesh.ndim]

    @property
    def parameters(self) -> Blocks:
        return self.step.parameters

    @parameters.setter
    def parameters(self, blocks: Blocks) -> None:
        self.step.parameters = blocks


def added(total: Blocks, more: Blocks) -> Blocks:
    return total | {name: total[name] + g if name in total else g for name, g in more.items()}
