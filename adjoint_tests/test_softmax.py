"""Sums along a split axis, and the softmax made of them, are those of the whole tensor."""

import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.special
import strategies
from theorems import (
    GRIDS,
    Planted,
    assert_close,
    assert_derivative_is_honest,
    assert_exact_adjoint,
    assert_honest,
    assert_rejected,
    cut,
    same_text,
    whole,
)

import refimpl as ri
from refimpl import layers, verify
from refimpl.arrays import to_host
from refimpl.verify import spmd
from refimpl.verify.dot_test import small_integers


@st.composite
def tensors_and_axes(draw, size):
    case = draw(strategies.tensors(size) | strategies.unbalanced(size) | strategies.copied(size))
    return case, tuple(draw(st.sets(st.integers(0, len(case.shape) - 1), min_size=1)))


@st.composite
def real_tensors_and_an_axis(draw, size):
    """A real tensor, and an axis that is not empty."""
    case = draw(strategies.tensors(size, strategies.REAL) | strategies.unbalanced(size, strategies.REAL))
    full = [axis for axis, n in enumerate(case.shape) if n]
    return (case, draw(st.sampled_from(full))) if full else (strategies.TensorCase((3,), (1,)), 0)


@spmd.property_test(given=tensors_and_axes)
def test_adjoint_of_a_sum_repeats_the_added_copies(team, given):
    case, axes = given
    S = layers.AxisSum(case.space(team), axes)
    assert_exact_adjoint(S, case.seed)
    assert_honest(S, case.seed)
    x = small_integers(S.domain, case.seed, copies="equal")
    total = np.sum(whole(S.domain, x), axis=tuple(axes), keepdims=True)
    assert np.array_equal(S.forward(x), cut(total, S.range.local_box))


@spmd.property_test(given=real_tensors_and_an_axis, name=st.sampled_from(["Softmax", "LogSoftmax"]))
def test_softmax_of_a_split_axis_is_that_of_the_whole(team, given, name):
    case, axis = given
    X = case.space(team)
    F = getattr(layers, name)(X, axis)
    function = scipy.special.softmax if name == "Softmax" else scipy.special.log_softmax
    x = X.random(case.seed)
    assert_close(X, F(x), function(whole(X, x).astype("float64"), axis=axis))
    assert_derivative_is_honest(F, case.seed)


@pytest.mark.parametrize("layer", [layers.Softmax, layers.LogSoftmax])
def test_taylor_remainders_of_softmax_fall_with_slope_2(team, layer):
    X = ri.Space(ri.Partition(team, GRIDS[team.size]), (6, 7))
    for axis in (0, 1):
        assert verify.taylor_test(layer(X, axis), X.random(3), first=0.05)


@pytest.mark.parametrize("layer", [layers.Softmax, layers.LogSoftmax])
def test_large_numbers_do_not_overflow(team, layer):
    X = ri.Space(ri.Partition(team, (team.size,)), (12,))
    x = whole(X, X.random(1)) * 1e4
    function = scipy.special.softmax if layer is layers.Softmax else scipy.special.log_softmax
    assert_close(X, layer(X, 0)(X.scatter(x)), function(x))


@pytest.mark.mpi(min_size=2)
def test_a_softmax_of_each_block_alone_is_rejected(team):
    X = ri.Space(ri.Partition(team, (team.size,)), (2 * team.size,))
    x = X.random(1)
    gap = X.norm(layers.Softmax(X, 0)(x) - X.adopt(scipy.special.softmax(to_host(x))))
    assert gap > 0.01


@pytest.mark.mpi(min_size=2)
def test_repeating_without_adding_the_copies_is_rejected(team):
    S = layers.AxisSum(ri.Space(ri.Partition(team, (team.size,)), (2 * team.size,)), (0,))
    assert_rejected(Planted(S, lambda z: S.domain.adopt(np.repeat(to_host(z), 2))))


def test_a_softmax_adjoint_without_its_sum_or_of_the_wrong_function_is_rejected(team):
    X = ri.Space(ri.Partition(team, (team.size,)), (2 * team.size,))
    y, J = layers.Softmax(X, 0).linearize(X.random(1))
    assert not verify.dot_test(Planted(J, lambda dy: (y * dy, {})))
    _, J = layers.LogSoftmax(X, 0).linearize(X.random(1))
    assert not verify.dot_test(Planted(J, lambda dz: (J.forward(dz), {})))


def test_axes_that_do_not_exist_and_complex_spaces_are_refused(team):
    X = ri.Space(ri.Partition(team, (1,)), (5, 0))
    for axes in ((2,), (0, 0), (-3,), ()):
        assert "must name different axes of a tensor of 2" in same_text(team, lambda axes=axes: layers.AxisSum(X, axes))
    assert "with numbers along axis 1" in same_text(team, lambda: layers.Softmax(X))
    assert "expected a real space" in same_text(team, lambda: layers.Softmax(X.replace(dtype="complex128"), 0))
    ghosts = ri.HaloExchange(ri.Space(ri.Partition(team, (1,)), (5,)), [(1, 0)]).range
    assert "leave gaps or overlap" in same_text(team, lambda: layers.AxisSum(ghosts, (0,)))


def test_an_adjoint_without_the_sum_or_that_is_the_tangent_of_the_logarithm_is_rejected(team):
    X = ri.Space(ri.Partition(team, GRIDS[team.size]), (6, 7))
    for layer in (layers.Softmax, layers.LogSoftmax):
        F, x = layer(X, 0), X.random(1)
        y, J = F.linearize(x)
        diagonal = lambda dy, y=y: (y * dy, {})
        assert not verify.dot_test(Planted(J, diagonal), chain=4)
    assert not verify.dot_test(Planted(J, lambda dy: (J.forward(dy), {})), chain=4)
