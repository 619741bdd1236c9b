"""Spectral resampling evaluates, at other points, the waves of which a tensor is made; and so does a spectral convolution."""

import numpy as np
import pytest
import scipy.signal
from theorems import (
    GRIDS,
    Planted,
    assert_adjoint,
    assert_close,
    assert_derivative_is_honest,
    assert_honest,
    same_text,
    whole,
)

import refimpl as ri
from refimpl import verify
from refimpl.layers import SpectralConvolution, SpectralResampling

CASES = {  # sides, modes, other sides
    "finer": ((7, 8), (2, 3), (11, 16)),
    "coarser": ((9, 8), (2, 2), (4, 3)),
    "finer along one axis, coarser along the other": ((6, 9), (3, 2), (12, 4)),
    "1-d, odd to even": ((9,), (5,), (16,)),
    "3-d": ((4, 5, 6), (2, 2, 3), (6, 4, 9)),
}
every_case = pytest.mark.parametrize("name", CASES)


def field(team, sides, dtype="float64"):
    """On a grid that cuts the batch and the first axis."""
    a, b = GRIDS[team.size]
    return ri.Space(ri.Partition(team, (a, 1, b, *[1] * (len(sides) - 1))), (2, 2, *sides), dtype)


def waves(sides, modes):
    """A sum of waves of all kept frequencies, with fixed amplitudes, at the points of a grid."""
    t = np.meshgrid(*(2 * np.pi * np.arange(n) / n for n in sides), indexing="ij")
    rows = [range(-m + 1, m) for m in modes[:-1]] + [range(modes[-1])]
    total = 0
    for i, k in enumerate(np.stack(np.meshgrid(*rows, indexing="ij"), -1).reshape(-1, len(sides))):
        total = total + np.cos(sum(f * axis for f, axis in zip(k, t, strict=True)) + i) / (1 + i)
    return np.stack([[total, 1 - total], [2 * total, total**0]])


@every_case
def test_waves_are_the_same_waves_at_other_points(team, name):
    sides, modes, others = CASES[name]
    modes = [min(m, (n - 1) // 2 + 1) for m, n in zip(modes, sides, strict=True)]  # without the highest of an even axis
    U = SpectralResampling(field(team, sides), others, modes)
    x = U.domain.scatter(waves(sides, modes) if team.rank == 0 else None)
    if min(others) > 2 * max(modes) - 2:
        assert_close(U.range, U.forward(x), waves(others, modes), factor=256)


@pytest.mark.parametrize(("name", "dtype"), [*zip(CASES, ["float64", "float32", "complex128"] * 2, strict=False)])
def test_its_adjoint_is_one_and_it_sends_what_it_predicts(team, name, dtype):
    sides, modes, others = CASES[name]
    if dtype == "complex128":
        modes = [min(m, n // 2, k // 2) for m, n, k in zip(modes, sides, others, strict=True)]
    U = SpectralResampling(field(team, sides, dtype), others, modes)
    assert_adjoint(U, chain=4)
    assert_honest(U)
    x = U.domain.random(1)
    assert U.range.norm(U.forward(x)) <= U.norm_bound * U.domain.norm(x)


@pytest.mark.parametrize(("n", "m"), [(9, 14), (8, 20), (12, 7)])
def test_a_line_is_resampled_as_by_scipy(team, n, m):
    X = ri.Space(ri.Partition(team, (1, 1, team.size)), (1, 1, n))
    k = (min(n, m) + 1) // 2  # without the highest frequency of an even axis, which scipy halves
    U = SpectralResampling(X, (m,), (k,))
    x = whole(X, X.random(1))
    low = np.fft.rfft(x)
    low[..., k:] = 0
    x = np.fft.irfft(low, n)
    y = U.forward(X.scatter(x if team.rank == 0 else None))
    assert_close(U.range, y, scipy.signal.resample(x, m, axis=-1), factor=256)


@pytest.mark.parametrize("sides", [(12, 14), (5, 4)])
def test_a_convolution_onto_another_grid_is_one_and_then_the_other_points(team, sides):
    X, modes = field(team, (7, 8)), (2, 3)
    S, T = SpectralConvolution(X, modes, seed=3, sides=sides), SpectralConvolution(X, modes, seed=3)
    pairs = ([0, 1, 2, -2, -1], [0, 1, 2])  # what S makes is real, so it has the partner of -2 as well
    U, x = SpectralResampling(T.range, sides, pairs), X.random(1)
    assert S.range.shape == (2, 2, *sides)
    assert_close(S.range, S(x), whole(U.range, U.forward(T(x))), factor=256)
    assert_derivative_is_honest(S)


def test_an_adjoint_that_goes_back_or_forgets_the_weights_of_conjugates_is_rejected(team):
    U = SpectralResampling(field(team, (6, 8)), (9, 12), (3, 4))
    back = SpectralResampling(U.range, (6, 8), (3, 4))
    assert not verify.dot_test(Planted(U, back.forward), chain=4)
    assert not verify.dot_test(Planted(U, lambda y: U.down.adjoint(U.up.forward(y)) * (1 / 24)), chain=4)


def test_what_does_not_fit_is_refused_by_all_ranks_alike(team):
    X = field(team, (6, 8))
    for text, call in {
        "a size >= 1 for each of 2 axes, got (9,)": lambda: SpectralResampling(X, (9,), (3, 4)),
        "a size >= 1 for each of 2 axes, got (9, 0)": lambda: SpectralResampling(X, (9, 0), (3, 4)),
        "expected whole numbers, got 9": lambda: SpectralResampling(X, 9, (3, 4)),
        "a full axis of 4 points holds 1 to 2 modes, got 3": lambda: SpectralResampling(X, (4, 8), (3, 4)),
        "the last (real) axis of 5 points holds 1 to 3 modes, got 4": lambda: SpectralConvolution(
            X, (3, 4), sides=(6, 5)
        ),
        "sides for each of 2 axes, got (6,)": lambda: SpectralConvolution(X, (3, 4), sides=(6,)),
        "differ modulo 3, got (0, 1, -2)": lambda: SpectralResampling(X, (3, 9), ([0, 1, -2], 2)),
    }.items():
        assert text in same_text(team, call)
