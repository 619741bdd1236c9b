"""A loss maps to the one number on rank 0."""

import numpy as np
import pytest
import strategies
from hypothesis import strategies as st
from theorems import GRIDS, Planted, assert_adjoint, assert_close, same_text, whole

import refimpl as ri
from refimpl import verify, wire
from refimpl.layers import MSE, RelativeL2
from refimpl.verify import spmd


def serial_mse(p, t):
    return np.mean((p - t) ** 2), 2 * (p - t) / p.size


def serial_relative_l2(p, t):
    size = lambda a: np.sqrt(np.sum(a**2, tuple(range(1, a.ndim)), keepdims=True))
    return np.mean(size(p - t) / size(t)), (p - t) / (len(p) * size(p - t) * size(t))


SERIAL = {MSE: serial_mse, RelativeL2: serial_relative_l2}
both_losses = pytest.mark.parametrize("loss", SERIAL)


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


@both_losses
def test_the_gradient_is_the_slope_of_the_value(team, loss):
    X = ri.Space(ri.Partition(team, (1, 1, *GRIDS[team.size])), (3, 2, 5, 4))
    p, t, d, h = X.random(1), X.random(2), X.random(3), 1e-5
    slope = (loss(X)(p + h * d, t) - loss(X)(p - h * d, t)) / (2 * h)
    value, J = loss(X).linearize(p, t)
    assert slope == pytest.approx(X.inner(J.adjoint(1.0), d), rel=1e-8)
    assert slope == pytest.approx(wire.share(team, float(J.forward(d))), rel=1e-8)


@both_losses
def test_only_the_number_of_rank_0_counts(team, loss):
    X = ri.Space(ri.Partition(team, (team.size,)), (6, 2))
    _, J = loss(X).linearize(X.random(1), X.random(2))
    assert np.array_equal(J.adjoint(2.0 if team.rank == 0 else 1e9), 2 * J.adjoint(1.0))
    for one in (np.array(1.0), np.float64(1), np.float32(1), 1):
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
    assert value == 0 and not np.any(J.adjoint(1.0))


def test_a_target_of_zero_has_no_relative_error(team):
    X = ri.Space(ri.Partition(team, (1, team.size)), (3, 5))
    t = X.random(1)
    t[1:2] = 0
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
    bad = X.zeros().astype("float32") if team.rank == last else X.zeros()
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
