"""Bilinear: the one form of all linear layers and convolutions, a local product with data movements around it.

Definition   y = R K(G x, S W) + B b.   K is a bilinear map of local arrays. Around it are linear operators: G brings to each
             rank the inputs that it needs, S the weights from their owners, R adds up what belongs together and leaves it
             where it is wanted, and B spreads the bias over the output.
Spaces       G : X -> inputs as used;   S : W -> weights as used;   R : local products -> Y;   B : b -> Y.
Tangent      dy = R (K(G dx, S W) + K(G x, S dW)) + B db.
Adjoint      dx = G* K_x*(R* dy, S W);   dW = S* K_w*(G x, R* dy);   db = B* sum(dy);
             K_x* is the adjoint of x -> K(x, W), and K_w* of W -> K(x, W).
Transposed   x and y change places: y = G* K_x*(R* x, S W) + B b has this form again, with R* for G, G* for R, and K_x* for K
             (with the conjugate of W, so that it is linear in W).
Why          K is linear in each argument, so its derivative is the sum of both; (R K_W G)* = G* K_W* R*.
Layers       A page of its own says which G, S, R and K each layer has; there is nothing else in it.
Cost         That of the operators: G, S, R, B forward and their adjoints in the adjoint; K once forward, twice in the adjoint.
             G x and S W travel together, and G* while K_w* is computed.
Trap         The bias is added after R. Before it, every rank whose product is summed would add it once more.
Reference    Hewett and Grady, arXiv 2006.03108 (linear layers and convolutions, composed of data movements).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from ..arrays import Array, to_host
from ..operator import Identity, Operator, Traffic
from ..space import Space
from .layer import Blocks, Layer
from .spread import Spread
from .windows import conjugate


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
        return self._outputs(self.K.apply(*self._brought(x, self.parameters)), self.parameters)

    def derivative(self, x: Array) -> tuple[Array, Callable, Callable]:
        K, (u, W) = self.K, self._brought(x, self.parameters)

        def tangent(dx: Array, d: Blocks) -> Array:  # dy = R (K(G dx, S W) + K(G x, S dW)) + B db
            du, dW = self._brought(dx, d)
            return self._outputs(K.apply(du, W) + K.apply(u, dW), d)

        def adjoint(dy: Array) -> tuple[Array, Blocks]:  # dx = G* K_x*(R* dy, S W),  dW = S* K_w*(G x, R* dy)
            dz = to_host(self.R.adjoint(dy))
            du = self.G.range.adopt(K.adjoint_x(dz, W, u.shape))
            to_inputs = self.G.start_adjoint(du)  # travels while K_w* is computed
            dW = K.adjoint_w(u, dz).reshape(self.S.range.local_shape)
            to_owners = self.S.start_adjoint(self.S.range.adopt(dW))
            dx, gradients = self.G.finish_adjoint(to_inputs), {"W": self.S.finish_adjoint(to_owners)}
            if self.B:  # db = B* sum(dy)
                gradients["b"] = self.B.adjoint(self.B.local_sum(dy))
            return dx, gradients

        return self._outputs(K.apply(u, W), self.parameters), tangent, adjoint

    def _brought(self, x: Array, parameters: Blocks) -> tuple[np.ndarray, np.ndarray]:
        """G x and S W, together on their way."""
        inputs, weights = self.G.start(x), self.S.start(parameters["W"])
        return to_host(self.G.finish(inputs)), to_host(self.S.finish(weights))

    def _outputs(self, z: np.ndarray, parameters: Blocks) -> Array:  # R z + B b
        y = self.R.forward(self.R.domain.adopt(z))
        return y + self.B.forward(parameters["b"]) if self.B else y

    def traffic(self) -> Traffic:
        return sum((A.traffic() for A in (self.G, self.S, self.R, self.B) if A), Traffic())

    @cached_property
    def signature(self) -> str:
        return f"{super().signature}, by {self.G.signature}, {self.S.signature}, {self.R.signature}"


@dataclass(frozen=True)
class Transposed:
    """The kernel (x, w) -> K_x*(x, conj w), linear in both; ``shape``: that of the arrays to which it maps on this rank."""

    K: Kernel
    shape: tuple[int, ...]

    def apply(self, x: np.ndarray, w: np.ndarray) -> np.ndarray:
        return self.K.adjoint_x(x, conjugate(w), self.shape)

    def adjoint_x(self, y: np.ndarray, w: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        return self.K.apply(y, conjugate(w))

    def adjoint_w(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return conjugate(self.K.adjoint_w(y, x))


class Unmoved(Identity):
    """I x = x, without a copy: K only reads what it is given, and gives fresh arrays."""

    def forward(self, x: Array) -> Array:
        self.domain.check(x, self)
        return x

    @property
    def H(self) -> Operator:
        return self
