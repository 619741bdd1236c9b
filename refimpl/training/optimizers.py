"""AdamW, and clipping of gradients by their global norm.

Definition   m <- b1 m + (1 - b1) g,   v <- b2 v + (1 - b2) g^2,   w <- w - lr (m^ / (sqrt v^ + eps) + decay w),
             with m^ = m / (1 - b1^t), v^ = v / (1 - b2^t) at step t. A complex weight is two real ones.
Clipping     g <- g min(1, c / |g|), with |g|^2 the sum over all parameters and ranks, each number counted once: where a space
             holds copies, the first.
Precision    The moments are of the weights' dtype. In float64 always: b^t and the corrections 1 - b^t (for b2 = 0.999 in
             float32, the first step would be wrong by 6e-6), and |g| with all its sums, so that it is the same on any grid.
Memory       The moments are the rule's own: a step writes the new ones over the old. It makes new weights, and beside them
             arrays of TILE numbers, one weight after the other: an update adds the memory of the weights once, and a few tiles.
Parallel     Each number has one owner, which updates it: no message but the one for |g|.
Trap         ``Product.norm`` counts every copy, as the inner product must: with c copies it clips sqrt(c) times too early.
Reference    Kingma and Ba, arXiv 1412.6980; Loshchilov and Hutter, arXiv 1711.05101 (decoupled weight decay); Pascanu et al.,
             arXiv 1211.5063 (clipping).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import fsum, isfinite, sqrt

import numpy as np

from .. import wire
from ..arrays import Array, contiguous, namespace
from ..layers.layer import Blocks
from ..space import Product

TILE = 1 << 15  # numbers that are updated at a time: they stay in a core's cache


@dataclass(frozen=True)
class AdamW:
    """The update rule; its state is a pair of dicts like the parameters. ``weight_decay=0`` is Adam."""

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0

    def start(self, parameters: Blocks) -> tuple[Blocks, Blocks]:
        """The moments (m, v) before the first step: zero."""
        first, second = ({k: namespace(w).zeros_like(w) for k, w in parameters.items()} for _ in "mv")
        return first, second

    def step(
        self, parameters: Blocks, gradients: Blocks, moments: tuple[Blocks, Blocks], t: int, rate: float
    ) -> tuple[Blocks, tuple[Blocks, Blocks]]:
        """New parameters and moments after step ``t`` (the first is 1) with learning rate ``rate``.

        The ``moments`` given are used up: the new ones are in their memory.
        """
        new: Blocks = {}
        first, second = map(dict, moments)
        for k, w in parameters.items():
            new[k], first[k], second[k] = self._updated(w, gradients[k], first[k], second[k], t, rate)
        return new, (first, second)

    def _updated(self, w: Array, g: Array, m: Array, v: Array, t: int, rate: float) -> tuple[Array, Array, Array]:
        """One weight and its moments; of NumPy's, m and v in place, tile by tile."""
        if not isinstance(w, np.ndarray):
            new, m, v = self._rule(t, rate, *map(_as_real, (w, g, m, v)))
            return _like(w, new), _like(w, m), _like(w, v)
        new, m, v = np.empty(w.shape, w.dtype), contiguous(m), contiguous(v)
        flat = [_as_real(a).reshape(-1) for a in (w, g, m, v)]
        out = [_as_real(a).reshape(-1) for a in (new, m, v)]
        for start in range(0, flat[0].size, TILE):
            tile = slice(start, start + TILE)
            for a, part in zip(out, self._rule(t, rate, *(a[tile] for a in flat)), strict=True):
                a[tile] = part
        return new, m, v

    def _rule(self, t: int, rate: float, w: Array, g: Array, m: Array, v: Array) -> tuple[Array, Array, Array]:
        m = self.beta1 * m + (1 - self.beta1) * g
        v = self.beta2 * v + (1 - self.beta2) * (g * g)
        direction = m / (1 - self.beta1**t) / (namespace(v).sqrt(v / (1 - self.beta2**t)) + self.epsilon)
        return w - rate * (direction + self.weight_decay * w), m, v


def _as_real(a: Array) -> Array:
    """A complex block with its real and imaginary parts along a last axis; a real one as it is."""
    xp = namespace(a)
    if not xp.isdtype(a.dtype, "complex floating"):
        return a
    if xp is np:  # a view
        return contiguous(a).view(a.real.dtype).reshape(*a.shape, 2)
    return xp.stack([xp.real(a), xp.imag(a)], axis=-1)


def _like(w: Array, parts: Array) -> Array:
    """What ``_as_real`` makes ``parts`` of, for a block of the dtype of ``w``, which is not NumPy's."""
    if not namespace(w).isdtype(w.dtype, "complex floating"):
        return parts
    return parts[..., 0] + 1j * parts[..., 1]


def clip(space: Product, gradients: Blocks, limit: float) -> tuple[Blocks, float]:
    """The gradients scaled to a norm of at most ``limit``, and their norm before; collective.

    Raises ValueError on all ranks where limit <= 0, or a gradient is not of its space.
    """
    if not limit > 0:
        raise ValueError(f"clip: expected limit > 0, got {limit}")
    norm = global_norm(space, gradients)
    if norm <= limit or not isfinite(norm):
        return gradients, norm
    return {k: g * (limit / norm) for k, g in gradients.items()}, norm


def global_norm(space: Product, gradients: Blocks) -> float:
    """|g| over all ranks, each number counted once, the same on every rank."""
    space.check(gradients, "global_norm", "the norm")
    own = [abs(X.local_inner(gradients[k], gradients[k])) for k, X in space.spaces.items() if X.owns]
    return sqrt(fsum(part for parts in wire.pool(space.comm, own) for part in parts))
