"""Pointwise layers: the Jacobian is a diagonal matrix."""

import warnings

import numpy as np
import pytest
import strategies
from hypothesis import strategies as st
from scipy.special import erf, expit
from theorems import GRIDS, Planted, assert_derivative_is_honest, same_text

import refimpl as ri
from refimpl import layers, verify
from refimpl.arrays import namespace, to_host
from refimpl.layers.pointwise import TILE, gelu, gelu_and_slope, gelu_slope
from refimpl.verify import spmd


def exact_gelu(x):
    return x * (1 + erf(x / np.sqrt(2))) / 2


def exact_slope(x):
    return (1 + erf(x / np.sqrt(2))) / 2 + x * np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)


def tanh_gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def tanh_gelu_slope(x):
    c = np.sqrt(2 / np.pi)
    t = np.tanh(c * (x + 0.044715 * x**3))
    return 0.5 * (1 + t) + 0.5 * x * (1 - t**2) * c * (1 + 0.134145 * x**2)


EXACT = {
    layers.Tanh: (np.tanh, lambda x: 1 / np.cosh(x) ** 2),
    layers.Sigmoid: (expit, lambda x: expit(x) * expit(-x)),
    layers.SiLU: (lambda x: x * expit(x), lambda x: expit(x) + x * expit(x) * expit(-x)),
    layers.Softplus: (lambda x: np.logaddexp(0, x), expit),
    layers.TanhGELU: (tanh_gelu, tanh_gelu_slope),
    layers.GELU: (exact_gelu, exact_slope),
    layers.ReLU: (lambda x: np.maximum(x, 0), lambda x: (x > 0).astype(x.dtype)),
    layers.Identity: (lambda x: x, np.ones_like),
}


def real_tensors(size):
    return strategies.tensors(size, strategies.REAL) | strategies.copied(size, strategies.REAL)


@spmd.property_test(case=real_tensors, name=st.sampled_from([layer.__name__ for layer in EXACT]))
def test_value_and_derivative_are_the_formulas(team, case, name):
    X, layer = case.space(team), getattr(layers, name)
    x, dy = X.random(case.seed), X.random(case.seed + 1, copies="independent")
    value, slope = EXACT[layer]
    y, J = layer(X).linearize(x)
    tolerance = dict(rtol=1e-6, atol=4e-7) if case.dtype == "float32" else dict(rtol=1e-14, atol=1e-15)
    assert np.allclose(y, value(to_host(x).astype("float64")), **tolerance)
    dx, gradients = J.adjoint(dy)
    assert gradients == {} and np.allclose(dx, slope(to_host(x).astype("float64")) * to_host(dy), **tolerance)
    assert_derivative_is_honest(layer(X), case.seed)


def test_gelu_in_float32_is_within_2e_7_of_the_exact():
    x = np.linspace(-12, 12, 2_000_001, dtype="float32")
    y, slope = gelu_and_slope(x)
    wide = x.astype("float64")
    assert np.max(np.abs(y - exact_gelu(wide)) / np.maximum(np.abs(wide), 1)) < 2e-7
    assert np.max(np.abs(slope - exact_slope(wide))) < 2.1e-7
    small = np.geomspace(1e-6, 1, 200_000, dtype="float32")
    for near in (small, -small):
        assert np.max(np.abs(gelu(near) / exact_gelu(near.astype("float64")) - 1)) < 4e-7
    assert np.array_equal(gelu(x), y) and np.array_equal(gelu_slope(x), slope) and y.dtype == slope.dtype == np.float32


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_far_out_gelu_is_zero_or_the_identity(dtype):
    x = np.array([-1e30, -1e4, -40, 40, 1e4, 1e30], dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        y, slope = gelu_and_slope(x)
    assert np.array_equal(y, np.where(x > 0, x, 0)) and np.array_equal(slope, x > 0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_no_number_stays_so(dtype):
    y, slope = gelu_and_slope(np.array([1, np.nan, 7], dtype))
    assert np.array_equal(np.isnan(y), [False, True, False]) and np.array_equal(np.isnan(slope), [False, True, False])


def test_arrays_longer_than_a_tile_are_worked_on_whole():
    x = np.random.default_rng(0).standard_normal((3, TILE // 2 + 7))
    assert np.allclose(gelu(x), exact_gelu(x), rtol=1e-14, atol=1e-15)
    assert np.array_equal(gelu(x.T), gelu(x).T) and np.array_equal(gelu(np.asfortranarray(x)), gelu(x))


SMOOTH = [layer for layer in EXACT if layer is not layers.ReLU]


@pytest.mark.parametrize("layer", SMOOTH)
def test_smooth_layers_agree_with_the_complex_step(team, layer):
    P = ri.Partition(team, GRIDS[team.size])
    X, C = (ri.Space(P, (20, 30), dtype) for dtype in ("float64", "complex128"))
    assert verify.complex_step_gap(layer(X), layer(C), X.random(4)) < 2e-15


@pytest.mark.parametrize("layer", EXACT)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_far_out_no_layer_overflows_or_loses_its_accuracy(layer, dtype):
    X = ri.Space(ri.Partition(ri.wire.mpi().COMM_SELF, (1,)), (8,), dtype)
    x = np.array([-1e4, -80, -40, -12, 12, 40, 80, 1e4], dtype)
    with warnings.catch_warnings(), np.errstate(all="raise", under="ignore"):
        warnings.simplefilter("error")
        y, J = layer(X).linearize(X.adopt(x))
        slopes = J.adjoint(X.zeros() + 1)[0]
    with np.errstate(all="ignore"):
        value, slope = (f(x.astype("float64")) for f in EXACT[layer])
    tiny = dict(rtol=1e-5, atol=1e-7) if layer in (layers.GELU, layers.TanhGELU) else dict(rtol=1e-5, atol=1e-37)
    assert np.allclose(y, value, **tiny)
    assert np.allclose(slopes, slope, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("field", ["complex", "real"])
def test_on_complex_spaces_the_adjoint_conjugates_the_slope(team, field):
    X = ri.Space(ri.Partition(team, GRIDS[team.size]), (3, 4), "complex128", field=field)
    F = layers.GELU(X)
    assert_derivative_is_honest(F)
    assert verify.taylor_test(F, X.random(1), first=0.02)
    _, J = F.linearize(X.random(1))
    assert not verify.dot_test(Planted(J, lambda dy: (J.forward(dy), {})))
    assert "ReLU: expected a real space" in same_text(team, lambda: layers.ReLU(X))


def test_relu_is_zero_at_zero_and_at_minus_infinity():
    X = ri.Space(ri.Partition(ri.wire.mpi().COMM_SELF, (1,)), (4,))
    y, J = layers.ReLU(X).linearize(X.adopt(np.array([-np.inf, -2, 0, np.inf])))
    assert to_host(y).tolist() == [0, 0, 0, np.inf]
    assert to_host(J.adjoint(X.zeros() + 1)[0]).tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize("layer", [layer for layer in EXACT if layer is not layers.Identity])
def test_taylor_remainders_fall_with_slope_2_away_from_kinks(team, layer):
    X = ri.Space(ri.Partition(team, GRIDS[team.size]), (6, 7))
    x = X.random(3)
    assert verify.taylor_test(layer(X), x + namespace(x).sign(x), first=0.02)


def test_a_slope_that_is_left_out_or_taken_elsewhere_or_wrong_by_a_billionth_is_rejected(team):
    X = ri.Space(ri.Partition(team, GRIDS[team.size]), (6, 7))
    F, x = layers.GELU(X), X.random(3)
    y, J = F.linearize(x)
    for slope in (1, X.adopt(exact_slope(to_host(y))), X.adopt(exact_slope(to_host(x))) * (1 + 1e-9)):
        assert not verify.dot_test(Planted(J, lambda dy, slope=slope: (slope * dy, {})))
