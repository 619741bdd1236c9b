"""TOML: values as it has them and as its text, and the text and the kind of a case that a file holds."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

FLOW, TWO_PHASE = "navier-stokes", "two-phase"  # what ``kind`` says in a case; without it, it is a flow


def written(value: Any) -> str:
    """``value`` (number, bool, text, nested tuples of them) as TOML has it."""
    if isinstance(value, tuple):
        return "[" + ", ".join(map(written, value)) + "]"
    return json.dumps(value) if isinstance(value, str | bool) else repr(value)


def plain(value: Any) -> Any:
    """``value`` with tuples for lists and arrays, and Python's numbers for NumPy's: it can be compared and written."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {name: plain(part) for name, part in value.items()}
    return tuple(map(plain, value)) if isinstance(value, list | tuple) else value


@contextmanager
def case_in(path: str | Path) -> Iterator[str]:
    """The text of a case's file. OSError where it cannot be read; ValueError, raised with it as well, names the file."""
    try:
        yield Path(path).read_text(encoding="utf-8")
    except OSError as error:
        if error.filename is None:
            raise
        raise type(error)(f"{error.filename}: {error.strerror}; expected the TOML file of a case") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def kind_of(path: str | Path) -> str:
    """The kind of the case in a TOML file. OSError where there is none, ValueError, which names the file, where it is none."""
    with case_in(path) as text:
        kind = tomllib.loads(text).get("kind", FLOW)
        if kind not in (FLOW, TWO_PHASE):
            raise ValueError(f'expected kind = "{FLOW}" or "{TWO_PHASE}", got {kind!r}')
    return kind
