"""Operator: a linear map between spaces, given by its forward and its adjoint.

Definition   A : V -> W with A* : W -> V such that <A x, y>_W = <x, A* y>_V for all x, y.
Algebra      (A B)* = B* A*,   (A + B)* = A* + B*,   (c A)* = conj(c) A*,   (A*)* = A.
Matrix       A e_j for every unit vector e_j: the rows and columns follow memory, rank 0's block in C order, then rank 1's.
Norm         ``norm_bound`` is a number >= the largest of |A x| / |x|, or None where none is known.
Entry        ``forward`` and ``adjoint`` check the block that they are given and vote on it once; inside, nothing votes. The
             vote also compares what the ranks call, by its ``signature``: calls in another order, or with other arguments, on
             some ranks end in one error on all.
Overlap      pending = A.start(x);  other work;  y = A.finish(pending)   is y = A.forward(x) with the messages of A on their way
             meanwhile, in every data movement; in a composition those of its last map; elsewhere ``start`` does it all. x
             must not be changed before ``finish``. The adjoint is started by A.H.start(y).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from . import wire
from .arrays import fresh
from .space import VectorSpace
from .wire import Sent

MATRIX_LIMIT = 2**24  # entries of an explicit matrix: 128 MiB in float64


@dataclass(frozen=True)
class Traffic:
    """What this rank sends in a forward and in an adjoint."""

    forward: Sent = Sent()
    adjoint: Sent = Sent()

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(self.forward + other.forward, self.adjoint + other.adjoint)

    @property
    def reversed(self) -> Traffic:
        return Traffic(self.adjoint, self.forward)


class Operator:
    """A linear map ``domain`` -> ``range``. A subclass gives ``forward``, ``adjoint`` and ``traffic``."""

    domain: Any
    range: Any
    norm_bound: float | None = None
    told: tuple[str, ...] = ()  # the attributes that make it what it is, and that its spaces do not show

    def forward(self, x: Any) -> Any:
        """A x. Raises ValueError on all ranks where the block of any rank is not of the domain."""
        raise NotImplementedError

    def adjoint(self, y: Any) -> Any:
        """A* y. Raises ValueError on all ranks where the block of any rank is not of the range."""
        raise NotImplementedError

    def traffic(self) -> Traffic:
        """What this rank sends in forward and in adjoint, from sizes alone."""
        raise NotImplementedError

    def start(self, x: Any) -> Any:
        """Begin A x: what ``finish`` makes the result of."""
        return self.forward(x)

    def finish(self, pending: Any) -> Any:
        """A x, begun by ``start``; every rank finishes in the order in which it started."""
        return pending

    def start_adjoint(self, y: Any) -> Any:
        """Begin A* y."""
        return self.adjoint(y)

    def finish_adjoint(self, pending: Any) -> Any:
        """A* y, begun by ``start_adjoint``."""
        return pending

    @cached_property
    def signature(self) -> str:
        """All that the ranks must agree on, as text: the spaces, and what the subclass has ``told``."""
        return f"{self.name} from {self.domain.signature} to {self.range.signature}{details(self)}"

    @property
    def name(self) -> str:
        """What messages call the operator."""
        return type(self).__name__

    @property
    def H(self) -> Operator:
        """The adjoint as an operator."""
        return Adjoint(self)

    def __matmul__(self, other: Operator) -> Operator:
        return Composition(self, other)

    def __add__(self, other: Operator) -> Operator:
        return Sum(self, other)

    def __rmul__(self, scalar: complex) -> Operator:
        return Multiple(scalar, self)

    def matrix(self) -> np.ndarray | None:
        """The explicit matrix on rank 0 of the communicator, None elsewhere.

        Complex numbers of a space with field "real" count as two, (Re, Im) stacked block by block.
        Raises ValueError where the matrix would have more than 2**24 entries.
        """
        comm = self.domain.comm
        sizes = wire.pool(comm, (self.domain.local_size, self.range.local_size))
        columns, rows = (sum(n) for n in zip(*sizes, strict=True))
        if rows * columns > MATRIX_LIMIT:
            raise ValueError(
                f"{type(self).__name__}.matrix: {rows} x {columns} entries are more than {MATRIX_LIMIT}; use smaller spaces"
            )
        kind = complex if "complex" in (self.domain.field, self.range.field) else float
        mine = np.zeros((self.range.local_size, columns), kind)
        start = sum(n for n, _ in sizes[: comm.rank])
        for j in range(columns):
            unit = np.zeros(self.domain.local_size)
            if start <= j < start + unit.size:
                unit[j - start] = 1
            mine[:, j] = self.range.to_vector(self.forward(self.domain.from_vector(unit)))
        lengths = {r: n * columns for r, (_, n) in enumerate(sizes) if r}
        if comm.rank:
            wire.exchange(comm, {0: mine.ravel()}, {}, mine.dtype)
            return None
        others = wire.exchange(comm, {}, lengths, mine.dtype)
        return np.concatenate([mine.ravel(), *others.values()]).reshape(rows, columns)


class Adjoint(Operator):
    """A*: forward and adjoint change places."""

    def __init__(self, A: Operator) -> None:
        self.A, self.domain, self.range, self.norm_bound = A, A.range, A.domain, A.norm_bound

    def forward(self, y: Any) -> Any:  # W -> V:  x = A* y
        return self.A.adjoint(y)

    def adjoint(self, x: Any) -> Any:  # V -> W:  y = A x
        return self.A.forward(x)

    def start(self, y: Any) -> Any:
        return self.A.start_adjoint(y)

    def finish(self, pending: Any) -> Any:
        return self.A.finish_adjoint(pending)

    def start_adjoint(self, x: Any) -> Any:
        return self.A.start(x)

    def finish_adjoint(self, pending: Any) -> Any:
        return self.A.finish(pending)

    def traffic(self) -> Traffic:
        return self.A.traffic().reversed

    @cached_property
    def signature(self) -> str:
        return f"({self.A.signature}).H"

    @property
    def H(self) -> Operator:
        return self.A


class Composition(Operator):
    """A B: first B, then A."""

    def __init__(self, A: Operator, B: Operator) -> None:
        if A.domain != B.range:
            raise ValueError(
                f"{type(A).__name__} @ {type(B).__name__}: the domain {A.domain.signature} is not the range {B.range.signature}"
            )
        self.A, self.B, self.domain, self.range = A, B, B.domain, A.range
        bounded = A.norm_bound is not None and B.norm_bound is not None
        self.norm_bound = A.norm_bound * B.norm_bound if bounded else None

    def forward(self, x: Any) -> Any:  # y = A (B x)
        self.domain.check(x, self)
        with wire.unchecked():
            return self.A.forward(self.B.forward(x))

    def adjoint(self, y: Any) -> Any:  # x = B* (A* y)
        self.range.check(y, self, "adjoint")
        with wire.unchecked():
            return self.B.adjoint(self.A.adjoint(y))

    def start(self, x: Any) -> Any:  # all but the last map is done, and that is begun
        self.domain.check(x, self)
        with wire.unchecked():
            return self.A.start(self.B.forward(x))

    def finish(self, pending: Any) -> Any:
        return self.A.finish(pending)

    def start_adjoint(self, y: Any) -> Any:
        self.range.check(y, self, "adjoint")
        with wire.unchecked():
            return self.B.start_adjoint(self.A.adjoint(y))

    def finish_adjoint(self, pending: Any) -> Any:
        return self.B.finish_adjoint(pending)

    def traffic(self) -> Traffic:
        return self.A.traffic() + self.B.traffic()

    @cached_property
    def signature(self) -> str:
        return f"{self.A.signature} @ {self.B.signature}"


class Sum(Operator):
    """A + B, on the same spaces."""

    def __init__(self, A: Operator, B: Operator) -> None:
        if A.domain != B.domain or A.range != B.range:
            raise ValueError(
                f"{type(A).__name__} + {type(B).__name__}: expected the same spaces, "
                f"got {A.domain.signature} -> {A.range.signature} and {B.domain.signature} -> {B.range.signature}"
            )
        self.A, self.B, self.domain, self.range = A, B, A.domain, A.range
        bounded = A.norm_bound is not None and B.norm_bound is not None
        self.norm_bound = A.norm_bound + B.norm_bound if bounded else None

    def forward(self, x: Any) -> Any:  # y = A x + B x
        self.domain.check(x, self)
        with wire.unchecked():
            return combine(lambda a, b: a + b, self.range, self.A.forward(x), self.B.forward(x))

    def adjoint(self, y: Any) -> Any:  # x = A* y + B* y
        self.range.check(y, self, "adjoint")
        with wire.unchecked():
            return combine(lambda a, b: a + b, self.domain, self.A.adjoint(y), self.B.adjoint(y))

    def traffic(self) -> Traffic:
        return self.A.traffic() + self.B.traffic()

    @cached_property
    def signature(self) -> str:
        return f"({self.A.signature}) + ({self.B.signature})"


class Multiple(Operator):
    """c A for a number c, which is real where the field of a space is."""

    def __init__(self, c: complex, A: Operator) -> None:
        c = complex(c) if np.iscomplexobj(c) else float(c)  # type: ignore[arg-type]  # NumPy's would promote float32
        if isinstance(c, complex) and "real" in (A.domain.field, A.range.field):
            raise ValueError(f"{c} * {type(A).__name__}: a real-linear map takes a real factor")
        self.c, self.A, self.domain, self.range = c, A, A.domain, A.range
        self.norm_bound = None if A.norm_bound is None else abs(c) * A.norm_bound

    def forward(self, x: Any) -> Any:  # y = c A x
        self.domain.check(x, self)
        with wire.unchecked():
            return combine(lambda a: self.c * a, self.range, self.A.forward(x))

    def adjoint(self, y: Any) -> Any:  # x = conj(c) A* y
        self.range.check(y, self, "adjoint")
        with wire.unchecked():
            return combine(lambda a: self.c.conjugate() * a, self.domain, self.A.adjoint(y))

    def traffic(self) -> Traffic:
        return self.A.traffic()

    @cached_property
    def signature(self) -> str:
        return f"{self.c} * ({self.A.signature})"


class Identity(Operator):
    """I x = x, as a fresh array."""

    norm_bound = 1.0

    def __init__(self, X: VectorSpace) -> None:
        self.domain = self.range = X

    def forward(self, x: Any) -> Any:  # y = x
        self.domain.check(x, self)
        return combine(fresh, self.domain, x)

    def adjoint(self, y: Any) -> Any:  # x = y
        return self.forward(y)

    def traffic(self) -> Traffic:
        return Traffic()


def details(of: Any) -> str:
    """The attributes of an operator, layer or loss that are named in its ``told``, as text."""
    return "".join(f", {name} {getattr(of, name)}" for name in of.told)


def combine(function: Any, space: Any, *vectors: Any) -> Any:
    """``function`` of the blocks of vectors of one space, block by block in a product space."""
    if not hasattr(space, "spaces"):
        return function(*vectors)
    vectors = tuple(space.element(v) for v in vectors)
    return {name: combine(function, part, *(v[name] for v in vectors)) for name, part in space.spaces.items()}
