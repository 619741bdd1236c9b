"""Calibration: the machine at hand, measured by the code itself.

Rates        from one FourierBlock of CELLS^3 x STEPS points at width WIDTH, on every rank at once, and the GELU in it, which is
             of tiles: of the whole it would be slower by what new memory costs.
Messages     ``exchange`` in a ring: one byte for the latency, MESSAGE bytes for the bandwidth.
Every time   is the median over ROUNDS of that of the slowest rank.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from math import ceil
from statistics import median
from typing import Any

import numpy as np

from .. import wire
from ..layers import FourierBlock
from ..layers.pointwise import gelu
from ..layers.tiles import TILE
from ..partition import Partition
from ..space import Space
from ..verify import LoneRank
from .machines import Machine
from .prediction import work

CELLS, STEPS, WIDTH, MODES = 24, 16, 20, 4
MESSAGE = 1 << 22  # bytes
ROUNDS = 7


def calibrate(comm: Any) -> Machine:
    """The machine at hand, by what its slowest rank needs; collective. ValueError on one rank, where there are no messages."""
    if comm.size < 2:
        raise ValueError("--calibrate measures messages between ranks: start it with mpiexec -n 2, or more")
    rates = {dtype: rates_of(comm, dtype) for dtype in ("float32", "float64")}
    short = seconds(comm, lambda: ring(comm, 1))
    long = seconds(comm, lambda: ring(comm, MESSAGE))
    return Machine(
        name=f"{comm.size} ranks here",
        latency=short,
        bandwidth=MESSAGE / max(long - short, long / 4),
        memory=installed_memory() / comm.size,
        flops={dtype: rate for dtype, (rate, _) in rates.items()},
        gelu={dtype: one for dtype, (_, one) in rates.items()},
        cores=wire.available_cores(),
    )


def rates_of(comm: Any, dtype: str) -> tuple[float, float]:
    """The flop rate in a FourierBlock, less its GELU, and the time of one GELU, on each rank alone."""
    alone: Any = LoneRank(0, 1)  # every rank has a block of its own
    block = FourierBlock(Space(Partition(alone, (1,)), (1, WIDTH, *(CELLS,) * 3, STEPS), dtype), (MODES,) * 4)
    x = block.domain.random(1)
    parts = np.array_split(x.ravel(), ceil(x.size / TILE))
    gelus, whole = seconds(comm, lambda: [gelu(part) for part in parts]), seconds(comm, lambda: block(x))
    products = max(whole - gelus, whole / 4)  # a difference of times: noise must not make it next to nothing
    turns = max(comm.size / wire.available_cores(), 1)
    return turns * work(block)[0].flops / products, gelus / x.size / turns


def ring(comm: Any, size: int) -> None:
    """Every rank sends ``size`` bytes to the next."""
    sends = {(comm.rank + 1) % comm.size: np.zeros(size, np.uint8)}
    wire.exchange(comm, sends, {(comm.rank - 1) % comm.size: size}, np.dtype(np.uint8))


def seconds(comm: Any, action: Callable[[], Any]) -> float:
    """The median over ROUNDS of the time of ``action`` on the slowest rank; all ranks begin together."""
    action()  # the first call makes communicators and loads libraries
    times = []
    for _ in range(ROUNDS):
        wire.vote(comm, None, "seconds")
        start = time.perf_counter()
        action()
        mine = np.array([time.perf_counter() - start])
        times.append(float(wire.finish(wire.start_all_reduce(comm, wire.everyone(comm), mine, "MAX"))[0]))
    return median(times)


def installed_memory() -> float:
    """The memory of this computer, in bytes."""
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
