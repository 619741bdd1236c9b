"""Interpolation on any partition is that of the whole tensor."""

from dataclasses import dataclass

import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.ndimage
import strategies
from theorems import (
    GRIDS,
    Planted,
    assert_adjoint,
    assert_close,
    assert_derivative_is_honest,
    assert_exact_adjoint,
    assert_honest,
    assert_rejected,
    same_text,
    whole,
)

import refimpl as ri
from refimpl import layers
from refimpl.arrays import to_host
from refimpl.layers.interpolation import axis_matrix
from refimpl.verify import spmd

MODES = (("nearest", False), ("linear", False), ("linear", True), ("cubic", False), ("cubic", True))
all_modes = pytest.mark.parametrize(("mode", "align_corners"), MODES)


@dataclass(frozen=True, repr=False)
class ResamplingCase(strategies.TensorCase):
    """A tensor (batch, channels, 1 to 3 space axes) and new sizes."""

    sizes: strategies.Ints = ()
    mode: str = "nearest"
    align_corners: bool = False


@st.composite
def resamplings(draw, size):
    """Any blocks of any axes, fewer or more points, down to one."""
    d = draw(st.integers(1, 3))
    per_axis = lambda strategy: tuple(draw(strategy) for _ in range(d))
    shape = (draw(st.integers(0, 2)), draw(st.integers(1, 2)), *per_axis(st.integers(1, 7)))
    grid = draw(strategies.grids(size, d + 2))
    blocks = tuple(draw(strategies.cut_row(n, p)) for n, p in zip(shape, grid, strict=True))
    options = draw(st.none() | st.just(blocks)), draw(strategies.dtypes), draw(strategies.seeds)
    ranks = draw(strategies.some_ranks(size, int(np.prod(grid))))
    return ResamplingCase(
        shape, grid, ranks, None, *options, per_axis(st.integers(1, 9)), *draw(st.sampled_from(MODES))
    )


def sequential(x, m, axis, mode, align_corners):
    """The definition along one axis, point by point."""
    n = x.shape[axis]
    x, rows = np.moveaxis(x, axis, 0), []
    for j in range(m):
        if mode == "nearest":
            rows.append(x[j * n // m])
            continue
        s = j * (n - 1) / max(m - 1, 1) if align_corners else (j + 0.5) * n / m - 0.5
        if mode == "cubic":
            i = int(np.floor(s + 1e-12))
            near = {p: x[min(max(i + p, 0), n - 1)] for p in range(-1, 3)}
            rows.append(sum(cubic(s - i - p) * value for p, value in near.items()))
            continue
        s = min(max(s, 0), n - 1)
        i = int(s)
        rows.append((1 - (s - i)) * x[i] + (s - i) * x[min(i + 1, n - 1)])
    return np.moveaxis(np.array(rows), 0, axis)


def cubic(t, a=-0.75):
    """The kernel of Keys, as it is written there."""
    t = abs(t)
    if t <= 1:
        return (a + 2) * t**3 - (a + 3) * t**2 + 1
    return a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a if t < 2 else 0


@spmd.property_test(case=resamplings)
def test_interpolation_is_that_of_the_whole_tensor_and_has_its_adjoint(team, case):
    F = layers.Interpolation(case.space(team), case.sizes, case.mode, case.align_corners)
    x = F.domain.random(case.seed)
    expected = whole(F.domain, x).astype("complex128" if F.domain.dtype.kind == "c" else "float64")
    for axis, m in enumerate(case.sizes, start=2):
        expected = sequential(expected, m, axis, case.mode, case.align_corners)
    assert_close(F.range, F(x), expected)
    assert F.range.norm(F(x)) <= F.A.norm_bound * F.domain.norm(x) * (1 + 1e-5)
    (assert_exact_adjoint if case.mode == "nearest" else assert_adjoint)(F.A, case.seed)
    assert_honest(F.A, case.seed)


def test_linear_interpolation_is_numpys_and_scipys():
    rng = np.random.default_rng(0)
    for n, m in ((5, 8), (8, 5), (7, 7), (4, 12), (9, 3), (3, 1), (1, 4)):
        x = rng.standard_normal(n)
        centres = (np.arange(m) + 0.5) * n / m - 0.5
        assert np.allclose(axis_matrix(n, m, "linear", False) @ x, np.interp(centres, np.arange(n), x), rtol=1e-13)
        corners = np.linspace(0, n - 1, m)
        assert np.allclose(axis_matrix(n, m, "linear", True) @ x, np.interp(corners, np.arange(n), x), rtol=1e-13)
        zoom = dict(zoom=m / n, order=1, mode="nearest")
        assert np.allclose(axis_matrix(n, m, "linear", False) @ x, scipy.ndimage.zoom(x, grid_mode=True, **zoom))
        if m > 1:
            assert np.allclose(axis_matrix(n, m, "linear", True) @ x, scipy.ndimage.zoom(x, **zoom))


def test_the_points_between_which_torch_interpolates():
    """torch.nn.functional.interpolate of 0, 1, 2, .. : values as its documentation and its code give them."""
    steps = np.arange(4.0)
    assert (axis_matrix(2, 4, "nearest", False) @ steps[:2]).tolist() == [0, 0, 1, 1]
    assert (axis_matrix(4, 3, "nearest", False) @ steps).tolist() == [0, 1, 2]
    assert (axis_matrix(2, 4, "linear", False) @ steps[:2]).tolist() == [0, 0.25, 0.75, 1]
    assert np.allclose(axis_matrix(2, 4, "linear", True) @ steps[:2], [0, 1 / 3, 2 / 3, 1])
    assert (axis_matrix(4, 2, "linear", False) @ steps).tolist() == [0.5, 2.5]


@all_modes
def test_constants_stay_and_linear_functions_are_reproduced_where_points_lie_between_others(team, mode, align_corners):
    X = ri.Space(ri.Partition(team, (1, 1, *GRIDS[team.size])), (1, 1, 7, 5))
    A = layers.Resampling(X, (12, 8), mode, align_corners)
    assert np.allclose(A.forward(X.zeros() + 3), 3, rtol=1e-14)
    if mode == "linear":  # the cubic of a = -3/4 does not reproduce them
        ramp = np.add.outer(2 * np.arange(7.0), np.arange(5.0))[None, None]
        along = lambda n, m: np.linspace(0, n - 1, m) if align_corners else (np.arange(m) + 0.5) * n / m - 0.5
        expected = np.add.outer(2 * along(7, 12), along(5, 8))
        inner = slice(None) if align_corners else slice(1, -1)
        y = whole(A.range, A.forward(X.scatter(ramp if team.rank == 0 else None)))[0, 0]
        assert np.allclose(y[inner, inner], expected[inner, inner], rtol=1e-13)


def test_upsampling_by_one_changes_nothing_and_sends_nothing(team):
    cuts = [(0, 1)] + [(1 + 2 * i, 3 + 2 * i) for i in range(team.size - 1)]
    X = ri.Space(ri.Partition(team, (1, 1, team.size)), (1, 2, cuts[-1][1]), blocks={2: cuts})
    for mode, align_corners in MODES:
        F, x = layers.Upsample(X, 1, mode, align_corners), X.random(1)
        assert F.range == X and np.array_equal(F(x), x) and F.traffic() == ri.Traffic()
        assert_derivative_is_honest(layers.Interpolation(X, 5, mode, align_corners))
    assert layers.Upsample(X, 3).range.shape == (1, 2, 3 * X.shape[2])


@pytest.mark.mpi(min_size=2)
def test_interpolating_each_block_by_itself_is_rejected(team):
    n = 3 * team.size
    X = ri.Space(ri.Partition(team, (1, 1, team.size)), (1, 1, n))
    A, x = layers.Resampling(X, 2 * n, "linear"), X.random(1)
    alone = (axis_matrix(3, 6, "linear", False) @ to_host(x)[0, 0])[None, None]
    assert A.range.norm(A.forward(x) - A.range.adopt(alone)) > 0.01


@all_modes
def test_an_adjoint_that_interpolates_back_or_drops_what_others_own_is_rejected(team, mode, align_corners):
    X = ri.Space(ri.Partition(team, (1, 1, team.size)), (1, 2, 3 * team.size))
    A = layers.Resampling(X, 5 * team.size, mode, align_corners)
    back = layers.Resampling(A.range, 3 * team.size, mode, align_corners)
    assert_rejected(Planted(A, back.forward))


def test_arguments_that_do_not_fit_are_refused_by_all_ranks_alike(team):
    X = ri.Space(ri.Partition(team, (1, 1, team.size)), (2, 4, 9))
    for text, make in {
        "a size >= 1 for each of 1 space axes, got (3, 3)": lambda: layers.Interpolation(X, (3, 3)),
        "a size >= 1 for each of 1 space axes, got (0,)": lambda: layers.Interpolation(X, 0),
        "whole numbers": lambda: layers.Interpolation(X, 2.5),
        "which may align corners, got 'area'": lambda: layers.Interpolation(X, 3, "area"),
        "which may align corners, got 'nearest', True": lambda: layers.Interpolation(X, 3, align_corners=True),
        "1 to 3 axes with points": lambda: layers.Interpolation(X.replace(shape=(2, 4, 0)), 3),
        "each number held in one block": lambda: layers.Upsample(ri.HaloExchange(X, [(0, 0), (0, 0), (1, 0)]).range, 2),
        "batch, channels, 1 to 3": lambda: layers.Interpolation(X.replace(shape=(2, 4), cuts=(0, 1)), 3),
    }.items():
        assert text in same_text(team, make)
