"""Projection onto velocities without divergence, by transforms that diagonalise the discrete Laplacian.

Divergence   D : V -> S,   (D u)[j] = sum over i of (u[i, j + e_i] - u[i, j]) / h_i;   across a wall u[i] is 0.
Adjoint      D* : S -> V,  (D* p)[i, j] = (p[j - e_i] - p[j]) / h_i,   0 on a wall: minus the gradient.
Laplacian    L = D D* has on a periodic axis the eigenvalues (2 - 2 cos(2 pi k / n)) / h^2 with the discrete Fourier basis,
             and between walls (2 - 2 cos(pi k / n)) / h^2 with the cosines of the DCT-II.  L = T^-1 diag(their sums) T.
Poisson      L^+ = T^-1 diag(1 / eigenvalue, and 0 for 0) T: real, symmetric, and p has mean 0.
Projection   P = I - D* L^+ D.   P = P* = P^2, and D P = 0 to round-off, since these are the eigenvalues of D D* itself.
Parallel     A transform needs a whole axis. Axes that are cut become whole in turn, their cuts go to the next one
             (Repartition). Each transform of each line is done by one rank, as on one rank alone.
Cost         2 transforms an axis; 2 repartitions for each cut axis; d messages of one layer of cells each for D and for D*.
Trap         The eigenvalues k^2 of the continuous operator leave a divergence of O(h^2).
Reference    Chorin, Mathematics of Computation 22, 1968 (projection); Schumann and Sweet, J. Comput. Phys. 75, 1988.
"""

from __future__ import annotations

import numpy as np

from refimpl import Repartition, Space, wire
from refimpl.movement.boxes import BoxCopy
from refimpl.operator import Operator, Traffic

from .mesh import Mesh


class Divergence(Operator):
    """D, from the velocities of ``S`` to the numbers a cell ``S``."""

    def __init__(self, S: Space, mesh: Mesh) -> None:
        self.domain, self.range, self.mesh = mesh.vectors(S), S, mesh
        self.low_walls = mesh.low_walls(self.domain)
        self.above = [layer(S, axis, +1, wall) for axis, wall in enumerate(mesh.walls)]
        self.below = [layer(S, axis, -1, wall) for axis, wall in enumerate(mesh.walls)]
        self.buffer = np.empty(S.local_shape)

    def forward(self, u: np.ndarray) -> np.ndarray:  # sum of (u[j + 1] - u[j]) / h
        self.domain.check(u, self)
        if not self.domain.partition.active:
            return self.range.zeros()
        with wire.unchecked():
            pending = [A.start(component) for A, component in zip(self.above, u, strict=True)]
            beyond = [A.finish(p) for A, p in zip(self.above, pending, strict=True)]
        s = self.range.zeros()
        for axis, h in enumerate(self.mesh.spacing):
            v, after, slope = along(axis, u[axis], beyond[axis], self.buffer)
            np.subtract(v[1:], v[:-1], out=slope[:-1])
            np.subtract(after, v[-1:], out=slope[-1:])
            if any(at[0] == axis for at in self.low_walls):
                slope[:1] += v[:1]  # what stands on the wall is no velocity
            self.buffer *= 1.0 / h
            s += self.buffer
        return s

    def adjoint(self, p: np.ndarray) -> np.ndarray:  # (p[j - 1] - p[j]) / h
        self.range.check(p, self, "adjoint")
        if not self.domain.partition.active:
            return self.domain.zeros()
        with wire.unchecked():
            pending = [A.start(p) for A in self.below]
            beyond = [A.finish(sent) for A, sent in zip(self.below, pending, strict=True)]
        u = np.empty(self.domain.local_shape)
        for axis, h in enumerate(self.mesh.spacing):
            q, before, v = along(axis, p, beyond[axis], u[axis])
            np.subtract(q[:-1], q[1:], out=v[1:])
            np.subtract(before, q[:1], out=v[:1])
            v *= 1.0 / h
        for at in self.low_walls:
            u[at] = 0.0
        return u

    def traffic(self) -> Traffic:
        up, down = (sum((A.traffic() for A in layers), Traffic()) for layers in (self.above, self.below))
        return Traffic(up.forward, down.forward)


class Poisson(Operator):
    """L^+ on the numbers a cell ``S``."""

    def __init__(self, S: Space, mesh: Mesh) -> None:
        self.domain = self.range = S
        self.walls, self.moves = mesh.walls, []
        cut = [axis for axis in range(S.ndim) if not S.is_whole(axis)]
        self.axes = [axis for axis in range(S.ndim) if axis not in cut] + cut
        for axis in self.axes:
            self.moves.append(None if S.is_whole(axis) else whole_along(S, axis))
            S = self.moves[-1].range if self.moves[-1] else S
        self.inverse = inverse_eigenvalues(S, mesh)

    def forward(self, f: np.ndarray) -> np.ndarray:  # p = T^-1 diag(1 / eigenvalue) T f
        self.domain.check(f, self)
        with wire.unchecked():
            for axis, move in zip(self.axes, self.moves, strict=True):
                f = transform(move.forward(f) if move else f, axis, self.walls[axis])
            f *= self.inverse
            for axis, move in zip(reversed(self.axes), reversed(self.moves), strict=True):
                f = inverse_transform(f, axis, self.walls[axis])
                f = move.adjoint(f) if move else f
            return f

    def adjoint(self, p: np.ndarray) -> np.ndarray:  # symmetric
        return self.forward(p)

    def traffic(self) -> Traffic:
        moves = sum((move.traffic() for move in self.moves if move), Traffic())
        both = moves.forward + moves.adjoint
        return Traffic(both, both)


class Projection(Operator):
    """P on the velocities of the cells of ``S``."""

    norm_bound = 1.0

    def __init__(self, S: Space, mesh: Mesh) -> None:
        self.divergence, self.poisson = Divergence(S, mesh), Poisson(S, mesh)
        self.domain = self.range = self.divergence.domain

    def forward(self, u: np.ndarray) -> np.ndarray:  # u - D* L^+ D u
        self.domain.check(u, self)
        with wire.unchecked():
            p = self.poisson.forward(self.divergence.forward(u))
            slope = self.divergence.adjoint(p)
        return np.subtract(u, slope, out=slope)

    def adjoint(self, u: np.ndarray) -> np.ndarray:  # symmetric
        return self.forward(u)

    def traffic(self) -> Traffic:
        D, L = self.divergence.traffic(), self.poisson.traffic()
        once = D.forward + L.forward + D.adjoint
        return Traffic(once, once)


def layer(S: Space, axis: int, step: int, wall: bool) -> BoxCopy:
    """The layer of cells above (+1) or below (-1) each block along ``axis``; beyond a wall it is 0."""
    ends = [(b, b + 1) if step > 0 else (a - 1, a) for a, b in S.blocks[axis]]
    row = [end if a < b else (a, a) for end, (a, b) in zip(ends, S.blocks[axis], strict=True)]
    return BoxCopy(S, S.replace(blocks=dict(enumerate(S.blocks)) | {axis: row}), "zero" if wall else "periodic")


def along(axis: int, *arrays: np.ndarray) -> list[np.ndarray]:
    """Views with ``axis`` first."""
    return [np.swapaxes(a, 0, axis) for a in arrays]


def whole_along(S: Space, axis: int) -> Repartition:
    """The repartition after which ``axis`` is whole, and the next one is cut in its place."""
    other, cuts = (axis + 1) % S.ndim, list(S.cuts)
    cuts[other], cuts[axis] = (*cuts[other], *cuts[axis]), ()
    return Repartition(S, S.partition, cuts)


def inverse_eigenvalues(S: Space, mesh: Mesh) -> np.ndarray:
    """1 / eigenvalue of L, and 0 for the eigenvalue 0, for this rank's block of the transformed numbers."""
    total = np.zeros(S.local_shape)
    for axis, (n, h, wall, (a, b)) in enumerate(zip(mesh.shape, mesh.spacing, mesh.walls, S.local_box, strict=True)):
        k = np.arange(n) / 2 if wall else (np.arange(n) + 1) // 2  # 0, then a cosine and a sine of each frequency
        row = (2.0 * np.sin(np.pi * k / n) / h) ** 2
        total += row[a:b].reshape([-1 if i == axis else 1 for i in range(S.ndim)])
    return np.divide(1.0, total, out=np.zeros_like(total), where=total > 0.0)


def transform(f: np.ndarray, axis: int, wall: bool) -> np.ndarray:
    """T along an axis: all numbers stay real, and stay as many."""
    from scipy import fft, fftpack

    if not f.size:
        return f.copy()
    return fft.dct(f, 2, axis=axis) if wall else fftpack.rfft(f, axis=axis)


def inverse_transform(z: np.ndarray, axis: int, wall: bool) -> np.ndarray:
    """T^-1 along an axis."""
    from scipy import fft, fftpack

    if not z.size:
        return z.copy()
    return fft.idct(z, 2, axis=axis, overwrite_x=True) if wall else fftpack.irfft(z, axis=axis, overwrite_x=True)
