"""Records: dataclasses whose fields are what their types say, and which are made from the tables of a TOML file.

Checked      The type of a field is the rule: ``settle`` compares the value with it, and refuses what does not fit by its name
             and value. A number is neither NaN nor true, nor a text that looks like one.
Made         ``made`` turns a table into a record. An entry that the record does not know, or lacks, is refused by its name.
             Tables in it become the records that the fields' types tell; where these are several, ``kind`` says which.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from itertools import repeat
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np

from .toml import plain

WORDS = {
    float: "a number",
    int: "a whole number",
    bool: "true or false",
    str: "text",
    tuple: "nested lists",
    np.ndarray: "an array",
}
LONGEST = 80  # characters that are shown of a value

Misfit = tuple[str, Any, Any]  # the name of a part, what it is to be, what it is


def settle(record: Any) -> None:
    """Have Python's own numbers and tuples in the fields of a dataclass, but for arrays where its types have them. Raises
    ValueError where a field, or a part of it, is not of its type."""
    hints = types_of(record.__class__)
    for each in fields(record):
        value, kind = getattr(record, each.name), hints[each.name]
        if not (isinstance(value, np.ndarray) and np.ndarray in get_args(kind)):
            value = plain(value)
            object.__setattr__(record, each.name, value)
        if misfit := _misfit(each.name, value, kind):
            name, expected, got = misfit
            raise ValueError(f"{type(record).__name__}: expected {name} to be {said(expected)}, got {shown(got)}")


def made(kind: type, table: Any, name: str = "") -> Any:
    """The record ``kind`` that a ``table`` of TOML, found at ``name``, describes. Raises ValueError where it is none."""
    where = name or kind.__name__
    if not isinstance(table, dict):
        raise ValueError(f"expected {where} to be a table, got {shown(table)}")
    hints, known = types_of(kind), {each.name: each for each in fields(kind)}
    for entry, value in table.items():
        if entry not in known:
            raise ValueError(f"{where} has no entry {entry}, got {shown(value)}; it may have {', '.join(known)}")
    for entry, each in known.items():
        if entry not in table and each.default is MISSING and each.default_factory is MISSING:
            raise ValueError(f"{where} lacks the entry {entry}: {said(hints[entry])}")
    parts = {entry: _parts(hints[entry], value, entry) for entry, value in table.items()}
    try:
        return kind(**parts)
    except ValueError as error:
        raise ValueError(f"{name}: {error}" if name else str(error)) from error


@cache
def types_of(kind: Any) -> dict[str, Any]:
    """The types of a dataclass's fields."""
    return get_type_hints(kind)


def said(kind: Any) -> str:
    """A type in words."""
    parts = [part for part in get_args(kind) if part is not NoneType]
    if get_origin(kind) in (Union, UnionType):
        *before, last = map(said, parts)
        return f"{', '.join(before)} or {last}" if before else last
    if get_origin(kind) in (tuple, Sequence):
        return f"a list{'' if _any_number(kind) else f' of {len(parts)}'}, each {said(parts[0])}"
    if get_origin(kind) is Mapping:
        return f"a table, each entry {said(parts[1])}"
    return WORDS.get(kind) or f"a table ({kind.__name__})"


def shown(value: Any) -> str:
    """A value as errors show it."""
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def _misfit(name: str, value: Any, kind: Any) -> Misfit | None:
    """The first part of ``value`` that is not what ``kind`` says, None where all is."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        fine = any(_misfit(name, value, part) is None for part in parts)
    elif origin in (tuple, Sequence):
        fine = isinstance(value, tuple) and (_any_number(kind) or len(value) == len(parts))
        if fine:
            kinds = repeat(parts[0], len(value)) if _any_number(kind) else parts
            return _first(_misfit(f"{name}[{n}]", v, k) for n, (v, k) in enumerate(zip(value, kinds, strict=True)))
    elif origin is Mapping:
        fine = isinstance(value, dict)
        if fine:
            return _first(_misfit(f"{name}.{key}", v, parts[1]) for key, v in value.items())
    elif kind in (float, int):
        fine = not isinstance(value, bool) and isinstance(value, int | kind) and _is_number(value)
    else:
        fine = isinstance(value, kind)
    return None if fine else (name, kind, value)


def _first(misfits: Iterator[Misfit | None]) -> Misfit | None:
    return next(filter(None, misfits), None)


def _is_number(value: Any) -> bool:
    """Neither NaN nor a whole number beyond all floats."""
    return abs(value) <= sys.float_info.max or abs(value) == np.inf


def _any_number(kind: Any) -> bool:
    """Whether a list may have any number of parts."""
    return get_origin(kind) is not tuple or get_args(kind)[-1] is Ellipsis


def _parts(kind: Any, value: Any, name: str) -> Any:
    """``value`` with the records that ``kind`` says for the tables in it."""
    records = list(records_in(kind))
    if not records:
        return value
    if get_origin(kind) is not tuple:
        return _chosen(records, value, name)
    if not isinstance(value, list):
        raise ValueError(f"expected {name} to be a list of tables, [[{name}]], got {shown(value)}")
    return [_chosen(records, each, f"{name}[{n}]") for n, each in enumerate(value)]


def records_in(kind: Any) -> Iterator[type]:
    """The dataclasses in a type."""
    if isinstance(kind, type) and is_dataclass(kind):
        yield kind
    for part in get_args(kind):
        yield from records_in(part)


def _chosen(records: list[type], table: Any, name: str) -> Any:
    """The record that a table is: the only one, or that of its ``kind``."""
    if len(records) == 1 or not isinstance(table, dict):
        return made(records[0], table, name)
    word = table.get("kind")
    for record in records:
        if record.__name__.lower() == word:
            return made(record, {entry: value for entry, value in table.items() if entry != "kind"}, name)
    kinds = " or ".join(f'"{record.__name__.lower()}"' for record in records)
    raise ValueError(f"{name}: expected kind = {kinds}, got {shown(word)}")
