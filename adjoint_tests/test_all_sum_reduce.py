"""A sum that stays on all ranks is its own adjoint."""

import numpy as np
import pytest
import strategies
from theorems import GRIDS, Planted, assert_exact_adjoint, assert_honest, assert_rejected, same_text

import refimpl as ri
from refimpl import wire
from refimpl.arrays import fresh, to_host
from refimpl.verify import spmd
from refimpl.verify.dot_test import small_integers


@spmd.property_test(case=strategies.sums)
def test_the_sum_over_grid_axes_is_self_adjoint(team, case):
    A = ri.AllSumReduce(case.space(team), case.axes)
    assert_exact_adjoint(A, case.seed)
    x, P = small_integers(A.domain, case.seed), A.domain.partition
    blocks, y = wire.pool(team, x), A.forward(x)
    if P.active:
        mine = np.delete(P.coords, case.axes)
        places = [(r, np.delete(P.coords_of(place), case.axes)) for place, r in enumerate(P.ranks)]
        assert np.array_equal(y, sum(blocks[r] for r, coords in places if np.array_equal(coords, mine)))


@spmd.property_test(case=strategies.sums)
def test_the_sum_has_the_same_bits_on_all_ranks_and_sends_what_it_predicts(team, case):
    X = case.space(team)
    assert_honest(ri.AllSumReduce(X, case.axes), case.seed)
    A = ri.AllSumReduce(X, X.copy_axes)
    y = A.forward(X.random(case.seed, copies="independent"))
    same = [(box, block.tobytes()) for box, block in wire.pool(team, (X.local_box, to_host(y))) if block.size]
    assert len(set(same)) == len({box for box, _ in same})


def test_composed_of_a_sum_reduce_and_a_broadcast(team):
    grid = GRIDS[team.size]
    X, P_0 = ri.Space(ri.Partition(team, grid), (5, 3), cuts=(1, None)), ri.Partition(team, (1, grid[1]))
    S = ri.SumReduce(X, P_0)
    B = ri.Broadcast(S.range, X.partition)
    x = small_integers(X, 3)
    assert np.array_equal((B @ S).forward(x), ri.AllSumReduce(X, 0).forward(x))


def test_blocks_of_equal_shape_are_added_as_memory(team):
    X = ri.Space(ri.Partition(team, (team.size,)), (2 * team.size,))
    assert np.array_equal(ri.AllSumReduce(X, 0).forward(X.zeros() + 1), X.zeros() + team.size)
    assert_exact_adjoint(ri.AllSumReduce(X, 0))


@pytest.mark.mpi(min_size=2)
def test_blocks_of_different_shapes_are_refused(team):
    X = ri.Space(ri.Partition(team, (team.size,)), (2 * team.size + 1,))
    assert "only blocks of equal shape can be added" in same_text(team, lambda: ri.AllSumReduce(X, 0))
    for axes in (1, (0, 0), -1):
        assert "must name different axes" in same_text(team, lambda axes=axes: ri.AllSumReduce(X, axes))
    assert "axes: expected whole numbers" in same_text(team, lambda: ri.AllSumReduce(X, 0.0))


def test_axes_may_be_numpys_integers(team):
    X = ri.Space(ri.Partition(team, (team.size,)), (3,), cuts=(None,))
    assert ri.AllSumReduce(X, np.int64(0)).axes == ri.AllSumReduce(X, np.arange(1)).axes == (0,)


@pytest.mark.mpi(min_size=2)
def test_sum_forward_and_copy_back_is_rejected(team):
    X = ri.Space(ri.Partition(team, (team.size,)), (3,), cuts=(None,))
    assert_rejected(Planted(ri.AllSumReduce(X, 0), fresh))
