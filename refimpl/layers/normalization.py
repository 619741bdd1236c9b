"""Normalisation over axes that may be split: layer, RMS, instance, group and batch norm, with statistics of the whole tensor.

Definition   z = (x - m) r,   r = (v + eps)^(-1/2),   m = M x,   v = M (x - m)^2;   then y = w z + b.
             M = S / n is the mean along some axes (axis_sum.py), over all ranks that hold a part of them.
             LayerNorm    means along the given axes, w and b over the same axes
             RMSNorm      as LayerNorm with m = 0, and without b
             InstanceNorm means along the space axes, w and b over the channels, or neither
             GroupNorm    means along channels and space, one group, w and b over the channels
             BatchNorm    means along all axes but the channels, w and b over the channels; it also keeps running statistics
Spaces       X -> X, X real. w and b are cut as the axes that they belong to; each piece lives on one rank, or in parts on all
             that use it (owners.py), and B brings it to the others (spread.py).
Tangent      dz = r (dx - M dx - z M(z dx)),  without M dx where m = 0;   dy = w dz + z B dw + B db.
Adjoint      dx = r (w dy - M(w dy) - z M(z w dy));   dw = B* sum(z dy),  db = B* sum(dy).
Why          M = E A L / n with E = L*, A = A* (axis_sum.py), so M = M*; z and r are diagonal, and r is constant along the axes.
Running      BatchNorm's statistics: mean <- (1 - a) mean + a m, variance <- (1 - a) variance + a v n / (n - 1). They come
             back as ``J.new_state``; ``layer.frozen()`` uses them, y = w (x - mean) (variance + eps)^(-1/2) + b.
Cost         Two all-reduces of the statistics for a value, one or two for a tangent and an adjoint; a tree for w and b each.
Trap         The statistics of each rank's block are another function, even where their mean is that of the whole: the mean of
             the blocks' variances is not the variance.
Reference    Ba, Kiros and Hinton, arXiv 1607.06450 (layer); Zhang and Sennrich, arXiv 1910.07467 (RMS); Ulyanov, Vedaldi and
             Lempitsky, arXiv 1607.08022 (instance); Wu and He, arXiv 1803.08494 (group); Ioffe and Szegedy, arXiv 1502.03167
             (batch).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf

from ..arrays import Array, fresh, namespace
from ..operator import Traffic
from ..space import Space
from .axis_sum import AxisSum
from .layer import Blocks, Layer
from .spread import Spread


class Normalization(Layer):
    """The base: means along ``axes``, weights over ``weight_axes``; w starts at 1 and b at 0.

    Raises ValueError where X is complex, the axes do not exist, there is nothing to take a mean of, or eps < 0.
    """

    centred = True
    told: tuple[str, ...] = ("axes", "eps")

    def __init__(
        self, X: Space, axes: int | Sequence[int], weight_axes: int | Sequence[int], eps: float, sharded: bool = False
    ) -> None:
        super().__init__(X, X)
        self.sum, self.spread = AxisSum(X, axes, type(self).__name__), Spread(X, weight_axes, sharded)
        self.weight_axes, self.eps = weight_axes, eps
        self.axes = self.sum.axes
        if X.dtype.kind != "f" or not self.sum.count:
            raise ValueError(
                f"{type(self).__name__}: expected a real space with numbers along the axes {self.axes}, got {X!r}"
            )
        if not (isinstance(eps, int | float) and 0 <= eps < inf):
            raise ValueError(f"{type(self).__name__}: expected eps >= 0, got {eps!r}")
        self.W = self.spread.domain
        self.parameters = {"w": constant(self.W, 1.0)} | ({"b": self.W.zeros()} if self.centred else {})
        self.parameter_spaces = dict.fromkeys(self.parameters, self.W)

    def value(self, x: Array) -> Array:  # y = w z + b
        return self.affine(self.standardize(x)[0], self.parameters)

    def derivative(self, x: Array) -> tuple:
        z, dz, new_statistics = self.standardize(x)
        w = self.spread.forward(self.parameters["w"]) if self.parameters else 1.0

        def tangent(dx: Array, d: Blocks) -> Array:  # dy = w dz + z B dw + B db
            return w * dz(dx) + (self.affine(z, d) if d else 0)

        def adjoint(dy: Array) -> tuple[Array, Blocks]:  # dx = dz* (w dy),  dw = B* sum(z dy),  db = B* sum(dy)
            parts = {"w": z * dy, "b": dy}
            sums = {name: self.spread.local_sum(parts[name]) for name in self.parameter_spaces}
            return dz(w * dy), {name: self.spread.adjoint(part) for name, part in sums.items()}

        return self.affine(z, self.parameters), tangent, adjoint, new_statistics

    def standardize(self, x: Array) -> tuple[Array, Callable, Blocks]:
        """z, its derivative, which is its own adjoint, and the new statistics."""
        m = self.mean(x) if self.centred else 0.0
        v = self.mean((x - m) ** 2)
        r = 1 / namespace(x).sqrt(v + self.eps)
        z = (x - m) * r

        def dz(dx: Array) -> Array:  # r (dx - M dx - z M(z dx))
            return r * (dx - (self.mean(dx) if self.centred else 0) - z * self.mean(z * dx))

        return z, dz, self.new_statistics(m, v)

    def mean(self, x: Array) -> Array:  # M x
        return self.sum.forward(x) / self.sum.count

    def new_statistics(self, m: Array | float, v: Array) -> Blocks:
        return {}

    def affine(self, z: Array, parameters: Blocks) -> Array:
        """(B w) z + B b; without parameters z."""
        if not parameters:
            return fresh(z)
        y = self.spread.forward(parameters["w"]) * z
        return y + self.spread.forward(parameters["b"]) if "b" in parameters else y

    def traffic(self) -> Traffic:
        means = [self.sum.traffic()] * (2 if self.centred else 1)
        return sum(means, Traffic()) + self._weight_traffic()

    def _weight_traffic(self) -> Traffic:
        return sum([self.spread.traffic()] * len(self.parameter_spaces), Traffic())


class LayerNorm(Normalization):
    """Mean 0 and variance 1 along ``axes``, by default the last. ``sharded``: all ranks that use w and b own a part each."""

    def __init__(self, X: Space, axes: int | Sequence[int] = -1, eps: float = 1e-5, sharded: bool = False) -> None:
        super().__init__(X, axes, axes, eps, sharded)


class RMSNorm(Normalization):
    """Mean square 1 along ``axes``, by default the last. ``sharded``: all ranks that use w and b own a part each."""

    centred = False

    def __init__(self, X: Space, axes: int | Sequence[int] = -1, eps: float = 1e-5, sharded: bool = False) -> None:
        super().__init__(X, axes, axes, eps, sharded)


class InstanceNorm(Normalization):
    """Mean 0 and variance 1 along the space axes, 2 and on, of each sample and channel; ``affine``: with w and b."""

    def __init__(self, X: Space, eps: float = 1e-5, affine: bool = True) -> None:
        super().__init__(X, range(2, X.ndim), (1,), eps)
        if not affine:
            self.parameters, self.parameter_spaces = {}, {}


class GroupNorm(Normalization):
    """Mean 0 and variance 1 along all axes but the samples: the group norm with one group."""

    def __init__(self, X: Space, eps: float = 1e-5) -> None:
        super().__init__(X, range(1, X.ndim), (1,), eps)


class BatchNorm(Normalization):
    """Mean 0 and variance 1 along all axes but the channels (axis 1).

    In the running statistics, a new batch has the weight ``momentum``.
    """

    told = ("axes", "eps", "momentum")

    def __init__(self, X: Space, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__(X, [0, *range(2, X.ndim)], (1,), eps)
        if not (isinstance(momentum, int | float) and 0 <= momentum <= 1):
            raise ValueError(f"BatchNorm: expected 0 <= momentum <= 1, got {momentum!r}")
        self.momentum = momentum
        self.statistics = {"mean": self.W.zeros(), "variance": constant(self.W, 1.0)}
        self.statistics_spaces = dict.fromkeys(self.statistics, self.W)

    def new_statistics(self, m: Array | float, v: Array) -> Blocks:  # old + a (seen - old), on the owners
        if not self.W.partition.active:
            return self.statistics
        n, xp = self.sum.count, namespace(v)
        seen = {"mean": m, "variance": v * (n / max(n - 1, 1))}
        old = self.statistics
        return {k: old[k] + self.momentum * (xp.reshape(seen[k], self.W.local_shape) - old[k]) for k in old}

    def frozen(self) -> FrozenBatchNorm:
        return FrozenBatchNorm(self)


class FrozenBatchNorm(Normalization):
    """z = (x - mean) (variance + eps)^(-1/2) with the statistics, and y = w z + b with the weights, that ``norm`` has now."""

    def __init__(self, norm: BatchNorm) -> None:
        super().__init__(norm.domain, norm.sum.axes, norm.weight_axes, norm.eps)
        self.parameters = norm.parameters
        self.statistics, self.statistics_spaces = norm.statistics, norm.statistics_spaces

    def standardize(self, x: Array) -> tuple[Array, Callable, Blocks]:
        r = 1 / namespace(x).sqrt(self.spread.forward(self.statistics["variance"]) + self.eps)
        return (x - self.spread.forward(self.statistics["mean"])) * r, lambda dx: r * dx, self.statistics

    def traffic(self) -> Traffic:
        return self._weight_traffic()


def constant(X: Space, c: float) -> Array:
    return X.zeros() + c
