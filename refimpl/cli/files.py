"""Files that are whole or not there: written beside their place, then renamed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """``write`` a file and put it at ``path`` when it is complete."""
    partial = path.with_name(path.name + ".partial")
    write(partial)
    partial.replace(path)
