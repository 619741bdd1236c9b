"""Linear systems of Newton's method: Gaussian elimination for small ones, GMRES with a two-stage preconditioner beyond.

CPR          Constrained pressure residual. Pressure is felt everywhere at once, saturation only next door; so
             M = stage 2 after stage 1:
             1  pressure   the brine and CO2 rows of each cell are added: the storage of saturation nearly cancels, and
                           what is left is nearly an elliptic equation for p alone: one multigrid V-cycle
             2  columns    one red-black sweep over the columns with p and S together, on what stage 1 left
Wells        The bottom-hole pressures are eliminated first. In stage 1 a well's rate is taken as given, perforation by
             perforation: its dependence on p is left out, as the rate would not change if all pressures rose together.
Reference    Wallis (1983); Lacroix, Vassilevski, Wheeler (2001).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.linalg import splu

from .assembly import Assembly
from .columns import Columns, places
from .control import StepFailed
from .krylov import gmres
from .multigrid import Multigrid

LARGEST_DIRECT = 500  # cells; about where the two are equally fast
LARGEST_FALLBACK = 20_000  # cells; the fill of elimination soon takes all memory beyond
TOLERANCE = 3e-3  # relative; Newton's method makes up for it
MOST_ITERATIONS = 60

Solver = Callable[[csr_matrix, np.ndarray], np.ndarray]


def linear_solver(assembly: Assembly) -> Solver:
    """A function (Jacobian, right-hand side) -> solution; it raises StepFailed where it finds none."""
    return solve_directly if assembly.cells <= LARGEST_DIRECT else CPR(assembly).solve


def solve_directly(matrix: csr_matrix, rhs: np.ndarray) -> np.ndarray:
    """Gaussian elimination. Raises StepFailed where the matrix is singular."""
    try:
        return splu(matrix.tocsc(), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.01).solve(rhs)
    except RuntimeError as error:
        raise StepFailed(f"The Jacobian is singular ({error})") from error


class CPR:
    """GMRES with the two-stage preconditioner, for the Jacobians of one ``assembly``."""

    def __init__(self, assembly: Assembly) -> None:
        shape, size = assembly.reservoir.grid.shape, 2 * assembly.cells
        place = places(assembly.pattern)
        cells = place[:size, :size]
        brine, co2 = cells[0::2, 0::2], cells[1::2, 0::2]
        self.size = size
        self.columns = Columns(cells, shape, unknowns=2)
        self.multigrid = Multigrid(brine, shape)
        self._cell_places = cells.data - 1
        self._pressure_places = brine.data - 1, co2.data - 1
        self._diagonal = places(brine).diagonal() - 1

    def solve(self, matrix: csr_matrix, rhs: np.ndarray) -> np.ndarray:
        """The solution to TOLERANCE; by elimination where GMRES does not get there. Raises StepFailed where the matrix is
        singular, or too large to eliminate."""
        self.factor(matrix)
        x, converged = gmres(matrix.dot, self.apply, rhs, TOLERANCE, MOST_ITERATIONS)
        if converged:
            return x
        if self.size > 2 * LARGEST_FALLBACK:
            raise StepFailed(
                f"GMRES did not converge in {MOST_ITERATIONS} iterations, and {self.size // 2} cells are too many for "
                "elimination"
            )
        return solve_directly(matrix, rhs)

    def factor(self, matrix: csr_matrix) -> None:
        """Prepare ``apply`` for this matrix. Raises StepFailed where a column or the coarsest pressure matrix is singular."""
        n = self.size
        self.matrix, self.into_wells = matrix, matrix[n:, :n]
        self.from_wells, self.wells = matrix[:n, n:], matrix.diagonal()[n:]
        self.columns.factor(matrix.data[self._cell_places])
        brine, co2 = self._pressure_places
        pressure = matrix.data[brine] + matrix.data[co2]
        pressure[self._diagonal] += (self.into_wells.T @ np.ones(self.wells.size))[0::2]
        self.multigrid.factor(pressure)

    def apply(self, r: np.ndarray) -> np.ndarray:
        """About matrix^-1 r."""
        n, order = self.size, self.columns.order
        b = r[:n] - self.from_wells @ (r[n:] / self.wells)
        x = np.zeros(n + self.wells.size)
        x[0:n:2] = self.multigrid.cycle(b[0::2] + b[1::2])
        x[n:] = (r[n:] - self.into_wells @ x[:n]) / self.wells
        remains = (r - self.matrix @ x)[:n]
        x[order] += np.concatenate(self.columns.sweep(remains[order]))
        x[n:] = (r[n:] - self.into_wells @ x[:n]) / self.wells
        return x
