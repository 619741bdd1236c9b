"""Padding and restriction: a tensor in a larger one that is zero around it, and a part of a tensor as one of its own.

Definition   For a box [a_i, b_i) of the indices of a tensor,   R : V -> W,   (R x)[j] = x[a + j].
             For widths (l_i, r_i),   Z : V -> W,   (Z x)[j] = x[j - l], and zero where j - l is outside.
Spaces       V: disjoint blocks.   W: a smaller or larger tensor; an axis whose size changes is cut anew.
Adjoint      R* is the padding by (a_i, n_i - b_i), and Z* the restriction to [l_i, l_i + n_i).
Why          R is some rows of the identity; its transpose has the same columns, and zero rows between them.
Norm         1.
Cost         One message to each rank whose new box overlaps the own block.
Trap         Each rank cannot pad its own block: only the tensor's outermost blocks have an outside.
Reference    Hewett and Grady, arXiv 2006.03108 (allocation and its adjoint, on the indices of a distributed tensor).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..partition import whole_numbers
from ..space import Space
from .boxes import BoxCopy

Blocks = Mapping[int, Sequence[tuple[int, int]]]


class Restriction(BoxCopy):
    """The part ``box`` of the tensor of ``X``, one (start, stop) for each axis; ``blocks`` of the range as for a Space.

    Raises ValueError where the box is not one of the tensor.
    """

    def __init__(self, X: Space, box: Sequence[tuple[int, int]], blocks: Blocks | None = None) -> None:
        pairs = read_pairs("Restriction", X, box)
        if any(not 0 <= a <= b <= n for (a, b), n in zip(pairs, X.shape, strict=True)):
            raise ValueError(f"Restriction: the box {pairs} must lie in a tensor of shape {X.shape}")
        Y = resized(X, [b - a for a, b in pairs], blocks)
        super().__init__(X, Y, offset=[a for a, _ in pairs])


class Padding(BoxCopy):
    """The tensor of ``X`` with zeros around it: ``widths`` has one (before, after) for each axis, none negative.

    Raises ValueError where a width is negative.
    """

    def __init__(self, X: Space, widths: Sequence[tuple[int, int]], blocks: Blocks | None = None) -> None:
        pairs = read_pairs("Padding", X, widths)
        if any(w < 0 for pair in pairs for w in pair):
            raise ValueError(f"Padding: expected widths >= 0, got {pairs}; see Restriction to take a part")
        Y = resized(X, [l + n + r for (l, r), n in zip(pairs, X.shape, strict=True)], blocks)
        super().__init__(X, Y, offset=[-l for l, _ in pairs])


def read_pairs(who: str, X: Space, pairs: Sequence) -> list[tuple[int, ...]]:
    """One pair of whole numbers for each axis; ValueError where they are not."""
    read = [whole_numbers(who, pair) for pair in pairs]
    if len(read) != X.ndim or any(len(pair) != 2 for pair in read):
        raise ValueError(f"{who}: expected a pair for each of {X.ndim} axes, got {list(pairs)}")
    return read


def resized(X: Space, shape: Sequence[int], blocks: Blocks | None) -> Space:
    """``X`` with another shape: axes that keep their size keep their blocks, unless ``blocks`` says otherwise."""
    Y = X.replace(shape=tuple(shape))
    return Y if blocks is None else Y.replace(blocks=dict(enumerate(Y.blocks)) | dict(blocks))
