"""Files that are whole or not there: written beside their place, then renamed."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """``write`` a file and put it at ``path`` when it is complete."""
    write_together({path: write})


def write_together(files: dict[Path, Callable[[Path], object]]) -> None:
    """Write each file, and put them at their paths when all are complete; where writing one fails, nothing is left
    of any."""
    partials = {path: path.with_name(path.name + ".partial") for path in files}
    try:
        for path, write in files.items():
            write(partials[path])
        for path, partial in partials.items():
            partial.replace(path)
    finally:
        for partial in partials.values():
            partial.unlink(missing_ok=True)


def check_folder(folder: Path) -> None:
    """Make the folder, write a file into it and remove that. OSError, which names the folder, where this fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder) as probe:
            probe.write(b"probe")
    except OSError as error:
        raise OSError(f"cannot write into the folder {folder}: {error}") from error
