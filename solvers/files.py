"""Files that are whole or absent: written under a temporary name, made durable, then renamed.

    write NAME.partial -> fsync -> rename to NAME -> fsync the directory

A rename within a directory is atomic, so a reader never sees half a file and a killed writer leaves only a
``.partial``, which no reader of ``*.h5`` picks up and the next run sweeps away.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PARTIAL = ".partial"


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file of ``content``, replacing what has the name ``path``. Raises OSError (full disk, no permission)."""
    partial = partial_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        _sync(partial)
        give_name(partial, path)
    except BaseException as error:
        discard(partial)
        if isinstance(error, OSError):
            raise OSError(f"cannot write {path}: {error}") from error
        raise


@contextmanager
def whole_or_absent(path: Path) -> Iterator[None]:
    """Where the body fails that writes a new file ``path``, none is left. Raises OSError (full disk), which names it."""
    try:
        yield
    except BaseException as error:
        discard(path)
        if isinstance(error, OSError):
            raise OSError(f"cannot write {path}: {error}") from error
        raise


def sweep_partial(folder: Path, pattern: str) -> None:
    """Remove what an interrupted run left half written of the files ``pattern`` (a glob) under ``folder``, and no more."""
    for partial in folder.glob(pattern + PARTIAL):
        discard(partial)


def partial_of(path: Path) -> Path:
    """The name of ``path`` while it is written."""
    return path.with_name(path.name + PARTIAL)


def give_name(partial: Path, path: Path) -> None:
    """Rename what is whole, and on the disk."""
    os.replace(partial, path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def discard(path: Path) -> None:
    """Remove a file, if it can be."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        pass  # the folder is gone or read-only: the error that brought us here says more
