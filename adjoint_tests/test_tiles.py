"""What is worked on tile by tile is the graph of its layers, one after the other."""

import hypothesis.strategies as st
import numpy as np
import pytest
import strategies
from theorems import Planted, assert_close, assert_derivative_is_honest, relative, same_text, whole

import refimpl as ri
from refimpl import verify
from refimpl.arrays import to_host
from refimpl.layers import (
    GELU,
    ChannelAffine,
    ChannelMLP,
    Dropout,
    FourierBlock,
    Graph,
    Linear,
    SpectralConvolution,
    Tanh,
    Tiled,
    tiles,
)
from refimpl.layers.fourier_forms import FORMS
from refimpl.verify import spmd


def in_steps(F):
    """The same nodes with the same weights, as a graph that knows no tiles."""
    return Graph({name: (layer, F.inputs[name]) for name, layer in F.layers.items()}, F.outputs)


def with_random_weights(F, seed=10):
    F.parameters = {name: space.random(seed + i) for i, (name, space) in enumerate(F.parameter_spaces.items())}
    return F


def assert_is_its_graph(F, seed):
    """Value, tangent, dx and every gradient, up to round-off; and the Jacobian has its adjoint."""
    G, x, dy = in_steps(F), F.domain.random(seed), F.range.random(seed + 1, copies="independent")
    (y, J), (y_G, J_G) = F.linearize(x), G.linearize(x)
    changes = {name: space.random(seed + 2) for name, space in F.parameter_spaces.items()}
    (dx, gradients), (dx_G, gradients_G) = J.adjoint(dy), J_G.adjoint(dy)
    assert_close(F.range, y, whole(F.range, y_G))
    assert_close(F.range, J.forward(x, changes), whole(F.range, J_G.forward(x, changes)), factor=256)
    assert_close(F.domain, dx, whole(F.domain, dx_G), factor=256)
    assert set(gradients) == set(gradients_G)
    for name, space in F.parameter_spaces.items():
        assert_close(space, gradients[name], whole(space, gradients_G[name]), factor=1024)
    assert_derivative_is_honest(F, seed)


@spmd.example(  # more ranks than points: a block with modes and without points
    case=lambda size: strategies.SpectralCase((1, 1, 2, 2, 2), (1, 1, 1, 1, size), modes=(1, 1, 1)), tile=1, form="sums"
)
@spmd.property_test(
    case=strategies.spectra, tile=st.sampled_from([1, 7, tiles.TILE]), form=st.sampled_from((None, *FORMS))
)
def test_a_fourier_block_is_its_graph_whatever_the_tiles_and_the_form(team, case, tile, form):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiles, "TILE", tile)
        F = FourierBlock(case.space(team), case.modes, form=form)
        assert F.in_tiles == (F.spectral.up.form == "sums" or case.grid[-1] == 1)
        assert_is_its_graph(with_random_weights(F), case.seed)


@spmd.property_test(
    case=strategies.spectra,
    widths=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    activated=st.booleans(),
    tile=st.sampled_from([1, 7, tiles.TILE]),
)
def test_a_channel_mlp_is_its_graph_whatever_the_tiles(team, case, widths, activated, tile):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiles, "TILE", tile)
        F = ChannelMLP(case.space(team), {f"w{k}": n for k, n in enumerate(widths)}, activated)
        assert len(F.layers) == 2 * len(widths) - (not activated)
        assert_is_its_graph(with_random_weights(F), case.seed)


@spmd.property_test(case=strategies.spectra, skip=st.booleans(), tile=st.sampled_from([1, 7, tiles.TILE]))
def test_a_tiled_graph_is_its_graph_whatever_the_tiles(team, case, skip, tile):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiles, "TILE", tile)
        assert_is_its_graph(with_random_weights(two_convolutions(case.space(team), case.modes, skip)), case.seed)


def two_convolutions(X, modes, skip=True):
    """A block as NeuralOperator's and another convolution of x; with ``skip``, x is read and given as it is too."""
    first, second = (SpectralConvolution(X, modes, seed=s) for s in (1, 2))
    nodes = {
        "spectral": (first, "x"),
        "bias": (ChannelAffine(X, weight=False), "spectral"),
        "other": (second, "x"),
        "tanh": (Tanh(X), ["bias", "x"] if skip else "bias"),
        "mlp": (ChannelMLP(X, {"hidden": 3, "out": X.shape[1]}), ["tanh", "other"]),
        "gate": (ChannelAffine(X), "tanh"),
    }
    return Tiled(nodes, outputs=["mlp", "gate", "x"] if skip else ["mlp", "gate"])


def block(X):
    return with_random_weights(FourierBlock(X, (2, 2)))


def mlp(X):
    return with_random_weights(ChannelMLP(X, {"hidden": 5, "out": 2}))


def graph(X):
    return with_random_weights(two_convolutions(X, (2, 2)))


LAYERS = pytest.mark.parametrize("make", [block, mlp, graph])


def space(team, **options):
    return ri.Space(ri.Partition(team, (1, 1, team.size)), (2, 3, 6, 5), **options)


@LAYERS
def test_taylor_remainders_fall_with_slope_2(team, make):
    X = space(team)
    assert verify.taylor_test(make(X), X.random(1), first=0.02)


@LAYERS
def test_a_jacobian_stays_at_its_point_when_the_weights_change(team, make):
    X = space(team)
    F, x, dy = make(X), X.random(1), make(X).range.random(2)
    J, changes = F.linearize(x)[1], {name: s.random(3) for name, s in F.parameter_spaces.items()}
    before = J.forward(x, changes), J.adjoint(dy)
    F.parameters = {name: w + 1 for name, w in F.parameters.items()}
    assert np.array_equal(J.forward(x, changes), before[0])
    dx, gradients = J.adjoint(dy)
    assert np.array_equal(dx, before[1][0])
    assert all(np.array_equal(g, before[1][1][name]) for name, g in gradients.items())


@LAYERS
def test_frozen_it_is_the_same_map(team, make):
    X = space(team)
    F, x = make(X), X.random(1)
    assert np.array_equal(F.frozen()(x), F(x))


@LAYERS
def test_the_linearisation_sends_each_weight_once(team, make):
    X = space(team)
    F, x = make(X), X.random(1)
    with ri.counting() as value:
        F(x)
    with ri.counting() as linearization:
        F.linearize(x)
    assert linearization.total == value.total


@LAYERS
def test_an_adjoint_without_the_slope_or_one_of_the_gradients_is_rejected(team, make):
    X = space(team)
    F = make(X)
    J = F.linearize(X.random(1))[1]
    linear = in_steps(F)
    for name, layer in linear.layers.items():
        if isinstance(layer, GELU | Tanh):
            linear.layers[name] = ri.layers.Identity(layer.domain)
    without_slope = linear.linearize(X.random(1))[1]
    assert not verify.dot_test(Planted(J, without_slope.adjoint), chain=8)
    for name in F.parameters:
        wrong = lambda dy, name=name: (J.adjoint(dy)[0], J.adjoint(dy)[1] | {name: J.domain[name].zeros()})
        assert not verify.dot_test(Planted(J, wrong), chain=8), name


def test_float32_differs_from_float64_by_round_off(team):
    narrow, wide = space(team, dtype="float32"), space(team)
    for make in (block, mlp, graph):
        F, G = make(narrow), make(wide)
        state = F.state()
        G.load_state(
            {name: a.astype(np.result_type(a, "float64")) for name, a in state.items()} if team.rank == 0 else None
        )
        x = narrow.random(1)
        same = wide.adopt(to_host(x).astype("float64"))
        assert relative(whole(F.range, F(x)), whole(G.range, G(same))) < 2e-6


def test_cut_channels_and_complex_numbers_are_refused_by_all_ranks_alike(team):
    X = ri.Space(ri.Partition(team, (1, team.size)), (2, 2 * team.size, 6, 5))
    assert "expected a real tensor" in same_text(team, lambda: FourierBlock(X.replace(dtype="complex64"), (2, 2)))
    if team.size > 1:
        assert "must be whole" in same_text(team, lambda: FourierBlock(X, (2, 2)))
        assert "must be whole" in same_text(team, lambda: ChannelMLP(X, {"out": 2}))


def test_complex_tensors_and_no_maps_are_refused(team):
    for X, widths in ((space(team, dtype="complex64"), {"out": 2}), (space(team), {})):
        text = same_text(team, lambda X=X, widths=widths: ChannelMLP(X, widths))
        assert text.startswith("ChannelMLP: expected a real tensor and at least one width")


def test_layers_that_need_other_points_are_refused(team):
    X = space(team)
    for name, layer in {"dropout": Dropout(X), "time": Linear(X, 5, axis=-1)}.items():
        text = same_text(team, lambda name=name, layer=layer: Tiled({name: (layer, "x")}))
        assert text.startswith(
            f"Tiled: {name} is a {type(layer).__name__}; expected layers that work at each point alone"
        )
    other_grid = SpectralConvolution(X, (2, 2), sides=(4, 4))
    for nodes in (
        {"gelu": (GELU(X), "x"), "spectral": (SpectralConvolution(X, (2, 2)), "gelu")},
        {"spectral": (other_grid, "x"), "gelu": (GELU(other_grid.range), "spectral")},
    ):
        text = same_text(team, lambda nodes=nodes: Tiled(nodes))
        assert "or a SpectralConvolution of x onto its own grid; use Graph" in text
