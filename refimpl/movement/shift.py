"""Shift: move a tensor along its axes, over the borders of blocks.

Definition   S : V -> V,   (S x)[j] = x[j - s];   what comes in from outside is zero, or comes round where periodic.
Spaces       V: disjoint blocks; they stay as they are.
Adjoint      (S* y)[i] = y[i + s]: the shift back, which drops what S has moved outside.
Why          <S x, y> = sum_j x[j - s] y[j] = sum_i x[i] y[i + s]. Periodic: a permutation, and S* = S^-1.
Norm         1 (0 where everything leaves).
Cost         One message to each rank whose block the own one is moved to.
Trap         A shift by s is a halo of width s whose owner is then dropped: ghosts alone are not enough where s exceeds a block.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..partition import whole_numbers
from ..space import Space
from .boxes import BoxCopy


class Shift(BoxCopy):
    """The tensor of ``X`` moved by ``steps[i]`` indices along axis i (negative: towards 0); boundary "zero" or "periodic".

    Raises ValueError where there is not one whole number for each axis, or the boundary is another.
    """

    def __init__(self, X: Space, steps: Sequence[int], boundary: str = "zero") -> None:
        read = whole_numbers("Shift: steps", steps)
        if len(read) != X.ndim or boundary not in ("zero", "periodic"):
            raise ValueError(
                f'Shift: expected steps for each of {X.ndim} axes and boundary="zero" or "periodic", '
                f"got {read} and {boundary!r}"
            )
        super().__init__(X, X, boundary, offset=[-s for s in read])
