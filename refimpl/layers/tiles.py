"""Tiles: the parts of a block that are worked on one at a time, small enough to stay in a core's cache through all steps."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import numpy as np

TILE = (
    1 << 17
)  # numbers of a tile; smaller ones pay for Python's calls, and of 2^14 to 2^18 none is faster by more than noise


def tiles(batch: int, rows: int, width: int) -> Iterator[tuple[int, slice]]:
    """(sample, rows) for all rows of all samples, where ``width`` numbers of a tile belong to a row."""
    step = max(TILE // max(width, 1), 1)
    for b in range(batch):
        for start in range(0, rows, step):
            yield b, slice(start, start + step)


def columns(tile: np.ndarray) -> np.ndarray:
    """(channels, rows, N) as (channels, points)."""
    return tile.reshape(len(tile), prod(tile.shape[1:]))


def put(a: np.ndarray, b: int, rows: slice, tile: np.ndarray) -> None:
    """Write (channels, points) into (batch, channels, rows, N)."""
    target = a[b, :, rows]
    target[...] = tile.reshape(target.shape)
