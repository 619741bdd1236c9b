"""What dfno's repartitions send, for one block: the other way to transform axes that are cut.

Definition   The n transformed axes are the first n0 = ceil(n / 2) and the last n1 = n - n0. R1 makes the last n1 whole, so that
             they can be transformed and truncated; R2 the first n0, at the cost of cutting the last; R3 and R4 go back.
             P_x (.., p_1, .., p_n);  P_m: axis i times p_{n0 + i} for i = 1..n1, and 1 in the last n1;
             P_y: 1 in the first n0, and their counts times onto the last n1.
Volume       The block that a rank holds before a repartition, but for what stays: one of the c parts that it is cut into.
             R1 and R4 move the real points, R2 and R3 the complex numbers that the last n1 truncations leave.
             On average over the ranks, as the kept frequencies may be fewer than ranks.
Adjoint      The repartitions back: as much.
Reference    slimgroup/dfno 011dfd0, distributed_fno.py;  Grady et al., arXiv 2204.01205.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, prod

import numpy as np

from ..space import Space


def partitions(grid: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """P_m and P_y along the transformed axes, where P_x has ``grid``.

    ValueError where n is odd and the axis in the middle is cut: there dfno would lose its ranks.
    """
    n0 = ceil(len(grid) / 2)
    n1 = len(grid) - n0
    if n0 > n1 and grid[n1] > 1:
        raise ValueError(
            f"dfno: of {len(grid)} transformed axes, number {n1 + 1} cannot be cut, got the grid {tuple(grid)}"
        )
    middle = [p * q for p, q in zip(grid[:n1], grid[n0:], strict=True)]
    return (*middle, *(1,) * (len(grid) - n1)), (*(1,) * n0, *middle)


def volume(X: Space, modes: Sequence[int]) -> float:
    """The bytes that a rank sends in the forward pass of one block on ``X`` (batch, channels, N_1, .., N_n), on average."""
    n, P = len(modes), X.partition
    n0 = ceil(n / 2)
    grid = [prod(P.shape[g] for g in cut) for cut in X.cuts[X.ndim - n :]]
    middle, _ = partitions(grid)
    kept = [2 * m for m in modes[:-1]] + [modes[-1]]
    points = prod(X.shape) / P.size
    truncated = points * prod(k / N for k, N in zip(kept[n0:], X.shape[X.ndim - n + n0 :], strict=True))
    word = X.dtype.itemsize
    complex_word = np.result_type(X.dtype, np.complex64).itemsize
    first = points * word * (1 - 1 / prod(grid[n0:]))
    second = truncated * complex_word * (1 - 1 / prod(middle[:n0]))
    return 2 * (first + second)
