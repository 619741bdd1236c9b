"""Tiles: the parts of a block that are worked on one at a time, small enough to stay in a core's cache through all steps.

Threads      As many tiles are worked on at once as BLAS may use threads, which is one under mpiexec; then each product runs on
             one. NumPy lets other threads run while it computes. Results come in the order of the tiles, so that a sum of them
             does not depend on the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from ..arrays import contiguous

TILE = 1 << 16  # numbers of a tile


def each_tile(batch: int, rows: int, width: int, work: Callable[[int, slice], Any]) -> list[Any]:
    """``work(sample, rows)`` for all rows of all samples, where ``width`` numbers of a tile belong to a row."""
    parts = list(tiles(batch, rows, width))
    threads = min(_blas().threads(), len(parts)) if len(parts) > 1 else 1
    if threads == 1:
        return [work(*part) for part in parts]
    with _blas().on_one_thread():
        return list(_pool(threads).map(lambda part: work(*part), parts))


def tiles(batch: int, rows: int, width: int) -> Iterator[tuple[int, slice]]:
    step = max(TILE // max(width, 1), 1)
    for b in range(batch):
        for start in range(0, rows, step):
            yield b, slice(start, start + step)


def points(x: np.ndarray) -> np.ndarray:
    """(batch, channels, ..) as (batch, channels, points)."""
    return contiguous(x).reshape(*x.shape[:2], prod(x.shape[2:]))


class Blas:
    """The libraries of matrix products that are loaded, and how many threads they may use."""

    def __init__(self) -> None:
        from threadpoolctl import ThreadpoolController

        self.libraries = ThreadpoolController().select(user_api="blas")

    def threads(self) -> int:
        return max((library.get_num_threads() for library in self.libraries.lib_controllers), default=1)

    def on_one_thread(self) -> Any:
        return self.libraries.limit(limits=1)


@lru_cache(maxsize=1)
def _blas() -> Blas:
    return Blas()


@lru_cache(maxsize=1)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads)
