"""Layers one after the other, and side by side."""

import numpy as np
import pytest
from theorems import GRIDS, Planted, assert_derivative_is_honest, same_text

import refimpl as ri
from refimpl import verify
from refimpl.layers import GELU, Identity, Linear, Parallel, ReLU, Sequential, SpectralConvolution, chain


def network(team, dtype="float64"):
    """A nest of both kinds."""
    X = ri.Space(ri.Partition(team, (GRIDS[team.size][0], 1, GRIDS[team.size][1])), (4, 2, 6), dtype)
    block = lambda Y: Parallel({"linear": Linear(Y, 3, seed=1), "spectral": SpectralConvolution(Y, (2,), 3, seed=2)})
    return Sequential(chain(X, {"block": block, "gelu": GELU, "out": lambda Y: Linear(Y, 2, seed=3)}))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_nest_of_layers_has_an_adjoint_derivative(team, dtype):
    assert_derivative_is_honest(network(team, dtype))


def test_its_derivative_is_that_of_its_value(team):
    F = network(team)
    assert verify.taylor_test(F, F.domain.random(1), first=0.02)


def test_value_is_the_composition_of_values(team):
    F = network(team)
    x = F.domain.random(1)
    block, gelu, out = F.layers.values()
    linear, spectral = block.layers.values()
    assert np.array_equal(F(x), out(gelu(linear(x) + spectral(x))))
    y, J = F.linearize(x)
    dx, d = F.domain.random(2), J.domain.random(3)
    d.pop("x")
    assert np.array_equal(J.forward(dx, d), J.forward({"x": dx, **d}))
    assert np.allclose(J.forward(dx) + J.forward(F.domain.zeros(), d), J.forward(dx, d), rtol=1e-12, atol=1e-14)


def test_parameters_are_named_by_their_way_and_each_layer_keeps_its_own(team):
    F = network(team)
    names = ["block.linear.W", "block.linear.b", "block.spectral.R", "out.W", "out.b"]
    assert list(F.parameters) == list(F.parameter_spaces) == names
    new = {name: p + 1 for name, p in F.parameters.items()}
    F.parameters = new
    assert F.layers["block"].layers["linear"].parameters["W"] is new["block.linear.W"]
    assert F.parameter_count == 6 + 3 + 2 * 2 * 2 * 3 + 6 + 2
    other = network(team)
    other.load_state(F.state())
    assert all(np.array_equal(other.parameters[name], new[name]) for name in names)


def test_a_model_votes_once_not_in_every_layer(team):
    F = network(team)
    x = F.domain.zeros()
    with ri.counting() as count:
        F(x)
    assert count.votes == 1


def test_layers_that_do_not_follow_one_another_are_refused(team):
    X = ri.Space(ri.Partition(team, (team.size,)), (4, 2))
    F, G = Linear(X, 3), Linear(X, 2)
    assert "a gives" in same_text(team, lambda: Sequential({"a": F, "b": G}))
    assert "Sequential: expected at least one layer" in same_text(team, lambda: Sequential({}))
    assert "Parallel: expected at least one layer" in same_text(team, lambda: Parallel({}))
    assert "unlike the others" in same_text(team, lambda: Parallel({"a": F, "b": G}))


@pytest.mark.parametrize("kind", [Sequential, Parallel])
def test_one_layer_alone_is_that_layer(team, kind):
    X = ri.Space(ri.Partition(team, (team.size,)), (4, 2))
    x = X.random(1)
    assert np.array_equal(kind({"a": ReLU(X)})(x), ReLU(X)(x))
    y = kind({"a": Identity(X)})(x)
    assert np.array_equal(y, x) and not np.shares_memory(x, y)


def test_adjoints_in_the_wrong_order_or_with_a_branch_left_out_are_rejected(team):
    X = ri.Space(ri.Partition(team, (team.size,)), (4, 3))
    first, second = Linear(X, 3, bias=False, seed=1), Linear(X, 3, bias=False, seed=2)
    x = X.random(1)
    _, J = Sequential({"a": first, "b": second}).linearize(x)
    (_, A), (_, B) = first.linearize(x), second.linearize(first(x))
    right = lambda dy: (A.adjoint(B.adjoint(dy)[0])[0], J.adjoint(dy)[1])
    wrong = lambda dy: (B.adjoint(A.adjoint(dy)[0])[0], J.adjoint(dy)[1])
    assert verify.dot_test(Planted(J, right), chain=4) and not verify.dot_test(Planted(J, wrong), chain=4)
    _, J = Parallel({"a": first, "b": second}).linearize(x)
    assert not verify.dot_test(Planted(J, lambda dy: (A.adjoint(dy)[0], J.adjoint(dy)[1])), chain=4)
