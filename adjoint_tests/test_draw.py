"""Pictures show what the operators and spaces are: read back from the drawn patches and numbers."""

import numpy as np
import pytest

import refimpl as ri
from refimpl.verify import draw

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def no_open_figures():
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


def patches_of(ax, **look):
    """(x, y, width, height) of the rectangles with this hatch and face colour."""
    from matplotlib.colors import to_rgba

    return sorted(
        tuple(np.round([*patch.get_xy(), patch.get_width(), patch.get_height()], 9))
        for patch in ax.patches
        if patch.get_hatch() == look["hatch"] and patch.get_facecolor() == to_rgba(look["face"])
    )


def labels(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()] if ax.get_legend() else []


def test_matrix_is_drawn_on_rank_0_with_lines_between_ranks(team):
    X = ri.Space(ri.Partition(team, (team.size,)), (2 * team.size,))
    ax = draw.matrix(ri.HaloExchange(X, [(1, 1)]).H)
    assert (ax is not None) == (team.rank == 0)
    if team.rank == 0:
        image = ax.images[0].get_array()
        assert image.shape == (2 * team.size, 4 * team.size) and image.sum() == 4 * team.size - 2
        assert [line.get_xdata()[0] for line in ax.lines[team.size - 1 :]] == [4 * r - 0.5 for r in range(1, team.size)]
        assert ax.get_title() == "HaloExchange*"


def test_lanes_show_own_blocks_ghosts_and_what_lies_outside(team):
    X = ri.Space(ri.Partition(team, (team.size,)), (3 * team.size,))
    ax = draw.partition(ri.HaloExchange(X, [(1, 1)]).range)
    assert (ax is not None) == (team.rank == 0)
    if team.rank == 0:
        for rank in range(team.size):
            assert (3 * rank, rank - 0.4, 3, 0.8) in patches_of(ax, hatch=None, face=draw.colour(rank))
        assert len(patches_of(ax, hatch="////", face="white")) == 2 * (team.size - 1)
        assert [x for x, *_ in patches_of(ax, hatch=None, face=draw.OUTSIDE)] == [-1, 3 * team.size]


@pytest.mark.mpi(min_size=2)
def test_a_ghost_is_hatched_in_its_owners_colour(team):
    from matplotlib.colors import to_rgba

    X = ri.Space(ri.Partition(team, (2,)), (10,))
    ax = draw.partition(ri.HaloExchange(X, [(0, 3)]).range, owners=X)
    if team.rank == 0:
        (ghost,) = (patch for patch in ax.patches if patch.get_hatch())
        assert (ghost.get_x(), ghost.get_width()) == (5, 3)
        assert ghost.get_edgecolor() == to_rgba(draw.colour(1))


@pytest.mark.mpi(min_size=4)
def test_a_map_without_ghosts_is_the_tensor_itself(team):
    ax = draw.partition(ri.Space(ri.Partition(team, (1, 1, 2, 2)), (2, 3, 5, 8)))
    if team.rank == 0:
        drawn = [patches_of(ax, hatch=None, face=draw.colour(rank)) for rank in range(4)]
        assert drawn == [[(0, 0, 4, 3)], [(4, 0, 4, 3)], [(0, 3, 4, 2)], [(4, 3, 4, 2)]]
        assert labels(ax) == ["rank 0", "rank 1", "rank 2", "rank 3"]
        assert ax.get_ylim() == pytest.approx((5.25, -0.25), abs=0.5), "axis 2 runs downward"


@pytest.mark.mpi(min_size=2)
def test_copies_lie_like_cards_and_ghosts_never_overlap(team):
    P = ri.Partition(team, (2,))
    cards = draw.partition(ri.Space(P, (6, 6), cuts=(None, None)))
    apart = draw.partition(ri.HaloExchange(ri.Space(P, (6, 6)), [(2, 2), (1, 1)]).range)
    if team.rank == 0:
        assert [text.get_text() for text in cards.texts] == ["0, 1"]
        assert len({patch.get_xy() for patch in cards.patches}) == 2
        covered = sum(patch.get_width() * patch.get_height() for patch in apart.patches)
        assert covered == 2 * 7 * 8, "two blocks of 3 + 2 + 2 rows and 6 + 1 + 1 columns"
        ends = sorted((patch.get_y(), patch.get_y() + patch.get_height()) for patch in apart.patches)
        assert max(stop for start, stop in ends if start < 5) < min(start for start, stop in ends if start >= 5)


def test_axes_that_do_not_exist_are_refused_on_all_ranks(team):
    X = ri.Space(ri.Partition(team, (1,)), (4, 4))
    for axes in ((0, 2), (1, 1), ()):
        with pytest.raises(ValueError, match="one or two of the axes 0..1"):
            draw.partition(X, axes=axes)


def test_empty_blocks_and_inactive_ranks_draw_nothing(team):
    P = ri.Partition(team, (1,))
    ax = draw.partition(ri.Space(P, (0, 3)))
    if team.rank == 0:
        assert not ax.patches
    tall = draw.matrix(ri.Broadcast(ri.Space(P, (1,)), ri.Partition(team, (team.size,))))
    if team.rank == 0:
        np.testing.assert_array_equal(tall.images[0].get_array(), np.ones((team.size, 1)))
