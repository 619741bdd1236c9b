"""Dropout is a diagonal matrix that depends on the seed, the step and the global index alone."""

import hypothesis.strategies as st
import numpy as np
import pytest
import strategies
from theorems import GRIDS, Planted, assert_derivative_is_honest, same_text, whole

import refimpl as ri
from refimpl import layers, verify, wire
from refimpl.verify import spmd


@spmd.property_test(
    case=lambda size: strategies.tensors(size) | strategies.unbalanced(size) | strategies.copied(size),
    p=st.sampled_from([0.0, 0.25, 0.9]),
    step=st.integers(0, 3),
)
def test_the_mask_is_that_of_one_rank_and_its_jacobian_has_its_adjoint(team, case, p, step):
    X = case.space(team)
    alone = layers.Dropout(X.replace(partition=ri.Partition(team, ()), cuts=((),) * X.ndim, blocks={}), p, case.seed)
    F = layers.Dropout(X, p, case.seed)
    for layer in (F, alone):
        layer.statistics = {name: block + step for name, block in layer.statistics.items()}
    mask = whole(alone.domain, alone.mask())
    x = X.random(case.seed)
    assert np.array_equal(whole(X, F(x)), mask * whole(X, x))
    assert set(np.unique(mask)) <= {0, np.asarray(1 / (1 - p)).astype(X.dtype)[()]}
    assert_derivative_is_honest(F, case.seed)


def test_a_pass_can_be_repeated_and_the_next_step_has_another_mask(team):
    X = ri.Space(ri.Partition(team, GRIDS[team.size]), (60, 50))
    F, x = layers.Dropout(X, 0.3), X.zeros() + 1
    y, J = F.linearize(x)
    assert np.array_equal(F(x), y) and verify.taylor_test(F, X.random(2))
    F.statistics = J.new_state
    again = F(x)
    assert not np.array_equal(whole(X, again), whole(X, y))
    zeros = [float(np.mean(whole(X, a) == 0)) for a in (y, again)]
    assert all(abs(z - 0.3) < 0.04 for z in zeros)
    both = float(np.mean((whole(X, y) == 0) & (whole(X, again) == 0)))
    assert abs(both - 0.09) < 0.025  # independent from step to step


def test_copies_share_a_mask_and_after_training_nothing_is_dropped(team):
    X = ri.Space(ri.Partition(team, (team.size,)), (40,), cuts=(None,))
    F = layers.Dropout(X)
    masks = wire.pool(team, F.mask())
    assert all(np.array_equal(m, masks[0]) for m in masks)
    x = X.random(1)
    assert np.array_equal(F.frozen()(x), x) and F.frozen().statistics == {}


def test_a_mask_of_another_step_is_rejected_as_the_adjoint(team):
    X = ri.Space(ri.Partition(team, GRIDS[team.size]), (6, 7))
    F = layers.Dropout(X)
    _, J = F.linearize(X.random(1))
    F.statistics = J.new_state
    assert not verify.dot_test(Planted(J, lambda dy: (F.mask() * dy, {})))


@pytest.mark.parametrize("p", [-0.1, 1.0, float("nan")])
def test_what_is_no_probability_is_refused(team, p):
    X = ri.Space(ri.Partition(team, (1,)), (3,))
    assert "expected a probability" in same_text(team, lambda: layers.Dropout(X, p))
