"""Sums over all ranks in an order that no partition changes: so a run on many ranks is the run on one, bit by bit.

Order        Columns are never cut. Each is summed on its rank; the sums of all columns are gathered, and added in the order
             of the columns on every rank. A well counts in its column.
Cost         One gather of one number a column for each sum; sums that are made together are gathered together.
"""

from __future__ import annotations

import numpy as np

from .blocks import Block, Gathering


class Sums:
    """Sums over the cells of ``block``, and scalar products of vectors with two numbers a cell and then one a well, in the
    own columns ``well_columns``."""

    def __init__(self, block: Block, well_columns: np.ndarray) -> None:
        self.height, self.columns, self.well_columns = block.height, block.size // block.height, well_columns
        self.gather = Gathering(block.partition.comm, block.numbers[:: block.height] // block.height)

    def of(self, values: np.ndarray) -> np.ndarray:
        """(k, own cells) -> (k,)."""
        return self.over_columns(self.by_column(values).sum(axis=2).T)

    def over_columns(self, columns: np.ndarray) -> np.ndarray:
        """(own columns, k) -> (k,)."""
        return np.ascontiguousarray(self.gather(columns).T).sum(axis=1)  # pairwise, as it is contiguous

    def by_column(self, values: np.ndarray) -> np.ndarray:
        """(k, own cells) as (k, own columns, height)."""
        return values.reshape(len(values), self.columns, self.height)

    def add_wells(self, columns: np.ndarray, wells: np.ndarray) -> None:
        """Add what is given for each own well, (wells, k), to its column's, (own columns, k)."""
        np.add.at(columns, self.well_columns, wells)

    def dots(self, V: np.ndarray, w: np.ndarray) -> np.ndarray:
        """The scalar products of w, (n,), with each row of V, (k, n)."""
        n, shape = w.size - self.well_columns.size, (self.columns, 2 * self.height)
        parts = np.einsum("jch,ch->cj", V[:, :n].reshape(len(V), *shape), w[:n].reshape(shape))
        self.add_wells(parts, (V[:, n:] * w[n:]).T)
        return self.over_columns(parts)
