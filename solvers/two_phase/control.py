"""Control: the choices of a run that are not physics, and how a run says that it cannot go on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..checks import Bounds, check_within
from ..records import settle

BOUNDS = {
    "shortest": Bounds(1e-6, 1e12, "s"),
    "tolerance": Bounds(1e-15, 0.1, "of the saturation"),
    "mass_tolerance": Bounds(1e-15, 0.1, "of the mass"),
    "most_iterations": Bounds(1, 1000, "of Newton's method"),
    "most_steps": Bounds(1, 1e8, "in all"),
}


class SimulationError(RuntimeError):
    """The simulation could not go on: the text says when and why."""


class StepFailed(Exception):
    """One time step was not solved after ``iterations`` of Newton's method; a shorter one may be."""

    def __init__(self, reason: str, iterations: int = 0) -> None:
        super().__init__(reason)
        self.iterations = iterations


@dataclass(frozen=True)
class StepControl:
    """How time steps are chosen and when Newton's method stops.

    ``first``           step in s (default: in which the wells inject the pore volume of their cells, if that is shorter)
    ``longest``         step in s
    ``shortest``        step in s; one that would have to be shorter is an error
    ``tolerance``       of max |R dt / V|: the error of saturation that each cell may make in one step
    ``mass_tolerance``  of the error of mass in one step, relative to what the box holds without its aquifers
    ``most_iterations`` of Newton's method before the step is halved
    ``most_steps``      accepted; a run that needs more is an error

    Raises ValueError where one is not positive, or absurd, or a step shorter than the shortest.
    """

    first: float | None = None
    longest: float = np.inf
    shortest: float = 60.0
    tolerance: float = 1e-7
    mass_tolerance: float = 1e-10
    most_iterations: int = 12
    most_steps: int = 10_000

    def __post_init__(self) -> None:
        settle(self)
        for name, value in vars(self).items():
            if value is not None and not value > 0:
                raise ValueError(f"StepControl: {name} must be positive, got {value}")
            if value is not None and name in BOUNDS:
                check_within("StepControl", name, value, BOUNDS[name])
        for name in ("first", "longest"):
            value = getattr(self, name)
            if value is not None and value < self.shortest:
                raise ValueError(f"StepControl: {name} is {value:g} s, below the shortest step, {self.shortest:g} s")
