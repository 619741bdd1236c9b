"""Evolution: a whole run as a layer, from the first velocity to the frames, with its physics as parameters.

Definition   The frames (u(t_1), .., u(t_T)) of steps of ``flow``, as simulate.py makes them, one behind the other.
Parameters   Those of a step (step.py). The gradient of any scalar of the frames with respect to the first velocity, the
             viscosity and the ball is J* of the scalar's gradient.
Adjoint      The steps from the last to the first; the cotangent of a frame is added where it was made.
Checkpoints  Kept are the states at the frames. The steps of a frame are made again before it is gone through backwards, and
             their states are kept until then: T + steps states in all, and each step is computed three times.
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
    """The frames of ``flow``, on velocities cut as the numbers a cell ``S`` are."""

    def __init__(self, flow: Flow, S: Space) -> None:
        self.steps = steps_per_frame(flow)
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
        return np.stack([self._velocity(x) for x in self._frames(self.step.begin(u))])

    def derivative(self, u: np.ndarray) -> tuple[np.ndarray, Callable, Callable]:
        first, begin, begin_adjoint = self.step.begin_derivative(u)
        states = [first, *self._frames(first)]

        def tangent(du: np.ndarray, d: Blocks) -> np.ndarray:
            dx, frames = begin(du, d), []
            for x in states[:-1]:
                for before in self._steps(x):
                    _, move, _ = self.step.derivative(before)
                    dx = move(dx, d)
                frames.append(self._velocity(dx))
            return np.stack(frames)

        def adjoint(dframes: np.ndarray) -> tuple[np.ndarray, Blocks]:
            dx = np.zeros_like(first)
            gradients: Blocks = {}
            for x, dframe in zip(reversed(states[:-1]), reversed(dframes), strict=True):
                self._velocity(dx)[...] += dframe
                for before in reversed(list(self._steps(x))):
                    _, _, back = self.step.derivative(before)
                    dx, more = back(dx)
                    gradients = added(gradients, more)
            du, more = begin_adjoint(dx)
            return du, added(gradients, more)

        return np.stack([self._velocity(x) for x in states[1:]]), tangent, adjoint

    def _frames(self, x: np.ndarray) -> Iterator[np.ndarray]:
        """The states at the frames after x."""
        for _ in range(self.count):
            for _ in range(self.steps):
                x = self.step.value(x)
            yield x

    def _steps(self, x: np.ndarray) -> Iterator[np.ndarray]:
        """The states before each step of the frame that begins with x."""
        for k in range(self.steps):
            x = self.step.value(x) if k else x
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
