"""Injection: what flows from the wells into the cells, and the equations of the wells.

Unknown      The bottom-hole pressure P of each well, at its first perforation. Its equation: the sum of q over the
             perforations is the rate.
Inflow       q = W lambda b_n d,   d = P + head - p_n,   lambda = k_rw / mu_w + k_rn / mu_n,
             in reference m3/s: with the cell's total mobility, since CO2 displaces whatever is there.
Head         rho_n g times the depth below the first perforation; rho_n is that of the cell of the first perforation at
             the beginning of the time step, so x_old enters here too.
Check valve  A perforation that would take something out of its cell is shut: at a low rate all CO2 enters by the upper
             perforations, since the brine outside is heavier than the CO2 in the bore. The strongest one stays open.
             This is a well without crossflow: an open bore would also take brine in below and pass it on above.
"""

from __future__ import annotations

import numpy as np

from .fluids import CO2, GRAVITY, Fluids
from .phases import Phase
from .wells import Perforations

Phases = tuple[Phase, Phase]


def inflow(
    wells: Perforations, fluids: Fluids, P: np.ndarray, phases: Phases, old: Phases
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(q, its derivatives with respect to its cell's (p, S), (2, perforations), and with respect to P)."""
    brine, co2 = phases
    c, d = wells.cell, drawdown(wells, fluids, P, phases, old)
    index = wells.index * is_open(wells, d.real)
    lam, dlam = brine.lam[c] + co2.lam[c], brine.dlam[c] + co2.dlam[c]
    b, db = co2.b[c], co2.db[c]
    d_pressure = index * lam * (db * d - b)
    d_saturation = index * dlam * b * d + d_pressure * co2.slope[c]
    return index * lam * b * d, np.stack([d_pressure, d_saturation]), index * lam * b


def drawdown(wells: Perforations, fluids: Fluids, P: np.ndarray, phases: Phases, old: Phases) -> np.ndarray:
    """d of each perforation, Pa."""
    density = fluids.density[CO2] * old[CO2].b[wells.first]
    head = density[wells.well] * GRAVITY * wells.drop
    return P[wells.well] + head - phases[CO2].pressure[wells.cell]


def is_open(wells: Perforations, d: np.ndarray) -> np.ndarray:
    """Which perforations are open, for the drawdown ``d``."""
    largest = np.full(wells.rate.size, -np.inf)
    np.maximum.at(largest, wells.well, d)
    return (d >= 0.0) | (d == largest[wells.well])


def starting_pressure(wells: Perforations, fluids: Fluids, phases: Phases) -> np.ndarray:
    """P of each well that would drive its rate into the cells as they are, with all perforations open, Pa."""
    (brine, co2), c, n = phases, wells.cell, wells.rate.size
    conductance = wells.index * (brine.lam[c] + co2.lam[c]) * co2.b[c]
    d = drawdown(wells, fluids, np.zeros(n), phases, phases)
    return (wells.rate - np.bincount(wells.well, conductance * d, n)) / np.bincount(wells.well, conductance, n)
