"""Transposed: the linear systems of an adjoint, and their preconditioner.

Definition   The two stages of CPR (``linear``), for J^T. Its unknowns belong to the rows of J, brine and CO2 of each cell, and
             its rows to the unknowns p and S.
             1  pressure   J's pressure matrix adds the brine and CO2 rows, and takes the columns of p. Its transpose takes the
                           rows of p and gives both unknowns of a cell the same: one cycle for the transposed coefficients
             2  columns    one red-black sweep over the columns of J^T, on what stage 1 left
Wells        are eliminated first, as in CPR; what was J's column of a well is the row of its unknown.
Units        Rows of p are 1/Pa, those of S are not. So that a residual has one unit, those of p are multiplied by the pressure
             ``PASCAL`` that changes about as much as a saturation does.
Transposing  The coefficient of J^T from a cell to its neighbour is that of J from the neighbour to the cell: one halo exchange.
Cost         J^T x adds ghosts back to their owners: the adjoint of the exchange that J x begins with.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix

from .blocks import Block
from .fluids import BRINE, CO2
from .linear import CPR, Direct
from .stencil import ABOVE, BELOW, CENTRE, EAST, NORTH, SOUTH, STEPS, WEST

PASCAL = 1e6
OPPOSITE = {CENTRE: CENTRE, ABOVE: BELOW, BELOW: ABOVE, WEST: EAST, EAST: WEST, SOUTH: NORTH, NORTH: SOUTH}
TOLERANCE = 1e-13
MOST_ITERATIONS = 150


def exact_solver(linear: Direct | CPR) -> Direct | Exact:
    """Its ``solve`` and ``solve_transposed`` (Jacobian, right-hand side) -> solution are exact but for round-off, and raise
    StepFailed as those of ``linear`` do; it borrows that one's parts."""
    return linear if isinstance(linear, Direct) else Exact(linear)


class Exact:
    """GMRES to round-off, for the matrices of ``cpr`` and for their transposes."""

    def __init__(self, cpr: CPR) -> None:
        self.cpr, self.pairs, self.size = cpr, cpr.assembly.pairs, cpr.size
        self.transpose = Transposition(cpr.assembly.block, unknowns=2)

    @property
    def iterations(self) -> int:
        """Of ``cpr`` and its own."""
        return self.cpr.iterations

    def solve(self, matrix: csr_matrix, rhs: np.ndarray) -> np.ndarray:
        """The solution."""
        self.cpr.factor(matrix)
        x = self.cpr.iterate(self.cpr.multiply, self.cpr.apply, rhs, TOLERANCE, MOST_ITERATIONS)
        return self.cpr.direct.solve(matrix, rhs) if x is None else x

    def solve_transposed(self, matrix: csr_matrix, rhs: np.ndarray) -> np.ndarray:
        """The solution of the transposed system."""
        self.factor(matrix)
        units = np.ones(rhs.size)
        units[0 : self.size : 2] = PASCAL
        A, M = (lambda x: units * self.multiply(x)), (lambda r: self.apply(r / units))
        x = self.cpr.iterate(A, M, units * rhs, TOLERANCE, MOST_ITERATIONS)
        return self.cpr.direct.solve_transposed(matrix, rhs) if x is None else x

    def multiply(self, x: np.ndarray) -> np.ndarray:
        """matrix^T x."""
        y, m = self.matrix.T @ x, self.pairs.extended.size
        return np.concatenate([self.pairs.extend_adjoint(y[:m]), y[m:]])

    def factor(self, matrix: csr_matrix) -> None:
        """Prepare ``apply`` for this matrix. Raises StepFailed where the coarsest pressure matrix is singular."""
        n, m = self.size, self.pairs.extended.size
        self.matrix, self.wells = matrix, matrix[n:, m:].diagonal()
        self.from_wells, self.into_wells = matrix[n:, :m][:, self.pairs.inside].T, matrix[:n, m:].T
        C = self.transpose(self.cpr.stencil.read(matrix.data))
        self.cpr.columns.factor(C)
        pressure = C[:, 0, BRINE] + C[:, 0, CO2]
        pressure[CENTRE] += (self.from_wells @ np.ones(self.wells.size))[0::2]
        self.cpr.multigrid.factor(pressure)

    def apply(self, r: np.ndarray) -> np.ndarray:
        """About matrix^-T r."""
        n = self.size
        b = r[:n] - self.from_wells @ (r[n:] / self.wells)
        x = np.zeros(r.size)
        x[0:n:2] = x[1:n:2] = self.cpr.multigrid.solve(b[0::2])
        x[n:] = (r[n:] - self.into_wells @ x[:n]) / self.wells
        x[:n] += self.cpr.columns.sweep((r - self.multiply(x))[:n])
        x[n:] = (r[n:] - self.into_wells @ x[:n]) / self.wells
        return x


class Transposition:
    """From the coefficients (see ``stencil``) of a matrix on the columns of ``block`` to those of its transpose; collective."""

    def __init__(self, block: Block, unknowns: int) -> None:
        self.block, self.lateral = block, block.of_height(4 * unknowns**2 * block.height)

    def __call__(self, C: np.ndarray) -> np.ndarray:
        """(7, m, m, cells) -> the same."""
        m, nz = C.shape[1], self.block.height
        C = C.reshape(7, m, m, -1, nz)
        result = np.zeros_like(C)
        result[CENTRE] = C[CENTRE].swapaxes(0, 1)
        result[ABOVE, ..., 1:] = C[BELOW, ..., :-1].swapaxes(0, 1)
        result[BELOW, ..., :-1] = C[ABOVE, ..., 1:].swapaxes(0, 1)
        around = self.lateral.extend(np.moveaxis(C[WEST:], 3, 0).ravel())
        (i0, i1), (j0, j1), _ = self.block.space.local_box
        (e0, e1), (f0, f1), _ = self.block.halo.range.local_box
        padded = np.zeros((i1 - i0 + 2, j1 - j0 + 2, 4, m, m, nz))  # a place for each neighbour, also beyond the rim
        padded[e0 - i0 + 1 : e1 - i0 + 1, f0 - j0 + 1 : f1 - j0 + 1] = around.reshape(e1 - e0, f1 - f0, 4, m, m, nz)
        for direction in (WEST, SOUTH, NORTH, EAST):
            di, dj, _ = STEPS[direction]
            there = padded[1 + di : i1 - i0 + 1 + di, 1 + dj : j1 - j0 + 1 + dj, OPPOSITE[direction] - WEST]
            result[direction] = np.moveaxis(there.reshape(-1, m, m, nz), 0, 2).swapaxes(0, 1)
        return result.reshape(7, m, m, -1)
