"""Transposing the grid, scatter and gather are repartitions: permutations of the world's memory."""

import hypothesis.strategies as st
import numpy as np
import pytest
import strategies
from theorems import GRIDS, Planted, assert_copies, assert_exact_adjoint, assert_honest, assert_rejected, same_text

import refimpl as ri
from refimpl.verify import spmd


@st.composite
def tensors_and_permutations(draw, size):
    case = draw(strategies.tensors(size))
    return case, tuple(draw(st.permutations(range(len(case.grid)))))


@spmd.property_test(given=tensors_and_permutations)
def test_adjoint_of_a_transpose_is_its_inverse(team, given):
    case, axes = given
    T = ri.Transpose(case.space(team), axes)
    assert T.range.cuts == tuple((g,) for g in axes)
    assert_exact_adjoint(T, case.seed)
    assert_copies(T, case.seed)
    assert_honest(T, case.seed)
    inverse = ri.Transpose(T.range, np.argsort(axes))
    y = T.range.random(case.seed)
    assert np.array_equal(inverse.forward(y), T.adjoint(y)) and inverse.range == T.domain


def test_a_transpose_makes_the_other_axis_whole(team):
    X = ri.Space(ri.Partition(team, (1, team.size)), (5, 7))
    T = ri.Transpose(X)
    assert X.is_whole(0) and T.range.is_whole(1)
    assert_exact_adjoint(T)


@spmd.property_test(case=strategies.tensors, root=lambda size: st.integers(0, size - 1))
def test_gather_and_scatter_are_each_others_adjoint(team, case, root):
    G = ri.movement.Gather(case.space(team), root)
    C = ri.movement.Scatter(G.range, G.domain.partition, G.domain.cuts)
    x, y = G.domain.random(case.seed), G.range.random(case.seed + 1)
    assert C.range == G.domain
    assert np.array_equal(G.forward(x), G.range.random(case.seed))
    assert np.array_equal(C.forward(y), G.adjoint(y)) and np.array_equal(C.adjoint(x), G.forward(x))
    for A in (G, C):
        assert_exact_adjoint(A, case.seed)
        assert_honest(A, case.seed)


@pytest.mark.mpi(min_size=2)
def test_gathering_one_copy_is_rejected_as_the_adjoint_of_a_scatter_to_copies(team):
    X = ri.Space(ri.Partition(team, (1,)), (40,))
    C = ri.Scatter(X, ri.Partition(team, (team.size,)), cuts=(None,))
    assert_exact_adjoint(C)
    first = ri.Gather(C.range)
    assert_rejected(Planted(C, first.forward))


def test_reversed_and_left_aligned_broadcasts_lay_the_ranks_out_anew(team):
    p, q = GRIDS[team.size]
    P = ri.Partition(team, (p, q))
    column = ri.Partition(team, (p,), ranks=[P.rank_at((i, 0)) for i in range(p)])
    left = ri.Broadcast(ri.Space(column.reshape((p, 1)), (5, 3)), P)  # aligned on the left: along each row of the grid
    assert np.array_equal(left.forward(left.domain.random(1)), left.range.random(1))
    reverse = ri.Broadcast(ri.Space(column, (5,)), P.transpose())  # (p,) to (q, p)
    assert np.array_equal(reverse.forward(reverse.domain.random(1)), reverse.range.random(1))
    assert reverse.range.boxes == left.range.replace(shape=(5,), cuts=(0,), blocks={}).boxes
    for B in (left, reverse):
        assert_exact_adjoint(B)
    assert P.transpose().transpose() == P and P.transpose().shape == (q, p)
    assert P.transpose().coords == (None if P.coords is None else P.coords[::-1])


def test_what_is_no_permutation_or_no_single_rank_is_refused(team):
    X = ri.Space(ri.Partition(team, (1, 1)), (5, 4))
    assert "a permutation of the grid's axes 0..1" in same_text(team, lambda: ri.Transpose(X, (0, 0)))
    assert "ranks must lie in" in same_text(team, lambda: ri.Gather(X, team.size))
    if team.size > 1:
        Y = ri.Space(ri.Partition(team, (team.size,)), (5,))
        assert "expected a space on one rank" in same_text(team, lambda: ri.Scatter(Y, Y.partition))
        assert "different ranks" in same_text(team, lambda: Y.partition.reshape((1,)))
