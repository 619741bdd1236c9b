"""NeuralOperator: the Fourier neural operator of the package neuraloperator, on any partition of batch and space.

Definition   With g the GELU, M MLPs of two linear layers along the channels with g between them, and E the padding by zeros on
             both sides of each axis:
                 h = E M_in(x, t)                      t the coordinates of the points, one channel for each axis
                 u = g(N (S_k h + b_k) + A_k h)        for each of the blocks: S_k a spectral convolution, A_k a skip
                 h = g(N (M_k u + G_k h))              G_k another skip
                 y = M_out E* h
             In the last block both outer g are left out. A skip is a matrix along the channels ("linear"), a number for each
             ("soft-gating"), the "identity", or none; N is a norm or nothing.
Modes        ``n_modes`` counts as there: n frequencies of a full axis, -(n // 2) .. (n - 1) // 2, and n // 2 + 1 of the last.
             So an even n is twice FNO's m. R holds them in FNO's order: 0 and up, then the negative ones.
Spaces       x real (batch, channels, N_1, .., N_d) -> y (batch, out_channels, N_1, .., N_d), on one grid that may cut the batch
             and the space axes. What is padded has balanced blocks of its own.
Jacobian     That of the composition: see layers/compose.py.
Cost         As FNO; E and E* move the cells that change their owner.
Trap         There the spectrum is centred by fftshift, and moved back by fftshift again, which on an odd number of points is
             not its inverse: what comes from frequency f goes to f - 1, on every full axis of odd length. Weights were trained
             so, and so the same is done here. On axes of even length (padding included) nothing moves.
Reference    Kossaifi et al., "A library for learning neural operators", arXiv 2412.10354, and version 2.0.0 of the package;
             Li et al., arXiv 2010.08895.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count

from ..layers import (
    GELU,
    Apply,
    BatchNorm,
    ChannelAffine,
    Graph,
    GridEmbedding,
    GroupNorm,
    InstanceNorm,
    Layer,
    Linear,
    Sequential,
    SpectralConvolution,
    chain,
)
from ..movement import Padding, Restriction
from ..partition import whole_numbers
from ..space import Space

Makers = dict[str, Callable[[Space], Layer]]
NORMS: dict[str | None, Callable[[Space], Layer]] = {
    "instance_norm": partial(InstanceNorm, affine=False),
    "group_norm": GroupNorm,
    "batch_norm": BatchNorm,
}
SKIPS = ("linear", "soft-gating", "identity", None)


class NeuralOperator(Sequential):
    """The network on the real space ``X``: (batch, channels, N_1, .., N_d). Options have neuraloperator's names and defaults.

    ``domain_padding``: the share of its length by which each axis is padded on both sides, or one share for each axis.
    Raises ValueError where an option does not fit, the grid cuts the channels, or an axis does not hold its modes.
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
        seed: int = 0,
    ) -> None:
        n_modes = whole_numbers("NeuralOperator: n_modes", n_modes)
        width, out, n_layers, seed = whole_numbers(
            "NeuralOperator: hidden_channels, out_channels, n_layers and seed",
            (hidden_channels, out_channels, n_layers, seed),
        )
        lifting, projection = int(lifting_channel_ratio * width), int(projection_channel_ratio * width)
        inner = round(channel_mlp_expansion * width) if use_channel_mlp else 0
        if X.ndim != len(n_modes) + 2 or X.dtype.kind != "f" or X.shape[1] < 1:
            raise ValueError(
                f"NeuralOperator: n_modes {n_modes} need a real tensor (batch, channels, .., ..), got {X!r}"
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
        lifted = chain(X, makers | channel_mlp("lifting", lifting, width, seeds))
        H = list(lifted.values())[-1].range
        inside = [(a, a + n) for (a, _), n in zip(widths, H.shape, strict=True)]
        makers = {"pad": lambda Y: Apply(Padding(Y, widths))}
        for k in range(n_layers):
            skips = fno_skip, channel_mlp_skip
            makers[f"block{k}"] = partial(
                block, n_modes=n_modes, inner=inner, norm=norm, skips=skips, last=k == n_layers - 1, seeds=seeds
            )
        makers["unpad"] = lambda Y: Apply(Restriction(Y, inside, dict(enumerate(H.blocks))))
        if not any(map(any, widths)):
            del makers["pad"], makers["unpad"]
        super().__init__(lifted | chain(H, makers | channel_mlp("projection", projection, out, seeds)))


def block(
    Y: Space,
    n_modes: Sequence[int],
    inner: int,
    norm: str | None,
    skips: tuple[str | None, str | None],
    last: bool,
    seeds: Iterator[int],
) -> Graph:
    """u = g(N (S h + b) + A h), and then g(N (M u + G h)); without an inner MLP, g(N u)."""
    modes, onto = spectrum(Y, n_modes)
    nodes: dict[str, tuple[Layer, Sequence[str]]] = {
        "spectral": (SpectralConvolution(Y, modes, seed=next(seeds), onto=onto), ["x"]),
        "bias": (ChannelAffine(Y, weight=False), ["spectral"]),
    }
    added = ["bias"]

    def then(name: str, layer: Callable[[Space], Layer]) -> None:
        """The layer of the sum of what has been added, in place of it."""
        Z = nodes[added[0]][0].range
        nodes[name], added[:] = (layer(Z), list(added)), [name]

    def plus_skip(name: str, kind: str | None) -> None:
        if kind == "identity":
            added.append("x")
        elif kind is not None:
            nodes[name] = (skip(Y, kind, seeds), ["x"])
            added.append(name)

    if norm:
        then("norm0", NORMS[norm])
    plus_skip("skip", skips[0])
    if not last:
        then("gelu0", GELU)
    if inner:
        for name, make in channel_mlp("mlp", inner, Y.shape[1], seeds).items():
            then(name, make)
        plus_skip("gate", skips[1])
    if norm:
        then("norm1", NORMS[norm])
    if not last:
        then("gelu1", GELU)
    return Graph(nodes, outputs=added)


def skip(Y: Space, kind: str, seeds: Iterator[int]) -> Layer:
    if kind not in SKIPS:
        raise ValueError(f"NeuralOperator: expected a skip of {', '.join(map(repr, SKIPS))}, got {kind!r}")
    if kind == "linear":
        return Linear(Y, Y.shape[1], bias=False, seed=next(seeds))
    return ChannelAffine(Y, bias=False)


def channel_mlp(name: str, inner: int, out: int, seeds: Iterator[int]) -> Makers:
    """Linear, GELU, linear along the channels; without inner channels one linear layer."""
    if not inner:
        return {f"{name}0": partial(Linear, out=out, seed=next(seeds))}
    first, second = (partial(Linear, out=n, seed=next(seeds)) for n in (inner, out))
    return {f"{name}0": first, f"{name}_gelu": GELU, f"{name}1": second}


def spectrum(Y: Space, n_modes: Sequence[int]) -> tuple[list[list[int]], list[list[int]]]:
    """The frequencies that are kept, and those at which their products are put; see the trap."""
    kept = [[*range((n + 1) // 2), *range(-(n // 2), 0)] for n in n_modes[:-1]] + [list(range(n_modes[-1] // 2 + 1))]
    onto = [[f - N % 2 for f in row] for row, N in zip(kept[:-1], Y.shape[2:-1], strict=True)] + kept[-1:]
    return kept, onto


def padding_widths(X: Space, domain_padding: float | Sequence[float] | None) -> list[tuple[int, int]]:
    """How many zeros before and after each axis of X."""
    sides = X.shape[2:]
    shares = domain_padding if isinstance(domain_padding, Sequence) else [domain_padding or 0.0] * len(sides)
    if len(shares) != len(sides) or min(shares) < 0:
        raise ValueError(
            f"NeuralOperator: expected a domain_padding >= 0, or one for each of {len(sides)} axes, got {domain_padding}"
        )
    around = [round(share * n) for share, n in zip(shares, sides, strict=True)]
    return [(0, 0), (0, 0), *((p, p) for p in around)]
