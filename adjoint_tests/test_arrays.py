"""Blocks of another array library: the same numbers, and the type that came in comes out."""

import array_api_strict as strict
import numpy as np
import pytest
from theorems import GRIDS, assert_adjoint, assert_exact_adjoint, same_text

import refimpl as ri
from refimpl import arrays, layers

STRICT = type(strict.zeros(1))


def both(make):
    """``make(xp)`` on NumPy and on strict blocks."""
    return make(np), make(strict)


def tensor(team, xp, dtype="float64", grid=None, shape=(5, 4), **options):
    return ri.Space(ri.Partition(team, grid or GRIDS[team.size]), shape, dtype, xp=xp, **options)


OPERATORS = {
    "Broadcast": lambda team, xp: ri.Broadcast(
        tensor(team, xp, grid=(1, GRIDS[team.size][1])), ri.Partition(team, GRIDS[team.size])
    ),
    "SumReduce": lambda team, xp: ri.SumReduce(
        tensor(team, xp, "complex64", cuts=(None, 1)), ri.Partition(team, (1, GRIDS[team.size][1]))
    ),
    "AllSumReduce": lambda team, xp: ri.AllSumReduce(tensor(team, xp, cuts=(None, 1)), 0),
    "AllGather": lambda team, xp: ri.AllGather(tensor(team, xp, "float32"), 0),
    "ReduceScatter": lambda team, xp: ri.ReduceScatter(tensor(team, xp, cuts=(None, 1)), 0),
    "Repartition": lambda team, xp: ri.Repartition(
        tensor(team, xp, "complex128"), ri.Partition(team, GRIDS[team.size][::-1])
    ),
    "HaloExchange": lambda team, xp: ri.HaloExchange(tensor(team, xp), [(1, 2), (0, 1)], "periodic"),
    "Identity": lambda team, xp: ri.Identity(tensor(team, xp)),
    "Composition": lambda team, xp: 2.0 * OPERATORS["AllGather"](team, xp).H @ OPERATORS["AllGather"](team, xp),
    "Sum": lambda team, xp: OPERATORS["AllSumReduce"](team, xp) + ri.Identity(tensor(team, xp, cuts=(None, 1))),
    "TruncatedFourier": lambda team, xp: layers.TruncatedFourier(tensor(team, xp, shape=(8, 7)), (2, 3)),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_an_operator_gives_the_same_numbers_in_the_type_of_its_argument(team, name):
    A, B = both(lambda xp: OPERATORS[name](team, xp))
    for space, mine, other in ((B.domain, A.forward, B.forward), (B.range, A.adjoint, B.adjoint)):
        block = space.random(3, copies="independent")
        result = other(block)
        assert type(block) is type(result) is STRICT
        expected = mine(arrays.to_host(block))
        assert np.allclose(arrays.to_host(result), expected, rtol=1e-13, atol=1e-13)
    assert_adjoint(B) if name == "TruncatedFourier" else assert_exact_adjoint(B)


LAYERS = {
    "Linear": lambda X: layers.Linear(X, 3, seed=1),
    "Linear on the last axis": lambda X: layers.Linear(X, 4, axis=-2, seed=2),
    "GELU": layers.GELU,
    "ReLU": layers.ReLU,
    "Identity": layers.Identity,
    "SpectralConvolution": lambda X: layers.SpectralConvolution(X, (2, 3), out=3),
    "Sequential": lambda X: layers.Sequential({"a": layers.Linear(X, 2), "b": layers.GELU(X)}),
    "Parallel": lambda X: layers.Parallel({"a": layers.Linear(X, 3), "b": layers.Linear(X, 3, seed=5)}),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_gives_the_same_numbers_in_the_type_of_its_argument(team, name):
    shape, grid = (2, 2, 4, 6), (1, 1, 1, team.size)
    F, G = both(lambda xp: LAYERS[name](tensor(team, xp, shape=shape, grid=grid)))
    x, dy = G.domain.random(1), G.range.random(2)
    (y, J), (z, K) = F.linearize(arrays.to_host(x)), G.linearize(x)
    (dx, gradients), (du, others) = J.adjoint(arrays.to_host(dy)), K.adjoint(dy)
    pairs = [(y, z), (F(arrays.to_host(x)), G(x)), (dx, du), *((gradients[n], others[n]) for n in others)]
    pairs += [(J.forward(arrays.to_host(x)), K.forward(x))]
    for mine, other in pairs:
        assert type(other) is STRICT
        assert np.allclose(mine, arrays.to_host(other), rtol=1e-12, atol=1e-12)
    assert_adjoint(K, chain=4)


@pytest.mark.parametrize("loss", [layers.MSE, layers.RelativeL2])
def test_a_loss_gives_the_same_number_and_a_gradient_in_the_type_of_the_prediction(team, loss):
    X, Y = both(lambda xp: tensor(team, xp))
    p, t = Y.random(1), Y.random(2)
    value, J = loss(X).linearize(arrays.to_host(p), arrays.to_host(t))
    other, K = loss(Y).linearize(p, t)
    assert value == other and type(K.adjoint(1.0)) is STRICT
    assert np.allclose(arrays.to_host(K.adjoint(1.0)), J.adjoint(1.0), rtol=1e-14)


def test_names_and_namespaces():
    a, s = np.zeros((2, 3), "float32"), strict.zeros((2, 3), dtype=strict.float32)
    assert arrays.namespace(a) is np and arrays.namespace(s).__name__.startswith("array_api_strict")
    assert arrays.is_array(a) and arrays.is_array(s) and not arrays.is_array([1.0])
    assert arrays.dtype_name(a) == arrays.dtype_name(s) == "float32"
    assert arrays.to_host(a) is a and arrays.to_host(np.float32(2.5)).dtype == np.float32
    for view in (a.T, a[:, ::-1], np.asfortranarray(a)):
        assert arrays.to_host(view).flags.c_contiguous
    assert type(arrays.from_host(a, strict)) is STRICT and isinstance(arrays.to_host(s), np.ndarray)


def test_a_fresh_copy_keeps_every_bit():
    for x in (np.array([-0.0, 1.0]), strict.asarray([-0.0, 1.0])):
        y = arrays.fresh(x)
        assert type(y) is type(x) and y is not x
        assert np.signbit(arrays.to_host(y)).tolist() == [True, False]


def test_a_block_of_another_array_library_is_refused(team):
    X = tensor(team, np)
    text = same_text(team, lambda: X.norm(strict.zeros(X.local_shape)))
    assert text.startswith("Space.inner on rank 0: expected float64[") and "of array_api_strict" in text
