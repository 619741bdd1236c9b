"""Files whose failed write is an OSError that names them.

HDF5 files are made in memory and then written as bytes: where the disk is full, HDF5's own failed write can end the process. So
what is written is in memory once more.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any


def write_bytes(path: Path, content: Any) -> None:
    """Bytes, or a buffer of them, as a file."""
    try:
        path.write_bytes(content)
    except OSError as error:  # a write, unlike an opening, does not say of what
        raise OSError(error.errno, error.strerror, str(path)) from error


def write_hdf5(path: Path, fill: Callable[[Any], object]) -> None:
    """What ``fill`` puts into the h5py.File that it is given, as a file."""
    import h5py

    image = BytesIO()
    with h5py.File(image, "w") as file:
        fill(file)
    write_bytes(path, image.getbuffer())
