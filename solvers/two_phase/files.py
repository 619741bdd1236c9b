"""A run as one HDF5 file, written frame by frame: whatever ends the run, what was computed is there, and it can go on.

    frames                               how many of the T+1 are there; written last of each
    time, pressure, saturation, bhp, well_volume, newton_iterations, linear_iterations, mass_balance_error (T+1, ..): Result
    steps (T+1,)                         accepted until then
    proposal (T+1,)                      of the March, so that a run that goes on is bitwise the one that was not interrupted
    dt (most,)                           the accepted steps, s
    porosity, permeability_x, .. (nx, ny, nz), depth, dz, active, x, y (the planes between cells): what the model is
    attributes                           ``kind``, ``case``, its TOML; each array has its ``units``

Kill-safe    All arrays have their places on the disk before the file has its name; later only numbers in these places change,
             never the structure of the file, and ``frames`` is counted up once a frame is on the disk. So a run can be killed
             at any moment: the file is as good as its last frame. A full disk shows before the first step, too.
Chunks       of what has a number a cell hold a frame and pass fletcher32: a flipped bit is an error on reading, not a wrong
             number. A frame is written over a whole chunk, of whatever a killed run has left there nothing is read.
Resume       A frame holds all that the next step depends on. A run that goes on repeats what came after its last frame.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from refimpl import Partition, wire

from ..hdf5 import RUN, RUN_OR_SAMPLE, new_file, on_disk, open_file, reading, told
from ..interrupts import between_steps
from ..toml import TWO_PHASE
from .blocks import one_rank
from .case import Case, case_of, to_toml
from .reservoir import Reservoir
from .simulate import March, begin, marched

UNITS = {
    "time": "s",
    "pressure": "Pa",
    "saturation": "1",
    "bhp": "Pa",
    "well_volume": "m3 of brine, CO2 at reference pressure",
    "newton_iterations": "1",
    "linear_iterations": "1",
    "mass_balance_error": "1",
    "steps": "1",
    "proposal": "s",
}
MODEL_UNITS = {
    "porosity": "1",
    "permeability_x": "m2",
    "permeability_y": "m2",
    "permeability_z": "m2",
    "depth": "m",
    "dz": "m",
    "active": "1",
    "x": "m",
    "y": "m",
}
SPARE = 1 << 20  # bytes that a disk must have beside the run


@dataclass(frozen=True, eq=False)
class Recording:
    """What a file holds: the case, its arrays by name, the accepted steps ``dt`` in s, and whether the run came to its end."""

    case: Case
    arrays: dict[str, np.ndarray]
    dt: np.ndarray
    complete: bool


def record(
    case: Case,
    path: str | Path,
    resume: bool = False,
    progress: Callable[[float, str], None] | None = None,
    partition: Partition | None = None,
) -> None:
    """Simulate ``case``, as simulate does, into a new file ``path``; with ``resume``, go on where the run in it has ended, on
    whatever partition. Collective; rank 0 reads and writes.

    Raises also, on all ranks, OSError where the file is there (without ``resume``), cannot be written, or the disk has no room
    for the run, and ValueError where the run to go on with is another case's.
    """
    partition = partition or one_rank()
    comm = partition.comm
    file = wire.together(comm, lambda: _opened(case, Path(path), resume) if comm.rank == 0 else None)
    try:
        march = begin(case.reservoir, case.initial, case.control, partition, to_toml(case))
        last = wire.at_root(comm, lambda: _last_frame(file))
        if last is None:
            append(file, march)
        else:
            _go_on_from(march, last)
        with between_steps(progress, comm) as tell:
            for _ in marched(march, list(case.times), tell):
                append(file, march)
    finally:
        if file:
            file.close()


def read_run(path: str | Path) -> Recording:
    """What a file of ``record`` holds. OSError where it is missing or damaged, ValueError where it is no run."""
    with reading(path, RUN) as file:
        text, count = file.attrs["case"], _count(file)
        arrays = {name: file[name][:count] for name in UNITS} | {name: file[name][()] for name in MODEL_UNITS}
        dt = file["dt"][: int(arrays["steps"][-1])] if count else np.empty(0)
        complete = count == len(file["time"])
    try:
        return Recording(case_of(text), arrays, dt, complete)
    except ValueError as error:
        raise ValueError(f"{path}: its case cannot be read: {error}") from error


def is_run(path: str | Path) -> bool:
    """Whether a file is one of ``record``. OSError where it is missing or damaged."""
    with reading(path, RUN_OR_SAMPLE) as file:
        return file.attrs.get("kind") == TWO_PHASE


def append(file: h5py.File | None, march: March) -> None:
    """Add the frame that the ``march`` stands at, and have it on the disk; collective, ``file`` on rank 0."""
    numbers = _numbers(march)
    wire.together(march.assembly.comm, lambda: _write(file, numbers, march.steps) if file else None)


def _write(file: h5py.File, numbers: dict[str, Any], steps: list[float]) -> None:
    place = _count(file)
    before = int(file["steps"][place - 1]) if place else 0
    for name, value in numbers.items():
        file[name][place] = value
    file["dt"][before : len(steps)] = steps[before:]
    on_disk(file)
    file["frames"][()] = place + 1
    on_disk(file)


def model(reservoir: Reservoir) -> dict[str, np.ndarray]:
    """What the grid and the rock are, by name."""
    grid, rock = reservoir.grid, reservoir.rock
    fields: dict[str, Any] = {f"permeability_{name}": k for name, k in zip("xyz", rock.permeability, strict=True)}
    fields |= {"porosity": rock.porosity, "depth": grid.depth, "dz": grid.lengths[2], "active": reservoir.active}
    arrays = {name: np.broadcast_to(values, grid.shape) for name, values in fields.items()}
    return arrays | {"x": grid.edges[0], "y": grid.edges[1]}


def _numbers(march: March) -> dict[str, Any]:
    """What a frame holds, by name, on rank 0; collective."""
    assembly, space = march.assembly, march.assembly.block.space
    p, S, P = assembly.unpack(march.x)
    return {
        "time": march.time,
        "pressure": space.gather(p.reshape(space.local_shape).copy()),
        "saturation": space.gather(S.reshape(space.local_shape).copy()),
        "bhp": assembly.gather_wells(P[:, None])[:, 0],
        "well_volume": march.well_volume,
        "newton_iterations": march.iterations,
        "linear_iterations": march.linear.iterations,
        "mass_balance_error": march.mass_balance_error,
        "steps": len(march.steps),
        "proposal": march.proposal,
    }


def _last_frame(file: h5py.File) -> tuple[dict[str, Any], list[float]] | None:
    """(what the last frame holds, the accepted steps until then); None without a frame."""
    with told(file.filename, RUN):
        if not (count := _count(file)):
            return None
        frame = {name: file[name][count - 1] for name in UNITS}
        return frame, file["dt"][: int(frame["steps"])].tolist()


def _count(file: h5py.File) -> int:
    """How many frames are there."""
    count, places = int(file["frames"][()]), len(file["time"])
    if not 0 <= count <= places:
        raise OSError(f"it says that {count} of its {places} frames are written")
    return count


def _go_on_from(march: March, last: tuple[dict[str, Any], list[float]]) -> None:
    """Put the march where it stood when it wrote the frame."""
    (frame, march.steps), assembly = last, march.assembly
    cells = np.stack([frame["pressure"].ravel(), frame["saturation"].ravel()], axis=1)
    march.x = np.concatenate([cells[assembly.block.numbers].ravel(), frame["bhp"][assembly.own_wells]])
    march.time, march.proposal = float(frame["time"]), float(frame["proposal"])
    march.assembly = assembly.at(march.time)
    march.iterations, march.linear.iterations = int(frame["newton_iterations"]), int(frame["linear_iterations"])
    march.well_volume, march.mass_balance_error = frame["well_volume"], float(frame["mass_balance_error"])


def _opened(case: Case, path: Path, resume: bool) -> h5py.File:
    return _resumed(case, path) if resume and path.exists() else _begun(case, path)


def _begun(case: Case, path: Path) -> h5py.File:
    """A new file with a place for everything."""
    frames, cells, wells = len(case.times) + 1, case.reservoir.grid.shape, len(case.wells)
    shapes = {"pressure": cells, "saturation": cells, "bhp": (wells,), "well_volume": (wells, 2)}
    fields = model(case.reservoir)
    needed = 16 * frames * int(np.prod(cells)) + sum(values.nbytes for values in fields.values())

    def fill(file: h5py.File) -> None:
        free = shutil.disk_usage(path.parent).free
        if free < needed + SPARE:
            raise OSError(f"{path}: the run needs {needed:,} bytes, the disk has {free:,}")
        file.attrs.update({"kind": TWO_PHASE, "case": to_toml(case)})
        for name, values in fields.items():
            file.create_dataset(name, data=values, fletcher32=True)
            file[name].attrs["units"] = MODEL_UNITS[name]
        for name, units in UNITS.items():
            shape = shapes.get(name, ())
            checked = {"chunks": (1, *shape), "fletcher32": True} if shape == cells else {}
            placed = file.create_dataset(name, (frames, *shape), "f8", **checked)
            placed.attrs["units"] = units
            for frame in range(frames):  # written once, it keeps its place
                placed[frame] = np.nan
        file["dt"] = np.full(case.control.most_steps, np.nan)
        file["dt"].attrs["units"] = "s"
        file["frames"] = 0

    return new_file(path, fill)


def _resumed(case: Case, path: Path) -> h5py.File:
    """The file of a run to go on with."""
    file = open_file(path, RUN + ", to go on with; delete it, or give another --out", "r+")
    try:
        if file.attrs.get("case") != to_toml(case):
            raise ValueError(
                f"{path} is not a run of this case: it has another TOML, which its attribute ``case`` holds; give that, or "
                "another --out"
            )
        for name, values in model(case.reservoir).items():
            with told(path, RUN):
                found = file[name][()]
            if not np.array_equal(found, values):
                raise ValueError(f"{path} is not a run of this case: its {name} is another")
    except BaseException:
        file.close()
        raise
    return file
