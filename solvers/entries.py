"""Entries: what a TOML file may have, told from the dataclasses that it becomes (see ``records``).

Told         Of each field its default, or that it is needed, its type, and its lines in the docstring: "``name``  text", which
             further lines go on.
Tables       The records in a record follow it, under the header that they have in TOML.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields
from textwrap import wrap
from typing import Any, get_origin

from .records import records_in, said, types_of
from .toml import plain, written

DOCUMENTED = re.compile(r"^ *``(\w+)`` +(.*?)(?=^ *``|^ *$|\Z)", re.MULTILINE | re.DOTALL)
WIDTH = 120


def entries(kind: type) -> Iterator[str]:
    """The lines that tell of the record ``kind`` and those in it."""
    hints, documents = types_of(kind), documented(kind)
    for each in fields(kind):
        text = f"{said(hints[each.name])}: {documents[each.name]}"
        yield each.name + _default(each, hints[each.name])
        yield from wrap(text, WIDTH, initial_indent="    ", subsequent_indent="    ")
    for name, hint in hints.items():
        records = list(records_in(hint))
        for record in records:
            yield f"\n[[{name}]]" if get_origin(hint) is tuple else f"\n[{name}]"
            if len(records) > 1:
                yield f"kind = {written(record.__name__.lower())}"
            yield from entries(record)


def documented(kind: type) -> dict[str, str]:
    """What the docstring of a dataclass says about each of its fields."""
    found = DOCUMENTED.findall(kind.__doc__ or "")
    return {name: " ".join(text.replace("``", "").split()) for name, text in found}


def _default(each: Field, hint: Any) -> str:
    """A field's default as TOML has it, or that there is none; nothing where it is a table, or that there is nothing."""
    if each.default is MISSING:
        return ", needed" if each.default_factory is MISSING else ""
    return "" if each.default is None or any(records_in(hint)) else f" = {written(plain(each.default))}"
