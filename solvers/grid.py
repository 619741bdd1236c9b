"""Grid: a box of hexahedral cells hung from a top surface.

Definition   nx x ny x nz cells of dx x dy x dz metres; z is depth, positive down, and k counts downward. Column (i, j)
             hangs from top[i, j]:   depth[i, j, k] = top[i, j] + (k + 1/2) dz   at the cell's centre.
Faces        Two logical neighbours always share a face of the full area (a sheared grid): a sloping top changes depths,
             which enter through gravity, not the connections. Cells are numbered in C order, (i ny + j) nz + k.
Two points   T = A / (h/2 (1/k_i + 1/k_j)),   A the face's area, h the distance of the centres: resistances in series.
             It is exact for layers that the flow crosses, and zero where one side is impermeable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np


@dataclass(frozen=True, eq=False)
class Grid:
    """``shape`` = (nx, ny, nz) cells of ``spacing`` = (dx, dy, dz) in m below ``top``, a number or an array (nx, ny), m.

    Raises ValueError where a number is not positive, or the top is not finite or has another shape.
    """

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    top: float | np.ndarray = 0.0

    def __post_init__(self) -> None:
        shape, spacing = tuple(int(n) for n in self.shape), tuple(float(h) for h in self.spacing)
        if len(shape) != 3 or min(shape) < 1 or shape != tuple(self.shape):
            raise ValueError(f"Grid: expected shape = three positive cell counts (nx, ny, nz), got {self.shape}")
        if len(spacing) != 3 or not all(0.0 < h < np.inf for h in spacing):
            raise ValueError(f"Grid: expected spacing = three positive lengths (dx, dy, dz) in m, got {self.spacing}")
        top = np.asarray(self.top, dtype=np.float64)
        if top.shape not in ((), shape[:2]):
            raise ValueError(f"Grid: expected top to be a number or an array {shape[:2]} in m, got shape {top.shape}")
        if not np.isfinite(top).all():
            raise ValueError("Grid: the top has values that are not finite; fill or crop its holes first")
        for name, value in (("shape", shape), ("spacing", spacing), ("top", top)):
            object.__setattr__(self, name, value)

    @property
    def size(self) -> int:
        """The number of cells."""
        return prod(self.shape)

    @property
    def volume(self) -> float:
        """The volume of a cell, m3."""
        return prod(self.spacing)

    @cached_property
    def depth(self) -> np.ndarray:
        """Depths of the cell centres, (nx, ny, nz), m."""
        below = (np.arange(self.shape[2]) + 0.5) * self.spacing[2]
        top = np.broadcast_to(self.top, self.shape[:2])
        return top[:, :, None] + below

    @cached_property
    def faces(self) -> tuple[np.ndarray, np.ndarray]:
        """(left, right) of every inner face: flat indices of its two cells; all of x, then y, then z."""
        cells = np.arange(self.size).reshape(self.shape)
        left = [_all_but(cells, axis, last=True).ravel() for axis in range(3)]
        right = [_all_but(cells, axis, last=False).ravel() for axis in range(3)]
        return np.concatenate(left), np.concatenate(right)

    def transmissibility(self, permeability: Sequence[np.ndarray]) -> np.ndarray:
        """T of every face, m3: harmonic means of ``permeability`` = (kx, ky, kz), arrays (nx, ny, nz) in m2.

        The flow of a fluid of viscosity mu across the face is T / mu times the difference of potential.
        """
        parts = []
        for axis, k in enumerate(permeability):
            a, b = _all_but(k, axis, last=True).ravel(), _all_but(k, axis, last=False).ravel()
            total = a + b
            harmonic = np.divide(2.0 * a * b, total, out=np.zeros_like(total), where=total > 0.0)
            parts.append(self.volume / self.spacing[axis] ** 2 * harmonic)
        return np.concatenate(parts)


def _all_but(array: np.ndarray, axis: int, last: bool) -> np.ndarray:
    """``array`` without its last (or first) layer along ``axis``."""
    cut = [slice(None)] * array.ndim
    cut[axis] = slice(None, -1) if last else slice(1, None)
    return array[tuple(cut)]
