"""Tendency: advection and diffusion of a velocity on the staggered mesh, in conservative form and of second order.

Definition   N(u)_i = - sum over j of d_j F_ij + nu (L u)_i,   L u_i = sum over j of d_j d_j u_i.   Through the faces of the
             volume around u_i flows F_ij = m_j(u_i) m_i(u_j), where m_j is the mean of two neighbours along axis j and d_j
             their difference over h_j: for i = j at the centres of the cells, for i != j at their edges, where F_ij = F_ji.
             On a low wall N_i = 0.
Spaces       W -> V: from a velocity with ghosts (ghosts.py) to the velocities.
Tangent      dN = - sum of d_j dF_ij + nu L du + dnu L u,   dF_ij = m_j(du_i) m_i(u_j) + m_j(u_i) m_i(du_j).
Adjoint      dF_ij = -d_j* dN_i, and for i != j -d_i* dN_j as well;   du_i += m_j*(m_i(u_j) dF_ij),  du_j += m_i*(m_j(u_i)
             dF_ij);   du += nu L* dN;   dnu = <L u, dN>.
Conserves    Momentum, as what leaves one volume enters the next. Energy too where u has no divergence: <u, N(u)> = 0, nu = 0.
Trap         m(u_i u_j) in place of m(u_i) m(u_j) is of second order also, and feeds energy into the shortest waves.
Reference    Harlow and Welch, Physics of Fluids 8, 1965; Morinishi et al., J. Comput. Phys. 143, 1998 (what is conserved).
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np

from refimpl import Space

from .mesh import Mesh

Tangent = Callable[[np.ndarray, float], np.ndarray]
Adjoint = Callable[[np.ndarray], tuple[np.ndarray, float]]


class Tendency:
    """N on blocks of ``W``, for the velocities ``V``. It works in buffers of its own, on one block at a time."""

    def __init__(self, W: Space, V: Space, mesh: Mesh) -> None:
        self.wide, self.local, self.spacing = W.local_shape, V.local_shape, mesh.spacing
        self.low_walls = mesh.low_walls(V)
        self.pairs = [(i, j) for i in range(mesh.ndim) for j in range(i, mesh.ndim)]
        self.buffers = [np.empty(prod(self.wide[1:])) for _ in range(2)]

    def value(self, w: np.ndarray, nu: float) -> np.ndarray:  # N = nu L w - d_j F_ij
        N = self.laplacian(w)
        N *= nu
        for i, j in self.pairs:
            self._flow_out(N, self.flux(w, w, i, j), i, j)
        return self._at_rest(N)

    def derivative(self, w: np.ndarray, nu: float) -> tuple[np.ndarray, Tangent, Adjoint]:
        def tangent(dw: np.ndarray, dnu: float) -> np.ndarray:  # dN = L (nu dw + dnu w) - d_j dF_ij
            dN = self.laplacian(nu * dw + dnu * w)
            for i, j in self.pairs:
                self._flow_out(dN, self.flux(dw, w, i, j), i, j)
                self._flow_out(dN, self.flux(w, dw, i, j), i, j)
            return self._at_rest(dN)

        def adjoint(
            dN: np.ndarray,
        ) -> tuple[np.ndarray, float]:  # dF_ij = -d_j* dN_i,  dw_i = L* nu dN + m_j*(m_i(w_j) dF_ij)
            dN = self._at_rest(dN.copy())
            dw = self.laplacian_adjoint(nu * dN)
            for i, j in self.pairs:
                dF = self._flow_out_adjoint(dN, i, j)
                add_mean_adjoint(dw[i], mean(w[j], (i, j), i) * dF, (i, j), j)
                add_mean_adjoint(dw[j], mean(w[i], (i, j), j) * dF, (i, j), i)
            return dw, float(np.vdot(self.laplacian(w), dN))

        return self.value(w, nu), tangent, adjoint

    # ---- advection ---------------------------------------------------------------------------------------------------

    def flux(self, a: np.ndarray, b: np.ndarray, i: int, j: int) -> np.ndarray:
        """4 m_j(a_i) m_i(b_j), in a buffer."""
        (low, high), others = halves(a[i], (i, j), j), halves(b[j], (i, j), i)
        F, m = (buffer[: low.size].reshape(low.shape) for buffer in self.buffers)
        np.add(low, high, out=F)
        F *= F if i == j and a is b else np.add(*others, out=m)
        return F

    def _flow_out(self, N: np.ndarray, F: np.ndarray, i: int, j: int) -> None:
        """N_i -= d_j F / 4, and for i != j N_j -= d_i F / 4."""
        for component, axis in dict.fromkeys([(i, j), (j, i)]):
            low, high = ends(F, (i, j), axis)
            slope = self.buffers[1][: low.size].reshape(low.shape)
            np.subtract(high, low, out=slope)
            slope *= 0.25 / self.spacing[axis]
            N[component] -= slope

    def _flow_out_adjoint(self, dN: np.ndarray, i: int, j: int) -> np.ndarray:
        """-d_j* dN_i, and for i != j -d_i* dN_j as well."""
        dF = np.zeros(
            [max(n - (1 if axis in (i, j) else 2), 0) for axis, n in enumerate(self.wide[1:])]
        )  # empty blocks too
        for component, axis in dict.fromkeys([(i, j), (j, i)]):
            low, high = ends(dF, (i, j), axis)
            low += dN[component] / self.spacing[axis]
            high -= dN[component] / self.spacing[axis]
        return dF

    # ---- diffusion ---------------------------------------------------------------------------------------------------

    def laplacian(self, w: np.ndarray) -> np.ndarray:
        """L w: the second differences along all axes, (w[+1] - 2 w + w[-1]) / h^2."""
        N, weights = np.empty(self.local), [h**-2 for h in self.spacing]
        for v, out in zip(w, N, strict=True):
            inner = v[(slice(1, -1),) * v.ndim]
            both = self.buffers[0][: inner.size].reshape(inner.shape)
            np.multiply(inner, -2.0 * sum(weights), out=out)
            for axis, weight in enumerate(weights):
                np.add(*neighbours(v, axis), out=both)
                both *= weight
                out += both
        return N

    def laplacian_adjoint(self, dN: np.ndarray) -> np.ndarray:
        """L* dN."""
        dw, weights = np.zeros(self.wide), [h**-2 for h in self.spacing]
        for v, d in zip(dw, dN, strict=True):
            v[(slice(1, -1),) * v.ndim] -= 2.0 * sum(weights) * d
            for axis, weight in enumerate(weights):
                for side in neighbours(v, axis):
                    side += weight * d
        return dw

    def _at_rest(self, N: np.ndarray) -> np.ndarray:
        """N with 0 on the low walls."""
        for at in self.low_walls:
            N[at] = 0.0
        return N


# ---- views of a block with ghosts -------------------------------------------------------------------------------------


def halves(v: np.ndarray, pair: tuple[int, int], axis: int) -> tuple[np.ndarray, np.ndarray]:
    """The numbers before and after each place of F, along ``axis`` of the pair (i, j), in a component with ghosts."""
    inner = [slice(1, None) if a in pair else slice(1, -1) for a in range(v.ndim)]
    return v[(*inner[:axis], slice(None, -1), *inner[axis + 1 :])], v[
        (*inner[:axis], slice(1, None), *inner[axis + 1 :])
    ]


def mean(v: np.ndarray, pair: tuple[int, int], axis: int) -> np.ndarray:
    """m along ``axis``, at the places of F."""
    low, high = halves(v, pair, axis)
    return 0.5 * (low + high)


def add_mean_adjoint(v: np.ndarray, c: np.ndarray, pair: tuple[int, int], axis: int) -> None:
    """v += m* c."""
    for half in halves(v, pair, axis):
        half += 0.5 * c


def ends(F: np.ndarray, pair: tuple[int, int], axis: int) -> tuple[np.ndarray, np.ndarray]:
    """What flows through the low and the high end of each volume along ``axis``, one of the pair (i, j)."""
    low = [slice(None, -1) if a in pair else slice(None) for a in range(F.ndim)]
    return F[tuple(low)], F[(*low[:axis], slice(1, None), *low[axis + 1 :])]


def neighbours(v: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """The numbers before and after those inside, along ``axis``."""
    inner = [slice(1, -1)] * v.ndim
    return v[(*inner[:axis], slice(None, -2), *inner[axis + 1 :])], v[
        (*inner[:axis], slice(2, None), *inner[axis + 1 :])
    ]
