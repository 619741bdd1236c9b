"""Pooling: the mean or the largest number of each window, over a tensor of which any axis may be cut.

Definition   AvgPool: y[j] = (1/K) sum over k of x[s j + d k - p];   MaxPool: y[j] = max over k of x[s j + d k - p];
             K = k_1 .. k_n numbers in a window. Outside the tensor is zero, and counts (AvgPool), or minus infinity (MaxPool).
Split axis   As in a convolution (convolution.py): G copies to each rank what its windows reach, and the pool P is local.
Tangent      dy = P(G dx) for the mean;  for the maximum dy[j] = dx[s j + d k_j - p], with k_j the place of the largest (of
             equal ones the first).
Adjoint      dx = G* P* dy: the mean gives dy[j] / K to each number of window j, the maximum all of dy[j] to k_j; numbers in
             several windows get the sum.
Why          P is a matrix with the entries 1/K, or at each x one of 0 and 1 that chooses a number for every window.
Cost         One packed message to each rank that owns a part of what is reached, both ways.
Trap         Zero ghosts under a maximum: a window of negative numbers at the border would find its maximum outside.
Reference    Hewett and Grady, arXiv 2006.03108 (pooling with generalised halos).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from math import prod

import numpy as np

from ..arrays import Array, to_host
from ..operator import Traffic
from ..space import Space
from .convolution import read_padding, read_sizes, window_boxes
from .layer import Blocks, Layer
from .windows import Window


class Pool(Layer):
    """The base: the window, and the boxes that a rank reads. ``stride``: by default the kernel, so that windows do not overlap.

    Raises ValueError where X has not 1 to 3 space axes after batch and channels, padding exceeds half a window, or none fits.
    """

    told = ("window", "pads")

    def __init__(
        self,
        X: Space,
        kernel: int | Sequence[int],
        stride: int | Sequence[int] | None = None,
        padding: int | Sequence = 0,
        dilation: int | Sequence[int] = 1,
    ) -> None:
        name = type(self).__name__
        if not 3 <= X.ndim <= 5 or X.dtype.kind != "f":
            raise ValueError(f"{name}: expected a real space (batch, channels, 1 to 3 space axes), got {X!r}")
        sizes = read_sizes(self, X, "kernel", kernel, least=1)
        strides = sizes if stride is None else read_sizes(self, X, "stride", stride, least=1)
        window = Window(sizes, strides, read_sizes(self, X, "dilation", dilation, least=1))
        pads = read_padding(self, window, padding)
        if any(2 * max(pair) > reach for pair, reach in zip(pads, window.reach, strict=True)):
            raise ValueError(f"{name}: padding must be at most half of what a window spans, {window.reach}, got {pads}")
        padded = tuple(n + l + r for n, (l, r) in zip(X.shape[2:], pads, strict=True))
        if min(window.positions(padded)) < 1:
            raise ValueError(f"{name}: a window that spans {window.reach} does not fit into {padded}")
        super().__init__(X, X.replace(shape=(*X.shape[:2], *window.positions(padded))))
        self.window, self.pads, self.boxes = window, pads, window_boxes(self, X, self.range, window, pads, "zero")

    def gather(self, x: Array) -> np.ndarray:  # G x
        return to_host(self.boxes.forward(x))

    def traffic(self) -> Traffic:
        return self.boxes.traffic()

    @property
    def _size(self) -> int:
        return int(np.prod(self.window.kernel))


class AvgPool(Pool):
    """The mean of each window; padding counts as zeros."""

    def value(self, x: Array) -> Array:  # y = (1/K) sum over k of G x
        return self.range.adopt(sum(self.window.offsets(self.gather(x))) / self.range.dtype.type(self._size))

    def derivative(self, x: Array) -> tuple[Array, Callable, Callable]:
        def tangent(dx: Array, d: Blocks) -> Array:  # dy = P G dx
            return self.value(dx)

        def adjoint(dy: Array) -> tuple[Array, Blocks]:  # dx = G* P* dy
            local, share = to_host(self.boxes.range.zeros()), to_host(dy) / self.range.dtype.type(self._size)
            for view in self.window.offsets(local):
                view += share
            return self.boxes.adjoint(self.boxes.range.adopt(local)), {}

        return self.value(x), tangent, adjoint


class MaxPool(Pool):
    """The largest number of each window. ValueError, too, where a window reads nothing but padding."""

    def __init__(
        self,
        X: Space,
        kernel: int | Sequence[int],
        stride: int | Sequence[int] | None = None,
        padding: int | Sequence = 0,
        dilation: int | Sequence[int] = 1,
    ) -> None:
        super().__init__(X, kernel, stride, padding, dilation)
        for axis, (n, (before, _)) in enumerate(zip(X.shape[2:], self.pads, strict=True)):
            starts = self.window.stride[axis] * np.arange(self.range.shape[2 + axis]) - before
            read = starts[:, None] + self.window.dilation[axis] * np.arange(self.window.kernel[axis])
            if not ((read >= 0) & (read < n)).any(axis=1).all():
                raise ValueError(
                    f"MaxPool: a window lies outside of {X.shape[2:]} as a whole; pad less than {self.pads}"
                )

    def value(self, x: Array) -> Array:  # y = max over k of G x
        return self.range.adopt(self._largest(self._fenced(self.gather(x))))

    def derivative(self, x: Array) -> tuple[Array, Callable, Callable]:
        local = self._fenced(self.gather(x))
        y = self._largest(local)
        places = self._places(local, y)

        def tangent(dx: Array, d: Blocks) -> Array:  # dy[j] = dx[the place of the largest]
            return self.range.adopt(self.gather(dx).ravel()[places])

        def adjoint(dy: Array) -> tuple[Array, Blocks]:  # dx[the place of the largest] += dy[j], then G*
            sums = np.bincount(places.ravel(), to_host(dy).ravel(), minlength=local.size)
            return self.boxes.adjoint(self.boxes.range.adopt(sums.reshape(local.shape).astype(local.dtype))), {}

        return self.range.adopt(y), tangent, adjoint

    def _largest(self, x: np.ndarray) -> np.ndarray:
        """The largest number of each window, a NaN where there is one."""
        views = self.window.offsets(x)
        y = next(views).copy()
        for view in views:
            np.maximum(y, view, out=y)
        return y

    def _places(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Where in the memory of x the first number of each window is that is equal to y, or a NaN."""
        chosen, some_nan = np.zeros(y.shape, np.min_scalar_type(self._size)), np.isnan(y).any()
        for k, view in reversed(list(enumerate(self.window.offsets(x)))):  # the first one is written last
            np.copyto(chosen, k, where=~(view < y) if some_nan else view == y)
        steps = [prod(x.shape[i + 1 :]) for i in range(x.ndim)]  # in memory, from one index of an axis to the next
        moves = zip(y.shape, (1, 1, *self.window.stride), steps, strict=True)
        corners = reduce(np.add.outer, [s * step * np.arange(m) for m, s, step in moves])
        inner = [d * step for d, step in zip(self.window.dilation, steps[2:], strict=True)]
        return corners + (np.array(list(np.ndindex(*self.window.kernel))) @ inner)[chosen]

    def _fenced(self, x: np.ndarray) -> np.ndarray:
        """Minus infinity where the box is outside the tensor."""
        for axis, (start, _) in enumerate(self.boxes.range.local_box):
            n, along = self.domain.shape[axis], np.moveaxis(x, axis, 0)
            along[: max(-start, 0)] = -np.inf
            along[max(n - start, 0) :] = -np.inf
        return x
