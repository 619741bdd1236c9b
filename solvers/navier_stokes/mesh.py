"""Mesh: a box of equal cells, pressure at their centres, each velocity on the faces that it crosses.

Definition   n_1 x .. x n_d cells of h_1 x .. x h_d, d = 2 or 3. p[j] is at the centre (j + 1/2) h of a cell, and component i
             of the velocity, u[i, j], on the low face of that cell across axis i: at (j + 1/2 - e_i/2) h.
Walls        An axis is periodic, or it has a wall at both of its ends. The low wall is then a face of the mesh, on which u[i]
             is always 0; the high wall is not stored. All components so have the shape of the cells.
Reference    Harlow and Welch, Physics of Fluids 8, 1965 (the staggered grid).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from refimpl import Partition, Space


@dataclass(frozen=True)
class Mesh:
    """``shape`` cells on ``lengths``; ``walls[i]`` is True where axis i has walls, and not periodic.

    Raises ValueError where these do not fit each other, or a number is not positive.
    """

    shape: tuple[int, ...]
    lengths: tuple[float, ...]
    walls: tuple[bool, ...]

    def __post_init__(self) -> None:
        d = len(self.shape)
        if d not in (2, 3) or len(self.lengths) != d or len(self.walls) != d:
            raise ValueError(
                "Mesh: expected shape = 2 or 3 cell counts, and as many lengths and boundaries, got "
                f"{self.shape} and lengths = {self.lengths}"
            )
        if not all(isinstance(n, int) and n > 0 for n in self.shape):
            raise ValueError(f"Mesh: expected shape = positive cell counts, got {self.shape}")
        if not all(0.0 < length < np.inf for length in self.lengths):
            raise ValueError(f"Mesh: expected lengths above 0 and finite, in m, got {self.lengths}")

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def spacing(self) -> tuple[float, ...]:
        return tuple(length / n for length, n in zip(self.lengths, self.shape, strict=True))

    @property
    def cell_volume(self) -> float:
        return prod(self.spacing)

    def scalars(self, comm: Any, grid: Sequence[int]) -> Space:
        """The space of one number a cell, on a ``grid`` of ranks."""
        return Space(Partition(comm, grid), self.shape)

    def vectors(self, S: Space) -> Space:
        """The space of velocities (d, n_1, .., n_d), cut as the numbers a cell of ``S`` are."""
        return S.replace(
            shape=(self.ndim, *self.shape),
            cuts=(None, *S.cuts),
            blocks={axis + 1: row for axis, row in enumerate(S.blocks)},
        )

    def positions(self, V: Space, component: int | None = None) -> list[np.ndarray]:
        """Where this rank's faces of a ``component`` of V are, or the centres of its cells: d arrays that broadcast."""
        axes = []
        for axis, (h, (start, stop)) in enumerate(zip(self.spacing, V.local_box[-self.ndim :], strict=True)):
            x = (np.arange(start, stop) + (0.0 if axis == component else 0.5)) * h
            axes.append(x.reshape([-1 if a == axis else 1 for a in range(self.ndim)]))
        return axes

    def low_walls(self, V: Space) -> list[tuple[int | slice, ...]]:
        """Where in a block of V this rank has faces on a low wall, one place for each axis with such: u is 0 there."""
        box = V.local_box[1:]
        here = [axis for axis, wall in enumerate(self.walls) if wall and box[axis][0] == 0 < box[axis][1]]
        return [(axis, *(slice(None),) * axis, slice(0, 1)) for axis in here]
