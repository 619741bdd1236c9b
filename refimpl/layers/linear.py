"""Linear: a small matrix applied along one axis that is whole on every rank.

Definition   y[.., o, ..] = sum_i W[o, i] x[.., i, ..] + b[o], along ``axis`` (the channels, or time).
Spaces       x on any partition that does not cut the axis. W (out, in) and b (out) live on the first rank of x's partition.
             With B the broadcast of W and b to all ranks, each rank applies its copy: W_p = B W.
Tangent      dy = W_p dx + (B dW) x + B db.
Adjoint      dx = W_p* dy;   dW = B* (dy x*),   db = B* (sum of dy): each rank's part is summed on the way to the owner.
Why          The adjoint of a broadcast is a sum-reduce, so no rank ever holds another gradient of W than its own.
Cost         Two trees forward and two reductions adjoint, of the sizes of W and b; 2 out in flops a point, twice that adjoint.
Reference    Grady et al., "Model-parallel Fourier neural operators", arXiv 2204.01205 (the pointwise linear layers).
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod, sqrt

import numpy as np

from ..arrays import Array, namespace
from ..movement import Broadcast
from ..operator import Traffic
from ..partition import Partition, whole_numbers
from ..space import Space
from .layer import Layer


class Linear(Layer):
    """``out`` features along ``axis`` from ``X.shape[axis]``; weights uniform in +-1/sqrt(in) by (seed, index), bias zero.

    Raises ValueError where the axis does not exist, or is not whole (cut, or with ghosts), or where out < 1: a contraction over
    a cut axis needs another layer.
    """

    told = ("axis", "seed")

    def __init__(self, X: Space, out: int, axis: int = 1, bias: bool = True, seed: int = 0) -> None:
        out, axis = whole_numbers("Linear: out and axis", (out, axis))
        if not -X.ndim <= axis < X.ndim or out < 1:
            raise ValueError(
                f"Linear: expected out >= 1 along one of {X.ndim} axes, got out = {out}, axis = {axis}, {X!r}"
            )
        axis = axis % X.ndim
        if not X.is_whole(axis):
            raise ValueError(f"Linear: axis {axis} of {X!r} has the blocks {list(X.blocks[axis])}; it must be whole")
        super().__init__(X, X.replace(shape=(*X.shape[:axis], out, *X.shape[axis + 1 :])))
        n, P_0 = X.shape[axis], Partition(X.comm, (), ranks=X.partition.ranks[:1])
        shapes: dict[str, tuple[int, ...]] = {"W": (out, n)} | ({"b": (out,)} if bias else {})
        spaces = {name: X.replace(partition=P_0, shape=shape, cuts=None, blocks={}) for name, shape in shapes.items()}
        self.axis, self.parameter_spaces = axis, spaces
        self.broadcasts = {name: Broadcast(space, X.partition) for name, space in spaces.items()}
        self.parameters = {name: space.zeros() for name, space in spaces.items()}
        self.seed = seed
        self.parameters["W"] = uniform_weights(spaces["W"], n, seed)

    def copies(self, parameters: dict[str, Array]) -> tuple[Array, Array | float]:
        """B W and B b; without a bias, b is 0."""
        copies = {name: B.forward(parameters[name]) for name, B in self.broadcasts.items()}
        return copies["W"], copies["b"][:, None] if "b" in copies else 0

    def value(self, x: Array) -> Array:  # y = W x + b
        return self._apply(*self.copies(self.parameters), x)

    def derivative(self, x: Array) -> tuple[Array, Callable, Callable]:
        xp, (W, b) = namespace(x), self.copies(self.parameters)

        def tangent(dx: Array, d: dict[str, Array]) -> Array:  # dy = W dx + dW x + db
            return self._apply(W, 0, dx) + self._apply(*self.copies(d), x)

        def adjoint(dy: Array) -> tuple[Array, dict[str, Array]]:  # dx = W* dy,  dW = B* (dy x*),  db = B* sum(dy)
            columns = self._columns(dy)
            parts = {"W": xp.sum(columns @ adjoint_of(self._columns(x)), axis=0), "b": xp.sum(columns, axis=(0, 2))}
            return self._apply(adjoint_of(W), 0, dy), {
                name: B.adjoint(parts[name]) for name, B in self.broadcasts.items()
            }

        return self._apply(W, b, x), tangent, adjoint

    def traffic(self) -> Traffic:
        return sum((B.traffic() for B in self.broadcasts.values()), Traffic())

    def _apply(self, W: Array, b: Array | int, x: Array) -> Array:
        """W x + b along the axis; ``b`` is a column."""
        xp, shape = namespace(x), (*x.shape[: self.axis], W.shape[0], *x.shape[self.axis + 1 :])
        if self.axis == x.ndim - 1:  # rows times W^T: one product, where columns would be many small ones
            y = xp.reshape(x, (prod(x.shape[:-1]), x.shape[-1])) @ W.T
            y += b if isinstance(b, int) else b.T
        else:
            y = W @ self._columns(x)
            y += b
        return xp.reshape(y, shape)

    def _columns(self, a: Array) -> Array:
        """``a`` as (axes before, axis, axes after): a stack of matrices whose columns the weight acts on."""
        xp, s = namespace(a), a.shape
        if self.axis == a.ndim - 1:
            return xp.reshape(a, (prod(s[:-1]), s[-1])).T[None, ...]
        return xp.reshape(a, (prod(s[: self.axis]), s[self.axis], prod(s[self.axis + 1 :])))


def uniform_weights(W: Space, fan_in: int, seed: int) -> Array:
    """Uniform in +-1/sqrt(fan_in) by (seed, index), real."""
    uniform = W.replace(dtype=np.zeros(0, W.dtype).real.dtype, xp=np).uniform(seed)
    return W.adopt(((2 * uniform - 1) / sqrt(max(fan_in, 1))).astype(W.dtype))


def adjoint_of(a: Array) -> Array:
    """The conjugate transpose of the last two axes; of a real array a view."""
    xp = namespace(a)
    a = xp.moveaxis(a, -1, -2)
    return xp.conj(a) if xp.isdtype(a.dtype, "complex floating") else a
