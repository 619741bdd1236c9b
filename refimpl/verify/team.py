"""A team of ranks whose waits cannot hang: the communicator under ``spmd``.

Team         An MPI communicator (mpi4py's Intracomm: the code under test is unaware). Each blocking call is its
             non-blocking twin and a loop that polls, and looks at the board (refimpl.verify.board) between polls.
PeerFailed   A rank of the same communicator has raised: its answer will not come. Unless it raised after it had given it; so
             this is said only when nothing has come for LAST_WORD seconds since.
Deadlock     All ranks stand still: each waits for the others, or has returned.
Making       ``Create_group``, ``Split``, ``Dup``, ``Create_cart`` have no useful non-blocking twin. So the members meet
             first (a guarded exchange of empty messages); when all are there, the blocking call cannot hang. What it
             returns is guarded too.
Giving up    A communicator in which a wait was given up may hold messages that nobody has received. It is never used
             again: the guard keeps it, its requests and their buffers alive, and makes a fresh team from a duplicate
             that is always clean. So an old message cannot match a new receive.
"""

from __future__ import annotations

import operator
import pickle
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import numpy as np

from .board import ALONE, MPI, Board, Control, Standstill, name_ranks, nap

SPENT_LIMIT = 1500  # communicators given up for ever; an MPI has about 2,000 to give
LAST_WORD = 0.05  # s in which what a rank has sent before it raised must arrive
MEETING_TAG = 32767  # the largest tag that every MPI has


class PeerFailed(RuntimeError):
    """Another rank has raised; this one stopped waiting for it."""


class Deadlock(RuntimeError):
    """No rank can go on."""


class Guard:
    """What all communicators of one team share: its board, its control plane, and the communicator in use."""

    spent = 0  # communicators that this process has given up, of all teams

    def __init__(self, comm: Any) -> None:
        self.rank, self.size = comm.rank, comm.size
        self.board = Board(comm)
        self.control = Control(comm, self.board.polled)
        self.abandoned: list[Any] = []
        self.children = 0
        self.team = self.adopt(comm.Dup())

    def adopt(self, comm: Any) -> Any:
        """The communicator ``comm``, guarded; COMM_NULL stays what it is."""
        if comm == MPI.COMM_NULL:
            return comm
        made = (CartTeam if isinstance(comm, MPI.Cartcomm) else Team)(comm, self)
        made.members = range(self.size)
        self.children += 1
        return made

    def renew(self) -> None:
        """Give up the team and all that was made from it, for a fresh one. Collective, outside any example."""
        self.abandoned.append(self.team)
        Guard.spent += self.children
        self.children = 0
        self.team = self.adopt(self.control.comm.Dup())

    def wait_until(self, done: Callable[[], bool], verb: str, comm: Any, keep: object = ()) -> None:
        """Return when ``done()``; raise PeerFailed or Deadlock where that cannot come. ``keep`` is then kept alive."""
        self.board.enter(verb if len(comm.members) == self.size else f"{verb} of {name_ranks(comm.members, self.size)}")
        standstill, polls = Standstill(self.board), 0
        while not done():
            polls += 1
            self.board.polled()
            if polls % 10 == 0:
                self._look_round(standstill, verb, comm, keep)
            nap(polls)
        self.board.leave()

    def _look_round(self, standstill: Standstill, verb: str, comm: Any, keep: object) -> None:
        failed = self.board.has_raised(comm.members) and standstill.of_failure() > LAST_WORD
        if failed or standstill.lasts():
            self.abandoned.append((comm, keep))
            alone = "" if self.board.shared else f"no answer in {verb} for {ALONE:g} s (several nodes: cause unknown)"
            raise PeerFailed(f"gave up {verb}") if failed else Deadlock(alone or str(self.board))


class Guarded:
    """The calls of a guarded communicator. Arguments and results are mpi4py's."""

    guard: Any = None
    members: Sequence[int] = ()

    def __new__(cls, comm: Any = None, guard: Guard | None = None) -> Any:
        made = super().__new__(cls, comm)  # type: ignore[call-arg]
        made.guard = guard
        return made

    def __repr__(self: Any) -> str:
        return f"<{type(self).__name__} of {self.size}>"

    def wait(self: Any, requests: Any, verb: str, keep: object = ()) -> None:
        """Complete ``requests``, or raise PeerFailed or Deadlock. ``keep`` holds their buffers."""
        requests = [requests] if isinstance(requests, MPI.Request) else list(requests)
        self.guard.wait_until(lambda: MPI.Request.Testall(requests), verb, self, (requests, keep))

    # -- new communicators: meet, then make --

    def _meet(self: Any, ranks: Sequence[int], verb: str) -> None:
        others, empty = [r for r in ranks if r != self.rank], np.empty(0, np.uint8)
        requests = [self.Irecv(empty, source=r, tag=MEETING_TAG) for r in others]
        requests += [self.Isend(empty, dest=r, tag=MEETING_TAG) for r in others]
        self.wait(requests, verb, empty)

    def _made(self: Any, comm: Any) -> Any:
        made = self.guard.adopt(comm)
        if made != MPI.COMM_NULL:
            theirs = made.Get_group()
            made.members = [self.members[place] for place in self._ranks_of(theirs)]
            theirs.Free()
        return made

    def _ranks_of(self: Any, group: Any) -> list[int]:
        own = self.Get_group()
        ranks = MPI.Group.Translate_ranks(group, None, own)
        own.Free()
        return ranks

    def Create_group(self: Any, group: Any, tag: int = 0) -> Any:
        self._meet(self._ranks_of(group), "Create_group")
        return self._made(super().Create_group(group, tag))  # type: ignore[misc]

    def Create(self: Any, group: Any) -> Any:
        self._meet(range(self.size), "Create")
        return self._made(super().Create(group))  # type: ignore[misc]

    def Split(self: Any, color: int = 0, key: int = 0) -> Any:
        self._meet(range(self.size), "Split")
        return self._made(super().Split(color, key))  # type: ignore[misc]

    def Split_type(self: Any, split_type: int, key: int = 0, info: Any = MPI.INFO_NULL) -> Any:
        self._meet(range(self.size), "Split_type")
        return self._made(super().Split_type(split_type, key, info))  # type: ignore[misc]

    def Dup(self: Any, info: Any = None) -> Any:
        self._meet(range(self.size), "Dup")
        return self._made(super().Dup(info))  # type: ignore[misc]

    def Clone(self: Any) -> Any:
        return self.Dup()

    def Create_cart(self: Any, dims: Any, periods: Any = None, reorder: bool = False) -> Any:
        self._meet(range(self.size), "Create_cart")
        return self._made(super().Create_cart(dims, periods, reorder))  # type: ignore[misc]

    # -- blocking calls on buffers: the non-blocking twin, and wait --

    def Barrier(self: Any) -> None:
        self.wait(self.Ibarrier(), "Barrier")

    def Bcast(self: Any, buf: Any, root: int = 0) -> None:
        self.wait(self.Ibcast(buf, root), "Bcast", buf)

    def Reduce(self: Any, sendbuf: Any, recvbuf: Any, op: Any = MPI.SUM, root: int = 0) -> None:
        self.wait(self.Ireduce(sendbuf, recvbuf, op, root), "Reduce", (sendbuf, recvbuf))

    def Allreduce(self: Any, sendbuf: Any, recvbuf: Any, op: Any = MPI.SUM) -> None:
        self.wait(self.Iallreduce(sendbuf, recvbuf, op), "Allreduce", (sendbuf, recvbuf))

    def Reduce_scatter(self: Any, sendbuf: Any, recvbuf: Any, recvcounts: Any = None, op: Any = MPI.SUM) -> None:
        self.wait(self.Ireduce_scatter(sendbuf, recvbuf, recvcounts, op), "Reduce_scatter", (sendbuf, recvbuf))

    def Scan(self: Any, sendbuf: Any, recvbuf: Any, op: Any = MPI.SUM) -> None:
        self.wait(self.Iscan(sendbuf, recvbuf, op), "Scan", (sendbuf, recvbuf))

    def Exscan(self: Any, sendbuf: Any, recvbuf: Any, op: Any = MPI.SUM) -> None:
        self.wait(self.Iexscan(sendbuf, recvbuf, op), "Exscan", (sendbuf, recvbuf))

    def Gather(self: Any, sendbuf: Any, recvbuf: Any, root: int = 0) -> None:
        self.wait(self.Igather(sendbuf, recvbuf, root), "Gather", (sendbuf, recvbuf))

    def Gatherv(self: Any, sendbuf: Any, recvbuf: Any, root: int = 0) -> None:
        self.wait(self.Igatherv(sendbuf, recvbuf, root), "Gatherv", (sendbuf, recvbuf))

    def Scatter(self: Any, sendbuf: Any, recvbuf: Any, root: int = 0) -> None:
        self.wait(self.Iscatter(sendbuf, recvbuf, root), "Scatter", (sendbuf, recvbuf))

    def Scatterv(self: Any, sendbuf: Any, recvbuf: Any, root: int = 0) -> None:
        self.wait(self.Iscatterv(sendbuf, recvbuf, root), "Scatterv", (sendbuf, recvbuf))

    def Allgather(self: Any, sendbuf: Any, recvbuf: Any) -> None:
        self.wait(self.Iallgather(sendbuf, recvbuf), "Allgather", (sendbuf, recvbuf))

    def Allgatherv(self: Any, sendbuf: Any, recvbuf: Any) -> None:
        self.wait(self.Iallgatherv(sendbuf, recvbuf), "Allgatherv", (sendbuf, recvbuf))

    def Alltoall(self: Any, sendbuf: Any, recvbuf: Any) -> None:
        self.wait(self.Ialltoall(sendbuf, recvbuf), "Alltoall", (sendbuf, recvbuf))

    def Alltoallv(self: Any, sendbuf: Any, recvbuf: Any) -> None:
        self.wait(self.Ialltoallv(sendbuf, recvbuf), "Alltoallv", (sendbuf, recvbuf))

    def Send(self: Any, buf: Any, dest: int, tag: int = 0) -> None:
        self.wait(self.Isend(buf, dest, tag), "Send", buf)

    def Recv(self: Any, buf: Any, source: int = MPI.ANY_SOURCE, tag: int = MPI.ANY_TAG, status: Any = None) -> None:
        request = self.Irecv(buf, source, tag)
        self.guard.wait_until(lambda: request.Test(status), "Recv", self, (request, buf))

    def Sendrecv(
        self: Any,
        sendbuf: Any,
        dest: int,
        sendtag: int = 0,
        recvbuf: Any = None,
        source: int = MPI.ANY_SOURCE,
        recvtag: int = MPI.ANY_TAG,
        status: Any = None,
    ) -> None:
        request = self.Isendrecv(sendbuf, dest, sendtag, recvbuf, source, recvtag)
        self.guard.wait_until(lambda: request.Test(status), "Sendrecv", self, (request, sendbuf, recvbuf))

    # -- blocking calls on Python objects --

    def allgather(self: Any, sendobj: Any) -> list[Any]:
        blob, lengths = np.frombuffer(pickle.dumps(sendobj), np.uint8).copy(), np.empty(self.size, np.int64)
        length = np.array([blob.size])
        self.wait(self.Iallgather(length, lengths), "allgather", (length, lengths))
        blobs = np.empty(lengths.sum(), np.uint8)
        self.wait(self.Iallgatherv(blob, [blobs, lengths.tolist()]), "allgather", (blob, blobs))
        return [pickle.loads(part.tobytes()) for part in np.split(blobs, np.cumsum(lengths)[:-1])]

    def barrier(self: Any) -> None:
        self.Barrier()

    def bcast(self: Any, obj: Any, root: int = 0) -> Any:
        return self.allgather(obj if self.rank == root else None)[root]

    def gather(self: Any, sendobj: Any, root: int = 0) -> list[Any] | None:
        everything = self.allgather(sendobj)
        return everything if self.rank == root else None

    def scatter(self: Any, sendobj: Any, root: int = 0) -> Any:
        return self.bcast(sendobj, root)[self.rank]

    def alltoall(self: Any, sendobj: Any) -> list[Any]:
        return [row[self.rank] for row in self.allgather(list(sendobj))]

    def allreduce(self: Any, sendobj: Any, op: Any = MPI.SUM) -> Any:
        return reduce(operator.add if op == MPI.SUM else op, self.allgather(sendobj))

    def reduce(self: Any, sendobj: Any, op: Any = MPI.SUM, root: int = 0) -> Any:
        total = self.allreduce(sendobj, op)
        return total if self.rank == root else None

    def send(self: Any, obj: Any, dest: int, tag: int = 0) -> None:
        self.wait(self.isend(obj, dest, tag), "send", obj)

    def recv(
        self: Any, buf: Any = None, source: int = MPI.ANY_SOURCE, tag: int = MPI.ANY_TAG, status: Any = None
    ) -> Any:
        found: list[Any] = []

        def arrived() -> bool:
            found[:] = [self.improbe(source, tag, status)]
            return found[0] is not None

        self.guard.wait_until(arrived, "recv", self)
        return found[0].recv(status)


class CartTeam(Guarded, MPI.Cartcomm):
    """A guarded communicator with a Cartesian topology."""

    def Sub(self, remain_dims: Sequence[bool]) -> Any:
        self._meet(range(self.size), "Sub")
        return self._made(super().Sub(remain_dims))


class Team(Guarded, MPI.Intracomm):
    """``Team(comm)``: a guarded duplicate of ``comm``; its calls raise where the answer can no longer come."""

    def __new__(cls, comm: Any = None, guard: Guard | None = None) -> Any:
        if comm is not None and guard is None:
            return Guard(comm).team
        return super().__new__(cls, comm, guard)
