"""The weights of neuraloperator's FNO as those of our NeuralOperator: the same network, stored in another way.

Definition   There a spectral weight is (in, out, k_1, .., k_d) with the frequencies of its full axes in order, the negative
             ones first; here (k_1, .., k_d, in, out) with 0 first. Its matrices along channels are convolutions (out, in, 1),
             and numbers for each channel have ones for all other axes.
Names        lifting.fcs.i and projection.fcs.i are our lifting.fc{i} and projection.fc{i}; in fno_blocks convs.k, fno_skips.k,
             channel_mlp.k, channel_mlp_skips.k and norm.{2k + j} are block{k}'s spectral and bias, skip, mlp, gate and norm{j}.
Options      A state dict of that package holds them under "_metadata", as its FNO was called; where they are there, those that
             names and shapes do not tell must be the model's (padding, scaling, embedding, norm, skips), and those that ours
             has not at their defaults (``OURS``). Dropout and precision, which change the training and round-off, are free.
Not read     Factorised and separable spectral weights, and "ada_in" norms: networks that ours is not.
Trap         A dict of the weights alone does not hold the options. Then nothing tells a model of another padding or activation
             from that which was trained: give it the same, by hand.
Reference    https://github.com/neuraloperator/neuraloperator, version 2.0.0.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .. import wire
from ..arrays import HostArray
from ..layers import Graph
from .neural_operator import NeuralOperator
from .neural_operator_grids import padding_widths, read_factors, spectrum
from .state_dicts import State, StateDict, fitted, read_state


def modes_first(w: HostArray) -> HostArray:
    """(in, out, k..), the frequency 0 in the middle of full axes -> (k.., in, out), the frequency 0 first."""
    return np.moveaxis(np.fft.ifftshift(w, axes=range(2, w.ndim - 1)), (0, 1), (-2, -1))


Convert = Callable[[HostArray], HostArray]
matrix: Convert = lambda w: w.reshape(w.shape[:2])
vector: Convert = np.ravel
P = r"((?:fr\.|fi\.)?)"  # of complex data, one of two layers
NAMES: dict[str, tuple[str, Convert]] = {  # theirs -> ours, and how
    rf"(lifting|projection)\.{P}fcs\.(\d)\.weight": (r"\1.\2fc\3.W", matrix),
    rf"(lifting|projection)\.{P}fcs\.(\d)\.bias": (r"\1.\2fc\3.b", vector),
    r"fno_blocks\.convs\.(\d+)\.weight(\.tensor)?": (r"block\1.spectral.R", modes_first),
    r"fno_blocks\.convs\.(\d+)\.bias": (r"block\1.bias.b", vector),
    rf"fno_blocks\.fno_skips\.(\d+)\.{P}conv\.weight": (r"block\1.skip.\2W", matrix),
    rf"fno_blocks\.fno_skips\.(\d+)\.{P}weight": (r"block\1.skip.\2w", vector),
    rf"fno_blocks\.channel_mlp\.(\d+)\.{P}fcs\.(\d)\.weight": (r"block\1.mlp.\2fc\3.W", matrix),
    rf"fno_blocks\.channel_mlp\.(\d+)\.{P}fcs\.(\d)\.bias": (r"block\1.mlp.\2fc\3.b", vector),
    rf"fno_blocks\.channel_mlp_skips\.(\d+)\.{P}conv\.weight": (r"block\1.gate.\2W", matrix),
    rf"fno_blocks\.channel_mlp_skips\.(\d+)\.{P}weight": (r"block\1.gate.\2w", vector),
    rf"fno_blocks\.norm\.(\d+)\.{P}(?:norm\.)?weight": (r"norm\1.\2w", vector),
    rf"fno_blocks\.norm\.(\d+)\.{P}(?:norm\.)?bias": (r"norm\1.\2b", vector),
    r"fno_blocks\.norm\.(\d+)\.norm\.running_mean": (r"norm\1.mean", vector),
    r"fno_blocks\.norm\.(\d+)\.norm\.running_var": (r"norm\1.variance", vector),
}

OURS = {  # of the options that ours has not, those that change the network, as it is
    "_name": "FNO",
    "non_linearity": "gelu",
    "stabilizer": None,
    "max_n_modes": None,
    "separable": False,
    "preactivation": False,
    "conv_module": "SpectralConv",
}
ORDER = """n_modes in_channels out_channels hidden_channels n_layers lifting_channel_ratio projection_channel_ratio
positional_embedding non_linearity norm complex_data use_channel_mlp channel_mlp_dropout channel_mlp_expansion channel_mlp_skip
fno_skip resolution_scaling_factor domain_padding fno_block_precision stabilizer max_n_modes factorization rank fixed_rank_modes
implementation decomposition_kwargs separable preactivation conv_module""".split()  # of FNO's arguments


def load_neural_operator(model: NeuralOperator, state: StateDict | str | Path) -> None:
    """Give ``model`` the weights of a state dict of neuraloperator's FNO, which counts on rank 0; collective.

    The state is a dict of arrays, or a ``.pt`` file. Raises on all ranks: ValueError where options, names, shapes, types or
    numbers do not fit, or a file is no state dict; OSError where it cannot be read; RuntimeError where it needs torch;
    TypeError for another model.
    """
    if not isinstance(model, NeuralOperator):
        raise TypeError(f"load_neural_operator: expected a NeuralOperator, got {type(model).__name__}")
    comm = model.domain.comm

    def weights() -> dict[str, HostArray]:
        read = read_state(state)
        same_options(read, model.options | {"complex_data": model.domain.dtype.kind == "c"}, meaning_for(model))
        return fitted(model, used(model, as_ours(read)), read.source)

    model.load_state(wire.together(comm, lambda: weights() if comm.rank == 0 else None))


def used(model: NeuralOperator, weights: dict[str, HostArray]) -> dict[str, HostArray]:
    """Of whole spectral weights, the rows that the blocks of ``model`` use on their grids."""
    whole = (
        tuple(model.n_modes) if model.domain.dtype.kind == "c" else (*model.n_modes[:-1], model.n_modes[-1] // 2 + 1)
    )
    for name, R in weights.items():
        block = model.layers.get(name.partition(".")[0])
        if name.endswith("spectral.R") and isinstance(block, Graph) and R.shape[:-2] == whole:
            S = block.layers["spectral"]
            weights[name] = R[np.ix_(*spectrum(S.domain, model.n_modes, S.range.shape[2:]).rows)]
    return weights


def neural_operator_weights(state: StateDict | str | Path) -> dict[str, HostArray]:
    """Global arrays for ``NeuralOperator.load_state``. ValueError where a name or option is none of a network that ours is."""
    return as_ours(read_state(state))


def as_ours(read: State) -> dict[str, HostArray]:
    """The weights by our names, in our shapes."""
    same_options(read, OURS)
    weights = {}
    for name, array in read.arrays.items():
        if not name.endswith("num_batches_tracked"):
            ours, convert = renamed(name, read.source)
            try:
                weights[ours] = convert(array)
            except ValueError:
                raise ValueError(
                    f"neural_operator_weights: {name} in {read.source} has the shape {array.shape}"
                ) from None
    if any(".fr." in name for name in read.arrays):  # of complex data the real part has the bias
        weights = {name.replace(".bias.b", ".bias.re.b"): array for name, array in weights.items()}
    return weights


def same_options(
    read: State, ours: Mapping[str, Any], meaning: Callable[[str, Any], Any] = lambda _, option: option
) -> None:
    """ValueError where options that were stored mean something else than ``ours``."""
    theirs = {**read.options, **dict(zip(ORDER, read.options.get("args") or (), strict=False))}
    if isinstance(theirs.get("domain_padding"), tuple):
        theirs["domain_padding"] = None  # there, only a list or a number pads
    for name in ours:
        if name in theirs:
            there, here = (getattr(option, "__name__", option) for option in (theirs[name], ours[name]))  # a function's
            try:
                same = bool(meaning(name, there) == meaning(name, here))
            except (TypeError, ValueError, RuntimeError):  # of another kind altogether
                same = False
            if not same:
                raise ValueError(
                    f"load_neural_operator: {read.source} was stored with {name} = {there!r}, our model has {here!r}; "
                    "only with the same options is it the same network"
                )


def meaning_for(model: NeuralOperator) -> Callable[[str, Any], Any]:
    """Options as what they do to the points of ``model``: two spellings may mean the same."""
    d, layers = len(model.n_modes), model.options["n_layers"]
    means: Mapping[str, Callable[[Any], Any]] = {
        "domain_padding": lambda shares: padding_widths(model.domain, shares),
        "resolution_scaling_factor": lambda factors: read_factors(factors, layers, d),
    }
    return lambda name, option: means[name](option) if name in means else option


def renamed(name: str, source: str) -> tuple[str, Convert]:
    """Our name for a weight, and how its array becomes ours."""
    for pattern, (template, convert) in NAMES.items():
        match = re.fullmatch(pattern, name)
        if match:
            number, _, key = match.expand(template).removeprefix("norm").partition(".")
            ours = (
                f"block{int(number) // 2}.norm{int(number) % 2}.{key}" if number.isdigit() else match.expand(template)
            )
            return ours, convert
    raise ValueError(f"neural_operator_weights: {name} in {source} is no weight of a dense FNO of neuraloperator 2.0.0")
