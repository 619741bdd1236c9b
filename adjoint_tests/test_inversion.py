"""Theorems about inversion: smooth fields as a linear map, the simulator as a layer from rock to plumes, the way downhill."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import strategies as st
from mpi4py import MPI
from theorems import GRIDS, Planted, assert_honest, relative, same_text, whole
from two_phase_cases import DAY, rough_reservoir

import refimpl as ri
from refimpl import verify
from refimpl.layers import Apply
from refimpl.verify import spmd
from solvers.geology import Smooth
from solvers.grid import Grid
from solvers.inversion import descend
from solvers.two_phase import Fluids, History, Injector, Plumes, Reservoir, Rock, hydrostatic


def one_layer(comm, shape, grid=None):
    """The space of fields on nx x ny cells."""
    return ri.Space(ri.Partition(comm, (1, 1, *(grid or GRIDS[comm.size]), 1)), (1, 1, *shape, 1))


# Smooth fields


@spmd.property_test(shape=st.tuples(*[st.integers(2, 9)] * 2), waves=st.integers(2, 5), seed=st.integers(0, 99))
def test_smooth_fields_have_an_adjoint_and_are_those_of_one_rank(team, shape, waves, seed):
    B, alone = (Smooth(one_layer(c, shape), 0.3, 2.0, min(waves, *shape)) for c in (team, MPI.COMM_SELF))
    assert verify.dot_test(B, seed, chain=4)
    assert_honest(B, seed)
    m = whole(B.range, B.forward(B.domain.random(seed)))
    assert relative(m, alone.forward(alone.domain.random(seed))) < 1e-14


@pytest.mark.mpi(min_size=4)
def test_smooth_fields_are_made_on_some_of_the_ranks(team):
    B = Smooth(one_layer(team, (6, 5), (1, 2)), 0.3, waves=4)
    assert verify.dot_test(B, chain=4)
    assert_honest(B)


@pytest.mark.mpi(min_size=2)
def test_an_adjoint_that_adds_no_ranks_up_is_rejected(team):
    B = Smooth(one_layer(team, (6, 5)), 0.3, waves=4)
    zero = B.range.zeros()
    mine = Planted(B, lambda m: B.adjoint(m if team.rank == 0 else zero))
    assert not verify.dot_test(mine, chain=8)


def test_smooth_fields_have_the_deviation_and_the_correlation_that_are_asked_for():
    n, length = 30, 0.1
    B = Smooth(one_layer(MPI.COMM_SELF, (n, n)), length, 1.7, waves=12).matrix()
    covariance = (B @ B.T).reshape(n, n, n, n)
    assert np.einsum("ijij", covariance) / n**2 == pytest.approx(1.7**2, rel=1e-12)
    assert np.abs(B.mean(axis=0)).max() < 1e-15
    middle = covariance[n // 2, n // 2, n // 2]
    r = (np.arange(n) - n // 2) / n
    far = middle[[0, -1]].mean()
    np.testing.assert_allclose((middle - far) / (middle.max() - far), np.exp(-0.5 * (r / length) ** 2), atol=0.02)


def test_unfit_fields_are_refused(team):
    X = one_layer(team, (6, 5))
    for space, given in ((X, (0.0,)), (X, (0.3, -1.0)), (X, (0.3, 1.0, 6)), (X.replace(shape=(2, 1, 6, 5, 1)), (0.3,))):
        assert "Smooth: expected" in same_text(team, lambda space=space, given=given: Smooth(space, *given))


# Plumes


def plumes(comm=None, grid=None, kind=Plumes):
    """Three steps of 2 days in rough rock of three layers; the first and the last of them."""
    partition = comm and ri.Partition(comm, grid or GRIDS[comm.size])
    return kind(rough_reservoir(), [2.0 * DAY] * 3, [1, 3], partition)


def test_plumes_are_the_saturations_in_rock_that_is_more_permeable_by_the_exponential():
    F = plumes(MPI.COMM_SELF)
    m = 0.5 * F.domain.random(1)
    factor = np.exp(np.moveaxis(m[0, ..., 0], 0, -1))
    given = rough_reservoir()
    rock = replace(given.rock, permeability=tuple(k * factor for k in given.rock.permeability))
    H = History(replace(given, rock=rock), F.steps, F.frames)
    states = H(H.block_of(hydrostatic(given)))
    S = F(m)
    assert S.shape == (1, 3, 4, 3, 2)
    np.testing.assert_allclose(S, states[:, 1].transpose(3, 1, 2, 0)[None], atol=1e-12)
    assert np.array_equal(F.linearize(m)[0], S)


def test_plumes_have_the_derivative_that_they_say():
    F = plumes(MPI.COMM_SELF)
    assert verify.taylor_test(F, 0.5 * F.domain.random(1))


def test_plumes_have_an_adjoint_and_are_those_of_one_rank(team):
    F, alone = plumes(team), plumes(MPI.COMM_SELF)
    (S, J), (T, K) = (f.linearize(f.domain.random(1)) for f in (F, alone))
    assert verify.dot_test(J, chain=100)
    assert relative(whole(F.range, S), T) < 1e-11
    dm, dn = (j.adjoint(j.range.random(2))[0] for j in (J, K))
    assert relative(whole(F.domain, dm), dn) < 1e-11


@pytest.mark.mpi(min_size=4)
def test_ranks_outside_the_grid_come_along(team):
    F = plumes(team, (1, 2))
    assert verify.dot_test(F.linearize(F.domain.random(1))[1], chain=100)


class LastOnly(Plumes):
    """A fault: the residuals of all frames but the last are dropped."""

    def derivative(self, m):
        S, tangent, adjoint = super().derivative(m)
        return S, tangent, lambda dS: adjoint(dS * [0.0, 1.0])


def test_an_adjoint_that_drops_a_frame_is_rejected():
    F = plumes(MPI.COMM_SELF, kind=LastOnly)
    assert not verify.dot_test(F.linearize(F.domain.random(1))[1], chain=100)


def test_a_jacobian_keeps_the_rock_that_it_was_made_with():
    F = plumes(MPI.COMM_SELF)
    m, dS = F.domain.random(1), F.range.random(2)
    _, J = F.linearize(m)
    before = J.adjoint(dS)[0]
    F(m + 1.0)
    assert np.array_equal(J.adjoint(dS)[0], before)


# Downhill


def test_of_a_linear_map_the_most_likely_input_is_found_on_any_grid(team):
    B = Smooth(one_layer(team, (6, 5)), 0.3, waves=3)
    data, sigma = B.range.random(7), 0.3
    path = descend(Apply(1.0 * B @ B.H), B, data, sigma, 30)
    found = whole(B.range, path[-1])
    alone = Smooth(one_layer(MPI.COMM_SELF, (6, 5)), 0.3, waves=3)
    A = alone.matrix()
    C = A @ A.T @ A
    z = np.linalg.solve(C.T @ C / sigma**2 + np.eye(9), C.T @ alone.range.random(7).ravel() / sigma**2)
    assert relative(found.ravel(), A @ z) < 1e-3
    assert not np.any(path[0]) and len(path) > 3


def test_from_pictures_without_noise_the_rock_is_recovered():
    """Two waves an axis: the plume, which reaches nine of the cells, determines all of them."""
    box, rock, well = (
        Grid((5, 5, 1), (40.0, 40.0, 10.0), 1000.0),
        Rock([2e-13] * 3, 0.25),
        Injector((2, 2), (0, 1), 8e-4),
    )
    F = Plumes(Reservoir(box, rock, Fluids(), [well], "open"), [20.0 * DAY] * 4, range(1, 5))
    B = Smooth(F.domain, 0.5, waves=2)
    truth = B.forward(B.domain.random(3))
    first, *_, last = descend(F, B, F(truth), 1e-4, 20)
    assert relative(first, truth) == 1.0 and relative(last, truth) < 1e-2


def test_fewer_iterations_are_a_shorter_way():
    B = Smooth(one_layer(MPI.COMM_SELF, (6, 5)), 0.3, waves=3)
    short, long = (descend(Apply(B @ B.H), B, B.range.random(7), 0.3, most) for most in (2, 4))
    assert len(short) == 3 and all(np.array_equal(a, b) for a, b in zip(short, long, strict=False))


def test_parts_that_do_not_fit_are_refused(team):
    B, other = (Smooth(one_layer(team, shape), 0.3, waves=3) for shape in ((6, 5), (5, 6)))
    for F, sigma in ((Apply(other @ other.H), 1.0), (Apply(B @ B.H), 0.0)):
        assert "descend: expected" in same_text(team, lambda F=F, s=sigma: descend(F, B, B.range.zeros(), s, 3))
