"""The engine of repartition, halo exchange, padding and shift: every rank of the range copies its box from the owners.

Definition   Let the blocks of V be disjoint. For a rank q of W with the index box J_q, and an offset o,
             (C x)_q[j] = x_p[j + o]  where p owns j + o. Outside [0, n), x is 0; or with the boundary "periodic" x[i mod n]; or
             with "reflect" mirrored, x[-i] on the left and x[2 (n - 1) - i] on the right.
Spaces       V: blocks that hold each index once (copies of them are allowed).   W: blocks of any kind; the same tensor where
             o = 0 and the sizes are equal, else a part of it, a larger one, or one that is shifted.
Adjoint      (C* y)_p[i] = sum of y_q[j] over all places (q, j) to which i was copied; what lies outside is dropped.
Why          Each y_q[j] is one x_p[i] or zero, so C is a 0/1 matrix with at most one 1 a row; its transpose adds.
Norm         sqrt of the largest number of places to which one number is copied.
Cost         One packed message to each rank that needs something; nothing to itself.
Reference    Hewett and Grady, arXiv 2006.03108 (halo exchange and the generalised all-to-all).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod, sqrt
from typing import Any

import numpy as np

from ..arrays import Array, to_wire
from ..operator import Operator, Traffic
from ..space import Space
from .parcels import Parcels, Slices

Row = Sequence[tuple[int, int]]  # (start, stop) of each block along one axis
Overlap = tuple[int, slice, slice]  # the number of a block, the place in it, and the place in what is copied
BOUNDARIES = ("zero", "periodic", "reflect")


@dataclass(frozen=True)
class Piece:
    """A box that one rank copies to another: where it lies in the owner's block and in the copy."""

    owner: int
    reader: int
    source: Slices
    target: Slices


class BoxCopy(Operator):
    """Every block of ``Y`` copied from the owners of its indices, plus ``offset``, in ``X``; ``boundary``: what lies outside.

    Without an offset, X and Y are one tensor. Raises ValueError where the spaces differ in shape (but for an offset), dtype or
    communicator, blocks of X overlap or leave gaps, or a block of Y reaches so far outside that it would be mirrored twice.
    """

    told = ("boundary", "offset")

    def __init__(self, X: Space, Y: Space, boundary: str = "zero", offset: Sequence[int] | None = None) -> None:
        who = type(self).__name__
        if boundary not in BOUNDARIES:
            raise ValueError(f"{who}: expected boundary={' or '.join(map(repr, BOUNDARIES))}, got {boundary!r}")
        fits = X.shape == Y.shape if offset is None else X.ndim == Y.ndim == len(offset)
        if not fits or (X.dtype, X.comm) != (Y.dtype, Y.comm):
            raise ValueError(f"{who}: expected one tensor on one communicator, got {X!r} and {Y!r}")
        for axis, row in enumerate(X.blocks):
            if not X.covers_once(axis):
                raise ValueError(
                    f"{who}: blocks {list(row)} of axis {axis} must hold each of 0..{X.shape[axis] - 1} once"
                )
        self.domain, self.range = X, Y
        self.boundary, self.offset = boundary, tuple(offset or [0] * X.ndim)
        moved = [[(a + o, b + o) for a, b in row] for row, o in zip(Y.blocks, self.offset, strict=True)]
        self.overlaps = [_overlaps(who, X, axis, row, boundary) for axis, row in enumerate(moved)]
        times = prod(_most_copies(X, axis, rows) for axis, rows in enumerate(self.overlaps))
        self.norm_bound = sqrt(times * prod(Y.partition.shape[g] for g in Y.copy_axes))
        given = [p for reader in Y.partition.ranks for p in self._pieces(reader, X.comm.rank)]
        taken = list(self._pieces(X.comm.rank))
        sources, targets = [(p.reader, p.source) for p in given], [(p.owner, p.target) for p in taken]
        self.there, self.back = Parcels(Y, sources, targets, True), Parcels(X, targets, sources, self.norm_bound <= 1)

    def _pieces(self, reader: int, owner: int | None = None) -> Iterator[Piece]:
        """What ``reader`` copies, of one ``owner`` or of all, in an order that the owner and the reader share."""
        Y, X = self.range, self.domain
        if reader not in Y.partition.ranks or owner not in (None, *X.partition.ranks):
            return
        coords = Y.partition.coords_of(Y.partition.ranks.index(reader))
        rows = [self.overlaps[axis][Y.block_number(axis, coords)] for axis in range(X.ndim)]
        if owner is not None:  # what can be of this owner, before all rows are combined
            theirs = X.partition.coords_of(X.partition.ranks.index(owner))
            rows = [[o for o in row if o[0] == X.block_number(axis, theirs)] for axis, row in enumerate(rows)]
        for row in product(*rows):
            found = _owner(X, [number for number, _, _ in row], reader)
            if owner in (None, found):
                yield Piece(found, reader, tuple(s for _, s, _ in row), tuple(t for _, _, t in row))

    def forward(self, x: Array) -> Array:  # V -> W:  y_q[j] = x_p[j + o]
        return self.finish(self.start(x))

    def adjoint(self, y: Array) -> Array:  # W -> V:  x_p[i] = sum of y_q[j] over the copies of i
        return self.finish_adjoint(self.start_adjoint(y))

    def start(self, x: Array) -> Any:
        self.domain.check(x, self)
        return self.there.start(to_wire(x))

    def finish(self, pending: Any) -> Array:
        return self.range.adopt(self.there.finish(pending))

    def start_adjoint(self, y: Array) -> Any:
        self.range.check(y, self, "adjoint")
        return self.back.start(to_wire(y))

    def finish_adjoint(self, pending: Any) -> Array:
        return self.domain.adopt(self.back.finish(pending))

    def traffic(self) -> Traffic:
        return Traffic(self.there.sent(), self.back.sent())


def _overlaps(who: str, X: Space, axis: int, wanted: Row, boundary: str) -> list[list[Overlap]]:
    """What each wanted (start, stop) along an axis copies from each block of X.

    ValueError where an index would be mirrored twice.
    """
    n, rows = X.shape[axis], []
    for start, stop in wanted:
        if boundary == "reflect" and start < stop and (start <= -n or stop >= 2 * n):
            raise ValueError(
                f"{who}: what is mirrored must be at most n - 1 = {n - 1} wide on axis {axis}, got {start}..{stop - 1}"
            )
        row: list[Overlap] = []
        for sign, shift, first, last in _images(n, start, stop, boundary):
            for number, (a, b) in enumerate(X.blocks[axis]):
                ends = (a - shift, b - shift) if sign > 0 else (shift - b + 1, shift - a + 1)
                lo, hi = max(start, first, ends[0]), min(stop, last, ends[1])
                if lo < hi:
                    source = slice(lo + shift - a, hi + shift - a)
                    if sign < 0:
                        end = shift - hi - a
                        source = slice(shift - lo - a, end if end >= 0 else None, -1)
                    row.append((number, source, slice(lo - start, hi - start)))
        rows.append(row)
    return rows


def _images(n: int, start: int, stop: int, boundary: str) -> list[tuple[int, int, int, int]]:
    """(sign, shift, first, last): the index sign j + shift of 0..n-1 is read at the places j of first..last-1."""
    if boundary == "periodic" and n:
        return [(1, -k * n, k * n, k * n + n) for k in range(start // n, -(-stop // n))]
    mirrored = [(-1, 0, 1 - n, 0), (-1, 2 * (n - 1), n, 2 * n - 1)] if boundary == "reflect" else []
    return [(1, 0, 0, n), *mirrored]


def _most_copies(X: Space, axis: int, rows: list[list[Overlap]]) -> int:
    """How often the most frequently copied of the indices along an axis is copied, and at least 1."""
    times = np.zeros(X.shape[axis], int)
    for number, source, _ in (overlap for row in rows for overlap in row):
        a, b = X.blocks[axis][number]
        times[a:b][source] += 1
    return int(times.max(initial=1))


def _owner(X: Space, numbers: list[int], reader: int) -> int:
    """The rank that holds the block with these numbers; of several copies, the one in the reader's own part of the grid."""
    P = X.partition
    coords = list(P.coords_of(P.ranks.index(reader))) if reader in P.ranks else [0] * len(P.shape)
    for number, cut in zip(numbers, X.cuts, strict=True):
        for g in reversed(cut):
            number, coords[g] = divmod(number, P.shape[g])
    return P.rank_at(coords)
