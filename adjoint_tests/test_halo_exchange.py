"""The adjoint of a halo exchange adds the ghosts back to their owners."""

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
    same_text,
    whole,
)

import refimpl as ri
from refimpl import wire
from refimpl.arrays import to_host
from refimpl.movement.boxes import BoxCopy
from refimpl.verify import spmd
from refimpl.verify.dot_test import small_integers


def exchange(team, case):
    return ri.HaloExchange(case.space(team), case.widths, case.boundary)


def line(team, n, widths, boundary="zero", **options):
    return ri.HaloExchange(ri.Space(ri.Partition(team, (team.size,)), (n,), **options), [widths], boundary)


@spmd.property_test(case=strategies.halos)
def test_adjoint_of_halo_exchange_is_exact(team, case):
    assert_exact_adjoint(exchange(team, case), case.seed)


@spmd.property_test(case=strategies.halos)
def test_ghosts_are_the_neighbours_values_and_the_adjoint_adds_them_back(team, case):
    assert_copies(exchange(team, case), case.seed, case.boundary)


@spmd.property_test(case=strategies.halos)
def test_halo_exchange_sends_what_it_predicts_and_leaves_its_argument_alone(team, case):
    assert_honest(exchange(team, case), case.seed)


def test_a_halo_wider_than_the_neighbours_block_reaches_beyond_it(team):
    H = line(team, team.size, (3, 4))  # blocks of one
    mine = H.forward(H.domain.zeros() + team.rank + 1)
    assert to_host(mine).tolist() == [i + 1 if 0 <= i < team.size else 0 for i in range(team.rank - 3, team.rank + 5)]


def test_corners_come_from_the_diagonal_neighbours(team):
    grid = GRIDS[team.size]
    X = ri.Space(ri.Partition(team, grid), (2 * grid[0], 2 * grid[1]))
    H = ri.HaloExchange(X, [(1, 1), (1, 1)], "periodic")
    y = H.forward(X.zeros() + team.rank)
    i, j = X.partition.coords
    assert y[0, 0] == X.partition.rank_at([(i - 1) % grid[0], (j - 1) % grid[1]])
    assert y[-1, 0] == X.partition.rank_at([(i + 1) % grid[0], (j - 1) % grid[1]])


def test_negative_widths_crop_and_their_adjoint_pads_with_zeros(team):
    H = line(team, 4 * team.size, (-1, -2))
    x = H.domain.random(1)
    assert np.array_equal(H.forward(x), x[1:2])
    assert np.array_equal(H.adjoint(H.range.zeros() + 5), [0, 5, 0, 0])
    gone = line(team, 2 * team.size, (-3, -3))
    assert gone.forward(gone.domain.zeros()).shape == (0,)
    assert_exact_adjoint(gone)


def test_zero_widths_are_the_identity_and_send_nothing(team):
    H = line(team, 7, (0, 0))
    with ri.counting() as count:
        y = H.forward(H.domain.random(3))
    assert H.range == H.domain and np.array_equal(y, H.domain.random(3)) and count.total == wire.Sent()


def test_widths_may_differ_from_block_to_block(team):
    widths = [(k, 2 * k) for k in range(team.size)]
    H = line(team, 3 * team.size, widths)
    assert H.range.local_shape == (3 + 3 * team.rank,)
    assert_exact_adjoint(H)
    assert_copies(H)
    assert np.array_equal(H.forward(H.domain.random(0)), H.range.random(0))


def test_an_empty_block_stays_empty(team):
    H = line(team, 1, (1, 1))
    assert H.range.local_shape == ((3,) if team.rank == 0 else (0,))
    assert_exact_adjoint(H)
    assert_honest(H)


def test_the_cotangent_of_a_ghost_outside_is_dropped(team):
    H = line(team, 3 * team.size, (2, 2))
    y = H.range.zeros()
    y[:2] = (team.rank == 0) * 7
    assert not np.any(to_host(H.adjoint(y)))
    periodic = line(team, 3 * team.size, (2, 2), "periodic")
    assert periodic.domain.norm(periodic.adjoint(y)) == pytest.approx(np.sqrt(2) * 7)


def test_a_periodic_halo_may_be_as_wide_as_the_axis(team):
    n = 2 * team.size
    H = line(team, n, (n, n), "periodic")
    assert_exact_adjoint(H)
    assert_copies(H, boundary="periodic")
    assert np.array_equal(H.adjoint(H.range.zeros() + 1), H.domain.zeros() + 2 * team.size + 1)
    assert f"must be at most n = {n}" in same_text(team, lambda: line(team, n, (n + 1, 0), "periodic"))


def test_a_reflected_halo_is_numpys_and_reaches_to_the_last_index(team):
    n = 2 * team.size
    H = line(team, n, (n - 1, n - 1), "reflect") if team.size == 1 else line(team, n, [(1, 1)] * team.size, "reflect")
    x = whole(H.domain, H.domain.random(2))
    padded = np.pad(x, n - 1, mode="reflect")
    start, stop = H.range.local_box[0]
    assert np.array_equal(H.forward(H.domain.random(2)), padded[start + n - 1 : stop + n - 1])
    none = [(0, 0)] * (team.size - 1)
    for wide, too_wide in (([(n - 1, 0), *none], [(n, 0), *none]), ([*none, (0, n - 1)], [*none, (0, n)])):
        W = line(team, n, wide, "reflect")
        assert_exact_adjoint(W)
        assert_copies(W, boundary="reflect")
        text = same_text(team, lambda too_wide=too_wide: line(team, n, too_wide, "reflect"))
        assert text.startswith(f"HaloExchange: what is mirrored must be at most n - 1 = {n - 1} wide on axis 0")


def test_every_copy_has_halos_of_its_own(team):
    X = ri.Space(ri.Partition(team, GRIDS[team.size]), (6,), cuts=(1,))
    H = ri.HaloExchange(X, [(1, 2)])
    assert_exact_adjoint(H)
    assert_honest(H)


def test_widths_and_boundaries_that_make_no_sense_are_refused(team):
    X = ri.Space(ri.Partition(team, (team.size, 1)), (6, 6))
    assert "boundary='zero' or" in same_text(team, lambda: ri.HaloExchange(X, [(1, 1)] * 2, "wrap"))
    assert "widths for each of 2 axes" in same_text(team, lambda: ri.HaloExchange(X, [(1, 1)]))
    assert "widths for each of 2 axes, got 3" in same_text(team, lambda: ri.HaloExchange(X, 3))
    too_many = [[(1, 1)] * (team.size + 1), (0, 0)]
    assert f"each of {team.size} blocks" in same_text(team, lambda: ri.HaloExchange(X, too_many))
    for bad in ([1, 1], [(1, 1), (0, 0.5)], [(1, 1), (0, 0, 0)], [(), (0, 0)], [(1, 1), "no"]):
        assert "expected (left, right), or one for" in same_text(team, lambda bad=bad: ri.HaloExchange(X, bad))
    H = ri.HaloExchange(X, [(1, 1), (0, 0)])
    if team.size > 1:
        text = same_text(team, lambda: ri.HaloExchange(H.range, [(1, 1), (0, 0)]))
        assert "must hold each of 0..5 once" in text
    assert ri.HaloExchange(X, [tuple(np.array([1, 1])), (0, 0)]).range == H.range


@pytest.mark.mpi(min_size=2)
@pytest.mark.parametrize("boundary", ["zero", "periodic", "reflect"])
def test_cropping_the_halo_instead_of_adding_it_back_is_rejected(team, boundary):
    H = line(team, 3 * team.size, (1, 1), boundary)
    assert_rejected(Planted(H, lambda y: y[1:-1] + 0))


@pytest.mark.mpi(min_size=2)
def test_adding_the_ghosts_of_one_side_only_is_rejected(team):
    H = line(team, 3 * team.size, (1, 1))

    def left_ghosts_forgotten(y):
        y = y + 0
        y[0] = 0
        return H.adjoint(y)

    assert_rejected(Planted(H, left_ghosts_forgotten))


def test_an_index_is_mirrored_at_most_once(team):
    """Of four indices, -3 is read at 3 and 6 at 0; what lies further out would be mirrored at both ends."""
    X = ri.Space(ri.Partition(team, (1,)), (4,))
    read = lambda start, stop: BoxCopy(X, X.replace(blocks={0: [(start, stop)]}), "reflect")
    x = small_integers(X, 1)
    places = [3, 2, 1, 0, 1, 2, 3, 2, 1, 0] if team.rank == 0 else []
    assert np.array_equal(to_host(read(-3, 7).forward(x)), to_host(x)[places])
    for box in ((-4, 4), (0, 8)):
        assert "at most n - 1 = 3 wide on axis 0" in same_text(team, lambda box=box: read(*box))


def test_the_bound_of_the_norm_is_at_least_one_also_where_there_is_nothing(team):
    X = ri.Space(ri.Partition(team, (team.size,)), (0, 3))
    assert ri.HaloExchange(X, [(0, 0), (0, 0)]).norm_bound == 1
