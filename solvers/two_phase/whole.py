"""Whole: a matrix and its vectors gathered from all ranks, for what is too small to share.

Why          Below some size a message costs more than the work it saves. Every rank then has everything, and computes the
             same by Gaussian elimination.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.linalg import SuperLU, splu

from .blocks import Gathering
from .control import StepFailed


class Whole:
    """Systems of which this rank has the rows numbered ``rows``, with the sparsity ``pattern`` in columns numbered
    ``columns``; collective."""

    def __init__(self, comm: Any, pattern: csr_matrix, rows: np.ndarray, columns: np.ndarray) -> None:
        self.vector, self.own = Gathering(comm, rows), rows
        size = self.vector.numbers.size
        row = np.repeat(rows, np.diff(pattern.indptr))
        self.data = Gathering(comm, row * size + columns[pattern.indices])
        row, column = np.divmod(self.data.numbers, size)
        starts = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=size))])
        self.pattern = csr_matrix((np.ones(row.size), column, starts), (size, size))

    def solve(self, data: np.ndarray, rhs: np.ndarray, transposed: bool = False) -> np.ndarray:
        """This rank's part of the solution, of the CSR ``data`` of its rows and its part of the right-hand side; of the
        ``transposed`` matrix, if so.

        Raises StepFailed where the matrix is singular.
        """
        matrix = csr_matrix((self.data(data), self.pattern.indices, self.pattern.indptr), self.pattern.shape)
        return factorized(matrix).solve(self.vector(rhs), "T" if transposed else "N")[self.own]


def factorized(matrix: csr_matrix) -> SuperLU:
    """The sparse LU factors of a matrix. Raises StepFailed where it is singular."""
    try:
        return splu(matrix.tocsc(), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.01)
    except RuntimeError as error:
        raise StepFailed(f"The matrix is singular ({error})") from error
