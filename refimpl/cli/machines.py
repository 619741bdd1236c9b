"""Machines: what a prediction must know of a computer, given by name, read from a file, or measured on the one at hand.

Per rank     latency (s) of a message, bandwidth (bytes/s) to other ranks with all of them sending, memory (bytes); and for each
             dtype the flop rate (1/s) of the truncated transforms and the channel maps, and the time (s) of one GELU.
Named        A rank is one GPU there. Rates are SUSTAINED times the vendor's peak without tensor cores, a GELU is PASSES over
             memory, LATENCY is assumed. Nothing was measured there: times are what the algorithm could take.
Measured     By the code itself: one FourierBlock of CELLS^3 x STEPS points at width WIDTH, for the rates, and ``exchange`` in a
             ring for the messages. All ranks compute and send at once.
"""

from __future__ import annotations

import time
import tomllib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

SUSTAINED = 0.25  # of the peak: skinny matrix products
PASSES = 3  # read, read and write, numbers each
LATENCY = 2e-6  # s, of MPI between nodes
CELLS, STEPS, WIDTH, MODES = 24, 16, 20, 4  # of the calibration
MESSAGE = 1 << 22  # bytes
ROUNDS = 7


@dataclass(frozen=True)
class Machine:
    """One rank's part of a machine."""

    name: str
    latency: float
    bandwidth: float
    memory: float
    flops: dict[str, float]
    gelu: dict[str, float]

    def __post_init__(self) -> None:
        numbers = (self.latency, self.bandwidth, self.memory, *self.flops.values(), *self.gelu.values())
        if not all(isinstance(n, int | float) and 0 < n < float("inf") for n in numbers):
            raise ValueError(f"machine {self.name}: every figure must be a positive number, got {numbers}")

    def of(self, table: dict[str, float], dtype: np.dtype) -> float:
        """A figure for ``dtype``. ValueError where the machine has none."""
        if dtype.name not in table:
            raise ValueError(f"machine {self.name}: there are figures for {', '.join(table)}, none for {dtype.name}")
        return table[dtype.name]


def gpu(name: str, peak: tuple[float, float], memory_rate: float, memory: float, bandwidth: float) -> Machine:
    """A rank on a GPU: its peak flop rates in float32 and float64, memory rate, memory, and share of the node's network."""
    dtypes = ("float32", "float64")
    flops = {dtype: SUSTAINED * rate for dtype, rate in zip(dtypes, peak, strict=True)}
    gelu = {dtype: PASSES * size / memory_rate for dtype, size in zip(dtypes, (4, 8), strict=True)}
    return Machine(name, LATENCY, bandwidth, memory, flops, gelu)


MACHINES = {
    # 6 V100 (16 GB, 900 GB/s, 15.7 / 7.8 Tflop/s) and two EDR rails of 12.5 GB/s a node: OLCF, Summit User Guide;
    # https://en.wikichip.org/wiki/supercomputers/summit; NVIDIA, Tesla V100 GPU architecture, WP-08608
    "summit": gpu("Summit, a V100 a rank", (15.7e12, 7.8e12), 900e9, 16e9, 25e9 / 6),
    # 4 A100 (40 GB, 1555 GB/s, 19.5 / 9.7 Tflop/s) and 4 Slingshot 11 of 25 GB/s a node: NERSC, Perlmutter Architecture,
    # https://docs.nersc.gov/systems/perlmutter/architecture; NVIDIA, A100 tensor core GPU architecture (white paper)
    "perlmutter": gpu("Perlmutter, an A100 a rank", (19.5e12, 9.7e12), 1555e9, 40e9, 25e9),
    # 8 A100 (40 GB) and 8 HDR InfiniBand of 200 Gb/s a machine: Microsoft, ND A100 v4-series sizes,
    # https://learn.microsoft.com/azure/virtual-machines/sizes/gpu-accelerated/ndasra100v4-series
    "azure-nd": gpu("Azure ND A100 v4, an A100 a rank", (19.5e12, 9.7e12), 1555e9, 40e9, 25e9),
}


def find(name: str) -> Machine:
    """A machine by its name, or from the TOML file of that name. OSError or ValueError where there is none."""
    if name in MACHINES:
        return MACHINES[name]
    if not Path(name).is_file():
        raise ValueError(f"no machine {name!r}: expected {', '.join(MACHINES)}, or a file that --calibrate has written")
    try:
        return Machine(**tomllib.loads(Path(name).read_text()))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, TypeError, AttributeError) as error:
        raise ValueError(f"{name}: {error}; write it anew with --calibrate") from error


def toml(machine: Machine) -> str:
    """The machine as a file's text."""
    numbers = asdict(machine)
    tables = {key: numbers.pop(key) for key in ("flops", "gelu")}
    lines = [f"{key} = {value!r}" if key != "name" else f'name = "{value}"' for key, value in numbers.items()]
    for key, table in tables.items():
        lines += [f"\n[{key}]", *(f"{dtype} = {value!r}" for dtype, value in table.items())]
    return "\n".join(lines) + "\n"


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
        memory=available_memory() / comm.size,
        flops={dtype: rate for dtype, (rate, _) in rates.items()},
        gelu={dtype: one for dtype, (_, one) in rates.items()},
    )


def rates_of(comm: Any, dtype: str) -> tuple[float, float]:
    """The flop rate in a FourierBlock, less its GELU, and the time of one GELU, on each rank alone."""
    from ..layers import FourierBlock
    from ..layers.pointwise import gelu
    from ..partition import Partition
    from ..space import Space
    from ..verify import LoneRank
    from .prediction import work

    alone: Any = LoneRank(0, 1)  # every rank has a block of its own
    block = FourierBlock(Space(Partition(alone, (1,)), (1, WIDTH, *(CELLS,) * 3, STEPS), dtype), (MODES,) * 4)
    x = block.domain.random(1)
    gelus, whole = seconds(comm, lambda: gelu(x)), seconds(comm, lambda: block(x))
    products = max(whole - gelus, whole / 4)  # a difference of times: noise must not make it next to nothing
    return work(block)[0].flops / products, gelus / x.size


def ring(comm: Any, size: int) -> None:
    """Every rank sends ``size`` bytes to the next."""
    from .. import wire

    sends = {(comm.rank + 1) % comm.size: np.zeros(size, np.uint8)}
    wire.exchange(comm, sends, {(comm.rank - 1) % comm.size: size}, np.dtype(np.uint8))


def seconds(comm: Any, action: Callable[[], Any]) -> float:
    """The median over ROUNDS of the time of ``action`` on the slowest rank; all ranks begin together."""
    from .. import wire

    action()  # the first call makes communicators and loads libraries
    times = []
    for _ in range(ROUNDS):
        wire.vote(comm, None, "seconds")
        start = time.perf_counter()
        action()
        mine = np.array([time.perf_counter() - start])
        times.append(float(wire.finish(wire.start_all_reduce(comm, wire.everyone(comm), mine, "MAX"))[0]))
    return median(times)


def available_memory() -> float:
    """The memory of this computer, in bytes."""
    import os

    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
