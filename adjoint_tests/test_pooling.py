"""Pooling on any partition is that of the whole tensor; a maximum gives its cotangent to one number."""

from dataclasses import dataclass

import hypothesis.strategies as st
import numpy as np
import pytest
import strategies
from theorems import GRIDS, Planted, assert_close, assert_derivative_is_honest, same_text, whole

import refimpl as ri
from refimpl import layers, verify, wire
from refimpl.arrays import to_host
from refimpl.verify import spmd


@dataclass(frozen=True, repr=False)
class PoolCase(strategies.TensorCase):
    """A tensor (batch, channels, 1 to 3 space axes) and the arguments of a pool."""

    kernel: strategies.Ints = ()
    stride: strategies.Ints | None = None
    padding: tuple[tuple[int, int], ...] = ()
    dilation: strategies.Ints = ()


@st.composite
def pools(draw, size):
    """Any blocks of any axes, and any window that fits at least once."""
    d = draw(st.integers(1, 3))
    per_axis = lambda strategy: tuple(draw(strategy) for _ in range(d))
    kernel, dilation = per_axis(st.integers(1, 3)), per_axis(st.integers(1, 2))
    stride = draw(st.none()) if draw(st.booleans()) else per_axis(st.integers(1, 3))
    reach = [dl * (k - 1) + 1 for k, dl in zip(kernel, dilation, strict=True)]
    padding = tuple((draw(st.integers(0, r // 2)), draw(st.integers(0, r // 2))) for r in reach)
    least = [max(r - sum(p), 1) for r, p in zip(reach, padding, strict=True)]
    shape = (draw(st.integers(0, 2)), draw(st.integers(1, 3)), *(n + draw(st.integers(0, 5)) for n in least))
    grid = draw(strategies.grids(size, d + 2))
    blocks = tuple(draw(strategies.cut_row(n, p)) for n, p in zip(shape, grid, strict=True))
    ranks = draw(strategies.some_ranks(size, int(np.prod(grid))))
    options = draw(st.none() | st.just(blocks)), draw(strategies.REAL), draw(strategies.seeds)
    return PoolCase(shape, grid, ranks, None, *options, kernel, stride, padding, dilation)


def sequential(x, layer, case):
    """The definition, window by window."""
    outside = -np.inf if layer is layers.MaxPool else 0
    x = np.pad(x, [(0, 0), (0, 0), *case.padding], constant_values=outside)
    stride = case.stride or case.kernel
    axes = list(zip(x.shape[2:], case.kernel, stride, case.dilation, strict=True))
    y = np.zeros((*x.shape[:2], *((n - d * (k - 1) - 1) // s + 1 for n, k, s, d in axes)))
    for j in np.ndindex(*y.shape[2:]):
        at = tuple(slice(s * i, s * i + d * (k - 1) + 1, d) for i, (_, k, s, d) in zip(j, axes, strict=True))
        window, space = x[(slice(None), slice(None), *at)], tuple(range(2, x.ndim))
        y[(slice(None), slice(None), *j)] = window.max(space) if layer is layers.MaxPool else window.mean(space)
    return y


both_pools = pytest.mark.parametrize("layer", [layers.AvgPool, layers.MaxPool])


@spmd.property_test(case=pools, name=st.sampled_from(["AvgPool", "MaxPool"]))
def test_pools_are_those_of_the_whole_tensor_and_their_jacobians_have_their_adjoints(team, case, name):
    X, layer = case.space(team), getattr(layers, name)
    make = lambda: layer(X, case.kernel, case.stride, case.padding, case.dilation)
    if np.isneginf(sequential(np.zeros(case.shape), layer, case)).any():
        assert "a window lies outside" in same_text(team, make)
        return
    F = make()
    x = X.random(case.seed)
    assert_close(F.range, F(x), sequential(whole(X, x).astype("float64"), layer, case))
    assert_derivative_is_honest(F, case.seed)


@both_pools
def test_taylor_remainders_vanish_away_from_ties(team, layer):
    X = ri.Space(ri.Partition(team, (1, 1, *GRIDS[team.size])), (2, 2, 7, 6))
    F, x, d = layer(X, 3, 2, 1), X.random(3), X.random(4)
    y, J = F.linearize(x)
    assert F.range.norm(F(x + 1e-6 * d) - y - 1e-6 * J.forward(d)) < 1e-14


def test_of_equal_numbers_the_first_is_chosen_and_negative_borders_stay(team):
    X = ri.Space(ri.Partition(team, (1, 1, team.size)), (1, 1, 2 * team.size))
    F = layers.MaxPool(X, 2, 2)
    y, J = F.linearize(X.zeros() - 3)
    assert np.all(to_host(y) == -3) and to_host(J.adjoint(F.range.zeros() + 1)[0])[0, 0].tolist() == [1, 0]
    wide = layers.MaxPool(X, 3, 1, 1)
    assert wide.range == X and np.all(to_host(wide(X.zeros() - 3)) == -3)


@both_pools
@pytest.mark.parametrize("kernel", [2, 5, 6])
def test_windows_wider_than_a_block_keep_the_size_with_the_same_padding(team, layer, kernel):
    X = ri.Space(ri.Partition(team, (1, 1, team.size)), (2, 2, team.size + 3))
    F, x = layer(X, kernel, 1, "same"), X.random(1)
    sides = ((kernel - 1) // 2, kernel // 2)
    case = PoolCase(X.shape, (), kernel=(kernel,), stride=(1,), padding=(sides,), dilation=(1,))
    assert F.range == X
    assert_close(X, F(x), sequential(whole(X, x), layer, case))
    assert_derivative_is_honest(F)


def test_a_nan_is_the_largest_of_its_windows(team):
    X = ri.Space(ri.Partition(team, (1, 1, team.size)), (1, 1, 2 * team.size))
    x = X.random(1)
    x[..., 1] = np.nan
    assert np.all(np.isnan(to_host(layers.MaxPool(X, 2)(x))))


@pytest.mark.mpi(min_size=2)
def test_zero_ghosts_under_a_maximum_and_windows_within_blocks_are_rejected(team):
    X = ri.Space(ri.Partition(team, (1, 1, team.size)), (1, 1, 2 * team.size))
    first = 2.0 * team.rank
    x, F = np.array([[[-2 - first, -3 - first]]]), layers.MaxPool(X, 3, 1, 1)
    halo = ri.HaloExchange(X, [(0, 0), (0, 0), (1, 1)])
    zeros_outside = np.max(list(F.window.offsets(to_host(halo.forward(X.adopt(x))))), axis=0)
    own_block_only = np.maximum(x, x[..., ::-1])
    for wrong in (zeros_outside, own_block_only):
        assert X.norm(F(X.adopt(x)) - X.adopt(wrong)) >= 1


@both_pools
def test_an_adjoint_that_gives_to_all_or_drops_the_ghosts_is_rejected(team, layer):
    X = ri.Space(ri.Partition(team, (1, 1, team.size)), (1, 2, 3 * team.size))
    F = layer(X, 3, 1, 1)
    _, J = F.linearize(X.random(2))
    assert not verify.dot_test(Planted(J, lambda dy: (dy + 0, {})))


def test_arguments_that_do_not_fit_are_refused_by_all_ranks_alike(team):
    X = ri.Space(ri.Partition(team, (1, 1, team.size)), (2, 4, 9))
    for text, make in {
        "1 to 3 space axes": lambda: layers.MaxPool(X.replace(dtype="complex64"), 2),
        "at most half of what a window spans, (2,)": lambda: layers.MaxPool(X, 2, padding=2),
        "does not fit into (9,)": lambda: layers.AvgPool(X, 10),
        "expected kernel >= 1": lambda: layers.AvgPool(X, 0),
        "MaxPool: blocks [(-1,": lambda: layers.MaxPool(ri.HaloExchange(X, [(0, 0), (0, 0), (1, 0)]).range, 2),
    }.items():
        assert text in same_text(team, make)


@pytest.mark.parametrize(("shape", "arguments"), [((1, 1, 1), (2, 1, 2, 3)), ((1, 1, 0), (2, 1, 1, 1))])
def test_a_window_of_padding_alone_has_no_largest_number(shape, arguments):
    X = ri.Space(ri.Partition(wire.mpi().COMM_SELF, (1,)), shape, cuts=(None,) * 3)
    with pytest.raises(ValueError, match="a window lies outside"):
        layers.MaxPool(X, *arguments)
