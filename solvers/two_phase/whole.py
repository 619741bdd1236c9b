"""Whole: a matrix and its vectors gathered from all ranks, for what is too small to share.

Why          Below some size a message costs more than the work it saves. Every rank then has everything and computes the
             same: a coarse grid, or a small system that is solved by Gaussian elimination.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.linalg import splu

from .blocks import Gathering
from .control import StepFailed


class Whole:
    """The matrix of which this rank has the rows numbered ``rows``, with the sparsity ``pattern`` in columns numbered
    ``columns``. ``pattern``: of all of it; ``own``: where the own entries stand in a whole vector. Collective."""

    def __init__(self, comm: Any, pattern: csr_matrix, rows: np.ndarray, columns: np.ndarray) -> None:
        self.vector, self.own = Gathering(comm, rows), rows
        size = self.vector.numbers.size
        row = np.repeat(rows, np.diff(pattern.indptr))
        self.data = Gathering(comm, row * size + columns[pattern.indices])
        row, column = np.divmod(self.data.numbers, size)
        starts = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=size))])
        self.pattern = csr_matrix((np.ones(row.size), column, starts), (size, size))


class Elimination:
    """Gaussian elimination of matrices with the sparsity ``pattern``."""

    def __init__(self, pattern: csr_matrix) -> None:
        self.pattern = pattern

    def factor(self, data: np.ndarray) -> None:
        """Take over the matrix whose CSR data are ``data``. Raises StepFailed where it is singular."""
        matrix = csr_matrix((data, self.pattern.indices, self.pattern.indptr), self.pattern.shape)
        try:
            self.lu = splu(matrix.tocsc(), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.01)
        except RuntimeError as error:
            raise StepFailed(f"The matrix is singular ({error})") from error

    def solve(self, b: np.ndarray) -> np.ndarray:
        """A^-1 b."""
        return self.lu.solve(b)
