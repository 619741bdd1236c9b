"""The adjoint of a sum is a copy."""

import numpy as np
import pytest
import strategies
from theorems import Planted, assert_exact_adjoint, assert_honest, assert_rejected, same_text

import refimpl as ri
from refimpl import wire
from refimpl.verify import spmd


def sum_reduce(team, case):
    Y = ri.Broadcast(case.space(team), case.new_partition(team)).range
    return ri.SumReduce(Y, case.partition(team))


@spmd.property_test(case=strategies.broadcasts)
def test_adjoint_of_sum_reduce_is_broadcast(team, case):
    S = sum_reduce(team, case)
    assert_exact_adjoint(S, case.seed)
    x = S.range.random(case.seed)
    assert np.array_equal(S.adjoint(x), ri.Broadcast(S.range, S.domain.partition).forward(x))


@spmd.property_test(case=strategies.broadcasts)
def test_sum_reduce_sends_what_it_predicts_and_leaves_its_argument_alone(team, case):
    assert_honest(sum_reduce(team, case), case.seed)


def test_the_sum_of_the_ranks_numbers_is_on_rank_0(team):
    Y = ri.Space(ri.Partition(team, (team.size,)), (2, 3), cuts=(None, None))
    S = ri.SumReduce(Y, ri.Partition(team, (1,)))
    total = sum(range(1, team.size + 1))
    assert np.array_equal(S.forward(Y.zeros() + team.rank + 1), S.range.zeros() + total)
    assert wire.pool(team, S.range.local_shape)[1:] == [(0, 0)] * (team.size - 1)


@pytest.mark.mpi(min_size=3)
def test_blocks_of_different_indices_are_not_added(team):
    Y = ri.Space(ri.Partition(team, (3,)), (12,))
    for X in (Y, ri.Space(ri.Partition(team, (2,)), (12,))):
        assert "cut the tensor" in same_text(team, lambda X=X: ri.SumReduce(X, ri.Partition(team, (1,))))
    for grid in ((2,), (1, 1)):
        text = same_text(team, lambda grid=grid: ri.SumReduce(Y, ri.Partition(team, grid)))
        assert text.startswith(f"SumReduce: the copies on the grid (3,) cannot be summed onto {grid}")


@pytest.mark.mpi(min_size=2)
def test_passing_the_sensitivity_to_one_rank_only_is_rejected(team):
    Y = ri.Space(ri.Partition(team, (team.size,)), (3,), cuts=(None,))
    S = ri.SumReduce(Y, ri.Partition(team, (1,)))
    assert_rejected(Planted(S, lambda x: x + 0 if team.rank == 0 else Y.zeros()))
