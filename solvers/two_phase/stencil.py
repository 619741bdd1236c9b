"""Stencil: the matrix of a grid by directions, each cell with itself and its six neighbours.

Definition   C[d], (m, m, cells), holds the block [row, column] of m unknowns that couples each cell with its neighbour in
             direction d; 0 where there is none. ABOVE is k - 1, BELOW k + 1, WEST i - 1, EAST i + 1, SOUTH j - 1, NORTH j + 1.
Coarsening   Columns become one (see ``pairing``); layers stay. A coarse coefficient is the sum of the fine ones it stands for
             (Galerkin, with copies up and sums down), but of those that link neighbouring coarse columns only a share counts,
             and the rest goes to the centre: copies make one steep step of what is a slope over the columns between the two
             middles, so that sums overestimate the link by their number, 2 between pairs, 1 between single columns.
Reference    Braess (1995), Towards algebraic multigrid for elliptic problems: the over-correction of constant transfers.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix

from .blocks import Block
from .pairing import Pairing, firsts, lasts, summed

CENTRE, ABOVE, BELOW, WEST, SOUTH, NORTH, EAST = range(7)
STEPS = ((0, 0, 0), (0, 0, -1), (0, 0, 1), (-1, 0, 0), (0, -1, 0), (0, 1, 0), (1, 0, 0))


class Stencil:
    """Where the coefficients stand in the CSR data of a matrix with the sparsity ``pattern``: its first rows are ``unknowns``
    for each cell of ``block``, its first columns as many for each of the extended block."""

    def __init__(self, pattern: csr_matrix, block: Block, unknowns: int) -> None:
        row = np.repeat(np.arange(pattern.shape[0]), np.diff(pattern.indptr))
        of_cells = np.flatnonzero((row < unknowns * block.size) & (pattern.indices < unknowns * block.extended.size))
        cell, u = np.divmod(row[of_cells], unknowns)
        other, v = np.divmod(pattern.indices[of_cells], unknowns)
        column, k = np.divmod(block.numbers[cell], block.height)
        its_column, its_k = np.divmod(block.extended[other], block.height)
        direction = np.where(its_k < k, ABOVE, np.where(its_k > k, BELOW, CENTRE))
        for code, step in ((SOUTH, -1), (NORTH, 1), (WEST, -block.shape[1]), (EAST, block.shape[1])):
            direction[its_column - column == step] = code  # x last: where ny = 1, a step of 1 is one along x
        self.places = np.zeros((block.size, 7, unknowns, unknowns), dtype=np.int64)  # in about the order of the data
        self.places[cell, direction, u, v] = 1 + of_cells

    def read(self, data: np.ndarray) -> np.ndarray:
        """The coefficients, (7, unknowns, unknowns, cells)."""
        return np.moveaxis(np.concatenate([[0.0], data])[self.places], 0, -1)


def coarsened(C: np.ndarray, pairing: Pairing) -> np.ndarray:
    """The coefficients (7, nx, ny, nz) of one unknown on the next coarser grid."""
    coarse, centre = np.empty((7, *pairing.shape, C.shape[3])), C[CENTRE].copy()
    for direction in (WEST, SOUTH, NORTH, EAST):
        after = int(direction in (NORTH, EAST))
        axis, along, across = (1, pairing.y, pairing.x) if direction in (SOUTH, NORTH) else (0, pairing.x, pairing.y)
        rim = (lasts if after else firsts)(along)  # from where links lead to another coarse column
        share = pairing.shares[axis][after, rim].reshape(-1, *(1,) * (2 - axis))
        links = share * C[direction].take(rim, axis)
        centre += C[direction]
        centre[(slice(None),) * axis + (rim,)] -= links
        coarse[direction] = summed(links, across, 1 - axis)
    for direction, fine in ((CENTRE, centre), (ABOVE, C[ABOVE]), (BELOW, C[BELOW])):
        coarse[direction] = pairing.summed(fine)
    return coarse


def to_csr(C: np.ndarray) -> csr_matrix:
    """The matrix of the coefficients (7, nx, ny, nz) of a whole grid."""
    cells = np.arange(C[0].size).reshape(C.shape[1:])
    rows, columns, data = [], [], []
    for direction, step in enumerate(STEPS):
        here, there = (inner(sign * np.array(step), cells.shape) for sign in (1, -1))
        rows.append(cells[here].ravel())
        columns.append(cells[there].ravel())
        data.append(C[direction][here].ravel())
    place = np.concatenate(rows), np.concatenate(columns)
    return csr_matrix((np.concatenate(data), place), (cells.size, cells.size))


def inner(step: np.ndarray, shape: tuple[int, ...]) -> tuple[slice, ...]:
    """The place of the cells that have a neighbour in the direction ``step``."""
    return tuple(slice(max(-s, 0), n - max(s, 0)) for s, n in zip(step.tolist(), shape, strict=True))
