"""The two forms of a truncated transform over axes that are cut: partial sums, or repartitions.

Definition   T = F_1 .. F_n, a transform along each axis (axis_transform.py); P ranks cut the axes c, the axes w are whole.
Sums         T x = G* (T_1 x_1, .., T_P x_P): a rank takes the columns of its own indices on every axis, and so has its part of
             every kept mode. G* is the ReduceScatter: one sum, of which each rank keeps its block. No grid point moves.
Repartition  T = Q F_c R F_w: first the axes w; R makes those in c whole, and lets what cut them cut others in their place, kept
             modes, batch or channels; then the axes c; and Q cuts what is left as in the sums.
Adjoint      That of the composition: F* G, or F_w* R* F_c* Q*. Nothing is differentiated by hand.
Cost         Of all ranks together, each way, with n points and k kept modes along the axes c, in numbers of all other axes:
             sums (P - 1) k;   repartition (1 - 1 / P) (n + k). Without an axis w the n are real: half as many bytes.
Rule         The form that sends fewer bytes: the sums where k <= n / (P - 1), so where the modes on a cut axis are fewer than a
             rank's points; a repartition where they fill the grid. Counted from sizes alone, the same on all ranks.
Memory       A block that is made again without a message (fourier_block.py) keeps what R* brings: n / P a rank in place of k.
Trap         Both forms have one range, so weights know nothing of them. Their values differ by round-off.
Reference    Grady et al., arXiv 2204.01205 (repartitions);  Dalcin, Mortensen and Keyes, "Fast parallel multidimensional FFT
             using advanced MPI", 2019.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from math import ceil, prod
from typing import Any

import numpy as np

from ..movement import ReduceScatter, Repartition
from ..operator import Identity, Operator
from ..space import Space
from .axis_transform import AxisTransform

Kept = dict[int, np.ndarray]  # the frequencies of each axis that is transformed


@dataclass(frozen=True)
class Plan:
    """T = C F_own: what is done on a rank's own points; how C is made; and the bytes that all ranks send for it, each way."""

    own: list[AxisTransform]
    collect: Callable[[], Operator]
    volume: int


def by_sums(X: Space, kept: Kept, Z: Space) -> Plan:
    """All axes with the columns of this rank's indices, then one sum, scattered: C = G*."""
    own = along(X, kept, kept)
    partial, split = own[-1].range, [g for i in kept for g in X.cuts[i]]
    p = prod(X.partition.shape[g] for g in split)
    if p == 1:
        return Plan(own, lambda: Identity(Z), 0)
    return Plan(own, lambda: ReduceScatter(partial, split, range=Z), nbytes(partial) * (p - 1) // p)


def by_repartition(X: Space, kept: Kept, Z: Space) -> Plan:
    """The axes that are whole; then those that are not, between two repartitions: C = Q F_c R."""
    cut = [i for i in kept if prod(X.partition.shape[g] for g in X.cuts[i]) > 1]
    if not cut:
        return by_sums(X, kept, Z)
    uncut = [i for i in kept if i not in cut]
    own = along(X, kept, uncut)
    V = own[-1].range if own else X
    W = with_whole(V, range(V.ndim - len(cut), V.ndim))
    then = along(W, kept, cut, done=uncut)
    U = then[-1].range

    def collect() -> Operator:
        C: Operator = recut(V, W)
        for F in then:
            C = F @ C
        return recut(U, Z) @ C

    return Plan(own, collect, moved(V, W) + moved(U, Z))


FORMS = {"sums": by_sums, "repartition": by_repartition}


def along(X: Space, kept: Kept, axes: Iterable[int], done: Sequence[int] = ()) -> list[AxisTransform]:
    """F along ``axes``, the last first. In front of X are the frequencies of the axes ``done``; all keep their order."""
    steps, done = [], sorted(done)
    for i in sorted(axes, reverse=True):
        place = sum(j < i for j in done)
        steps.append(AxisTransform(X, i + len(done) - place, kept[i], place))
        X, done = steps[-1].range, sorted([*done, i])
    return steps


def with_whole(V: Space, axes: Sequence[int]) -> Space:
    """``V`` with whole ``axes``: what cut them cuts others in their place, so that the largest block is as small as can be.

    Where there is no other axis, all ranks have all.
    """
    grid, others = V.partition.shape, [i for i in range(V.ndim) if i not in axes]
    freed = [g for i in axes for g in V.cuts[i] if grid[g] > 1]

    def cuts(places: Sequence[int]) -> list[tuple[int, ...]]:
        more = {i: tuple(g for g, place in zip(freed, places, strict=True) if place == i) for i in others}
        return [cut + more[i] if i in more else () for i, cut in enumerate(V.cuts)]

    def largest(cuts: Sequence[Sequence[int]]) -> int:
        return prod(ceil(n / prod(grid[g] for g in cut)) for n, cut in zip(V.shape, cuts, strict=True))

    return V.replace(cuts=min(map(cuts, product(others or axes, repeat=len(freed))), key=largest))


def recut(V: Space, W: Space) -> Repartition:
    """V cut as W is."""
    return Repartition(V, W.partition, W.cuts, dict(enumerate(W.blocks)))


def moved(V: Space, W: Space) -> int:
    """The bytes that all ranks together send to make W of V: what of their blocks of W is not in their blocks of V."""
    return nbytes(W) - nbytes(W, V)


def nbytes(V: Space, W: Space | None = None) -> int:
    """The bytes of all blocks of V; or of what they have in common, rank by rank, with those of W."""
    grid = V.partition.shape
    coords: Any = np.indices(grid).reshape(len(grid), V.partition.size)  # of all ranks at once
    numbers = np.ones(V.partition.size, int)
    for axis in range(V.ndim):
        a, b = (np.array(S.blocks[axis])[S.block_number(axis, coords)] for S in (V, W or V))
        numbers *= np.maximum(np.minimum(a[..., 1], b[..., 1]) - np.maximum(a[..., 0], b[..., 0]), 0)
    return int(numbers.sum()) * V.dtype.itemsize
