"""Checks of what is given: an array that cannot be is refused by its name, with a value and the cell it is in."""

from __future__ import annotations

import numpy as np


def check_values(what: str, values: float | np.ndarray, fine: bool | np.ndarray) -> None:
    """Raise ValueError where ``fine`` is false: "``what``, got ... in cell (...)", of the first such cell."""
    bad = np.argwhere(~np.asarray(fine))
    if len(bad):
        place = tuple(bad[0].tolist())
        where = f" in cell {place}" + (f" and in {len(bad) - 1} more" if len(bad) > 1 else "") if place else ""
        raise ValueError(f"{what}, got {np.asarray(values)[place]:g}{where}")
