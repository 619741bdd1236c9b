"""The sum of whole tensors, cut into blocks, and its adjoint: the blocks put together."""

import numpy as np
import pytest
import strategies
from theorems import Planted, assert_exact_adjoint, assert_honest, assert_rejected, same_text

import refimpl as ri
from refimpl import wire
from refimpl.verify import spmd
from refimpl.verify.dot_test import small_integers


@spmd.property_test(case=strategies.gathers)
def test_adjoint_of_reduce_scatter_is_all_gather(team, case):
    G = ri.AllGather(case.space(team), case.axes)
    R = ri.ReduceScatter(G.range, case.axes, range=G.domain)
    assert_exact_adjoint(R, case.seed)
    x = R.range.random(case.seed, copies="independent")
    assert np.array_equal(R.adjoint(x), G.forward(x))
    assert R.traffic() == G.traffic().reversed


def test_reduce_scatter_is_honest(team):
    Y = ri.Space(ri.Partition(team, (1, team.size)), (3, 7), "complex64", cuts=(0, None))
    assert_honest(ri.ReduceScatter(Y, 1))


@pytest.mark.parametrize("n", [0, 1, 7])
def test_every_rank_has_its_block_of_the_sum(team, n):
    Y = ri.Space(ri.Partition(team, (team.size,)), (n, 2), cuts=(None, None))
    R = ri.ReduceScatter(Y, 0)
    y = small_integers(Y, 5)
    assert np.array_equal(R.forward(y), sum(wire.pool(team, y))[R.range.local_slice])


@pytest.mark.mpi(min_size=2)
def test_what_holds_no_copies_cannot_be_summed(team):
    P = ri.Partition(team, (2,))
    text = same_text(team, lambda: ri.ReduceScatter(ri.Space(P, (4,)), 0))
    assert "must hold copies" in text
    other = ri.Space(P, (5,))
    assert "gathering" in same_text(team, lambda: ri.ReduceScatter(ri.Space(P, (4,), cuts=(None,)), 0, range=other))
    grid = ri.Partition(team, (1, 2))
    assert "say range=" in same_text(team, lambda: ri.ReduceScatter(ri.Space(grid, (4,), cuts=(0,)), 1))


@pytest.mark.mpi(min_size=2)
def test_an_adjoint_that_leaves_the_other_ranks_parts_zero_is_rejected(team):
    Y = ri.Space(ri.Partition(team, (team.size,)), (2 * team.size,), cuts=(None,))
    R = ri.ReduceScatter(Y, 0)

    def mine_alone(x):
        y = Y.zeros()
        y[R.range.local_slice] = x
        return y

    assert_rejected(Planted(R, mine_alone))
