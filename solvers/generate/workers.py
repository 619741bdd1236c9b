"""Workers: one function over many tasks, in this process or in processes of their own.

Order       Results come as they finish: nothing may depend on it.
A window    of four tasks per worker is in flight; the rest wait here, where an interrupt cancels them at once.
Lost worker (killed, out of memory): the pool is rebuilt and the tasks in flight run again, up to five times.
No orphans  Linux kills a worker when the thread that started it ends (PR_SET_PDEATHSIG). Processes are spawned by the
            thread that submits, which here lives as long as the pool does.
One thread  Every worker limits its BLAS to one thread, as does a run without workers: the same sums in the same order.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

from threadpoolctl import threadpool_limits

WINDOW = 4  # tasks in flight per worker
MAX_REBUILDS = 5
PR_SET_PDEATHSIG = 1


def run_here(function: Callable, tasks: Iterable) -> Iterator:
    """``function(task)`` for each task, one after the other."""
    for task in tasks:
        with threadpool_limits(1):
            result = function(task)
        yield result


def run_in_processes(function: Callable, tasks: Iterable, workers: int) -> Iterator:
    """``function(task)`` for each task on ``workers`` spawned processes, in the order of completion.

    An exception of the function is raised here. Raises RuntimeError where worker processes keep dying.
    """
    waiting = deque(tasks)
    for _ in range(MAX_REBUILDS + 1):
        yield from _until_broken(function, waiting, workers)
        if not waiting:
            return
    raise RuntimeError(f"worker processes died {MAX_REBUILDS + 1} times (out of memory, or killed?): giving up")


def _until_broken(function: Callable, waiting: deque, workers: int) -> Iterator:
    """Work off ``waiting``; where a worker dies, put the tasks that were in flight back and return."""
    before = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=_prepare_worker, initargs=(os.getpid(),))
    running: dict[Future, object] = {}
    try:
        while waiting or running:
            while waiting and len(running) < WINDOW * workers:
                future = _submit(pool, function, waiting[0])  # may raise: the task must still be waiting then
                running[future] = waiting.popleft()
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in [f for f in done if not isinstance(f.exception(), BrokenProcessPool)]:
                del running[future]
                yield future.result()
            if any(future in running for future in done):
                break
    except BrokenProcessPool:
        pass  # raised by submit
    finally:
        waiting.extendleft(running.values())
        pool.shutdown(wait=not running, cancel_futures=True)
        for process in set(multiprocessing.active_children()) - before:
            process.terminate()  # busy with a task that nobody waits for any more
            process.join()


def _submit(pool: ProcessPoolExecutor, function: Callable, task: object) -> Future:
    """Submit with Ctrl-C blocked: a worker that this starts inherits that, and leaves the interrupt to the driver."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return pool.submit(function, task)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _prepare_worker(driver: int) -> None:
    """Die with the driver, use one BLAS thread."""
    end_with(driver, signal.SIGKILL)
    threadpool_limits(1)


def end_with(parent: int, number: int) -> None:
    """Let this process receive the signal ``number`` when ``parent``, which started it, ends; on Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:  # it died before the call
            os._exit(1)
