"""Bilinear: the one form of all linear layers and convolutions, a local product with data movements around it.

Definition   y = R K(G x, S W) + B b.   K is a bilinear map of local arrays. Around it are linear operators: G brings to each
             rank the inputs that it needs, S the weights from their owners, R adds up what belongs together and leaves it
             where it is wanted, and B spreads the bias over the output.
Spaces       G : X -> inputs as used;   S : W -> weights as used;   R : local products -> Y;   B : b -> Y.
Tangent      dy = R (K(G dx, S W) + K(G x, S dW)) + B db.
Adjoint      dx = G* K_x*(R* dy, S W);   dW = S* K_w*(G x, R* dy);   db = B* sum(dy);
             K_x* is the adjoint of x -> K(x, W), and K_w* of W -> K(x, W).
Transposed   x and y change places: y = G* K_x*(R* x, S W) + B b has this form again, with R* for G, G* for R, and K_x* for K.
Why          K is linear in each argument, so its derivative is the sum of both; (R K_W G)* = G* K_W* R*.
Layers       A page of its own says which G, S, R and K each layer has; there is nothing else in it.
Cost         That of the operators: G, S, R, B forward and their adjoints in the adjoint; K once forward, twice in the adjoint.
Trap         The bias is added after R. Before it, every rank whose product is summed would add it once more.
Reference    Hewett and Grady, arXiv 2006.03108 (linear layers and convolutions, composed of data movements).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from ..arrays import Array, to_host
from ..movement import AllGather, Broadcast
from ..operator import Operator, Traffic
from ..partition import blocks
from ..space import Space
from .layer import Blocks, Layer
from .spread import Spread


class Kernel(Protocol):
    """A bilinear map K of local NumPy arrays."""

    def apply(self, x: np.ndarray, w: np.ndarray) -> np.ndarray:
        """K(x, w)."""

    def adjoint_x(self, y: np.ndarray, w: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """The adjoint of x -> K(x, w), for x of this shape."""

    def adjoint_w(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """The adjoint of w -> K(x, w)."""


class Bilinear(Layer):
    """y = R K(G x, S W) + B b from ``X`` to ``Y``; without a bias, ``B`` is None. All parameters are zero at first."""

    def __init__(
        self, X: Space, Y: Space, K: Kernel, G: Operator, S: Operator, R: Operator, B: Spread | None = None
    ) -> None:
        super().__init__(X, Y)
        self.K, self.G, self.S, self.R, self.B = K, G, S, R, B
        self.parameter_spaces = {"W": S.domain} | ({"b": B.domain} if B else {})
        self.parameters = {name: space.zeros() for name, space in self.parameter_spaces.items()}

    def value(self, x: Array) -> Array:  # y = R K(G x, S W) + B b
        return self._outputs(self._inputs(x), self._weights(self.parameters), self.parameters)

    def derivative(self, x: Array) -> tuple[Array, Callable, Callable]:
        K, u, W = self.K, self._inputs(x), self._weights(self.parameters)

        def tangent(dx: Array, d: Blocks) -> Array:  # dy = R (K(G dx, S W) + K(G x, S dW)) + B db
            dz = K.apply(self._inputs(dx), W) + K.apply(u, self._weights(d))
            return self._biased(self.R.forward(self.R.domain.adopt(dz)), d)

        def adjoint(dy: Array) -> tuple[Array, Blocks]:  # dx = G* K_x*(R* dy, S W),  dW = S* K_w*(G x, R* dy)
            dz = to_host(self.R.adjoint(dy))
            dx = self.G.adjoint(self.G.range.adopt(K.adjoint_x(dz, W, u.shape)))
            gradients = {"W": self.S.adjoint(self.S.range.adopt(K.adjoint_w(u, dz)))}
            if self.B:  # db = B* sum(dy)
                gradients["b"] = self.B.adjoint(self.B.local_sum(dy))
            return dx, gradients

        return self._outputs(u, W, self.parameters), tangent, adjoint

    def _inputs(self, x: Array) -> np.ndarray:  # G x
        return to_host(self.G.forward(x))

    def _weights(self, parameters: Blocks) -> np.ndarray:  # S W
        return to_host(self.S.forward(parameters["W"]))

    def _outputs(self, u: np.ndarray, W: np.ndarray, parameters: Blocks) -> Array:  # R K(u, W) + B b
        return self._biased(self.R.forward(self.R.domain.adopt(self.K.apply(u, W))), parameters)

    def _biased(self, y: Array, parameters: Blocks) -> Array:  # y + B b
        return y + self.B.forward(parameters["b"]) if self.B else y

    def traffic(self) -> Traffic:
        return sum((A.traffic() for A in (self.G, self.S, self.R, self.B) if A), Traffic())


# ---- the owners of a weight ------------------------------------------------------------------------------------------


def from_owners(used: Space, axis: int, sharded: bool) -> Operator:
    """S for a weight as it is ``used``: from one owner of each block to the copies along grid axes that do not cut it.

    The owner is the first rank along these axes, and S a Broadcast. Or (``sharded``) they cut ``axis`` of the weight once
    more, so that each owns a part, and S is an AllGather; then its adjoint, a ReduceScatter, leaves each a part of the
    gradient.
    """
    copies = used.copy_axes
    if sharded:
        return AllGather(cut_again(used, axis, copies), copies)
    cutting = {g for cut in used.cuts for g in cut}
    owners = used.partition.face(cutting)
    return Broadcast(used.replace(partition=owners, blocks=dict(enumerate(used.blocks))), used.partition)


def cut_again(X: Space, axis: int, grid_axes: Sequence[int]) -> Space:
    """``X`` with each of its blocks along ``axis`` cut, in balanced parts, by more ``grid_axes``."""
    cuts = [cut + tuple(grid_axes) if i == axis % X.ndim else cut for i, cut in enumerate(X.cuts)]
    parts = int(np.prod([X.partition.shape[g] for g in grid_axes], dtype=int))
    finer = [(start + a, start + b) for start, stop in X.blocks[axis] for a, b in blocks(stop - start, parts)]
    return X.replace(cuts=cuts, blocks=dict(enumerate(X.blocks)) | {axis % X.ndim: finer})
