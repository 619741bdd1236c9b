"""Columns: red-black Gauss-Seidel over the vertical columns of a grid, each column solved exactly.

Why          Cells are flat: the vertical transmissibility is the largest by far, until a seal makes it the smallest.
             Relaxing cell by cell stalls on such rock; solving whole columns does not see the contrast.
Colours      Columns as the fields of a chessboard, by their place in the whole grid: red ones touch only black ones. With
             the red columns first,
                 A = [T_r, A_rb; A_br, T_b],
             T_r and T_b banded, so that one call of LAPACK solves all columns of a colour. With m unknowns per cell the
             half bandwidth is 2 m - 1.
Sweep        Red before black:  x_r = T_r^-1 (b_r - A_rb x_b),  then  x_b = T_b^-1 (b_b - A_br x_r).  It leaves the residual
             r_b = 0, r_r = -A_rb (x_b - x_b before). The mirrored sweep, black before red, makes a multigrid cycle symmetric.
Ranks        A rank solves its own columns; before a colour's turn it receives the other colour's columns around its block.
Cost         One halo exchange for each time that A_br or A_rb is applied.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.linalg import lapack
from scipy.sparse import csr_matrix

from .blocks import Block
from .stencil import ABOVE, BELOW, CENTRE, STEPS, WEST

RED, BLACK = 0, 1

Solve = Callable[[np.ndarray], np.ndarray]


class Columns:
    """Column solves for matrices on the columns of ``block``, with ``unknowns`` of each cell."""

    def __init__(self, block: Block, unknowns: int = 1) -> None:
        self.block, self.unknowns = block, unknowns
        (i0, i1), (j0, j1), _ = block.space.local_box
        i, j = (n.ravel() for n in np.meshgrid(np.arange(i0, i1), np.arange(j0, j1), indexing="ij"))
        self.shape = i.size, block.height
        self.own = [np.flatnonzero((i + j) % 2 == colour) for colour in (RED, BLACK)]
        self.coupling = [self._couplings(i[own], j[own]) for own in self.own]
        self._solve: list[Solve] = []

    def factor(self, C: np.ndarray) -> None:
        """Take over the matrix whose coefficients (see ``stencil``) are C, (7, m, m, cells), without the m where it is 1.

        Where a column is singular, solutions will not be numbers: so all ranks will know at their next sum.
        """
        m, (columns, height) = self.unknowns, self.shape
        C = C.reshape(7, m, m, columns, height // m).transpose(3, 4, 0, 1, 2)
        factor = _tridiagonal if m == 1 else _banded
        self._solve = []
        for own, coupling in zip(self.own, self.coupling, strict=True):
            part = C[own].reshape(-1, 7, m, m)
            coupling.data = part[:, WEST:].transpose(0, 2, 1, 3).ravel()
            self._solve.append(factor(part.transpose(1, 2, 3, 0)) if own.size else np.copy)

    def solve(self, colour: int, b: np.ndarray) -> np.ndarray:
        """T^-1 b for the columns of one colour, (columns, height). It may overwrite b."""
        return self._solve[colour](b.ravel()).reshape(b.shape)

    def couple(self, colour: int, x: np.ndarray) -> np.ndarray:
        """A_rb x_b for RED, A_br x_r for BLACK; collective."""
        return (self.coupling[colour] @ self.block.extend(x.ravel())).reshape(-1, self.block.height)

    def sweep(self, b: np.ndarray, x: np.ndarray | None = None) -> np.ndarray:
        """What one sweep, red before black, makes of x (by default 0): it starts from the black part."""
        (red, black), b, start = self.own, b.reshape(self.shape), x
        x = np.zeros(self.shape)
        x[red] = self.solve(RED, b[red]) if start is None else self._relaxed(RED, b, start)
        x[black] = self._relaxed(BLACK, b, x)
        return x.ravel()

    def remains(self, change: np.ndarray) -> np.ndarray:
        """The residual b - A x that a sweep leaves, which has changed x by ``change``."""
        r = np.zeros(self.shape)
        r[self.own[RED]] = -self.couple(RED, change)
        return r.ravel()

    def sweep_back(self, b: np.ndarray, x: np.ndarray) -> np.ndarray:
        """What the mirrored sweep, black before red, makes of x: it starts from the red part."""
        (red, black), b, x = self.own, b.reshape(self.shape), x.reshape(self.shape).copy()
        x[black] = self._relaxed(BLACK, b, x)
        x[red] = self._relaxed(RED, b, x)
        return x.ravel()

    def _relaxed(self, colour: int, b: np.ndarray, x: np.ndarray) -> np.ndarray:
        """The columns of one colour that solve A x = b where the others are those of x."""
        rest = b[self.own[colour]]
        rest -= self.couple(colour, x)
        return self.solve(colour, rest)

    def _couplings(self, i: np.ndarray, j: np.ndarray) -> csr_matrix:
        """The pattern of A_rb or A_br for the columns (i, j), of one colour, in the extended block.

        Each row has four neighbours' entries; at the rim of the grid they stand for the column itself, and are 0.
        """
        m, ((e0, e1), (f0, f1), _) = self.unknowns, self.block.halo.range.local_box
        near = np.empty((i.size, 4), dtype=np.int32)
        for n, (di, dj, _) in enumerate(STEPS[WEST:]):
            there = (e0 <= i + di) & (i + di < e1) & (f0 <= j + dj) & (j + dj < f1)
            near[:, n] = (i + di * there - e0) * (f1 - f0) + j + dj * there - f0
        layer, unknown = (np.arange(n, dtype=np.int32) for n in (self.block.height // m, m))
        indices = (near[:, None, None, :, None] * layer.size + layer[:, None, None, None]) * m + unknown
        indices = np.broadcast_to(indices, (i.size, layer.size, m, 4, m)).ravel()
        rows = i.size * self.block.height
        starts = np.arange(rows + 1, dtype=np.int32) * (4 * m)
        return csr_matrix((np.zeros(indices.size), indices, starts), (rows, self.block.extended.size))


def _tridiagonal(C: np.ndarray) -> Solve:
    """The solution of columns one below the other, of coefficients (7, 1, 1, cells)."""
    above, centre, below = (C[direction, 0, 0] for direction in (ABOVE, CENTRE, BELOW))
    *factors, singular = lapack.dgttrf(above[1:], centre, below[:-1])
    return _not_a_number if singular else lambda b: lapack.dgttrs(*factors, b, overwrite_b=True)[0]


def _banded(C: np.ndarray) -> Solve:
    """The same for coefficients (7, m, m, cells)."""
    m, cells = C.shape[2:]
    width = 2 * m - 1
    bands = np.zeros((cells, m, 3 * width + 1))  # LAPACK's: a[i, j] at [j, 2 width + i - j]; width places for fill
    for u, v in np.ndindex(m, m):
        bands[:-1, v, 2 * width + u - v + m] = C[ABOVE, u, v, 1:]
        bands[:, v, 2 * width + u - v] = C[CENTRE, u, v]
        bands[1:, v, 2 * width + u - v - m] = C[BELOW, u, v, :-1]
    lu, pivots, singular = lapack.dgbtrf(bands.reshape(m * cells, -1).T, width, width, overwrite_ab=True)
    return _not_a_number if singular else lambda b: lapack.dgbtrs(lu, width, width, b, pivots, overwrite_b=True)[0]


def _not_a_number(b: np.ndarray) -> np.ndarray:
    return np.full_like(b, np.nan)
