"""The wire: the only file that calls MPI.

A closed list of verbs, each on an ordered tuple of ranks of a communicator:

    start_exchange                         packed point-to-point messages, all in flight together
    start_broadcast, start_reduce,         MPI's collectives (trees, logarithmic depth), which sum in a fixed order
    start_all_reduce, start_all_gather,
    start_reduce_scatter
    finish                                 what one of these has made, when it is there
    share, pool                            small Python objects: one rank to all, all ranks to all
    vote                                   a problem of one rank, or calls that differ: the same exception on every rank

Rules        Every message is non-blocking and contiguous (packed with NumPy: derived datatypes are slower), and every wait
             goes through ``wait``, which hands over to the communicator's own ``wait`` where it has one. So a deadlock
             guard, a timeline and the counters see everything.
Groups       A verb runs on a sub-communicator of the user's communicator, made on first use and cached with it: an MPI has
             about 2,000 to give. Nothing collective happens at garbage collection.
Overlap      What starts returns a Pending, whose result ``finish`` waits for: what is computed in between costs no waiting.
GPUs         An array of CuPy is sent from its GPU's memory, and what is made is there as well (see ``arrays``).
Counting     Payload: what point-to-point sends to others; for collectives the words of the textbook algorithms below.
"""

from __future__ import annotations

import os
import pickle
import sys
import time
from binascii import crc32
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .arrays import Array, settle

if TYPE_CHECKING:
    from mpi4py.MPI import Intracomm

Ranks = Sequence[int]
AROUND = 20  # words that are told of a long call, at its beginning and beside where it is another


# ---- MPI itself ------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def mpi() -> Any:
    """The module mpi4py.MPI, imported (and so initialised) at the first message and not before.

    Raises RuntimeError, in one line with the remedy, where there is no MPI library.
    """
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as problem:
        raise RuntimeError(
            "no MPI library was found; install one from a wheel with pip install 'refimpl[mpich]', or load your cluster's"
            f" ({type(problem).__name__}: {str(problem).splitlines()[0]})"
        ) from None
    if MPI.COMM_WORLD.size > 1:
        limit_threads()
        end_together(MPI.COMM_WORLD)
    return MPI


def end_together(comm: Intracomm) -> None:
    """An exception that nobody catches ends all ranks, not one: the others would wait for it for ever."""
    tell = sys.excepthook

    def tell_and_abort(*problem: Any) -> None:
        tell(*problem)
        sys.stderr.flush()
        comm.Abort(1)

    sys.excepthook = tell_and_abort


def limit_threads() -> None:
    """One BLAS thread a rank, unless the user has set a number: ranks already fill the cores."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    if any(name in os.environ for name in names):
        return
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)
    os.environ.update(dict.fromkeys(names, "1"))  # for libraries that are loaded later


def available_cores() -> int:
    """The number of cores that this process, and the ranks beside it, may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def world() -> Intracomm:
    """The communicator of all ranks."""
    return mpi().COMM_WORLD


@lru_cache(maxsize=1)
def _cache_key() -> int:
    def free(comm: Any, key: int, groups: dict) -> None:
        for group in groups.values():
            group.Free()

    return mpi().Comm.Create_keyval(delete_fn=free)


def group(comm: Intracomm, ranks: Ranks) -> Intracomm:
    """The cached sub-communicator of ``ranks``, in that order; collective over ``ranks`` at its first use."""
    key, ranks = _cache_key(), tuple(ranks)
    groups: Any = comm.Get_attr(key)
    if groups is None:
        groups = {}
        comm.Set_attr(key, groups)
    if ranks not in groups:
        members = comm.Get_group().Incl(ranks)
        groups[ranks] = comm.Create_group(members)
        members.Free()
    return groups[ranks]


def everyone(comm: Intracomm) -> tuple[int, ...]:
    """All ranks of a communicator."""
    return tuple(range(comm.size))


def wait(comm: Intracomm, requests: Sequence[Any], verb: str, keep: object = ()) -> None:
    """Complete ``requests``; ``keep`` holds their buffers. A communicator with a ``wait`` of its own does it itself."""
    if hasattr(comm, "wait"):
        comm.wait(requests, verb, keep)
    else:
        mpi().Request.Waitall(requests)


# ---- what is sent ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sent:
    """What one rank sends: messages and bytes of payload."""

    messages: int = 0
    bytes: int = 0

    def __add__(self, other: Sent) -> Sent:
        return Sent(self.messages + other.messages, self.bytes + other.bytes)


@dataclass
class Count:
    """What this rank has sent since counting began: point to point, in collectives, and in votes."""

    point_to_point: Sent = Sent()
    collective: Sent = Sent()
    votes: int = 0

    @property
    def total(self) -> Sent:
        return self.point_to_point + self.collective


_counts: list[Count] = []


@contextmanager
def counting() -> Iterator[Count]:
    """``with counting() as count:`` counts what this rank sends inside the block."""
    _counts.append(Count())
    try:
        yield _counts[-1]
    finally:
        _counts.pop()


def _count(kind: str, sent: Sent) -> None:
    for count in _counts:
        setattr(count, kind, getattr(count, kind) + sent)


# p ranks, a block of n bytes; each formula is what *one* rank sends, zero for a group of one.
def broadcast_cost(p: int, n: int, is_root: bool) -> Sent:
    return Sent(p - 1, (p - 1) * n) if is_root and p > 1 and n else Sent()


def reduce_cost(p: int, n: int, is_root: bool) -> Sent:
    return Sent() if is_root or p == 1 or not n else Sent(1, n)


def all_reduce_cost(p: int, n: int) -> Sent:
    return Sent(2 * (p - 1), 2 * n * (p - 1) // p) if p > 1 and n else Sent()


def all_gather_cost(p: int, n: int) -> Sent:  # n: the own block
    return Sent(p - 1, (p - 1) * n) if p > 1 and n else Sent()


def reduce_scatter_cost(p: int, n: int) -> Sent:  # n: the whole
    return Sent(p - 1, n * (p - 1) // p) if p > 1 and n else Sent()


# ---- the verbs: arrays of NumPy, or of CuPy, in; fresh ones out ------------------------------------------------------


class Pending(NamedTuple):
    """Messages on their way, and what they will have made when they are there; ``keep`` holds their buffers."""

    comm: Any
    requests: Sequence[Any]
    verb: str
    result: Any
    keep: object = ()


def finish(pending: Pending) -> Any:
    """The result of what has been started, when it is there."""
    if pending.requests:
        wait(pending.comm, pending.requests, pending.verb, pending.keep)
    return pending.result


def start_exchange(comm: Intracomm, sends: dict[int, Array], receives: dict[int, Array]) -> Pending:
    """Send a contiguous array to each rank of ``sends``, and fill that for each rank of ``receives``. Empty ones do not travel.

    The result is ``receives``. The arrays must stay as they are until then.
    """
    if comm.size == 1:
        return Pending(comm, (), "exchange", receives)
    link = group(comm, everyone(comm))  # by all ranks, with or without messages: its first use is collective
    settle(*sends.values(), *receives.values())
    requests = [link.Irecv(a, source=r) for r, a in receives.items() if a.size]
    for r, a in sends.items():
        if a.size:
            requests.append(link.Isend(a, dest=r))
            _count("point_to_point", Sent(1, a.nbytes))
    return Pending(link, requests, "exchange", receives, (sends, receives))


def exchange(
    comm: Intracomm, sends: dict[int, np.ndarray], sizes: dict[int, int], dtype: np.dtype
) -> dict[int, np.ndarray]:
    """Send a flat array to each rank of ``sends``; receive ``sizes[r]`` numbers from each rank r. Empty ones do not travel."""
    return finish(start_exchange(comm, sends, {r: np.empty(n, dtype) for r, n in sizes.items() if n}))


def start_broadcast(comm: Intracomm, ranks: Ranks, root: int, a: Array) -> Pending:
    """The root's ``a`` on every rank; elsewhere ``a`` is the buffer that is filled. ``root`` is a rank of ``comm``."""
    if len(ranks) == 1 or not a.size:
        return Pending(comm, (), "broadcast", a)
    link = group(comm, ranks)
    settle(a)
    _count("collective", broadcast_cost(len(ranks), a.nbytes, comm.rank == root))
    return Pending(link, [link.Ibcast(a, root=ranks.index(root))], "broadcast", a, a)


def start_reduce(comm: Intracomm, ranks: Ranks, root: int, a: Array) -> Pending:
    """The sum of all ``a`` on ``root``, None elsewhere."""
    if len(ranks) == 1 or not a.size:
        return Pending(comm, (), "reduce", a.copy() if comm.rank == root else None)
    link, total = group(comm, ranks), np.empty_like(a) if comm.rank == root else None
    settle(a)
    _count("collective", reduce_cost(len(ranks), a.nbytes, comm.rank == root))
    request = link.Ireduce(a, total, op=mpi().SUM, root=ranks.index(root))
    return Pending(link, [request], "reduce", total, (a, total))


def start_all_reduce(comm: Intracomm, ranks: Ranks, a: Array, op: str = "SUM") -> Pending:
    """The sum (or the "MAX") of all ``a`` on every rank, the same bits everywhere."""
    if len(ranks) == 1 or not a.size:
        return Pending(comm, (), "all_reduce", a.copy())
    link, total = group(comm, ranks), np.empty_like(a)
    settle(a)
    _count("collective", all_reduce_cost(len(ranks), a.nbytes))
    request = link.Iallreduce(a, total, op=getattr(mpi(), op))
    return Pending(link, [request], "all_reduce", total, (a, total))


def start_all_gather(comm: Intracomm, ranks: Ranks, a: Array, sizes: Sequence[int]) -> Pending:
    """Everybody's flat ``a`` on every rank, one behind the other in the order of ``ranks``; ``sizes``: their lengths."""
    if len(ranks) == 1:
        return Pending(comm, (), "all_gather", a.copy())
    everything = np.empty(sum(sizes), a.dtype, like=a)
    if not everything.size:
        return Pending(comm, (), "all_gather", everything)
    link = group(comm, ranks)
    settle(a)
    _count("collective", all_gather_cost(len(ranks), a.nbytes))
    request = link.Iallgatherv(a, [everything, list(sizes)])
    return Pending(link, [request], "all_gather", everything, (a, everything))


def start_reduce_scatter(comm: Intracomm, ranks: Ranks, a: Array, sizes: Sequence[int]) -> Pending:
    """The sum over ranks of one part of the flat ``a``, whose parts of ``sizes`` belong to the ranks one by one."""
    if len(ranks) == 1 or not a.size:
        return Pending(comm, (), "reduce_scatter", a.copy())
    link, own = group(comm, ranks), np.empty(sizes[ranks.index(comm.rank)], a.dtype, like=a)
    settle(a)
    _count("collective", reduce_scatter_cost(len(ranks), a.nbytes))
    request = link.Ireduce_scatter(a, own, recvcounts=list(sizes), op=mpi().SUM)
    return Pending(link, [request], "reduce_scatter", own, (a, own))


# ---- small objects, and agreement ------------------------------------------------------------------------------------


def share(comm: Intracomm, item: Any, root: int = 0) -> Any:
    """The root's Python object on every rank."""
    if comm.size == 1:
        return item
    blob = np.frombuffer(pickle.dumps(item), np.uint8).copy() if comm.rank == root else None
    link, size = group(comm, everyone(comm)), np.array([0 if blob is None else blob.size])
    wait(link, [link.Ibcast(size, root=root)], "share", size)
    blob = np.empty(int(size[0]), np.uint8) if blob is None else blob
    wait(link, [link.Ibcast(blob, root=root)], "share", blob)
    return item if comm.rank == root else pickle.loads(blob.tobytes())


def pool(comm: Intracomm, item: Any) -> list[Any]:
    """Every rank's Python object, in rank order, on every rank."""
    if comm.size == 1:
        return [item]
    link, blob = group(comm, everyone(comm)), np.frombuffer(pickle.dumps(item), np.uint8).copy()
    sizes = np.empty(comm.size, np.int64)
    wait(link, [link.Iallgather(np.array([blob.size], np.int64), sizes)], "pool", sizes)
    blobs = np.empty(int(sizes.sum()), np.uint8)
    wait(link, [link.Iallgatherv(blob, [blobs, sizes.tolist()])], "pool", (blob, blobs))
    return [pickle.loads(b.tobytes()) for b in np.split(blobs, np.cumsum(sizes)[:-1])]


def vote(comm: Intracomm, problem: Exception | None, call: str = "") -> None:
    """Return on all ranks where none has a problem; else raise the same exception, of the lowest such rank, on all.

    It is an OSError, TypeError, ValueError or ArithmeticError where the problem is one, else a RuntimeError.
    ``call`` says what this rank is doing, its arguments included. Where ranks say different things, all raise ValueError.
    Cost: one all-reduce of three integers.
    """
    for count in _counts:
        count.votes += 1
    if comm.size == 1:
        if problem is not None:
            raise portable(problem) from problem
        return
    h = fingerprint(call)
    mine = np.array([problem is not None, h, -h], np.int64)  # the largest of -h is minus the smallest h
    link, most = group(comm, everyone(comm)), np.empty(3, np.int64)
    wait(link, [link.Iallreduce(mine, most, op=mpi().MAX)], "vote", (mine, most))
    if most[1] != -most[2]:
        raise ValueError(f"the ranks do not make the same call: {merged(parting(pool(comm, call or 'another')))}")
    if most[0]:
        raise_first(pool(comm, None if problem is None else portable(problem)), problem)


@lru_cache(maxsize=4096)
def fingerprint(call: str) -> int:
    """A number from 0 to 2**32 - 1 that tells calls apart."""
    return crc32(call.encode())


def parting(calls: Sequence[str]) -> list[str]:
    """Calls that differ: of a long one the first words, and those around where it parts from the others."""
    words = [call.split(" ") for call in calls]
    first = next(i for i, row in enumerate(zip_longest(*words)) if len(set(row)) > 1)
    start, stop = max(first - AROUND, AROUND), first + AROUND
    begun = lambda w: [*w[:AROUND], *[".."] * (start > AROUND), *w[start:stop], *[".."] * (len(w) > stop)]
    return [" ".join(begun(w)) for w in words]


def merged(texts: Sequence[str]) -> str:
    """One entry for each different text, with the ranks that have it."""
    ranks: dict[str, list[int]] = {}
    for rank, text in enumerate(texts):
        ranks.setdefault(text, []).append(rank)
    return "; ".join(f"rank{'s' if who[1:] else ''} {', '.join(map(str, who))}: {text}" for text, who in ranks.items())


def portable(problem: Exception) -> Exception:
    """``problem`` as an exception that travels: an OSError, TypeError, ValueError or ArithmeticError, else a RuntimeError."""
    kinds = (OSError, TypeError, ValueError, ArithmeticError)
    return next((k for k in kinds if isinstance(problem, k)), RuntimeError)(str(problem))


def raise_first(items: Sequence[Any], mine: Exception | None = None) -> None:
    """Raise the first exception among the pooled ``items`` of all ranks, where there is one; ``mine`` is its cause here."""
    failed = [r for r, item in enumerate(items) if isinstance(item, Exception)]
    if failed:
        first = items[failed[0]]
        others = failed[1:]
        also = f" (rank {failed[0]}; also rank {', '.join(map(str, others))} raised)" if others else ""
        raise type(first)(f"{first}{also}") from mine


def together(comm: Intracomm, action: Callable[[], Any]) -> Any:
    """The result of ``action`` on this rank; what any rank raises, all ranks raise (see ``vote``)."""
    result: Any = None
    problem: Exception | None = None
    try:
        result = action()
    except KeyError as error:
        problem = ValueError(f"{error.args[0]} is missing")
    except Exception as error:
        problem = error
    vote(comm, problem)
    return result


def at_root(comm: Intracomm, action: Callable[[], Any]) -> Any:
    """The result of ``action`` on rank 0, told to all; what it raises, all ranks raise."""
    return share(comm, together(comm, lambda: action() if comm.rank == 0 else None))


def abort(comm: Intracomm, code: int) -> None:
    """End all ranks at once: for an error that the others do not know of."""
    comm.Abort(code)


class Rendezvous:
    """Made by all ranks at the start of a program; tells at its end whether all have come, or some still wait elsewhere."""

    def __init__(self, comm: Intracomm) -> None:
        self.link = comm.Dup()

    def complete(self, seconds: float) -> bool:
        """True where all ranks call this within ``seconds``."""
        request, deadline = self.link.Ibarrier(), time.monotonic() + seconds
        while not request.Test():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True


_unchecked = 0


@contextmanager
def unchecked() -> Iterator[None]:
    """``with unchecked():`` leaves out the checks of blocks and the votes on them; every rank must enter it alike."""
    global _unchecked
    _unchecked += 1
    try:
        yield
    finally:
        _unchecked -= 1


def checking() -> bool:
    """False inside ``with unchecked()``."""
    return not _unchecked
