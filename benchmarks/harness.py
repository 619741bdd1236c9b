"""Side by side: a few contenders do the same work in alternating rounds of one run, and their times become a table.

Round      Each contender in turn repeats its work some times; who begins changes from round to round. Before each turn all
           ranks meet; its time is that of the slowest rank, wall and CPU (which counts waiting that polls).
Told       The median over rounds, with the quartiles, of the first contender, ours; and for each other one the median of
           (its time / our time) *in the same round*, so that what slows the machine for a while slows both.
Floor      ``floor`` is the least that the machine could need, in the same rounds: np.copyto of the bytes that must be written,
           or square products of as many flops as well. floor / ours is the share of the machine's limit that we reach.
Trap       A ratio of two runs, or of two minima, compares the machine with itself at another time.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from time import perf_counter, process_time, sleep
from typing import Any

import numpy as np
from mpi4py import MPI
from tqdm import tqdm

Work = Callable[[], Any]
SLOW = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")  # they choose kernels for another processor, and slow NumPy


@dataclass
class Case:
    """One row: a name, our work first and then the peers', what the ratio should be at least, the copy that must be made."""

    name: str
    work: dict[str, Work | None]  # None: this peer is not here
    target: dict[str, float] = field(default_factory=dict)
    floor: Work | None = None
    note: str = ""
    limit: str = "copy"  # what the floor is


def copy_of(*arrays: np.ndarray) -> Work:
    """A copy of the arrays into memory that exists: the least that can be done to produce them."""
    targets = [np.zeros_like(a) for a in arrays]
    return lambda: [np.copyto(target, a) for target, a in zip(targets, arrays, strict=True)]


def only_on_rank_0(comm: Any, work: Work) -> Work:
    """``work`` on rank 0, while the others sleep."""

    def alone() -> None:
        if comm.rank == 0:
            work()
        done = comm.Ibarrier()
        while not done.Test():
            sleep(1e-3)

    return alone


def measure(comm: Any, cases: Sequence[Case], rounds: int, seconds: float) -> list[str]:
    """The rows of a Markdown table, on all ranks; each turn lasts about ``seconds``."""
    rows = []
    for case in tqdm(cases, "benchmark", disable=comm.rank > 0, leave=False, mininterval=2):
        work = {name: w for name, w in case.work.items() if w} | ({"copy": case.floor} if case.floor else {})
        repeats = {name: _repeats(comm, w, seconds) for name, w in work.items()}
        times: dict[str, list] = {name: [] for name in work}
        for r in range(rounds):
            names = list(work)
            for name in names[r % len(names) :] + names[: r % len(names)]:
                times[name].append(_turn(comm, work[name], repeats[name]))
        rows.append(_row(case, {name: np.array(t) for name, t in times.items()}))
    return rows


def _turn(comm: Any, work: Work, repeats: int) -> tuple[float, float]:
    """(wall, CPU) seconds of one call of ``work`` on the slowest rank."""
    comm.Barrier()
    wall, cpu = perf_counter(), process_time()
    for _ in range(repeats):
        work()
    mine = np.array([perf_counter() - wall, process_time() - cpu]) / repeats
    slowest = np.empty_like(mine)
    comm.Allreduce(mine, slowest, op=MPI.MAX)
    return float(slowest[0]), float(slowest[1])


def _repeats(comm: Any, work: Work, seconds: float) -> int:
    """How often ``work`` is repeated in a turn, by the time of a second call: the first one makes communicators."""
    work()
    repeats, wall = 1, _turn(comm, work, 1)[0]
    repeats = max(1, round(seconds / max(wall, 1e-9)))
    wall = _turn(comm, work, repeats)[0]
    return max(1, min(10 * repeats, round(seconds / max(wall, 1e-9))))


def _row(case: Case, times: dict[str, np.ndarray]) -> str:
    ours, *peers = case.work
    cells = [case.name, _spread(times[ours][:, 0]), _time(np.median(times[ours][:, 1]))]
    for peer in peers:
        if peer not in times:
            cells += ["not here", ""]
            continue
        wall, cpu = np.median(times[peer] / times[ours], axis=0)
        low, high = np.percentile(times[peer][:, 0] / times[ours][:, 0], [25, 75])
        target = case.target.get(peer)
        verdict = "" if target is None else f" (target {target:g}: {'met' if wall >= target else 'missed'})"
        cells += [_spread(times[peer][:, 0]), f"**{wall:.2f}** [{low:.2f}, {high:.2f}], CPU {cpu:.2f}{verdict}"]
    if "copy" in times:
        cells.append(f"{np.median(times['copy'][:, 0] / times[ours][:, 0]):.2g}")
    return "| " + " | ".join([*cells, case.note]) + " |"


def _time(seconds: float) -> str:
    return (
        f"{seconds * 1e6:.0f} us"
        if seconds < 1e-3
        else f"{seconds * 1e3:.2f} ms"
        if seconds < 1
        else f"{seconds:.2f} s"
    )


def _spread(times: np.ndarray) -> str:
    low, middle, high = np.percentile(times, [25, 50, 75])
    return f"{_time(middle)} [{_time(low)}, {_time(high)}]"


def header(case: Case) -> list[str]:
    """The two first lines of a table of cases like this one."""
    ours, *peers = case.work
    columns = ["case", f"{ours}: wall [quartiles]", "CPU"]
    columns += [c for peer in peers for c in (f"{peer}: wall [quartiles]", f"{peer} / {ours}")]
    columns += ([f"{case.limit} / {ours}"] if case.floor else []) + ["note"]
    return ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]


def circumstances(ranks: int, packages: Sequence[str]) -> str:
    """What a reader must know to judge the numbers: the machine, the load, the environment, the versions."""
    found = [f"{name} {version_of(name)}" for name in packages]
    slow = [f"**{name}={os.environ[name]} slows NumPy: unset it**" for name in SLOW if name in os.environ]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    settings = [f"{k}={v}" for k, v in sorted(os.environ.items()) if k.startswith(("MPIR_CVAR", "OMP_NUM", "MALLOC_"))]
    load = f"load before {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    facts = [f"{ranks} ranks, {cores} cores, {platform.machine()}, {load}", f"Python {platform.python_version()}"]
    return "; ".join([*facts, *found, *(settings or ["no settings"]), *slow]) + "."


def version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not here"
