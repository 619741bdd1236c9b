"""Layers one after the other, and side by side."""

import numpy as np
import pytest
import strategies
from hypothesis import strategies as st
from theorems import GRIDS, Planted, assert_derivative_is_honest, relative, same_text, whole

import refimpl as ri
from refimpl import Padding, verify
from refimpl.layers import (
    GELU,
    Apply,
    AvgPool,
    BatchNorm,
    Convolution,
    Graph,
    Identity,
    Linear,
    MaxPool,
    Parallel,
    ReLU,
    Residual,
    Sequential,
    SpectralConvolution,
    Tanh,
    TransposedConvolution,
    Upsample,
    chain,
)
from refimpl.verify import spmd


def network(team, dtype="float64"):
    """A nest of both kinds."""
    X = ri.Space(ri.Partition(team, (GRIDS[team.size][0], 1, GRIDS[team.size][1])), (4, 2, 6), dtype)
    block = lambda Y: Parallel({"linear": Linear(Y, 3, seed=1), "spectral": SpectralConvolution(Y, (2,), 3, seed=2)})
    return Sequential(chain(X, {"block": block, "gelu": GELU, "out": lambda Y: Linear(Y, 2, seed=3)}))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_nest_of_layers_has_an_adjoint_derivative(team, dtype):
    assert_derivative_is_honest(network(team, dtype))


def test_its_derivative_is_that_of_its_value(team):
    F = network(team)
    assert verify.taylor_test(F, F.domain.random(1), first=0.02)


def test_value_is_the_composition_of_values(team):
    F = network(team)
    x = F.domain.random(1)
    block, gelu, out = F.layers.values()
    linear, spectral = block.layers.values()
    assert np.array_equal(F(x), out(gelu(linear(x) + spectral(x))))
    y, J = F.linearize(x)
    dx, d = F.domain.random(2), J.domain.random(3)
    d.pop("x")
    assert np.array_equal(J.forward(dx, d), J.forward({"x": dx, **d}))
    assert np.allclose(J.forward(dx) + J.forward(F.domain.zeros(), d), J.forward(dx, d), rtol=1e-12, atol=1e-14)


def test_parameters_are_named_by_their_way_and_each_layer_keeps_its_own(team):
    F = network(team)
    names = ["block.linear.W", "block.linear.b", "block.spectral.R", "out.W", "out.b"]
    assert list(F.parameters) == list(F.parameter_spaces) == names
    new = {name: p + 1 for name, p in F.parameters.items()}
    F.parameters = new
    assert F.layers["block"].layers["linear"].parameters["W"] is new["block.linear.W"]
    assert F.parameter_count == 6 + 3 + 2 * 2 * 2 * 3 + 6 + 2
    other = network(team)
    other.load_state(F.state())
    assert all(np.array_equal(other.parameters[name], new[name]) for name in names)


def test_a_model_votes_once_not_in_every_layer(team):
    F = network(team)
    x = F.domain.zeros()
    with ri.counting() as count:
        F(x)
    assert count.votes == 1


def test_layers_that_do_not_follow_one_another_are_refused(team):
    X = ri.Space(ri.Partition(team, (team.size,)), (4, 2))
    F, G = Linear(X, 3), Linear(X, 2)
    assert "a gives" in same_text(team, lambda: Sequential({"a": F, "b": G}))
    assert "Sequential: expected at least one layer" in same_text(team, lambda: Sequential({}))
    assert "Parallel: expected at least one layer" in same_text(team, lambda: Parallel({}))
    assert "Parallel: b gives" in same_text(team, lambda: Parallel({"a": F, "b": G}))


@pytest.mark.parametrize("kind", [Sequential, Parallel])
def test_one_layer_alone_is_that_layer(team, kind):
    X = ri.Space(ri.Partition(team, (team.size,)), (4, 2))
    x = X.random(1)
    assert np.array_equal(kind({"a": ReLU(X)})(x), ReLU(X)(x))
    y = kind({"a": Identity(X)})(x)
    assert np.array_equal(y, x) and not np.shares_memory(x, y)


def test_adjoints_in_the_wrong_order_or_with_a_branch_left_out_are_rejected(team):
    X = ri.Space(ri.Partition(team, (team.size,)), (4, 3))
    first, second = Linear(X, 3, bias=False, seed=1), Linear(X, 3, bias=False, seed=2)
    x = X.random(1)
    _, J = Sequential({"a": first, "b": second}).linearize(x)
    (_, A), (_, B) = first.linearize(x), second.linearize(first(x))
    right = lambda dy: (A.adjoint(B.adjoint(dy)[0])[0], J.adjoint(dy)[1])
    wrong = lambda dy: (B.adjoint(A.adjoint(dy)[0])[0], J.adjoint(dy)[1])
    assert verify.dot_test(Planted(J, right), chain=4) and not verify.dot_test(Planted(J, wrong), chain=4)
    _, J = Parallel({"a": first, "b": second}).linearize(x)
    assert not verify.dot_test(Planted(J, lambda dy: (A.adjoint(dy)[0], J.adjoint(dy)[1])), chain=4)


# ---- graphs ----------------------------------------------------------------------------------------------------------


@st.composite
def graphs(draw):
    """(inputs of each node, outputs): one to five nodes that read any before them, the first "x", and some the same twice."""
    names, inputs = ["x"], []
    for name in "abcde"[: draw(st.integers(1, 5))]:
        inputs.append(tuple(draw(st.lists(st.sampled_from(names), min_size=1, max_size=3))) if inputs else ("x",))
        names.append(name)
    unread = [n for n in names[1:] if n not in sum(inputs, ())]
    return inputs, (*unread, *draw(st.lists(st.sampled_from(names), max_size=2)))


def with_channels(size):
    return strategies.fields_of_a_network(size).filter(lambda case: case.shape[1])


def graph_of(X, plan):
    """Matrices and tanhs in turn."""
    inputs, outputs = plan
    make = lambda k: Tanh(X) if k % 2 else Linear(X, X.shape[1], seed=k)
    return Graph(
        {name: (make(k), names) for k, (name, names) in enumerate(zip("abcde", inputs, strict=False))}, outputs
    )


@spmd.property_test(case=with_channels, plan=graphs())
def test_a_graph_adds_what_flows_into_a_node_and_its_jacobian_has_its_adjoint(team, case, plan):
    F = graph_of(case.space(team), plan)
    x = F.domain.random(case.seed)
    values = {"x": x}
    for name, layer in F.layers.items():
        values[name] = layer(sum(values[i] for i in F.inputs[name]))
    assert np.allclose(F(x), sum(values[o] for o in F.outputs), rtol=1e-5, atol=1e-6)
    assert_derivative_is_honest(F, case.seed)


@pytest.mark.parametrize(
    "plan", [([("x",), ("x", "a"), ("a", "b", "b"), ("x", "c")], ("d", "a", "x")), ([("x",)], ("a", "x"))]
)
def test_a_graph_agrees_with_the_complex_step(team, plan):
    P = ri.Partition(team, (GRIDS[team.size][0], 1, GRIDS[team.size][1]))
    X, C = (ri.Space(P, (4, 3, 6), dtype) for dtype in ("float64", "complex128"))
    assert verify.complex_step_gap(graph_of(X, plan), graph_of(C, plan), X.random(4)) < 1e-14


def test_a_residual_adds_its_input_and_keeps_the_statistics_of_its_layer(team):
    X = ri.Space(ri.Partition(team, (team.size, 1)), (2 * team.size, 3))
    F, x = Residual(BatchNorm(X)), X.random(1)
    y, J = F.linearize(x)
    assert np.array_equal(y, x + F.layers["F"](x)) and sorted(J.new_state) == ["F.mean", "F.variance"]
    F.statistics = J.new_state
    assert np.array_equal(F.frozen()(x), x + F.layers["F"].frozen()(x))
    assert_derivative_is_honest(F)


def test_a_skip_whose_cotangent_is_left_out_or_replaces_the_other_is_rejected(team):
    X = ri.Space(ri.Partition(team, (team.size,)), (4, 3))
    layer, x = Linear(X, 3), X.random(1)
    _, J = Residual(layer).linearize(x)
    for wrong in (lambda dy: layer.linearize(x)[1].adjoint(dy)[0], lambda dy: dy + 0):
        assert not verify.dot_test(Planted(J, lambda dy, wrong=wrong: (wrong(dy), J.adjoint(dy)[1])), chain=4)


def test_graphs_that_make_no_sense_are_refused_by_all_ranks_alike(team):
    X = ri.Space(ri.Partition(team, (team.size,)), (4, 3))
    a, b, wide = Linear(X, 3), Linear(X, 3), Linear(X, 5)
    cut = [(0, 4)] + [(4, 4)] * (team.size - 1)
    uneven = Identity(X.replace(blocks={0: cut}))
    for text, make in {
        "b reads ['c'], expected some of ['x', 'a'], which": lambda: Graph({"a": (a, "x"), "b": (b, "c")}),
        "a reads ['b'], expected some of ['x'], which": lambda: Graph({"a": (a, "b"), "b": (b, "a")}),
        "a reads [], expected": lambda: Graph({"a": (a, [])}),
        "the output reads ['c'], expected": lambda: Graph({"a": (a, "x")}, "c"),
        "nothing reads ['a']": lambda: Graph({"a": (a, "x"), "b": (b, "x")}),
        "wide gives Space(float64[4, 5]": lambda: Graph({"wide": (wide, "x"), "a": (a, ["wide", "x"])}),
        "x gives Space(float64[4, 3]": lambda: Graph({"wide": (wide, "x"), "a": (Identity(wide.range), ["wide", "x"])}),
        "wide gives": lambda: Graph({"wide": (wide, "x"), "a": (a, "x")}, ["a", "wide"]),
        "F gives": lambda: Residual(wide),
        "'x' is no name for a node": lambda: Graph({"x": (a, "x")}),
        "'a.b' is no name for a node": lambda: Sequential({"a.b": a}),
        "a layer of b is that of another node": lambda: Sequential({"a": a, "b": a}),
        "a layer of c is that of another node": lambda: Sequential({"a": Residual(a), "c": a}),
    }.items():
        assert text in same_text(team, make)
    if team.size > 1:
        text = same_text(team, lambda: Sequential({"a": Identity(X), "b": uneven}))
        assert f"but b expects {uneven.domain!r} in blocks [[(0, 4), (4, 4)" in text


# ---- a small U-Net ---------------------------------------------------------------------------------------------------


def u_net(X, pool, up):
    """Down, up, and a skip connection that joins the channels of both."""
    layers = chain(
        X,
        {
            "first": lambda Y: Convolution(Y, 3, 3, padding="same", seed=1),
            "gelu": GELU,
            "down": lambda Y: pool(Y, 2),
            "deep": lambda Y: Convolution(Y, 4, 3, padding="same", seed=2),
            "tanh": Tanh,
            "up": up,
        },
    )
    names = list(layers)
    nodes = {name: (layer, before) for (name, layer), before in zip(layers.items(), ["x", *names], strict=False)}
    wide, deep = layers["gelu"].range, layers["up"].range  # 3 and 4 channels
    both = Padding(wide, [(0, 0), (0, 4), (0, 0), (0, 0)])
    nodes["left"] = Apply(both), "gelu"
    nodes["right"] = Apply(Padding(deep, [(0, 0), (3, 0), (0, 0), (0, 0)])), "up"
    nodes["out"] = Convolution(both.range, 1, 3, padding="same", seed=3), ["left", "right"]
    return Graph(nodes)


def transposed(Y):
    return TransposedConvolution(Y, 4, 2, stride=2, seed=4)


def interpolated(Y):
    return Upsample(Y, 2, "linear")


@pytest.mark.parametrize(("pool", "up"), [(AvgPool, transposed), (MaxPool, interpolated)])
def test_a_u_net_on_many_ranks_is_that_of_one(team, pool, up):
    grids = (1, 1, *GRIDS[team.size]), (1, 1, 1, 1)
    many, one = (u_net(ri.Space(ri.Partition(team, grid), (2, 2, 10, 6)), pool, up) for grid in grids)
    results = []
    for F in (many, one):
        y, J = F.linearize(F.domain.random(1))
        dx, gradients = J.adjoint(F.range.random(2))
        spaces = {"y": F.range, "dx": F.domain} | F.parameter_spaces
        results.append({name: whole(spaces[name], a) for name, a in ({"y": y, "dx": dx} | gradients).items()})
    for name, expected in results[1].items():
        assert relative(results[0][name], expected) < 1e-13
    assert_derivative_is_honest(many)
    if pool is AvgPool:
        assert verify.taylor_test(many, many.domain.random(1), first=0.05)


def test_the_sum_of_two_paddings_is_concatenation_and_its_adjoint_two_restrictions(team):
    P = ri.Partition(team, (team.size, 1))
    X, Y = ri.Space(P, (6, 2)), ri.Space(P, (6, 3))
    joined = [Padding(X, [(0, 0), (0, 3)]), Padding(Y, [(0, 0), (2, 0)])]
    x, y, z = X.random(1), Y.random(2), joined[0].range.random(3)
    assert np.array_equal(joined[0].forward(x) + joined[1].forward(y), np.concatenate([x, y], axis=1))
    assert np.array_equal(joined[0].adjoint(z), z[:, :2]) and np.array_equal(joined[1].adjoint(z), z[:, 2:])
