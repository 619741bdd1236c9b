"""The last belt: a watchdog that ends the job where nothing else can, an endless loop or a hang in C."""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
import time
from typing import Any

from .board import MPI

LIMIT = float(os.environ.get("SPMD_LIMIT", "120"))  # s in one example, or in one phase of a plain test


class Watchdog:
    """``with Watchdog(label):`` ends the job with exit code 70 where the block lasts longer than ``limit`` seconds."""

    console: Any = sys.__stderr__  # where it barks; pytest needs a copy made before it captures

    def __init__(self, label: str, limit: float = LIMIT) -> None:
        self.label, self.limit = label, limit

    def __enter__(self) -> Watchdog:
        self.timer = threading.Timer(self.limit, self.bark)
        self.timer.daemon = True
        self.timer.start()
        # the timer needs the interpreter; this one, in C, does not
        faulthandler.dump_traceback_later(self.limit + 10, exit=True, file=self.console)
        return self

    def __exit__(self, *problem: object) -> None:
        self.timer.cancel()
        faulthandler.cancel_dump_traceback_later()

    def feed(self) -> None:
        """Start to count anew."""
        self.__exit__()
        self.__enter__()

    def bark(self) -> None:
        """Say where every thread is, and end all ranks."""
        rank = MPI.COMM_WORLD.rank
        self.console.write(f"\n[rank {rank}] no end after {self.limit:g} s: {self.label}\n")
        self.console.flush()
        faulthandler.dump_traceback(file=self.console, all_threads=True)
        abort()


def abort() -> None:
    """End all ranks, when what was written has had time to arrive."""
    time.sleep(0.5)
    MPI.COMM_WORLD.Abort(70)
