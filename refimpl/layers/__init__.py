"""Layers: differentiable maps of distributed tensors, each with value, tangent and adjoint on one page."""

from .axis_sum import AxisSum
from .compose import Parallel, Sequential, chain
from .fourier import SpectralConvolution, TruncatedFourier
from .layer import Jacobian, Layer
from .linear import Linear
from .losses import MSE, RelativeL2
from .normalization import BatchNorm, InstanceNorm, LayerNorm, RMSNorm
from .pointwise import GELU, Identity, ReLU, Sigmoid, SiLU, Softplus, Tanh, TanhGELU
from .softmax import LogSoftmax, Softmax

__all__ = [
    "AxisSum",
    "BatchNorm",
    "GELU",
    "MSE",
    "Identity",
    "InstanceNorm",
    "Jacobian",
    "Layer",
    "LayerNorm",
    "Linear",
    "LogSoftmax",
    "Parallel",
    "RMSNorm",
    "ReLU",
    "RelativeL2",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "SpectralConvolution",
    "Tanh",
    "TanhGELU",
    "TruncatedFourier",
    "chain",
]
