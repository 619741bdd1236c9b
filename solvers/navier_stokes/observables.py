"""Observables: what is looked at of a velocity with ghosts: vorticity, energy and enstrophy.

Vorticity    w_k = d_i u_j - d_j u_i for (i, j, k) in cyclic order, at the edges of the cells along axis k, where it is of
             second order; at a cell's centre the mean of its four edges. In two dimensions there is one.
Energy       1/2 sum of u_i^2, and enstrophy 1/2 sum of w_k^2, times the volume of a cell; at faces and edges, where they are.
             On a periodic mesh <u, L u> = -|w|^2 where u has no divergence, so that without force dE/dt = -2 nu enstrophy.
"""

from __future__ import annotations

import numpy as np

from .mesh import Mesh
from .tendency import halves

PLANES = {2: ((0, 1),), 3: ((1, 2), (2, 0), (0, 1))}  # (i, j) of each w_k


def edge_vorticity(w: np.ndarray, mesh: Mesh) -> list[np.ndarray]:
    """w_k of a block with ghosts at all edges of its cells: one array for each k, one longer than the block along i and j."""
    found = []
    for i, j in PLANES[mesh.ndim]:
        (before, after), (below, above) = halves(w[j], (i, j), i), halves(w[i], (i, j), j)
        found.append((after - before) / mesh.spacing[i] - (above - below) / mesh.spacing[j])
    return found


def vorticity(w: np.ndarray, mesh: Mesh) -> np.ndarray:
    """(1 or 3, ..): w_k at the centres of the cells."""
    edges = zip(edge_vorticity(w, mesh), PLANES[mesh.ndim], strict=True)
    return np.stack([middle(middle(v, i), j) for v, (i, j) in edges])


def energy(w: np.ndarray, mesh: Mesh) -> float:
    """This block's part of the kinetic energy, for a density of 1."""
    inside = w[(slice(None), *(slice(1, -1),) * mesh.ndim)]
    return 0.5 * mesh.cell_volume * float(np.vdot(inside, inside))


def enstrophy(w: np.ndarray, mesh: Mesh) -> float:
    """This block's part of the enstrophy: each edge is that of the cell above it."""
    total = 0.0
    for v, pair in zip(edge_vorticity(w, mesh), PLANES[mesh.ndim], strict=True):
        own = v[tuple(slice(None, -1) if axis in pair else slice(None) for axis in range(v.ndim))]
        total += float(np.vdot(own, own))
    return 0.5 * mesh.cell_volume * total


def middle(v: np.ndarray, axis: int) -> np.ndarray:
    """The means of neighbours along an axis."""
    v = np.swapaxes(v, 0, axis)
    return np.swapaxes(0.5 * (v[:-1] + v[1:]), 0, axis)
