"""Tiles: the parts of a block that are worked on one at a time, small enough to stay in a core's cache through all steps."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import NamedTuple

import numpy as np

TILE = (
    1 << 17
)  # numbers of a tile; smaller ones pay for Python's calls, and of 2^14 to 2^18 none is faster by more than noise


class Tile(NamedTuple):
    """Of an array (batch, channels, rows, N): whole rows of a sample, or some points of one row that is longer than a tile."""

    sample: int
    rows: slice
    points: slice


def tiles(batch: int, rows: int, n: int, channels: int) -> Iterator[Tile]:
    """All tiles of rows of n points, where ``channels`` numbers of a tile belong to a point."""
    most = max(TILE // max(channels, 1), 1)
    step, part = max(most // n, 1), min(most, n)
    for b in range(batch):
        for row in range(0, rows, step):
            for point in range(0, n, part):
                yield Tile(b, slice(row, row + step), slice(point, point + part))


def columns(a: np.ndarray, tile: Tile) -> np.ndarray:
    """A tile of (batch, channels, rows, N) as (channels, points): a view."""
    found = a[tile.sample, :, tile.rows, tile.points]
    return found.reshape(len(found), prod(found.shape[1:]))
