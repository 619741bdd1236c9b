"""One sample: a trajectory of fields, and what it was made from. Each kind of data set makes its own (``kinds``)."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import numpy as np


@dataclass(frozen=True, eq=False)
class Sample:
    """A trajectory and what it was made from.

    ``times``    (T+1,) s                     ``axes``     x, y, z: positions, m
    ``static``   name -> (nx, ny, nz)         ``varying``  name -> (T+1, nx, ny, nz), all float32
    ``scalars``  name -> number               ``dt``       the accepted time steps, s
    ``units``    name -> unit of what is above
    ``boundaries``  axis -> WALL, OPEN or PERIODIC
    ``provenance``  name -> text or number: seed, solver, versions, licence
    """

    name: str
    index: int
    times: np.ndarray
    axes: dict[str, np.ndarray]
    static: dict[str, np.ndarray]
    varying: dict[str, np.ndarray]
    scalars: dict[str, float]
    dt: np.ndarray
    units: dict[str, str]
    boundaries: dict[str, str]
    provenance: dict


def versions() -> dict[str, str]:
    """What a sample was made with, for its provenance."""
    found = {f"{package}_version": _version(package) for package in ("refimpl", "numpy", "scipy", "h5py")}
    return {"python": platform.python_version(), **found}


def single(fields: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The fields in float32."""
    return {name: np.asarray(values, np.float32) for name, values in fields.items()}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed: run from its source"
