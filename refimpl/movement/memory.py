"""Memory: allocate, clear, add, copy and move, the primitives of which every data movement is composed.

Definition   Let M be the product of named pieces of memory, each on the ranks of its own partition; x_a is what piece a holds.
             Allocate  M -> M x V_c    x_c = 0, a new piece;         adjoint: forget y_c (deallocate)
             Clear     M -> M          x_a <- 0;                     adjoint: itself, y_a <- 0
             Add       M -> M          x_b <- x_b + x_a;             adjoint: y_a <- y_a + y_b, the add the other way
             Copy      M -> M          x_b <- x_a;                   Add Clear_b, so its adjoint is Clear_b Add*
             Move      M -> M          x_b <- x_a,  x_a <- 0;        Clear_a Add Clear_b, so its adjoint moves b to a
Why          As matrices on (a, b):  Add = [1 0; 1 1], and its transpose [1 1; 0 1] adds b to a. Clear is a diagonal of 0 and 1;
             Allocate = [1; 0], whose transpose [1 0] forgets. Compositions follow by (A B)* = B* A*.
Composed     Broadcast: allocate and copy, along a tree. SumReduce, its adjoint: add and deallocate, up the same tree.
             AllGather: copy round a ring. Repartition and HaloExchange: allocate the new blocks, copy what they hold from
             its owners, deallocate the old ones.
Cost         Between two ranks one message of the piece's size, in Add alone, whose adjoint sends it back; else nothing.
Trap         Copy is no "send" whose adjoint is a "receive and overwrite": the source stays in use, so y_b is *added* to y_a.
Reference    Hewett and Grady, arXiv 2006.03108 (memory as a linear space, and its primitives).
"""

from __future__ import annotations

from math import sqrt

from .. import wire
from ..arrays import Array, fresh
from ..operator import Composition, Operator, Traffic
from ..space import Product, Space
from .boxes import BoxCopy

Memory = dict[str, Array]


class Allocate(Operator):
    """A new piece of memory ``name`` of the space ``X``, which holds zeros; its adjoint deallocates it.

    Raises ValueError where M has a piece of that name, or X lives on another communicator.
    """

    norm_bound = 1.0
    told = ("piece",)

    def __init__(self, M: Product, name: str, X: Space) -> None:
        if name in M.spaces or X.comm != M.comm:
            raise ValueError(
                f"Allocate: expected a new name beside {sorted(M.spaces)} and a space on their communicator, got {name!r}"
            )
        self.piece, self.domain, self.range = name, M, Product(M.spaces, **{name: X})

    def forward(self, x: Memory) -> Memory:  # M -> M x V:  x_c = 0
        self.domain.check(x, self)
        return copied(x) | {self.piece: self.range[self.piece].zeros()}

    def adjoint(self, y: Memory) -> Memory:  # M x V -> M:  y_c is forgotten
        self.range.check(y, self, "adjoint")
        return {name: block for name, block in copied(y).items() if name != self.piece}

    def traffic(self) -> Traffic:
        return Traffic()


class Clear(Operator):
    """The piece ``a`` set to zero. Raises ValueError where there is none."""

    norm_bound = 1.0
    told = ("a",)

    def __init__(self, M: Product, a: str) -> None:
        expect(self, M, a)
        self.a, self.domain, self.range = a, M, M

    def forward(self, x: Memory) -> Memory:  # x_a <- 0
        self.domain.check(x, self)
        return copied(x) | {self.a: self.domain[self.a].zeros()}

    def adjoint(self, y: Memory) -> Memory:  # y_a <- 0
        return self.forward(y)

    def traffic(self) -> Traffic:
        return Traffic()


class Add(Operator):
    """The piece ``a`` added to the piece ``b``, wherever the two are.

    Raises ValueError where a piece is missing, they are one, or they differ in shape or dtype.
    """

    told = ("a", "b")

    def __init__(self, M: Product, a: str, b: str) -> None:
        expect(self, M, a, b)
        self.a, self.b, self.domain, self.range = a, b, M, M
        self.link = BoxCopy(M[a], M[b])
        c = self.link.norm_bound
        self.norm_bound = (c + sqrt(c * c + 4)) / 2  # of [1 0; c 1]

    def forward(self, x: Memory) -> Memory:  # x_b <- x_b + x_a
        self.domain.check(x, self)
        with wire.unchecked():
            return copied(x) | {self.b: x[self.b] + self.link.forward(x[self.a])}

    def adjoint(self, y: Memory) -> Memory:  # y_a <- y_a + y_b
        self.range.check(y, self, "adjoint")
        with wire.unchecked():
            return copied(y) | {self.a: y[self.a] + self.link.adjoint(y[self.b])}

    def traffic(self) -> Traffic:
        return self.link.traffic()


class Copy(Composition):
    """The piece ``b`` overwritten by the piece ``a``: cleared, then added to."""

    def __init__(self, M: Product, a: str, b: str) -> None:
        super().__init__(Add(M, a, b), Clear(M, b))


class Move(Composition):
    """The piece ``b`` overwritten by the piece ``a``, which is then cleared."""

    def __init__(self, M: Product, a: str, b: str) -> None:
        super().__init__(Clear(M, a), Copy(M, a, b))


def copied(x: Memory) -> Memory:
    return {name: fresh(block) for name, block in x.items()}


def expect(operator: Operator, M: Product, *names: str) -> None:
    """ValueError where a name is missing in M or is given twice."""
    if not set(names) <= set(M.spaces) or len(set(names)) < len(names):
        raise ValueError(
            f"{type(operator).__name__}: expected {len(names)} of the pieces {sorted(M.spaces)}, got {names}"
        )
