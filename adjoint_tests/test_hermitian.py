"""The Hermitian projection takes from a spectrum exactly what the inverse real transform does not see."""

import numpy as np
import pytest
import scipy.fft
import strategies
from theorems import GRIDS, Planted, assert_adjoint, assert_close, assert_honest, same_text, whole

import refimpl as ri
from refimpl import verify
from refimpl.arrays import namespace
from refimpl.layers import HermitianProjection, TruncatedFourier
from refimpl.verify import spmd


def inverse(T, z):
    return T.adjoint(z * T.range.adopt(T.inverse_weights))


@spmd.property_test(case=strategies.spectra)
def test_it_is_an_orthogonal_projection_and_the_inverse_sees_no_difference(team, case):
    X = case.space(team)
    T = TruncatedFourier(X, case.modes)
    P, z = HermitianProjection(T), T.range.random(case.seed)
    y = P.forward(z)
    assert np.array_equal(P.forward(y), y)
    assert_adjoint(P, case.seed)
    assert_close(X, inverse(T, y), whole(X, inverse(T, z)))


@pytest.mark.parametrize("sides", [(8,), (7,), (6, 8), (4, 2, 7)])
def test_of_all_frequencies_it_makes_those_of_the_tensor_that_irfftn_gives(team, sides):
    """Numbers of points that are even, so that all frequencies of the full axes are kept."""
    a, b = GRIDS[team.size]
    grid = (1, 1, *((team.size,) if len(sides) == 1 else (a, b) if len(sides) == 2 else (a, 1, b)))
    X = ri.Space(ri.Partition(team, grid), (2, 1, *sides))
    T = TruncatedFourier(X, (*(n // 2 for n in sides[:-1]), sides[-1] // 2 + 1))
    P, z = HermitianProjection(T), T.range.random(1)
    axes = tuple(range(2, 2 + len(sides)))
    field = scipy.fft.irfftn(np.moveaxis(whole(T.range, z), (-2, -1), (0, 1)), sides, axes=axes)
    spectrum = np.moveaxis(scipy.fft.rfftn(field, axes=axes), (0, 1), (-2, -1))
    assert_close(T.range, P.forward(z), spectrum)
    assert_honest(P)


@pytest.mark.parametrize("modes, lost", [((1, 2), 1), (([1, -1, 2], [3, 0]), 6)])
def test_all_that_the_inverse_does_not_see_is_taken_away(team, modes, lost):
    """The trace of a projection is its rank, and here that of the inverse, which is the adjoint times a diagonal matrix."""
    X = ri.Space(ri.Partition(team, (1, 1, *GRIDS[team.size])), (1, 1, 4, 6))
    T = TruncatedFourier(X, modes)
    P, F = verify.matrix(HermitianProjection(T)), verify.matrix(T)
    if team.rank == 0:
        assert len(P) - np.trace(P) == pytest.approx(lost) and len(P) - np.linalg.matrix_rank(F) == lost


def test_of_complex_data_there_is_none(team):
    X = ri.Space(ri.Partition(team, (1, 1, team.size)), (1, 1, 6), "complex64")
    assert "expected the transform of a real" in same_text(team, lambda: HermitianProjection(TruncatedFourier(X, (2,))))


def test_projections_that_do_not_conjugate_or_do_not_halve_are_rejected(team):
    X = ri.Space(ri.Partition(team, (1, 1, *GRIDS[team.size])), (2, 1, 6, 8))
    P = HermitianProjection(TruncatedFourier(X, (3, 5)))
    conj = namespace(P.range.zeros()).conj
    for wrong in (lambda z: conj(P.forward(z)), lambda z: 2 * P.forward(z) - z, lambda z: z):
        assert not verify.dot_test(Planted(P, wrong), chain=8)
