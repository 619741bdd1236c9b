"""The last belt: a watchdog that ends the job where nothing else can, an endless loop or a hang in C.

One thread looks at all watches of the process every TICK seconds: to start a watch costs a microsecond, a thread for each
would cost the tests a tenth of their time. A hang in C that keeps the interpreter stops that thread too; so at each tick
it winds up faulthandler's timer, which needs no interpreter and goes off when it is not wound up any more.
"""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
import time
from typing import Any

from .board import MPI

LIMIT = float(os.environ.get("SPMD_LIMIT", "120"))  # s in one example, or in one phase of a plain test
TICK = 0.5  # s


class Watchdog:
    """``with Watchdog(label):`` ends the job with exit code 70 where the block lasts longer than ``limit`` seconds."""

    console: Any = sys.__stderr__  # where it barks; pytest needs a copy made before it captures
    awake: list[Watchdog] = []  # the watches of this process
    thread: threading.Thread | None = None

    def __init__(self, label: str, limit: float = LIMIT) -> None:
        self.label, self.limit = label, limit

    def __enter__(self) -> Watchdog:
        self.feed()
        Watchdog.awake.append(self)
        if Watchdog.thread is None:
            Watchdog.thread = threading.Thread(target=patrol, daemon=True)
            Watchdog.thread.start()
        return self

    def __exit__(self, *problem: object) -> None:
        Watchdog.awake.remove(self)

    def feed(self) -> None:
        """Start to count anew."""
        self.deadline = time.monotonic() + self.limit

    def bark(self) -> None:
        """Say where every thread is, and end all ranks."""
        rank = MPI.COMM_WORLD.rank
        self.console.write(f"\n[rank {rank}] no end after {self.limit:g} s: {self.label}\n")
        self.console.flush()
        faulthandler.dump_traceback(file=self.console, all_threads=True)
        abort()


def patrol() -> None:
    """Look at all watches, for as long as the process lives."""
    while True:
        faulthandler.dump_traceback_later(LIMIT + 10, exit=True, file=Watchdog.console)
        now = time.monotonic()
        for dog in tuple(Watchdog.awake):
            if now > dog.deadline:
                dog.bark()
        time.sleep(TICK)


def abort() -> None:
    """End all ranks, when what was written has had time to arrive."""
    time.sleep(0.5)
    MPI.COMM_WORLD.Abort(70)
