"""Truncated Fourier transform and spectral convolution, with data and weights decomposed over ranks.

Definition   T : X -> Z keeps, of the unscaled discrete Fourier transform along the last n axes, the lowest frequencies: -m..m-1
             of each full axis, stored as 0..m-1 then N-m..N-1, and 0..m-1 of the last axis, whose input is real.
             In place of a count m, an axis may be given its frequencies, one by one. Of a complex X, no axis is the real one: T
             is linear, without the Re of T*, and w = 1.
             One small matrix an axis, F[k, j] = exp(-2 pi i k j / N), one after the other: T = F_1 ... F_n. Each is one matrix
             product that takes the last axis away and puts its frequencies in front, so nothing is transposed.
Split axes   T = C F_own in one of two forms (fourier_forms.py). "sums": F_own, with a rank's own columns on every axis, gives
             its part of all kept modes; C = G*, the ReduceScatter over all grid axes that cut transformed axes, adds them and
             deals them out. "repartition": F_own is along the axes that are whole; C makes the others whole, transforms them,
             and deals the modes out alike. By default the form is the one that sends less.
Spaces       X real (batch, channels, N_1, .., N_n);  Z complex (K_1, .., K_n, batch, channels), each K_i cut as N_i is;
             both with field "real", since T is real-linear. Of a complex X, Z has the field.
Adjoint      T* z = Re F_own* C* z: of the sums (T* z)_p = Re F_n* ... F_1* (G z)_p, with the columns of rank p.
Inverse      The inverse real transform of a spectrum that is zero outside the kept modes is T* D, D_k = w_k / (N_1 .. N_n),
             with w = 1 for the frequencies 0 and N/2 of the real axis, else 2: each stands for its conjugate as well.
             What the Re of T* does not see, hermitian.py takes away.
Convolution  S x = T* D R T x, with R[k] a complex matrix from channels to channels for every kept frequency.
             R is cut as Z is; batch ranks share one R by broadcast.   S* = T* R* D T.
             The result may have other points than x: then T* and w are of its grid, and D still has the N of that of x.
Why          <T x, z> = Re sum_k conj(sum_j F[k, j] x_j) z_k = sum_j x_j Re sum_k conj(F[k, j]) z_k = <x, T* z>.
Cost         Flops: 8 K N a line of N points of a rank's own block. Words: of the sums (P - 1) / P of the kept modes, batch and
             channels, for P ranks over which the transformed axes are split, in whatever way they are.
Trap         T is real-linear, not complex-linear: T* needs Re, and the inverse needs w; without them only k = 0 is right.
Reference    Li et al., arXiv 2010.08895 (FNO);  Grady et al., arXiv 2204.01205 (model-parallel FNO).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod, sqrt
from operator import index

import numpy as np

from .. import wire
from ..arrays import Array, contiguous
from ..movement import Broadcast
from ..operator import Identity, Operator, Traffic
from ..partition import whole_numbers
from ..space import Space
from .fourier_forms import FORMS
from .layer import Layer
from .linear import adjoint_of

Modes = Sequence[int | Sequence[int]]  # for each axis a number of modes, or their frequencies


def kept_frequencies(n: int, m: int | Sequence[int], real: bool) -> np.ndarray:
    """The kept frequencies of an axis of ``n`` points: 0..m-1, and n-m..n-1 unless the axis is the real one; or those in ``m``.

    ValueError where the grid does not hold them.
    """
    most, kind = n // 2 + 1 if real and n else n // 2, "the last (real) axis" if real else "a full axis"
    if not isinstance(m, int):
        k = np.array(m, int)
        if not k.size or len(set(k % max(n, 1))) < k.size or (real and not 0 <= k.min() <= k.max() < most):
            held = f"0 to {most - 1}" if real else f"that differ modulo {n}"
            raise ValueError(f"TruncatedFourier: {kind} of {n} points holds frequencies {held}, got {m}")
        return k
    if not 1 <= m <= most:
        holds = f"holds 1 to {most} modes" if most else "holds no modes"
        raise ValueError(f"TruncatedFourier: {kind} of {n} points {holds}, got {m}")
    return np.arange(m) if real else np.concatenate([np.arange(m), np.arange(n - m, n)])


def read_modes(who: str, modes: Modes) -> tuple[int | tuple[int, ...], ...]:
    """Each entry as a whole number, or a tuple of them. ValueError where one is neither."""
    try:
        return tuple(whole_numbers(who, m) if isinstance(m, Sequence) else index(m) for m in modes)
    except TypeError:
        raise ValueError(f"{who}: expected whole numbers, got {modes!r}") from None


class TruncatedFourier(Operator):
    """The lowest ``modes`` of the transform along the last ``len(modes)`` axes of the space ``X``.

    An entry of modes is a number m, or the frequencies themselves. ``form``: "sums" or "repartition"; by default the one that
    sends less. Raises ValueError where an axis is not there, or does not hold its modes, or the form is none of these.
    """

    told = ("modes", "form")

    def __init__(self, X: Space, modes: Modes, form: str | None = None) -> None:
        modes = read_modes("TruncatedFourier: modes", modes)
        if not 1 <= len(modes) <= X.ndim:
            raise ValueError(f"TruncatedFourier: expected a tensor of at least {max(len(modes), 1)} axes, got {X!r}")
        if form not in (*FORMS, None):
            raise ValueError(f"TruncatedFourier: expected form={' or '.join(map(repr, FORMS))} or None, got {form!r}")
        first, last = X.ndim - len(modes), X.ndim - 1
        for axis in range(first, X.ndim):
            if not X.covers_once(axis):
                raise ValueError(
                    f"TruncatedFourier: blocks {list(X.blocks[axis])} of axis {axis} leave gaps or overlap"
                )
        self.real = X.dtype.kind == "f"
        kept = {i: kept_frequencies(X.shape[i], m, self.real and i == last) for i, m in enumerate(modes, start=first)}
        Z = X.replace(
            shape=[*map(len, kept.values()), *X.shape[:first]],
            dtype=np.result_type(X.dtype, np.complex64),
            field=X.field,
            cuts=[*X.cuts[first:], *X.cuts[:first]],
            blocks={len(kept) + i: row for i, row in enumerate(X.blocks[:first])},
        )
        plans = {name: plan(X, kept, Z) for name, plan in FORMS.items()}
        self.volumes = {name: plan.volume for name, plan in plans.items()}
        ghosts = not all(map(X.covers_once, range(first)))  # which no repartition takes
        self.form = form or ("sums" if ghosts else min(FORMS, key=self.volumes.__getitem__))
        self.own, self.collect = plans[self.form].own, plans[self.form].collect()
        self.domain, self.range, self.modes, self.kept = X, Z, modes, list(kept.values())
        points = X.shape[first:]
        times = np.where(np.isin(2 * kept[last], (0, points[-1])) | (not self.real), 1.0, 2.0)
        start, stop = Z.local_box[len(modes) - 1]
        self.inverse_weights = (times / prod(points))[start:stop, None, None].astype(X.dtype)  # D, to act on Z
        self.norm_bound = sqrt(prod(points))

    def forward(self, x: Array) -> Array:  # z = C F_1 .. F_n x
        self.domain.check(x, self)
        with wire.unchecked():
            x = contiguous(x)
            for F in self.own:
                x = F.forward(x)
            return self.collect.forward(x)

    def adjoint(self, z: Array) -> Array:  # x = Re F_n* .. F_1* C* z
        self.range.check(z, self, "adjoint")
        with wire.unchecked():
            z = self.collect.adjoint(contiguous(z))
            for F in reversed(self.own):
                z = F.adjoint(z)
            return contiguous(z)

    def inner(self, y: Array) -> Array:
        """What is done on this rank after F_n: y has the frequencies of the last axis in front."""
        for F in self.own[1:]:
            y = F.forward(y)
        return y

    def inner_adjoint(self, z: Array) -> Array:
        """What is done on this rank before F_n*."""
        for F in reversed(self.own[1:]):
            z = F.adjoint(z)
        return z

    def traffic(self) -> Traffic:
        return self.collect.traffic()


class Uncopied(Identity):
    """I R = R itself: a weight that is where it is used, and nowhere else."""

    def forward(self, x: Array) -> Array:
        return x


class SpectralConvolution(Layer):
    """S x = T* D R T x: a convolution with ``out`` channels, given by its kept frequencies.

    X: real (batch, channels, N_1, .., N_n), channels whole; the weight R: complex (K_1, .., K_n, channels, out), cut as the
    modes are, drawn as (U[0, 1) + i U[0, 1)) / (channels out) by (seed, index). ``onto``: the modes of the result, by default
    the same; where they are others, S is no convolution, but moves frequencies. ``sides``: the points of the result, by default
    those of X. ``form``: that of both transforms.
    Raises ValueError where the channels are not whole (cut, or with ghosts), out < 1, or sides or modes do not fit.
    """

    told = ("modes", "onto", "form", "seed")

    def __init__(
        self,
        X: Space,
        modes: Modes,
        out: int | None = None,
        seed: int = 0,
        onto: Modes | None = None,
        sides: Sequence[int] | None = None,
        form: str | None = None,
    ) -> None:
        modes = read_modes("SpectralConvolution: modes", modes)
        n = len(modes)
        if X.ndim != n + 2 or not X.is_whole(1):
            raise ValueError(f"SpectralConvolution: expected (batch, whole channels, {n} axes to transform), got {X!r}")
        out = X.shape[1] if out is None else out
        if min(X.shape[1], out) < 1:
            raise ValueError(f"SpectralConvolution: expected at least one channel, got {X.shape[1]} to {out}")
        sides = X.shape[2:] if sides is None else whole_numbers("SpectralConvolution: sides", sides)
        if len(sides) != n:
            raise ValueError(f"SpectralConvolution: expected sides for each of {n} axes, got {sides}")
        super().__init__(X, X.replace(shape=(X.shape[0], out, *sides)))
        self.modes, self.onto = modes, modes if onto is None else read_modes("SpectralConvolution: onto", onto)
        self.form, self.down = form, TruncatedFourier(X, modes, form)
        self.up = TruncatedFourier(self.range, self.onto, form)
        Z, D = self.down.range, self.up.inverse_weights * (prod(sides) / prod(X.shape[2:]))
        if self.up.range.shape[:n] != Z.shape[:n]:
            raise ValueError(f"SpectralConvolution: expected as many modes of the result as of the input, got {onto}")
        P_R = Z.partition.face({g for cut in Z.cuts[:n] for g in cut})
        R = Z.replace(partition=P_R, shape=(*Z.shape[:n], X.shape[1], out), cuts=(*Z.cuts[:n], (), ()), blocks={})
        self.seed, self.parameter_spaces = seed, {"R": R}
        self.parameters = {"R": R.uniform(seed) * (1 / (X.shape[1] * out))}
        shared = P_R.size < X.partition.size  # with the ranks of other batches
        self.share: Operator = Broadcast(R, X.partition) if shared else Uncopied(R)
        self.D = self.range.adopt(D)

    def value(self, x: Array) -> Array:  # y = T* D (z R),  z = T x;  z R: a product of matrices at every frequency
        return self.up.adjoint(self.down.forward(x) @ self.share.forward(self.parameters["R"]) * self.D)

    def derivative(self, x: Array) -> tuple[Array, Callable, Callable]:
        z, R, D = self.down.forward(x), self.share.forward(self.parameters["R"]), self.D

        def tangent(dx: Array, d: dict[str, Array]) -> Array:  # dy = T* D (T dx R + z dR)
            return self.up.adjoint((self.down.forward(dx) @ R + z @ self.share.forward(d["R"])) * D)

        def adjoint(dy: Array) -> tuple[Array, dict[str, Array]]:  # dx = T* (D T dy R*),  dR = z* D T dy
            dz = self.up.forward(dy) * D
            return self.down.adjoint(dz @ adjoint_of(R)), {"R": self.share.adjoint(adjoint_of(z) @ dz)}

        return self.up.adjoint(z @ R * D), tangent, adjoint

    def traffic(self) -> Traffic:
        return self.share.traffic() + self.down.traffic() + self.up.traffic().reversed
