"""Layers: differentiable maps of distributed tensors, each with value, tangent and adjoint on one page."""

from .compose import Parallel, Sequential, chain
from .fourier import SpectralConvolution, TruncatedFourier
from .layer import Jacobian, Layer
from .linear import Linear
from .losses import MSE, RelativeL2
from .pointwise import GELU, Identity, ReLU, Sigmoid, SiLU, Softplus, Tanh, TanhGELU

__all__ = [
    "GELU",
    "MSE",
    "Identity",
    "Jacobian",
    "Layer",
    "Linear",
    "Parallel",
    "ReLU",
    "RelativeL2",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softplus",
    "SpectralConvolution",
    "Tanh",
    "TanhGELU",
    "TruncatedFourier",
    "chain",
]
