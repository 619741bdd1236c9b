"""Metrics of a prediction: the serial formulas, for every frame and for all, on any partition."""

from math import prod

import numpy as np
import pytest
from strategies import all_grids
from theorems import same_text, whole

import refimpl as ri
from refimpl import wire
from refimpl.training.metrics import METRICS, PLUME, errors_of, frame_sums


def serial(p, t):
    """All metrics of two arrays, from their definitions."""
    e = p - t
    return {
        "mse": np.mean(e**2),
        "mae": np.mean(np.abs(e)),
        "relative_l2": np.linalg.norm(e) / np.linalg.norm(t),
        "r2": 1 - np.sum(e**2) / np.sum((t - t.mean()) ** 2),
        "plume_mae": np.mean(np.abs(e[t > PLUME])),
    }


def test_metrics_are_those_of_the_serial_formulas_on_every_grid_for_a_sample_and_frame_and_over_all(team):
    for grid in all_grids(team.size, 4):
        if prod(grid) == team.size:
            X = ri.Space(ri.Partition(team, grid), (3, 2, 5, 4), "float32" if grid[0] > 1 else "float64")
            p, t = X.random(1), X.random(2)
            sums, (P, T) = frame_sums(X, p, t), (whole(X, a).astype("float64") for a in (p, t))
            assert len({s.tobytes() for s in wire.pool(team, sums)}) == 1
            pairs = [(sums.sum(axis=(0, 1)), P, T)]
            pairs += [(sums[b, k], P[b, ..., k], T[b, ..., k]) for b, k in ((0, 0), (2, 3))]
            for found, prediction, target in pairs:
                assert errors_of(found) == pytest.approx(serial(prediction, target), rel=1e-12)


def test_copies_are_counted_once(team):
    P = ri.Partition(team, (team.size,))
    copies, one = ri.Space(P, (2, 1, 3, 2), cuts=(None,) * 4), ri.Space(ri.Partition(team, ()), (2, 1, 3, 2))
    a, b = (frame_sums(X, X.random(1), X.random(2)) for X in (copies, one))
    assert np.array_equal(a, b) and np.all(a[..., 0] == 3)


def test_a_perfect_prediction_has_no_error_and_the_mean_explains_nothing(team):
    X = ri.Space(ri.Partition(team, (1, 1, team.size)), (1, 1, 7, 2))
    t = X.uniform(1)
    assert errors_of(frame_sums(X, t, t)[0, 0]) == {"mse": 0, "mae": 0, "relative_l2": 0, "r2": 1, "plume_mae": 0}
    mean = X.adopt(np.full(X.local_shape, whole(X, t)[..., 0].mean()))
    assert abs(errors_of(frame_sums(X, mean, t)[0, 0])["r2"]) < 1e-12


def test_what_is_not_defined_is_nan(team):
    X = ri.Space(ri.Partition(team, (1, 1, team.size)), (1, 1, 5, 1))
    found = errors_of(frame_sums(X, X.random(1), X.zeros())[0, 0])
    assert {name for name, value in found.items() if np.isnan(value)} == {"relative_l2", "r2", "plume_mae"}
    assert set(found) == set(METRICS)
    constant = errors_of(frame_sums(X, X.random(1), X.zeros() + 0.1)[0, 0])
    assert {name for name, value in constant.items() if np.isnan(value)} == {"r2"}
    assert all(np.isnan(value) for value in errors_of(np.zeros(7)).values())


def test_a_block_of_another_shape_is_refused_on_all_ranks(team):
    X = ri.Space(ri.Partition(team, (1, 1, team.size)), (1, 1, 2 * team.size, 1))
    wrong = X.replace(dtype="float32").zeros()
    assert "frame_sums on rank" in same_text(team, lambda: frame_sums(X, X.zeros(), wrong))
