"""Smooth fields: what is believed of rock before it is looked at, as a linear map from independent numbers.

Definition   m = C_x (a o z) C_y^T with C_x[i, p] = cos(pi p (i + 1/2) / nx), C_y alike, and a o z number by number. For z of
             independent standard normal numbers m is a Gaussian field, as if its like were mirrored around the sides.
             a_pq ~ exp(-(pi L)^2 (p^2 + q^2) / 4): its covariance falls like exp(-(r / L)^2 / 2), L in sides of the area. The
             waves that are left out should not matter: waves >= 1 / L. a_00 = 0: the mean over the area is 0.
Spaces       z (waves, waves) on one rank -> m (1, 1, nx, ny, 1), cut along x and y.
Adjoint      z = a o (C_x^T m C_y), each rank's part of the cells, summed: that is the adjoint of the broadcast.
Deviation    The variance of m, in the mean over cells, is the sum of a_pq^2 c_p c_q with c_0 = 1, c_p = 1/2: it is made one
             given number.
Why          A misfit f(m) becomes one of some tens of numbers, and the prior is |z|^2 / 2: the gradient is B* f'(m) + z.
Cost         Words: waves^2, a tree each way.
Reference    Tarantola, "Inverse problem theory", 2005 (Gaussian priors).
"""

from __future__ import annotations

import numpy as np

from refimpl import Broadcast, Partition, Space, wire
from refimpl.operator import Operator, Traffic


class Smooth(Operator):
    """Fields on ``X`` (1, 1, nx, ny, 1), over a grid (1, 1, p, q, 1), with the correlation ``length`` L and the standard
    ``deviation``, of ``waves`` along each side.

    Raises ValueError where X is another space, waves are below 2 or exceed the cells, or a number is not positive.
    """

    told = ("length", "deviation")

    def __init__(self, X: Space, length: float, deviation: float = 1.0, waves: int = 6) -> None:
        cells, grid = X.shape[2:4], X.partition
        fits = X.shape == (1, 1, *cells, 1) and len(cells) == 2 and len(grid.shape) == 5
        if not fits or not 2 <= waves <= min(cells) or not min(length, deviation) > 0.0:
            raise ValueError(
                "Smooth: expected X of shape (1, 1, nx, ny, 1) over (1, 1, p, q, 1), 2 <= waves <= nx, ny, and length and "
                f"deviation > 0, got {X!r}, {waves}, {length} and {deviation}"
            )
        self.length, self.deviation = float(length), float(deviation)
        owner = Partition(grid.comm, (1, 1), ranks=grid.ranks[:1])
        self.copy = Broadcast(Space(owner, (waves, waves), X.dtype), grid.reshape(grid.shape[2:4]))
        self.domain, self.range, p = self.copy.domain, X, np.arange(waves)
        a = np.exp(-((0.5 * np.pi * length) ** 2) * (p[:, None] ** 2 + p**2))
        a[0, 0] = 0.0
        share = np.where(p == 0, 1.0, 0.5)  # the mean of a squared cosine
        a *= deviation / np.sqrt(share @ a**2 @ share)
        self.a = a[self.copy.range.local_slice].astype(X.dtype)
        self.x, self.y = (self._cosines(axis) for axis in (2, 3))

    def _cosines(self, axis: int) -> np.ndarray:
        """(own cells along the axis, waves); without waves on a rank outside the grid."""
        i, p = np.arange(*self.range.local_box[axis]), np.arange(len(self.a))
        return np.cos(np.pi * np.outer(i + 0.5, p) / self.range.shape[axis]).astype(self.range.dtype)

    def forward(self, z: np.ndarray) -> np.ndarray:  # m = C_x (a z) C_y^T
        self.domain.check(z, self)
        with wire.unchecked():
            m = self.x @ (self.a * self.copy.forward(z)) @ self.y.T
        return m.reshape(self.range.local_shape)

    def adjoint(self, m: np.ndarray) -> np.ndarray:  # z = a (C_x^T m C_y)
        self.range.check(m, self, "adjoint")
        m = np.ascontiguousarray(m).reshape(len(self.x), len(self.y))
        with wire.unchecked():
            return self.copy.adjoint(self.a * (self.x.T @ m @ self.y))

    def traffic(self) -> Traffic:
        return self.copy.traffic()
