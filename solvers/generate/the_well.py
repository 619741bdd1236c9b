"""A sample as an HDF5 file in the layout of The Well, one trajectory a file.

    t0_fields/permeability_x ...   (1, nx, ny, nz) float32   what is given        units in the attribute ``units``
    t0_fields/saturation ...       (1, T+1, nx, ny, nz)      what is to be predicted; frame 0 is the initial state
    dimensions, boundary_conditions, scalars, t1_fields, t2_fields: as the format wants them
    refimpl                        how the sample was made: seed, plan, time steps, mass balance, versions, licence

Chunks hold the whole time axis and pass shuffle, gzip and fletcher32: a flipped bit is an error on reading, not a wrong
number. ``refimpl`` has the sha256 of the content and, set last, ``complete``. The file is built in memory and then
written as bytes: where the disk is full that is an error, while HDF5's own failed write can end the process.
Reference   Ohana et al. (2024), The Well; https://polymathic-ai.org/the_well/ (data format).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ..files import write_atomically
from .sample import Sample

LARGEST_CHUNK = 8 * 2**20  # bytes


def write_sample(path: Path, sample: Sample, plan: str) -> str:
    """Write ``sample`` of the plan with hash ``plan``; returns the sha256 of its content. Raises OSError."""
    digest = content_digest(sample)
    with h5py.File(path.name, "w", driver="core", backing_store=False) as file:  # in memory: see above
        _write_root(file, sample)
        _write_dimensions(file.create_group("dimensions"), sample)
        _write_boundaries(file.create_group("boundary_conditions"), sample)
        _write_fields(file, sample)
        _write_provenance(file.create_group("refimpl"), sample, plan, digest)
        file.flush()
        image = file.id.get_file_image()
    write_atomically(path, image)
    return digest


def read_sample(path: str | Path) -> Sample:
    """Read a whole sample. Raises OSError where the file is missing or damaged, ValueError where it is no sample."""
    return _ask(path, _read)


def check_sample(path: str | Path, plan: str | None = None) -> None:
    """Raise OSError or ValueError where the file is not a complete sample (of the plan with hash ``plan``, if given).

    All of it is read and compared with its sha256: that takes far less time than a simulation.
    """

    def look(file: h5py.File) -> tuple[str, bool]:
        ours = file["refimpl"].attrs
        return str(ours["plan"]), content_digest(_read(file)) == ours["sha256"]

    found, unchanged = _ask(path, look)
    if plan is not None and found != plan:
        raise ValueError(f"{path} belongs to another plan ({found[:12]}, expected {plan[:12]})")
    if not unchanged:
        raise ValueError(f"{path} is damaged: its content does not have the sha256 it was written with")


def content_digest(sample: Sample) -> str:
    """sha256 over name, dtype, shape and bytes of every array: file bytes differ between HDF5 versions."""
    digest = hashlib.sha256()
    arrays = {"time": sample.times, **sample.axes, **sample.scalars, **sample.static, **sample.varying}
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name}|{array.dtype.str}|{array.shape}|".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _write_root(file: h5py.File, sample: Sample) -> None:
    file.attrs["dataset_name"] = sample.name
    file.attrs["grid_type"] = "cartesian"
    file.attrs["n_spatial_dims"] = 3
    file.attrs["n_trajectories"] = 1
    file.attrs["simulation_parameters"] = list(sample.scalars)
    scalars = file.create_group("scalars")
    scalars.attrs["field_names"] = list(sample.scalars)
    for name, value in sample.scalars.items():
        file.attrs[name] = value
        _mark(scalars.create_dataset(name, data=value), time_varying=False, units=sample.units[name])


def _write_dimensions(group: h5py.Group, sample: Sample) -> None:
    group.attrs["spatial_dims"] = list(sample.axes)
    _mark(group.create_dataset("time", data=sample.times), time_varying=False, units="s")
    for name, values in sample.axes.items():
        _mark(group.create_dataset(name, data=values), time_varying=False, units="m")


def _write_boundaries(group: h5py.Group, sample: Sample) -> None:
    for name, kind in sample.boundaries.items():
        boundary = group.create_group(f"{name}_{kind.lower()}")
        boundary.attrs["associated_dims"] = [name]
        boundary.attrs["associated_fields"] = _no_names()
        boundary.attrs["bc_type"] = kind
        boundary.attrs["sample_varying"] = boundary.attrs["time_varying"] = False
        mask = np.zeros(sample.axes[name].size, dtype=bool)
        mask[[0, -1]] = True
        boundary.create_dataset("mask", data=mask)
        boundary.create_dataset("values", data=np.zeros(2, dtype=np.float32))


def _write_fields(file: h5py.File, sample: Sample) -> None:
    group = file.create_group("t0_fields")
    group.attrs["field_names"] = [*sample.static, *sample.varying]
    for name, values in (sample.static | sample.varying).items():
        data = values[None]  # one trajectory
        stored = group.create_dataset(
            name, data=data, chunks=_chunk(data), compression="gzip", compression_opts=1, shuffle=True, fletcher32=True
        )
        _mark(stored, time_varying=name in sample.varying, units=sample.units[name])
        stored.attrs["sample_varying"] = True
        stored.attrs["dim_varying"] = np.ones(3, dtype=bool)
    for order in (1, 2):
        file.create_group(f"t{order}_fields").attrs["field_names"] = _no_names()


def _write_provenance(group: h5py.Group, sample: Sample, plan: str, digest: str) -> None:
    group.create_dataset("dt", data=sample.dt).attrs["units"] = "s"
    for name, value in sample.provenance.items():
        group.attrs[name] = value
    group.attrs["index"] = sample.index
    group.attrs["plan"] = plan
    group.attrs["sha256"] = digest
    group.attrs["complete"] = True


def _read(file: h5py.File) -> Sample:
    fields, dimensions, ours = file["t0_fields"], file["dimensions"], file["refimpl"]
    names = list(fields.attrs["field_names"])
    varying = [name for name in names if fields[name].attrs["time_varying"]]
    attributes = {k: v for k, v in ours.attrs.items() if k not in ("index", "plan", "sha256", "complete")}
    scalars = file["scalars"]
    named = {name: fields[name] for name in names} | {name: scalars[name] for name in scalars.attrs["field_names"]}
    sides = {b.attrs["associated_dims"][0]: b.attrs["bc_type"] for b in file["boundary_conditions"].values()}
    return Sample(
        name=file.attrs["dataset_name"],
        index=int(ours.attrs["index"]),
        times=dimensions["time"][:],
        axes={name: dimensions[name][:] for name in dimensions.attrs["spatial_dims"]},
        static={name: fields[name][0] for name in names if name not in varying},
        varying={name: fields[name][0] for name in varying},
        scalars={name: scalars[name][()] for name in scalars.attrs["field_names"]},
        dt=ours["dt"][:],
        units={name: stored.attrs["units"] for name, stored in named.items()},
        boundaries=sides,
        provenance=attributes,
    )


def _ask(path: str | Path, question: Callable[[h5py.File], Any]) -> Any:
    """The answer of the open file of a complete sample; every error names the file."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"no file {path}")
    try:
        with h5py.File(path, "r") as file:
            if "refimpl" in file and file["refimpl"].attrs.get("complete", False):
                return question(file)
    except Exception as error:  # flipped bits make h5py raise nearly every kind
        raise OSError(f"{path} is damaged: {error}") from error
    raise ValueError(f"{path} is not a complete sample of this project, as python -m solvers simulate or run makes it")


def _mark(dataset: h5py.Dataset, time_varying: bool, units: str) -> None:
    dataset.attrs["sample_varying"] = False
    dataset.attrs["time_varying"] = time_varying
    dataset.attrs["units"] = units


def _no_names() -> np.ndarray:
    return np.empty(0, dtype=h5py.string_dtype())


def _chunk(data: np.ndarray) -> tuple[int, ...]:
    """All times and layers, and as much of x and y as keeps a chunk within 8 MB."""
    chunk = list(data.shape)
    while np.prod(chunk) * data.itemsize > LARGEST_CHUNK and max(chunk[-3:-1]) > 1:
        axis = -3 if chunk[-3] >= chunk[-2] else -2
        chunk[axis] = -(-chunk[axis] // 2)
    return tuple(chunk)
