"""Fluids: brine and CO2, two slightly compressible phases that do not mix.

Definition   b(p) = 1 + X + X^2 / 2,   X = c (p - p_ref): the reciprocal of the formation volume factor. One cubic metre
             at reservoir pressure is b cubic metres at the reference pressure, so that density is rho_ref b, and masses
             are counted in reference cubic metres. The rock's pores follow the same law.
Reference    The convention of industry's black-oil simulators (Schlumberger, Eclipse; Rasmussen et al. 2021, OPM Flow).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from .saturation_functions import BrooksCorey, Corey, Pair, Regions

BRINE, CO2 = 0, 1
GRAVITY = 9.80665  # m/s2


def expansion(pressure: np.ndarray, compressibility: float | np.ndarray, reference_pressure: float) -> Pair:
    """(b, db/dp) of the law above; ``pressure`` in Pa, ``compressibility`` in 1/Pa."""
    X = compressibility * (pressure - reference_pressure)
    return 1.0 + X * (1.0 + 0.5 * X), compressibility * (1.0 + X)


@dataclass(frozen=True)
class Fluids:
    """Brine and CO2, pairs in this order: ``density`` in kg/m3 and ``compressibility`` in 1/Pa at ``reference_pressure``
    in Pa; ``viscosity`` in Pa s.

    ``relative_permeability`` and ``capillary`` pressure are those of all the rock, or of its ``Regions``.
    The defaults are those of supercritical CO2 in brine at 800-1000 m; no capillary pressure unless it is given.
    Raises ValueError where density or viscosity is not positive or a compressibility is negative.
    """

    density: tuple[float, float] = (1025.0, 700.0)
    viscosity: tuple[float, float] = (5e-4, 6e-5)
    compressibility: tuple[float, float] = (4.5e-10, 1e-8)
    reference_pressure: float = 1e7
    relative_permeability: Corey | Regions = field(default_factory=Corey)
    capillary: BrooksCorey | Regions | None = None

    def __post_init__(self) -> None:
        for name, least in (("density", 1e-300), ("viscosity", 1e-300), ("compressibility", 0.0)):
            values = getattr(self, name)
            if len(values) != 2 or not all(least <= v < np.inf for v in values):
                sign = "non-negative" if least == 0.0 else "positive"
                raise ValueError(f"Fluids: expected {name} = two {sign} numbers (brine, CO2), got {values}")

    def expansion(self, phase: int, pressure: np.ndarray) -> Pair:
        """(b, db/dp) of ``phase`` (BRINE or CO2)."""
        return expansion(pressure, self.compressibility[phase], self.reference_pressure)

    def at(self, cells: np.ndarray) -> Fluids:
        """The fluids in some ``cells``, flat indices."""
        curves, capillary = self.relative_permeability.at(cells), self.capillary and self.capillary.at(cells)
        return replace(self, relative_permeability=curves, capillary=capillary)

    def capillary_pressure(self, saturation: np.ndarray) -> Pair:
        """(p_c, dp_c/dS) in Pa at the CO2 ``saturation``, (cells,)."""
        width = self.relative_permeability.largest_saturation
        value, slope = self.capillary.evaluate((width - saturation) / width)
        return value, -slope / width
