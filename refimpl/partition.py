"""Partition: a Cartesian grid of ranks, and the one rule that cuts an axis into blocks.

Definition   A grid of shape (p_0, ..., p_{d-1}) lays prod(p) ranks of a communicator out in row-major order.
Rule         n indices over p blocks: the first ``n % p`` blocks have one index more. No other file cuts an axis.
Inactive     The ranks of the communicator that are not in the grid: they make every call, and hold blocks of size zero.
Cost         Nothing: a partition sends no message and makes no communicator.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from math import prod
from operator import index
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from mpi4py.MPI import Intracomm


def whole_numbers(who: str, values: Any) -> tuple[int, ...]:
    """``values`` as a tuple of ints, NumPy's integers too; ValueError where one is not a whole number."""
    try:
        return tuple(index(n) for n in values)
    except TypeError:
        raise ValueError(f"{who}: expected whole numbers, got {values!r}") from None


def expect_partitions(who: str, *given: Any) -> None:
    """ValueError where one is no Partition."""
    others = [P for P in given if not isinstance(P, Partition)]
    if others:
        raise ValueError(f"{who}: expected a Partition, got {others[0]!r}")


def blocks(n: int, p: int) -> list[tuple[int, int]]:
    """The (start, stop) of each of ``p`` balanced blocks of ``n`` indices; with p > n the last blocks are empty."""
    n, p = whole_numbers("blocks", (n, p))
    if n < 0 or p < 1:
        raise ValueError(f"blocks: expected n >= 0 indices over p >= 1 blocks, got n = {n}, p = {p}")
    q, r = divmod(n, p)
    starts = [i * q + min(i, r) for i in range(p + 1)]
    return list(zip(starts[:-1], starts[1:], strict=True))


class Partition:
    """A Cartesian grid over ``ranks`` of ``comm`` (default: its first ``prod(shape)`` ranks).

    Attributes: ``comm``; ``shape``; ``size``; ``ranks`` (the communicator's rank of each grid place, in row-major order);
    ``active``; ``rank`` and ``coords`` of this process in the grid (None where it is not active).

    Raises ValueError where the grid needs ranks that the communicator does not have, or names one twice.
    """

    def __init__(self, comm: Intracomm, shape: Sequence[int], ranks: Sequence[int] | None = None) -> None:
        self.comm, self.shape = comm, whole_numbers("Partition", shape)
        if any(p < 1 for p in self.shape):
            raise ValueError(f"Partition: every entry of the grid must be >= 1, got {self.shape}")
        self.size = prod(self.shape)
        if ranks is None and self.size > comm.size:
            raise ValueError(
                f"Partition: the grid {self.shape} needs {self.size} ranks, the communicator has {comm.size}; "
                f"start with mpiexec -n {self.size}, or choose a smaller grid"
            )
        self.ranks = tuple(range(self.size)) if ranks is None else whole_numbers("Partition", ranks)
        if len(self.ranks) != self.size or len(set(self.ranks)) != self.size:
            raise ValueError(f"Partition: the grid {self.shape} needs {self.size} different ranks, got {self.ranks}")
        if any(not 0 <= r < comm.size for r in self.ranks):
            raise ValueError(f"Partition: ranks must lie in 0..{comm.size - 1}, got {self.ranks}")
        self.active = comm.rank in self.ranks
        self.rank = self.ranks.index(comm.rank) if self.active else None
        self.coords = self.coords_of(self.rank) if self.active else None

    def coords_of(self, place: int) -> tuple[int, ...]:
        """The grid coordinates of the ``place``-th rank of the grid."""
        return tuple(int(i) for i in np.unravel_index(place, self.shape)) if self.shape else ()

    def rank_at(self, coords: Sequence[int]) -> int:
        """The communicator's rank at grid coordinates ``coords``."""
        return self.ranks[int(np.ravel_multi_index(tuple(coords), self.shape)) if self.shape else 0]

    def transpose(self, axes: Sequence[int] | None = None) -> Partition:
        """The same ranks with the axes of the grid in another order, by default reversed, as NumPy transposes."""
        grid = np.reshape(self.ranks, self.shape).transpose(axes)
        return Partition(self.comm, grid.shape, ranks=grid.ravel().tolist())

    def reshape(self, shape: Sequence[int]) -> Partition:
        """The same ranks, in row-major order, in a grid of another shape. Raises ValueError where their number differs."""
        return Partition(self.comm, shape, ranks=self.ranks)

    def face(self, axes: Collection[int]) -> Partition:
        """The ranks with coordinate 0 on all axes of the grid but ``axes``, in a grid with 1 on the others.

        They own what is cut along ``axes`` and shared along the others.
        """
        places = ((r, self.coords_of(place)) for place, r in enumerate(self.ranks))
        owners = [r for r, coords in places if all(c == 0 for g, c in enumerate(coords) if g not in axes)]
        return Partition(self.comm, [p if g in axes else 1 for g, p in enumerate(self.shape)], ranks=owners)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Partition) and (self.comm, self.shape, self.ranks) == (
            other.comm,
            other.shape,
            other.ranks,
        )

    def __hash__(self) -> int:
        return hash((self.shape, self.ranks))

    def __repr__(self) -> str:
        default = self.ranks == tuple(range(self.size))
        return f"Partition({self.shape}{'' if default else f', ranks={list(self.ranks)}'})"
