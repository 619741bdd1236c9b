"""Columns: red-black Gauss-Seidel over the vertical columns of a grid, each column solved exactly.

Why          Cells are flat: the vertical transmissibility is the largest by far, until a seal makes it the smallest.
             Relaxing cell by cell stalls on such rock; solving whole columns does not see the contrast.
Colours      Columns as the fields of a chessboard: red ones touch only black ones. With the red columns first,
                 A = [T_r, A_rb; A_br, T_b],
             T_r and T_b banded, so that one call of LAPACK solves all columns of a colour. With m unknowns per cell the
             half bandwidth is 2 m - 1.
Sweep        From zero, red before black:  x_r = T_r^-1 b_r,  x_b = T_b^-1 (b_b - A_br x_r).  It leaves the residual
             r_b = 0, r_r = -A_rb x_b. The mirrored sweep, black before red, makes a multigrid cycle symmetric.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import lapack
from scipy.sparse import csr_matrix

from .control import StepFailed

RED, BLACK = 0, 1


class Columns:
    """Column solves for all matrices with the sparsity ``pattern`` on a grid of ``shape`` = (nx, ny, nz).

    Vectors are in the order of ``order`` (red columns, then black ones) from ``split`` on black; ``coupling[RED]`` is
    A_rb, ``coupling[BLACK]`` A_br.
    """

    def __init__(self, pattern: csr_matrix, shape: tuple[int, int, int], unknowns: int = 1) -> None:
        nx, ny, nz = shape
        column = np.arange(nx * ny)
        colour = (column // ny + column % ny) % 2
        height = nz * unknowns
        self.order = (np.argsort(colour, kind="stable")[:, None] * height + np.arange(height)).ravel()
        self.split = height * int((colour == RED).sum())
        self.width = 2 * unknowns - 1
        parts = slice(None, self.split), slice(self.split, None)
        place = places(pattern)[self.order][:, self.order]
        self._bands = [self._band_places(place[part, part]) for part in parts]
        self._places = [place[parts[RED], parts[BLACK]], place[parts[BLACK], parts[RED]]]
        self.coupling = [part.astype(float) for part in self._places]
        self._factors: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def factor(self, data: np.ndarray) -> None:
        """Take over the matrix whose CSR data in ``pattern`` are ``data``. Raises StepFailed where a column is singular."""
        padded = np.concatenate([[0.0], data])
        for colour in (RED, BLACK):
            self.coupling[colour].data = padded[self._places[colour].data]
            if self._bands[colour].shape[1]:
                lu, pivots, info = lapack.dgbtrf(padded[self._bands[colour]], self.width, self.width)
                if info:
                    raise StepFailed("The Jacobian of a column of cells is singular")
                self._factors[colour] = lu, pivots

    def solve(self, colour: int, b: np.ndarray) -> np.ndarray:
        """T^-1 b for the columns of one colour."""
        if b.size == 0:
            return b
        lu, pivots = self._factors[colour]
        return lapack.dgbtrs(lu, self.width, self.width, b, pivots)[0]

    def sweep(self, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(x_r, x_b) after one sweep from zero, red before black."""
        red = self.solve(RED, b[: self.split])
        return red, self.solve(BLACK, b[self.split :] - self.coupling[BLACK] @ red)

    def sweep_back(self, b: np.ndarray, red: np.ndarray) -> np.ndarray:
        """The vector after the mirrored sweep, black before red, from one whose red part is ``red``."""
        black = self.solve(BLACK, b[self.split :] - self.coupling[BLACK] @ red)
        return np.concatenate([self.solve(RED, b[: self.split] - self.coupling[RED] @ black), black])

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
