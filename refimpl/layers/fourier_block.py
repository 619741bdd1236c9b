"""FourierBlock: y = g(A ._c h + S h), the layer of a Fourier neural operator, worked on tile by tile.

Definition   u = A ._c h + S h,   y = g(u):   A a matrix along the channels, S a spectral convolution (fourier.py), g the GELU.
Spaces       X -> X, real (batch, channels, N_1, .., N_n), cut as A and S allow: the channels are whole.
Tangent      dy = g'(u) (A dh + dA h + S dh + dS h).
Adjoint      du = g'(u) dy;   dh = A* du + S* du,   dA = B* (du h*),   dR = z* (D T du), with z = T h (fourier.py).
Tiles        See tiled.py: A h, what the inverse transform does along the last axis, their sum, and g go over the points once,
             some thousand at a time. No array of the size of h is made but the result.
Recomputed   A linearisation keeps h, which it was given, and the kept modes. The adjoint makes u again, tile by tile: two
             products more, and no g'(u) to be written, kept and read.
Messages     Those of A and S and no more: what is made again is on the rank. Where S transforms its last axis elsewhere (cut,
             with a repartition), A, S and g are done one after the other.
Reference    Li et al., arXiv 2010.08895 (the block);  Grady et al., arXiv 2204.01205 (model-parallel).
"""

from __future__ import annotations

from collections.abc import Sequence

from ..space import Space
from .fourier import SpectralConvolution
from .linear import Linear
from .pointwise import GELU
from .tiled import Tiled


class FourierBlock(Tiled):
    """g(A ._c h + S h) on ``X``, with A by ``seed``, and S with ``modes`` and ``form`` by ``spectral_seed``.

    Raises ValueError where X is not real, and as Linear and SpectralConvolution do.
    """

    def __init__(
        self, X: Space, modes: Sequence[int], seed: int = 0, spectral_seed: int = 0, form: str | None = None
    ) -> None:
        if X.dtype.kind != "f":
            raise ValueError(f"FourierBlock: expected a real tensor, got {X!r}")
        self.linear = Linear(X, X.shape[1], bias=False, seed=seed)
        self.spectral = SpectralConvolution(X, modes, seed=spectral_seed, form=form)
        u = ("linear", "spectral")
        super().__init__({"linear": (self.linear, "x"), "spectral": (self.spectral, "x"), "gelu": (GELU(X), u)})
