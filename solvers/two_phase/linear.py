"""Linear systems of Newton's method: Gaussian elimination for small ones, GMRES with a two-stage preconditioner beyond.

CPR          Constrained pressure residual. Pressure is felt everywhere at once, saturation only next door; so
             M = stage 2 after stage 1:
             1  pressure   the brine and CO2 rows of each cell are added: the storage of saturation nearly cancels, and
                           what is left is nearly an elliptic equation for p alone: one multigrid cycle
             2  columns    one red-black sweep over the columns with p and S together, on what stage 1 left
Wells        The bottom-hole pressures are eliminated first. In stage 1 a well's rate is taken as given, perforation by
             perforation: its dependence on p is left out, as the rate would not change if all pressures rose together.
Ranks        All of it is the same sums in the same order on any partition. A well is on the rank of its column.
Reference    Wallis (1983); Lacroix, Vassilevski, Wheeler (2001).
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from scipy.sparse import csr_matrix

from .assembly import Assembly
from .columns import Columns
from .control import StepFailed
from .fluids import BRINE, CO2
from .krylov import Map, gmres
from .multigrid import Multigrid
from .stencil import CENTRE, Stencil
from .whole import Whole

LARGEST_DIRECT = 500  # cells; about where the two are equally fast
LARGEST_FALLBACK = 20_000  # cells; the fill of elimination soon takes all memory beyond
TOLERANCE = 3e-3  # relative; Newton's method makes up for it
MOST_ITERATIONS = 60


def linear_solver(assembly: Assembly) -> Direct | CPR:
    """Its ``solve`` (Jacobian, right-hand side) -> solution raises StepFailed, on all ranks, where it finds none;
    ``iterations`` counts."""
    return Direct(assembly) if assembly.reservoir.grid.size <= LARGEST_DIRECT else CPR(assembly)


class Direct:
    """Gaussian elimination of the Jacobians of one ``assembly``, by every rank alike: one iteration each time."""

    def __init__(self, assembly: Assembly) -> None:
        self.whole = Whole(assembly.comm, assembly.pattern, assembly.numbers, assembly.extended_numbers)
        self.iterations = 0

    def solve(self, matrix: csr_matrix, rhs: np.ndarray) -> np.ndarray:
        """The solution. Raises StepFailed where the matrix is singular."""
        self.iterations += 1
        return self.whole.solve(matrix.data, rhs)

    def solve_transposed(self, matrix: csr_matrix, rhs: np.ndarray) -> np.ndarray:
        """The solution of the transposed system. Raises StepFailed as ``solve`` does."""
        self.iterations += 1
        return self.whole.solve(matrix.data, rhs, transposed=True)


class CPR:
    """GMRES with the two-stage preconditioner, for the Jacobians of one ``assembly``."""

    def __init__(self, assembly: Assembly) -> None:
        self.assembly, self.size, self.iterations = assembly, 2 * assembly.cells, 0
        self.stencil = Stencil(assembly.pattern, assembly.block, unknowns=2)
        self.columns = Columns(assembly.pairs, unknowns=2)
        self.multigrid = Multigrid(assembly.block)

    @cached_property
    def direct(self) -> Direct:
        """What is fallen back on."""
        return Direct(self.assembly)

    def solve(self, matrix: csr_matrix, rhs: np.ndarray) -> np.ndarray:
        """The solution to TOLERANCE; by elimination where GMRES does not get there. Raises StepFailed where the matrix is
        singular, or too large to eliminate."""
        self.factor(matrix)
        x = self.iterate(self.multiply, self.apply, rhs, TOLERANCE, MOST_ITERATIONS)
        return self.direct.solve(matrix, rhs) if x is None else x

    def iterate(self, A: Map, M: Map, rhs: np.ndarray, tolerance: float, most: int) -> np.ndarray | None:
        """The solution of A x = rhs by GMRES with M; None where it is to be found by elimination."""
        x, converged, iterations = gmres(A, M, rhs, tolerance, most, self.assembly.sums.dots)
        self.iterations += iterations
        cells = self.assembly.reservoir.grid.size
        if not converged and cells > LARGEST_FALLBACK:
            raise StepFailed(
                f"GMRES did not converge in {most} iterations, and {cells} cells are too many for elimination"
            )
        return x if converged else None

    def multiply(self, x: np.ndarray) -> np.ndarray:
        """matrix x."""
        return self.matrix @ self.assembly.extend(x)

    def factor(self, matrix: csr_matrix) -> None:
        """Prepare ``apply`` for this matrix. Raises StepFailed where the coarsest pressure matrix is singular."""
        n, m = self.size, self.assembly.pairs.extended.size
        self.matrix, self.into_wells = matrix, matrix[n:, :m][:, self.assembly.pairs.inside]
        self.from_wells, self.wells = matrix[:n, m:], matrix[n:, m:].diagonal()
        C = self.stencil.read(matrix.data)
        self.columns.factor(C)
        pressure = C[:, BRINE, 0] + C[:, CO2, 0]
        pressure[CENTRE] += (self.into_wells.T @ np.ones(self.wells.size))[0::2]
        self.multigrid.factor(pressure)

    def apply(self, r: np.ndarray) -> np.ndarray:
        """About matrix^-1 r."""
        n = self.size
        b = r[:n] - self.from_wells @ (r[n:] / self.wells)
        x = np.zeros(r.size)
        x[0:n:2] = self.multigrid.solve(b[0::2] + b[1::2])
        x[n:] = (r[n:] - self.into_wells @ x[:n]) / self.wells
        x[:n] += self.columns.sweep((r - self.multiply(x))[:n])
        x[n:] = (r[n:] - self.into_wells @ x[:n]) / self.wells
        return x
