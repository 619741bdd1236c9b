"""Normalisation uses the statistics of the whole tensor, on any partition."""

import hypothesis.strategies as st
import numpy as np
import pytest
import strategies
from theorems import GRIDS, Planted, assert_close, assert_derivative_is_honest, same_text, whole

import refimpl as ri
from refimpl import layers, verify
from refimpl.arrays import namespace, to_host
from refimpl.verify import spmd

EPS = 1e-5


@st.composite
def fields(draw, size):
    """(batch, channels, one or two space axes), every axis cut, none empty."""
    d = draw(st.integers(1, 2))
    shape = tuple(draw(st.tuples(*[st.integers(1, 5)] * (d + 2))))
    grid = draw(strategies.grids(size, d + 2))
    blocks = tuple(draw(strategies.cut_row(n, p)) for n, p in zip(shape, grid, strict=True))
    ranks = draw(strategies.some_ranks(size, int(np.prod(grid))))
    return strategies.TensorCase(shape, grid, ranks, None, blocks, draw(strategies.REAL), draw(strategies.seeds))


MAKERS = {
    "layer": lambda X: layers.LayerNorm(X),
    "layer, two axes": lambda X: layers.LayerNorm(X, (1, -1)),
    "layer, sharded": lambda X: layers.LayerNorm(X, sharded=True),
    "rms": lambda X: layers.RMSNorm(X),
    "rms, sharded": lambda X: layers.RMSNorm(X, sharded=True),
    "rms of channels": lambda X: layers.RMSNorm(X, (1,)),
    "instance": layers.InstanceNorm,
    "instance, no weights": lambda X: layers.InstanceNorm(X, affine=False),
    "group": layers.GroupNorm,
    "batch": layers.BatchNorm,
    "frozen": lambda X: trained(layers.BatchNorm(X)).frozen(),
}


def trained(norm, seed=5):
    """``norm`` with random weights, and statistics that it has seen."""
    norm.parameters = {
        name: space.random(seed + i) + 1 for i, (name, space) in enumerate(norm.parameter_spaces.items())
    }
    if norm.statistics:
        norm.statistics = norm.linearize(norm.domain.random(seed))[1].new_state
    return norm


def sequential(name, x, state):
    """The definition, on the whole array."""
    n = x.ndim
    axes, over = {
        "layer": ((n - 1,), (n - 1,)),
        "layer, two axes": ((1, n - 1), (1, n - 1)),
        "rms": ((n - 1,), (n - 1,)),
        "rms of channels": ((1,), (1,)),
        "instance": (tuple(range(2, n)), (1,)),
        "group": (tuple(range(1, n)), (1,)),
    }.get(name.removesuffix(", sharded").removesuffix(", no weights"), ((0, *range(2, n)), (1,)))
    w, b = (
        np.reshape(state[k], [m if i in over else 1 for i, m in enumerate(x.shape)]) if k in state else nothing
        for k, nothing in {"w": 1.0, "b": 0.0}.items()
    )
    if name == "frozen":
        channels = [-1 if i == 1 else 1 for i in range(n)]
        mean, variance = (state[k].reshape(channels) for k in ("mean", "variance"))
    else:
        mean = 0 if name.startswith("rms") else x.mean(axis=axes, keepdims=True)
        variance = ((x - mean) ** 2).mean(axis=axes, keepdims=True)
    return w * (x - mean) / np.sqrt(variance + EPS) + b


def whole_state(team, F):
    """All weights and statistics as whole float64 arrays, on every rank."""
    state = ri.wire.share(team, F.state())
    return {name: a.astype("float64") for name, a in state.items()}


@spmd.property_test(case=fields, name=st.sampled_from(list(MAKERS)))
def test_every_norm_is_that_of_the_whole_tensor_and_its_jacobian_has_its_adjoint(team, case, name):
    X = case.space(team)
    F = MAKERS[name](X)
    F = F if name == "frozen" else trained(F)
    x = X.random(case.seed)
    expected = sequential(name, whole(X, x).astype("float64"), whole_state(team, F))
    assert_close(X, F(x), expected, factor=64 if "rms" in name or name == "frozen" else 1e4)
    assert_derivative_is_honest(F, case.seed)


@pytest.mark.parametrize("name", MAKERS)
def test_taylor_remainders_of_norms_fall_with_slope_2(team, name):
    grid = (*GRIDS[team.size], 1)
    X = ri.Space(ri.Partition(team, grid), (4, 3, 6))
    assert verify.taylor_test(
        trained(MAKERS[name](X)) if name != "frozen" else MAKERS[name](X), X.random(3), first=0.05
    )


def test_running_statistics_are_those_of_all_ranks_and_the_layer_itself_stays(team):
    grid = (*GRIDS[team.size], 1)
    X = ri.Space(ri.Partition(team, grid), (4, 3, 6))
    F, x = layers.BatchNorm(X, momentum=0.25), X.random(1)
    state = F.linearize(x)[1].new_state
    all_x = whole(X, x)
    before = whole_state(team, F)
    assert np.array_equal(before["mean"], [0, 0, 0]) and np.array_equal(before["variance"], [1, 1, 1])
    F.statistics = state
    after = whole_state(team, F)
    assert np.allclose(after["mean"], 0.25 * all_x.mean(axis=(0, 2)), rtol=1e-14)
    assert np.allclose(after["variance"], 0.75 + 0.25 * all_x.var(axis=(0, 2), ddof=1), rtol=1e-14)


def test_the_variance_of_two_numbers_counts_twice_and_that_of_one_is_zero(team):
    for n in (1, 2):
        X = ri.Space(ri.Partition(team, (team.size, 1)), (n, 3))
        F, x = layers.BatchNorm(X, momentum=0.25), X.random(1)
        F.statistics = F.linearize(x)[1].new_state
        seen = whole(X, x).var(axis=0) * n
        assert np.allclose(whole_state(team, F)["variance"], 0.75 + 0.25 * (seen if n > 1 else 0), rtol=1e-14)


def test_statistics_pass_through_compositions_and_states(team):
    X = ri.Space(ri.Partition(team, (team.size, 1, 1)), (2 * team.size, 3, 4))

    def net():
        return layers.Sequential(
            {"a": layers.Parallel({"norm": layers.BatchNorm(X), "id": layers.Identity(X)}), "b": layers.BatchNorm(X)}
        )

    F, G, x = net(), net(), X.random(2)
    F.statistics = F.linearize(x)[1].new_state
    assert sorted(F.statistics) == ["a.norm.mean", "a.norm.variance", "b.mean", "b.variance"]
    G.load_state(F.state())
    assert np.array_equal(G.frozen()(x), F.frozen()(x)) and not np.array_equal(F.frozen()(x), net().frozen()(x))
    assert F.parameter_count == 12 and sorted(F.frozen().parameters) == sorted(F.parameters)


@pytest.mark.parametrize("layer", [layers.LayerNorm, layers.RMSNorm])
def test_of_sharded_weights_each_rank_owns_a_part(team, layer):
    X = ri.Space(ri.Partition(team, (team.size, 1)), (team.size, 13))
    F = layer(X, sharded=True)
    for name, space in F.parameter_spaces.items():
        sizes = [b - a for a, b in ri.blocks(13, team.size)]
        assert space.shape == (13,) and ri.wire.pool(team, F.parameters[name].shape) == [(n,) for n in sizes]


@pytest.mark.mpi(min_size=2)
def test_statistics_of_each_block_alone_are_rejected(team):
    X = ri.Space(ri.Partition(team, (1, 1, team.size)), (2, 2, 3 * team.size))
    x = X.random(1)
    block = to_host(x)
    alone = (block - block.mean(axis=-1, keepdims=True)) / np.sqrt(block.var(axis=-1, keepdims=True) + EPS)
    assert X.norm(layers.LayerNorm(X)(x) - X.adopt(alone)) > 0.01


@pytest.mark.parametrize("name", MAKERS)
def test_adjoints_that_take_the_statistics_for_constants_or_forget_a_gradient_are_rejected(team, name):
    X = ri.Space(ri.Partition(team, (*GRIDS[team.size], 1)), (4, 3, 6))
    F, x = MAKERS[name](X), X.random(1)
    F = F if name == "frozen" else trained(F)
    _, J = F.linearize(x)
    w = F.spread.forward(F.parameters["w"]) if F.parameters else 1.0
    m = F.mean(x) if F.centred else 0.0
    r = 1 / namespace(x).sqrt(F.mean((x - m) ** 2) + EPS)
    constant = lambda dy: (r * w * dy, J.adjoint(dy)[1])  # for the frozen norm: those of the batch instead of its own
    forgotten = lambda dy: (J.adjoint(dy)[0], {k: 0 * g for k, g in J.adjoint(dy)[1].items()})
    for wrong in (constant, forgotten) if F.parameters else (constant,):
        assert not verify.dot_test(Planted(J, wrong), chain=8)


def test_norms_of_nothing_or_of_complex_numbers_are_refused(team):
    P = ri.Partition(team, (1, 1, 1))
    assert "with numbers along the axes" in same_text(team, lambda: layers.BatchNorm(ri.Space(P, (0, 3, 4))))
    assert "expected a real space" in same_text(team, lambda: layers.RMSNorm(ri.Space(P, (2, 3, 4), "complex64")))
    assert "different axes of a tensor of 2" in same_text(
        team, lambda: layers.InstanceNorm(ri.Space(ri.Partition(team, (1,)), (2, 3)))
    )
