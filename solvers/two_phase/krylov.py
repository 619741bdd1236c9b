"""GMRES with a right preconditioner: the Krylov method of the linear systems.

Definition   x = sum of z_j y_j,  z_j = M v_j, where v_0 = b / |b| and v_1, ... are A z_0, A z_1, ... made orthonormal;
             y minimises |b - A x|. M is the preconditioner, about A^-1.
Reference    Saad and Schultz (1986); Saad (1993) for keeping the z_j, which saves the last application of M.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Map = Callable[[np.ndarray], np.ndarray]


def gmres(A: Map, M: Map, b: np.ndarray, tolerance: float, most: int) -> tuple[np.ndarray, bool]:
    """(x, whether |b - A x| <= tolerance |b|) after at most ``most`` iterations, from zero, without restarts."""
    norm = np.linalg.norm(b)
    if norm == 0.0:
        return np.zeros_like(b), True
    V, Z = np.empty((most + 1, b.size)), np.empty((most, b.size))
    H, goal = np.zeros((most + 1, most)), np.zeros(most + 1)
    V[0], goal[0] = b / norm, norm
    for j in range(most):
        Z[j] = M(V[j])
        w = A(Z[j])
        for _ in range(2):  # a second pass keeps V orthonormal
            h = V[: j + 1] @ w
            w -= h @ V[: j + 1]
            H[: j + 1, j] += h
        H[j + 1, j] = np.linalg.norm(w)
        if not np.isfinite(H[j + 1, j]):
            return np.zeros_like(b), False
        y, *_ = np.linalg.lstsq(H[: j + 2, : j + 1], goal[: j + 2], rcond=None)
        remains = np.linalg.norm(goal[: j + 2] - H[: j + 2, : j + 1] @ y)
        if remains <= tolerance * norm or H[j + 1, j] == 0.0:
            break
        V[j + 1] = w / H[j + 1, j]
    return y @ Z[: j + 1], bool(remains <= tolerance * norm)
