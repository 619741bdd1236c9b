"""The verification finds what is wrong, and only that."""

import numpy as np
import pytest
from theorems import GRIDS, Planted

import refimpl as ri
from refimpl import layers, verify, wire
from refimpl.arrays import fresh, to_host
from refimpl.verify.dot_test import small_integers


def space(team, dtype="float64", shape=(4, 5)):
    return ri.Space(ri.Partition(team, GRIDS[team.size]), shape, dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
def test_one_wrong_entry_among_many_is_found(team, dtype):
    X = space(team, dtype, (40, 50))

    def slightly_wrong(y):
        x = fresh(y)
        if team.rank == 0:
            x[0, 0] = 0
        return x

    A = ri.Identity(X)
    assert verify.dot_test(A) and verify.dot_test(A, exact=True)
    assert not verify.dot_test(Planted(A, slightly_wrong)) and not verify.dot_test(
        Planted(A, slightly_wrong), exact=True
    )


def test_equal_copies_would_hide_an_adjoint_that_scales_a_copy(team):
    X = ri.Space(ri.Partition(team, (team.size,)), (3,), cuts=(None,))
    A = ri.AllSumReduce(X, 0)
    wrong = Planted(A, lambda y: team.size * y)  # right on equal copies
    x, y = X.random(0), X.random(1)
    assert X.inner(wrong.forward(x), y) == pytest.approx(X.inner(x, wrong.adjoint(y)), rel=1e-13)
    assert bool(verify.dot_test(wrong)) == (team.size == 1)


def test_the_result_is_the_same_on_all_ranks_and_readable(team):
    test = verify.dot_test(ri.Identity(space(team)), 3)
    assert len(set(wire.pool(team, str(test)))) == 1 and str(test).endswith("passed")
    exact = verify.dot_test(ri.Identity(space(team)), 3, exact=True)
    assert exact.bound == 0 and exact.left == exact.right
    wrong = verify.dot_test(Planted(ri.Identity(space(team)), lambda y: -y))
    assert str(wrong).endswith("FAILED") and wrong.gap > wrong.bound


def test_not_a_number_never_passes(team):
    wrong = Planted(ri.Identity(space(team)), lambda y: y * np.nan)
    assert not verify.dot_test(wrong) and not verify.dot_test(wrong, exact=True)


@pytest.mark.parametrize("dtype", ["float32", "complex128"])
def test_small_integers_are_integers_and_differ_from_copy_to_copy(team, dtype):
    X = ri.Space(ri.Partition(team, (team.size,)), (50,), dtype, cuts=(None,))
    x = to_host(small_integers(X, 1))
    assert x.dtype == X.dtype and np.array_equal(x, np.rint(x.real) + 1j * np.rint(x.imag)) and np.max(np.abs(x)) < 60
    assert len({block.tobytes() for block in wire.pool(team, x)}) == team.size


def test_the_matrix_names_the_entry_that_is_wrong(team):
    X = ri.Space(ri.Partition(team, (1,)), (3,))

    def wrong(y):
        x = fresh(y)
        if X.partition.active:
            x[1] += 5 * y[2]
        return x

    with pytest.raises(ArithmeticError, match="has 5 in row 1, column 2, the conjugate transpose has 0"):
        verify.matrix(Planted(ri.Identity(X), wrong))
    M = verify.matrix(ri.Identity(X))
    assert M is None if team.rank else np.array_equal(M, np.eye(3))
    assert verify.matrix(Planted(ri.Identity(X), lambda y: 1.001 * y), tolerance=0.01) is None or team.rank == 0


class Cubic(layers.Layer):
    """y = w x^3 with a derivative that may be wrong by a factor."""

    def __init__(self, X, factor=1.0):
        super().__init__(X, X)
        self.factor, self.parameter_spaces, self.parameters = factor, {"w": X}, {"w": X.random(9)}

    def value(self, x):
        return self.parameters["w"] * x**3

    def derivative(self, x):
        w, slope = self.parameters["w"], 3 * self.factor * self.parameters["w"] * x**2
        return w * x**3, lambda dx, d: slope * dx + x**3 * d["w"], lambda dy: (slope * dy, {"w": x**3 * dy})


def test_taylor_finds_a_derivative_that_is_wrong_by_a_hundredth_and_only_then(team):
    X = space(team)
    good = verify.taylor_test(Cubic(X), X.random(1), first=0.02)
    assert good and good.slopes[-1] > 1.99 and str(good).endswith("passed")
    wrong = verify.taylor_test(Cubic(X, 1.01), X.random(1), first=0.02, halvings=12)
    assert not wrong and str(wrong).endswith("FAILED")
    assert verify.dot_test(Cubic(X, 1.01).linearize(X.random(1))[1])  # the dot test cannot see it: J and J* agree


def test_taylor_passes_a_linear_map_whose_remainder_is_round_off(team):
    X = space(team)
    assert verify.taylor_test(layers.Identity(X), X.random(1))


def test_taylor_leaves_the_parameters_as_they_were(team):
    X = space(team)
    F = Cubic(X)
    before = fresh(F.parameters["w"])
    verify.taylor_test(F, X.random(1))
    assert np.array_equal(F.parameters["w"], before)


def test_taylor_leaves_the_parameters_as_they_were_where_the_layer_fails(team):
    F = Cubic(space(team))
    before, F.value = F.parameters["w"], lambda x: 1 / 0
    with pytest.raises(ZeroDivisionError):
        verify.taylor_test(F, F.domain.random(1))
    assert F.parameters["w"] is before


def test_the_complex_step_is_exact_and_finds_a_billionth(team):
    X, C = space(team), space(team, "complex128")
    x = X.random(2)
    assert verify.complex_step_gap(Cubic(X), Cubic(C), x) < 1e-14
    gaps = wire.pool(team, verify.complex_step_gap(Cubic(X, 1 + 1e-9), Cubic(C), x))
    assert len(set(gaps)) == 1 and gaps[0] > 1e-11
