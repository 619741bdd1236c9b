"""Ctrl-C ends a run between two steps, with all files whole.

Why          Python raises KeyboardInterrupt wherever it stands. Where that is what the garbage collector calls, it is told of
             on stderr and lost, and the run goes on; where that is a write, it cuts a frame.
Ranks        On many, mpiexec ends all of them, as without this.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def between_steps(progress: Callable[[float, str], None] | None, comm: Any) -> Iterator[Callable[[float, str], None]]:
    """What a run on ``comm`` is to call in place of ``progress``, between steps: it raises KeyboardInterrupt where Ctrl-C has
    come. A second Ctrl-C does not wait for the end of the step."""
    came = False

    def note(number: int, frame: object) -> None:
        nonlocal came
        if came:
            raise KeyboardInterrupt
        came = True

    def told(fraction: float, text: str) -> None:
        if progress:
            progress(fraction, text)
        if came:
            raise KeyboardInterrupt

    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if comm.size > 1 or not usual or threading.current_thread() is not threading.main_thread():
        yield told
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield told
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if came:  # after the last step
        raise KeyboardInterrupt
