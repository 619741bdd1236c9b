"""Hermitian projection: a spectrum without the part of it that no real tensor has.

Definition   P : Z -> Z, for the kept frequencies k = (k_1, .., k_n) of a real tensor of N_1 .. N_n points:
             (P z)[k] = (z[k] + conj z[-k]) / 2   where k_n is 0 or N_n / 2, and -k modulo N is kept too;   else z[k].
             Where k = -k this is Re z[k]: of the mean, and of the highest frequency of an even axis.
Meaning      The spectrum of a real tensor has z[-k] = conj z[k]. Half of it, k_n >= 0, is stored; of the planes k_n = 0 and
             N_n / 2 both of a pair are, and a product with a free matrix R, as in a spectral convolution, breaks their bond.
             The inverse real transform T* D of fourier.py takes the real part and so does not see what was broken:
             T* D P = T* D, and what P takes away is all that T* D does not see.
Where        numpy.fft.irfftn and torch on a CPU ignore that part as well. A GPU's library need not: for a spectrum without the
             bond its result is not defined. Apply P before it, and all agree. Nothing here needs it: our T* takes Re itself.
Spaces       Z: that of TruncatedFourier, cut in any way, with field "real": P is real-linear.
Adjoint      P* = P, and P P = P: an orthogonal projection.
Why          <P z, w> - <z, w> is half of Re sum (z[-k] w[k] - conj z[k] w[k]) over pairs; with -k for k in the first term it is
             Re sum conj(z[k]) conj(w[-k]), so z and w can change places.
Cost         The planes k_n = 0 and N_n / 2 alone, gathered over the ranks that cut the other axes.
Trap         Where -k is not kept, as for the lowest negative frequency -m < N / 2, z[k] has no partner and is all seen.
Reference    M. Frigo and S. G. Johnson, "The design and implementation of FFTW3", 2005 (half-complex transforms).
"""

from __future__ import annotations

import numpy as np

from .. import wire
from ..arrays import Array, to_host
from ..movement import AllGather
from ..operator import Identity, Operator, Traffic
from .fourier import TruncatedFourier


class HermitianProjection(Operator):
    """P on the range of ``T``. Raises ValueError where T transforms a complex tensor."""

    told = ("modes", "points")

    def __init__(self, T: TruncatedFourier) -> None:
        if not T.real:
            raise ValueError(f"HermitianProjection: expected the transform of a real tensor, got that of {T.domain!r}")
        Z, n, points = T.range, len(T.kept), T.domain.shape[-len(T.kept) :]
        self.domain, self.range, self.norm_bound = Z, Z, 1.0
        self.modes, self.points = T.modes, points
        bins = np.flatnonzero(2 * T.kept[-1] % points[-1] == 0)
        edges = [(int(np.searchsorted(bins, a)), int(np.searchsorted(bins, b))) for a, b in Z.blocks[n - 1]]
        rows = dict(enumerate(Z.blocks)) | {n - 1: edges}
        self.planes = Z.replace(shape=(*Z.shape[: n - 1], len(bins), *Z.shape[n:]), blocks=rows)
        split = [g for cut in Z.cuts[: n - 1] for g in cut]
        self.gather: Operator = AllGather(self.planes, split) if split else Identity(self.planes)
        start, stop = Z.local_box[n - 1]
        self.here = (*(slice(None),) * (n - 1), bins[(bins >= start) & (bins < stop)] - start)
        mirrors = [mirror(k, N)[a:b] for k, N, (a, b) in zip(T.kept[:-1], points, Z.local_box, strict=False)]
        self.mirrored = np.ix_(*mirrors)
        self.paired = np.all(np.meshgrid(*(m >= 0 for m in mirrors), indexing="ij"), axis=0)[..., None, None, None]

    def forward(self, z: Array) -> Array:  # (z[k] + conj z[-k]) / 2
        return self._project(z, "forward")

    def adjoint(self, z: Array) -> Array:  # the same
        return self._project(z, "adjoint")

    def _project(self, z: Array, what: str) -> Array:
        self.domain.check(z, self, what)
        with wire.unchecked():
            y = np.array(to_host(z))
            own = y[self.here]
            whole = to_host(self.gather.forward(self.planes.adopt(own)))
            y[self.here] = np.where(self.paired, (own + whole[self.mirrored].conj()) / 2, own)
            return self.range.adopt(y)

    def traffic(self) -> Traffic:
        sent = self.gather.traffic().forward
        return Traffic(sent, sent)


def mirror(k: np.ndarray, n: int) -> np.ndarray:
    """The place of -k modulo ``n`` for each kept frequency, and -1 where it is not kept."""
    place = {int(f): i for i, f in enumerate(k % n)}
    return np.array([place.get(int(f), -1) for f in -k % n], int)
