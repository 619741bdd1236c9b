"""Injection and production: what flows between the wells and their cells, and the equations of the wells.

Unknown      The bottom-hole pressure P of each well, at its first perforation.
Inflow       Of phase a through one perforation into its cell, in reference m3/s:
                 injector   q_n = W (lambda_w + lambda_n) b_n d,  d = P + head - p_n:  the cell's total mobility, since CO2
                            displaces whatever is there;  q_w = 0
                 producer   q_a = W lambda_a b_a d,  d = P + head - p:  each phase by its own mobility; negative
Head         rho g times the depth below the first perforation, with rho of the cell of the first perforation at the
             beginning of the time step, so x_old enters here too: rho_n in an injector, in a producer the mean of the
             two phases by their mobilities.
Check valve  A perforation that would pass something the other way is shut: at a low rate all CO2 enters by the upper
             perforations, since the brine outside is heavier than the CO2 in the bore. This is a well without crossflow:
             an open bore would also take brine in below and pass it on above.
Equation     Of an injector   max(Q - rate, G (P - limit)) = 0,  Q the sum of q; of a producer, whose rate is negative, min:
             the larger of the two says which control the well is on, so it delivers its rate or keeps to its pressure, and
             never exceeds either. Newton's method finds the control as it finds upwind directions. G, the sum of W / mu_w,
             is a constant that gives both the same unit. The strongest perforation of a well on its rate has no valve, so
             that P always has something to act on: where Q is the rate, it passes something the right way anyway.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .fluids import BRINE, CO2, GRAVITY, Fluids
from .phases import Phase
from .wells import Perforations

Phases = tuple[Phase, Phase]


class WellTerms(NamedTuple):
    """``q``, [phase, perforation], its derivatives by its cell's (p, S), ``q_by_cell`` [phase, unknown, perforation], and by P,
    ``q_by_well`` [phase, perforation]; the wells' residual ``R`` (wells,), its derivatives by the cells, ``R_by_cell``
    [unknown, perforation], and by P, ``R_by_well`` (wells,); ``on_limit``, (wells,): which wells keep to their pressure. Of
    each perforation, what a change of its drawdown d does to the well's residual, ``R_by_drawdown``, and to q: ``q_by_well``;
    and what a change of its index W does, ``R_by_index`` and ``q_by_index`` [phase, perforation]."""

    q: np.ndarray
    q_by_cell: np.ndarray
    q_by_well: np.ndarray
    R: np.ndarray
    R_by_cell: np.ndarray
    R_by_well: np.ndarray
    on_limit: np.ndarray
    R_by_drawdown: np.ndarray
    q_by_index: np.ndarray
    R_by_index: np.ndarray


def well_terms(wells: Perforations, fluids: Fluids, P: np.ndarray, phases: Phases, old: Phases) -> WellTerms:
    """All that the residual and its Jacobian need of the wells, at the bottom-hole pressures ``P`` in Pa."""
    d = drawdown(wells, fluids, P, phases, old)
    q, q_by_cell, q_by_well = _through_perforations(wells, d, phases)
    is_open = wells.sign[wells.well] * d.real >= 0.0
    strongest = _is_strongest(wells, d.real)
    Q = wells.per_well((q * (is_open | strongest)).sum(axis=0))
    G = wells.per_well(wells.index) / fluids.viscosity[BRINE]
    on_limit = wells.sign * G.real * (P.real - wells.bhp) > wells.sign * (Q - wells.rate).real
    R, rest = np.empty_like(Q), ~on_limit
    R[on_limit] = G[on_limit] * (P - wells.bhp)[on_limit]
    R[rest] = (Q - wells.rate)[rest]
    on_rate = rest[wells.well]
    is_open |= strongest & on_rate
    acts = is_open & on_rate
    R_by_drawdown = (q_by_well * acts).sum(axis=0)
    q_by_index = np.divide(q * is_open, wells.index, out=np.zeros_like(q), where=wells.index.real > 0.0)
    against_limit = np.where(on_limit, P - wells.bhp, 0.0)[wells.well] / fluids.viscosity[BRINE]
    return WellTerms(
        q=q * is_open,
        q_by_cell=q_by_cell * is_open,
        q_by_well=q_by_well * is_open,
        R=R,
        R_by_cell=(q_by_cell * acts).sum(axis=0),
        R_by_well=np.where(on_limit, G, wells.per_well(R_by_drawdown)),
        on_limit=on_limit,
        R_by_drawdown=R_by_drawdown,
        q_by_index=q_by_index,
        R_by_index=np.where(on_rate, (q_by_index * acts).sum(axis=0), against_limit),
    )


def drawdown(wells: Perforations, fluids: Fluids, P: np.ndarray, phases: Phases, old: Phases) -> np.ndarray:
    """d of each perforation, Pa."""
    brine, co2 = phases
    outside = np.where(wells.sign[wells.well] > 0.0, co2.pressure[wells.cell], brine.pressure[wells.cell])
    return P[wells.well] + _head(wells, fluids, old) - outside


def starting_pressure(wells: Perforations, fluids: Fluids, phases: Phases) -> np.ndarray:
    """P of each well that would drive its rate through the cells as they are, with all perforations open, but within its
    limit, Pa."""
    d = drawdown(wells, fluids, np.zeros(wells.rate.size), phases, phases)
    q, _, q_by_well = _through_perforations(wells, d, phases)
    P = (wells.rate - wells.per_well(q.sum(axis=0))) / wells.per_well(q_by_well.sum(axis=0))
    return np.where(wells.sign > 0.0, np.minimum(P, wells.bhp), np.maximum(P, wells.bhp))


def _head(wells: Perforations, fluids: Fluids, old: Phases) -> np.ndarray:
    """The weight of what is in the bore, from the first perforation down to each, Pa."""
    first = wells.first
    density = [fluids.density[a] * old[a].b[first] for a in (BRINE, CO2)]
    share = old[CO2].lam[first] / (old[BRINE].lam[first] + old[CO2].lam[first])
    mean = np.where(wells.sign > 0.0, density[CO2], density[BRINE] + share * (density[CO2] - density[BRINE]))
    return mean[wells.well] * GRAVITY * wells.drop


def head_by_old(wells: Perforations, fluids: Fluids, old: Phases) -> np.ndarray:
    """The derivatives of the head by (p, S) of the cell of the well's first perforation, [unknown, perforation]."""
    first = wells.first
    brine, co2 = (fluids.density[a] * old[a].b[first] for a in (BRINE, CO2))
    by_p = [fluids.density[a] * old[a].db[first] for a in (BRINE, CO2)]
    by_S = by_p[CO2] * old[CO2].slope[first]  # of the CO2's density: the brine's pressure is p itself
    total = old[BRINE].lam[first] + old[CO2].lam[first]
    share = old[CO2].lam[first] / total
    d_share = (old[CO2].dlam[first] - share * (old[BRINE].dlam[first] + old[CO2].dlam[first])) / total
    injects = wells.sign > 0.0
    mean_by_p = np.where(injects, by_p[CO2], by_p[BRINE] + share * (by_p[CO2] - by_p[BRINE]))
    mean_by_S = np.where(injects, by_S, share * by_S + d_share * (co2 - brine))
    return np.stack([mean_by_p, mean_by_S])[:, wells.well] * GRAVITY * wells.drop


def _through_perforations(
    wells: Perforations, d: np.ndarray, phases: Phases
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(q, q_by_cell, q_by_well) of WellTerms, with all perforations open."""
    c, injects = wells.cell, wells.sign[wells.well] > 0.0
    q, by_cell = np.empty((2, c.size), d.dtype), np.empty((2, 2, c.size), d.dtype)
    by_well = np.empty((2, c.size), d.dtype)
    total, d_total = (sum(getattr(f, name)[c] for f in phases) for name in ("lam", "dlam"))
    slope = np.where(injects, phases[CO2].slope[c], 0.0)  # of the pressure outside
    for a, f in enumerate(phases):
        lam, dlam = np.where(injects, (0.0, total)[a], f.lam[c]), np.where(injects, (0.0, d_total)[a], f.dlam[c])
        b, db = f.b[c], f.db[c]
        q[a], by_well[a] = wells.index * lam * b * d, wells.index * lam * b
        by_cell[a, 0] = wells.index * lam * (db * d - b)
        by_cell[a, 1] = wells.index * ((dlam * b + lam * db * f.slope[c]) * d - lam * b * slope)
    return q, by_cell, by_well


def _is_strongest(wells: Perforations, d: np.ndarray) -> np.ndarray:
    """Which perforations have the largest drawdown of their well, in the direction that the well is for."""
    along = np.where(wells.index.real > 0.0, wells.sign[wells.well] * d, -np.inf)
    largest = np.full(wells.rate.size, -np.inf)
    np.maximum.at(largest, wells.well, along)
    return along == largest[wells.well]
