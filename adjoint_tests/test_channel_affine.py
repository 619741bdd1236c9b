"""A number of its own multiplies each channel and another is added, with gradients summed over batch, space and ranks."""

import hypothesis.strategies as st
import numpy as np
import pytest
import strategies
from theorems import GRIDS, Planted, assert_close, assert_derivative_is_honest, same_text, whole

import refimpl as ri
from refimpl import layers, verify, wire
from refimpl.arrays import to_host
from refimpl.verify import spmd

FORMS = {"both": {}, "weight": {"bias": False}, "bias": {"weight": False}}


def with_random_parameters(F):
    F.parameters = {name: space.random(5 + i) for i, (name, space) in enumerate(F.parameter_spaces.items())}
    return F


def channelled(size):
    """Any blocks of any type, on any ranks, of tensors that have channels."""
    cases = strategies.tensors(size) | strategies.unbalanced(size)
    return cases.filter(lambda case: len(case.shape) > 1)


@spmd.property_test(case=channelled, form=st.sampled_from(list(FORMS)))
def test_it_is_that_of_the_whole_tensor_and_its_jacobian_has_its_adjoint(team, case, form):
    X = case.space(team)
    F = with_random_parameters(layers.ChannelAffine(X, **FORMS[form]))
    w, b = (wire.share(team, F.state()).get(k, nothing) for k, nothing in {"w": np.ones(1), "b": np.zeros(1)}.items())
    channels = (-1, *[1] * (X.ndim - 2))
    x = X.random(case.seed)
    assert_close(X, F(x), whole(X, x) * w.reshape(channels) + b.reshape(channels))
    assert_derivative_is_honest(F, case.seed)


def test_it_begins_as_the_identity_and_is_analytic(team):
    X = ri.Space(ri.Partition(team, GRIDS[team.size]), (4, 3, 5), "complex128")
    F, x = layers.ChannelAffine(X), X.random(1)
    assert np.array_equal(F(x), x)
    assert verify.taylor_test(with_random_parameters(F), x, first=0.1)


def test_neither_weight_nor_bias_and_no_channels_are_refused_by_all_ranks_alike(team):
    X = ri.Space(ri.Partition(team, (team.size,)), (4,))
    assert "got neither" in same_text(team, lambda: layers.ChannelAffine(X, weight=False, bias=False))
    assert "axes (1,) must name" in same_text(team, lambda: layers.ChannelAffine(X))


@pytest.mark.parametrize("form", FORMS)
def test_adjoints_with_the_usual_mistakes_are_rejected(team, form):
    X = ri.Space(ri.Partition(team, (1, 1, team.size)), (3, 2, 4 * team.size), "complex128")
    F = with_random_parameters(layers.ChannelAffine(X, **FORMS[form]))
    _, J = F.linearize(X.random(1))
    for name in F.parameters:
        forgotten = lambda dy, name=name: (J.adjoint(dy)[0], {**J.adjoint(dy)[1], name: J.domain[name].zeros()})
        assert not verify.dot_test(Planted(J, forgotten), chain=8), name
    if form != "bias":
        assert not verify.dot_test(Planted(J, lambda dy: (X.adopt(to_host(dy)), J.adjoint(dy)[1])), chain=8)
    if team.size > 1:
        mine = float(team.rank == 0)
        own_part = lambda dy: (J.adjoint(dy)[0], J.adjoint(mine * dy)[1])
        assert not verify.dot_test(Planted(J, own_part), chain=8)
