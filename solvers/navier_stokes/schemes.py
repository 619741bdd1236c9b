"""Schemes: explicit steps in time, and how long a step may be.

Definition   E(u, N) = P Q (u + dt N), with the tendency N(u) of tendency.py, the penalty Q of solid.py and the projection P.
             rk3   u_1 = E(u, N(u)),   u_2 = 3/4 u + 1/4 E(u_1, N(u_1)),   u <- 1/3 u + 2/3 E(u_2, N(u_2))
             ab2   u <- E(u, 3/2 N(u) - 1/2 N(the u before)); the first step is Euler's
Stability    For u' = z u / dt a step multiplies u by g(z): rk3: 1 + z + z^2/2 + z^3/6; ab2: the larger root of
             g^2 - (1 + 3/2 z) g + z/2 = 0. Waves have z = dt (i s sin(theta) - f), with s = sum of max|u_i| / h_i at most, and
             f between nu (2 - 2 cos(theta)) / max h^2 and 4 nu sum of 1 / h_i^2. ``stable`` asks |g| <= 1 at both ends, for
             all theta: enough where the velocity is constant.
Trap         ab2 without viscosity is unstable at any length: |g| = 1 + s^4 dt^4 / 4.
Reference    Shu and Osher, J. Comput. Phys. 77, 1988 (rk3); Hirsch, Numerical computation of internal and external flows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

SCHEMES = ("rk3", "ab2")
THETA = np.linspace(0.0, np.pi, 65)
ROUNDOFF = 1e-9


def amplification(scheme: str, z: np.ndarray) -> np.ndarray:
    """|g(z)|."""
    if scheme == "rk3":
        return np.abs(1.0 + z * (1.0 + z * (0.5 + z / 6.0)))
    half = 0.5 + 0.75 * z
    root = np.sqrt(half * half - 0.5 * z)
    return np.maximum(np.abs(half + root), np.abs(half - root))


def stable(scheme: str, dt: float, speed: float, nu: float, spacing: Sequence[float]) -> bool:
    """Whether no wave grows in steps of ``dt``, at a ``speed`` s in 1/s."""
    if scheme == "ab2" and nu == 0.0:
        return speed == 0.0
    swing, fall = 1j * speed * np.sin(THETA), nu * (2.0 - 2.0 * np.cos(THETA)) / max(spacing) ** 2
    most = nu * 4.0 * sum(h**-2 for h in spacing)
    z = dt * np.concatenate([swing - fall, swing - most])
    return bool((amplification(scheme, z) <= 1.0 + ROUNDOFF).all())


def longest_step(scheme: str, speed: float, nu: float, spacing: Sequence[float]) -> float:
    """The longest stable step; inf in a fluid at rest without viscosity, 0 where none is stable."""
    if speed == 0.0 and nu == 0.0:
        return np.inf
    low, high = 0.0, 4.0 / (speed + 4.0 * nu * sum(h**-2 for h in spacing))
    for _ in range(40):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if stable(scheme, middle, speed, nu, spacing) else (low, middle)
    return low
