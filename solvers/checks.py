"""Checks of what is given: a number or an array that cannot be is refused by its name, with a value and the cell it is in."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .records import shown


class Bounds(NamedTuple):
    """Within ``low``..``high`` a number is plausible, and 0 where ``zero``. One that is off by orders of magnitude is in other
    units than its ``unit``."""

    low: float
    high: float
    unit: str
    zero: bool = False


def check_values(what: str, values: float | np.ndarray, fine: bool | np.ndarray) -> None:
    """Raise ValueError where ``fine`` is false: "``what``, got ... in cell (...)", of the first such cell."""
    bad = np.argwhere(~np.asarray(fine))
    if len(bad):
        place = tuple(bad[0].tolist())
        where = f" in cell {place}" if len(place) > 1 else f" at index {place[0]}" if place else ""
        more = f" and in {len(bad) - 1} more" if len(bad) > 1 else ""
        raise ValueError(f"{what}, got {np.asarray(values)[place]:g}{where}{more}")


def check_within(who: str, name: str, values: Any, bounds: Bounds) -> None:
    """Raise ValueError where one of the ``values`` is out of ``bounds``."""
    low, high, unit, zero = bounds
    values = np.asarray(values, dtype=float)
    fine = (values >= low) & (values <= high) | (zero & (values == 0.0))
    check_values(f"{who}: expected {name} within {low:g}..{high:g} {unit}{', or 0' * zero}", values, fine)


def numbers(what: str, value: Any, kinds: str = "iuf") -> np.ndarray:
    """``value``, a number or lists of numbers, as an array; ``kinds``: of the numbers, as NumPy names them. Raises ValueError,
    "``what``, got ...", where it is none."""
    try:
        array = np.asarray(value)
    except ValueError as error:  # lists of different lengths
        raise ValueError(f"{what}, got lists that do not fill a box: {shown(value)}") from error
    if array.dtype.kind not in kinds:
        raise ValueError(f"{what}, got {f'an array of {array.dtype}' if value is array else shown(value)}")
    return array


def check_free(path: Path) -> None:
    """Raise OSError where ``path`` cannot be written, or is there already: before the work, not after it."""
    if path.exists():
        raise FileExistsError(f"{path} is there already; give another, or delete it")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"no folder {path.parent} to write {path.name} into; make it, or give another")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise PermissionError(f"the folder {path.parent} is not writable; give another")


def check_empty(folder: Path) -> None:
    """Raise OSError where ``folder`` has something in it, or is a file."""
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise FileExistsError(f"{folder} is there already, and not an empty folder; give another, or delete it")
