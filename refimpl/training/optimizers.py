"""AdamW, gradient clipping and a learning-rate schedule.

Definition   m <- b1 m + (1 - b1) g,   v <- b2 v + (1 - b2) g^2,   w <- w - lr (m^ / (sqrt v^ + eps) + decay w),
             with m^ = m / (1 - b1^t), v^ = v / (1 - b2^t) at step t. A complex weight is two real ones.
Clipping     g <- g min(1, c / |g|), with |g| the norm over all parameters and ranks.
Schedule     Linear warm-up from 0 to the peak, then half a cosine, which would reach 0 one step after the last.
Parallel     Each number has one owner, which updates it: no message but the one for |g|.
Reference    Kingma and Ba, arXiv 1412.6980; Loshchilov and Hutter, arXiv 1711.05101 (decoupled weight decay).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, isfinite, pi

import numpy as np

from ..arrays import Array, contiguous, namespace
from ..layers.layer import Blocks
from ..space import Product


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
        """New parameters and moments after step ``t`` (the first is 1) with learning rate ``rate``."""
        first = {k: self.beta1 * moments[0][k] + (1 - self.beta1) * g for k, g in gradients.items()}
        second = {k: self.beta2 * moments[1][k] + (1 - self.beta2) * _squares(g) for k, g in gradients.items()}
        new = {}
        for k, w in parameters.items():
            m, v = _as_real(first[k]) / (1 - self.beta1**t), _as_real(second[k]) / (1 - self.beta2**t)
            direction = m / (namespace(v).sqrt(v) + self.epsilon) + self.weight_decay * _as_real(w)
            new[k] = _like(w, _as_real(w) - rate * direction)
        return new, (first, second)


def _as_real(a: Array) -> Array:
    """A complex block with its real and imaginary parts along a last axis; a real one as it is."""
    xp = namespace(a)
    if not xp.isdtype(a.dtype, "complex floating"):
        return a
    if xp is np:  # a view
        return contiguous(a).view(a.real.dtype).reshape(*a.shape, 2)
    return xp.stack([xp.real(a), xp.imag(a)], axis=-1)


def _like(w: Array, parts: Array) -> Array:
    """What ``_as_real`` makes ``parts`` of, for a block of the dtype and shape of ``w``."""
    xp = namespace(w)
    if not xp.isdtype(w.dtype, "complex floating"):
        return xp.reshape(parts, w.shape)
    if xp is np:
        return parts.view(w.dtype).reshape(w.shape)
    return parts[..., 0] + 1j * parts[..., 1]


def _squares(g: Array) -> Array:
    parts = _as_real(g)
    return _like(g, parts * parts)


def clip(space: Product, gradients: Blocks, limit: float) -> tuple[Blocks, float]:
    """The gradients scaled to a norm of at most ``limit``, and their norm before; collective."""
    norm = space.norm(gradients)
    if norm <= limit or not isfinite(norm):
        return gradients, norm
    return {k: g * (limit / norm) for k, g in gradients.items()}, norm


def cosine_schedule(step: int, steps: int, peak: float, warmup: int) -> float:
    """The learning rate of ``step`` (the first is 1) of ``steps``; a warm-up that is longer is cut to half of them."""
    warmup = min(warmup, steps // 2)
    if step <= warmup:
        return peak * step / warmup
    return peak * 0.5 * (1 + cos(pi * (step - warmup) / (steps - warmup + 1)))
