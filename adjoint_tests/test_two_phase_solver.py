"""Theorems about the linear solver of the two-phase simulator: its cycle is symmetric, and it does not see contrasts."""

import numpy as np
import pytest
from hard_rock import (
    CUBES,
    FLAT,
    TALL,
    coupled_iterations,
    cut_up,
    faulted,
    hard_reservoir,
    lognormal,
    multigrid_of,
    pressure_coefficients,
    pressure_iterations,
    sealed,
    source_and_sink,
)

from solvers.two_phase.columns import Columns
from solvers.two_phase.krylov import conjugate_gradients, gmres
from solvers.two_phase.pairing import Pairing, pairings
from solvers.two_phase.stencil import coarsened, to_csr


def rough_coefficients(shape=(9, 6, 3)):
    return pressure_coefficients(hard_reservoir(lognormal(shape, 2.0), FLAT))


def asymmetry(A) -> float:
    """|<A u, v> - <u, A v>| over |A u| |v|."""
    u, v = np.random.default_rng(0).standard_normal((2, 9 * 6 * 3))
    Au = A(u)
    return abs(Au @ v - u @ A(v)) / (np.linalg.norm(Au) * np.linalg.norm(v))


def cycle():
    return multigrid_of(rough_coefficients())


def test_a_multigrid_cycle_is_symmetric():
    assert asymmetry(cycle().solve) < 1e-14


def test_a_cycle_whose_last_sweep_is_not_mirrored_is_rejected(monkeypatch):
    monkeypatch.setattr(Columns, "sweep_back", lambda columns, b, x: columns.sweep(b, x))
    assert asymmetry(cycle().solve) > 1e-9


def test_a_second_cycle_goes_on_from_the_first():
    A, multigrid, exact = to_csr(rough_coefficients()), cycle(), np.random.default_rng(1).standard_normal(9 * 6 * 3)
    b, x, errors = A @ exact, None, []
    for _ in range(4):
        x = multigrid.solve(b, x)
        errors.append(np.sqrt((x - exact) @ (A @ (x - exact))))
    assert all(after < 0.7 * before for before, after in zip(errors, errors[1:], strict=False)), errors
    np.testing.assert_allclose(multigrid.solve(b, exact), exact, rtol=1e-9, atol=1e-9)


def test_a_coarse_matrix_is_the_galerkin_product_with_lateral_links_over_their_length():
    C, pairing = rough_coefficients((5, 4, 2)), Pairing.of(np.array([0, 1, 1, 2, 2]), np.array([0, 0, 1, 1]))
    i, j, k = np.indices((5, 4, 2))
    P = np.zeros((40, 3 * 2 * 2))
    P[np.arange(40), np.ravel_multi_index((pairing.x[i], pairing.y[j], k), (3, 2, 2)).ravel()] = 1.0
    galerkin, ours = P.T @ to_csr(C).toarray() @ P, to_csr(coarsened(C, pairing)).toarray()
    column = np.arange(12) // 2
    lateral = column[:, None] != column
    widths, (I, J) = (np.array([1, 2, 2]), np.array([2, 2])), np.unravel_index(column, (3, 2))
    middles = 0.5 * (widths[0][I] + widths[0][I][:, None]) * (I != I[:, None])
    middles += 0.5 * (widths[1][J] + widths[1][J][:, None]) * (J != J[:, None])
    less = np.where(lateral, galerkin * (1.0 - 1.0 / np.where(lateral, middles, 1.0)), 0.0)
    expected = galerkin - less + np.diag(less.sum(axis=1))
    np.testing.assert_allclose(ours, expected, rtol=1e-12, atol=1e-12 * np.abs(expected).max())


def uniform_ties(nx, ny, along_x=1.0):
    return np.full((nx - 1, ny), along_x), np.ones((nx, ny - 1))


def test_no_pair_lies_astride_a_wall():
    ties = uniform_ties(24, 22)
    ties[0][4], ties[1][:, [10, 17]] = 1e-6, 1e-6  # after columns 4, 10 and 17
    x, y = np.arange(24), np.arange(22)
    for pairing in pairings(ties):
        x, y = pairing.x[x], pairing.y[y]
        walls = [x[4] < x[5], y[10] < y[11], y[17] < y[18]]
        assert all(walls) or x[-1] * y[-1] < 16
    assert (x[-1] + 1) * (y[-1] + 1) <= 16


def test_only_the_axis_of_the_strong_ties_is_coarsened():
    shapes = [pairing.shape for pairing in pairings(uniform_ties(16, 16, along_x=16.0))]
    assert shapes == [(8, 16), (4, 16), (2, 8)]  # the ratio of the ties: 16, 4, 1


def test_a_fault_of_one_cell_joins_one_side():
    ties = uniform_ties(8, 8)
    ties[0][2:4], ties[1][3] = 1e-6, 1e-7  # column 3
    assert pairings(ties)[0].x.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_conjugate_gradients_and_gmres_find_the_same_solution():
    A, M, b = to_csr(rough_coefficients()), cycle().solve, source_and_sink((9, 6, 3))
    (x, found, _), (y, also, _) = conjugate_gradients(A.dot, M, b, 1e-12, 40), gmres(A.dot, M, b, 1e-12, 40)
    assert found and also
    np.testing.assert_allclose(x, y, rtol=1e-8, atol=1e-10 * np.abs(y).max())
    assert not conjugate_gradients(A.dot, M, b, 1e-12, 3)[1]


SHAPE = (17, 16, 16)
HARD = {
    "seals": (lambda: sealed(SHAPE, 1e6), FLAT, 0.1),
    "seals of tall cells": (lambda: sealed(SHAPE, 1e8), TALL, 1.0),
    "a fault": (lambda: faulted(SHAPE), CUBES, 1.0),
    "a fault after an odd number of columns, in tall cells": (lambda: faulted((17, 22, 16)), TALL, 1.0),
    "faults along both axes": (lambda: cut_up(SHAPE), TALL, 1.0),
    "long cells": (lambda: faulted(SHAPE), (200.0, 10.0, 10.0), 1.0),
    "very rough rock": (lambda: lognormal(SHAPE, 3.0), TALL, 1.0),
}


@pytest.mark.parametrize("rock", HARD)
def test_pressure_takes_few_iterations_in_any_rock(rock):
    k, spacing, kv = HARD[rock]
    assert pressure_iterations(k(), spacing, kv) <= 16


@pytest.mark.parametrize("rock", ["seals", "a fault"])
def test_a_newton_step_takes_few_outer_iterations(rock):
    k, spacing, kv = HARD[rock]
    assert coupled_iterations(hard_reservoir(k(), spacing, kv), steps=1) <= 8
