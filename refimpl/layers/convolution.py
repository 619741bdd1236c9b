"""Convolution: windows over a tensor whose batch and space may be cut; and its adjoint as a layer, the transposed convolution.

Definition   y[b, o, j] = sum over c, k of W[o, c, k] x[b, c, s j + d k - p] + bias[o]: correlation with the kernel W, stride s,
             dilation d and padding p; outside the tensor x is zero, or periodic.
             An axis has (n + p_left + p_right - d (k - 1) - 1) // s + 1 outputs.
Split axis   The outputs are cut in balanced blocks; a rank with the outputs [j_0, j_1) reads the inputs
             [s j_0 - p, s (j_1 - 1) + d (k - 1) + 1 - p), from whichever ranks own them: G, one copy of boxes. Nothing more
             travels, however uneven the blocks; padding is the part of a box outside the tensor.
Layer        y = K(G x, B W) + B b, with K the local bilinear map (windows.py), and B from the owner of a weight to all ranks.
Tangent      dy = K(G dx, B W) + K(G x, B dW) + B db.
Adjoint      dx = G* K_x*(dy, B W);   dW = B* K_w*(G x, dy);   db = B* sum(dy).
Transposed   y = G* K_x*(x, B W) + B b: forward and adjoint in x change places. Its output has the size n of a tensor whose
             convolution has x's size: (m - 1) s + d (k - 1) + 1 - p_left - p_right + extra, 0 <= extra < s.
Why          (K G)* = G* K*; K is linear in each argument, so its tangent is the sum of the two.
Cost         One packed message to each rank that owns a part of the box, both ways; a tree for W and b each.
Trap         A halo of one fixed width: with a stride, blocks that are not multiples of it need different widths on each rank,
             and a wrong one gives right shapes with wrong numbers.
Reference    Hewett and Grady, arXiv 2006.03108 (halo exchange for convolutions); Dumoulin and Visin, arXiv 1603.07285.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from numbers import Integral
from typing import Any

import numpy as np

from ..arrays import Array, to_host
from ..movement import Broadcast
from ..movement.boxes import BoxCopy
from ..operator import Traffic
from ..partition import whole_numbers
from ..space import Space
from .layer import Blocks, Layer
from .linear import uniform_weights
from .spread import Spread
from .windows import Window


class Convolution(Layer):
    """``out`` channels from those of ``X`` (batch, channels, 1 to 3 space axes), whose channels are whole.

    ``kernel``, ``stride``, ``dilation``: a number, or one for each space axis. ``padding``: "same", a number, or for each axis
    one or a (left, right). ``boundary``: "zero" or "periodic". Weights uniform in +-1/sqrt(channels / groups k_1 .. k_n).
    Raises ValueError where these do not fit, the channels are not whole, or no window fits.
    """

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
    ) -> None:
        window = read_window(self, X, out, kernel, stride, dilation, groups)
        pads = read_padding(self, window, padding)
        sizes = tuple(n + l + r for n, (l, r) in zip(X.shape[2:], pads, strict=True))
        Y = X.replace(shape=(X.shape[0], out, *window.positions(sizes)))
        super().__init__(X, Y)
        if not prod(Y.shape[2:]):
            raise ValueError(f"{type(self).__name__}: a window that spans {window.reach} does not fit into {sizes}")
        self.window, self.boxes = window, window_boxes(self, X, Y, window, pads, boundary)
        self.weights = Weights(Y, (out, X.shape[1] // groups, *window.kernel), bias, seed)
        self.parameter_spaces, self.parameters = self.weights.spaces, self.weights.initial

    def value(self, x: Array) -> Array:  # y = K(G x, B W) + B b
        return self._outputs(to_host(self.boxes.forward(x)), self.parameters)

    def derivative(self, x: Array) -> tuple[Array, Callable, Callable]:
        x, W = to_host(self.boxes.forward(x)), self.weights.kernel(self.parameters)

        def tangent(dx: Array, d: Blocks) -> Array:  # dy = K(G dx, B W) + K(G x, B dW) + B db
            return self.range.adopt(self.window.apply(to_host(self.boxes.forward(dx)), W)) + self._outputs(x, d)

        def adjoint(
            dy: Array,
        ) -> tuple[Array, Blocks]:  # dx = G* K_x*(dy, B W),  dW = B* K_w*(G x, dy),  db = B* sum(dy)
            host = to_host(dy)
            dx = self.boxes.adjoint(self.boxes.range.adopt(self.window.adjoint_x(host, W, x.shape)))
            return dx, self.weights.adjoint(self.window.adjoint_w(x, host), dy)

        return self._outputs(x, self.parameters), tangent, adjoint

    def _outputs(self, x: np.ndarray, parameters: Blocks) -> Array:  # K(x, B W) + B b
        y = self.window.apply(x, self.weights.kernel(parameters))
        return self.range.adopt(y) + self.weights.bias(parameters)

    def traffic(self) -> Traffic:
        return self.boxes.traffic() + self.weights.traffic()


class TransposedConvolution(Layer):
    """The adjoint of a convolution from ``out`` channels to those of ``X``; arguments as there, ``extra`` in 0..s - 1.

    Raises ValueError where these do not fit, or the channels are not whole.
    """

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
    ) -> None:
        window = read_window(self, X, out, kernel, stride, dilation, groups)
        pads, more = read_padding(self, window, padding), read_sizes(self, X, "extra", extra, least=0)
        if any(e >= s for e, s in zip(more, window.stride, strict=True)):
            raise ValueError(f"{type(self).__name__}: extra must be below the stride {window.stride}, got {more}")
        axes = zip(X.shape[2:], window.stride, window.reach, pads, more, strict=True)
        sizes = [(m - 1) * s + reach - l - r + e for m, s, reach, (l, r), e in axes]
        if min(sizes) < 1:
            raise ValueError(f"{type(self).__name__}: nothing is left of the output: its sizes would be {tuple(sizes)}")
        Y = X.replace(shape=(X.shape[0], out, *sizes))
        super().__init__(X, Y)
        self.window, self.boxes = window, window_boxes(self, Y, X, window, pads, "zero")
        self.weights = Weights(Y, (X.shape[1], out // groups, *window.kernel), bias, seed)
        self.parameter_spaces, self.parameters = self.weights.spaces, self.weights.initial

    def value(self, x: Array) -> Array:  # y = G* K_x*(x, B W) + B b
        local = self._local(to_host(x), self.weights.kernel(self.parameters))
        return self.boxes.adjoint(self.boxes.range.adopt(local)) + self.weights.bias(self.parameters)

    def derivative(self, x: Array) -> tuple[Array, Callable, Callable]:
        x, W = to_host(x), self.weights.kernel(self.parameters)
        y = self.boxes.adjoint(self.boxes.range.adopt(self._local(x, W))) + self.weights.bias(self.parameters)

        def tangent(dx: Array, d: Blocks) -> Array:  # dy = G* (K_x*(dx, B W) + K_x*(x, B dW)) + B db
            local = self._local(to_host(dx), W) + self._local(x, self.weights.kernel(d))
            return self.boxes.adjoint(self.boxes.range.adopt(local)) + self.weights.bias(d)

        def adjoint(dy: Array) -> tuple[Array, Blocks]:  # dx = K(G dy, B W),  dW = B* K_w*(G dy, x),  db = B* sum(dy)
            gathered = to_host(self.boxes.forward(dy))
            dx = self.domain.adopt(self.window.apply(gathered, np.conj(W)))
            return dx, self.weights.adjoint(np.conj(self.window.adjoint_w(gathered, x)), dy)

        return y, tangent, adjoint

    def _local(self, x: np.ndarray, W: np.ndarray) -> np.ndarray:
        """K_x* with the conjugate of W, so that it is linear in W too."""
        return self.window.adjoint_x(x, np.conj(W), self.boxes.range.local_shape)

    def traffic(self) -> Traffic:
        return self.boxes.traffic().reversed + self.weights.traffic()


class Weights:
    """A kernel W of this shape, owned by the first rank, and a bias for the channels of ``Y``, as every rank uses them."""

    def __init__(self, Y: Space, shape: Sequence[int], bias: bool, seed: int) -> None:
        W = Y.replace(partition=Y.partition.face(()), shape=shape, cuts=((),) * len(shape), blocks={})
        self.share, self.spread = Broadcast(W, Y.partition), Spread(Y, (1,))
        self.spaces = {"W": W} | ({"b": self.spread.domain} if bias else {})
        self.initial = {name: space.zeros() for name, space in self.spaces.items()}
        self.initial["W"] = uniform_weights(W, prod(shape[1:]), seed)

    def kernel(self, parameters: Blocks) -> np.ndarray:  # B W
        return to_host(self.share.forward(parameters["W"]))

    def bias(self, parameters: Blocks) -> Array | float:  # B b
        return self.spread.forward(parameters["b"]) if "b" in self.spaces else 0.0

    def adjoint(self, dW: np.ndarray, dy: Array) -> Blocks:
        """The gradients on their owners, of this rank's part of that of B W, and of the output."""
        copies = self.share.range
        gradients = {"W": self.share.adjoint(copies.adopt(dW.reshape(copies.local_shape)))}
        if "b" in self.spaces:
            gradients["b"] = self.spread.adjoint(self.spread.local_sum(dy))
        return gradients

    def traffic(self) -> Traffic:
        return self.share.traffic() + (self.spread.traffic() if "b" in self.spaces else Traffic())


# ---- arguments, and the boxes that a window reads ------------------------------------------------------------------------


def window_boxes(
    who: Layer, image: Space, outputs: Space, window: Window, pads: Sequence[tuple[int, int]], boundary: str
) -> BoxCopy:
    """G: what each rank reads of the ``image`` to compute its block of the ``outputs``."""
    if boundary not in ("zero", "periodic"):
        raise ValueError(f'{type(who).__name__}: expected boundary="zero" or "periodic", got {boundary!r}')
    for axis, row in enumerate(image.blocks):
        if not image.covers_once(axis):
            raise ValueError(f"{type(who).__name__}: blocks {list(row)} of axis {axis} leave gaps or overlap")
    blocks: dict[int, Sequence[tuple[int, int]]] = dict(enumerate(image.blocks))
    for axis, (s, reach, (left, _)) in enumerate(zip(window.stride, window.reach, pads, strict=True), start=2):
        blocks[axis] = [
            (s * first - left, s * (last - 1) + reach - left) if first < last else (0, 0)
            for first, last in outputs.blocks[axis]
        ]
    return BoxCopy(image, image.replace(blocks=blocks), boundary)


def read_window(who: Layer, X: Space, out: int, kernel: Any, stride: Any, dilation: Any, groups: int) -> Window:
    """The window; ValueError where an argument or the space does not fit."""
    name = type(who).__name__
    if not 3 <= X.ndim <= 5 or not X.is_whole(1):
        raise ValueError(f"{name}: expected (batch, whole channels, 1 to 3 space axes), got {X!r}")
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
