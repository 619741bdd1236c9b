"""A small matrix along a whole axis: one owner of the weight, whose gradient arrives summed."""

import numpy as np
import pytest
import strategies
from hypothesis import strategies as st
from theorems import Planted, assert_adjoint, assert_close, assert_derivative_is_honest, same_text, whole

import refimpl as ri
from refimpl import verify, wire
from refimpl.arrays import fresh, namespace
from refimpl.layers import Linear
from refimpl.verify import spmd


def with_bias(layer, seed=5):
    """The layer with a random bias: the initial one is zero."""
    layer.parameters["b"] = layer.parameter_spaces["b"].random(seed)
    return layer


def along(W, x, axis):
    """W x along one axis of a global array."""
    return np.moveaxis(np.tensordot(W, x, (1, axis)), 0, axis)


any_dtype = st.sampled_from(strategies.DTYPES)


@spmd.property_test(case=lambda size: strategies.fields_of_a_network(size, any_dtype), out=st.integers(1, 4))
def test_value_and_gradients_are_those_of_the_serial_formula(team, case, out):
    X = case.space(team)
    F = with_bias(Linear(X, out, seed=case.seed))
    x, dy = X.random(case.seed), F.range.random(case.seed + 1)
    y, J = F.linearize(x)
    dx, gradients = J.adjoint(dy)
    assert_adjoint(J, case.seed, chain=2)
    W, b = (whole(F.parameter_spaces[name], F.parameters[name]) for name in ("W", "b"))
    h, g = whole(X, x), whole(F.range, dy)
    others = [axis for axis in range(h.ndim) if axis != 1]
    assert_close(F.range, y, along(W, h, 1) + b.reshape(-1, *[1] * (h.ndim - 2)))
    assert_close(X, dx, along(W.conj().T, g, 1))
    assert_close(F.parameter_spaces["W"], gradients["W"], np.tensordot(g, h.conj(), (others, others)))
    assert_close(F.parameter_spaces["b"], gradients["b"], g.sum(tuple(others)))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "complex128"])
def test_it_sends_what_it_predicts_and_changes_nothing(team, dtype, bias):
    for ranks in (None, range(team.size)[::-1]):
        X = ri.Space(ri.Partition(team, (team.size, 1, 1), ranks), (5, 3, 2), dtype)
        assert_derivative_is_honest(Linear(X, 2, bias=bias))


@pytest.mark.parametrize("axis", [0, 2, -1])
def test_any_whole_axis_will_do(team, axis):
    X = ri.Space(ri.Partition(team, (1, team.size, 1, 1)), (3, 5, 2, 4))
    F = with_bias(Linear(X, 6, axis=axis))
    x, W, b = X.random(1), F.state()["W"], F.state()["b"]
    W, b, shape = wire.share(team, W), wire.share(team, b), [1] * 4
    shape[axis] = 6
    assert_close(F.range, F(x), along(W, whole(X, x), axis % 4) + b.reshape(shape))
    assert_derivative_is_honest(F)


def test_the_derivative_agrees_with_the_complex_step(team):
    P = ri.Partition(team, (team.size, 1, 1))
    X, C = (ri.Space(P, (7, 3, 5), dtype) for dtype in ("float64", "complex128"))
    assert verify.complex_step_gap(with_bias(Linear(X, 4)), Linear(C, 4), X.random(4)) < 1e-14


def test_the_weight_lives_on_the_first_rank_of_the_grid_and_does_not_depend_on_the_partition(team):
    last = ri.Partition(team, (1,), ranks=[team.size - 1])
    here, there = (Linear(ri.Space(P, (2, 5)), 3, seed=7) for P in (ri.Partition(team, (team.size,)), last))
    assert here.parameters["W"].shape == ((3, 5) if team.rank == 0 else (0, 0))
    assert there.parameters["W"].shape == ((3, 5) if team.rank == team.size - 1 else (0, 0))
    W = here.state()["W"]
    assert np.array_equal(wire.share(team, W), wire.share(team, there.state()["W"]))
    assert W is None if team.rank else (np.abs(W).max() <= 1 / np.sqrt(5) and np.abs(W).max() > 0.3)
    assert here.parameter_count == 18


def test_a_state_moves_between_partitions_and_what_does_not_fit_is_refused(team):
    X = ri.Space(ri.Partition(team, (team.size, 1)), (4, 5))
    F, G = with_bias(Linear(X, 3, seed=1)), Linear(ri.Space(ri.Partition(team, (1, 1)), (4, 5)), 3, seed=2)
    state = F.state()
    G.load_state(state)
    assert all(np.array_equal(a, b) for a, b in zip(G.state().values(), state.values(), strict=True) if team.rank == 0)
    before = fresh(F.parameters["W"])
    root = team.rank == 0
    more = {"W": np.zeros((3, 5)), "b": np.zeros(3), "c": np.zeros(1)}
    for bad in ({}, None, {"W": np.zeros((3, 5))}, more, more | {1: np.zeros(1)}, 5, ["W", "b"]):
        text = same_text(team, lambda bad=bad: F.load_state(bad if root else None))
        assert "expected parameters ['W', 'b'], got" in text
    wrong = {"W": np.zeros((5, 3)), "b": np.zeros(3)}
    assert "Linear.load_state: W: expected float64[3, 5]" in same_text(
        team, lambda: F.load_state(wrong if root else None)
    )
    assert np.array_equal(F.parameters["W"], before)


def test_the_jacobian_takes_what_its_adjoint_gives(team):
    X = ri.Space(ri.Partition(team, (team.size, 1)), (4, 3))
    _, J = Linear(X, 2).linearize(X.random(1))
    dy = J.range.random(2)
    dx, gradients = J.adjoint(dy)
    expected = J.forward(dx, gradients)
    assert np.array_equal((J @ J.H).forward(dy), expected) and np.array_equal(J.H.adjoint(J.H.forward(dy)), expected)
    assert verify.dot_test(J @ J.H, chain=4)
    bad = (dx, None) if team.rank == 0 else (dx, gradients)
    assert "expected blocks ['W', 'b', 'x'], got tuple" in same_text(team, lambda: J.forward(bad))


def test_one_rank_without_a_grid_will_do(team):
    assert_derivative_is_honest(Linear(ri.Space(ri.Partition(team, ()), (2, 3)), 2))


def test_axes_and_sizes_that_make_no_sense_are_refused(team):
    X = ri.Space(ri.Partition(team, (1, 1)), (4, 6))
    for out, axis in ((3, 2), (3, -3), (0, 1), (-1, 1)):
        assert "expected out >= 1 along one of 2 axes" in same_text(team, lambda o=out, a=axis: Linear(X, o, axis=a))
    ghosts = ri.HaloExchange(X, [(0, 0), (1, 1)]).range
    assert "has the blocks [(-1, 7)]; it must be whole" in same_text(team, lambda: Linear(ghosts, 3))


@pytest.mark.mpi(min_size=2)
def test_a_cut_axis_and_wrong_blocks_are_refused(team):
    X = ri.Space(ri.Partition(team, (1, team.size)), (4, 2 * team.size))
    assert "it must be whole" in same_text(team, lambda: Linear(X, 3))
    F, last = Linear(X, 3, axis=0), team.size - 1
    bad = np.zeros((1, 1)) if team.rank == last else X.zeros()
    assert same_text(team, lambda: F(bad)).startswith(f"Linear on rank {last}: expected float64[4, ")
    assert same_text(team, lambda: F.linearize(bad)).startswith(f"Linear on rank {last}: expected float64[4, ")
    _, J = F.linearize(X.zeros())
    dy = F.range.zeros()[..., : -1 if team.rank == last else None]
    assert same_text(team, lambda: J.adjoint(dy)).startswith(f"Jacobian of Linear on rank {last}: expected float64[3, ")
    assert "Jacobian of Linear, block x on rank" in same_text(team, lambda: J.forward(bad))
    assert "expected blocks ['W', 'b', 'x'], got" in same_text(team, lambda: J.forward(X.zeros(), {"W": bad}))


@pytest.mark.mpi(min_size=2)
def test_a_gradient_that_forgets_the_other_ranks_is_rejected(team):
    X = ri.Space(ri.Partition(team, (team.size, 1)), (2 * team.size, 3))
    _, J = Linear(X, 2).linearize(X.random(1))
    mine = float(team.rank == 0)
    wrong = Planted(J, lambda dy: (J.adjoint(dy)[0], J.adjoint(mine * dy)[1]))
    assert verify.dot_test(J) and not verify.dot_test(wrong)
    with pytest.raises(ArithmeticError):
        verify.matrix(wrong, tolerance=1e-12)


def test_an_adjoint_that_does_not_conjugate_or_transpose_is_rejected(team):
    X = ri.Space(ri.Partition(team, (team.size, 1)), (2 * team.size, 3), "complex128")
    F = Linear(X, 3)
    F.parameters["W"] = F.parameter_spaces["W"].random(1)
    _, J = F.linearize(X.random(1))
    W = wire.share(team, F.state()["W"])
    W, conj = X.adopt(W), namespace(J.range.zeros()).conj
    for M in (W.T, conj(W)):
        assert not verify.dot_test(Planted(J, lambda dy, M=M: (dy @ M.T, J.adjoint(dy)[1])))
    assert verify.dot_test(Planted(J, lambda dy: (dy @ conj(W), J.adjoint(dy)[1])))
