"""Grid: a box of hexahedral cells hung from a top surface.

Definition   nx x ny x nz cells of dx x dy x dz metres; z is depth, positive down, and k counts downward. dx may vary with
             i, dy with j, and dz with k or from cell to cell. Column (i, j) hangs from top[i, j]:
                 depth[i, j, k] = top[i, j] + dz[i, j, 0] + ... + dz[i, j, k-1] + dz[i, j, k] / 2   at the cell's centre.
Faces        Two logical neighbours always share a face of the full area (a sheared grid): a sloping top changes depths,
             which enter through gravity, not the connections. Cells are numbered in C order, (i ny + j) nz + k.
Two points   1/T = 1/T_i + 1/T_j,   T_i = k_i A_i / (h_i / 2):   the half cells' resistances in series, h_i a cell's length
             across the face and A_i its own area along it. It is exact for layers that the flow crosses, and zero where
             one side is impermeable.
Inactive     cells are there, so that columns stay whole, but nothing flows into or out of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np

from .checks import check_values

Length = float | np.ndarray


@dataclass(frozen=True, eq=False)
class Grid:
    """``shape`` = (nx, ny, nz) cells of ``spacing`` = (dx, dy, dz) in m below ``top``, a number or an array (nx, ny), m. Of the
    spacing, each may be a number or an array: (nx,), (ny,), and (nz,) or (nx, ny, nz). ``active``, an array of bool
    (nx, ny, nz): which cells take part (default: all).

    Raises ValueError where a number is not positive or not finite, or an array has another shape.
    """

    shape: tuple[int, int, int]
    spacing: tuple[Length, Length, Length]
    top: float | np.ndarray = 0.0
    active: np.ndarray | None = None

    def __post_init__(self) -> None:
        shape = tuple(int(n) for n in self.shape)
        if len(shape) != 3 or min(shape) < 1 or shape != tuple(self.shape):
            raise ValueError(f"Grid: expected shape = three positive cell counts (nx, ny, nz), got {self.shape}")
        if len(self.spacing) != 3:
            raise ValueError(f"Grid: expected spacing = three positive lengths (dx, dy, dz) in m, got {self.spacing}")
        spacing = tuple(_checked_spacing(shape, axis, h) for axis, h in enumerate(self.spacing))
        top = np.asarray(self.top, dtype=np.float64)
        if top.shape not in ((), shape[:2]):
            raise ValueError(f"Grid: expected top to be a number or an array {shape[:2]} in m, got shape {top.shape}")
        check_values(
            "Grid: the top has values that are not finite; fill or crop its holes first", top, np.isfinite(top)
        )
        active = np.ones(shape, dtype=bool) if self.active is None else np.asarray(self.active)
        if active.shape != shape or active.dtype != bool:
            raise ValueError(f"Grid: expected active to be an array {shape} of bool, got {active.dtype} {active.shape}")
        for name, value in (("shape", shape), ("spacing", spacing), ("top", top), ("active", active)):
            object.__setattr__(self, name, value)

    @property
    def size(self) -> int:
        """The number of cells."""
        return prod(self.shape)

    @cached_property
    def lengths(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """dx, dy and dz of every cell, each (nx, ny, nz), m."""
        dx, dy, dz = (np.broadcast_to(_along(h, axis), self.shape) for axis, h in enumerate(self.spacing))
        return dx, dy, dz

    @cached_property
    def volume(self) -> np.ndarray:
        """The volume of every cell, (nx, ny, nz), m3."""
        dx, dy, dz = self.lengths
        return dx * dy * dz

    @cached_property
    def edges(self) -> tuple[np.ndarray, np.ndarray]:
        """x (nx+1,) and y (ny+1,) of the planes between the cells, from 0, m."""
        lengths = (np.broadcast_to(h, n) for h, n in zip(self.spacing[:2], self.shape[:2], strict=True))
        x, y = (np.concatenate([[0.0], np.cumsum(h)]) for h in lengths)
        return x, y

    @cached_property
    def depth(self) -> np.ndarray:
        """Depths of the cell centres, (nx, ny, nz), m."""
        dz = self.lengths[2]
        return np.broadcast_to(self.top, self.shape[:2])[:, :, None] + (np.cumsum(dz, axis=2) - 0.5 * dz)

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
            half = 2.0 * k * (self.volume / self.lengths[axis] ** 2)
            a, b = _all_but(half, axis, last=True).ravel(), _all_but(half, axis, last=False).ravel()
            total = a + b
            parts.append(np.divide(a * b, total, out=np.zeros_like(total), where=total > 0.0))
        return np.concatenate(parts)


def _checked_spacing(shape: tuple[int, ...], axis: int, given: Length) -> Length:
    name, h = ("dx", "dy", "dz")[axis], np.asarray(given, dtype=np.float64)
    allowed = [(), (shape[axis],)] + ([shape] if axis == 2 else [])
    if h.shape not in allowed:
        raise ValueError(f"Grid: expected spacing {name} to be a number or of shape {allowed[1:]}, got shape {h.shape}")
    check_values(f"Grid: spacing: expected positive lengths {name} in m", h, (h > 0.0) & (h < np.inf))
    return h if h.ndim else float(h)


def _along(h: Length, axis: int) -> np.ndarray:
    """``h`` so that it broadcasts over the cells."""
    return np.reshape(h, [-1 if a == axis else 1 for a in range(3)]) if np.ndim(h) == 1 else np.asarray(h)


def _all_but(array: np.ndarray, axis: int, last: bool) -> np.ndarray:
    """``array`` without its last (or first) layer along ``axis``."""
    cut = [slice(None)] * array.ndim
    cut[axis] = slice(None, -1) if last else slice(1, None)
    return array[tuple(cut)]
