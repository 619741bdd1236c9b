"""HaloExchange: extend every block by its neighbours' values.

Definition   Let block p hold the indices [a_p, b_p) of an axis, and (l_p, r_p) be the widths of its halo.
             H : V -> W,   (H x)_p = x[a_p - l_p, b_p + r_p)   along every axis at once, corners included.
             Outside the domain, x is zero, or periodic (index i is i mod n), or reflected at the first and the last index
             (-i, and 2 (n - 1) - i).
Spaces       V: disjoint blocks.   W: the same tensor in overlapping blocks; an index at c places is c numbers.
Adjoint      H* : W -> V,   (H* y)_p[i] = sum of y_q[j] over all places (q, j) that hold i: the ghosts are *added back* to
             their owners. The cotangent of a zero ghost is dropped.
Why          H is a 0/1 matrix; column i has a 1 for each place that holds i; its transpose sums them.
Norm         |H| = sqrt(c) for the largest number c of places that hold one index; a block may hold it twice itself, as a ghost
             that came round or was mirrored.
Cost         One packed message to each neighbour, diagonal ones included; as many words as there are ghosts.
Trap         Cropping the ghosts is not the adjoint: it forgets what the neighbours did with the copies. Nor is a halo wider
             than the neighbour's block a special case: a ghost is read from whoever owns it.
Reference    Hewett and Grady, arXiv 2006.03108.
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from operator import index

from ..space import Space
from .boxes import BoxCopy


class HaloExchange(BoxCopy):
    """The blocks of ``X`` extended by ``widths``.

    ``widths``: for each tensor axis one (left, right), or a list of them, one for each block along that axis; negative
    widths crop. ``boundary``: "zero", "periodic" (widths then at most n) or "reflect" (at most n - 1 outside). An empty block
    stays empty. Raises ValueError where widths do not fit.
    """

    def __init__(self, X: Space, widths: Sequence, boundary: str = "zero") -> None:
        if not hasattr(widths, "__len__") or len(widths) != X.ndim:
            raise ValueError(f"HaloExchange: expected widths for each of {X.ndim} axes, got {widths!r}")
        self.widths = [read_widths(X, axis, w, boundary) for axis, w in enumerate(widths)]
        extended = {
            axis: [
                (a - l, max(b + r, a - l)) if a < b else (a, b)
                for (a, b), (l, r) in zip(X.blocks[axis], row, strict=True)
            ]
            for axis, row in enumerate(self.widths)
        }
        super().__init__(X, X.replace(blocks=extended), boundary)


def read_widths(X: Space, axis: int, widths: Sequence, boundary: str) -> list[tuple[int, int]]:
    """(left, right) for each block along ``axis``."""
    parts, n = len(X.blocks[axis]), X.shape[axis]
    try:
        given = [widths] * parts if all(isinstance(w, Integral) for w in widths) else widths
        rows = [(index(left), index(right)) for left, right in given]
    except (TypeError, ValueError):  # no sequence, no pairs, or no whole numbers
        rows = []
    if len(rows) != parts:
        raise ValueError(
            f"HaloExchange: expected (left, right), or one for each of {parts} blocks of axis {axis}, got {widths}"
        )
    if boundary == "periodic" and any(w > n for row in rows for w in row):
        raise ValueError(f"HaloExchange: periodic widths must be at most n = {n} on axis {axis}, got {widths}")
    return rows
