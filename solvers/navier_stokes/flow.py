"""Flow: what is simulated, as a small record that is written to and read from TOML.

Units        metres and seconds; pressure and forces are for a density of 1.
Boundaries   Of each axis: "periodic"; "wall": no slip at both ends, which ``lids`` may move; "inflow": a periodic axis whose
             last part, the fringe, restores ``inflow``: what has left comes in again as a free stream.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from ..records import made, settle
from ..toml import FLOW, case_in, written
from .mesh import Mesh
from .plausible import check_flow
from .schemes import SCHEMES, longest_step
from .solid import Ball, Fringe

BOUNDARIES = ("periodic", "wall", "inflow")
INITIAL = ("rest", "inflow", "taylor-green")
SIDES = {f"{name}-{end}": (axis, e) for axis, name in enumerate("xyz") for e, end in enumerate(("low", "high"))}
EXAMPLE = """shape = [96, 64]                # cells; two or three axes
lengths = [12.0, 8.0]           # m
viscosity = 0.01                # m2/s
end = 30.0                      # s
frames = 30                     # that are kept, beside the first
boundaries = ["inflow", "periodic"]     # of each axis; or "wall"
inflow = [1.0, 0.0]             # m/s
initial = "inflow"              # or "rest", "taylor-green"
scheme = "rk3"                  # or "ab2"
steps = 0                       # in each frame; 0: as many as are needed

[ball]
centre = [3.0, 4.1]             # m
radius = 0.5                    # m
"""
FRINGE = 0.15  # of the axis
SAFETY = 3.0  # times the largest speed that is given: what a flow reaches beside a disc that starts at once
TIMES = 20.0  # how much of the wake the fringe forgets: the free stream passes it in exp(-TIMES / 2)


@dataclass(frozen=True)
class Flow:
    """An incompressible flow in a box, and when it is looked at.

    ``shape``       cells along x and y, or along x, y and z
    ``lengths``     of the box along these axes, m
    ``viscosity``   kinematic, m2/s
    ``end``         how long the flow is followed, s
    ``boundaries``  of each axis: "periodic"; "wall", no slip at both ends; "inflow", periodic, but its last part, the fringe,
                    restores the inflow; none: all periodic
    ``frames``      equal parts of the time, at whose ends the flow is kept, beside the first
    ``steps``       of equal length in each frame; 0: as few as are stable at three times the largest speed that is
                    given, and what the force adds to it
    ``scheme``      "rk3" or "ab2"
    ``initial``     "rest", "inflow" (the free stream everywhere) or "taylor-green"
    ``inflow``      velocity of the free stream, m/s, where an axis has an inflow
    ``force``       on each unit of mass, m/s2
    ``lids``        velocities of walls along themselves, m/s: x-low, x-high, y-low, y-high, z-low or z-high = [u, v] or
                    [u, v, w]
    ``ball``        at rest in the flow

    Raises ValueError where a number makes no sense, or the parts do not fit each other.
    """

    shape: tuple[int, ...]
    lengths: tuple[float, ...]
    viscosity: float
    end: float
    boundaries: tuple[str, ...] = ()
    frames: int = 1
    steps: int = 0
    scheme: str = "rk3"
    initial: str = "rest"
    inflow: tuple[float, ...] = ()
    force: tuple[float, ...] = ()
    lids: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    ball: Ball | None = None

    def __post_init__(self) -> None:
        settle(self)
        object.__setattr__(self, "boundaries", self.boundaries or ("periodic",) * len(self.shape))
        self._check_parts(len(self.shape))
        check_flow(self)

    @property
    def mesh(self) -> Mesh:
        return Mesh(self.shape, self.lengths, tuple(kind == "wall" for kind in self.boundaries))

    @property
    def fringe(self) -> Fringe | None:
        """Where the free stream is restored."""
        if "inflow" not in self.boundaries:
            return None
        axis = self.boundaries.index("inflow")
        return Fringe(axis, FRINGE, TIMES * abs(self.inflow[axis]) / (FRINGE * self.lengths[axis]), self.inflow)

    @property
    def speeds(self) -> dict[tuple[int, int], tuple[float, ...]]:
        """(axis, end) -> the velocity of a wall."""
        return {SIDES[side]: speed for side, speed in self.lids.items()}

    @property
    def rate(self) -> float:
        """The largest s = sum of |u_i| / h_i of what is given: lids, the free stream, and what flows at first; 1/s."""
        given = [self.inflow, *self.lids.values(), (1.0,) * len(self.shape) if self.initial == "taylor-green" else ()]
        return max(sum(abs(u) / h for u, h in zip(speed, self.mesh.spacing, strict=False)) for speed in given)

    @property
    def longest_step(self) -> float:
        """The longest that is stable at SAFETY times the largest speed that is given, s."""
        return self._longest_step(SAFETY * self.rate)

    @property
    def longest_driven_step(self) -> float:
        """The longest that is stable also at what the force adds by the end, beside a ball more than it gives the mean, s."""
        added = sum(self._driven_speed(axis) / h for axis, h in enumerate(self.mesh.spacing)) if self.force else 0.0
        return self._longest_step(SAFETY * self.rate + (SAFETY if self.ball else 1.0) * added)

    def _longest_step(self, rate: float) -> float:
        return longest_step(self.scheme, rate, self.viscosity, self.mesh.spacing)

    def _driven_speed(self, axis: int) -> float:
        """What the force can add to the speed along ``axis`` by the end: f t in the open, Poiseuille's f L^2 / 8 nu, which the
        mesh exceeds by f h^2 / 8 nu, between walls along it, and nothing towards a wall; m/s."""
        f, mesh = abs(self.force[axis]), self.mesh
        if mesh.walls[axis]:
            return 0.0
        gaps = [n * n + h * h for n, h, wall in zip(mesh.lengths, mesh.spacing, mesh.walls, strict=True) if wall]
        steady = f * min(gaps) / (8.0 * self.viscosity) if gaps and self.viscosity else np.inf
        return min(f * self.end, steady)

    def _check_parts(self, d: int) -> None:
        """Raise ValueError where the parts do not fit each other, or a word is none that is known."""
        if d not in (2, 3):
            raise ValueError(f"Flow: expected shape = 2 or 3 cell counts, got {self.shape}")
        if len(self.boundaries) != d or not set(self.boundaries) <= set(BOUNDARIES):
            raise ValueError(
                f"Flow: expected boundaries of {', '.join(BOUNDARIES)} for the {d} axes of shape, got {self.boundaries}"
            )
        self.mesh  # noqa: B018  what does not fit shows here
        if self.boundaries.count("inflow") > 1 or ("inflow" in self.boundaries) != bool(self.inflow):
            raise ValueError(
                'Flow: expected at most one axis with "inflow" in boundaries, and then the velocity of the inflow, got '
                f"{self.boundaries} and inflow = {self.inflow}"
            )
        for name, vector in {"inflow": self.inflow, "force": self.force, **self.lids}.items():
            if len(vector) != d and (vector or name in self.lids):
                raise ValueError(f"Flow: {name} needs {d} components, got {vector}")
        for side, speed in self.lids.items():
            axis = SIDES.get(side, (d,))[0]
            if axis >= d or self.boundaries[axis] != "wall" or speed[axis] != 0:
                raise ValueError(
                    f"Flow: a lid must be a wall, {', '.join(SIDES)}, that moves along itself, got lids.{side} = {speed} and "
                    f"boundaries = {self.boundaries}"
                )
        if self.scheme not in SCHEMES:
            raise ValueError(f"Flow: expected a scheme of {', '.join(SCHEMES)}, got {self.scheme!r}")
        if self.initial not in INITIAL or (self.initial == "inflow" and not self.inflow):
            raise ValueError(
                f"Flow: expected an initial state of {', '.join(INITIAL)}, which an inflow must go with, got {self.initial!r}"
            )
        if self.fringe and self.inflow[self.fringe.axis] == 0:
            raise ValueError(
                f"Flow: the inflow does not flow in along its axis, got inflow = {self.inflow} and boundaries = "
                f"{self.boundaries}"
            )


def to_toml(flow: Flow) -> str:
    """The flow as the text of a TOML file."""
    entries = asdict(flow)
    tables = {name: entries.pop(name) for name in ("lids", "ball")}
    lines = [f"{name} = {written(value)}" for name, value in entries.items() if value != ()]
    for name, table in tables.items():
        lines += [f"\n[{name}]", *(f"{key} = {written(value)}" for key, value in table.items())] if table else []
    return "\n".join(lines) + "\n"


def read_flow(path: str | Path) -> Flow:
    """The flow in a TOML file. OSError where there is none, ValueError, which names the file, where it is none."""
    with case_in(path) as text:
        return flow_of(text)


def flow_of(text: str) -> Flow:
    """The flow that ``to_toml`` has written. ValueError where it is none."""
    given = tomllib.loads(text)
    if (kind := given.pop("kind", FLOW)) != FLOW:
        raise ValueError(f'expected kind = "{FLOW}", got {kind!r}')
    return made(Flow, given)
