"""Columns: red-black Gauss-Seidel over the vertical columns of a grid, each column solved exactly.

Why          Cells are flat: the vertical transmissibility is the largest by far, until a seal makes it the smallest.
             Relaxing cell by cell stalls on such rock; solving whole columns does not see the contrast.
Colours      Columns as the fields of a chessboard, by their place in the whole grid: red ones touch only black ones. With
             the red columns first,
                 A = [T_r, A_rb; A_br, T_b],
             T_r and T_b banded, so that one call of LAPACK solves all columns of a colour. With m unknowns per cell the
             half bandwidth is 2 m - 1.
Sweep        From zero, red before black:  x_r = T_r^-1 b_r,  x_b = T_b^-1 (b_b - A_br x_r).  It leaves the residual
             r_b = 0, r_r = -A_rb x_b. The mirrored sweep, black before red, makes a multigrid cycle symmetric.
Ranks        A rank solves its own columns; before a colour's turn it receives the other colour's columns around its block.
Cost         One halo exchange for each time that A_br or A_rb is applied.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import lapack
from scipy.sparse import csr_matrix

from .blocks import Block

RED, BLACK = 0, 1


class Columns:
    """Column solves for all matrices with the sparsity ``pattern``: a row for each entry of ``block``, a column for each of
    its extended block. ``unknowns``: of each cell."""

    def __init__(self, pattern: csr_matrix, block: Block, unknowns: int = 1) -> None:
        self.block, self.width = block, 2 * unknowns - 1
        place, colour = places(pattern), _colour(block.extended, block)
        self.own = [np.flatnonzero(colour[block.inside] == c) for c in (RED, BLACK)]
        self._bands, self._places = [], []
        for c in (RED, BLACK):
            rows = place[self.own[c]]
            self._bands.append(self._band_places(rows[:, block.inside[self.own[c]]]))
            self._places.append(_only(rows, colour != c))
        self.coupling = [part.astype(float) for part in self._places]
        self._factors: dict[int, tuple[np.ndarray, np.ndarray] | None] = {}

    def factor(self, data: np.ndarray) -> None:
        """Take over the matrix whose CSR data in ``pattern`` are ``data``.

        Where a column is singular, solutions will not be numbers: so all ranks will know at their next sum.
        """
        padded = np.concatenate([[0.0], data])
        for colour in (RED, BLACK):
            self.coupling[colour].data = padded[self._places[colour].data]
            if self._bands[colour].shape[1]:
                lu, pivots, info = lapack.dgbtrf(padded[self._bands[colour]], self.width, self.width)
                self._factors[colour] = None if info else (lu, pivots)

    def solve(self, colour: int, b: np.ndarray) -> np.ndarray:
        """T^-1 b for the columns of one colour."""
        if b.size == 0:
            return b
        factors = self._factors[colour]
        if factors is None:
            return np.full_like(b, np.nan)
        return lapack.dgbtrs(factors[0], self.width, self.width, b, factors[1])[0]

    def couple(self, colour: int, x: np.ndarray) -> np.ndarray:
        """A_rb x_b for RED, A_br x_r for BLACK; collective."""
        return self.coupling[colour] @ self.block.extend(x)

    def sweep(self, b: np.ndarray) -> np.ndarray:
        """x after one sweep from zero, red before black."""
        red, black = self.own
        x = np.zeros(b.size)
        x[red] = self.solve(RED, b[red])
        x[black] = self.solve(BLACK, b[black] - self.couple(BLACK, x))
        return x

    def remains(self, x: np.ndarray) -> np.ndarray:
        """The residual b - A x that ``sweep`` leaves."""
        r = np.zeros(x.size)
        r[self.own[RED]] = -self.couple(RED, x)
        return r

    def sweep_back(self, b: np.ndarray, x: np.ndarray) -> np.ndarray:
        """What the mirrored sweep, black before red, makes of x: it starts from the red part."""
        red, black = self.own
        x = x.copy()
        x[black] = self.solve(BLACK, b[black] - self.couple(BLACK, x))
        x[red] = self.solve(RED, b[red] - self.couple(RED, x))
        return x

    def _band_places(self, place: csr_matrix) -> np.ndarray:
        """Where the entries of LAPACK's band storage come from: a[i, j] at [2 width + i - j, j]; width rows for fill."""
        size, width = place.shape[0], self.width
        bands = np.zeros((3 * width + 1, size), dtype=np.int64, order="F")
        for offset in range(-min(width, size - 1), min(width, size - 1) + 1):
            start, stop = max(offset, 0), size + min(offset, 0)
            bands[2 * width - offset, start:stop] = place.diagonal(offset)
        return bands


def places(pattern: csr_matrix) -> csr_matrix:
    """The matrix whose entries say where in ``pattern.data`` they stand, counted from 1 (0: no entry)."""
    return csr_matrix((np.arange(1, pattern.nnz + 1), pattern.indices, pattern.indptr), pattern.shape)


def _colour(numbers: np.ndarray, block: Block) -> np.ndarray:
    column = numbers // block.height
    return (column // block.shape[1] + column % block.shape[1]) % 2


def _only(matrix: csr_matrix, columns: np.ndarray) -> csr_matrix:
    """``matrix`` with the entries in ``columns`` (a mask) alone."""
    row = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    kept = columns[matrix.indices]
    return csr_matrix((matrix.data[kept], (row[kept], matrix.indices[kept])), matrix.shape)
