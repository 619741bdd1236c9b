"""The one rule that cuts an axis, and grids of ranks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from theorems import same_text

import refimpl as ri


@given(n=st.integers(0, 400), p=st.integers(1, 60))
def test_blocks_cover_in_order_and_the_first_ones_are_one_longer(n, p):
    rows = ri.blocks(n, p)
    assert len(rows) == p and rows[0][0] == 0 and rows[-1][1] == n
    assert all(a[1] == b[0] for a, b in zip(rows[:-1], rows[1:], strict=True))
    sizes = [stop - start for start, stop in rows]
    assert sizes == [n // p + 1] * (n % p) + [n // p] * (p - n % p)


def test_blocks_refuse_negative_sizes_and_no_parts():
    for n, p in ((-1, 2), (3, 0)):
        with pytest.raises(ValueError, match=f"n = {n}, p = {p}"):
            ri.blocks(n, p)


def test_a_grid_is_row_major_and_the_other_ranks_are_inactive(team):
    p = team.size // 2 or 1
    P = ri.Partition(team, (1, p))
    assert P.shape == (1, p) and P.size == p and P.ranks == tuple(range(p))
    assert P.active == (team.rank < p)
    assert P.coords == ((0, team.rank) if P.active else None) and P.rank == (team.rank if P.active else None)
    assert [P.rank_at(P.coords_of(place)) for place in range(p)] == list(P.ranks)


def test_a_grid_lives_on_the_ranks_that_are_named_in_their_order(team):
    ranks = list(range(team.size))[::-1]
    P = ri.Partition(team, (team.size,), ranks=ranks)
    assert P.rank == ranks.index(team.rank) and P.rank_at((0,)) == team.size - 1
    assert P == ri.Partition(team, (team.size,), ranks) and hash(P) == hash(ri.Partition(team, (team.size,), ranks))
    assert (P == ri.Partition(team, (team.size,))) == (team.size == 1)


def test_impossible_grids_are_refused_by_all_ranks_alike(team):
    n = team.size
    assert f"needs {n + 1} ranks, the communicator has {n}" in same_text(team, lambda: ri.Partition(team, (n + 1,)))
    assert "must be >= 1" in same_text(team, lambda: ri.Partition(team, (0, 2)))
    assert "different ranks" in same_text(team, lambda: ri.Partition(team, (2,), ranks=[0, 0]))
    assert f"must lie in 0..{n - 1}" in same_text(team, lambda: ri.Partition(team, (1,), ranks=[n]))
    for bad in ((1.5,), 1, ("1",)):
        assert "expected whole numbers" in same_text(team, lambda bad=bad: ri.Partition(team, bad))
    assert "expected whole numbers" in same_text(team, lambda: ri.Partition(team, (1,), ranks=[0.0]))


def test_sizes_may_be_numpys_integers_but_not_fractions(team):
    assert ri.blocks(np.int64(5), np.int32(2)) == [(0, 3), (3, 5)]
    assert ri.Partition(team, np.array([1, 1])) == ri.Partition(team, (1, 1))
    with pytest.raises(ValueError, match="whole numbers"):
        ri.blocks(5.0, 2)
