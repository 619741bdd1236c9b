"""The adjoint of a copy is a sum."""

import numpy as np
import pytest
import strategies
from theorems import Planted, assert_copies, assert_exact_adjoint, assert_honest, assert_rejected, same_text

import refimpl as ri
from refimpl.verify import spmd


def broadcast(team, case):
    return ri.Broadcast(case.space(team), case.new_partition(team))


@spmd.property_test(case=strategies.broadcasts)
def test_adjoint_of_broadcast_is_sum_reduce(team, case):
    B = broadcast(team, case)
    assert_exact_adjoint(B, case.seed)
    y = B.range.random(case.seed, copies="independent")
    S = ri.SumReduce(B.range, B.domain.partition)
    assert S.range == B.domain and np.array_equal(S.forward(y), B.adjoint(y))


@spmd.property_test(case=strategies.broadcasts)
def test_every_copy_is_the_block_and_the_adjoint_adds_all_copies(team, case):
    assert_copies(broadcast(team, case), case.seed)


@spmd.property_test(case=strategies.broadcasts)
def test_broadcast_sends_what_it_predicts_and_leaves_its_argument_alone(team, case):
    assert_honest(broadcast(team, case), case.seed)


def test_source_and_copies_may_be_on_disjoint_ranks(team):
    n = team.size
    source, copies = ri.Partition(team, (1,), ranks=[n - 1]), ri.Partition(team, (max(n - 1, 1),))
    B = ri.Broadcast(ri.Space(source, (5,)), copies)
    assert_exact_adjoint(B)
    assert_copies(B)
    assert_honest(B)


def test_unbalanced_blocks_and_copies_travel_too(team):
    rows = {0: [(0, 5)], 1: [(0, 0)] * (team.size - 1) + [(0, 3)]}
    B = ri.Broadcast(
        ri.Space(ri.Partition(team, (1, team.size)), (5, 3), blocks=rows), ri.Partition(team, (1, 1, team.size))
    )
    assert_exact_adjoint(B)
    assert_copies(B)


@pytest.mark.mpi(min_size=2)
def test_grids_that_do_not_match_are_refused(team):
    X = ri.Space(ri.Partition(team, (2, 1)), (4, 4))
    for grid in ((1, 2), (2,), (1, 1)):
        text = same_text(team, lambda grid=grid: ri.Broadcast(X, ri.Partition(team, grid)))
        assert text.startswith(f"Broadcast: the grid (2, 1) cannot be broadcast to {grid}")
    assert "one communicator" in same_text(team, lambda: ri.Broadcast(X, ri.Partition(team.Dup(), (2, 1))))


@pytest.mark.mpi(min_size=2)
def test_keeping_my_copy_instead_of_the_sum_is_rejected(team):
    B = ri.Broadcast(ri.Space(ri.Partition(team, (1,)), (3,)), ri.Partition(team, (team.size,)))
    assert_rejected(Planted(B, lambda y: y + 0 if team.rank == 0 else B.domain.zeros()))


@pytest.mark.mpi(min_size=2)
def test_a_mean_instead_of_the_sum_is_rejected(team):
    B = ri.Broadcast(ri.Space(ri.Partition(team, (1,)), (3,)), ri.Partition(team, (team.size,)))
    assert_rejected(Planted(B, lambda y: B.adjoint(y) / team.size))
