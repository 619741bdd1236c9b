"""Windows: correlation of one block with a kernel, and its two adjoints, as matrix products over tiles.

Definition   y[b, o, j] = sum over c, k of w[o, c, k] x[b, c, s j + d k], for every position j at which the window fits: a
             bilinear map K(x, w) of local arrays x (batch, channels, N_1 .. N_n) and w (out, channels / groups, k_1 .. k_n),
             n = 1, 2 or 3. With groups, the channels and the outputs are cut into as many parts, which do not mix.
Adjoints     in x:  x[b, c, s j + d k] += sum over o of conj(w[o, c, k]) y[b, o, j];
             in w:  w[o, c, k] = sum over b, j of y[b, o, j] conj(x[b, c, s j + d k]).
How          The windows of a tile of outputs are copied side by side as the columns of a matrix (c, k) x j; then K, its adjoint
             in x (before the columns are added back) and its adjoint in w are one product each. With a stride of 1, the adjoint
             in x is itself a K, of y with zeros around it and the mirrored kernel: there is nothing to add back. It copies
             outputs where the other way adds up channels twice, so it is taken for at most twice as many outputs.
Cost         2 out channels / groups k_1 .. k_n flops an output, thrice for a pass and its adjoint. Tiles are cut along the
             first space axis alone: their columns hold about 2 MiB, or all windows of one index where these are more.
Reference    Chellapilla, Puri and Simard, "High performance convolutional neural networks for document processing", 2006.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import numpy as np

TILE = 1 << 18  # numbers in the columns of a tile: they stay in a core's cache


@dataclass(frozen=True)
class Window:
    """The shape of a window on each space axis, and the number of groups of channels."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int = 1

    @property
    def reach(self) -> tuple[int, ...]:
        """How many indices a window spans on each axis: d (k - 1) + 1."""
        return tuple(d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilation, strict=True))

    def positions(self, sizes: tuple[int, ...]) -> tuple[int, ...]:
        """How many windows fit on axes of these sizes."""
        return tuple(max((n - r) // s + 1, 0) for n, r, s in zip(sizes, self.reach, self.stride, strict=True))

    def offsets(self, x: np.ndarray) -> Iterator[np.ndarray]:
        """For each place k in the window, the view x[.., s j + d k, ..] of an array whose last axes are the space axes."""
        n = len(self.kernel)
        m = self.positions(x.shape[x.ndim - n :])
        for k in np.ndindex(*self.kernel):
            starts = [d * i for d, i in zip(self.dilation, k, strict=True)]
            axes = zip(starts, self.stride, m, strict=True)
            at = [slice(start, start + s * count, s) for start, s, count in axes]
            yield x[(slice(None),) * (x.ndim - n) + tuple(at)]

    # ---- the bilinear map and its adjoints ---------------------------------------------------------------------------

    def apply(self, x: np.ndarray, w: np.ndarray) -> np.ndarray:
        """K(x, w)."""
        y = np.empty((len(x), len(w), *self.positions(x.shape[2:])), x.dtype)
        rows = self._rows(w)
        for part, out in self._tiles(x, y):
            out[...] = (rows @ self._columns(part)).reshape(out.shape)
        return y

    def adjoint_x(self, y: np.ndarray, w: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """The adjoint of x -> K(x, w), for x of this shape."""
        if y.size and max(self.stride) == 1 and len(w) <= 2 * shape[1]:
            return self.apply(self._surrounded(y), self._mirrored(w))
        x = np.zeros(shape, y.dtype)
        rows = conjugate(np.swapaxes(self._rows(w), 1, 2))
        for part, out in self._tiles(x, y):
            columns = rows @ out.reshape(self.groups, -1, out[0].size)
            windows = self._windows(part)  # a view: what is added to it is added to x
            columns = columns.reshape(len(part), *self.kernel, *out.shape[1:])
            for k in np.ndindex(*self.kernel):
                windows[(slice(None), *k)] += columns[(slice(None), *k)]
        return x

    def adjoint_w(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """The adjoint of w -> K(x, w)."""
        out, channels = y.shape[1], x.shape[1]
        w = np.zeros((self.groups, out // self.groups, channels // self.groups * prod(self.kernel)), x.dtype)
        for part, dy in self._tiles(x, y):
            # dy is conjugated, and w at the end, since the columns are many
            rows = conjugate(dy.reshape(self.groups, -1, dy[0].size))
            w += rows @ np.swapaxes(self._columns(part), 1, 2)
        return conjugate(w).reshape(out, channels // self.groups, *self.kernel)

    # ---- tiles and their columns -------------------------------------------------------------------------------------

    def _rows(self, w: np.ndarray) -> np.ndarray:
        """The kernel as a matrix for each group: (groups, outputs, channels and offsets)."""
        return w.reshape(self.groups, len(w) // self.groups, prod(w.shape[1:]))

    def _mirrored(self, w: np.ndarray) -> np.ndarray:
        """conj(w[o, c, -k]) as a kernel from outputs to channels."""
        by_group = w.reshape(self.groups, len(w) // self.groups, *w.shape[1:])
        turned = np.flip(np.swapaxes(by_group, 1, 2), tuple(range(3, by_group.ndim)))
        return conjugate(turned).reshape(self.groups * turned.shape[1], *turned.shape[2:])

    def _surrounded(self, y: np.ndarray) -> np.ndarray:
        """y with zeros as far as a window reaches beyond its first number, on all sides of its space axes."""
        widths = [reach - 1 for reach in self.reach]
        wide = np.zeros((*y.shape[:2], *(m + 2 * r for m, r in zip(y.shape[2:], widths, strict=True))), y.dtype)
        inner = tuple(slice(r, r + m) for m, r in zip(y.shape[2:], widths, strict=True))
        wide[(slice(None), slice(None), *inner)] = y
        return wide

    def _tiles(self, x: np.ndarray, y: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(part of x, part of y) without the batch axis, cut along the first space axis so that the columns stay small."""
        m = y.shape[2]
        step = max(TILE // max(x.shape[1] * prod(self.kernel) * prod(y.shape[3:]), 1), 1)
        if not y.size:
            return
        for b in range(len(x)):
            for start in range(0, m, step):
                stop = min(start + step, m)
                first, last = self.stride[0] * start, self.stride[0] * (stop - 1) + self.reach[0]
                yield x[b, :, first:last], y[b, :, start:stop]

    def _windows(self, part: np.ndarray) -> np.ndarray:
        """A view (channels, offsets.., positions..) of a part (channels, sizes..)."""
        m, steps = self.positions(part.shape[1:]), part.strides[1:]
        offsets = tuple(d * step for d, step in zip(self.dilation, steps, strict=True))
        moves = tuple(s * step for s, step in zip(self.stride, steps, strict=True))
        shape, strides = (len(part), *self.kernel, *m), (part.strides[0], *offsets, *moves)
        return np.lib.stride_tricks.as_strided(part, shape, strides)

    def _columns(self, part: np.ndarray) -> np.ndarray:
        """The windows side by side: (groups, channels and offsets, positions)."""
        windows = self._windows(part)
        count = prod(windows.shape[1 + len(self.kernel) :])
        return windows.reshape(self.groups, -1, count)


def conjugate(a: np.ndarray) -> np.ndarray:
    """The complex conjugate; a real array itself, where NumPy would make a copy."""
    return np.conj(a) if a.dtype.kind == "c" else a
