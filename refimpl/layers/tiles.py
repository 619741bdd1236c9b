"""Tiles: the parts of a block that are worked on one at a time, small enough to stay in a core's cache through all steps."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import numpy as np

from ..arrays import contiguous

TILE = 1 << 16  # numbers of a tile


def tiles(batch: int, rows: int, width: int) -> Iterator[tuple[int, slice]]:
    """(sample, rows) for all rows of all samples, where ``width`` numbers of a tile belong to a row."""
    step = max(TILE // max(width, 1), 1)
    for b in range(batch):
        for start in range(0, rows, step):
            yield b, slice(start, start + step)


def points(x: np.ndarray) -> np.ndarray:
    """(batch, channels, ..) as (batch, channels, points)."""
    return contiguous(x).reshape(*x.shape[:2], prod(x.shape[2:]))
