"""The owners of a weight: how it comes from the ranks that keep it to those that use it.

Definition   S : W -> U for a weight as it is used (U): each of its blocks goes from its owners to all its copies, along the
             grid axes that do not cut it.
             one owner   the first rank along these axes has the block:  S is a Broadcast
             sharded     these axes cut one more axis of the weight, so that each rank owns a part:  S is an AllGather
Adjoint      The gradients of all copies added up, for one owner (SumReduce), or for each owner's part (ReduceScatter).
Why          Every number has one owner, so S* leaves each gradient once, summed, where the optimiser needs it.
Cost         A tree, or (c - 1) / c of the block from each of c ranks; sharded, no rank keeps more than its part.
Reference    Hewett and Grady, arXiv 2006.03108 (one owner); Rajbhandari et al., "ZeRO", arXiv 1910.02054 (sharded).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from ..movement import AllGather, Broadcast
from ..operator import Operator
from ..partition import blocks
from ..space import Space


def from_owners(used: Space, axis: int, sharded: bool) -> Operator:
    """S for a weight as it is ``used``; where ``sharded``, its copies are cut along ``axis`` in balanced parts."""
    copies = used.copy_axes
    if sharded:
        return AllGather(cut_again(used, axis, copies), copies)
    cutting = {g for cut in used.cuts for g in cut}
    owners = used.partition.face(cutting)
    return Broadcast(used.replace(partition=owners, blocks=dict(enumerate(used.blocks))), used.partition)


def cut_again(X: Space, axis: int, grid_axes: Sequence[int]) -> Space:
    """``X`` with each of its blocks along ``axis`` cut, in balanced parts, by more ``grid_axes``."""
    cuts = [cut + tuple(grid_axes) if i == axis % X.ndim else cut for i, cut in enumerate(X.cuts)]
    parts = prod(X.partition.shape[g] for g in grid_axes)
    finer = [(start + a, start + b) for start, stop in X.blocks[axis] for a, b in blocks(stop - start, parts)]
    return X.replace(cuts=cuts, blocks=dict(enumerate(X.blocks)) | {axis % X.ndim: finer})
