"""A repartition is a permutation of the world's memory: its adjoint is the way back."""

import numpy as np
import pytest
import strategies
from theorems import (
    GRIDS,
    Planted,
    assert_copies,
    assert_exact_adjoint,
    assert_honest,
    assert_rejected,
    cut,
    same_text,
    whole,
)

import refimpl as ri
from refimpl import wire
from refimpl.arrays import fresh
from refimpl.verify import spmd
from refimpl.verify.dot_test import small_integers


def repartition(team, case):
    return ri.Repartition(case.space(team), case.new_partition(team))


@spmd.property_test(case=strategies.repartitions)
def test_adjoint_of_repartition_is_the_repartition_back(team, case):
    T = repartition(team, case)
    assert_exact_adjoint(T, case.seed)
    y = T.range.random(case.seed)
    back = ri.Repartition(T.range, T.domain.partition)
    assert np.array_equal(T.adjoint(y), back.forward(y)) and np.array_equal(T.forward(T.adjoint(y)), y)


@spmd.property_test(case=strategies.repartitions)
def test_every_rank_gets_its_box_of_the_same_tensor(team, case):
    assert_copies(repartition(team, case), case.seed)


@spmd.property_test(case=strategies.repartitions)
def test_repartition_sends_what_it_predicts_and_leaves_its_argument_alone(team, case):
    assert_honest(repartition(team, case), case.seed)


@spmd.property_test(case=strategies.unbalanced)
def test_from_unbalanced_blocks_to_blocks_in_reverse_order(team, case):
    P = ri.Partition(team, (team.size, *[1] * (len(case.shape) - 1)))
    T = ri.Repartition(case.space(team), P, blocks={0: ri.blocks(case.shape[0], team.size)[::-1]})
    assert_exact_adjoint(T, case.seed)
    x = T.domain.random(case.seed)
    assert np.array_equal(T.forward(x), cut(whole(T.domain, x), T.range.local_box))


def test_scatter_and_gather_are_the_special_cases(team):
    one, all_ranks = ri.Partition(team, (1, 1)), ri.Partition(team, GRIDS[team.size])
    scatter = ri.Repartition(ri.Space(one, (7, 5)), all_ranks)
    x = scatter.domain.random(2)
    y = scatter.forward(x)
    assert np.array_equal(y, scatter.range.scatter(x if team.rank == 0 else None))
    gathered = ri.Repartition(scatter.range, one).forward(y)
    assert np.array_equal(gathered, x)


def test_a_range_with_copies_gets_them_and_its_adjoint_adds_them(team):
    grid = GRIDS[team.size]
    X = ri.Space(ri.Partition(team, (team.size,)), (7, 5))
    T = ri.Repartition(X, ri.Partition(team, grid), cuts=(None, 1))
    assert T.range.copy_axes == (0,)
    assert_exact_adjoint(T)
    assert_copies(T)
    assert_honest(T)


def test_a_domain_with_copies_is_read_in_the_readers_own_part_of_the_grid(team):
    P = ri.Partition(team, GRIDS[team.size])
    X = ri.Space(P, (7, 5), cuts=(None, 1))
    T = ri.Repartition(X, P, cuts=(None, None))
    assert_exact_adjoint(T)
    assert_honest(T)
    x = small_integers(X, 1)
    row = [block for block, coords in wire.pool(team, (x, P.coords)) if coords and coords[0] == P.coords[0]]
    assert np.array_equal(T.forward(x), np.concatenate(row, axis=1))


def test_grids_of_another_dimension(team):
    X = ri.Space(ri.Partition(team, (team.size,)), (6, 4), "complex64")
    T = ri.Repartition(X, ri.Partition(team, (1, *GRIDS[team.size])), cuts=(2, (1, 0)))
    assert_exact_adjoint(T)
    assert_copies(T)


def test_the_same_partition_sends_nothing_and_gives_a_fresh_block(team):
    X = ri.Space(ri.Partition(team, GRIDS[team.size]), (7, 5))
    T = ri.Repartition(X, X.partition)
    x = X.random(1)
    with ri.counting() as count:
        y = T.forward(x)
    assert count.total == wire.Sent() and np.array_equal(x, y) and not np.shares_memory(x, y)


def test_on_its_own_partition_a_space_keeps_its_own_blocks(team):
    rows = {0: [(0, 0)] * (team.size - 1) + [(0, 7)]}
    X = ri.Space(ri.Partition(team, (team.size,)), (7,), blocks=rows)
    T = ri.Repartition(X, X.partition)
    assert T.range == X and T.traffic().forward == T.traffic().adjoint == wire.Sent()
    assert np.array_equal(T.forward(X.random(1)), X.random(1))
    assert ri.Repartition(X, X.partition, cuts=X.cuts).range == ri.Space(X.partition, (7,))


@pytest.mark.mpi(min_size=2)
def test_only_ranks_whose_boxes_overlap_exchange_messages(team):
    n = team.size
    X = ri.Space(ri.Partition(team, (n,)), (4 * n,))
    rows = [(max(4 * i - 1, 0), 4 * i + 3) for i in range(n - 1)] + [(4 * n - 5, 4 * n)]
    T = ri.Repartition(X, X.partition, blocks={0: rows})  # every block moves one to the left
    assert_copies(T)
    assert T.traffic().forward == (wire.Sent(1, 8) if team.rank < n - 1 else wire.Sent())


@pytest.mark.mpi(min_size=2)
def test_what_is_no_repartition_is_refused(team):
    P = ri.Partition(team, (2,))
    overlapping = ri.Space(P, (5,), blocks={0: [(0, 3), (2, 5)]})
    assert "must hold each of 0..4 once" in same_text(team, lambda: ri.Repartition(overlapping, P))
    X = ri.Space(P, (5,))
    assert "more axes than the tensor" in same_text(team, lambda: ri.Repartition(X, ri.Partition(team, (1, 2))))
    assert "Repartition: expected a Partition, got (2,)" in same_text(team, lambda: ri.Repartition(X, (2,)))
    other = team.Dup()
    assert "one communicator" in same_text(team, lambda: ri.Repartition(X, ri.Partition(other, (2,))))


@pytest.mark.mpi(min_size=2)
def test_blocks_in_reverse_order_are_rejected(team):
    X = ri.Space(ri.Partition(team, (team.size,)), (2 * team.size,))
    T = ri.Repartition(X, ri.Partition(team, (team.size,), ranks=range(team.size)[::-1]))
    assert_rejected(Planted(T, fresh))
