"""Transpose: let the axes of the grid change places, so that other axes of the tensor become whole.

Definition   Let grid axis g cut tensor axis i. For a permutation s of the grid's axes,
             T : V -> W,   (T x)[j] = x[j];   in W, the grid axis s(g) cuts what g cut in V.
Spaces       V: disjoint blocks.   W: the same tensor on the same ranks, in balanced blocks.
Adjoint      T* = T^-1, the transpose with s^-1: a permutation of the world's memory.
Why          As for every repartition: each number of W is one number of V.
Cost         One message to each rank whose block overlaps; on a P x P grid, all ranks of a row and column at most.
Use          "Pencils": on the grid (1, P), a tensor of two axes has whole rows on each rank; transposed, whole columns, for
             instance to transform along one axis and then along the other.
Trap         The tensor's own axes stay where they are: T[i, j] is not x[j, i].
Reference    Dalcin, Mortensen and Keyes, "Fast parallel multidimensional FFT using advanced MPI", 2019.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..partition import whole_numbers
from ..space import Space
from .repartition import Repartition


class Transpose(Repartition):
    """The tensor of ``X`` with grid axis ``axes[g]`` cutting what grid axis g cut; by default their order is reversed.

    Raises ValueError where ``axes`` is not a permutation of the grid's axes.
    """

    def __init__(self, X: Space, axes: Sequence[int] | None = None) -> None:
        n = len(X.partition.shape)
        s = whole_numbers("Transpose: axes", range(n)[::-1] if axes is None else axes)
        if sorted(s) != list(range(n)):
            raise ValueError(f"Transpose: expected a permutation of the grid's axes 0..{n - 1}, got {s}")
        super().__init__(X, X.partition, [tuple(s[g] for g in cut) for cut in X.cuts])
