"""The weights of neuraloperator's FNO as those of our NeuralOperator: the same network, stored in another way.

Definition   There a spectral weight is (in, out, k_1, .., k_d) with the frequencies of its full axes in order, the negative
             ones first; here (k_1, .., k_d, in, out) with 0 first. Its matrices along channels are convolutions (out, in, 1),
             and numbers for each channel have ones for all other axes.
Names        lifting.fcs.i and projection.fcs.i are our lifting{i} and projection{i}; in fno_blocks convs.k, fno_skips.k,
             channel_mlp.k.fcs.i, channel_mlp_skips.k and norm.{2k + j} are block{k}'s spectral and bias, skip, mlp{i}, gate and
             norm{j}.
Not read     Factorised and separable spectral weights, complex data, and "ada_in" norms: networks that ours is not.
Reference    https://github.com/neuraloperator/neuraloperator, version 2.0.0.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from .. import wire
from ..arrays import HostArray
from .neural_operator import NeuralOperator
from .state_dicts import StateDict, read_state


def modes_first(w: HostArray) -> HostArray:
    """(in, out, k..), the frequency 0 in the middle of full axes -> (k.., in, out), the frequency 0 first."""
    return np.moveaxis(np.fft.ifftshift(w, axes=range(2, w.ndim - 1)), (0, 1), (-2, -1))


Convert = Callable[[HostArray], HostArray]
matrix: Convert = lambda w: w[..., 0]
vector: Convert = np.ravel
NAMES: dict[str, tuple[str, Convert]] = {  # their name, with {k} for a block and {i} for a layer -> ours, and how
    r"(lifting|projection)\.fcs\.(\d)\.weight": (r"\1\2.W", matrix),
    r"(lifting|projection)\.fcs\.(\d)\.bias": (r"\1\2.b", vector),
    r"fno_blocks\.convs\.(\d+)\.weight(\.tensor)?": (r"block\1.spectral.R", modes_first),
    r"fno_blocks\.convs\.(\d+)\.bias": (r"block\1.bias.b", vector),
    r"fno_blocks\.fno_skips\.(\d+)\.conv\.weight": (r"block\1.skip.W", matrix),
    r"fno_blocks\.fno_skips\.(\d+)\.weight": (r"block\1.skip.w", vector),
    r"fno_blocks\.channel_mlp\.(\d+)\.fcs\.(\d)\.weight": (r"block\1.mlp\2.W", matrix),
    r"fno_blocks\.channel_mlp\.(\d+)\.fcs\.(\d)\.bias": (r"block\1.mlp\2.b", vector),
    r"fno_blocks\.channel_mlp_skips\.(\d+)\.conv\.weight": (r"block\1.gate.W", matrix),
    r"fno_blocks\.channel_mlp_skips\.(\d+)\.weight": (r"block\1.gate.w", vector),
    r"fno_blocks\.norm\.(\d+)\.(?:norm\.)?weight": (r"norm\1.w", vector),
    r"fno_blocks\.norm\.(\d+)\.(?:norm\.)?bias": (r"norm\1.b", vector),
    r"fno_blocks\.norm\.(\d+)\.norm\.running_mean": (r"norm\1.mean", vector),
    r"fno_blocks\.norm\.(\d+)\.norm\.running_var": (r"norm\1.variance", vector),
}


def load_neural_operator(model: NeuralOperator, state: StateDict | str | Path) -> None:
    """Give ``model`` the weights of a state dict of neuraloperator's FNO, which counts on rank 0; collective.

    The state is a dict of arrays, or a ``.pt`` file. Raises on all ranks: ValueError where names or shapes do not fit; OSError
    where the file cannot be read; RuntimeError where it needs torch.
    """
    comm = model.domain.comm
    model.load_state(wire.together(comm, lambda: neural_operator_weights(state) if comm.rank == 0 else None))


def neural_operator_weights(state: StateDict | str | Path) -> dict[str, HostArray]:
    """Global arrays for ``NeuralOperator.load_state``. ValueError where a name is none of a network that ours is."""
    weights = {}
    for name, array in read_state(state).items():
        if not name.endswith("num_batches_tracked"):
            ours, convert = renamed(name)
            weights[ours] = convert(array)
    return weights


def renamed(name: str) -> tuple[str, Convert]:
    """Our name for a weight, and how its array becomes ours."""
    for pattern, (template, convert) in NAMES.items():
        match = re.fullmatch(pattern, name)
        if match:
            number, _, key = match.expand(template).removeprefix("norm").partition(".")
            ours = (
                f"block{int(number) // 2}.norm{int(number) % 2}.{key}" if number.isdigit() else match.expand(template)
            )
            return ours, convert
    raise ValueError(f"neural_operator_weights: {name} is no weight of a dense, real FNO of neuraloperator 2.0.0")
