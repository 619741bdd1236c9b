"""Sensitivity: how the result of a step depends on the state before it and on the coefficients, and the transpose of that.

Definition   A step solves R(x, x_old, dt, m) = 0, m the coefficients. With J = dR/dx, B = dR/dx_old, C = dR/dm at its solution
                 J dx + B dx_old + C dm = 0.
Tangent      dx = -J^-1 (B dx_old + C dm)
Adjoint      lam = J^-T g;   dx_old = -B^T lam,   dm = -C^T lam:   one transposed solve, whatever the number of parameters.
B            has two parts: what the cells held, -dM(x_old) / dt, and the head in each bore, of the density at x_old in the cell
             of the well's first perforation. The bottom-hole pressures of x_old do not enter.
C            R is linear in the coefficients: pore volumes, transmissibilities, connection indices, and the wells' rates.
Held fixed   Upwind directions, check valves and the wells' controls, as they are at the solution: where one of them is about
             to change, R has a kink and the derivative is that of one side.
Ranks        B and C need no messages but for what lies on the rim, J^T adds ghosts back (``transposed``).
Trap         Without the head the adjoint is nearly right: wells perforated in one layer have none.
Reference    Jansen (2011), Adjoint-based optimization of multi-phase flow through porous media: a review.
"""

from __future__ import annotations

import numpy as np

from .assembly import Assembly, Coefficients
from .fluids import BRINE, CO2
from .linear import Direct
from .transposed import Exact


class Sensitivity:
    """Of the step of ``dt`` s from ``x_old`` to ``x``, which solves the equations of ``assembly``; ``linear`` solves with its
    Jacobian. Collective. Its methods raise StepFailed where that is singular."""

    def __init__(self, assembly: Assembly, linear: Direct | Exact, x: np.ndarray, x_old: np.ndarray, dt: float) -> None:
        self.assembly, self.linear, self.dt = assembly, linear, dt
        self.jacobian = assembly.jacobian(x, x_old, dt)
        self.by = assembly.dependence(x, x_old)
        self.own = np.full(assembly.block.extended.size, -1)  # an extended cell -> an own one
        self.own[assembly.inside] = np.arange(assembly.cells)
        self.perforated, self.first = self.own[assembly.wells.cell], self.own[assembly.wells.first][assembly.wells.well]

    def tangent(self, dx_old: np.ndarray, dm: Coefficients) -> np.ndarray:
        """dx for changes of ``x_old`` and of the coefficients."""
        return self.linear.solve(self.jacobian, -self.by_old(dx_old) - self.by_coefficients(dm))

    def adjoint(self, g: np.ndarray) -> tuple[np.ndarray, Coefficients]:
        """(cotangent of x_old, of the coefficients) of the cotangent ``g`` of x."""
        lam = self.linear.solve_transposed(self.jacobian, g)
        return -self.by_old_adjoint(lam), Coefficients(*(-part for part in self.by_coefficients_adjoint(lam)))

    # B

    def by_old(self, dx: np.ndarray) -> np.ndarray:
        """B dx."""
        by, well, (cells, wells) = self.by, self.by.wells, self._zeros()
        p, S, _ = self.assembly.unpack(dx)
        cells -= np.einsum("auc,uc->ac", by.stored, np.stack([p, S])) / self.dt
        d = by.head[0] * p[self.first] + by.head[1] * S[self.first]
        for a in (BRINE, CO2):
            np.subtract.at(cells[a], self.perforated, well.q_by_well[a] * d)
        np.add.at(wells, self.assembly.wells.well, well.R_by_drawdown * d)
        return self._joined(cells, wells)

    def by_old_adjoint(self, lam: np.ndarray) -> np.ndarray:
        """B^T lam."""
        by, well, (cells, wells) = self.by, self.by.wells, self._split(lam)
        dx = -np.einsum("auc,ac->uc", by.stored, cells) / self.dt
        d = well.R_by_drawdown * wells[self.assembly.wells.well]
        for a in (BRINE, CO2):
            d -= well.q_by_well[a] * cells[a, self.perforated]
        for u in (0, 1):
            np.add.at(dx[u], self.first, by.head[u] * d)
        return self._joined(dx, np.zeros_like(wells))

    # C

    def by_coefficients(self, dm: Coefficients) -> np.ndarray:
        """C dm."""
        by, well, (cells, wells), around = self.by, self.by.wells, self._zeros(), self.assembly
        for a in (BRINE, CO2):
            flow = by.flux[a] * dm.transmissibility
            cells[a] += (around.to_left @ flow - around.to_right @ flow)[around.inside]
            cells[a] += by.change[a] * dm.volume / self.dt
            np.subtract.at(cells[a], self.perforated, well.q_by_index[a] * dm.connection)
        np.add.at(wells, around.wells.well, well.R_by_index * dm.connection)
        return self._joined(cells, wells - np.where(well.on_limit, 0.0, dm.inflow))

    def by_coefficients_adjoint(self, lam: np.ndarray) -> Coefficients:
        """C^T lam."""
        by, well, (cells, wells), around = self.by, self.by.wells, self._split(lam), self.assembly
        volume, faces = np.zeros(around.cells), np.zeros(around.left.size)
        connection = well.R_by_index * wells[around.wells.well]
        for a in (BRINE, CO2):
            rows = np.zeros(self.own.size)  # rows of cells around the own ones are other ranks'
            rows[around.inside] = cells[a]
            faces += by.flux[a] * (rows[around.left] - rows[around.right])
            volume += by.change[a] * cells[a] / self.dt
            connection -= well.q_by_index[a] * cells[a, self.perforated]
        return Coefficients(volume, faces, connection, -np.where(well.on_limit, 0.0, wells))

    def _zeros(self) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros((2, self.assembly.cells)), np.zeros(self.assembly.own_wells.size)

    def _split(self, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """([brine or p, CO2 or S; cell], wells) of a vector."""
        n = 2 * self.assembly.cells
        return v[:n].reshape(-1, 2).T, v[n:]

    def _joined(self, cells: np.ndarray, wells: np.ndarray) -> np.ndarray:
        return np.concatenate([cells.T.ravel(), wells])
