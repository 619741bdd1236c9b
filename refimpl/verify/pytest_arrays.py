"""The pytest plugin of array libraries: the same tests on blocks of NumPy, array-api-strict or torch.

    python -m pytest -p refimpl.verify.pytest_arrays --arrays torch

What changes    ``refimpl.Space``, as a test names it, makes spaces whose blocks are of that library. Within refimpl the name
                stays what it is, so an operator that forgets the library of its space is found.
What is found   A result of another library (``space.problem`` tells); a function that the array-API standard does not have;
                and NumPy's functions on such a block. They would take it without a word as long as it is in the host's memory,
                and fail on a GPU; so here a block refuses to become NumPy's unless refimpl says ``to_host``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

import pytest

import refimpl

LIBRARIES = ("numpy", "array_api_strict", "torch")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--arrays", default="numpy", choices=LIBRARIES, help="the library of the blocks of every Space")


def pytest_configure(config: pytest.Config) -> None:
    name = config.getoption("--arrays")
    if name != "numpy":
        xp = import_module(name)
        refimpl.Space = partial(refimpl.Space, xp=xp)  # type: ignore[misc, assignment]
        block = type(xp.zeros(1))
        for way, guarded in guards(block).items():
            setattr(block, way, guarded)


def pytest_report_header(config: pytest.Config) -> str:
    return f"blocks: {config.getoption('--arrays')}"


def guards(block: type) -> dict[str, Callable]:
    """For each way in which NumPy converts blocks of this type: one that raises TypeError where refimpl did not say to_host."""

    def guarded(convert: Any) -> Callable:
        def conversion(self: Any, *args: Any, **options: Any) -> Any:
            caller: Any = sys._getframe(1)
            while caller.f_globals["__name__"].startswith("numpy"):
                caller = caller.f_back
            if caller.f_globals["__name__"].startswith("refimpl."):
                raise TypeError(
                    f"a NumPy function was given a block of {block.__module__}: use its namespace, or to_host"
                )
            return convert(self, *args, **options)

        return conversion

    # Python 3.12 asks for __buffer__ first
    return {way: guarded(getattr(block, way)) for way in ("__array__", "__buffer__") if hasattr(block, way)}
