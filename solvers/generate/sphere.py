"""Flow past a sphere: a free stream meets a sphere at a random place; its wake is to be predicted.

    rng          one generator for the centre, spawned from SeedSequence([root_seed, index])
    given        solid: the fraction of each cell that the sphere fills, (nx, ny, nz)
    predicted    vorticity_x, _y, _z (1/s): (T+1, nx, ny, nz), frame 0 is the free stream as the sphere meets it
Lengths are in cells, h = 1 m, and speeds in m/s. The stream comes in through x; y and z are periodic. What has left comes in
again as a free stream: the last part of x is the fringe that restores it, and no sphere is there.
Published    SciAI4Industry's set is shape (130, 130, 130), radius 8, velocity (1, 0.5, 0), reynolds 200 and 64 frames in 64
             units of radius / speed, with the centre in 16..49 of x and 16..114 of y and z; another solver made it.
Trap         Fluxes are centred: beyond a cell Reynolds number U h / nu = reynolds / radius of some 2, sharp layers leave
             stripes of one cell in the vorticity. By default it is 50, in the published set 25: large wakes are resolved, the
             skin of the sphere is not. More cells for a radius, or a lower ``reynolds``, give smooth wakes.
Reference    Witte et al., arXiv 2211.12709; github.com/microsoft/AI4FluidSimulations.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np

from refimpl.verify.lone_rank import LoneRank

from ..navier_stokes import Ball, Flow, Result, UnstableStep, simulate
from ..navier_stokes.solid import Fraction
from .plan import Plan, Splits
from .sample import Sample, single, versions

DIVERGENCE = 1e-10  # 1/s, the largest that a sample may have
STOP = 0.5  # of the time in which the stream passes a cell: eta, as ``navier_stokes.solid`` says
DOWNSTREAM = 0.38  # of x: the centre lies before it, and the wake beyond
UNITS = {"solid": "1", "radius": "m", "reynolds": "1", **{f"vorticity_{axis}": "1/s" for axis in "xyz"}}


@dataclass(frozen=True)
class Settings(Splits):
    """What a data set is made of; lengths in cells, of 1 m.

    ``shape``      cells (nx, ny, nz)
    ``radius``     of the sphere; its centre keeps two radii off the sides
    ``velocity``   of the free stream, m/s; it comes in through x, so the first component is positive
    ``reynolds``   speed along x times radius / viscosity
    ``duration``   simulated time in units of radius / speed, cut into ``frames`` equal intervals
    and those of ``Splits``. Raises ValueError where a value makes no sense.
    """

    kind = "sphere"

    shape: tuple[int, int, int] = (48, 48, 48)
    radius: float = 4.0
    velocity: tuple[float, float, float] = (1.0, 0.5, 0.0)
    reynolds: float = 200.0
    duration: float = 64.0
    frames: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        self.make_plain(int, "shape")
        self.make_plain(float, "radius", "velocity", "reynolds", "duration")
        if len(self.shape) != 3 or len(self.velocity) != 3 or not self.velocity[0] > 0.0:
            raise ValueError(
                "Settings: expected three numbers of cells, and a velocity of three components, the first positive, got "
                f"{self.shape} and {self.velocity}"
            )
        positive = (self.radius, self.reynolds, self.duration)
        if (
            not all(0.0 < value < np.inf for value in positive)
            or not np.isfinite(self.velocity).all()
            or self.frames < 1
        ):
            raise ValueError(
                "Settings: expected radius, reynolds and duration above 0 and finite velocities, got "
                f"{self.radius}, {self.reynolds}, {self.duration} and {self.velocity}"
            )
        if self.radius < 0.5:
            raise ValueError(f"Settings: expected a radius of at least half a cell, got {self.radius:g}")
        if any(low > high for low, high in self.room):
            raise ValueError(
                f"Settings: in a box of {self.shape} cells a sphere of radius {self.radius:g} has no room: its centre keeps "
                f"two radii off the sides, and within {DOWNSTREAM:.0%} of x; take a smaller radius or more cells"
            )

    @property
    def room(self) -> list[tuple[float, float]]:
        """Where the centre may be, along each axis."""
        margin = 2.0 * self.radius
        ends = DOWNSTREAM * self.shape[0], self.shape[1] - margin, self.shape[2] - margin
        return [(margin, end) for end in ends]

    @property
    def flow(self) -> Flow:
        """What is simulated, without the sphere."""
        return Flow(
            shape=self.shape,
            lengths=tuple(map(float, self.shape)),
            viscosity=self.velocity[0] * self.radius / self.reynolds,
            end=self.duration * self.radius / float(np.linalg.norm(self.velocity)),
            boundaries=("inflow", "periodic", "periodic"),
            frames=self.frames,
            scheme="ab2",
            inflow=self.velocity,
            initial="inflow",
        )


def make_plan(settings: Settings) -> Plan:
    """Nothing but the settings."""
    return Plan(settings)


def make_sample(plan: Plan, index: int, progress: Callable | None = None) -> Sample:
    """Sample ``index`` of ``plan``, simulated in this process, without MPI. ``progress`` is passed to ``simulate``.

    Raises UnstableStep where a step would be unstable or a number is not finite, or the divergence is too large.
    """
    settings: Settings = plan.settings  # type: ignore[assignment]
    flow = draw_flow(settings, index)
    result = simulate(flow, LoneRank(0, 1), progress=progress)
    if not (divergence := float(result.all("divergence").max())) <= DIVERGENCE:
        raise UnstableStep(f"the velocity has a divergence of {divergence:.1e} 1/s, more than {DIVERGENCE:g}")
    vorticity = result.all("vorticity")
    return Sample(
        name="refimpl_flow_past_sphere",
        index=index,
        times=result.all("time"),
        axes={axis: np.arange(n) + 0.5 for axis, n in zip("xyz", settings.shape, strict=True)},
        static=single({"solid": solid_fraction(flow)}),
        varying=single({f"vorticity_{axis}": vorticity[:, c] for c, axis in enumerate("xyz")}),
        scalars={"radius": settings.radius, "reynolds": settings.reynolds},
        dt=np.full(result.frames[-1].steps, result.dt),
        units=UNITS,
        boundaries={"x": "OPEN", "y": "PERIODIC", "z": "PERIODIC"},
        provenance=_provenance(settings, index, flow.ball, result, divergence),
    )


def draw_flow(settings: Settings, index: int) -> Flow:
    """The flow of sample ``index``, a function of the settings and the index alone."""
    (rng,) = settings.generators(index, 1)
    low, high = np.transpose(settings.room)
    centre = tuple(rng.uniform(low, high).tolist())
    ball = Ball(centre, settings.radius, eta=STOP / float(np.linalg.norm(settings.velocity)))
    return Flow(**(vars(settings.flow) | {"ball": ball}))


def solid_fraction(flow: Flow) -> np.ndarray:
    """(nx, ny, nz): 1 inside the ball, 0 outside."""
    centres = flow.mesh.scalars(LoneRank(0, 1), (1, 1, 1))
    return Fraction(centres, flow.mesh, centres=True).value(np.array([*flow.ball.centre, flow.ball.radius]))[0]


def _provenance(settings: Settings, index: int, ball: Ball, result: Result, divergence: float) -> dict:
    return {
        "seed": [settings.root_seed, index],
        "centre": list(ball.centre),
        **{f"flow_{name}": value for name, value in asdict(settings).items() if name in ("velocity", "reynolds")},
        "steps": result.frames[-1].steps,
        "divergence": divergence,
        "seconds": float(result.seconds),
        **versions(),
    }
