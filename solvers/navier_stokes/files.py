"""A run as one HDF5 file, written frame by frame: whatever ends the run, what was computed is there and can be read.
The file has its name once the first frame is in it.

    time, steps, energy, enstrophy, divergence (T+1,), drag (T+1, d)    what Frame says of them
    velocity (T+1, d, ..), vorticity (T+1, 1 or 3, ..)                  on the low faces, and at the centres of the cells
    fraction (..)                                                       of each cell that the ball takes, where there is one
    attributes                                                          ``flow``, its TOML; ``dt`` in s; ``complete``
Each array has its ``units``, as Result says.

Chunks hold a frame and pass shuffle, gzip and fletcher32: a flipped bit is an error on reading, not a wrong number.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from refimpl import Space, wire

from ..hdf5 import RUN, RUN_OR_SAMPLE, new_file, reading
from ..interrupts import between_steps
from .flow import Flow, flow_of, to_toml
from .simulate import Frame, Run, units
from .solid import Fraction

NUMBERS = ("time", "steps", "energy", "enstrophy", "divergence", "drag")
FIELDS = ("velocity", "vorticity")
SPARE = 1 << 20  # bytes that a disk must have beside the next frame


@dataclass(frozen=True, eq=False)
class Recording:
    """What a file holds: the flow, its arrays by name, and whether the run came to its end."""

    flow: Flow
    arrays: dict[str, np.ndarray]
    complete: bool


def record(
    flow: Flow,
    path: str | Path,
    comm: Any = None,
    grid: Sequence[int] | None = None,
    progress: Callable[[float, str], None] | None = None,
) -> None:
    """Simulate ``flow``, as simulate does, into a new file ``path``; collective, rank 0 writes.

    Raises also, on all ranks, OSError where the file is there, cannot be written, or the disk is full.
    """
    comm = wire.world() if comm is None else comm
    with between_steps(progress, comm) as told:
        _write(Run(flow, comm, grid, progress=told), path)


def _write(run: Run, path: str | Path) -> None:
    """Make all frames of the run, and its file."""
    flow, V, comm = run.flow, run.flow_step.velocities, run.flow_step.domain.comm
    chi = fraction(flow, run)
    run.check_stable()  # before there is a file
    frames = (whole(V, frame) for frame in run.frames())
    first = next(frames)

    def begin(file: h5py.File) -> None:
        file.attrs.update({"flow": to_toml(flow), "dt": run.flow_step.dt, "complete": False})
        if chi is not None:
            file["fraction"] = chi
            file["fraction"].attrs["units"] = "1"
        append(file, Path(path), first)

    file = wire.together(comm, lambda: new_file(path, begin) if comm.rank == 0 else None)
    try:
        for numbers in frames:
            wire.together(comm, partial(append, file, Path(path), numbers))
        wire.together(comm, lambda: file.attrs.update(complete=True) if file else None)
    finally:
        if file:
            file.close()


def whole(V: Space, frame: Frame) -> dict[str, Any]:
    """What a file holds of a frame, by name, on rank 0; collective."""
    fields = {"velocity": V.gather(frame.velocity), "vorticity": curls(V, frame).gather(frame.vorticity)}
    return {name: getattr(frame, name) for name in NUMBERS} | fields


def append(file: h5py.File | None, path: Path, numbers: dict[str, Any]) -> None:
    """Add a frame, and have it on the disk. OSError where there is no room: HDF5's own failed write could end the process."""
    if file is None:  # not rank 0
        return
    needed, free = sum(np.size(value) * 8 for value in numbers.values()), shutil.disk_usage(path.parent).free
    if free < needed + SPARE:
        raise OSError(f"{path}: the next frame needs {needed:,} bytes, the disk has {free:,}; earlier frames are there")
    for name, value in numbers.items():
        shape = np.shape(value)
        if name not in file:
            packed = {"compression": "gzip", "shuffle": True, "fletcher32": True} if len(shape) > 1 else {}
            file.create_dataset(name, (0, *shape), "f8", maxshape=(None, *shape), chunks=(1, *shape), **packed)
            file[name].attrs["units"] = units(len(numbers["velocity"]))[name]
        file[name].resize(len(file[name]) + 1, axis=0)
        file[name][-1] = value
    file.flush()


def read_run(path: str | Path) -> Recording:
    """What a file of ``record`` holds. OSError where it is missing or damaged, ValueError where it is no run."""
    with reading(path, RUN) as file:
        text, complete = file.attrs["flow"], bool(file.attrs["complete"])
        count = min(len(file[name]) for name in (*NUMBERS, *FIELDS))
        arrays = {name: file[name][:count] for name in (*NUMBERS, *FIELDS)}
        arrays |= {"fraction": file["fraction"][()]} if "fraction" in file else {}
    try:
        return Recording(flow_of(text), arrays, complete)
    except ValueError as error:
        raise ValueError(f"{path}: its flow cannot be read: {error}") from error


def is_run(path: str | Path) -> bool:
    """Whether a file is one of ``record``. OSError where it is missing or damaged."""
    with reading(path, RUN_OR_SAMPLE) as file:
        return "flow" in file.attrs


def fraction(flow: Flow, run: Run) -> np.ndarray | None:
    """Of each cell, what the ball takes, on rank 0; None elsewhere and without a ball."""
    if flow.ball is None:
        return None
    step = run.flow_step
    chi = Fraction(step.velocities, flow.mesh, centres=True)
    return step.project.divergence.range.gather(chi.value(np.array([*flow.ball.centre, flow.ball.radius]))[0])


def curls(V: Any, frame: Frame) -> Any:
    """The space of the vorticity."""
    return V.replace(shape=(len(frame.vorticity), *V.shape[1:]))
