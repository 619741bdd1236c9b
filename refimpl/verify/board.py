"""The board of a team: what every rank does right now; and the collectives of the harness itself.

Board        One row per rank in memory that the ranks of a node share: which example it is in, whether it runs, waits
             (for what), has returned or has raised, and how often it has polled. Reading it sends no message.
Standstill   Every rank waits or has returned, nothing has changed for GRACE seconds, and every rank has polled many times
             meanwhile. A rank that gets no core does not poll, so a busy machine raises no false alarm.
Many nodes   They share no memory. There a wait that lasts ALONE seconds counts as a standstill, whatever its cause.
Control      Collectives that the code under test never sees. They never end early, and they wait asleep.
"""

from __future__ import annotations

import os
import pickle
import time
from collections.abc import Callable, Iterable, Sequence
from enum import IntEnum
from typing import Any

import numpy as np

from .. import wire

MPI = wire.mpi()

GRACE = float(os.environ.get("SPMD_GRACE", "0.5"))  # s of standstill that are a deadlock
ALONE = float(os.environ.get("SPMD_ALONE", "10"))  # s in one wait that are a deadlock where ranks share no memory
POLLS = 25  # times that every rank must have polled during the standstill


class State(IntEnum):
    """What a rank does."""

    RUNNING = 0
    WAITING = 1
    RETURNED = 2
    RAISED = 3


def name_ranks(ranks: Sequence[int], size: int) -> str:
    """``rank 2``, ``ranks 0, 2`` or ``all 4 ranks``."""
    if len(ranks) == size > 1:
        return f"all {size} ranks"
    return f"rank{'s' if len(ranks) > 1 else ''} {', '.join(map(str, ranks))}"


def merge(texts: Iterable[tuple[int, str]], size: int) -> list[str]:
    """One line for each different text: ``ranks 0, 2: text``, in the order of the first rank."""
    ranks: dict[str, list[int]] = {}
    for rank, text in texts:
        ranks.setdefault(text, []).append(rank)
    return [f"{name_ranks(who, size)}: {text}" for text, who in ranks.items()]


def nap(polls: int) -> None:
    """Pause before the next poll: first yield, then sleep, longer if it lasts. Never spin: cores are few."""
    time.sleep(0 if polls < 20 else 5e-5 if polls < 2000 else 2e-3)


ROW = np.dtype([("example", "i8"), ("state", "i8"), ("calls", "i8"), ("polls", "i8"), ("verb", "S48")])


class Board:
    """What every rank of ``comm`` does right now. Collective to make; afterwards no call sends a message."""

    def __init__(self, comm: Any) -> None:
        node = comm.Split_type(MPI.COMM_TYPE_SHARED)
        self.shared = node.size == comm.size
        node.Free()
        self.rows = self._shared_rows(comm) if self.shared else np.zeros(comm.size, ROW)
        self.mine = self.rows[comm.rank : comm.rank + 1]

    def _shared_rows(self, comm: Any) -> np.ndarray:
        self.window = MPI.Win.Allocate_shared(comm.size * ROW.itemsize if comm.rank == 0 else 0, 8, comm=comm)
        memory, _ = self.window.Shared_query(0)
        rows = np.frombuffer(memory, ROW, comm.size)
        rows[comm.rank] = np.zeros((), ROW)
        comm.Barrier()
        return rows

    @property
    def example(self) -> int:
        """The number of the example that this rank is in."""
        return int(self.mine["example"][0])

    def begin(self) -> None:
        """This rank starts a new example."""
        self.mine["state"], self.mine["calls"] = State.RUNNING, 0
        self.mine["example"] += 1

    def finish(self, state: State) -> None:
        """This rank has left the example."""
        self.mine["state"] = state

    def enter(self, verb: str) -> None:
        """This rank starts to wait."""
        self.mine["verb"] = verb.encode()
        self.mine["calls"] += 1
        self.mine["state"] = State.WAITING

    def leave(self) -> None:
        """This rank goes on."""
        self.mine["state"] = State.RUNNING

    def polled(self) -> None:
        """This rank has polled once more."""
        self.mine["polls"] += 1

    def has_raised(self, ranks: Sequence[int]) -> bool:
        """Whether one of ``ranks`` has raised in this example."""
        rows = self.rows[list(ranks)]
        return bool(np.any((rows["example"] == self.example) & (rows["state"] == State.RAISED)))

    def __str__(self) -> str:
        return "; ".join(
            line.replace(": ", " ", 1) for line in merge(enumerate(map(self._row_text, self.rows)), len(self.rows))
        )

    @staticmethod
    def _row_text(row: np.void) -> str:
        state = State(int(row["state"]))
        if state is State.WAITING:
            return f"waiting in {row['verb'].decode()} (call {row['calls']})"
        return state.name.lower()


class Standstill:
    """Tells a deadlock on a board; made anew for each wait, asked now and then."""

    def __init__(self, board: Board) -> None:
        self.board, self.begin = board, time.monotonic()
        self.first, self.since = board.rows.copy(), self.begin
        self.failure: float | None = None

    def of_failure(self) -> float:
        """For how many seconds this wait has known that a rank has raised."""
        self.failure = self.failure or time.monotonic()
        return time.monotonic() - self.failure

    def lasts(self) -> bool:
        """Whether no rank can go on any more."""
        if not self.board.shared:
            return time.monotonic() - self.begin > ALONE
        now = self.board.rows.copy()
        idle = (now["state"] == State.WAITING) | (now["state"] == State.RETURNED)
        stuck = np.all(idle & (now["example"] == self.board.example))
        moved = any(np.any(now[column] != self.first[column]) for column in ("example", "state", "calls"))
        if moved or not stuck:
            self.first, self.since = now, time.monotonic()
            return False
        return time.monotonic() - self.since > GRACE and bool(np.all(now["polls"] - self.first["polls"] >= POLLS))


class Control:
    """Collectives of the harness itself, on a communicator that the code under test never sees; all wait asleep."""

    def __init__(self, comm: Any, polled: Callable[[], None] = lambda: None) -> None:
        self.comm, self.rank, self.size, self.polled = comm.Dup(), comm.rank, comm.size, polled

    def _finish(self, request: Any) -> None:
        polls = 0
        while not request.Test():
            polls += 1
            self.polled()
            nap(polls)

    def share(self, item: Any = None) -> Any:
        """Rank 0's Python object on every rank."""
        if self.size == 1:
            return item
        blob = np.frombuffer(pickle.dumps(item), np.uint8).copy() if self.rank == 0 else np.empty(0, np.uint8)
        length = np.array([blob.size])
        self._finish(self.comm.Ibcast(length))
        if self.rank:
            blob = np.empty(length[0], np.uint8)
        self._finish(self.comm.Ibcast(blob))
        return pickle.loads(blob.tobytes()) if self.rank else item

    def pool(self, item: Any) -> list[Any]:
        """Every rank's Python object, in rank order, on every rank."""
        blob, lengths = np.frombuffer(pickle.dumps(item), np.uint8).copy(), np.empty(self.size, np.int64)
        self._finish(self.comm.Iallgather(np.array([blob.size]), lengths))
        blobs = np.empty(lengths.sum(), np.uint8)
        self._finish(self.comm.Iallgatherv(blob, [blobs, lengths.tolist()]))
        return [pickle.loads(part.tobytes()) for part in np.split(blobs, np.cumsum(lengths)[:-1])]

    def largest(self, number: int) -> int:
        """The largest ``number`` of all ranks, on every rank."""
        largest = np.zeros(1, np.int64)
        self._finish(self.comm.Iallreduce(np.array([number]), largest, op=MPI.MAX))
        return int(largest[0])
