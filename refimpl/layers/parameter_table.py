"""What a layer or a model owns, as a table: shape, dtype, blocks, owners, bytes.

It is computed from the spaces alone, so it needs no message, and is the same on every rank: print it on one.

    if comm.rank == 0:
        print(parameter_table(model))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from ..space import Space
from .layer import Layer, real_numbers

HEAD = ("name", "shape", "dtype", "cut into", "ranks", "bytes a rank", "numbers")
LEFT = 5  # columns with text


@dataclass(frozen=True)
class Row:
    """One parameter or statistic. ``parts``: blocks along each axis; ``bytes``: of each rank that owns one."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    parts: tuple[int, ...]
    bytes: dict[int, int]
    numbers: int
    learned: bool

    def cells(self) -> tuple[str, ...]:
        cut = times(self.parts) if prod(self.parts) > 1 else "whole"
        largest = max(self.bytes.values(), default=0)
        name = self.name if self.learned else f"({self.name})"
        return (name, times(self.shape), self.dtype, cut, ranges(list(self.bytes)), f"{largest:,}", f"{self.numbers:,}")


@dataclass(frozen=True)
class ParameterTable:
    """The rows of the parameters, then those of the statistics; ``str`` of it is text.

    There, "bytes a rank" are those of the rank with the most, and statistics stand in brackets: they are not learned, so the
    total of the numbers is without them.
    """

    rows: tuple[Row, ...]

    @property
    def numbers(self) -> int:
        """How many are learned; a complex one counts as two where the field is real."""
        return sum(row.numbers for row in self.rows if row.learned)

    @property
    def bytes(self) -> dict[int, int]:
        """Of each rank that owns something."""
        ranks = sorted({r for row in self.rows for r in row.bytes})
        return {r: sum(row.bytes.get(r, 0) for row in self.rows) for r in ranks}

    def __str__(self) -> str:
        most = max(self.bytes.values(), default=0)
        total = ("total", "", "", "", ranges(list(self.bytes)), f"{most:,}", f"{self.numbers:,}")
        lines = [HEAD, *(row.cells() for row in self.rows), total]
        widths = [max(len(line[i]) for line in lines) for i in range(len(HEAD))]
        text = [
            "  ".join(c.ljust(w) if i < LEFT else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True)))
            for line in lines
        ]
        rule = "-" * len(text[0])
        return "\n".join([text[0], rule, *text[1:-1], rule, text[-1]])


def parameter_table(layer: Layer) -> ParameterTable:
    """What ``layer`` owns."""
    owned = [(layer.parameter_spaces, True), (layer.statistics_spaces, False)]
    return ParameterTable(tuple(row(name, X, learned) for spaces, learned in owned for name, X in spaces.items()))


def row(name: str, X: Space, learned: bool) -> Row:
    sizes = {r: X.dtype.itemsize * prod(b - a for a, b in box) for r, box in sorted(X.boxes.items())}
    parts, owners = tuple(map(len, X.blocks)), {r: n for r, n in sizes.items() if n}
    return Row(name, X.shape, X.dtype.name, parts, owners, real_numbers(X), learned)


def times(sizes: Sequence[int]) -> str:
    return "x".join(map(str, sizes)) or "1"


def ranges(ranks: Sequence[int]) -> str:
    """Sorted numbers as "0-3, 6"."""
    starts = [r for r in ranks if r - 1 not in ranks]
    stops = [r for r in ranks if r + 1 not in ranks]
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in zip(starts, stops, strict=True)) or "none"
