"""A progress bar for a run: ``with bar() as show: simulate(case, progress=show)``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def bar(hidden: bool = False) -> Iterator[Callable[[float, str], None]]:
    """What a simulator's ``progress`` may be: it shows how much of the time is simulated, and where the run stands in words."""
    from tqdm import tqdm

    layout = "{percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"
    with tqdm(total=1.0, disable=hidden, bar_format=layout) as shown:

        def show(fraction: float, text: str) -> None:
            shown.set_postfix_str(text, refresh=False)
            shown.update(fraction - shown.n)

        yield show
