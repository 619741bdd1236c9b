"""Wells: one or two vertical injectors in the interior that share a total rate, perforated in the lowest layer.

One perforated cell per well makes the rate of every cell known beforehand: it is what a surrogate is given. With
several, their shares would be part of the solution.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..two_phase import Injector

MOST_WELLS = 2


def draw_injectors(rng: np.random.Generator, shape: Sequence[int], total_rate: float) -> list[Injector]:
    """One or two injectors that share ``total_rate``, m3/s at reference pressure.

    They lie in the middle half of x and y, at least a quarter of the shorter side apart.
    """
    nx, ny, nz = shape
    inner = np.stack(np.meshgrid(*(np.arange(n // 4, n - n // 4) for n in (nx, ny)), indexing="ij"), axis=-1)
    free, columns = inner.reshape(-1, 2), []
    for _ in range(rng.integers(1, MOST_WELLS + 1)):
        columns.append(free[rng.integers(len(free))])
        free = free[np.abs(free - columns[-1]).max(axis=1) >= min(nx, ny) // 4]
    return [Injector((int(i), int(j)), (nz - 1, nz), total_rate / len(columns)) for i, j in columns]
