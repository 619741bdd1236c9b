"""Machines: what a prediction must know of a computer, given by name, read from a file, or measured on the one at hand.

Per rank     latency (s) of a message, bandwidth (bytes/s) to other ranks with all of them sending, memory (bytes); and for each
             dtype the flop rate (1/s) of the truncated transforms and the channel maps, and the time (s) of one GELU.
Shared       ``cores``: how many ranks compute at once. More take turns, so each needs ranks / cores times as long. 0: all do.
Named        A rank is one GPU there. Rates are SUSTAINED times the vendor's peak without tensor cores, a GELU is PASSES over
             memory, LATENCY is assumed. Nothing was measured there: times are what the algorithm could take.
Measured     By the code itself: calibration.py.
"""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

SUSTAINED = 0.25  # of the peak: skinny matrix products
PASSES = 3  # read, read and write, numbers each
LATENCY = 2e-6  # s, of MPI between nodes


@dataclass(frozen=True)
class Machine:
    """One rank's part of a machine."""

    name: str
    latency: float
    bandwidth: float
    memory: float
    flops: dict[str, float]
    gelu: dict[str, float]
    cores: int = 0

    def __post_init__(self) -> None:
        numbers = (self.latency, self.bandwidth, self.memory, *self.flops.values(), *self.gelu.values())
        if not all(isinstance(n, int | float) and 0 < n < float("inf") for n in numbers):
            raise ValueError(f"machine {self.name}: every figure must be a positive number, got {numbers}")
        if not isinstance(self.cores, int) or self.cores < 0:
            raise ValueError(f"machine {self.name}: expected a whole number of cores, or 0, got {self.cores}")

    def turns(self, ranks: int) -> float:
        """How many ranks share a core."""
        return max(ranks / self.cores, 1.0) if self.cores else 1.0

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
