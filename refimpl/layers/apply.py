"""Apply: a linear operator as a layer without parameters, so that data movement takes its place in a network.

Definition   y = A x, for any operator A between two spaces: a repartition, a padding, a shift, a composition of them.
Spaces       Those of A; they may have different partitions, and so may the layers before and after it.
Tangent      dy = A dx.      Adjoint: dx = A* dy.
Why          A linear map is its own derivative, at every x.
Cost         That of A.
Use          Concatenation along an axis is the sum of two paddings: of lengths n and m along it, the first is padded by (0, m)
             and the second by (n, 0). Its adjoint is then two restrictions, and nothing had to be derived.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from ..arrays import Array
from ..operator import Operator, Traffic
from ..space import Space
from .layer import Blocks, Layer


class Apply(Layer):
    """The layer of the operator ``A``. ValueError where A does not map a Space to a Space."""

    def __init__(self, A: Operator) -> None:
        if not isinstance(A, Operator) or not isinstance(A.domain, Space) or not isinstance(A.range, Space):
            raise ValueError(f"Apply: expected an operator between two Spaces, got {type(A).__name__}")
        super().__init__(A.domain, A.range)
        self.A = A

    def value(self, x: Array) -> Array:  # y = A x
        return self.A.forward(x)

    def derivative(self, x: Array) -> tuple[Array, Callable, Callable]:
        def tangent(dx: Array, d: Blocks) -> Array:  # dy = A dx
            return self.A.forward(dx)

        def adjoint(dy: Array) -> tuple[Array, Blocks]:  # dx = A* dy
            return self.A.adjoint(dy), {}

        return self.A.forward(x), tangent, adjoint

    def traffic(self) -> Traffic:
        return self.A.traffic()

    @cached_property
    def signature(self) -> str:
        return f"{type(self).__name__} of {self.A.signature}"
