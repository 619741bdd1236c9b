"""Real layers on the parts of complex data: the sums that define them, and their adjoints where the field is real."""

import numpy as np
from theorems import GRIDS, Planted, assert_close, assert_derivative_is_honest, same_text, whole

import refimpl as ri
from refimpl import layers, verify
from refimpl.layers.complex_valued import real_space


def complex_space(team, dtype="complex128", field="real"):
    return ri.Space(ri.Partition(team, GRIDS[team.size]), (4, 3, 5), dtype, cuts=(0, None, 1), field=field)


def pair(X, out=2):
    """(f + i g) x, for two networks of matrices with a GELU between."""
    R = real_space(X)
    two = lambda seed: layers.Sequential(
        layers.chain(
            R, {"a": lambda Y: layers.Linear(Y, 4, seed=seed), "g": layers.GELU, "b": lambda Y: layers.Linear(Y, out)}
        )
    )
    return layers.ComplexValued(X, {"fr": two(1), "fi": two(2)})


def apart(X):
    R = real_space(X)
    return layers.Separately(X, {"re": layers.ChannelAffine(R), "im": layers.Tanh(R)})


def test_values_are_those_of_the_parts_and_jacobians_have_their_adjoints(team):
    X = complex_space(team, "complex64")
    x, R = X.random(1), real_space(X)
    a, b = (R.adopt(np.ascontiguousarray(part)) for part in (ri.arrays.to_host(x).real, ri.arrays.to_host(x).imag))
    F, G = pair(X), apart(X)
    for layer in (F, G):
        layer.parameters = {k: space.random(i) for i, (k, space) in enumerate(layer.parameter_spaces.items())}
        assert_derivative_is_honest(layer)
        assert sorted(layer.parameters) == sorted(layer.parameter_spaces)
    f, g = F.layers["fr"], F.layers["fi"]
    Y = f.range
    both = [whole(Y, h(part)) for h in (f, g) for part in (a, b)]
    assert_close(F.range, F(x), (both[0] - both[3]) + 1j * (both[1] + both[2]))
    assert_close(X, G(x), whole(R, G.layers["re"](a)) + 1j * np.tanh(whole(R, b)))
    assert F.range.dtype == X.dtype and F.range.field == "real"


def test_of_two_matrices_it_is_the_product_with_a_complex_one(team):
    X = complex_space(team)
    R = real_space(X)
    f, g = (layers.Linear(R, 2, bias=False, seed=seed) for seed in (1, 2))
    F, C = layers.ComplexValued(X, {"fr": f, "fi": g}), layers.Linear(X, 2, bias=False)
    weights = f.state()["W"], g.state()["W"]
    C.load_state({"W": weights[0] + 1j * weights[1]} if team.rank == 0 else None)
    x, dy = X.random(1), F.range.random(2)
    assert_close(F.range, F(x), whole(C.range, C(x)))
    dx, gradients = F.linearize(x)[1].adjoint(dy)
    exact, sums = C.linearize(x)[1].adjoint(dy)
    assert_close(X, dx, whole(X, exact))
    W = whole(C.parameter_spaces["W"], sums["W"])
    for name, part in {"fr.W": W.real, "fi.W": W.imag}.items():
        assert_close(F.parameter_spaces[name], gradients[name], part)


def test_state_and_the_layer_after_training_are_those_of_its_layers(team):
    X = complex_space(team)
    F, G, x = pair(X), pair(X), X.random(1)
    F.parameters = {k: space.random(i) for i, (k, space) in enumerate(F.parameter_spaces.items())}
    G.load_state(F.state())
    assert np.array_equal(G(x), F(x)) and np.array_equal(G.frozen()(x), F(x))
    assert len(F.leaves) == 6 and "fi: Sequential" in F.signature


def test_what_makes_no_sense_is_refused_by_all_ranks_alike(team):
    X = complex_space(team)
    R = real_space(X)
    f = layers.Identity(R)
    for text, make in {
        'field="complex"': lambda: apart(complex_space(team, field="complex")),
        'expected a complex space with field="real", got Space(float64': lambda: apart(R),
        "expected the layers ['fr', 'fi'], got ['fr']": lambda: layers.ComplexValued(X, {"fr": f}),
        "to one space": lambda: layers.ComplexValued(X, {"fr": f, "fi": layers.Linear(R, 2)}),
        "expected layers from Space(float64": lambda: layers.Separately(X, {"re": f, "im": layers.Identity(X)}),
        "without statistics": lambda: layers.Separately(X, {"re": layers.BatchNorm(R), "im": f}),
    }.items():
        assert text in same_text(team, make)


def test_adjoints_with_a_wrong_sign_or_a_forgotten_term_are_rejected(team, monkeypatch):
    X = complex_space(team)
    F, x = pair(X), X.random(1)
    F.parameters = {k: space.random(i) for i, (k, space) in enumerate(F.parameter_spaces.items())}
    J = F.linearize(x)[1]
    for terms in ([(f, s, t, abs(sign)) for f, s, t, sign in F.terms], F.terms[:3] + F.terms[2:3]):
        wrong = pair(X)
        wrong.parameters, wrong.terms = F.parameters, tuple(terms)
        assert not verify.dot_test(Planted(J, wrong.linearize(x)[1].adjoint), chain=8)
