"""The weights of dfno's DistributedFNO as those of our FNO: the same network, stored in another way.

Definition   dfno stores, for each block, up to 2^(n-1) corner tensors (in, out, m_1, .., m_n) of the kept frequencies. Bit p of
             a corner's number says which half of axis p it holds, 0 the low one, 0..m-1, and 1 the high one, N-m..N-1; the
             last axis has low ones only. Our R is one tensor (2 m_1, .., 2 m_{n-1}, m_n, in, out), low then high.
Ranks        Each rank of dfno stores its part: with P its grid (batch, channels, N_1, .., N_n), a = ceil(n/2) and b = n - a,
             the kept frequencies lie in balanced blocks of the grid whose axes 1..a are 1, and whose axes a+1..n are P's
             times P_1, .., P_b. A corner that is empty on a rank is left out, and those that follow are counted on. All other
             weights are rank 0's, and empty elsewhere.
Names        linear1 .. linear4 are our time, lift.linear, head.project and head.out; blocks.k.linear is block k's linear.
Not used     dfno stores norms and biases of the blocks that it never uses; any other name is refused.
Trap         Where dfno cuts the batch, its ranks there have different R, so there is not one network to read. Nothing in
             a state dict tells whose it is: in the wrong order of ranks, parts of equal shapes make another network.
Reference    https://github.com/slimgroup/dfno, version 0.2.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import prod
from pathlib import Path

import numpy as np

from .. import wire
from ..arrays import HostArray
from ..partition import blocks, whole_numbers
from .fno import FNO
from .state_dicts import State, StateDict, fitted, read_state

NAMES = {"linear1": "time", "linear2": "lift.linear", "linear3": "head.project", "linear4": "head.out"}
UNUSED = r"bn\d+\..*|blocks\.\d+\.linear\.b"
Source = StateDict | str | Path


def load_dfno(model: FNO, states: Source | Sequence[Source], grid: Sequence[int] | None = None) -> None:
    """Give ``model`` the weights of a state dict of dfno, or of one for each rank of its ``grid``; collective.

    A state is a dict of arrays or a ``.pt`` file, and counts on rank 0. Raises on all ranks: ValueError where names, shapes,
    types, numbers or the grid do not fit, or a file is no state dict; OSError where it cannot be read; RuntimeError where it
    needs torch; TypeError for another model.
    """
    if not isinstance(model, FNO):
        raise TypeError(f"load_dfno: expected an FNO, got {type(model).__name__}")
    comm = model.domain.comm
    kept = model.parameter_spaces["block0.spectral.R"].shape[:-2]
    modes = (*(k // 2 for k in kept[:-1]), kept[-1])

    def weights() -> dict[str, HostArray]:
        parts = read_parts(states)
        named = " .. ".join(dict.fromkeys(part.source for part in (*parts[:1], *parts[-1:])))
        return fitted(model, joined(parts, modes, grid), named)

    model.load_state(wire.together(comm, lambda: weights() if comm.rank == 0 else None))


def dfno_weights(
    states: Source | Sequence[Source], modes: Sequence[int], grid: Sequence[int] | None = None
) -> dict[str, HostArray]:
    """Global arrays for ``FNO.load_state``, of one state dict or of one for each rank of dfno's ``grid``.

    ``modes``: as dfno and our FNO count them. Raises ValueError where names, shapes or the grid do not fit.
    """
    return joined(read_parts(states), whole_numbers("dfno_weights: modes", modes), grid)


def read_parts(states: Source | Sequence[Source]) -> list[State]:
    """What each rank of dfno has stored."""
    each = states if isinstance(states, Sequence) and not isinstance(states, str) else [states]
    return [read_state(state, f"the state dict of rank {rank}") for rank, state in enumerate(each)]


def joined(parts: Sequence[State], modes: Sequence[int], grid: Sequence[int] | None) -> dict[str, HostArray]:
    """Our weights of the ranks' parts. What is taken is gone from them, so that what is left has no place in the network."""
    boxes = kept_boxes(modes, (1,) * (len(modes) + 2) if grid is None else whole_numbers("dfno_weights: grid", grid))
    if len(parts) != len(boxes):
        raise ValueError(f"dfno_weights: expected {len(boxes)} state dicts for the grid {grid}, got {len(parts)}")
    weights: dict[str, HostArray] = {}
    blocks_there = sum(name.startswith("blocks.") and name.endswith(".linear.W") for name in parts[0].arrays)
    for theirs, ours in NAMES.items():
        weights |= {f"{ours}.W": take(parts[0], f"{theirs}.W"), f"{ours}.b": take(parts[0], f"{theirs}.b").ravel()}
    for k in range(blocks_there):
        weights[f"block{k}.linear.W"] = take(parts[0], f"blocks.{k}.linear.W")
        weights[f"block{k}.spectral.R"] = joined_corners(parts, f"blocks.{k}.weights", modes, boxes)
    for part in parts:
        left = [name for name, array in part.arrays.items() if array.size and not re.fullmatch(UNUSED, name)]
        if left:
            raise ValueError(
                f"dfno_weights: {left[0]} in {part.source} has no place in a network of {blocks_there} blocks and "
                f"{tuple(modes)} modes, on the grid {grid}"
            )
    return weights


def kept_boxes(modes: Sequence[int], grid: Sequence[int]) -> list[list[tuple[int, int]]]:
    """The (start, stop) along each axis of the kept frequencies, for each rank of dfno's grid."""
    n = len(modes)
    half = n // 2
    if len(grid) != n + 2 or min(grid) < 1 or prod(grid[:2]) != 1 or (n % 2 and grid[2 + half] != 1):
        alone = f", nor axis {2 + half}" if n % 2 else ""
        raise ValueError(
            f"dfno_weights: expected a grid of {n + 2} axes that does not cut batch or channels{alone}, got {grid}"
        )
    counts = (*(1,) * (n - half), *(p * q for p, q in zip(grid[2:], grid[n - half + 2 :], strict=False)))
    rows = [blocks(length, p) for length, p in zip(kept_lengths(modes), counts, strict=True)]
    return [[row[i] for row, i in zip(rows, place, strict=True)] for place in np.ndindex(*counts)]


def kept_lengths(modes: Sequence[int]) -> tuple[int, ...]:
    return (*(2 * m for m in modes[:-1]), modes[-1])


def joined_corners(
    parts: Sequence[State], name: str, modes: Sequence[int], boxes: Sequence[Sequence[tuple[int, int]]]
) -> HostArray:
    """R of all corners of all ranks."""
    first = parts[0].arrays.get(f"{name}.0", np.empty(0))
    channels = first.shape[:2]
    R = np.zeros((*channels, *kept_lengths(modes)), first.dtype)
    for part, box in zip(parts, boxes, strict=True):
        number = 0
        for corner in range(2 ** (len(modes) - 1)):
            halves = [(m, 2 * m) if corner >> p & 1 else (0, m) for p, m in enumerate(modes)]
            place = [(max(a, lo), min(b, hi)) for (a, b), (lo, hi) in zip(box, halves, strict=True)]
            if any(a >= b for a, b in place):
                continue
            weight, shape = take(part, f"{name}.{number}"), (*channels, *(b - a for a, b in place))
            if (weight.shape, weight.dtype) != (shape, first.dtype):
                raise ValueError(
                    f"dfno_weights: {name}.{number} in {part.source} has the shape {weight.shape} and type {weight.dtype}, "
                    f"the modes {tuple(modes)} need {shape}, {first.dtype}"
                )
            R[(slice(None), slice(None), *(slice(a, b) for a, b in place))] = weight
            number += 1
    return np.moveaxis(R, (0, 1), (-2, -1))


def take(part: State, name: str) -> HostArray:
    if name not in part.arrays:
        remedy = "is it a state dict of dfno's DistributedFNO, version 0.2, of this rank of the grid?"
        raise ValueError(f"dfno_weights: {name} is missing in {part.source}; {remedy}")
    return part.arrays.pop(name)
