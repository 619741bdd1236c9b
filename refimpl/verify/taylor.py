"""Is J the derivative of F? The Taylor test and the complex step.

Taylor       r(h) = |F(x + h d) - F(x) - h J d| falls like h^2 if J is the derivative, like h if it is not: halving h must
             divide r by about 4 (slope 2), over several halvings, until round-off takes over.
Complex step For an analytic F built on a complex space, Im F(x + i h d) / h = J d + O(h^2): with h = 1e-200 it is exact to
             round-off, as nothing is subtracted. It sees a relative error of 1e-13 where Taylor sees 1e-4.
Trap         A test that passes for one h proves nothing, and r at round-off has any slope: it counts only above the floor.
Reference    Squire and Trapp, "Using complex variables to estimate derivatives of real functions", SIAM Review 40, 1998.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import wire
from ..arrays import namespace, to_host
from ..operator import combine
from .dot_test import epsilon


@dataclass(frozen=True)
class TaylorTest:
    """Steps h, remainders r(h), the slopes between neighbours that are above round-off; true where it passes."""

    steps: tuple[float, ...]
    remainders: tuple[float, ...]
    slopes: tuple[float, ...]
    floor: float

    def __bool__(self) -> bool:
        if self.remainders and max(self.remainders) <= self.floor:  # F is linear: r is round-off from the start
            return True
        return len(self.slopes) >= 3 and min(self.slopes) >= 1.9

    def __str__(self) -> str:
        slopes = " ".join(f"{s:.2f}" for s in self.slopes) or "none above round-off"
        return (
            f"Taylor slopes {slopes}; smallest remainder {min(self.remainders):.1e}: {'passed' if self else 'FAILED'}"
        )


def taylor_test(F: Any, x: Any, seed: int = 0, halvings: int = 8, first: float = 0.1) -> TaylorTest:
    """The remainders of F (a layer or a model) at the block ``x``, in one direction of input *and* parameters.

    Collective, the same result on every rank. ``first``: the largest h; the direction is standard normal.
    """
    y, J = F.linearize(x)
    d = J.domain.random(seed)
    Jd, kept = J.forward(d), dict(F.parameters)
    spaces = F.parameter_spaces
    steps = [first * 0.5**k for k in range(halvings + 1)]
    remainders = []
    try:
        for h in steps:
            F.parameters = {name: kept[name] + h * d[name] for name in spaces}
            moved = F(combine(lambda a, b, h=h: a + h * b, F.domain, x, d["x"]))
            remainders.append(F.range.norm(moved - y - h * Jd))
    finally:
        F.parameters = kept
    floor = 1e3 * epsilon(F.range) * max(F.range.norm(y), F.range.norm(Jd) * first)
    pairs = zip(remainders[:-1], remainders[1:], strict=True)
    slopes = tuple(float(np.log2(a / b)) for a, b in pairs if b > floor)
    return TaylorTest(tuple(steps), tuple(remainders), slopes, floor)


def complex_step_gap(F: Any, F_complex: Any, x: Any, seed: int = 0, step: float = 1e-200) -> float:
    """max |Im F(x + i h d) / h - J d| / max |J d|, for F on a real space and the same F on a complex128 one.

    Collective, the same number on every rank. F_complex is left with the complex parameters.
    """
    _, J = F.linearize(x)
    d = J.domain.random(seed)
    F_complex.parameters = {name: F.parameters[name] + 1j * step * d[name] for name in F.parameter_spaces}
    exact = namespace(x).imag(F_complex(x + 1j * step * d["x"])) / step
    Jd = J.forward(d)
    largest = [float(np.max(np.abs(to_host(a)), initial=0)) for a in (exact - Jd, Jd)]
    gap, size = np.max(wire.pool(F.range.comm, largest), axis=0)
    return float(gap / max(size, 1e-300))
