"""Blocks: which columns of cells each rank has, and what surrounds them.

Definition   The nx x ny columns of a grid are cut over the two axes of a partition, each column whole. A rank computes the
             rows of its own columns. What it needs for them are these and one layer of columns all round: its extended
             block, which a halo exchange fills. One rank alone has all columns, no halo, and needs no MPI.
Aligned      Blocks begin where coarse columns do, so that columns that become one (see ``pairing``) lie on one rank, ``depth``
             times over.
             A larger depth leaves less to compute on all ranks alike, but takes more messages, and blocks that differ more;
             the cheapest is chosen.
Order        Entries are numbered as in the whole grid, in C order, and every block keeps that order: a row of a matrix is
             summed in the same order on any partition.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from refimpl import HaloExchange, Partition, Space, blocks, wire

from .pairing import Pairing, Ties, firsts, pairings

MESSAGE = 2000  # cells that are relaxed in the time of the messages of one visit

Rows = list[tuple[int, int]]  # (start, stop) of each block along an axis


@dataclass(frozen=True)
class Alone:
    """A communicator of one process, for a partition without MPI."""

    rank: int = 0
    size: int = 1


def one_rank() -> Partition:
    """The partition of a process that runs alone."""
    comm: Any = Alone()
    return Partition(comm, (1, 1))


def grid_of(ranks: int, shape: Sequence[int]) -> tuple[int, int]:
    """(ranks along x, along y) that leave the shortest rims around blocks of the grid's columns."""
    pairs = [(p, ranks // p) for p in range(1, ranks + 1) if ranks % p == 0]
    return min(pairs, key=lambda pair: shape[0] / pair[0] + shape[1] / pair[1])


class Block:
    """This rank's columns of a grid of ``shape`` = (nx, ny, height of a column), which the ``pairings`` coarsen one after
    the other. They are cut where the first ``depth`` of these allow it."""

    def __init__(self, partition: Partition, shape: Sequence[int], pairings: Sequence[Pairing], depth: int) -> None:
        self.partition, self.shape, self.pairings, self.depth = partition, tuple(shape), pairings, depth
        rows = aligned(shape, partition, pairings[:depth])
        self.space = Space(partition, shape, blocks=dict(enumerate(rows)))
        widths = [[(int(a > 0), int(b < n)) for a, b in row] for row, n in zip(rows, shape, strict=False)]
        self.halo = HaloExchange(self.space, [*widths, (0, 0)])

    @property
    def height(self) -> int:
        return self.shape[2]

    @property
    def size(self) -> int:
        """The number of this rank's own entries."""
        return self.numbers.size

    @cached_property
    def numbers(self) -> np.ndarray:
        """The number of each own entry in the whole grid."""
        return _numbers(self.space.local_box, self.shape)

    @cached_property
    def extended(self) -> np.ndarray:
        """The number of each entry of the extended block in the whole grid."""
        return _numbers(self.halo.range.local_box, self.shape)

    @cached_property
    def inside(self) -> np.ndarray:
        """Where the own entries stand in the extended block."""
        return np.searchsorted(self.extended, self.numbers)

    def extend(self, x: np.ndarray) -> np.ndarray:
        """The own entries ``x`` with those around them."""
        if self.extended.size == x.size and self.partition.comm.size == 1:
            return x
        return self.halo.forward(x.reshape(self.space.local_shape)).ravel()

    def extend_adjoint(self, y: np.ndarray) -> np.ndarray:
        """The transpose of ``extend``: what stands around is added to the cells that it was copied from."""
        if self.extended.size == self.numbers.size and self.partition.comm.size == 1:
            return y
        return self.halo.adjoint(y.reshape(self.halo.range.local_shape)).ravel()

    def of_height(self, height: int) -> Block:
        """The same columns with another number of entries each."""
        return Block(self.partition, (*self.shape[:2], height), self.pairings, self.depth)

    def coarser(self) -> Block:
        """The columns of the next coarser grid."""
        return Block(self.partition, (*self.pairings[0].shape, self.height), self.pairings[1:], self.depth - 1)

    def whole(self) -> Block:
        """All columns on this rank, as if it were alone."""
        return Block(one_rank(), self.shape, self.pairings, len(self.pairings))


def cut(shape: Sequence[int], ties: Ties, partition: Partition) -> Block:
    """The grid ``shape`` = (nx, ny, height), whose columns have these ties, over a partition with two axes. Raises
    ValueError where it has not two."""
    if len(partition.shape) != 2:
        raise ValueError(f"two_phase: expected a partition (ranks along x, along y), got {partition.shape}")
    coarser = pairings(ties)
    depth = len(coarser)
    if partition.size > 1:
        depth = min(range(depth + 1), key=lambda d: _cost(aligned(shape, partition, coarser[:d]), shape, coarser, d))
    return Block(partition, shape, coarser, depth)


def aligned(shape: Sequence[int], partition: Partition, coarsened: Sequence[Pairing]) -> tuple[Rows, Rows]:
    """Blocks, along x and along y, that begin where columns do that are ``coarsened`` so."""
    x, y = (np.arange(n) for n in shape[:2])
    for pairing in coarsened:
        x, y = pairing.x[x], pairing.y[y]
    starts = [[*firsts(places).tolist(), places.size] for places in (x, y)]
    along = [
        [(ends[a], ends[b]) for a, b in blocks(len(ends) - 1, p)]
        for ends, p in zip(starts, partition.shape, strict=True)
    ]
    return along[0], along[1]


def visits(level: int) -> int:
    """How often a multigrid cycle comes to a level."""
    return 2**level


def _cost(rows: tuple[Rows, Rows], shape: Sequence[int], coarser: Sequence[Pairing], depth: int) -> float:
    """About the time of a rank, in solves of the whole grid by one cycle: two more go into what is beside multigrid."""
    largest = [max(b - a for a, b in row) / n for row, n in zip(rows, shape, strict=False)]
    columns = [prod(shape[:2]), *(prod(pairing.shape) for pairing in coarser)]
    work = [visits(level) * each / columns[0] for level, each in enumerate(columns)]
    messages = MESSAGE / prod(shape) * sum(visits(level) for level in range(depth))
    return largest[0] * largest[1] * (2.0 + sum(work[:depth])) + sum(work[depth:]) + messages


def _numbers(box: Sequence[tuple[int, int]], shape: Sequence[int]) -> np.ndarray:
    i, j, k = (np.arange(*ends) for ends in box)
    return ((i[:, None, None] * shape[1] + j[:, None]) * shape[2] + k).ravel()


class Gathering:
    """What all ranks have, on each, in the order of its ``numbers``, of which this rank has some; collective.

    Calling it with an array, (own, ..), gives (all, ..). It is the same on every partition.
    """

    def __init__(self, comm: Any, numbers: np.ndarray) -> None:
        self.comm, self.sizes = comm, wire.pool(comm, numbers.size)
        everything = wire.finish(wire.start_all_gather(comm, wire.everyone(comm), numbers, self.sizes))
        self.order = np.argsort(everything, kind="stable")
        self.numbers = everything[self.order]

    def __call__(self, own: np.ndarray) -> np.ndarray:
        each = int(np.prod(own.shape[1:]))
        parts = wire.start_all_gather(
            self.comm, wire.everyone(self.comm), own.ravel(), [each * size for size in self.sizes]
        )
        return wire.finish(parts).reshape(-1, *own.shape[1:])[self.order]
