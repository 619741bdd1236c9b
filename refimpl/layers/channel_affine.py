"""Channel affine: each channel multiplied by a number of its own, or with one added; the first alone is called soft gating.

Definition   y[b, c, ..] = w[c] x[b, c, ..] + b[c];   without w: x + b;   without b: w x.
Spaces       X -> X, any partition. w and b are cut as the channels are; each piece lives on one rank, and B brings it to the
             others (spread.py).
Tangent      dy = (B w) dx + x (B dw) + B db.
Adjoint      dx = conj(B w) dy;   dw = B* sum(conj(x) dy),   db = B* sum(dy), over this rank's batch and space.
Why          A diagonal matrix in x at fixed w, and in w at fixed x; B* adds the parts of all ranks on the owner.
Cost         A tree of one number a channel for w and b each, and a reduction in the adjoint.
Trap         Each rank's sum over its own block is only its part of the gradient.
"""

from __future__ import annotations

from collections.abc import Callable

from ..arrays import Array, fresh, namespace
from ..operator import Traffic
from ..space import Space
from .layer import Blocks, Layer
from .spread import Spread


class ChannelAffine(Layer):
    """y = w x + b on axis 1 of ``X``, with both or one of them; w starts at 1, b at 0.

    Raises ValueError where there is neither, or X has no channels' axis.
    """

    def __init__(self, X: Space, weight: bool = True, bias: bool = True) -> None:
        if not (weight or bias):
            raise ValueError("ChannelAffine: expected a weight or a bias, got neither")
        super().__init__(X, X)
        self.spread = Spread(X, 1)
        W = self.spread.domain
        self.parameters = ({"w": W.zeros() + 1} if weight else {}) | ({"b": W.zeros()} if bias else {})
        self.parameter_spaces = dict.fromkeys(self.parameters, W)

    def value(self, x: Array) -> Array:  # y = w x + b
        w = self._copy_of_w()
        return self._plus_b(x if w is None else x * w, self.parameters)

    def derivative(self, x: Array) -> tuple[Array, Callable, Callable]:
        w = self._copy_of_w()

        def tangent(dx: Array, d: Blocks) -> Array:  # dy = w dx + x dw + db
            return self._plus_b(dx if w is None else dx * w + x * self.spread.forward(d["w"]), d)

        def adjoint(dy: Array) -> tuple[Array, Blocks]:  # dx = conj(w) dy,  dw = B* sum(conj(x) dy),  db = B* sum(dy)
            parts = {"b": dy} if w is None else {"w": conjugate(x) * dy, "b": dy}
            sums = {name: self.spread.local_sum(parts[name]) for name in self.parameter_spaces}
            dx = fresh(dy) if w is None else dy * conjugate(w)
            return dx, {name: self.spread.adjoint(part) for name, part in sums.items()}

        return self._plus_b(x if w is None else x * w, self.parameters), tangent, adjoint

    def _copy_of_w(self) -> Array | None:
        return self.spread.forward(self.parameters["w"]) if "w" in self.parameters else None

    def _plus_b(self, y: Array, parameters: Blocks) -> Array:
        """y + B b, where there is a bias."""
        return y + self.spread.forward(parameters["b"]) if "b" in parameters else y

    def traffic(self) -> Traffic:
        return sum([self.spread.traffic()] * len(self.parameter_spaces), Traffic())


def conjugate(a: Array) -> Array:
    """conj(a); of real numbers ``a`` itself."""
    xp = namespace(a)
    return xp.conj(a) if xp.isdtype(a.dtype, "complex floating") else a
