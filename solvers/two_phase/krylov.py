"""Krylov methods with a preconditioner M, about A^-1: GMRES for the Jacobians, conjugate gradients for pressure alone.

GMRES        x = sum of z_j y_j,  z_j = M v_j, where v_0 = b / |b| and v_1, ... are A z_0, A z_1, ... made orthonormal;
             y minimises |b - A x|: M stands on the right.
Gradients    x minimises (x, A x) / 2 - (b, x) over the same spaces, with three vectors in place of all: for symmetric positive
             definite A and M, as the pressure matrix of an incompressible fluid and its multigrid cycle are.
Ranks        A vector is in blocks; ``dots`` gives scalar products over all of them. The rest is done block by block, and the
             small least-squares problem on every rank alike.
Reference    Hestenes and Stiefel (1952); Saad and Schultz (1986); Saad (1993) for the z_j, which save the last use of M.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Map = Callable[[np.ndarray], np.ndarray]
Dots = Callable[[np.ndarray, np.ndarray], np.ndarray]


def gmres(
    A: Map, M: Map, b: np.ndarray, tolerance: float, most: int, dots: Dots = np.dot
) -> tuple[np.ndarray, bool, int]:
    """(x, whether |b - A x| <= tolerance |b|, iterations), at most ``most`` of them, from zero, without restarts.

    ``dots(V, w)``: the scalar products of w with each row of V.
    """
    norm = np.sqrt(dots(b[None], b)[0])
    if norm == 0.0:
        return np.zeros_like(b), True, 0
    V, Z = np.empty((most + 1, b.size)), np.empty((most, b.size))
    H, goal = np.zeros((most + 1, most)), np.zeros(most + 1)
    V[0], goal[0] = b / norm, norm
    for j in range(most):
        Z[j] = M(V[j])
        w = A(Z[j])
        for _ in range(2):  # a second pass keeps V orthonormal
            h = dots(V[: j + 1], w)
            w -= combine(h, V[: j + 1])
            H[: j + 1, j] += h
        H[j + 1, j] = np.sqrt(dots(w[None], w)[0])
        if not np.isfinite(H[j + 1, j]):
            return np.zeros_like(b), False, j + 1
        y, *_ = np.linalg.lstsq(H[: j + 2, : j + 1], goal[: j + 2], rcond=None)
        remains = np.linalg.norm(goal[: j + 2] - H[: j + 2, : j + 1] @ y)
        if remains <= tolerance * norm or H[j + 1, j] == 0.0:
            break
        V[j + 1] = w / H[j + 1, j]
    return combine(y, Z[: j + 1]), bool(remains <= tolerance * norm), j + 1


def conjugate_gradients(
    A: Map, M: Map, b: np.ndarray, tolerance: float, most: int, dots: Dots = np.dot
) -> tuple[np.ndarray, bool, int]:
    """(x, whether |b - A x| <= tolerance |b|, iterations), at most ``most`` of them, from zero; arguments as of gmres."""
    x, r = np.zeros_like(b), b.copy()
    size = remains = dots(b[None], b)[0]
    p, rz = np.zeros_like(b), 1.0
    for iteration in range(most):
        if not remains > tolerance**2 * size:
            return x, bool(remains <= tolerance**2 * size), iteration
        z = M(r)
        rz, before = dots(r[None], z)[0], rz
        p *= rz / before
        p += z
        q = A(p)
        step = rz / dots(p[None], q)[0]
        x += step * p
        r -= step * q
        remains = dots(r[None], r)[0]
    return x, bool(remains <= tolerance**2 * size), most


def combine(h: np.ndarray, V: np.ndarray) -> np.ndarray:
    """The sum of h_j V_j, entry by entry in this order: BLAS would order the sum by where in its block an entry stands."""
    return np.einsum("j,jn->n", h, V)
