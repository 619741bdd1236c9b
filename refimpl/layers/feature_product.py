"""FeatureProduct: rows of features times a matrix, and its two adjoints; with experts, a matrix for each.

Definition   y[t, o] = sum over i of w[o, i] x[t, i]: a bilinear map K(x, w) of local arrays x (any axes, in) and w (out, in).
             With experts, all three have a first axis e in common:  y[e, t, o] = sum over i of w[e, o, i] x[e, t, i].
Adjoints     in x:  x[t, i] = sum over o of conj(w[o, i]) y[t, o];    in w:  w[o, i] = sum over t of y[t, o] conj(x[t, i]).
How          The axes t are one; then all three are a matrix product (one for each expert).
Cost         2 in out flops a row, thrice for a pass and its adjoint.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from ..partition import whole_numbers
from ..space import Space
from .windows import conjugate


@dataclass(frozen=True)
class FeatureProduct:
    """``experts``: the first axis of all arrays counts experts."""

    experts: bool = False

    def apply(self, x: np.ndarray, w: np.ndarray) -> np.ndarray:
        """K(x, w)."""
        y = self._rows(x) @ np.swapaxes(w, -1, -2)
        return y.reshape(*x.shape[:-1], w.shape[-2])

    def adjoint_x(self, y: np.ndarray, w: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """The adjoint of x -> K(x, w), for x of this shape."""
        return (self._rows(y) @ conjugate(w)).reshape(shape)

    def adjoint_w(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """The adjoint of w -> K(x, w)."""
        return np.swapaxes(self._rows(y), -1, -2) @ conjugate(self._rows(x))

    def _rows(self, a: np.ndarray) -> np.ndarray:
        """(rows, features), or (experts, rows, features)."""
        first = a.shape[: int(self.experts)]
        return a.reshape(*first, prod(a.shape[len(first) : -1]), a.shape[-1])


def read_features(who: object, X: Space, out: int, experts: bool = False) -> int:
    """The number of axes that count experts, 0 or 1.

    ValueError where out < 1, or the features (the last axis of X) or the experts do not exist, or have ghosts or gaps.
    """
    name, first = type(who).__name__, int(experts)
    (out,) = whole_numbers(f"{name}: out", (out,))
    if X.ndim < first + 1 or out < 1:
        kind = "(experts, .., features)" if experts else "(.., features)"
        raise ValueError(f"{name}: expected out >= 1 from a tensor {kind}, got out = {out} and {X!r}")
    for axis in (*range(first), X.ndim - 1):
        if not X.covers_once(axis):
            raise ValueError(f"{name}: blocks {list(X.blocks[axis])} of axis {axis} of {X!r} leave gaps or overlap")
    return first
