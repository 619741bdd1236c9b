"""Putting blocks together on every rank, and its adjoint: the sum, scattered."""

import numpy as np
import pytest
import strategies
from theorems import Planted, assert_copies, assert_exact_adjoint, assert_honest, assert_rejected, cut, same_text, whole

import refimpl as ri
from refimpl.verify import spmd


@spmd.property_test(case=strategies.gathers)
def test_gathered_blocks_are_the_tensor_and_the_adjoint_is_exact(team, case):
    X = case.space(team)
    G = ri.AllGather(X, case.axes)
    assert set(G.range.copy_axes) >= set(case.axes)
    x = X.random(case.seed)
    assert np.array_equal(G.forward(x), cut(whole(X, x), G.range.local_box))
    assert_exact_adjoint(G, case.seed)


@spmd.property_test(case=strategies.gathers)
def test_all_gather_sends_what_it_predicts_and_leaves_its_argument_alone(team, case):
    assert_honest(ri.AllGather(case.space(team), case.axes), case.seed)


def test_more_ranks_than_entries_and_empty_blocks(team):
    P = ri.Partition(team, (team.size,))
    rows = [(0, 0)] * (team.size - 1) + [(0, 7)]
    for X in (ri.Space(P, (1, 2)), ri.Space(P, (0, 2)), ri.Space(P, (7, 1), blocks={0: rows})):
        G = ri.AllGather(X, 0)
        assert G.range.local_shape == X.shape
        assert_copies(G)
        assert_honest(G)


def test_blocks_that_lie_in_order_are_received_where_they_belong(team):
    stacked = lambda shape, cuts: ri.AllGather(ri.Space(ri.Partition(team, (team.size,)), shape, cuts=cuts), 0).stacked
    assert stacked((7, 2), (0, None)) and stacked((1, 1, 7, 2), (None, None, 0, None)) and stacked((0, 3), (0, None))
    assert stacked((2, 7), (None, 0)) == stacked((2, 3, 7), (None, 0, None)) == (team.size == 1)


@pytest.mark.mpi(min_size=2)
def test_what_cannot_be_put_together_is_refused(team):
    P = ri.Partition(team, (2, 1))
    for text, make in {
        "leave gaps or overlap": lambda: ri.AllGather(ri.Space(P, (5, 5), blocks={0: [(0, 3), (2, 5)]}), 0),
        "must name different axes": lambda: ri.AllGather(ri.Space(P, (5, 5)), 2),
        "hold copies": lambda: ri.AllGather(ri.Space(P, (5, 5), cuts=(None, 1)), 0),
        "only the last can be gathered": lambda: ri.AllGather(ri.Space(P, (5, 5), cuts=((0, 1), None)), 0),
    }.items():
        assert text in same_text(team, make)


@pytest.mark.mpi(min_size=2)
def test_keeping_my_block_instead_of_the_sum_is_rejected(team):
    G = ri.AllGather(ri.Space(ri.Partition(team, (team.size,)), (2 * team.size,)), 0)
    assert_rejected(Planted(G, lambda y: y[G.domain.local_slice] + 0))
