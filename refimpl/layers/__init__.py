"""Layers: differentiable maps of distributed tensors, each with value, tangent and adjoint on one page."""

from .all_gather_linear import AllGatherLinear
from .apply import Apply
from .axis_sum import AxisSum
from .channel_affine import ChannelAffine
from .channel_mlp import ChannelMLP
from .complex_valued import ComplexValued, Separately
from .compose import Graph, Parallel, Residual, Sequential, chain
from .convolution import Convolution, TransposedConvolution
from .dropout import Dropout
from .embedding import Embedding
from .flatten import Flatten
from .fourier import SpectralConvolution, TruncatedFourier
from .fourier_block import FourierBlock
from .general_linear import GeneralLinear
from .grid_embedding import GridEmbedding
from .hermitian import HermitianProjection
from .interpolation import Interpolation, Resampling, Upsample
from .layer import Jacobian, Layer
from .linear import Linear
from .losses import BCE, L1, MSE, BCEWithLogits, CrossEntropy, Huber, KLDivergence, PoissonNLL
from .normalization import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, RMSNorm
from .parameter_table import ParameterTable, parameter_table
from .plume_loss import PlumeL2
from .pointwise import GELU, Identity, ReLU, Sigmoid, SiLU, Softplus, Tanh, TanhGELU
from .pooling import AvgPool, MaxPool
from .recomputed import Recomputed
from .reduce_scatter_linear import ReduceScatterLinear
from .relative_losses import RelativeH1, RelativeL2, RelativeLp
from .softmax import LogSoftmax, Softmax
from .spectral_resampling import SpectralResampling
from .tiled import Tiled

__all__ = [
    "AllGatherLinear",
    "Apply",
    "AvgPool",
    "AxisSum",
    "BCE",
    "BCEWithLogits",
    "BatchNorm",
    "ChannelAffine",
    "ChannelMLP",
    "ComplexValued",
    "Convolution",
    "CrossEntropy",
    "Dropout",
    "Embedding",
    "Flatten",
    "FourierBlock",
    "GELU",
    "GeneralLinear",
    "Graph",
    "GridEmbedding",
    "GroupNorm",
    "HermitianProjection",
    "Huber",
    "Identity",
    "InstanceNorm",
    "Interpolation",
    "Jacobian",
    "KLDivergence",
    "L1",
    "Layer",
    "LayerNorm",
    "Linear",
    "LogSoftmax",
    "MSE",
    "MaxPool",
    "Parallel",
    "ParameterTable",
    "PlumeL2",
    "PoissonNLL",
    "RMSNorm",
    "ReLU",
    "Recomputed",
    "ReduceScatterLinear",
    "RelativeH1",
    "RelativeL2",
    "RelativeLp",
    "Resampling",
    "Residual",
    "Separately",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "SpectralConvolution",
    "SpectralResampling",
    "Tanh",
    "TanhGELU",
    "Tiled",
    "TransposedConvolution",
    "TruncatedFourier",
    "Upsample",
    "chain",
    "parameter_table",
]
