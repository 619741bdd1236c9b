"""The dot test: is ``A.adjoint`` the adjoint of ``A.forward``?

Definition   Draw x in V and y in W, independently on every rank and copy, and compare <A x, y>_W with <x, A* y>_V.
Bound        gap <= 16 k eps max(|A x| |y|, |x| |A* y|, norm_bound(A) |x| |y|) for a chain of k maps. Never scaled by
             |<A x, y>|, which can cancel: with it, nothing smaller than 1e-6 could be asked for.
Exact        Data movement copies and adds. On small integers that is exact, so the two numbers must be equal.
Power        One wrong entry moves the gap by about max(...) / n: found up to n of 1e14 in float64, 1e5 in float32.
Trap         Equal copies hide an adjoint that keeps one copy and forgets the others; so copies are drawn independently.
Reference    Claerbout, "Earth soundings analysis", 1992 (the test); Higham, "Accuracy and stability of numerical
             algorithms", 2002, section 3.1 (the error of an inner product).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arrays import to_host
from ..operator import Operator
from ..space import VectorSpace


@dataclass(frozen=True)
class DotTest:
    """<A x, y>, <x, A* y>, their distance and what it may be; true where it passes."""

    left: complex
    right: complex
    gap: float
    bound: float

    def __bool__(self) -> bool:
        return bool(self.gap <= self.bound)

    def __str__(self) -> str:
        verdict = "passed" if self else "FAILED"
        sides = f"<Ax, y> = {self.left:+.15g}, <x, A*y> = {self.right:+.15g}"
        return f"{sides}: gap {self.gap:.1e}, bound {self.bound:.1e}: {verdict}"


def dot_test(A: Operator, seed: int = 0, *, exact: bool = False, chain: int = 1) -> DotTest:
    """Compare the two inner products; collective, the same result on every rank.

    ``exact``: draw small integers and allow no gap. ``chain``: the number of maps that A is composed of.
    """
    draw = small_integers if exact else normal
    x, y = draw(A.domain, 2 * seed), draw(A.range, 2 * seed + 1)
    Ax, Ay = A.forward(x), A.adjoint(y)
    left, right = A.range.inner(Ax, y), A.domain.inner(x, Ay)
    size_x, size_y = A.domain.norm(x), A.range.norm(y)
    scale = max(A.range.norm(Ax) * size_y, size_x * A.domain.norm(Ay), (A.norm_bound or 0) * size_x * size_y)
    bound = 0.0 if exact else 16 * chain * max(epsilon(A.domain), epsilon(A.range)) * scale
    return DotTest(left, right, abs(left - right), bound)


def normal(space: VectorSpace, seed: int) -> Any:
    """Standard normal numbers, independent in every copy and ghost."""
    return space.random(seed, copies="independent")


def small_integers(space: VectorSpace, seed: int, copies: str = "independent") -> Any:
    """Integer-valued numbers of modulus below about 40, independent in every copy and ghost, or equal."""

    def rounded(a: Any) -> Any:
        a = 4 * to_host(a)
        return (np.rint(a.real) + 1j * np.rint(a.imag) if a.dtype.kind == "c" else np.rint(a)).astype(a.dtype)

    return combine_spaces(lambda X, a: X.adopt(rounded(a)), space, space.random(seed, copies))


def combine_spaces(function: Any, space: Any, x: Any) -> Any:
    """``function(space, block)`` for the one space, or for each of a product."""
    if not hasattr(space, "spaces"):
        return function(space, x)
    return {name: function(part, x[name]) for name, part in space.spaces.items()}


def epsilon(space: Any) -> float:
    """The unit of round-off of a space; the coarsest of a product."""
    if hasattr(space, "spaces"):
        return max(epsilon(part) for part in space.spaces.values())
    return float(np.finfo(space.dtype).eps)
