"""Multigrid: an approximate inverse of the pressure matrix, one V-cycle.

Smoother     Red-black Gauss-Seidel over columns (see ``columns``), one sweep down and one mirrored sweep up.
Coarsening   2 x 2 columns become one; layers stay. Transfers: copies up (``prolongation``), and their adjoint, sums, down.
             A coarse entry is the sum of the fine entries it stands for (Galerkin), but those that link neighbouring coarse
             columns count half, and the other half goes to the diagonal: sums of copies overestimate lateral links by the
             factor 2. So the data of a coarse matrix are a fixed linear map of the fine data, found once.
Ranks        Columns are paired by their place in the whole grid, and blocks are cut so that a pair is on one rank. When
             they can no longer be, every rank gathers the coarse grid and goes on with all of it, as if it were alone.
Result       8 to 14 iterations of a Krylov method for contrasts of permeability from 1 to 1e8, with seals one cell thick.
Reference    Braess (1995), Towards algebraic multigrid for elliptic problems: the over-correction of constant transfers.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_matrix

from .blocks import FEWEST_COLUMNS, Block
from .columns import Columns
from .prolongation import Prolongation
from .whole import Elimination, Whole


class Multigrid:
    """V-cycles for matrices of the sparsity ``pattern``: a row for each cell of ``block``, and in it a column for each of its
    neighbours in the extended block."""

    def __init__(self, pattern: csr_matrix, block: Block) -> None:
        self.levels: list[Level] = []
        while block.depth:
            coarse = block.coarser()
            coarsen, coarse_pattern = _coarsening(pattern, block, coarse)
            self.levels.append(Level(Columns(pattern, block), Prolongation(coarse, block), coarsen))
            pattern, block = coarse_pattern, coarse
        self.whole = Whole(block.partition.comm, pattern, block.numbers, block.extended)
        nx, ny, _ = block.shape
        few, pattern = nx * ny <= FEWEST_COLUMNS, self.whole.pattern
        self.rest: Multigrid | Elimination = Elimination(pattern) if few else Multigrid(pattern, block.whole())

    def factor(self, data: np.ndarray) -> None:
        """Take over the matrix whose CSR data in ``pattern`` are ``data``. Raises StepFailed if the coarsest is singular."""
        for level in self.levels:
            level.columns.factor(data)
            data = level.coarsen @ data
        self.rest.factor(self.whole.data(data))

    def solve(self, b: np.ndarray) -> np.ndarray:
        """About A^-1 b: one V-cycle."""
        return self._cycle(b, 0)

    def _cycle(self, b: np.ndarray, depth: int) -> np.ndarray:
        if depth == len(self.levels):
            return self.rest.solve(self.whole.vector(b))[self.whole.own]
        columns, prolongation, _ = self.levels[depth]
        x = columns.sweep(b)
        x += prolongation.up(self._cycle(prolongation.down(columns.remains(x)), depth + 1))
        return columns.sweep_back(b, x)


class Level(NamedTuple):
    """A grid's column solves, the copies from the next grid to it, and the map of the data to the next grid."""

    columns: Columns
    prolongation: Prolongation
    coarsen: csr_matrix


def _coarsening(pattern: csr_matrix, fine: Block, coarse: Block) -> tuple[csr_matrix, csr_matrix]:
    """(the map of the data, the coarse pattern)."""
    rows, size, source = coarse.size, coarse.extended.size, np.arange(pattern.nnz)
    to_row = np.searchsorted(coarse.numbers, _below(fine.numbers, fine, coarse))
    to_column = np.searchsorted(coarse.extended, _below(fine.extended, fine, coarse))
    row = np.repeat(to_row, np.diff(pattern.indptr))
    column, itself = to_column[pattern.indices], coarse.inside[row]
    lateral = itself // fine.height != column // fine.height
    entry, diagonal = row * size + column, row * size + itself
    entries = np.unique(entry)
    into = np.concatenate([entry, diagonal[lateral]])
    share = np.concatenate([np.where(lateral, 0.5, 1.0), np.full(np.count_nonzero(lateral), 0.5)])
    source = np.concatenate([source, source[lateral]])
    coarsen = csr_matrix((share, (np.searchsorted(entries, into), source)), (entries.size, pattern.nnz))
    starts = np.concatenate([[0], np.cumsum(np.bincount(entries // max(size, 1), minlength=rows))])
    return coarsen, csr_matrix((np.ones(entries.size), entries % max(size, 1), starts), (rows, size))


def _below(numbers: np.ndarray, fine: Block, coarse: Block) -> np.ndarray:
    """The number of the coarse cell that each fine cell belongs to."""
    column, layer = np.divmod(numbers, fine.height)
    i, j = np.divmod(column, fine.shape[1])
    return (i // 2 * coarse.shape[1] + j // 2) * fine.height + layer
