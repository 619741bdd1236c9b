"""The algebra of operators."""

import numpy as np
import pytest
import strategies
from theorems import GRIDS, Planted, assert_exact_adjoint, assert_rejected, same_text, shares_memory

import refimpl as ri
from refimpl import layers, operator, wire
from refimpl.arrays import dtype_name, to_host
from refimpl.verify import matrix, spmd
from refimpl.verify.dot_test import small_integers


def halo(team, dtype="float64", boundary="periodic", grid=None):
    X = ri.Space(ri.Partition(team, grid or GRIDS[team.size]), (6, 6), dtype)
    return ri.HaloExchange(X, [(1, 2), (2, 0)], boundary)


def line(team, dtype="complex128"):
    X = ri.Space(ri.Partition(team, (team.size,)), (4,), dtype)
    return ri.HaloExchange(X, [(1, 0)]), ri.HaloExchange(X, [(1, 0)], "periodic")


@spmd.property_test(case=strategies.halos)
def test_adjoint_of_a_product_is_the_product_of_adjoints_in_reverse(team, case):
    H = ri.HaloExchange(case.space(team), case.widths, case.boundary)
    C = (3 * H.H) @ H + ri.Identity(H.domain)
    assert_exact_adjoint(C, case.seed)
    x = small_integers(H.domain, case.seed)
    assert np.array_equal(C.adjoint(x), 3 * H.adjoint(H.forward(x)) + x)


def test_adjoint_of_the_adjoint_is_the_operator(team):
    A = halo(team)
    assert A.H.H is A
    assert (A.H.domain, A.H.range, A.H.norm_bound) == (A.range, A.domain, A.norm_bound)
    assert A.H.traffic() == A.traffic().reversed


def test_matrices_follow_the_algebra(team):
    zero, periodic = line(team)
    with ri.unchecked():
        A, B = matrix(zero), matrix(periodic)
        for C, expected in (
            (zero + periodic, lambda: A + B),
            (2j * zero, lambda: 2j * A),
            (zero.H, lambda: A.T),
            ((1 + 2j) * (zero.H @ periodic), lambda: (1 + 2j) * A.T @ B),
            ((2j * zero).H, lambda: -2j * A.T),
        ):
            M = matrix(C)
            assert M is None or np.array_equal(M, expected())


def test_bounds_and_traffic_follow_the_algebra(team):
    zero, periodic = line(team)
    a, b = zero.norm_bound, periodic.norm_bound
    assert (zero.H @ periodic).norm_bound == a * b and (zero + periodic).norm_bound == a + b
    assert (-3 * zero).norm_bound == 3 * a
    assert (zero + periodic).traffic() == zero.traffic() + periodic.traffic()
    with ri.counting() as count:
        C = zero.H @ (2 * periodic)
        C.forward(C.domain.random(1))
    assert count.total == C.traffic().forward


@pytest.mark.parametrize("scalar", [2, 2.0, np.float64(2), np.float32(2), np.int64(2)])
def test_a_factor_of_any_type_keeps_the_dtype(team, scalar):
    A = halo(team, "float32")
    C = scalar * A
    x = A.domain.random(0)
    assert dtype_name(C.forward(x)) == "float32" and np.array_equal(C.forward(x), 2 * A.forward(x))
    C = operator.Multiple(scalar, A)
    assert dtype_name(C.forward(x)) == dtype_name(C.adjoint(A.range.zeros())) == "float32"


def test_what_does_not_fit_is_refused_by_all_ranks_alike(team):
    A = halo(team)
    assert "the domain (float64[" in same_text(team, lambda: A @ A)
    assert "expected the same spaces" in same_text(team, lambda: A + A.H)
    for factor in (1j, np.complex64(1j), np.complex64(1)):
        assert "takes a real factor" in same_text(team, lambda factor=factor: operator.Multiple(factor, A))
    other = halo(team, "float32")
    assert "the same spaces" in same_text(team, lambda: A + other)


def test_a_matrix_above_the_limit_is_refused(team):
    X = ri.Space(ri.Partition(team, (1,)), (4097,))
    assert "4097 x 4097 entries are more than 16777216" in same_text(team, lambda: ri.Identity(X).matrix())


def test_an_explicit_matrix_travels_to_rank_0_only(team):
    X = ri.Space(ri.Partition(team, (team.size,)), (2 * team.size,))
    with ri.counting() as count:
        ri.Identity(X).matrix()
    assert count.total == (wire.Sent(1, 8 * 2 * 2 * team.size) if team.rank else wire.Sent())


def test_rows_and_columns_follow_memory_and_real_fields_stack_real_and_imaginary_parts(team):
    n = team.size
    X = ri.Space(ri.Partition(team, (n,)), (2 * n,), "complex128", field="real")
    M = ri.AllSumReduce(X, 0).matrix()
    assert M is None or np.array_equal(M, np.tile(np.eye(4), (n, n)))
    Y = ri.Space(ri.Partition(team, (n,)), (2 * n,))
    M = ri.Repartition(Y, ri.Partition(team, (n,), ranks=range(n)[::-1])).matrix()
    expected = np.kron(np.eye(n)[::-1], np.eye(2))
    assert M is None or np.array_equal(M, expected)


def test_the_identity_gives_a_fresh_block_and_works_on_products(team):
    X = ri.Space(ri.Partition(team, (team.size,)), (5,), "complex64")
    V = ri.Product(x=X, w=ri.Space(ri.Partition(team, (1,)), (2,), "complex64"))
    v = V.random(1)
    w = ri.Identity(V).forward(v)
    assert all(np.array_equal(v[name], w[name]) and not shares_memory(v[name], w[name]) for name in v)
    assert_exact_adjoint(2j * ri.Identity(V) + ri.Identity(V))


def test_the_identity_keeps_every_bit(team):
    X = ri.Space(ri.Partition(team, (team.size,)), (team.size,))
    minus_zero = -X.zeros()
    for copy in (ri.Identity(X).forward(minus_zero), layers.Identity(X)(minus_zero)):
        assert np.all(np.signbit(to_host(copy)))


def test_forgetting_to_conjugate_a_factor_is_rejected(team):
    A = 2j * ri.Identity(ri.Space(ri.Partition(team, (team.size,)), (3,), "complex128"))
    assert_rejected(Planted(A, A.forward))


def test_a_product_in_the_wrong_order_is_rejected(team):
    X = ri.Space(ri.Partition(team, (1,)), (2,))
    shear, flip = (numpy_matrix(X, M) for M in ([[1, 2], [0, 1]], [[0, 1], [1, 0]]))
    C = shear @ flip
    assert_exact_adjoint(C)
    assert_rejected(Planted(C, lambda y: shear.adjoint(flip.adjoint(y))))


def numpy_matrix(X, M):
    """A matrix on the one active rank."""
    A, M = ri.Identity(X), X.adopt(np.array(M, X.dtype))
    A.forward = lambda x: M @ x if X.partition.active else x + 0
    A.adjoint = lambda y: M.T @ y if X.partition.active else y + 0
    return A


def test_nothing_travels_from_rank_to_rank_that_is_not_counted(team):
    A = halo(team)
    with ri.counting() as outer:
        with ri.counting() as inner:
            A.forward(A.domain.zeros())
        A.forward(A.domain.zeros())
    assert outer.point_to_point == inner.point_to_point + inner.point_to_point and outer.votes == 2 * inner.votes
    assert inner.point_to_point == A.traffic().forward and inner.collective == wire.Sent()
