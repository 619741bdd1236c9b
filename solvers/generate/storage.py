"""CO2 storage: brine and CO2 in random sand and seal models under a real or synthetic top surface.

    rng          one generator for each of top, layers, wells, rate, spawned from SeedSequence([root_seed, index])
    given        permeability_x, permeability_z (m2), porosity, depth (m), well_rate (m3/s per cell): (nx, ny, nz)
    predicted    saturation of CO2, pressure of the brine (Pa): (T+1, nx, ny, nz), frame 0 is the initial state
The lateral boundaries are open: aquifer volumes beyond them keep the pressure near hydrostatic. The top and the bottom
are closed. The given fields determine the plume: rate, wells and rock are all in them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..geology import FEWEST_LAYERS, check_patch, draw_injectors, draw_layers, load_top, random_patch, synthetic_top
from ..grid import Grid
from ..two_phase import Fluids, Reservoir, Result, Rock, SimulationError, StepControl, simulate
from .plan import Plan, Splits
from .sample import Sample, single, versions

REGION = 2**32 - 1  # the index that draws the synthetic surface: no sample has it
FEWEST_COLUMNS = 6  # of x and of y: wells and feeders keep off the boundary
FINEST = 2.0  # m, least distance of columns: random fields cost (correlation length / distance)^2
SMALLEST_REGION = (64, 118)  # columns of a synthetic surface
LARGEST_REGION = 2**22  # columns in all
YEAR = 365.25 * 86400.0  # s
MASS_TOLERANCE = 1e-8  # relative, as ``simulate`` reports it
CONTROL = StepControl()
UNITS = {
    "permeability_x": "m2",
    "permeability_z": "m2",
    "porosity": "1",
    "depth": "m",
    "well_rate": "m3/s",
    "saturation": "1",
    "pressure": "Pa",
    "total_rate": "m3/s",
    "injectors": "1",
}
NOTICE = (
    "The top surface was read from the user's file {name}. If it is the Sleipner 2019 Benchmark Model's: data from "
    "The Sleipner Group (Equinor Energy AS, ExxonMobil Exploration and Production Norway AS, LOTOS Exploration and "
    "Production Norge AS, KUFPEC Norway AS), used under the SLEIPNER CO2 REFERENCE DATASET LICENSE, "
    "https://co2datashare.org/dataset/sleipner-2019-benchmark-model; the data may not be sold."
)


@dataclass(frozen=True)
class Settings(Splits):
    """What a data set is made of. Lengths in m, rates in m3/s of CO2 at the fluids' reference pressure.

    ``shape``, ``spacing``           cells (nx, ny, nz) and their size; dx and dy at least 2 m
    ``years``                        simulated time, cut into ``frames`` equal intervals
    ``rate``                         the total rate of a sample is drawn uniformly between these two
    ``tops``                         the file of a real top surface; None: a synthetic one
    ``tops_shape``, ``tops_spacing`` its columns (an Eclipse file does not say them), and their distance
    ``tops_crop``                    (i0, i1, j0, j1): of its columns, keep those with i0 <= i < i1, j0 <= j < j1
    and those of ``Splits``. Raises ValueError where a value makes no sense.
    """

    kind = "co2"
    sources = ("tops", "tops_crop")  # the surface's own hash stands for them

    shape: tuple[int, int, int] = (24, 24, 10)
    spacing: tuple[float, float, float] = (80.0, 80.0, 6.0)
    years: float = 8.0
    rate: tuple[float, float] = (0.012, 0.016)
    tops: str | None = None
    tops_shape: tuple[int, int] | None = None
    tops_spacing: tuple[float, float] = (50.0, 50.0)
    tops_crop: tuple[int, int, int, int] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.make_plain(int, "shape", "tops_shape", "tops_crop")
        self.make_plain(float, "spacing", "years", "rate", "tops_spacing")
        self.make_plain(str, "tops")
        if len(self.shape) != 3 or min(self.shape[:2]) < FEWEST_COLUMNS or self.shape[2] < FEWEST_LAYERS:
            least = f"{FEWEST_COLUMNS} x {FEWEST_COLUMNS} x {FEWEST_LAYERS}"
            raise ValueError(f"Settings: shape needs three numbers of cells, at least {least}, got {self.shape}")
        for name, count in (("spacing", 3), ("tops_spacing", 2)):
            lengths = getattr(self, name)
            if len(lengths) != count or not all(0.0 < length < np.inf for length in lengths):
                raise ValueError(f"Settings: {name} needs {count} positive lengths in m, got {lengths}")
            if min(lengths[:2]) < FINEST:
                raise ValueError(f"Settings: {name} must be at least {FINEST:g} m in x and y, got {lengths}")
        if not 0.0 < self.years < np.inf:
            raise ValueError(f"Settings: expected years > 0, got {self.years}")
        if len(self.rate) != 2 or not 0.0 < self.rate[0] <= self.rate[1] < np.inf:
            raise ValueError(f"Settings: rate needs two values 0 < low <= high in m3/s, got {self.rate}")
        self._check_surface()

    def _check_surface(self) -> None:
        if self.tops_shape is not None and (len(self.tops_shape) != 2 or min(self.tops_shape) < 1):
            raise ValueError(f"Settings: tops_shape needs two numbers of columns, at least 1, got {self.tops_shape}")
        if self.tops_shape is not None and self.tops is None:
            raise ValueError("Settings: tops_shape says the columns of a surface's file, but no file tops is given")
        if self.tops_crop is not None and (self.tops is None or len(self.tops_crop) != 4):
            raise ValueError(f"Settings: tops_crop needs four numbers i0, i1, j0, j1, and tops; got {self.tops_crop}")

    @property
    def times(self) -> np.ndarray:
        """The report times after the initial state, (frames,), s."""
        return np.linspace(0.0, self.years * YEAR, self.frames + 1)[1:]


@dataclass(frozen=True, eq=False)
class StoragePlan(Plan):
    """Settings together with the top surface that samples take patches of, (nx, ny) m."""

    settings: Settings
    surface: np.ndarray

    def content(self) -> dict:
        """The settings without where a real surface comes from, and that surface's own hash."""
        real = self.settings.tops is not None
        return super().content() | {"tops_sha256": hashlib.sha256(self.surface.tobytes()).hexdigest() if real else None}


def make_plan(settings: Settings) -> StoragePlan:
    """Read the top surface that the settings name, or draw one.

    Raises what ``load_top`` raises, and ValueError where the model is larger than the surface, or the surface too large.
    """
    if settings.tops is not None:
        crop = None if settings.tops_crop is None else (settings.tops_crop[:2], settings.tops_crop[2:])
        surface = load_top(settings.tops, settings.tops_shape, crop)
        check_patch(surface.shape, settings.tops_spacing, settings.shape[:2], settings.spacing[:2])
        return StoragePlan(settings, surface)
    rng = np.random.default_rng(np.random.SeedSequence([settings.root_seed, REGION]))
    spans = [(n - 1) * d / s for n, d, s in zip(settings.shape, settings.spacing, settings.tops_spacing, strict=False)]
    shape = [max(least, 2 * int(np.ceil(span))) for least, span in zip(SMALLEST_REGION, spans, strict=True)]
    if shape[0] * shape[1] > LARGEST_REGION:
        raise ValueError(
            f"the synthetic top of so large a model would have {shape[0]} x {shape[1]} columns, more than "
            f"{LARGEST_REGION}; choose fewer or smaller cells"
        )
    return StoragePlan(settings, synthetic_top(rng, shape, settings.tops_spacing))


def make_sample(plan: StoragePlan, index: int, progress: Callable | None = None) -> Sample:
    """Sample ``index`` of ``plan``, simulated. ``progress`` is passed to ``simulate``.

    Raises SimulationError where the solver gives up, a number is not finite, or mass is not conserved to 1e-8.
    """
    reservoir = draw_reservoir(plan, index)
    result = simulate(reservoir, plan.settings.times.tolist(), control=CONTROL, progress=progress)
    _check(result)
    grid, (kx, _, kz) = reservoir.grid, reservoir.rock.permeability
    static = {
        "permeability_x": kx,
        "permeability_z": kz,
        "porosity": np.asarray(reservoir.rock.porosity),
        "depth": grid.depth,
        "well_rate": rate_map(reservoir),
    }
    return Sample(
        name="refimpl_co2_brine",
        index=index,
        times=np.asarray(result.times, dtype=np.float64),
        axes={name: (np.arange(n) + 0.5) * d for name, n, d in zip("xyz", grid.shape, grid.spacing, strict=True)},
        static=single(static),
        varying=single({"saturation": result.saturation, "pressure": result.pressure}),
        scalars={
            "total_rate": float(sum(reservoir.inflow_at(0.0))),
            "injectors": float(len(reservoir.wells)),
        },
        dt=np.asarray(result.steps, dtype=np.float64),
        units=UNITS,
        boundaries={"x": "OPEN", "y": "OPEN", "z": "WALL"},
        provenance=_provenance(plan, index, result),
    )


def draw_reservoir(plan: StoragePlan, index: int) -> Reservoir:
    """The model of sample ``index``, a function of the plan and the index alone."""
    settings = plan.settings
    for_top, for_layers, for_wells, for_rate = settings.generators(index, 4)
    shape, spacing = settings.shape, settings.spacing
    top = random_patch(for_top, plan.surface, settings.tops_spacing, shape[:2], spacing[:2])
    layers = draw_layers(for_layers, shape, spacing)
    rate = for_rate.uniform(*settings.rate)
    return Reservoir(
        grid=Grid(shape, spacing, top),
        rock=Rock((layers.permeability_x, layers.permeability_x, layers.permeability_z), layers.porosity),
        fluids=Fluids(),
        wells=draw_injectors(for_wells, shape, rate),
        boundary="open",
    )


def rate_map(reservoir: Reservoir) -> np.ndarray:
    """The rate of every cell, (nx, ny, nz), m3/s: a well's rate shared equally by its perforated cells."""
    rates = np.zeros(reservoir.grid.shape)
    for well, rate in zip(reservoir.wells, reservoir.inflow_at(0.0), strict=True):
        k0, k1 = well.layers
        rates[(*well.cell, slice(k0, k1))] += rate / (k1 - k0)
    return rates


def _check(result: Result) -> None:
    if not (np.isfinite(result.saturation).all() and np.isfinite(result.pressure).all()):
        raise SimulationError("the result has values that are not finite")
    if not abs(result.mass_balance_error) <= MASS_TOLERANCE:
        raise SimulationError(f"mass is conserved to {result.mass_balance_error:.1e} only, not to {MASS_TOLERANCE:g}")


def _provenance(plan: StoragePlan, index: int, result: Result) -> dict:
    tops = plan.settings.tops
    return {
        "seed": [plan.settings.root_seed, index],
        "steps": len(result.steps),
        "newton_iterations": result.newton_iterations,
        "mass_balance_error": float(result.mass_balance_error),
        "newton_tolerance": CONTROL.tolerance,
        "newton_mass_tolerance": CONTROL.mass_tolerance,
        "seconds": float(result.seconds),
        **versions(),
        **({} if tops is None else {"notice": NOTICE.format(name=Path(tops).name)}),
    }
