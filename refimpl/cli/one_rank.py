"""A training step of one rank of many, run alone in this process, and the memory that it takes.

The model lives on a SimulatedRank (verify/lone_rank.py): it allocates and computes what that rank would, and its neighbours'
messages are replaced by arrays of the right size. What an MPI library keeps for itself is not seen.
"""

from __future__ import annotations

from contextlib import suppress
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from .cases import Case, text

GIB = 2**30


def simulated(case: Case, rank: int) -> str:
    """Predicted memory of one rank of the last grid, and what it takes here, alone, with its messages answered at once."""
    from ..layers.pointwise import gelu_slope
    from ..verify import LoneRank, SimulatedRank
    from .prediction import memory

    grid = case.grids[-1]
    expected = memory(case.model(LoneRank(rank, prod(grid)), grid))
    expect_room(expected.step, f"rank {rank} of {case.name} on {text(grid)}")
    gelu_slope(np.zeros(1, np.float32))  # loads libraries and makes tables
    before = resident(reset=True)
    training_step(case.model(SimulatedRank(rank, prod(grid)), grid))
    taken = resident() - before
    return (
        f"{case.name}: a training step of rank {rank} on {text(grid)}, alone\n"
        f"predicted {expected.step / GIB:.3f} GiB, taken {taken / GIB:.3f} GiB, ratio {expected.step / taken:.2f}"
    )


def expect_room(needed: float, what: str) -> None:
    """ValueError where ``what`` needs more memory than there is."""
    room = free_memory()
    if needed > room:
        raise ValueError(f"{what} needs {needed / GIB:.1f} GiB, {room / GIB:.1f} are free here: choose a smaller case")


def free_memory() -> float:
    """Bytes that may still be taken: what the system calls available, and no more than a container's limit (both Linux)."""
    from .calibration import installed_memory

    found = [installed_memory()]
    with suppress(OSError, KeyError):
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        found.append(1024 * int(lines["MemAvailable"].split()[0]))
    with suppress(OSError, ValueError):  # no control groups, or "max": no limit
        found.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(found)


def training_step(model: Any) -> None:
    """One step of the training loop on random numbers, as the loop does it."""
    from ..layers import RelativeL2
    from ..space import Product
    from ..training.loop import loss_and_gradients
    from ..training.optimizers import AdamW, clip

    optimizer, loss, rng = AdamW(), RelativeL2(model.range), np.random.default_rng(0)
    x, y = (rng.standard_normal(Z.local_shape, model.domain.dtype) for Z in (model.domain, model.range))
    moments = optimizer.start(model.parameters)
    _, gradients, _ = loss_and_gradients(model, loss, x, y)
    gradients, _ = clip(Product(model.parameter_spaces), gradients, 1.0)
    model.parameters, moments = optimizer.step(model.parameters, gradients, moments, 1, 1e-3)


def resident(reset: bool = False) -> int:
    """The most memory that this process has had (VmHWM), in bytes; ``reset``: from now on, and what it has.

    ValueError where the system does not tell.
    """
    try:
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        return 1024 * int(lines["VmRSS" if reset else "VmHWM"].split()[0])
    except (OSError, KeyError) as error:
        raise ValueError(f"--simulate: this system does not tell a process's peak memory ({error})") from None
