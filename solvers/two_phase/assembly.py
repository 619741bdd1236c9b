"""Assembly: the residual of one implicit time step, and its Jacobian beside it.

Unknowns     x = (p_0, S_0, p_1, S_1, ..., P_0, ...): brine pressure and CO2 saturation of each cell, then the bottom-hole
             pressures. Equations in the same order: brine, CO2 of each cell, then the wells.
Residual     R = (M(x) - M(x_old)) / dt + div F(x) - q(x, x_old) = 0,  and the equation of each well (``injection``);
                 M = V r b s                      what a cell holds: V its pore volume, r(p) the pores' expansion
                 F = T (lambda b)_up dphi,  dphi = p_l - p_r - g (z_l - z_r) (rho_l + rho_r) / 2
             from the left to the right cell of a face; "up" is the cell that the phase flows from. All in reference
             m3/s: a mass divided by the phase's reference density. r takes the brine's pressure p, not a mean of the
             two phases'.
Jacobian     One 2 x 2 block [equation, unknown] per cell and two per face, and the wells' rows and columns. Where its
             entries stand never changes, so the order that sorts them into CSR is found once.
Ranks        A vector holds the rank's own cells and the wells in them. Its rows need the cells around: phases are evaluated
             in the extended block, which a halo exchange fills, and fluxes at all faces of own cells; those at the rim of a
             block on both sides of it, alike. A Jacobian has own rows, and a column for each entry of an extended vector.
Purity       ``residual`` and ``jacobian`` depend on their arguments alone; x_old enters through M(x_old) and the wells'
             head. R is analytic in x between switches of upwind direction, check valves or the wells' controls, and takes
             complex x. The wells' rates are those of one time: ``at`` makes the equations of another.
"""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_matrix

from refimpl import Partition

from .blocks import Gathering, cut, one_rank
from .fluids import BRINE, CO2, GRAVITY, expansion
from .injection import WellTerms, head_by_old, starting_pressure, well_terms
from .phases import Phase, evaluate_phases
from .reservoir import Reservoir, State
from .sums import Sums


class Coefficients(NamedTuple):
    """What R is linear in, of this rank: the pore ``volume`` of own cells, m3; the ``transmissibility`` of faces, m3; the
    ``connection`` indices of the perforations of own wells, m3; the ``inflow`` that own wells are to bring, m3/s."""

    volume: np.ndarray
    transmissibility: np.ndarray
    connection: np.ndarray
    inflow: np.ndarray


class Dependence(NamedTuple):
    """What R depends on besides x. By x_old: ``stored``, dM(x_old) [phase, unknown, cell], and ``head``, of perforations by
    their well's first cell [unknown, perforation]. By coefficients: ``change`` of M per pore volume [phase, cell], ``flux`` per
    transmissibility [phase, face]. Of ``wells`` both."""

    stored: np.ndarray
    head: np.ndarray
    change: np.ndarray
    flux: np.ndarray
    wells: WellTerms


class Assembly:
    """The discrete equations of a ``reservoir``, which is the same on all ranks of a ``partition`` (along x, along y).

    A vector has ``size`` = 2 ``cells`` + wells entries: those of this rank. Methods that take vectors are collective.
    """

    def __init__(self, reservoir: Reservoir, partition: Partition | None = None) -> None:
        nx, ny, nz = reservoir.grid.shape
        self.reservoir, self.rock = reservoir, reservoir.rock
        self.block = cut((nx, ny, nz), reservoir.ties, partition or one_rank())
        self.pairs = self.block.of_height(2 * nz)  # of unknowns
        self.comm, self.cells, self.inside = self.block.partition.comm, self.block.size, self.block.inside
        around = self.block.extended
        local = np.full(reservoir.grid.size, -1)  # a cell of the grid -> its place in the extended block
        local[around] = np.arange(around.size)
        self.fluids, self.pore_volume = reservoir.fluids.at(around), reservoir.pore_volume[around]
        self.pore_compressibility = np.broadcast_to(reservoir.pore_compressibility, local.size)[around]
        largest = self.fluids.relative_permeability.largest_saturation
        self.largest_saturation = np.broadcast_to(largest, around.size)[self.inside]
        self.own_wells, self.wells = reservoir.perforations.at(local, self.block.numbers)
        self.rates = reservoir.inflow_at(0.0)  # of all wells
        self.size = 2 * self.cells + self.own_wells.size
        self._find_faces(local)
        self.gather_wells = Gathering(self.comm, self.own_wells)
        own_first = np.searchsorted(self.block.numbers, around[self.wells.first])
        self.sums = Sums(self.block, own_first // nz)
        self._order, self.pattern = self._find_pattern()

    @property
    def numbers(self) -> np.ndarray:
        """The number of each entry of a vector among those of all ranks."""
        return np.concatenate([self.pairs.numbers, 2 * self.reservoir.grid.size + self.own_wells])

    @property
    def extended_numbers(self) -> np.ndarray:
        """The same of an extended vector."""
        return np.concatenate([self.pairs.extended, 2 * self.reservoir.grid.size + self.own_wells])

    def at(self, time: float) -> Assembly:
        """The same equations with the rates that the wells' schedules have from ``time`` in s on."""
        other = copy(self)
        other.rates = self.reservoir.inflow_at(time)
        other.wells = replace(self.wells, rate=other.rates[self.own_wells])
        return other

    def having(self, given: Coefficients) -> Assembly:
        """The same equations with other coefficients. What errors of mass are relative to stays the reservoir's."""
        other = copy(self)
        other.pore_volume, other.transmissibility = self.block.extend(given.volume), given.transmissibility
        other.wells = replace(self.wells, index=given.connection, rate=given.inflow)
        return other

    def pack(self, state: State) -> np.ndarray:
        """The vector of ``state``, with the bottom-hole pressures that would drive the wells' rates into it."""
        around = self.block.extended
        p, S = np.ravel(state.pressure)[around], np.ravel(state.saturation)[around]
        P = starting_pressure(self.wells, self.fluids, evaluate_phases(self.fluids, p, S))
        return np.concatenate([np.stack([p, S], axis=1)[self.inside].ravel(), P])

    def drive(self, x: np.ndarray) -> np.ndarray:
        """``x`` with the bottom-hole pressures that ``pack`` gives to its pressures and saturations."""
        p, S, _ = self.unpack(self.extend(x))
        P = starting_pressure(self.wells, self.fluids, evaluate_phases(self.fluids, p, S))
        return np.concatenate([x[: 2 * self.cells], P])

    def unpack(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(p, S, P): views of ``x``, a vector or an extended one."""
        n = x.size - self.own_wells.size
        return x[0:n:2], x[1:n:2], x[n:]

    def extend(self, x: np.ndarray) -> np.ndarray:
        """The vector with the cells around the own ones."""
        n = 2 * self.cells
        return np.concatenate([self.pairs.extend(x[:n]), x[n:]])

    def residual(self, x: np.ndarray, x_old: np.ndarray, dt: float) -> np.ndarray:
        """R of the step from ``x_old`` to ``x`` in ``dt`` seconds, reference m3/s."""
        return self.linearize(x, x_old, dt)[0]

    def jacobian(self, x: np.ndarray, x_old: np.ndarray, dt: float) -> csr_matrix:
        """dR/dx, by rows; its product with a vector is ``jacobian @ extend(v)``."""
        return self.linearize(x, x_old, dt)[1]

    def linearize(self, x: np.ndarray, x_old: np.ndarray, dt: float) -> tuple[np.ndarray, csr_matrix]:
        """(R, dR/dx): the two share nearly all of their work."""
        n, wells, x, x_old = 2 * self.cells, self.wells, self.extend(x), self.extend(x_old)
        phases, old = (evaluate_phases(self.fluids, *self.unpack(v)[:2]) for v in (x, x_old))
        held, d_held = self._held(x, phases)
        before, _ = self._held(x_old, old)
        flux, d_left, d_right = self._flux(phases)
        well = well_terms(wells, self.fluids, self.unpack(x)[2], phases, old)

        R, rates, diagonal = np.empty(self.size, x.dtype), (held - before) / dt, d_held / dt
        for a in (BRINE, CO2):
            rates[a] += self.to_left @ flux[a] - self.to_right @ flux[a]
            for u in (0, 1):
                diagonal[a, u] += self.to_left @ d_left[a, u] - self.to_right @ d_right[a, u]
                np.subtract.at(diagonal[a, u], wells.cell, well.q_by_cell[a, u])
            np.subtract.at(rates[a], wells.cell, well.q[a])
        R[:n], R[n:] = rates.T[self.inside].ravel(), well.R
        return R, self._matrix([diagonal, d_right, -d_left, -well.q_by_well, well.R_by_cell, well.R_by_well])

    def dependence(self, x: np.ndarray, x_old: np.ndarray) -> Dependence:
        """What R depends on besides x."""
        wells, x, x_old = self.wells, self.extend(x), self.extend(x_old)
        phases, old = (evaluate_phases(self.fluids, *self.unpack(v)[:2]) for v in (x, x_old))
        unit = copy(self)
        unit.pore_volume, unit.transmissibility = np.ones_like(self.pore_volume), np.ones_like(self.transmissibility)
        content, before = unit._held(x, phases)[0], unit._held(x_old, old)
        return Dependence(
            stored=(self.pore_volume * before[1])[..., self.inside],
            head=head_by_old(wells, self.fluids, old),
            change=(content - before[0])[:, self.inside],
            flux=unit._flux(phases)[0],
            wells=well_terms(wells, self.fluids, self.unpack(x)[2], phases, old),
        )

    def well_flow(self, x: np.ndarray, x_old: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of all wells at ``x``: (brine and CO2 that flow into the rock, (wells, 2), reference m3/s; which are on their limits,
        (wells,)). A well on its rate has just that: where the cells got something else, the balance of mass shows it."""
        x, x_old = self.extend(x), self.extend(x_old)
        phases, old = (evaluate_phases(self.fluids, *self.unpack(v)[:2]) for v in (x, x_old))
        terms = well_terms(self.wells, self.fluids, self.unpack(x)[2], phases, old)
        q = self.wells.per_well(terms.q)
        total = q.sum(axis=0)
        share = np.divide(q, total, out=np.zeros_like(q), where=total != 0.0)
        flow = np.where(terms.on_limit, q, share * np.where(terms.on_limit, 0.0, self.wells.rate))
        gathered = self.gather_wells(np.stack([*flow, terms.on_limit], axis=1))
        return gathered[:, :2], gathered[:, 2] > 0.0

    def held(self, x: np.ndarray) -> np.ndarray:
        """M(x): reference cubic metres of brine and of CO2 in each own cell, (2, cells)."""
        x = self.extend(x)
        return self._held(x, evaluate_phases(self.fluids, *self.unpack(x)[:2]))[0][:, self.inside]

    def per_volume(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(M, dM) of a pore volume of 1 in each own cell, [phase, cell] and [phase, unknown, cell]."""
        unit, x = copy(self), self.extend(x)
        unit.pore_volume = np.ones_like(self.pore_volume)
        held, d_held = unit._held(x, evaluate_phases(self.fluids, *self.unpack(x)[:2]))
        return held[:, self.inside], d_held[..., self.inside]

    def held_in_all(self, x: np.ndarray) -> np.ndarray:
        """(brine, CO2) in the cells of all ranks, reference m3."""
        return self.sums.of(self.held(x))

    def in_place(self, x: np.ndarray) -> np.ndarray:
        """(brine, CO2) in the box itself, reference m3: the boundary's multipliers and inactive cells are left out.

        What errors of mass are relative to: the aquifer's volume must not make them look small.
        """
        share = self.reservoir.active.ravel() / self.reservoir.multiplier
        return self.sums.of(self.held(x) * share[self.block.numbers])

    def _held(self, x: np.ndarray, phases: tuple[Phase, Phase]) -> tuple[np.ndarray, np.ndarray]:
        """M, [phase, cell], and dM, [phase, unknown, cell], of an extended vector."""
        p, _, _ = self.unpack(x)
        r, dr = expansion(p, self.pore_compressibility, self.rock.reference_pressure)
        V, held, d_held = self.pore_volume, np.empty((2, p.size), x.dtype), np.empty((2, 2, p.size), x.dtype)
        for a, f in enumerate(phases):
            held[a] = V * r * f.b * f.saturation
            d_held[a, 0] = V * f.saturation * (dr * f.b + r * f.db)
            d_held[a, 1] = V * r * (f.b * f.sign + f.saturation * f.db * f.slope)
        return held, d_held

    def _flux(self, phases: tuple[Phase, Phase]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """F, [phase, face], and its derivatives by the left and by the right cell's unknowns, [phase, unknown, face]."""
        left, right, T = self.left, self.right, self.transmissibility
        dtype = phases[CO2].pressure.dtype
        flux = np.empty((2, T.size), dtype)
        d_left, d_right = np.empty((2, 2, T.size), dtype), np.empty((2, 2, T.size), dtype)
        for a, f in enumerate(phases):
            weight = 0.5 * self.fluids.density[a] * self.gravity_drop
            dphi = f.pressure[left] - f.pressure[right] - weight * (f.b[left] + f.b[right])
            from_left = dphi.real >= 0.0
            up = np.where(from_left, left, right)
            mobile = T * (f.lam * f.b)[up]
            flux[a] = mobile * dphi
            by_p_left, by_p_right = mobile * (1.0 - weight * f.db[left]), mobile * (-1.0 - weight * f.db[right])
            by_p_up = T * (f.lam * f.db)[up] * dphi
            by_S_up = T * (f.dlam * f.b + f.lam * f.db * f.slope)[up] * dphi
            d_left[a] = by_p_left + from_left * by_p_up, from_left * by_S_up
            d_right[a] = by_p_right + ~from_left * by_p_up, ~from_left * by_S_up
            if f.slope.any():  # capillary pressure
                d_left[a, 1] += by_p_left * f.slope[left]
                d_right[a, 1] += by_p_right * f.slope[right]
        return flux, d_left, d_right

    def _find_faces(self, local: np.ndarray) -> None:
        """The faces of own cells, in the numbers of the extended block."""
        grid, cells = self.reservoir.grid, self.block.extended.size
        is_own = np.zeros(grid.size, dtype=bool)
        is_own[self.block.numbers] = True
        left, right = grid.faces
        here = is_own[left] | is_own[right]
        left, right = left[here], right[here]
        depth = grid.depth.ravel()
        self.gravity_drop = GRAVITY * (depth[left] - depth[right])
        self.transmissibility = self.reservoir.transmissibility[here]
        self.left, self.right = local[left], local[right]
        self.to_left, self.to_right = (_sum_into(cell, cells) for cell in (self.left, self.right))

    def _find_pattern(self) -> tuple[np.ndarray, csr_matrix]:
        """(order, pattern): the values of ``linearize``, in this order, are the data of a Jacobian with that sparsity."""
        cells, wells = self.block.extended.size, np.arange(self.own_wells.size)
        cell, n = np.arange(cells), 2 * cells
        well = n + self.wells.well
        rows, columns = [], []
        for row, column in ((cell, cell), (self.left, self.right), (self.right, self.left)):
            rows += [2 * row + a for a in (BRINE, CO2) for _ in (0, 1)]
            columns += [2 * column + u for _ in (BRINE, CO2) for u in (0, 1)]
        rows += [2 * self.wells.cell + BRINE, 2 * self.wells.cell + CO2, well, well, n + wells]
        columns += [well, well, 2 * self.wells.cell, 2 * self.wells.cell + 1, n + wells]
        own = np.full(n + wells.size, -1)  # an extended row -> an own one
        own[np.concatenate([self.pairs.inside, n + wells])] = np.arange(self.size)
        row, column = own[np.concatenate(rows)], np.concatenate(columns)
        kept = np.flatnonzero(row >= 0)
        order = kept[np.lexsort((column[kept], row[kept]))]
        starts = np.concatenate([[0], np.cumsum(np.bincount(row[order], minlength=self.size))]).astype(np.int32)
        shape = (self.size, n + wells.size)
        return order, csr_matrix((np.ones(order.size), column[order].astype(np.int32), starts), shape)

    def _matrix(self, values: list[np.ndarray]) -> csr_matrix:
        data = np.concatenate([v.real.ravel() for v in values])[self._order]
        matrix = csr_matrix((data, self.pattern.indices, self.pattern.indptr), self.pattern.shape)
        matrix.has_sorted_indices = matrix.has_canonical_format = True
        return matrix


def _sum_into(cell: np.ndarray, cells: int) -> csr_matrix:
    """The matrix that adds what is given per face to the face's ``cell``."""
    return csr_matrix((np.ones(cell.size), (cell, np.arange(cell.size))), (cells, cell.size))
