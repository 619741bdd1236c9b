"""Buckley-Leverett: the exact solution of one-dimensional displacement, to test a simulator against.

Problem      phi dS/dt + u df/dx = 0,  S = 0 at t = 0,  S = 1 at x = 0: CO2 pushes brine out of a line of rock; no gravity,
             no capillary pressure, nothing compressible, k_rw = (1 - S)^2 and k_rn = S^2. With M = mu_w / mu_n,
                 f = M S^2 / (M S^2 + (1 - S)^2),   f' = 2 M S (1 - S) / (M S^2 + (1 - S)^2)^2.
Solution     It depends on xi = x phi / (u t) alone: f'(S) = xi behind a shock at xi = f'(S*), nothing ahead of it. Mass
             gives the shock's height: f(S*) / S* = f'(S*), so that S* = 1 / sqrt(1 + M).
Reference    Buckley and Leverett (1942); Welge (1952).
"""

from __future__ import annotations

import numpy as np


def shock(viscosity_ratio: float) -> tuple[float, float]:
    """(saturation behind the shock, its speed in units of u / phi) for M = ``viscosity_ratio`` = mu_w / mu_n."""
    height = 1.0 / np.sqrt(1.0 + viscosity_ratio)
    return float(height), float(_wave_speed(height, viscosity_ratio))


def profile(xi: np.ndarray, viscosity_ratio: float) -> np.ndarray:
    """The CO2 saturation at ``xi`` = x phi / (u t) >= 0, an array of any shape."""
    height, speed = shock(viscosity_ratio)
    low, high = np.full(np.shape(xi), height), np.ones(np.shape(xi))  # f' falls from the shock's speed to 0 in between
    for _ in range(53):
        middle = 0.5 * (low + high)
        faster = _wave_speed(middle, viscosity_ratio) > xi
        low, high = np.where(faster, middle, low), np.where(faster, high, middle)
    return np.where(xi <= speed, low, 0.0)


def _wave_speed(s: np.ndarray, ratio: float) -> np.ndarray:
    """f'(S)."""
    return 2.0 * ratio * s * (1.0 - s) / (ratio * s**2 + (1.0 - s) ** 2) ** 2
