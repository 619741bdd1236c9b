"""A loss maps to the one number on rank 0."""

from types import SimpleNamespace

import numpy as np
import pytest
import strategies
from hypothesis import strategies as st
from scipy.special import expit, huber, log_softmax, softmax, xlogy
from theorems import (
    GRIDS,
    Planted,
    assert_adjoint,
    assert_close,
    assert_honest,
    assert_rejected,
    same_text,
    whole,
)

import refimpl as ri
from refimpl import layers, verify, wire
from refimpl.arrays import namespace, to_host
from refimpl.layers import MSE, RelativeL2
from refimpl.verify import spmd


def serial_mse(p, t):
    return np.mean((p - t) ** 2), 2 * (p - t) / p.size


def serial_relative_l2(p, t):
    size = lambda a: np.sqrt(np.sum(a**2, tuple(range(1, a.ndim)), keepdims=True))
    return np.mean(size(p - t) / size(t)), (p - t) / (len(p) * size(p - t) * size(t))


SERIAL = {MSE: serial_mse, RelativeL2: serial_relative_l2}
both_losses = pytest.mark.parametrize("loss", SERIAL)

# loss: (terms, slopes) of a prediction and a target in float64
TERMS = {
    layers.MSE: (lambda p, t: (p - t) ** 2, lambda p, t: 2 * (p - t)),
    layers.L1: (lambda p, t: np.abs(p - t), lambda p, t: np.sign(p - t)),
    layers.Huber: (lambda p, t: huber(1.0, p - t), lambda p, t: np.clip(p - t, -1, 1)),
    layers.BCE: (lambda p, t: -xlogy(t, p) - xlogy(1 - t, 1 - p), lambda p, t: (1 - t) / (1 - p) - t / p),
    layers.BCEWithLogits: (lambda p, t: np.logaddexp(0, p) - t * p, lambda p, t: expit(p) - t),
    layers.KLDivergence: (lambda p, t: xlogy(t, t) - t * p, lambda p, t: -t),
    layers.PoissonNLL: (lambda p, t: np.exp(p) - t * p, lambda p, t: np.exp(p) - t),
}


def serial_lp(power):
    def loss(p, t):
        e, axes = p - t, tuple(range(1, p.ndim))
        size = lambda a: np.sum(np.abs(a) ** power, axes, keepdims=True) ** (1 / power)
        slope = np.sign(e) * np.abs(e) ** (power - 1) * size(e) ** (1 - power)
        return np.sum(size(e) / size(t)), slope / size(t)

    return loss


def serial_h1(p, t, spacing, boundary):
    def quotients(a):
        for axis, h in enumerate(spacing, start=2):
            d = np.roll(a, -1, axis) - a
            if boundary == "open":
                np.moveaxis(d, axis, 0)[-1] = 0
            yield d / h

    def size(a):
        return np.sqrt(sum(np.sum(b**2, tuple(range(1, a.ndim))) for b in (a, *quotients(a))))

    return np.sum(size(p - t) / size(t))


def a_pair(loss, X, seed):
    """A prediction and a target that the loss can take; some targets are 0."""
    p, t = X.random(seed), X.random(seed + 1)
    if loss in (layers.BCE, layers.BCEWithLogits, layers.KLDivergence):
        t = X.adopt(np.clip(np.abs(to_host(t)) - 0.5, 0, 1))
    p = X.adopt(expit(to_host(p))) if loss is layers.BCE else p
    return p, t


def filled(size):
    """Networks' fields without empty axes."""
    return strategies.fields_of_a_network(size).filter(lambda case: 0 not in case.shape)


@spmd.property_test(case=filled, relative=st.booleans())
def test_value_and_gradient_are_those_of_the_serial_formula(team, case, relative):
    X, loss = case.space(team), RelativeL2 if relative else MSE
    p, t = X.random(case.seed), X.random(case.seed + 1)
    value, J = loss(X).linearize(p, t)
    expected, gradient = SERIAL[loss](whole(X, p).astype("float64"), whole(X, t).astype("float64"))
    assert value == pytest.approx(expected, rel=1e-6 if case.dtype == "float32" else 1e-14)
    assert len(set(wire.pool(team, value))) == 1 and value == loss(X)(p, t)
    assert_close(X, J.adjoint(1.0), gradient)
    assert_adjoint(J, case.seed, chain=2)
    for side, apply, argument in (("forward", J.forward, p), ("adjoint", J.adjoint, 1.0)):
        with ri.counting() as count:
            apply(argument)
        assert count.total == getattr(J.traffic(), side)


REDUCTIONS = st.sampled_from(["mean", "sum"])


@spmd.property_test(case=filled, name=st.sampled_from([loss.__name__ for loss in TERMS]), reduction=REDUCTIONS)
def test_termwise_losses_are_means_or_sums_of_their_terms(team, case, name, reduction):
    X, loss = case.space(team), getattr(layers, name)
    p, t = a_pair(loss, X, case.seed)
    value, J = loss(X, reduction).linearize(p, t)
    terms, slopes = (f(whole(X, p).astype("float64"), whole(X, t).astype("float64")) for f in TERMS[loss])
    n = terms.size if reduction == "mean" else 1
    tolerance = 2e-5 if case.dtype == "float32" else 1e-12
    assert value == pytest.approx(np.sum(terms) / n, rel=tolerance, abs=tolerance * np.sum(np.abs(terms)) / n)
    assert_close(X, J.adjoint(1.0), slopes / n, factor=1e3)
    assert_adjoint(J, case.seed, chain=2)


@spmd.property_test(case=filled, power=st.sampled_from([1.0, 1.5, 2.0, 3.0]), reduction=REDUCTIONS)
def test_relative_lp_errors_are_those_of_whole_samples(team, case, power, reduction):
    X = case.space(team)
    p, t = X.random(case.seed), X.random(case.seed + 1)
    value, J = layers.RelativeLp(X, reduction, power).linearize(p, t)
    expected, gradient = serial_lp(power)(whole(X, p).astype("float64"), whole(X, t).astype("float64"))
    n = X.shape[0] if reduction == "mean" else 1
    assert value == pytest.approx(expected / n, rel=1e-5 if case.dtype == "float32" else 1e-13)
    assert_close(X, J.adjoint(1.0), gradient / n, factor=1e3)


@spmd.property_test(case=filled, boundary=st.sampled_from(["open", "periodic"]), reduction=REDUCTIONS)
def test_relative_h1_error_has_the_differences_of_the_whole_tensor(team, case, boundary, reduction):
    X = case.space(team)
    p, t, spacing = X.random(case.seed), X.random(case.seed + 1), [0.5, 2.0][: X.ndim - 2]
    loss = layers.RelativeH1(X, reduction, spacing, boundary)
    value, J = loss.linearize(p, t)
    expected = serial_h1(whole(X, p).astype("float64"), whole(X, t).astype("float64"), spacing, boundary)
    n = X.shape[0] if reduction == "mean" else 1
    assert value == pytest.approx(expected / n, rel=1e-5 if case.dtype == "float32" else 1e-13)
    assert_adjoint(J, case.seed, chain=4)
    for D in loss.differences:
        assert_adjoint(D, case.seed)
        assert_honest(D, case.seed)


@spmd.property_test(case=filled, axis=st.integers(0, 2), reduction=REDUCTIONS)
def test_cross_entropy_is_that_of_the_whole_axis(team, case, axis, reduction):
    X = case.space(team)
    p, t = X.random(case.seed), abs(X.random(case.seed + 1))
    value, J = layers.CrossEntropy(X, reduction, axis).linearize(p, t)
    P, T = whole(X, p).astype("float64"), whole(X, t).astype("float64")
    n = P.size // P.shape[axis] if reduction == "mean" else 1
    tolerance = 2e-5 if case.dtype == "float32" else 1e-12
    assert value == pytest.approx(-np.sum(T * log_softmax(P, axis)) / n, rel=tolerance)
    gradient = (softmax(P, axis) * T.sum(axis, keepdims=True) - T) / n
    assert np.max(np.abs(whole(X, J.adjoint(1.0)) - gradient)) <= tolerance * np.max(T)
    assert_adjoint(J, case.seed, chain=2)


EVERY = {loss.__name__: loss for loss in (*TERMS, layers.CrossEntropy, RelativeL2)} | {
    "RelativeLp": lambda X, reduction: layers.RelativeLp(X, reduction, p=3),
    "PlumeL2": lambda X, reduction: layers.PlumeL2(X, reduction, weight=5, threshold=0.3),
    "RelativeH1": lambda X, reduction: layers.RelativeH1(X, reduction, [0.5, 3], "periodic"),
    "RelativeH1, open": layers.RelativeH1,
}


def serial_plume(p, t, weight, threshold):
    w = np.where(t > threshold, weight, 1)
    size = lambda e: np.sqrt(np.sum(w * e**2, tuple(range(1, e.ndim)), keepdims=True))
    return np.sum(size(p - t) / size(t)), w * (p - t) / (size(p - t) * size(t))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("weight", "threshold"), [(1.0, 0.01), (3.0, -0.5), (50.0, 0.01)])
def test_the_plume_loss_counts_reached_cells_by_their_weight(team, dtype, weight, threshold):
    X = ri.Space(ri.Partition(team, (GRIDS[team.size][0], 1, GRIDS[team.size][1])), (3, 2, 5, 4), dtype)
    p, t = X.random(1), X.random(2)
    value, J = layers.PlumeL2(X, "sum", weight, threshold).linearize(p, t)
    expected, gradient = serial_plume(whole(X, p).astype("float64"), whole(X, t).astype("float64"), weight, threshold)
    assert value == pytest.approx(expected, rel=1e-6 if dtype == "float32" else 1e-14)
    assert_close(X, J.adjoint(1.0), gradient)
    assert_adjoint(J, chain=2)
    relative, K = layers.RelativeL2(X, "sum").linearize(p, t)
    assert (value == relative and np.array_equal(J.adjoint(1.0), K.adjoint(1.0))) == (weight == 1)


def test_a_plume_gradient_that_forgets_the_weight_once_is_rejected(team):
    X = ri.Space(ri.Partition(team, (1, team.size)), (2, 7))
    p, t = X.random(1), X.random(2)
    loss = layers.PlumeL2(X, weight=16.0)

    class Forgetful(layers.PlumeL2):
        def value_and_gradient(self, prediction, target):
            value, gradient = super().value_and_gradient(prediction, target)
            return value, gradient * X.adopt(np.where(to_host(target) > self.threshold, 0.25, 1))

    assert verify.taylor_test(AtTarget(loss, t), p, halvings=4)
    assert not verify.taylor_test(AtTarget(Forgetful(X, weight=16.0), t), p, halvings=4)


class AtTarget:
    """A loss as a map of the prediction alone, for the Taylor test; its gradient multiplied by ``wrong``."""

    def __init__(self, loss, target, wrong=1.0):
        self.loss, self.target, self.wrong, self.parameters, self.parameter_spaces = loss, target, wrong, {}, {}
        self.domain, self.range = loss.domain, ri.Space(ri.Partition(loss.domain.comm, ()), ())

    def __call__(self, p):
        return self.range.adopt(np.array(self.loss(p, self.target)))

    def linearize(self, p):
        value, J = self.loss.linearize(p, self.target)
        forward = lambda d: self.wrong * J.forward(d["x"])
        return self.range.adopt(np.array(value)), SimpleNamespace(domain=ri.Product(x=self.domain), forward=forward)


@pytest.mark.parametrize("name", EVERY)
def test_taylor_remainders_fall_with_slope_2_away_from_kinks_and_those_of_a_wrong_gradient_do_not(team, name):
    X = ri.Space(ri.Partition(team, (1, 1, *GRIDS[team.size])), (3, 2, 5, 4))
    loss = EVERY[name](X, "mean")
    p, t = a_pair(type(loss), X, 1)
    p = 2 * p - t + 1.5 * namespace(p).sign(p - t) if name in ("L1", "Huber") else p
    steps = dict(halvings=4, first=0.002 if name == "BCE" else 0.02)
    assert verify.taylor_test(AtTarget(loss, t), p, **steps)
    assert not verify.taylor_test(AtTarget(loss, t, wrong=2.0), p, **steps)


def test_certain_probabilities_have_a_finite_cross_entropy(team):
    X = ri.Space(ri.Partition(team, (1,)), (4,), "float32")
    p, t = (X.scatter(np.array(a, "float32")) for a in ([0, 1, 0, 1], [0, 1, 1, 0]))
    value, J = layers.BCE(X, "sum").linearize(p, t)
    assert value == pytest.approx(200, rel=1e-3) and np.all(np.isfinite(to_host(J.adjoint(1.0))))


@pytest.mark.mpi(min_size=2)
def test_differences_within_blocks_only_are_rejected(team):
    X = ri.Space(ri.Partition(team, (1, 1, team.size)), (1, 1, 2 * team.size))
    D, x = layers.relative_losses.Difference(X, 2), X.random(1)
    alone = X.adopt(np.diff(to_host(x), axis=2, append=to_host(x)[:, :, -1:]))
    assert X.norm(D.forward(x) - alone) > 0.01
    assert_rejected(Planted(D, lambda y: X.adopt(-np.diff(to_host(y), axis=2, prepend=0))))


def test_losses_that_make_no_sense_are_refused(team):
    X = ri.Space(ri.Partition(team, (1,)), (3, 2, 4))
    assert 'reduction="mean" or "sum"' in same_text(team, lambda: layers.L1(X, "max"))
    assert "delta > 0" in same_text(team, lambda: layers.Huber(X, delta=0))
    assert "p >= 1" in same_text(team, lambda: layers.RelativeLp(X, p=0.5))
    for wrong in (dict(weight=0.5), dict(weight=np.inf), dict(weight=np.nan), dict(threshold=np.nan)):
        assert "a finite weight >= 1" in same_text(team, lambda wrong=wrong: layers.PlumeL2(X, **wrong))
    assert "a spacing > 0 for each space axis" in same_text(team, lambda: layers.RelativeH1(X, spacing=[1, 1]))
    assert "a spacing > 0 for each space axis" in same_text(team, lambda: layers.RelativeH1(X, spacing=[0]))
    assert 'boundary="open" or "periodic"' in same_text(team, lambda: layers.RelativeH1(X, boundary="zero"))
    assert "different axes" in same_text(team, lambda: layers.CrossEntropy(X, axis=3))


@both_losses
def test_only_the_number_of_rank_0_counts(team, loss):
    X = ri.Space(ri.Partition(team, (team.size,)), (6, 2))
    _, J = loss(X).linearize(X.random(1), X.random(2))
    assert np.array_equal(J.adjoint(2.0 if team.rank == 0 else 1e9), 2 * J.adjoint(1.0))
    for one in (J.range.zeros() + 1, np.float64(1), np.float32(1), 1):
        assert np.array_equal(J.adjoint(one if team.rank == 0 else 7), J.adjoint(1.0))


@both_losses
def test_prediction_and_target_are_voted_on_at_once(team, loss):
    X = ri.Space(ri.Partition(team, (team.size,)), (6, 2))
    with ri.counting() as count:
        loss(X)(X.random(1), X.random(2))
    assert count.votes == 1


@both_losses
def test_at_the_target_the_loss_and_its_gradient_are_zero(team, loss):
    X = ri.Space(ri.Partition(team, (team.size,)), (3, 2))
    value, J = loss(X).linearize(X.random(1), X.random(1))
    assert value == 0 and not np.any(to_host(J.adjoint(1.0)))


def test_a_target_of_zero_has_no_relative_error(team):
    X = ri.Space(ri.Partition(team, (1, team.size)), (3, 5))
    t = X.random(1)
    t[1:2, ...] = 0
    text = same_text(team, lambda: RelativeL2(X)(X.random(2), t), ZeroDivisionError)
    assert text.startswith("RelativeL2: the targets of samples [1] are zero, so")
    assert MSE(X)(X.random(2), t) > 0


def test_more_ranks_than_samples(team):
    X = ri.Space(ri.Partition(team, (team.size,)), (1, 1, 4))
    value, J = RelativeL2(X).linearize(X.random(1), X.random(2))
    assert value > 0 and J.adjoint(1.0).shape == X.local_shape


@both_losses
def test_a_grid_without_rank_0_has_a_loss_too(team, loss):
    X = ri.Space(ri.Partition(team, (1, 1), ranks=[team.size - 1]), (2, 3))
    value, J = loss(X).linearize(X.random(1), X.random(2))
    serial, _ = SERIAL[loss](whole(X, X.random(1)), whole(X, X.random(2)))
    assert value == pytest.approx(serial, rel=1e-14)
    assert_adjoint(J)


@both_losses
def test_wrong_blocks_and_spaces_are_refused(team, loss):
    X, last = ri.Space(ri.Partition(team, (team.size,)), (6, 2)), team.size - 1
    bad = X.replace(dtype="float32").zeros() if team.rank == last else X.zeros()
    for wrong, pair in {"prediction": (bad, X.zeros()), "target": (X.zeros(), bad)}.items():
        text = same_text(team, lambda pair=pair: loss(X)(*pair))
        assert text.startswith(f"{loss.__name__}, block {wrong} on rank {last}: expected float64[")
    _, J = loss(X).linearize(X.random(1), X.random(2))
    assert "got str" in same_text(team, lambda: J.adjoint("1"))
    with pytest.raises(ValueError, match="a real space"):
        loss(X.replace(dtype="complex128"))
    for space in (X.replace(dtype="complex128", field="real"), X.replace(shape=(0, 2)), X.replace(shape=(6, 0))):
        assert "expected a real space, not empty" in same_text(team, lambda space=space: loss(space))
    if team.size > 1:
        with pytest.raises(ValueError, match="held once"):
            loss(ri.Space(X.partition, (6, 2), cuts=(None, None)))


def test_a_space_with_ghosts_has_no_loss(team):
    X = ri.Space(ri.Partition(team, (team.size,)), (4, 3))
    ghosts = ri.HaloExchange(X, [(1, 0), (0, 0)]).range
    assert "held once" in same_text(team, lambda: MSE(ghosts))


@pytest.mark.mpi(min_size=2)
def test_a_seed_on_every_rank_is_rejected(team):
    X = ri.Space(ri.Partition(team, (team.size,)), (2 * team.size,))
    _, J = MSE(X).linearize(X.random(1), X.random(2))
    assert not verify.dot_test(Planted(J, lambda c: J.gradient * sum(wire.pool(team, float(c)))))
    assert not verify.dot_test(Planted(J, lambda c: J.gradient * float(c)))


@pytest.mark.parametrize(
    ("dtype", "p", "size"), [("float64", 300.0, 0.06), ("float32", 8.0, 1e-6), ("float64", 20.0, 2e-17)]
)
def test_a_high_power_of_a_small_error_is_not_lost(team, dtype, p, size):
    X = ri.Space(ri.Partition(team, (1, team.size)), (2, 7), dtype)
    t = X.adopt((size * np.sign(X.random(1)) * (1 + X.uniform(2))).astype(dtype))
    value, J = layers.RelativeLp(X, p=p).linearize(t + t / 6, t)
    assert value == pytest.approx(1 / 6, rel=1e-4)
    assert X.norm(J.adjoint(1.0)) > 0


def test_what_is_no_probability_has_no_cross_entropy(team):
    X = ri.Space(ri.Partition(team, (1, team.size)), (2, 2 * team.size))
    value, _ = layers.BCE(X).linearize(X.zeros() + 10.0, X.zeros() + 1.0)
    assert np.isnan(value)
