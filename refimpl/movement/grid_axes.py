"""Groups of ranks along some axes of a grid: what the all-gather, the reduce-scatter and the all-reduce run on.

Definition   Two ranks are in one group along the axes a where their coordinates agree on all other axes of the grid. The groups
             divide the grid; each has as many ranks as the product of the sizes of a, in row-major order.
Cost         No message: every rank computes its own group from the shape of the grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral

from ..partition import Partition, whole_numbers
from ..space import Space


def read_axes(who: str, X: Space, axes: int | Sequence[int]) -> tuple[int, ...]:
    """``axes`` as a sorted tuple of grid axes; ValueError where one does not exist or is named twice."""
    read = whole_numbers(f"{who}: axes", (axes,) if isinstance(axes, Integral) else axes)
    grid = X.partition.shape
    if len(set(read)) != len(read) or any(not 0 <= g < len(grid) for g in read):
        raise ValueError(f"{who}: axes {axes} must name different axes of the grid {grid}, 0..{len(grid) - 1}")
    return tuple(sorted(read))


def group_of(partition: Partition, axes: Sequence[int]) -> tuple[int, ...]:
    """The ranks that agree with this one on all other grid axes, in row-major order; () on an inactive rank."""
    if not partition.active:
        return ()
    mine, others = partition.coords, [g for g in range(len(partition.shape)) if g not in axes]
    places = ((r, partition.coords_of(place)) for place, r in enumerate(partition.ranks))
    return tuple(r for r, coords in places if all(coords[g] == mine[g] for g in others))
