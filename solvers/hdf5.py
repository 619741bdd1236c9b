"""HDF5: files that are opened and read with errors that name the file, and say what was expected of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from .checks import check_free
from .files import discard, give_name, partial_of

RUN = "the run of a case, as python -m solvers simulate CASE.toml writes it"
RUN_OR_SAMPLE = "a run or a sample, as python -m solvers simulate writes them"


def open_file(path: str | Path, expected: str, mode: str = "r", **options: Any) -> h5py.File:
    """The open file. OSError where it is missing, or nothing that HDF5 can read."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"no file {path}; expected {expected}")
    try:
        return h5py.File(path, mode, **options)
    except OSError as error:
        raise OSError(
            f"{path} is no HDF5 file, or damaged, or still being written; expected {expected} (HDF5: {error})"
        ) from error


def new_file(path: str | Path, fill: Callable[[h5py.File], None]) -> h5py.File:
    """A new file, open to be written, which has its name only once what ``fill`` puts into it is on the disk: killed before,
    it leaves a partial one, which the next takes away. OSError where it cannot be made, or is there or being made already."""
    path = Path(path)
    check_free(path)
    partial = partial_of(path)
    _sweep(partial)
    file = h5py.File(partial, "x")
    try:
        fill(file)
        on_disk(file)
        give_name(partial, path)
    except BaseException:
        file.close()
        discard(partial)
        raise
    return file


def on_disk(file: h5py.File) -> None:
    """Have all that was written on the disk."""
    file.flush()
    os.fsync(file.id.get_vfd_handle())


def _sweep(partial: Path) -> None:
    """Remove what a killed process has left; what another still writes, HDF5 has locked."""
    try:
        h5py.File(partial, "r+").close()
    except BlockingIOError as error:
        raise OSError(f"{partial} is being written by another process; give another name, or wait") from error
    except OSError:  # damaged, or none
        pass
    discard(partial)


@contextmanager
def reading(path: str | Path, expected: str) -> Iterator[h5py.File]:
    """The file, open to be read, also while it is still written. Raises, also of what is done with it, OSError where it is
    missing or damaged, ValueError where it lacks something."""
    with open_file(path, expected, locking=False) as file, told(path, expected):
        yield file


@contextmanager
def told(path: str | Path, expected: str) -> Iterator[None]:
    """Errors of what is done with a file tell its name, and what was ``expected`` of it."""
    try:
        yield
    except KeyError as error:
        raise ValueError(f"{path} is not {expected}: {error.args[0]}") from error
    except Exception as error:  # flipped bits make h5py raise nearly every kind
        raise OSError(f"{path} is damaged, or not {expected}: {error}") from error


def array_in(path: str | Path, name: str) -> np.ndarray:
    """The array ``name`` of a file. Raises as ``reading`` does."""
    with reading(path, f"an HDF5 file with the array {name}") as file:
        if not isinstance(file.get(name), h5py.Dataset):
            raise KeyError(f"it has no array {name}; it has {', '.join(file)}")
        return file[name][()]
