"""Flattening moves nothing, and applying an operator is a layer whose derivative is that operator."""

import hypothesis.strategies as st
import numpy as np
import pytest
import strategies
from theorems import GRIDS, Planted, assert_derivative_is_honest, assert_exact_adjoint, same_text, whole

import refimpl as ri
from refimpl import layers, verify
from refimpl.arrays import to_host
from refimpl.verify import spmd


@st.composite
def flattenings(draw, size):
    """Any blocks of the axes up to ``start``, which is the first that is flattened; the later ones are whole."""
    case = draw(strategies.tensors(size) | strategies.unbalanced(size))
    start = draw(st.integers(0, len(case.shape) - 1))
    later = [i for i, p in enumerate(case.grid) if i > start and p > 1]
    return (case, start) if not later else (case, later[-1])


@spmd.property_test(given=flattenings)
def test_flattening_is_numpys_reshape_of_the_whole_tensor(team, given):
    case, start = given
    F = layers.Flatten(case.space(team), start)
    x = F.domain.random(case.seed)
    expected = whole(F.domain, x).reshape(F.range.shape)
    y, J = F.linearize(x)
    assert np.array_equal(whole(F.range, y), expected) and np.array_equal(J.forward(x), y)
    assert F.traffic() == ri.Traffic()
    assert_exact_adjoint(J, case.seed)
    assert_derivative_is_honest(F, case.seed)


def test_blocks_of_the_new_axis_are_multiples_of_the_axes_behind_it(team):
    X = ri.Space(ri.Partition(team, (1, team.size)), (2, 5, 3, 4))
    assert layers.Flatten(X).range.blocks[1] == tuple((12 * a, 12 * b) for a, b in ri.blocks(5, team.size))
    assert layers.Flatten(X, -1).range == X


def test_a_later_axis_that_is_cut_is_refused_by_all_ranks_alike(team):
    X = ri.Space(ri.Partition(team, (1, 1, team.size)), (2, 3, 2 * team.size))
    assert "different axes of a tensor of 3" in same_text(team, lambda: layers.Flatten(X, 3))
    assert "Flatten: start: expected whole numbers" in same_text(team, lambda: layers.Flatten(X, 1.5))
    if team.size > 1:
        text = same_text(team, lambda: layers.Flatten(X))
        assert "axis 2 of" in text and "only the first, 1, may be cut; repartition before" in text


@pytest.mark.parametrize(
    "move",
    [
        lambda X: ri.Repartition(X, X.partition.transpose()),
        lambda X: ri.HaloExchange(X, [(1, 2), (0, 1)]),
        lambda X: 2.0 * ri.AllGather(X, 0),
    ],
)
def test_an_operator_is_a_layer_that_is_its_own_derivative(team, move):
    A = move(ri.Space(ri.Partition(team, GRIDS[team.size]), (7, 5)))
    F, x = layers.Apply(A), A.domain.random(1)
    y, J = F.linearize(x)
    assert np.array_equal(y, A.forward(x)) and np.array_equal(J.forward(x), y)
    assert_exact_adjoint(J)
    assert_derivative_is_honest(F)


def test_an_operator_of_a_product_is_no_layer(team):
    X = ri.Space(ri.Partition(team, (1,)), (3,))
    J = layers.Linear(X, 3, axis=0).linearize(X.zeros())[1]
    for wrong in (J, layers.Tanh(X), 3):
        text = same_text(team, lambda wrong=wrong: layers.Apply(wrong))
        assert text == f"Apply: expected an operator between two Spaces, got {type(wrong).__name__}"


@pytest.mark.mpi(min_size=2)
def test_wrong_adjoints_are_rejected(team):
    X = ri.Space(ri.Partition(team, GRIDS[team.size]), (6, 6))
    halo = layers.Apply(ri.HaloExchange(X, [(1, 1), (1, 1)]))
    _, J = halo.linearize(X.random(1))
    cropped = lambda dy: (dy[tuple(slice(1, 1 + n) for n in X.local_shape)] + 0, {})
    assert not verify.dot_test(Planted(J, cropped))
    F = layers.Flatten(ri.Space(ri.Partition(team, (team.size,)), (2 * team.size, 3)), 0)
    _, J = F.linearize(F.domain.random(1))
    fortran = lambda dy: (F.domain.adopt(to_host(dy).reshape(F.domain.local_shape[::-1]).T.copy()), {})
    assert not verify.dot_test(Planted(J, fortran))
