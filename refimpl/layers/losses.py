"""Losses: from a prediction to one number, on rank 0.

Definition   L(p, t) = (1/n) sum of l(p_i, t_i) over all n entries (reduction "mean"), or the sum. With e = p - t:
             MSE e^2;   L1 |e|;   Huber e^2 / 2 where |e| <= d, else d (|e| - d / 2);
             BCE -t log p - (1 - t) log(1 - p), p a probability;   BCEWithLogits log(1 + e^p) - t p, p a logit;
             KLDivergence t (log t - p), p a logarithm of a probability;   PoissonNLL e^p - t p, p a logarithm of a rate.
             CrossEntropy: the mean over all positions of -sum_c t_c log softmax(p)_c, c along an axis that may be split.
             Relative errors of whole samples: relative_losses.py, plume_loss.py.
Spaces       X -> R, where R lives on rank 0 of the communicator. ``value`` is told to all ranks as a report.
Tangent      dL = <g, dp> with the gradient g at p: g_i = l'(p_i, t_i) / n;   CrossEntropy: (softmax(p) sum_c t_c - t) / N.
Adjoint      dp = c g for the number c on rank 0, which is broadcast.
Why          R has one copy. If every rank passed a c of its own, the gradient would be P times too large.
Cost         One pool of the sums; adjoint: one broadcast of one number.
Reference    Huber, "Robust estimation of a location parameter", 1964; the names and conventions are those of torch.nn.
"""

from __future__ import annotations

from math import exp, fsum, nan, prod
from numbers import Real

import numpy as np

from .. import wire
from ..arrays import Array, namespace, to_host
from ..movement import Broadcast
from ..operator import Operator, Traffic, details
from ..partition import Partition
from ..space import Product, Space
from .pointwise import logistic, softplus
from .softmax import LogSoftmax


class Functional(Operator):
    """x -> <g, x> on rank 0, for a block ``g`` of the space X."""

    def __init__(self, X: Space, g: Array) -> None:
        self.domain, self.gradient = X, g
        self.range = X.replace(partition=Partition(X.comm, ()), shape=(), dtype="float64", cuts=(), blocks={})
        self.tell = Broadcast(self.range, X.partition)

    def forward(self, dx: Array) -> Array:  # dL = sum over ranks of <g_p, dx_p>
        self.domain.check(dx, self)
        with wire.unchecked():
            return self.tell.adjoint(self.range.adopt(np.array(self.domain.local_inner(self.gradient, dx))))

    def adjoint(self, c: float | Array) -> Array:  # dx_p = c g_p, with the c of rank 0
        c = self.range.adopt(np.array(float(c))) if isinstance(c, Real) else c
        self.range.check(c, self, "adjoint")
        with wire.unchecked():
            return self.gradient * float(self.tell.forward(c))

    def traffic(self) -> Traffic:
        return self.tell.traffic().reversed


class Loss:
    """The base: a subclass gives ``value_and_gradient(prediction, target)`` of blocks; ``reduction`` is "mean" or "sum".

    Raises ValueError where X is complex, holds a number twice, or has none to take a mean of.
    """

    told: tuple[str, ...] = ("reduction",)  # the attributes that make it what it is, beside X

    def __init__(self, X: Space, reduction: str = "mean") -> None:
        if reduction not in ("mean", "sum"):
            raise ValueError(f'{type(self).__name__}: expected reduction="mean" or "sum", got {reduction!r}')
        copies = prod(X.partition.shape[g] for g in X.copy_axes)
        once = copies == 1 and all(X.covers_once(axis) for axis in range(X.ndim))
        if X.dtype.kind != "f" or X.field != "real" or not once or not prod(X.shape):
            raise ValueError(
                f"{type(self).__name__}: expected a real space, not empty, in which every number is held once, got {X!r}"
            )
        self.domain, self.reduction = X, reduction
        self.pair = Product(prediction=X, target=X)

    def __call__(self, prediction: Array, target: Array) -> float:
        """The loss, the same number on every rank."""
        return self.linearize(prediction, target)[0]

    def linearize(self, prediction: Array, target: Array) -> tuple[float, Functional]:
        """The loss, and its derivative with respect to the prediction."""
        self.pair.check({"prediction": prediction, "target": target}, self, "linearization")
        with wire.unchecked():
            value, gradient = self.value_and_gradient(prediction, target)
        return value, Functional(self.domain, gradient)

    @property
    def name(self) -> str:
        return type(self).__name__

    @property
    def signature(self) -> str:
        """All that the ranks must agree on, as text."""
        return f"{self.name} on {self.pair.signature}{details(self)}"

    def value_and_gradient(self, prediction: Array, target: Array) -> tuple[float, Array]:
        raise NotImplementedError

    def total(self, terms: Array) -> float:
        """The sum of a block of every rank, in float64, the same on every rank."""
        return fsum(wire.pool(self.domain.comm, float(np.sum(to_host(terms), dtype=np.float64))))


class TermwiseLoss(Loss):
    """The base of losses that are sums over entries: a subclass gives ``terms(p, t)``, the terms and their slopes in p."""

    def terms(self, p: Array, t: Array) -> tuple[Array, Array]:
        raise NotImplementedError

    def value_and_gradient(self, prediction: Array, target: Array) -> tuple[float, Array]:
        terms, slopes = self.terms(prediction, target)
        n = prod(self.domain.shape) if self.reduction == "mean" else 1
        return self.total(terms) / n, slopes * (1 / n)


class MSE(TermwiseLoss):
    """(p - t)^2."""

    def terms(self, p: Array, t: Array) -> tuple[Array, Array]:
        e = p - t
        return e * e, 2 * e


class L1(TermwiseLoss):
    """|p - t|, with slope 0 at 0."""

    def terms(self, p: Array, t: Array) -> tuple[Array, Array]:
        e, xp = p - t, namespace(p)
        return xp.abs(e), xp.sign(e)


class Huber(TermwiseLoss):
    """Half the square of an error up to ``delta``, and from there on a line."""

    told = ("reduction", "delta")

    def __init__(self, X: Space, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(X, reduction)
        if not delta > 0:
            raise ValueError(f"Huber: expected delta > 0, got {delta}")
        self.delta = delta

    def terms(self, p: Array, t: Array) -> tuple[Array, Array]:
        e, xp = p - t, namespace(p)
        size, slope = xp.abs(e), xp.clip(e, -self.delta, self.delta)
        return xp.where(size <= self.delta, e * e / 2, self.delta * (size - self.delta / 2)), slope


class BCE(TermwiseLoss):
    """Binary cross-entropy of probabilities p; logarithms are cut off at -100, so that p = 0 and p = 1 are allowed.

    A p that is no probability makes the loss NaN.
    """

    def terms(self, p: Array, t: Array) -> tuple[Array, Array]:
        xp, least = namespace(p), exp(-100)
        p = xp.where((p >= 0) & (p <= 1), p, xp.full_like(p, nan))
        log_p, log_q = xp.log(xp.clip(p, least, 1)), xp.log(xp.clip(1 - p, least, 1))
        return -t * log_p - (1 - t) * log_q, (p - t) / xp.clip(p * (1 - p), 1e-12, 1)


class BCEWithLogits(TermwiseLoss):
    """Binary cross-entropy of logits p, whose probability is s(p) = 1 / (1 + e^-p)."""

    def terms(self, p: Array, t: Array) -> tuple[Array, Array]:
        return softplus(p) - t * p, logistic(p)[0] - t


class KLDivergence(TermwiseLoss):
    """Of the distribution t from the one whose logarithm is p; a t of 0 adds nothing."""

    def terms(self, p: Array, t: Array) -> tuple[Array, Array]:
        xp = namespace(p)
        log_t = xp.log(xp.where(t > 0, t, xp.ones_like(t)))
        return t * (log_t - p), -t


class PoissonNLL(TermwiseLoss):
    """The negative log-likelihood of counts t under the rate e^p, without the constant log t!."""

    def terms(self, p: Array, t: Array) -> tuple[Array, Array]:
        rate = namespace(p).exp(p)
        return rate - t * p, rate - t


class CrossEntropy(Loss):
    """Of target probabilities t (one-hot for labels) and logits p, along ``axis``; "mean": over the positions."""

    told = ("reduction", "axis")

    def __init__(self, X: Space, reduction: str = "mean", axis: int = 1) -> None:
        super().__init__(X, reduction)
        self.axis, self.log_softmax = axis, LogSoftmax(X, axis)

    def value_and_gradient(self, prediction: Array, target: Array) -> tuple[float, Array]:
        n = prod(self.log_softmax.sum.range.shape) if self.reduction == "mean" else 1
        z, J = self.log_softmax.linearize(prediction)
        return -self.total(target * z) / n, J.adjoint(target * (-1 / n))[0]
