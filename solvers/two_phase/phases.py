"""Phases: all that the equations need to know of brine and CO2 in each cell, values and derivatives.

Pressures    p_w = p and p_n = p + p_c(S), so that dp_w/dp = dp_n/dp = 1, dp_w/dS = 0, dp_n/dS = p_c'(S).
Chain rule   b depends on the phase's own pressure:  db/dS = b' dp_a/dS.  lambda = k_r / mu depends on S alone.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .fluids import BRINE, CO2, Fluids


class Phase(NamedTuple):
    """One phase, arrays (cells,): ``pressure`` in Pa and its d/dS, the ``slope``; ``saturation`` and its d/dS, the ``sign``;
    ``b`` and its d/dpressure; ``lam`` = k_r / mu in 1/(Pa s) and its d/dS."""

    pressure: np.ndarray
    slope: np.ndarray
    saturation: np.ndarray
    sign: float
    b: np.ndarray
    db: np.ndarray
    lam: np.ndarray
    dlam: np.ndarray


def evaluate_phases(fluids: Fluids, p: np.ndarray, S: np.ndarray) -> tuple[Phase, Phase]:
    """(brine, CO2) at the brine pressure ``p`` in Pa and the CO2 saturation ``S``."""
    nothing = np.zeros(p.size)
    pc, dpc = (nothing, nothing) if fluids.capillary is None else fluids.capillary_pressure(S)
    k_brine, k_co2 = fluids.relative_permeability.evaluate(S)
    mu_brine, mu_co2 = fluids.viscosity
    b_brine, b_co2 = fluids.expansion(BRINE, p), fluids.expansion(CO2, p + pc)
    brine = Phase(p, nothing, 1.0 - S, -1.0, *b_brine, k_brine[0] / mu_brine, k_brine[1] / mu_brine)
    co2 = Phase(p + pc, dpc, S, 1.0, *b_co2, k_co2[0] / mu_co2, k_co2[1] / mu_co2)
    return brine, co2
