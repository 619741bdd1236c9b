"""A progress bar for a run: ``with bar() as show: simulate(case, progress=show)``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def bar(hidden: bool = False) -> Iterator[Callable[[float, str], None]]:
    """What a simulator's ``progress`` may be: it shows how much of the time is simulated, and where the run stands in words.
    Before its first call there is none, so that a run that is refused shows nothing else."""
    from tqdm import tqdm

    layout = "{percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"
    shown: Any = None

    def show(fraction: float, text: str) -> None:
        nonlocal shown
        shown = shown or tqdm(total=1.0, disable=hidden, bar_format=layout)
        shown.set_postfix_str(text, refresh=False)
        shown.update(fraction - shown.n)

    try:
        yield show
    finally:
        if shown:
            shown.close()
