"""Flow: what is simulated, as a small record that is written to and read from TOML.

Units        metres and seconds; pressure and forces are for a density of 1.
Boundaries   Of each axis: "periodic"; "wall": no slip at both ends, which ``lids`` may move; "inflow": a periodic axis whose
             last part, the fringe, restores ``inflow``: what has left comes in again as a free stream.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from math import isfinite
from pathlib import Path

from ..toml import FLOW, written
from .mesh import Mesh
from .schemes import SCHEMES
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
TIMES = 20.0  # how much of the wake the fringe forgets: the free stream passes it in exp(-TIMES / 2)


@dataclass(frozen=True)
class Flow:
    """``shape`` cells on ``lengths``; ``boundaries``, ``lids`` ("y-high" -> velocity) and ``inflow`` as the page says; a
    ``force`` on each unit of mass; a ``ball`` at rest; from ``initial`` for ``end`` seconds, kept in ``frames`` equal parts.
    ``steps``: how many of equal length in each of them; 0: as few as are stable at three times the largest speed that is given.

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
        d, put = len(self.shape), lambda name, value: object.__setattr__(self, name, value)
        put("boundaries", tuple(self.boundaries) or ("periodic",) * d)
        for name in ("shape", "lengths", "inflow", "force"):
            put(name, tuple(getattr(self, name)))
        put("lids", {side: tuple(speed) for side, speed in self.lids.items()})
        self._check_parts(d)
        self._check_numbers()

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

    def _check_parts(self, d: int) -> None:
        if d not in (2, 3):
            raise ValueError(f"Flow: expected 2 or 3 cell counts, got {self.shape}")
        if len(self.boundaries) != d or not set(self.boundaries) <= set(BOUNDARIES):
            raise ValueError(
                f"Flow: expected boundaries of {', '.join(BOUNDARIES)} for {d} axes, got {self.boundaries}"
            )
        if self.boundaries.count("inflow") > 1 or ("inflow" in self.boundaries) != bool(self.inflow):
            raise ValueError('Flow: expected at most one axis with "inflow", and then the velocity of the inflow')
        for name, vector in {"inflow": self.inflow, "force": self.force, **self.lids}.items():
            if vector and len(vector) != d:
                raise ValueError(f"Flow: {name} needs {d} components, got {vector}")
        for side, speed in self.lids.items():
            axis = SIDES.get(side, (d,))[0]
            if axis >= d or self.boundaries[axis] != "wall" or speed[axis] != 0:
                raise ValueError(f"Flow: a lid must be a wall that moves along itself, got {side!r}: {speed}")
        if self.scheme not in SCHEMES or self.initial not in INITIAL or (self.initial == "inflow" and not self.inflow):
            raise ValueError(
                f"Flow: expected a scheme of {', '.join(SCHEMES)} and an initial state of {', '.join(INITIAL)}, which an "
                f"inflow must go with, got {self.scheme!r} and {self.initial!r}"
            )
        if self.fringe and self.inflow[self.fringe.axis] == 0:
            raise ValueError(f"Flow: the inflow {self.inflow} does not flow in along its axis")

    def _check_numbers(self) -> None:
        numbers = [*self.inflow, *self.force, *(u for speed in self.lids.values() for u in speed)]
        if not all(map(isfinite, numbers)) or not (
            0.0 <= self.viscosity < float("inf") and 0.0 < self.end < float("inf")
        ):
            raise ValueError(
                "Flow: expected finite velocities and forces, a viscosity >= 0 and an end > 0, got "
                f"{numbers}, {self.viscosity} and {self.end}"
            )
        if not (isinstance(self.frames, int) and isinstance(self.steps, int) and self.frames >= 1 and self.steps >= 0):
            raise ValueError(f"Flow: expected frames >= 1 and steps >= 0, got {self.frames} and {self.steps}")
        ball, h = self.ball, max(self.mesh.spacing)
        if ball and (len(ball.centre) != len(self.shape) or not (0.0 < ball.radius and 0.0 < ball.eta)):
            raise ValueError(
                f"Flow: the ball needs {len(self.shape)} coordinates, a radius > 0 and eta > 0, got {ball}"
            )
        reach = ball.radius + h if ball else 0.0
        if ball and not all(reach <= c <= n - reach for c, n in zip(ball.centre, self.lengths, strict=True)):
            raise ValueError(f"Flow: the ball, with a cell around it, leaves the box {self.lengths}: {ball}")


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
    try:
        return flow_of(Path(path).read_text())
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path}: {error}") from error


def flow_of(text: str) -> Flow:
    """The flow that ``to_toml`` has written. ValueError, TypeError or KeyError where it is none."""
    given = tomllib.loads(text)
    if given.pop("kind", FLOW) != FLOW:
        raise ValueError(f'expected kind = "{FLOW}"')
    ball = given.pop("ball", None)
    return Flow(**given, ball=ball and Ball(**ball | {"centre": tuple(ball["centre"])}))
