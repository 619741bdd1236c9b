"""Reservoir: grid, rock, fluids, wells and what lies beyond the lateral boundaries.

Boundaries   No face of the box lets anything through. An open side is imitated by the pore volume of its cells: with 1000
             times as much they take up what arrives and hardly change their pressure, as an aquifer of that volume would.
Inactive     are the cells that the grid leaves out, and those of porosity 0: no face of theirs lets anything through. They keep
             the pressure and saturation they begin with. So that their equations have a solution, their pore volume is
             all their volume, and compressible; it counts in no balance of mass.
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

from ..checks import check_values
from ..grid import Grid
from ..records import shown
from .fluids import BRINE, GRAVITY, Fluids
from .wells import Perforations, Well, inflow_at, perforate, schedule

SOFT = 1e-9  # 1/Pa
MULTIPLIERS = {"closed": 1.0, "open": 1000.0}  # of the pore volumes along the sides


@dataclass(frozen=True, eq=False)
class Rock:
    """``permeability`` = (kx, ky, kz) in m2 and ``porosity``, arrays (nx, ny, nz) or numbers; ``compressibility`` of the
    pores in 1/Pa at ``reference_pressure`` in Pa, at which the porosity holds.

    Raises ValueError where a permeability is negative, a porosity not in 0..1 (0: an inactive cell), or any is not finite.
    """

    permeability: tuple[np.ndarray, np.ndarray, np.ndarray]
    porosity: float | np.ndarray
    compressibility: float = 4.5e-10
    reference_pressure: float = 1e7

    def __post_init__(self) -> None:
        if len(self.permeability) != 3:
            raise ValueError(f"Rock: expected three permeabilities (kx, ky, kz), got {len(self.permeability)}")
        for name, k in zip(("kx", "ky", "kz"), self.permeability, strict=True):
            k = np.asarray(k)
            check_values(
                f"Rock: permeability {name} must be finite and >= 0 in every cell, in m2", k, (k >= 0.0) & (k < np.inf)
            )
        porosity = np.asarray(self.porosity)
        check_values("Rock: porosity must be in 0..1", porosity, (porosity >= 0.0) & (porosity <= 1.0))
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
    wells: Sequence[Well] = ()
    boundary: str | float | Sequence[float] | np.ndarray = "closed"

    def __post_init__(self) -> None:
        capillary = self.fluids.capillary
        self._check_shape("the porosity", self.rock.porosity)
        self._check_shape("the entry_pressure", getattr(capillary, "entry_pressure", 0.0))
        for curves in (self.fluids.relative_permeability, capillary):
            self._check_shape("the regions", getattr(curves, "region", 0))
        for name, k in zip(("kx", "ky", "kz"), self.rock.permeability, strict=True):
            self._check_shape(f"permeability {name}", k)
        if not self.active.any():
            raise ValueError("Reservoir: no cell is active: their porosity is 0, or the grid leaves them out")
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
                raise ValueError(
                    'Reservoir: boundary must be "closed", "open" or numbers (in a case also "FILE.h5:ARRAY" or "FILE.npy"), '
                    f'got "{given}"'
                )
            given = MULTIPLIERS[given]
        given = np.asarray(given, dtype=float)
        if given.shape not in ((), (4,), self.grid.shape) or not (given > 0.0).all():
            raise ValueError(
                "Reservoir: boundary must be positive multipliers: one number, four (x-low, x-high, y-low, y-high), or "
                f"an array {self.grid.shape}, got {shown(given.tolist())}"
            )
        return np.ravel(given if given.shape == self.grid.shape else self._sides(np.broadcast_to(given, (4,))))

    @cached_property
    def pore_volume(self) -> np.ndarray:
        """(cells,) m3 at the rock's reference pressure, multipliers included."""
        volume = self.multiplier * np.ravel(self.rock.porosity * self.grid.volume)
        return np.where(self.active.ravel(), volume, self.grid.volume.ravel())

    @cached_property
    def pore_compressibility(self) -> float | np.ndarray:
        """1/Pa: the rock's; where cells are inactive (cells,), theirs at least that of soft rock."""
        c = self.rock.compressibility
        return c if self.active.all() else np.where(self.active.ravel(), c, max(c, SOFT))

    @cached_property
    def active(self) -> np.ndarray:
        """(nx, ny, nz) bool: the cells that take part."""
        return self.grid.active & (np.asarray(self.rock.porosity) > 0.0)

    @cached_property
    def transmissibility(self) -> np.ndarray:
        """(faces,) m3."""
        active, (left, right) = self.active.ravel(), self.grid.faces
        return self.grid.transmissibility(self._permeability()) * (active[left] & active[right])

    @cached_property
    def ties(self) -> tuple[np.ndarray, np.ndarray]:
        """m3, between neighbouring columns along x, (nx - 1, ny), and y, (nx, ny - 1): the sums of all layers' faces."""
        nx, ny, nz = self.grid.shape
        along_x, along_y, _ = np.split(self.transmissibility, np.cumsum([(nx - 1) * ny * nz, nx * (ny - 1) * nz]))
        return along_x.reshape(nx - 1, ny, nz).sum(axis=2), along_y.reshape(nx, ny - 1, nz).sum(axis=2)

    @cached_property
    def perforations(self) -> Perforations:
        """The wells' perforations, with the rates at time 0."""
        return perforate(self.grid, self.active, self._permeability(), self.wells)

    def inflow_at(self, time: float) -> np.ndarray:
        """(wells,): what each is to bring into the rock from ``time`` in s on, m3/s."""
        return np.array([inflow_at(well, time) for well in self.wells], dtype=float)

    @cached_property
    def schedule(self) -> list[float]:
        """The times after 0 at which a well's rate may change, s, increasing."""
        return sorted({time for well in self.wells for time, _ in schedule(well) if time > 0.0})

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
