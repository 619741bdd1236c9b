"""NeuralOperator: the Fourier neural operator of the package neuraloperator, on any partition of batch and space.

Definition   With g the GELU, M MLPs of two linear layers along the channels with g between them, and E the padding by zeros on
             both sides of each axis:
                 h = E M_in(x, t)                      t the coordinates of the points, one channel for each axis
                 u = g(N (S_k h + b_k) + A_k h)        for each of the blocks: S_k a spectral convolution, A_k a skip
                 h = g(N (M_k u + G_k h))              G_k another skip
                 y = M_out E* h
             In the last block both outer g are left out. A skip is a matrix along the channels ("linear"), a number for each
             ("soft-gating"), the "identity", or none; N is a norm or nothing.
Complex x    Then the real and the imaginary part pass through each of two M, A, G and N (ComplexValued), g acts on each part, b
             is added to the real one, and no axis of S is the real one. So an "identity" A adds (1 + i) h, and not h. X has
             field "real", since g is not analytic.
Modes        ``n_modes`` counts as there: n frequencies of a full axis, -(n // 2) .. (n - 1) // 2, and n // 2 + 1 of the real.
             So an even n is twice FNO's m. R holds them in FNO's order: 0 and up, then the negative ones; only those that a
             block uses, where its grid is too coarse for all.
Scaling      A block may give its result at other points, ``resolution_scaling_factor`` times as many, or ``output_shape``: S_k
             has the modes of one grid and the points of the other, and A_k and G_k act on h resampled: linearly in 1-d, by
             cubics in 2-d, with the corners aligned, and spectrally beyond.
Spaces       x (batch, channels, N_1, .., N_d) -> y (batch, out_channels, M_1, .., M_d), on one grid that may cut the batch
             and the space axes; M = N unless scaled. What is padded or scaled has balanced blocks of its own.
Jacobian     That of the composition: see layers/compose.py.
Cost         As FNO; E and E* move the cells that change their owner.
Trap         There the spectrum is centred by fftshift, and moved back by fftshift again, which on an odd number of points is
             not its inverse: what comes from frequency f goes to f - 1, on every full axis of odd length. Weights were trained
             so, and so the same is done here. On axes of even length (padding included) nothing moves. Of complex data the last
             axis is centred but not moved back, so it keeps its most negative frequencies, and puts them at 0 and up; in 1-d,
             where nothing is centred, it keeps 0 and up. And to other points a spectrum is made longer or shorter at its end:
             of N points, frequency -f becomes N - f on a finer grid, and is lost on a coarser one. Not done here: skips of
             complex data to other points, which there lose the imaginary part in 3-d, and fail below.
Reference    Kossaifi et al., "A library for learning neural operators", arXiv 2412.10354, and version 2.0.0 of the package;
             Li et al., arXiv 2010.08895.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count
from math import isfinite
from typing import Any

from ..layers import (
    GELU,
    Apply,
    BatchNorm,
    ChannelAffine,
    ChannelMLP,
    ComplexValued,
    Graph,
    GridEmbedding,
    GroupNorm,
    Identity,
    InstanceNorm,
    Layer,
    Linear,
    Separately,
    Sequential,
    SpectralConvolution,
    Tiled,
    chain,
)
from ..layers.complex_valued import real_space
from ..movement import Padding
from ..partition import whole_numbers
from ..space import Space
from .neural_operator_grids import (
    Factors,
    Sides,
    around,
    padding_widths,
    resampling,
    scaled_sides,
    spectrum,
    unpadding,
)

Make = Callable[[Space], Layer]
Makers = dict[str, Make]
NORMS: dict[str | None, Make] = {
    "instance_norm": partial(InstanceNorm, affine=False),
    "group_norm": GroupNorm,
    "batch_norm": BatchNorm,
}
SKIPS = ("linear", "soft-gating", "identity", None)


class NeuralOperator(Sequential):
    """The network on the space ``X``: (batch, channels, N_1, .., N_d). Options have neuraloperator's names and defaults.

    ``domain_padding``: the share of its length by which each axis is padded on both sides, or one share for each axis.
    ``resolution_scaling_factor``: how many times as many points a block gives; one number, one for each block, or for each
    block and axis. ``output_shape``: the points that the last block gives, or for each block its points or None; there, it is
    an argument of the call. What was padded is taken off again as wide as it has become.
    Raises ValueError where an option does not fit, the grid cuts the channels, or a block would keep no mode.
    """

    def __init__(
        self,
        X: Space,
        n_modes: Sequence[int],
        hidden_channels: int,
        out_channels: int = 1,
        n_layers: int = 4,
        lifting_channel_ratio: float = 2,
        projection_channel_ratio: float = 2,
        positional_embedding: str | None = "grid",
        norm: str | None = None,
        use_channel_mlp: bool = True,
        channel_mlp_expansion: float = 0.5,
        channel_mlp_skip: str | None = "soft-gating",
        fno_skip: str | None = "linear",
        domain_padding: float | Sequence[float] | None = None,
        resolution_scaling_factor: Factors = None,
        output_shape: Sequence | None = None,
        seed: int = 0,
    ) -> None:
        n_modes = whole_numbers("NeuralOperator: n_modes", n_modes)
        width, out, n_layers, seed = whole_numbers(
            "NeuralOperator: hidden_channels, out_channels, n_layers and seed",
            (hidden_channels, out_channels, n_layers, seed),
        )
        ratios = {
            "lifting_channel_ratio": lifting_channel_ratio,
            "projection_channel_ratio": projection_channel_ratio,
            "channel_mlp_expansion": channel_mlp_expansion,
        }
        for name, ratio in ratios.items():
            if not isfinite(ratio):
                raise ValueError(f"NeuralOperator: expected a finite {name}, got {ratio}")
        lifting, projection = int(lifting_channel_ratio * width), int(projection_channel_ratio * width)
        inner = round(channel_mlp_expansion * width) if use_channel_mlp else 0
        if X.ndim != len(n_modes) + 2 or X.field != "real" or X.shape[1] < 1:
            raise ValueError(
                f"NeuralOperator: n_modes {n_modes} need a tensor (batch, channels, {len(n_modes)} axes), complex ones with "
                f'field="real", got {X!r} with field="{X.field}"'
            )
        if min(width, out, n_layers, projection, inner if use_channel_mlp else 1, *n_modes) < 1 or lifting < 0:
            raise ValueError("NeuralOperator: expected at least one of all channels, layers and modes")
        if positional_embedding not in ("grid", None) or norm not in (*NORMS, None):
            raise ValueError(
                f"NeuralOperator: expected the positional embedding 'grid' or None and a norm of {', '.join(NORMS)} or None, "
                f"got {positional_embedding!r} and {norm!r}"
            )
        seeds, widths = count(1000 * seed), padding_widths(X, domain_padding)
        makers: Makers = {"grid": GridEmbedding} if positional_embedding else {}
        lifted = chain(X, makers | {"lifting": partial(both, make=channel_mlp(lifting, width, seeds))})
        H = list(lifted.values())[-1].range
        padded = [n + 2 * p for n, p in zip(H.shape[2:], widths, strict=True)]
        steps, scale = scaled_sides(padded, n_layers, resolution_scaling_factor, output_shape)
        makers = {"pad": lambda Y: Apply(Padding(Y, around(widths)))}
        for k, sides in enumerate(steps):
            skips = fno_skip, channel_mlp_skip
            makers[f"block{k}"] = partial(
                block,
                n_modes=n_modes,
                sides=sides,
                inner=inner,
                norm=norm,
                skips=skips,
                last=k == n_layers - 1,
                seeds=seeds,
            )
        makers["unpad"] = lambda Y: Apply(unpadding(Y, H, [round(t * p) for t, p in zip(scale, widths, strict=True)]))
        if not any(widths):
            del makers["pad"], makers["unpad"]
        makers["projection"] = partial(both, make=channel_mlp(projection, out, seeds))
        super().__init__(lifted | chain(H, makers))
        self.n_modes = n_modes
        self.options: dict[str, Any] = {  # what a state dict's shapes do not tell
            "n_layers": n_layers,
            "positional_embedding": positional_embedding,
            "norm": norm,
            "channel_mlp_skip": channel_mlp_skip,
            "fno_skip": fno_skip,
            "domain_padding": domain_padding,
            "resolution_scaling_factor": resolution_scaling_factor,
        }


def block(
    Y: Space,
    n_modes: Sequence[int],
    sides: Sides,
    inner: int,
    norm: str | None,
    skips: tuple[str | None, str | None],
    last: bool,
    seeds: Iterator[int],
) -> Graph:
    """u = g(N (S h + b) + A h), and then g(N (M u + G h)); without an inner MLP, g(N u).

    Without a norm, which needs the sums over all points, and on one grid, it is worked on tile by tile.
    """
    _, modes, onto = spectrum(Y, n_modes, sides)
    spectral = SpectralConvolution(Y, modes, seed=next(seeds), onto=onto, sides=sides)
    Z, added = spectral.range, ["bias"]
    nodes: dict[str, tuple[Layer, Sequence[str]]] = {"spectral": (spectral, ["x"]), "bias": (bias(Z), ["spectral"])}

    def then(name: str, layer: Layer) -> None:
        """The layer of the sum of what has been added, in place of it."""
        nodes[name], added[:] = (layer, list(added)), [name]

    def plus_skip(name: str, kind: str | None) -> None:
        """A skip of h, at the points of the result."""
        if kind is not None and sides != Y.shape[2:]:
            nodes.setdefault("resampled", (Apply(resampling(Y, sides)), ["x"]))
        h = "resampled" if "resampled" in nodes else "x"
        if kind == "identity" and Y.dtype.kind == "f":
            added.append(h)
        elif kind is not None:
            nodes[name] = (both(Z, skip(kind, seeds)), [h])
            added.append(name)

    if norm:
        then("norm0", both(Z, NORMS[norm]))
    plus_skip("skip", skips[0])
    if not last:
        then("gelu0", gelu(Z))
    if inner:
        then("mlp", both(Z, channel_mlp(inner, Z.shape[1], seeds)))
        plus_skip("gate", skips[1])
    if norm:
        then("norm1", both(Z, NORMS[norm]))
    if not last:
        then("gelu1", gelu(Z))
    by_tiles = norm is None and Y.dtype.kind == "f" and Z == Y
    return (Tiled if by_tiles else Graph)(nodes, outputs=added)


def both(Y: Space, make: Make) -> Layer:
    """The layer on a real space; on a complex one, two of it."""
    if Y.dtype.kind == "f":
        return make(Y)
    return ComplexValued(Y, {"fr": make(real_space(Y)), "fi": make(real_space(Y))})


def gelu(Y: Space) -> Layer:
    """g; of a complex number, of both parts."""
    if Y.dtype.kind == "f":
        return GELU(Y)
    return Separately(Y, {"re": GELU(real_space(Y)), "im": GELU(real_space(Y))})


def bias(Y: Space) -> Layer:
    """A real number added to each channel."""
    if Y.dtype.kind == "f":
        return ChannelAffine(Y, weight=False)
    return Separately(Y, {"re": ChannelAffine(real_space(Y), weight=False), "im": Identity(real_space(Y))})


def skip(kind: str, seeds: Iterator[int]) -> Make:
    if kind not in SKIPS:
        raise ValueError(f"NeuralOperator: expected a skip of {', '.join(map(repr, SKIPS))}, got {kind!r}")
    if kind == "identity":
        return Identity
    if kind == "linear":
        return lambda Y: Linear(Y, Y.shape[1], bias=False, seed=next(seeds))
    return lambda Y: ChannelAffine(Y, bias=False)


def channel_mlp(inner: int, out: int, seeds: Iterator[int]) -> Make:
    """M; without inner channels one linear layer."""
    widths = {"fc0": inner, "fc1": out} if inner else {"fc0": out}

    def make(Y: Space) -> Layer:
        return ChannelMLP(Y, widths, seed=min([next(seeds) for _ in widths]))  # a seed for each map

    return make
