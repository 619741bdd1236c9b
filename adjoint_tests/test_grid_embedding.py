"""The coordinates that a rank joins to its block are those of its points in the whole grid."""

import numpy as np
import pytest
import strategies
from theorems import GRIDS, Planted, assert_derivative_is_honest, same_text, whole

import refimpl as ri
from refimpl import layers, verify, wire
from refimpl.arrays import namespace, to_host
from refimpl.verify import spmd


@spmd.property_test(case=strategies.fields_of_a_network)
def test_coordinates_are_those_of_the_whole_grid_and_its_jacobian_has_its_adjoint(team, case):
    X = case.space(team)
    bounds = [(-1.0, 2.0), (0.5, 1.0)][: X.ndim - 2]
    F, x = layers.GridEmbedding(X, bounds), X.random(case.seed)
    y, d = whole(F.range, F(x)), X.ndim - 2
    lines = [a + (b - a) * np.arange(n) / max(n, 1) for (a, b), n in zip(bounds, X.shape[2:], strict=True)]
    assert np.array_equal(y[:, :-d], whole(X, x))
    for i, t in enumerate(np.meshgrid(*lines, indexing="ij")):
        assert np.array_equal(y[:, X.shape[1] + i], np.broadcast_to(t.astype(X.dtype), (X.shape[0], *X.shape[2:])))
    assert_derivative_is_honest(F, case.seed)


@pytest.mark.mpi(min_size=2)
def test_coordinates_that_begin_on_every_rank_are_rejected(team):
    X = ri.Space(ri.Partition(team, (1, 1, team.size)), (1, 1, 2 * team.size))
    own = to_host(layers.GridEmbedding(X)(X.random(1)))[0, 1]
    assert wire.pool(team, np.array_equal(own, np.arange(2) / (2 * team.size))) == [True] + [False] * (team.size - 1)


def test_adjoints_that_keep_the_wrong_channels_are_rejected(team):
    X = ri.Space(ri.Partition(team, GRIDS[team.size], None), (4, 2, 6), cuts=(0, None, 1))
    _, J = layers.GridEmbedding(X).linearize(X.random(1))
    assert not verify.dot_test(Planted(J, lambda dy: (namespace(dy).asarray(dy[:, 1:, ...], copy=True), {})))
    assert not verify.dot_test(Planted(J, lambda dy: (J.adjoint(dy)[0] + dy[:, 2:, ...], {})))


def test_what_has_no_place_for_coordinates_is_refused_by_all_ranks_alike(team):
    X = ri.Space(ri.Partition(team, (team.size,)), (4, 3, 5))
    for text, make in {
        "space axes), got": lambda: layers.GridEmbedding(ri.Space(X.partition, (4, 3))),
        "one pair of bounds for each of 1 axes": lambda: layers.GridEmbedding(X, [(0, 1), (0, 1)]),
    }.items():
        assert text in same_text(team, make)
    if team.size > 1:
        cut = ri.Space(ri.Partition(team, (1, team.size)), (4, team.size, 5))
        assert "whole channels" in same_text(team, lambda: layers.GridEmbedding(cut))
