"""Convolution: windows over a tensor of which every axis may be cut; and its adjoint as a layer, the transposed convolution.

Definition   y[b, o, j] = sum over c, k of W[o, c, k] x[b, c, s j + d k - p] + bias[o]: correlation with the kernel W, stride s,
             dilation d and padding p; outside the tensor x is zero, periodic, or reflected at its first and last index.
             An axis has (n + p_left + p_right - d (k - 1) - 1) // s + 1 outputs.
Split axis   The outputs are cut in balanced blocks; a rank with the outputs [j_0, j_1) reads the inputs
             [s j_0 - p, s (j_1 - 1) + d (k - 1) + 1 - p), from whichever ranks own them: G, one copy of boxes. Nothing more
             travels, however uneven the blocks; padding is the part of a box outside the tensor.
Channels     may be cut as well, in one of the forms of channel_forms.py, which says what G, S and R are.
Layer        The form of bilinear.py, y = R K(G x, S W) + B b, with the local convolution K (windows.py).
Transposed   y = G* K_x*(R* x, S W) + B b: forward and adjoint in x change places. Its output has the size n of a tensor whose
             convolution has x's size: (m - 1) s + d (k - 1) + 1 - p_left - p_right + extra, 0 <= extra < s.
Why          (K G)* = G* K*; K is linear in each argument, so its tangent is the sum of the two.
Cost         One packed message to each rank that owns a part of the box, both ways; a tree for W and b each. Box and weights
             travel at the same time. What needs no halo is not computed meanwhile: for 3 x 3 windows of 32 channels on 256^2
             points of two ranks, the messages are 1 % of the forward, and thin margins would cost the products more.
Trap         A halo of one fixed width: with a stride, blocks that are not multiples of it need different widths on each rank,
             and a wrong one gives right shapes with wrong numbers.
Reference    Hewett and Grady, arXiv 2006.03108 (halo exchange for convolutions); Dumoulin and Visin, arXiv 1603.07285.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from numbers import Integral
from typing import Any

from ..movement.boxes import BOUNDARIES, BoxCopy
from ..partition import Partition, whole_numbers
from ..space import Space
from .bilinear import Bilinear, Transposed
from .channel_forms import Channels, around, read_channels
from .layer import Layer
from .linear import uniform_weights
from .spread import Spread
from .windows import Window

Pads = Sequence[tuple[int, int]]


class Convolution(Bilinear):
    """``out`` channels from those of ``X`` (batch, channels, 1 to 3 space axes).

    ``kernel``, ``stride``, ``dilation``: a number, or one for each space axis. ``padding``: "same", a number, or for each axis
    one or a (left, right). ``boundary``: "zero", "periodic" or "reflect" (padding then below the size of the axis).
    ``channels``: the form (channel_forms.py) in which they are cut, "whole", "all-gather", "reduce-scatter" or (P_w, P_y).
    Weights uniform in +-1/sqrt(channels / groups k_1 .. k_n) by (seed, index), bias zero.
    Raises ValueError where these do not fit, or no window fits.
    """

    told = ("window", "seed")

    def __init__(
        self,
        X: Space,
        out: int,
        kernel: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | str | Sequence = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        bias: bool = True,
        boundary: str = "zero",
        seed: int = 0,
        channels: Channels = "whole",
    ) -> None:
        window = read_window(self, X, out, kernel, stride, dilation, groups)
        pads, (work, P_y) = read_padding(self, window, padding), read_channels(self, X, channels)
        read_boundary(self, X, pads, boundary)
        sizes = tuple(n + l + r for n, (l, r) in zip(X.shape[2:], pads, strict=True))
        if not prod(window.positions(sizes)):
            raise ValueError(f"{type(self).__name__}: a window that spans {window.reach} does not fit into {sizes}")
        Y = beside(X, P_y, (X.shape[0], out, *window.positions(sizes)))
        self.window = window
        K, G, S, R = around(X, Y, work, window, reached(Y, window, pads), boundary)
        super().__init__(X, Y, K, G, S, R, Spread(Y, (1,)) if bias else None)
        self.seed = seed
        self.parameters["W"] = uniform_weights(S.domain, prod(S.domain.shape[1:]), seed)


class TransposedConvolution(Bilinear):
    """The adjoint of a convolution from ``out`` channels to those of ``X``; arguments as there, ``extra`` in 0..s - 1.

    Raises ValueError where these do not fit.
    """

    told = ("window", "seed")

    def __init__(
        self,
        X: Space,
        out: int,
        kernel: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence = 0,
        extra: int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        bias: bool = True,
        seed: int = 0,
        channels: Channels = "whole",
    ) -> None:
        window = read_window(self, X, out, kernel, stride, dilation, groups)
        pads, (work, P_y) = read_padding(self, window, padding), read_channels(self, X, channels)
        more = read_sizes(self, X, "extra", extra, least=0)
        if any(e >= s for e, s in zip(more, window.stride, strict=True)):
            raise ValueError(f"{type(self).__name__}: extra must be below the stride {window.stride}, got {more}")
        axes = zip(X.shape[2:], window.stride, window.reach, pads, more, strict=True)
        sizes = [(m - 1) * s + reach - l - r + e for m, s, reach, (l, r), e in axes]
        if min(sizes) < 1:
            raise ValueError(f"{type(self).__name__}: nothing is left of the output: its sizes would be {tuple(sizes)}")
        Y = beside(X, P_y, (X.shape[0], out, *sizes))
        self.window = window
        K, G, S, R = around(Y, X, work.transposed, window, reached(X, window, pads), "zero")
        super().__init__(X, Y, Transposed(K, G.range.local_shape), R.H, S, G.H, Spread(Y, (1,)) if bias else None)
        self.seed = seed
        self.parameters["W"] = uniform_weights(S.domain, prod(S.domain.shape[1:]), seed)


# ---- arguments, and the boxes that a window reads ------------------------------------------------------------------------


def window_boxes(who: Layer, image: Space, outputs: Space, window: Window, pads: Pads, boundary: str) -> BoxCopy:
    """G: what each rank reads of the ``image`` to compute its block of the ``outputs``, cut alike on the other axes."""
    read_image(who, image)
    return BoxCopy(
        image, image.replace(blocks=dict(enumerate(image.blocks)) | reached(outputs, window, pads)), boundary
    )


def reached(outputs: Space, window: Window, pads: Pads) -> dict[int, list[tuple[int, int]]]:
    """On each space axis, the indices that the windows of each block of the ``outputs`` reach."""
    axes = zip(window.stride, window.reach, pads, strict=True)
    return {
        axis: [
            (s * first - left, s * (last - 1) + reach - left) if first < last else (0, 0)
            for first, last in outputs.blocks[axis]
        ]
        for axis, (s, reach, (left, _)) in enumerate(axes, start=2)
    }


def beside(X: Space, P_y: Partition, shape: Sequence[int]) -> Space:
    """The space of ``shape`` on ``P_y`` that is cut as X is: in the blocks of X along the axes of its size, else balanced."""
    grids = zip(P_y.shape, X.partition.shape, strict=True)
    same = [g for g, (p, q) in enumerate(grids) if p == q]
    kept = [i for i, n in enumerate(X.shape) if shape[i] == n and set(X.cuts[i]) <= set(same)]
    return X.replace(partition=P_y, shape=shape, blocks={i: X.blocks[i] for i in kept})


def read_image(who: Layer, X: Space) -> None:
    """ValueError where the blocks of X do not hold each index once."""
    for axis, row in enumerate(X.blocks):
        if not X.covers_once(axis):
            raise ValueError(f"{type(who).__name__}: blocks {list(row)} of axis {axis} leave gaps or overlap")


def read_boundary(who: Layer, X: Space, pads: Pads, boundary: str) -> None:
    """ValueError where there is no such boundary, or padding would be mirrored twice."""
    if boundary not in BOUNDARIES:
        raise ValueError(f"{type(who).__name__}: expected boundary={' or '.join(BOUNDARIES)}, got {boundary!r}")
    if boundary == "reflect" and any(max(pair) > max(n - 1, 0) for n, pair in zip(X.shape[2:], pads, strict=True)):
        raise ValueError(
            f'{type(who).__name__}: boundary="reflect" needs padding of at most n - 1 on each axis, got {pads} on {X!r}'
        )


def read_window(who: Layer, X: Space, out: int, kernel: Any, stride: Any, dilation: Any, groups: int) -> Window:
    """The window; ValueError where an argument or the space does not fit."""
    name = type(who).__name__
    if not 3 <= X.ndim <= 5:
        raise ValueError(f"{name}: expected (batch, channels, 1 to 3 space axes), got {X!r}")
    read_image(who, X)
    (out, groups), channels = whole_numbers(f"{name}: out and groups", (out, groups)), X.shape[1]
    if min(out, groups, channels) < 1 or out % groups or channels % groups:
        raise ValueError(f"{name}: expected groups that divide {channels} channels and {out} outputs, got {groups}")
    return Window(
        read_sizes(who, X, "kernel", kernel, least=1),
        read_sizes(who, X, "stride", stride, least=1),
        read_sizes(who, X, "dilation", dilation, least=1),
        groups,
    )


def read_sizes(who: Layer, X: Space, what: str, given: Any, least: int) -> tuple[int, ...]:
    """One whole number for each space axis, from one or several."""
    several = [given] * (X.ndim - 2) if isinstance(given, Integral) else given
    sizes = whole_numbers(f"{type(who).__name__}: {what}", several)
    if len(sizes) != X.ndim - 2 or min(sizes) < least:
        raise ValueError(f"{type(who).__name__}: expected {what} >= {least} for each of {X.ndim - 2} axes, got {given}")
    return sizes


def read_padding(who: Layer, window: Window, padding: Any) -> list[tuple[int, int]]:
    """(left, right) for each space axis; "same" keeps the size where the stride is 1."""
    name, axes = type(who).__name__, len(window.kernel)
    if padding == "same":
        if max(window.stride) > 1:
            raise ValueError(f'{name}: padding="same" needs a stride of 1, got {window.stride}')
        return [((reach - 1) // 2, reach // 2) for reach in window.reach]
    several = [padding] * axes if isinstance(padding, Integral) else padding
    if isinstance(several, str) or not hasattr(several, "__len__") or len(several) != axes:
        raise ValueError(
            f'{name}: expected padding of "same", a number, or one for each of {axes} axes, got {padding!r}'
        )
    pairs = [whole_numbers(f"{name}: padding", (p, p) if isinstance(p, Integral) else p) for p in several]
    if any(len(pair) != 2 or min(pair) < 0 for pair in pairs):
        raise ValueError(f"{name}: expected padding >= 0, or pairs (left, right), got {padding!r}")
    return [(left, right) for left, right in pairs]
