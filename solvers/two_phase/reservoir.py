"""Reservoir: grid, rock, fluids, injectors and what lies beyond the lateral boundaries.

Boundaries   No face of the box lets anything through. An open side is imitated by the pore volume of its cells: with 1000
             times as much they take up what arrives and hardly change their pressure, as an aquifer of that volume would.
Rest         Brine at rest has dp/dz = rho g with rho = rho_ref (1 + X + X^2/2). With Y = 1 + X this is
             dY/dz = kappa (1 + Y^2) / 2,  kappa = c rho_ref g, so Y = tan(a + kappa z / 2): a closed form at any depth.
             The simulator's balance over a face, with the mean density of its two cells, is the trapezoidal rule for it,
             and holds to about rho'' g h^3 / 12, some 1e-5 Pa for a step of 7 m.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..grid import Grid
from .fluids import BRINE, GRAVITY, Fluids
from .wells import Injector, Perforations, perforate

MULTIPLIERS = {"closed": 1.0, "open": 1000.0}  # of the pore volumes along the sides


@dataclass(frozen=True, eq=False)
class Rock:
    """``permeability`` = (kx, ky, kz) in m2 and ``porosity``, arrays (nx, ny, nz) or numbers; ``compressibility`` of the
    pores in 1/Pa at ``reference_pressure`` in Pa, at which the porosity holds.

    Raises ValueError where a permeability is negative, a porosity not in (0, 1], or any is not finite.
    """

    permeability: tuple[np.ndarray, np.ndarray, np.ndarray]
    porosity: float | np.ndarray
    compressibility: float = 4.5e-10
    reference_pressure: float = 1e7

    def __post_init__(self) -> None:
        if len(self.permeability) != 3:
            raise ValueError(f"Rock: expected three permeabilities (kx, ky, kz), got {len(self.permeability)}")
        for name, k in zip(("kx", "ky", "kz"), self.permeability, strict=True):
            if not (np.isfinite(k).all() and np.min(k) >= 0.0):
                raise ValueError(f"Rock: {name} must be finite and >= 0 in every cell, in m2")
        if not (np.min(self.porosity) > 0.0 and np.max(self.porosity) <= 1.0):  # False for NaN
            raise ValueError("Rock: porosity must be above 0 and at most 1 in every cell")
        if not 0.0 <= self.compressibility < np.inf:
            raise ValueError(f"Rock: compressibility must be >= 0 in 1/Pa, got {self.compressibility}")


@dataclass(frozen=True, eq=False)
class Reservoir:
    """What is simulated. ``boundary``: "closed" (no flow), "open" (pore volumes of the lateral boundary cells times 1000:
    nearly constant hydrostatic pressure), a number (another multiplier), four numbers (x-low, x-high, y-low, y-high), or an
    array (nx, ny, nz) of pore-volume multipliers. A corner cell takes the larger of its two sides' multipliers. An axis with
    one cell has no sides: a section is not all boundary.

    Raises ValueError where an array does not fit the grid, a multiplier is not positive, or a well does not fit.
    """

    grid: Grid
    rock: Rock
    fluids: Fluids
    injectors: Sequence[Injector] = ()
    boundary: str | float | Sequence[float] | np.ndarray = "closed"

    def __post_init__(self) -> None:
        capillary = self.fluids.capillary
        self._check_shape("the porosity", self.rock.porosity)
        self._check_shape("the entry pressure", capillary.entry_pressure if capillary else 0.0)
        for name, k in zip(("kx", "ky", "kz"), self.rock.permeability, strict=True):
            self._check_shape(name, k)
        self.pore_volume, self.perforations  # noqa: B018  what does not fit shows here, not in the middle of a run

    def _check_shape(self, name: str, array: float | np.ndarray) -> None:
        if np.shape(array) not in ((), self.grid.shape):
            raise ValueError(
                f"Reservoir: {name} must be a number or have the grid's {self.grid.shape}, got {np.shape(array)}"
            )

    @cached_property
    def multiplier(self) -> np.ndarray:
        """(cells,): by how much the boundary enlarges each pore volume."""
        given = self.boundary
        if isinstance(given, str):
            if given not in MULTIPLIERS:
                raise ValueError(f'Reservoir: boundary must be "closed", "open" or numbers, got "{given}"')
            given = MULTIPLIERS[given]
        given = np.asarray(given, dtype=float)
        if given.shape not in ((), (4,), self.grid.shape) or not (given > 0.0).all():
            raise ValueError(
                "Reservoir: boundary multipliers must be positive: one number, four (x-low, x-high, y-low, y-high), or "
                f"an array {self.grid.shape}, got shape {given.shape}"
            )
        return np.ravel(given if given.shape == self.grid.shape else self._sides(np.broadcast_to(given, (4,))))

    @cached_property
    def pore_volume(self) -> np.ndarray:
        """(cells,) m3 at the rock's reference pressure, multipliers included."""
        return self.multiplier * np.ravel(self.rock.porosity * self.grid.volume)

    @cached_property
    def transmissibility(self) -> np.ndarray:
        """(faces,) m3."""
        return self.grid.transmissibility(self._permeability())

    @cached_property
    def perforations(self) -> Perforations:
        return perforate(self.grid, self._permeability(), self.injectors)

    def _permeability(self) -> list[np.ndarray]:
        return [np.broadcast_to(np.asarray(k, dtype=float), self.grid.shape) for k in self.rock.permeability]

    def _sides(self, factors: np.ndarray) -> np.ndarray:
        result = np.zeros(self.grid.shape)
        sides = (result[0], result[-1], result[:, 0], result[:, -1])
        for side, factor, cells in zip(sides, factors, np.repeat(self.grid.shape[:2], 2), strict=True):
            if cells > 1:
                np.maximum(side, factor, out=side)
        return np.where(result == 0.0, 1.0, result)


@dataclass(frozen=True, eq=False)
class State:
    """``pressure`` of the brine, Pa, and ``saturation`` of CO2, both (nx, ny, nz)."""

    pressure: np.ndarray
    saturation: np.ndarray


def hydrostatic(reservoir: Reservoir, pressure: float = 101325.0, depth: float = 0.0) -> State:
    """Brine at rest everywhere: ``pressure`` in Pa at ``depth`` in m (default: one atmosphere at depth 0)."""
    fluids = reservoir.fluids
    c, drop = fluids.compressibility[BRINE], fluids.density[BRINE] * GRAVITY * (reservoir.grid.depth - depth)
    angle = np.arctan(1.0 + c * (pressure - fluids.reference_pressure))
    turn = 0.5 * c * drop
    # (tan(angle + turn) - tan(angle)) / c, written so that neither rounding nor c = 0 hurts
    rise = 0.5 * drop * np.sinc(turn / np.pi) / (np.cos(angle + turn) * np.cos(angle))
    return State(pressure + rise, np.zeros(reservoir.grid.shape))
