"""Every data movement is, on small cases, the matrix of 0 and 1 of its definition, and its adjoint is the transpose."""

from dataclasses import replace

import numpy as np
from small_scope import Layout, exhaust, halo, named, shift
from theorems import Planted, assert_exact_adjoint

import refimpl as ri
from refimpl import wire

# the suite takes one in so many choices of arguments, of which there are more on more ranks
STEPS = dict(zip(range(1, 9), (61, 251, 499, 997, 1249, 1999, 2499, 2999), strict=True))
OPERATORS = set(
    "AllGather AllSumReduce Broadcast Gather HaloExchange Padding ReduceScatter Repartition Restriction Scatter Shift "
    "SumReduce Transpose".split()
)


def test_small_cases_are_exactly_as_defined(team):
    counts = exhaust(team, STEPS[team.size])
    assert counts.total() > 150 and {"HaloExchange, reflect", "Repartition", "AllGather"} <= set(counts)


def test_one_forward_of_all_unit_vectors_gives_the_matrix_of_the_operator(team):
    cases = named(team.size)
    assert {name.partition(",")[0] for name in cases} == OPERATORS
    for case in cases.values():
        M, M_adjoint = (wire.pool(team, rows) for rows in case.matrices(team))
        A = case.operator(team, 1)
        A = A.H if case.turned else A
        with ri.unchecked():
            expected, expected_adjoint = A.matrix(), A.H.matrix()
        if team.rank == 0:
            assert expected.size > 1
            assert np.array_equal(np.vstack([rows for rows in M if rows is not None]), expected)
            assert np.array_equal(np.vstack([rows for rows in M_adjoint if rows is not None]), expected_adjoint)


def rejected(team, case):
    """Whether some rank finds the matrices of ``case`` different from its definition."""
    try:
        case.prove(team)
    except AssertionError:
        return any(wire.pool(team, True))
    return any(wire.pool(team, False))


def test_equal_errors_in_forward_and_adjoint_are_found(team):
    V = Layout.of((4,), (team.size,))
    (right,) = shift(V, (1,), "periodic")
    wrong = replace(right, build=lambda X: ri.Shift(X, (0, -1), "periodic"))
    assert_exact_adjoint(wrong.operator(team, 1))
    assert rejected(team, wrong) and not rejected(team, right)


def test_a_cropped_halo_and_a_halo_of_the_other_side_are_found(team):
    (right,) = halo(Layout.of((4,), (team.size,)), ((2, 1),), "reflect")

    def cropping(X):
        H = right.build(X)
        start = [2 * (a < b) for a, b in X.blocks[1]][team.rank] if X.partition.active else 0
        return Planted(H, lambda y: np.ascontiguousarray(y[:, start : start + X.local_shape[1]]))

    assert rejected(team, replace(right, build=cropping))
    assert rejected(team, replace(right, build=lambda X: ri.HaloExchange(X, [(0, 0), (1, 2)], "reflect")))
