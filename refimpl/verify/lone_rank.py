"""One rank of many, alone in its process: what it would hold, send and do, without the others.

LoneRank       A communicator of ``size`` ranks in which this process is ``rank``. A Partition, Space, Operator or Layer asks a
               communicator for no more than these two before it sends: so blocks, owned weights and ``traffic()`` are those of
               that rank of a run on all of them. What sends raises RuntimeError.
SimulatedRank  The same, and messages are answered at once, by arrays of the right size: what is received or broadcast by
               others is zero, to a sum they add zero, and a gather is made of this rank's own numbers. So all that a rank
               allocates and computes is allocated and computed, and its memory and time (but for waiting) can be looked at.
Trap           The numbers that come out mean nothing where they depend on other ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


class LoneRank:
    """Rank ``rank`` of ``size``, to be given where a communicator is expected. ValueError where there is no such rank."""

    def __init__(self, rank: int, size: int) -> None:
        if not 0 <= rank < size:
            raise ValueError(f"{type(self).__name__}: expected a rank of 0..{size - 1}, got {rank}")
        self.rank, self.size = rank, size

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.rank}, {self.size})"

    def __getattr__(self, name: str) -> Any:
        if not name[0].isupper():  # nothing of MPI: hasattr must be able to say no
            raise AttributeError(f"{type(self).__name__} has no {name}")
        raise RuntimeError(f"{name}: rank {self.rank} of {self.size} is alone and cannot send; it can only be asked")


class Ranks(tuple[int, ...]):
    """What MPI calls a group."""

    def Incl(self, ranks: Sequence[int]) -> Ranks:
        return Ranks(ranks)

    def Free(self) -> None:
        pass


class SimulatedRank(LoneRank):
    """A LoneRank whose messages are answered at once."""

    def __init__(self, rank: int, size: int) -> None:
        super().__init__(rank, size)
        self.attributes: dict[int, Any] = {}

    def Get_attr(self, key: int) -> Any:
        return self.attributes.get(key)

    def Set_attr(self, key: int, value: Any) -> None:
        self.attributes[key] = value

    def Get_group(self) -> Ranks:
        return Ranks(range(self.size))

    def Create_group(self, ranks: Ranks) -> SimulatedRank:
        return SimulatedRank(ranks.index(self.rank), len(ranks))

    def wait(self, requests: Sequence[Any], verb: str, keep: object = ()) -> None:
        pass

    # ---- messages ----------------------------------------------------------------------------------------------------

    def Isend(self, a: np.ndarray, dest: int) -> None:
        pass

    def Irecv(self, a: np.ndarray, source: int) -> None:
        a[...] = 0

    def Ibcast(self, a: np.ndarray, root: int) -> None:
        if self.rank != root:
            a[...] = 0

    def Ireduce(self, a: np.ndarray, total: np.ndarray | None, op: Any, root: int) -> None:
        if total is not None:
            total[...] = a

    def Iallreduce(self, a: np.ndarray, total: np.ndarray, op: Any) -> None:
        total[...] = a

    def Iallgather(self, a: np.ndarray, whole: np.ndarray) -> None:
        whole[...] = np.tile(a, self.size)

    def Iallgatherv(self, a: np.ndarray, whole: Sequence[Any]) -> None:
        everything, sizes = whole
        for part in np.split(everything, np.cumsum(sizes)[:-1]):
            part[...] = np.resize(a, part.size)

    def Ireduce_scatter(self, a: np.ndarray, own: np.ndarray, recvcounts: Sequence[int], op: Any) -> None:
        start = sum(recvcounts[: self.rank])
        own[...] = a[start : start + own.size]
