"""The engine of repartition, halo exchange, padding and shift: every rank of the range copies its box from the owners.

Definition   Let the blocks of V be disjoint. For a rank q of W with the index box J_q, and an offset o,
             (C x)_q[j] = x_p[j + o]  where p owns j + o;   an index outside [0, n) is 0, or wrapped round where periodic.
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

import numpy as np

from .. import wire
from ..arrays import Array, to_host
from ..operator import Operator, Traffic
from ..space import Space

Slices = tuple[slice, ...]
Row = Sequence[tuple[int, int]]  # (start, stop) of each block along one axis


@dataclass(frozen=True)
class Piece:
    """A box that one rank copies to another: where it lies in the owner's block and in the copy."""

    owner: int
    reader: int
    source: Slices
    target: Slices

    @property
    def size(self) -> int:
        return _volume(self.source)


class BoxCopy(Operator):
    """Every block of ``Y`` copied from the owners of its indices, plus ``offset``, in ``X``; ``periodic`` wraps them round.

    Without an offset, X and Y are one tensor. Raises ValueError where the spaces differ in shape (but for an offset), dtype or
    communicator, or blocks of X overlap or leave gaps.
    """

    def __init__(self, X: Space, Y: Space, periodic: bool = False, offset: Sequence[int] | None = None) -> None:
        who = type(self).__name__
        fits = X.shape == Y.shape if offset is None else X.ndim == Y.ndim == len(offset)
        if not fits or (X.dtype, X.comm) != (Y.dtype, Y.comm):
            raise ValueError(f"{who}: expected one tensor on one communicator, got {X!r} and {Y!r}")
        for axis, row in enumerate(X.blocks):
            if not X.covers_once(axis):
                raise ValueError(
                    f"{who}: blocks {list(row)} of axis {axis} must hold each of 0..{X.shape[axis] - 1} once"
                )
        self.domain, self.range = X, Y
        shifts = zip(Y.blocks, offset or [0] * X.ndim, strict=True)
        wanted = [[(start + o, stop + o) for start, stop in row] for row, o in shifts]  # in indices of X
        self.overlaps = [_overlaps(X, axis, row, periodic) for axis, row in enumerate(wanted)]
        me = X.comm.rank
        self.given = [piece for reader in Y.partition.ranks for piece in self._pieces(reader) if piece.owner == me]
        self.taken = list(self._pieces(me))
        copies = [max(_multiplicity(row, n, periodic), 1) for row, n in zip(wanted, X.shape, strict=True)]
        self.norm_bound = sqrt(prod(copies) * prod(Y.partition.shape[g] for g in Y.copy_axes))

    def _pieces(self, reader: int) -> Iterator[Piece]:
        """What ``reader`` copies, in an order that the owner and the reader share."""
        Y, X = self.range, self.domain
        if reader not in Y.partition.ranks:
            return
        coords = Y.partition.coords_of(Y.partition.ranks.index(reader))
        rows = [self.overlaps[axis][Y.block_number(axis, coords)] for axis in range(X.ndim)]
        for row in product(*rows):
            owner = _owner(X, [number for number, _, _ in row], reader)
            yield Piece(owner, reader, tuple(s for _, s, _ in row), tuple(t for _, _, t in row))

    def forward(self, x: Array) -> Array:  # V -> W:  y_q[j] = x_p[j]
        self.domain.check(x, self)
        y = np.zeros(self.range.local_shape, self.range.dtype)
        outgoing = [(piece.reader, piece.source) for piece in self.given]
        incoming = [(piece.owner, piece.target) for piece in self.taken]
        for target, part in exchange(self.domain, to_host(x), outgoing, incoming):
            y[target] = part.reshape(y[target].shape)
        return self.range.adopt(y)

    def adjoint(self, y: Array) -> Array:  # W -> V:  x_p[i] = sum of y_q[j] over the copies of i
        self.range.check(y, self)
        x = np.zeros(self.domain.local_shape, self.domain.dtype)
        outgoing = [(piece.owner, piece.target) for piece in self.taken]
        incoming = [(piece.reader, piece.source) for piece in self.given]
        for source, part in exchange(self.domain, to_host(y), outgoing, incoming):
            x[source] += part.reshape(x[source].shape)
        return self.domain.adopt(x)

    def traffic(self) -> Traffic:
        me, word = self.domain.comm.rank, self.domain.dtype.itemsize
        return Traffic(
            _sent([(p.reader, p.size) for p in self.given if p.reader != me], word),
            _sent([(p.owner, p.size) for p in self.taken if p.owner != me], word),
        )


def exchange(
    space: Space, a: np.ndarray, outgoing: list[tuple[int, Slices]], incoming: list[tuple[int, Slices]]
) -> Iterator[tuple[Slices, np.ndarray]]:
    """Send the boxes of ``a`` to their ranks, one packed message each; yield each incoming box with its flat content."""
    packed: dict[int, list[np.ndarray]] = {}
    for peer, where in outgoing:
        packed.setdefault(peer, []).append(a[where].ravel())
    lengths: dict[int, list[int]] = {}
    for peer, where in incoming:
        lengths.setdefault(peer, []).append(_volume(where))
    me, comm = space.comm.rank, space.comm
    own = packed.pop(me, [])
    sends = {peer: parts[0] if len(parts) == 1 else np.concatenate(parts) for peer, parts in packed.items()}
    received = wire.exchange(comm, sends, {peer: sum(n) for peer, n in lengths.items() if peer != me}, space.dtype)
    contents = {peer: iter(np.split(buffer, np.cumsum(lengths[peer])[:-1])) for peer, buffer in received.items()}
    contents[me] = iter(own)
    for peer, where in incoming:
        yield where, next(contents[peer])


def _sent(boxes: list[tuple[int, int]], word: int) -> wire.Sent:
    return wire.Sent(len({peer for peer, _ in boxes}), word * sum(size for _, size in boxes))


def _volume(where: Slices) -> int:
    return prod(s.stop - s.start for s in where)


def _overlaps(X: Space, axis: int, wanted: Row, periodic: bool) -> list[list[tuple[int, slice, slice]]]:
    """For each wanted (start, stop) along an axis: (block of X, place in it, place in the wanted one) of all that it copies."""
    n, rows = X.shape[axis], []
    for start, stop in wanted:
        wraps = range(start // n, -(-stop // n)) if periodic and n else (0,)
        row = []
        for offset in (wrap * n for wrap in wraps):
            for number, (a, b) in enumerate(X.blocks[axis]):
                lo, hi = max(start, a + offset), min(stop, b + offset)
                if lo < hi:
                    row.append((number, slice(lo - offset - a, hi - offset - a), slice(lo - start, hi - start)))
        rows.append(row)
    return rows


def _owner(X: Space, numbers: list[int], reader: int) -> int:
    """The rank that holds the block with these numbers; of several copies, the one in the reader's own part of the grid."""
    P = X.partition
    coords = list(P.coords_of(P.ranks.index(reader))) if reader in P.ranks else [0] * len(P.shape)
    for number, cut in zip(numbers, X.cuts, strict=True):
        for g in reversed(cut):
            number, coords[g] = divmod(number, P.shape[g])
    return P.rank_at(coords)


def _multiplicity(row: Row, n: int, periodic: bool) -> int:
    """In how many blocks of ``row`` the most frequent of the indices 0..n-1 lies."""
    times = np.zeros(n, int)
    for start, stop in row:
        inside = np.arange(start, stop) % n if periodic and n else np.arange(max(start, 0), min(stop, n))
        np.add.at(times, inside, 1)
    return int(times.max(initial=0))
