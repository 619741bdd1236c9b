"""Shift, padding and restriction are one copy with an offset: their adjoints shift back, restrict and pad."""

import hypothesis.strategies as st
import numpy as np
import pytest
import strategies
from theorems import Planted, assert_exact_adjoint, assert_honest, assert_rejected, cut, same_text, whole

import refimpl as ri
from refimpl.verify import spmd
from refimpl.verify.dot_test import small_integers


@st.composite
def tensors_and_pairs(draw, size):
    """A tensor in disjoint blocks of any kind, and a pair of small numbers for each axis."""
    case = draw(strategies.tensors(size) | strategies.unbalanced(size))
    return case, tuple((draw(st.integers(0, 4)), draw(st.integers(0, 4))) for _ in case.shape)


def rolled(x, steps, boundary):
    """The shifted global array, by NumPy."""
    if boundary == "periodic":
        return np.roll(x, steps, axis=range(x.ndim))
    padded = np.pad(x, [(max(s, 0), max(-s, 0)) for s in steps])
    return padded[tuple(slice(max(-s, 0), max(-s, 0) + n) for s, n in zip(steps, x.shape, strict=True))]


def assert_is(A, forward, adjoint, seed=0):
    """A and A* are these functions of the global array, and an exact pair."""
    x, y = small_integers(A.domain, seed), small_integers(A.range, seed + 1)
    assert np.array_equal(A.forward(x), cut(forward(whole(A.domain, x)), A.range.local_box))
    assert np.array_equal(A.adjoint(y), cut(adjoint(whole(A.range, y)), A.domain.local_box))
    assert_exact_adjoint(A, seed)


@spmd.property_test(given=tensors_and_pairs, boundary=lambda size: st.sampled_from(["zero", "periodic"]))
def test_adjoint_of_a_shift_is_the_shift_back(team, given, boundary):
    case, pairs = given
    steps = [a - b for a, b in pairs]
    S = ri.Shift(case.space(team), steps, boundary)
    back = [-s for s in steps]
    assert_is(S, lambda x: rolled(x, steps, boundary), lambda y: rolled(y, back, boundary), case.seed)
    assert_honest(S, case.seed)


@spmd.property_test(given=tensors_and_pairs)
def test_adjoint_of_padding_is_restriction(team, given):
    case, pairs = given
    Z = ri.Padding(case.space(team), pairs)
    inner = tuple(slice(a, a + n) for (a, _), n in zip(pairs, case.shape, strict=True))
    assert_is(Z, lambda x: np.pad(x, pairs), lambda y: y[inner], case.seed)
    assert_honest(Z, case.seed)
    R = ri.Restriction(Z.range, [(s.start, s.stop) for s in inner], blocks=dict(enumerate(Z.domain.blocks)))
    y = Z.range.random(case.seed)
    assert np.array_equal(R.forward(y), Z.adjoint(y))


@spmd.property_test(given=tensors_and_pairs)
def test_adjoint_of_restriction_is_padding(team, given):
    case, pairs = given
    box = [(min(a, n), max(n - b, min(a, n))) for (a, b), n in zip(pairs, case.shape, strict=True)]
    R = ri.Restriction(case.space(team), box)
    outside = [(a, n - b) for (a, b), n in zip(box, case.shape, strict=True)]
    assert_is(R, lambda x: x[tuple(slice(*pair) for pair in box)], lambda y: np.pad(y, outside), case.seed)
    assert_honest(R, case.seed)


def test_blocks_of_the_range_can_be_chosen_and_then_nothing_need_travel(team):
    X = ri.Space(ri.Partition(team, (team.size,)), (2 * team.size,))
    blocks = [[a + (a > 0), b + 1 + (b == 2 * team.size)] for a, b in X.blocks[0]]
    Z = ri.Padding(X, [(1, 1)], blocks={0: blocks})
    assert Z.traffic() == ri.Traffic() and Z.range.local_shape == (2 + (team.rank == 0) + (team.rank == team.size - 1),)
    assert_exact_adjoint(Z)


def test_offsets_that_make_no_sense_are_refused(team):
    X = ri.Space(ri.Partition(team, (1,)), (5, 4))
    assert "must lie in a tensor" in same_text(team, lambda: ri.Restriction(X, [(0, 6), (0, 4)]))
    assert "must lie in a tensor" in same_text(team, lambda: ri.Restriction(X, [(3, 2), (0, 4)]))
    assert "a pair for each of 2 axes" in same_text(team, lambda: ri.Padding(X, [(1, 1)]))
    assert "whole numbers" in same_text(team, lambda: ri.Padding(X, [1, 1]))
    assert "widths >= 0" in same_text(team, lambda: ri.Padding(X, [(1, 1), (-1, 0)]))
    assert "steps for each of 2 axes" in same_text(team, lambda: ri.Shift(X, [1]))
    assert "steps for each of 2 axes" in same_text(team, lambda: ri.Shift(X, [1, 1], "reflect"))
    assert "whole numbers" in same_text(team, lambda: ri.Shift(X, [1, 0.5]))


@pytest.mark.parametrize("boundary", ["zero", "periodic"])
def test_shifting_the_same_way_is_rejected_as_the_adjoint(team, boundary):
    S = ri.Shift(ri.Space(ri.Partition(team, (team.size,)), (5 * team.size,)), [1], boundary)
    assert_rejected(Planted(S, S.forward))


def test_keeping_all_of_the_padded_block_is_rejected(team):
    X = ri.Space(ri.Partition(team, (1,)), (4,))
    Z = ri.Padding(X, [(1, 1)])
    assert_rejected(Planted(Z, lambda y: y[: X.local_shape[0]] + 0))
