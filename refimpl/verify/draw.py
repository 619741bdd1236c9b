"""Pictures of operators and partitions, with matplotlib (imported when first drawn).

matrix       The explicit matrix of an operator. White is 0, blue positive, orange negative (complex: the modulus). Lines
             separate the memory of the ranks, so that a message is an entry outside the blocks on the diagonal.
partition    Who holds which index of a space, each rank in its colour. An index that a rank holds and another owns (a
             ghost) is hatched in the owner's colour; one outside the tensor is grey.
Owner        The rank whose own block has the index. A space with ghosts does not say where its own blocks end: they are
             cut at the middle of each overlap, which is exact where a halo is as wide to the left as to the right. Give
             the space of the blocks without ghosts as ``owners`` where it is not.
Colours      Those of Okabe and Ito, which the colour-blind can tell apart; beyond seven ranks they repeat.
Reference    Okabe and Ito, "Color universal design", 2008.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, product
from typing import Any

import numpy as np

from .. import wire
from ..operator import Adjoint, Operator
from ..space import Space

COLOURS = ("#56B4E9", "#E69F00", "#009E73", "#CC79A7", "#0072B2", "#D55E00", "#F0E442")
POSITIVE, NEGATIVE, OUTSIDE = "#0072B2", "#D55E00", "0.8"
NUMBERS_LIMIT = 300  # entries of a matrix that are still written as numbers
LINES_LIMIT = 48  # indices along an axis that are still told apart by lines

Run = tuple[int | None, int, int]  # the number of the owner's block (None: outside the tensor), start, stop


def colour(rank: int) -> str:
    """The colour of a rank in every picture."""
    return COLOURS[rank % len(COLOURS)]


# ---- an operator as a matrix -----------------------------------------------------------------------------------------


def matrix(A: Operator, ax: Any = None) -> Any:
    """Draw ``A.matrix()`` into the matplotlib Axes ``ax`` (default: a new figure). Collective.

    Returns the Axes on rank 0 of the operator's communicator, None elsewhere. Raises ValueError where the matrix is too large.
    """
    M, sizes = A.matrix(), wire.pool(A.domain.comm, (A.range.local_size, A.domain.local_size))
    if M is None:
        return None
    from matplotlib.colors import LinearSegmentedColormap

    ax = ax or _new_axes(width=1.5 + 0.28 * min(M.shape[1], 25), height=1.2 + 0.28 * min(M.shape[0], 25))
    values = np.abs(M) if M.dtype.kind == "c" else M + 0.0  # no -0
    limit = np.abs(values).max(initial=0) or 1.0
    signed = LinearSegmentedColormap.from_list("signed", [NEGATIVE, "white", POSITIVE])
    ax.imshow(values, cmap=signed, vmin=-limit, vmax=limit, interpolation="nearest")
    if M.size <= NUMBERS_LIMIT:
        for (i, j), value in np.ndenumerate(values):
            shade = "0.75" if value == 0 else "white" if abs(value) > limit / 2 else "black"
            ax.text(j, i, f"{value:.2g}", ha="center", va="center", fontsize=8, color=shade)
    _mark_ranks(ax.yaxis, ax.axhline, [rows for rows, _ in sizes])
    _mark_ranks(ax.xaxis, ax.axvline, [columns for _, columns in sizes])
    ax.tick_params(length=0, top=False, labeltop=True, bottom=False, labelbottom=False)
    ax.set_title(_name(A))
    return ax


def _mark_ranks(axis: Any, line: Any, sizes: Sequence[int]) -> None:
    """A line between ranks along one side of a matrix, and their names where there are several."""
    ends = list(accumulate(sizes))
    for end in ends[:-1]:
        if 0 < end < ends[-1]:
            line(end - 0.5, color="0.25", linewidth=1.2)
    held = [(rank, end - size / 2 - 0.5) for rank, (size, end) in enumerate(zip(sizes, ends, strict=True)) if size]
    axis.set_ticks([middle for _, middle in held], [f"rank {rank}" if len(sizes) > 1 else "" for rank, _ in held])


def _name(A: Operator) -> str:
    return f"{_name(A.A)}*" if isinstance(A, Adjoint) else type(A).__name__


# ---- a partition as a map --------------------------------------------------------------------------------------------


def partition(X: Space, ax: Any = None, axes: Sequence[int] | None = None, owners: Space | None = None) -> Any:
    """Draw who holds which index of ``X`` into the Axes ``ax`` (default: a new figure).

    ``axes``: the tensor axes to show, one (a lane for each rank) or two (a map); by default those that are cut, at most two,
    of a tensor with two or more axes always two. ``owners``: the space of the blocks without ghosts. Where blocks overlap, the
    map is pulled apart; blocks that coincide in it lie like cards. Returns the Axes on rank 0 of the communicator, None
    elsewhere. Raises ValueError on all ranks where the axes do not exist.
    """
    axes = _shown(X) if axes is None else tuple(axes)
    if not 1 <= len(set(axes)) == len(axes) <= 2 or any(not 0 <= axis < X.ndim for axis in axes):
        raise ValueError(f"draw.partition: expected one or two of the axes 0..{X.ndim - 1}, got {axes}")
    if X.comm.rank:
        return None
    owned = [_owned(owners or X, axis) for axis in axes]
    return _draw_lanes(X, axes[0], owned[0], ax) if len(axes) == 1 else _draw_map(X, axes, owned, ax)


def _shown(X: Space) -> tuple[int, ...]:
    """The axes to show: the first two that are cut, filled up from the last of the others."""
    cut = [axis for axis in range(X.ndim) if len(X.blocks[axis]) > 1]
    whole = [axis for axis in range(X.ndim) if axis not in cut]
    return tuple(sorted((cut + whole[::-1])[:2]))


def _owned(X: Space, axis: int) -> list[tuple[int, int]]:
    """What each block along an axis owns: neighbouring blocks meet at the middle of their overlap."""
    row, n = X.blocks[axis], X.shape[axis]
    inner = [min(max((a[1] + b[0]) // 2, 0), n) for a, b in zip(row[:-1], row[1:], strict=True)]
    return list(zip([0, *inner], [*inner, n], strict=True))


def _runs(block: tuple[int, int], owned: list[tuple[int, int]]) -> list[Run]:
    """A block along an axis, split by who owns what; None owns what lies outside."""
    pieces = [(None, -(10**9), 0), *((k, a, b) for k, (a, b) in enumerate(owned)), (None, owned[-1][1], 10**9)]
    runs = [(k, max(a, block[0]), min(b, block[1])) for k, a, b in pieces]
    return [run for run in runs if run[1] < run[2]]


def _owner(X: Space, coords: Sequence[int], numbers: dict[int, int | None]) -> int | None:
    """The rank at ``coords``, moved along each axis to the block with the given number; None outside the tensor."""
    moved = list(coords)
    for axis, number in numbers.items():
        if number is None:
            return None
        for g in reversed(X.cuts[axis]):
            number, moved[g] = divmod(number, X.partition.shape[g])
    return X.partition.rank_at(moved)


def _draw_lanes(X: Space, axis: int, owned: list[tuple[int, int]], ax: Any) -> Any:
    P = X.partition
    ax = ax or _new_axes(width=6.4, height=1.1 + 0.38 * P.size)
    owners = set()
    for lane, rank in enumerate(P.ranks):
        coords = P.coords_of(lane)
        for number, start, stop in _runs(X.box(coords)[axis], owned):
            owner = _owner(X, coords, {axis: number})
            _draw_block(ax, (start, stop), (lane - 0.4, lane + 0.4), rank, owner)
            _draw_lines(ax.vlines, (start, stop), (lane - 0.4, lane + 0.4), X.shape[axis])
            owners.add(_legend_key(rank, owner))
    ax.set_yticks(range(P.size), [f"rank {rank}" for rank in P.ranks])
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.set_xlabel(f"index along axis {axis}")
    _tidy(ax, [key for key in owners if isinstance(key, str)])
    return ax


def _draw_map(X: Space, axes: tuple[int, ...], owned: list[list[tuple[int, int]]], ax: Any) -> Any:
    P, (down, right) = X.partition, axes
    gaps = [_gap(X, axis) for axis in axes]
    size = [X.shape[axis] + gap * len(X.blocks[axis]) for axis, gap in zip(axes, gaps, strict=True)]
    scale = 4.2 / max(*size, 1)
    ax = ax or _new_axes(width=3.6 + size[1] * scale, height=1.2 + size[0] * scale)
    piles: dict[tuple[int, int], list[int]] = {}
    for place, coords in enumerate(map(P.coords_of, range(P.size))):
        piles.setdefault((X.block_number(down, coords), X.block_number(right, coords)), []).append(place)
    keys: dict[Any, None] = {}
    for (i, j), pile in piles.items():
        for card, place in reversed(list(enumerate(pile))):
            rank, coords = P.ranks[place], P.coords_of(place)
            shift = (i * gaps[0] + card * 0.02 * max(size), j * gaps[1] + card * 0.02 * max(size))
            rows, columns = (_runs(X.box(coords)[axis], o) for axis, o in zip(axes, owned, strict=True))
            for (k, a, b), (m, c, d) in product(rows, columns):
                owner = _owner(X, coords, {down: k, right: m})
                _draw_block(ax, (c + shift[1], d + shift[1]), (a + shift[0], b + shift[0]), rank, owner)
                keys[_legend_key(rank, owner)] = None
        (a, b), (c, d) = owned[0][i], owned[1][j]
        if a < b and c < d:
            text = ", ".join(str(P.ranks[place]) for place in pile[:4]) + (", …" if len(pile) > 4 else "")
            middle = ((c + d) / 2 + j * gaps[1], (a + b) / 2 + i * gaps[0])
            ax.text(*middle, text, ha="center", va="center", fontsize=11, fontweight="bold")
    _label_blocks(ax.yaxis, owned[0], gaps[0])
    _label_blocks(ax.xaxis, owned[1], gaps[1])
    ax.set(ylabel=f"indices of axis {down}", xlabel=f"indices of axis {right}", aspect="equal")
    _tidy(ax, list(keys))
    return ax


def _gap(X: Space, axis: int) -> float:
    """By how much neighbouring blocks are pulled apart, so that their ghosts do not hide each other."""
    row = X.blocks[axis]
    overlap = max((a[1] - b[0] for a, b in zip(row[:-1], row[1:], strict=True)), default=0)
    cards = 0.03 * max(X.shape) * (X.partition.size > np.prod([len(row) for row in X.blocks]))
    return (overlap + 0.06 * max(X.shape) if overlap > 0 else 0) + cards


def _draw_block(ax: Any, x: tuple[float, float], y: tuple[float, float], rank: int, owner: int | None) -> None:
    """A rectangle in the rank's colour; hatched in the owner's where that is another, grey where there is none."""
    from matplotlib.patches import Rectangle

    ax.add_patch(Rectangle((x[0], y[0]), x[1] - x[0], y[1] - y[0], **_look(rank, owner)))
    ax.update_datalim([(x[0], y[0]), (x[1], y[1])])


def _look(rank: int, owner: int | None) -> dict[str, Any]:
    if owner is None:
        return dict(facecolor=OUTSIDE, edgecolor="white", linewidth=0.8)
    if owner == rank:
        return dict(facecolor=colour(rank), edgecolor="white", linewidth=0.8)
    return dict(facecolor="white", edgecolor=colour(owner), hatch="////", linewidth=0.8)


def _legend_key(rank: int, owner: int | None) -> int | str:
    return "outside" if owner is None else rank if owner == rank else "ghost"


def _draw_lines(lines: Any, span: tuple[int, int], across: tuple[float, float], n: int) -> None:
    """Lines between the single indices, where there are few."""
    if n <= LINES_LIMIT:
        lines(range(span[0] + 1, span[1]), *across, color="white", linewidth=0.8)


def _label_blocks(axis: Any, owned: list[tuple[int, int]], gap: float) -> None:
    held = [(k, a, b) for k, (a, b) in enumerate(owned) if a < b]
    axis.set_ticks([(a + b) / 2 + k * gap for k, a, b in held], [f"{a}…{b - 1}" for _, a, b in held])


def _tidy(ax: Any, keys: list[int | str]) -> None:
    """Rank 0 on top, no frame, and a legend: the ranks in order, then ghosts, then what lies outside."""
    from matplotlib.patches import Patch

    entries = [Patch(**_look(key, key), label=f"rank {key}") for key in sorted(k for k in keys if isinstance(k, int))]
    if "ghost" in keys:
        entries.append(Patch(facecolor="white", edgecolor="0.3", hatch="////", label="ghost, in its\nowner's colour"))
    if "outside" in keys:
        entries.append(Patch(**_look(0, None), label="outside"))
    if entries:
        ax.legend(handles=entries, loc="upper left", bbox_to_anchor=(1.02, 1), frameon=False, borderaxespad=0)
    ax.autoscale_view()
    ax.invert_yaxis()
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)


def _new_axes(width: float, height: float) -> Any:
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(width, height), layout="constrained")[1]
