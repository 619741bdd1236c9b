"""One sample: draw a model from the seed, simulate it, check it.

    rng          one generator for each of top, layers, wells, rate, spawned from SeedSequence([root_seed, index])
    given        permeability_x, permeability_z (m2), porosity, depth (m), well_rate (m3/s per cell): (nx, ny, nz)
    predicted    saturation of CO2, pressure of the brine (Pa): (T+1, nx, ny, nz), frame 0 is the initial state
The lateral boundaries are open: aquifer volumes beyond them keep the pressure near hydrostatic. The top and the bottom
are closed. The given fields determine the plume: rate, wells and rock are all in them.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from ..geology import draw_injectors, draw_layers, random_patch
from ..grid import Grid
from ..two_phase import Fluids, Reservoir, Result, Rock, SimulationError, StepControl, simulate
from .plan import Plan

MASS_TOLERANCE = 1e-8  # relative, as ``simulate`` reports it
CONTROL = StepControl()
NOTICE = (
    "The top surface was read from the user's file {name}. If it is the Sleipner 2019 Benchmark Model's: data from "
    "The Sleipner Group (Equinor Energy AS, ExxonMobil Exploration and Production Norway AS, LOTOS Exploration and "
    "Production Norge AS, KUFPEC Norway AS), used under the SLEIPNER CO2 REFERENCE DATASET LICENSE, "
    "https://co2datashare.org/dataset/sleipner-2019-benchmark-model; the data may not be sold."
)


@dataclass(frozen=True, eq=False)
class Sample:
    """A trajectory and what it was made from.

    ``times``    (T+1,) s                     ``axes``     x, y: distances in m; z: depth below the top, m
    ``static``   name -> (nx, ny, nz)         ``varying``  name -> (T+1, nx, ny, nz), all float32
    ``scalars``  name -> number               ``dt``       the accepted time steps, s
    ``provenance``  name -> text or number: seed, solver, versions, licence
    """

    index: int
    times: np.ndarray
    axes: dict[str, np.ndarray]
    static: dict[str, np.ndarray]
    varying: dict[str, np.ndarray]
    scalars: dict[str, float]
    dt: np.ndarray
    provenance: dict


def make_sample(plan: Plan, index: int, progress: Callable | None = None) -> Sample:
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
        "porosity": reservoir.rock.porosity,
        "depth": grid.depth,
        "well_rate": rate_map(reservoir),
    }
    varying = {"saturation": result.saturation, "pressure": result.pressure}
    return Sample(
        index=index,
        times=np.asarray(result.times, dtype=np.float64),
        axes={name: (np.arange(n) + 0.5) * d for name, n, d in zip("xyz", grid.shape, grid.spacing, strict=True)},
        static={name: np.asarray(values, np.float32) for name, values in static.items()},
        varying={name: np.asarray(values, np.float32) for name, values in varying.items()},
        scalars={
            "total_rate": float(sum(reservoir.inflow_at(0.0))),
            "injectors": float(len(reservoir.wells)),
        },
        dt=np.asarray(result.steps, dtype=np.float64),
        provenance=_provenance(plan, index, result),
    )


def draw_reservoir(plan: Plan, index: int) -> Reservoir:
    """The model of sample ``index``, a function of the plan and the index alone."""
    settings = plan.settings
    seeds = np.random.SeedSequence([settings.root_seed, index]).spawn(4)
    for_top, for_layers, for_wells, for_rate = (np.random.default_rng(seed) for seed in seeds)
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


def _provenance(plan: Plan, index: int, result: Result) -> dict:
    provenance = {
        "seed": [plan.settings.root_seed, index],
        "steps": len(result.steps),
        "newton_iterations": result.newton_iterations,
        "mass_balance_error": float(result.mass_balance_error),
        "newton_tolerance": CONTROL.tolerance,
        "newton_mass_tolerance": CONTROL.mass_tolerance,
        "seconds": float(result.seconds),
        "python": platform.python_version(),
    }
    provenance |= {f"{package}_version": _version(package) for package in ("refimpl", "numpy", "scipy", "h5py")}
    if plan.settings.tops is not None:
        provenance["notice"] = NOTICE.format(name=Path(plan.settings.tops).name)
    return provenance


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed: run from its source"
