"""NeuralOperator is the same map on any number of ranks, whatever its options, and reads what neuraloperator stores.

That it is neuraloperator's network is tested where that is installed, in test_torch_neural_operator.py.
"""

import numpy as np
import pytest
from theorems import GRIDS, Planted, assert_derivative_is_honest, same_text

import refimpl as ri
from refimpl import verify, wire
from refimpl.models import NeuralOperator, load_neural_operator, neural_operator_weights

OPTIONS = {
    "default": {},
    "padded": dict(domain_padding=0.3),
    "padded, other skips": dict(domain_padding=0.3, fno_skip="soft-gating", channel_mlp_skip="linear"),
    "padded on one axis": dict(domain_padding=[0.0, 0.2], norm="group_norm"),
    "instance norm, other skips": dict(norm="instance_norm", fno_skip="soft-gating", channel_mlp_skip="linear"),
    "batch norm, no skips": dict(norm="batch_norm", fno_skip=None, channel_mlp_skip=None),
    "complex": {},
    "scaled": dict(resolution_scaling_factor=[1.5, 1], output_shape=[None, (9, 5)], norm="group_norm"),
    "padded and scaled": dict(domain_padding=0.2, resolution_scaling_factor=[2, 0.5], fno_skip="identity"),
    "complex, padded, other skips": dict(
        domain_padding=0.2, norm="group_norm", fno_skip="soft-gating", channel_mlp_skip="linear"
    ),
    "plain": dict(positional_embedding=None, use_channel_mlp=False, fno_skip="identity", lifting_channel_ratio=0),
}
ON_RANKS = (
    "padded, other skips",
    "padded on one axis",
    "instance norm, other skips",
    "batch norm, no skips",
    "complex, padded, other skips",
    "padded and scaled",
)
SHAPE, MODES = (2, 2, 7, 6), (4, 3)


def space(grid, name, comm):
    dtype = "complex128" if "complex" in name else "float64"
    return ri.Space(ri.Partition(comm, grid), SHAPE, dtype, field="real")


def network(X, name, seed=3):
    return NeuralOperator(X, MODES, 4, out_channels=2, n_layers=2, seed=seed, **OPTIONS[name])


def results(X, name):
    """The output, all gradients for a fixed cotangent, what statistics become, and the weights: global arrays on rank 0."""
    F = network(X, name)
    y, J = F.linearize(X.random(1))
    dx, gradients = J.adjoint(F.range.random(2))
    found = {"y": F.range.gather(y), "dx": X.gather(dx)}
    found |= {f"d {name}": F.parameter_spaces[name].gather(g) for name, g in gradients.items()}
    return found | {name: F.statistics_spaces[name].gather(s) for name, s in J.new_state.items()}, F.state()


@pytest.mark.parametrize("name", ON_RANKS)
def test_on_any_grid_it_is_the_network_of_one_rank(team, name):
    a, b = GRIDS[team.size]
    grid = (a, 1, b, 1) if a <= SHAPE[0] else (1, 1, a, b)
    with ri.unchecked():
        mine, weights = results(space(grid, name, team), name)
    if team.rank == 0:
        alone, others = results(space((1,), name, wire.mpi().COMM_SELF), name)
        largest = max(np.max(np.abs(g)) for g in alone.values())
        gaps = {k: np.max(np.abs(mine[k] - v)) / largest for k, v in alone.items()}
        assert max(gaps.values()) <= 1e-12, gaps
        assert all(np.array_equal(weights[k], w) for k, w in others.items())


@pytest.mark.parametrize("name", ON_RANKS[4:])
def test_its_jacobian_is_adjoint_and_sends_what_it_predicts(team, name):
    F = network(space((1, 1, *GRIDS[team.size]), name, team), name)
    assert F.range.shape == SHAPE if "scaled" not in name else (2, 2, 8, 6)
    F.parameters = {k: space.random(5 + i) for i, (k, space) in enumerate(F.parameter_spaces.items())}
    assert_derivative_is_honest(F)


def test_taylor_remainders_fall_with_slope_2(team):
    X = ri.Space(ri.Partition(team, (1, 1, *GRIDS[team.size])), SHAPE)
    assert verify.taylor_test(network(X, "plain"), X.random(1), first=0.02)


def test_an_adjoint_that_takes_the_padding_off_in_the_wrong_place_is_rejected(team):
    X = ri.Space(ri.Partition(team, (1, 1, *GRIDS[team.size])), SHAPE)
    _, J = NeuralOperator(X, MODES, 2, n_layers=1, domain_padding=0.3).linearize(X.random(1))
    shifted = lambda dy: (ri.Shift(X, (0, 0, 1, 0)).forward(J.adjoint(dy)[0]), J.adjoint(dy)[1])
    assert not verify.dot_test(Planted(J, shifted), chain=9)


def test_a_complex_identity_is_one_of_both_parts_through_two_layers(team):
    X = space((1, 1, *GRIDS[team.size]), "complex", team)
    skips = lambda kind: dict(fno_skip=kind, channel_mlp_skip=kind)
    ones, same = (NeuralOperator(X, MODES, 2, n_layers=2, **skips(kind)) for kind in ("soft-gating", "identity"))
    gates = {k for k in ones.parameters if ".skip." in k or ".gate." in k}
    ones.parameters = {k: np.ones_like(w) if k in gates else same.parameters[k] for k, w in ones.parameters.items()}
    assert len(gates) == 8 and set(same.parameters) == set(ones.parameters) - gates
    assert np.allclose(same(X.random(1)), ones(X.random(1)), rtol=1e-13)


# ---- reading -----------------------------------------------------------------------------------------------------------


def as_stored(weights):
    """The weights as neuraloperator names and stores them, written the other way round."""
    state = {"fno_blocks.norm.0.norm.num_batches_tracked": np.array(3)}
    batch = "norm." if any(name.endswith("variance") for name in weights) else ""
    suffixes = {"W": "weight", "b": "bias", "w": "weight", "mean": "running_mean", "variance": "running_var", "R": ""}
    for name, w in weights.items():
        *where, key = name.split(".")
        which = "".join(f"{part}." for part in where if part in ("fr", "fi"))
        suffix, array = suffixes[key], w[..., None] if key == "W" else w
        if where[0] in ("lifting", "projection"):
            state[f"{where[0]}.{which}fcs.{where[-1][-1]}.{suffix}"] = array
            continue
        k, kind = int(where[0][5:]), where[1]
        if kind == "spectral":
            half = w.shape[0] // 2
            centred = np.concatenate([w[w.shape[0] - half :], w[: w.shape[0] - half]])
            state[f"fno_blocks.convs.{k}.weight.tensor"] = np.moveaxis(centred, (-2, -1), (0, 1))
        elif kind == "bias":
            state[f"fno_blocks.convs.{k}.bias"] = w.reshape(-1, 1, 1)
        elif kind in ("skip", "gate"):
            at = f"fno_blocks.{'fno_skips' if kind == 'skip' else 'channel_mlp_skips'}.{k}.{which}"
            state |= {f"{at}conv.weight": array} if key == "W" else {f"{at}weight": w.reshape(1, -1, 1, 1)}
        elif kind == "mlp":
            state[f"fno_blocks.channel_mlp.{k}.{which}fcs.{where[-1][-1]}.{suffix}"] = array
        else:
            state[f"fno_blocks.norm.{2 * k + int(kind[4:])}.{which}{batch}{suffix}"] = w
    return state


@pytest.mark.parametrize("name", OPTIONS)
def test_what_neuraloperator_stores_is_read(name):
    weights = network(space((1,), name, wire.mpi().COMM_SELF), name).state()
    read = neural_operator_weights(as_stored(weights))
    assert set(read) == set(weights) and all(np.array_equal(w, weights[k]) for k, w in read.items())


def test_what_is_read_is_given_to_any_partition(team):
    X = space((1, 1, *GRIDS[team.size]), "plain", team)
    F, G = network(X, "plain"), network(X, "plain", seed=9)
    weights = F.state()
    load_neural_operator(G, as_stored(weights) if team.rank == 0 else {})
    for key, w in G.state().items():
        assert team.rank or np.array_equal(w, weights[key]), key


@pytest.mark.parametrize(
    ("options", "sides"),
    [
        (dict(resolution_scaling_factor=np.float32(2)), (28, 24)),
        (dict(resolution_scaling_factor=np.array([2, 0.5])), (7, 6)),
        (dict(resolution_scaling_factor=[[1, 2], [3, 1.5]]), (21, 18)),
        (dict(output_shape=np.array([9, 8])), (9, 8)),
        (dict(output_shape=[(9, np.int64(8)), None], resolution_scaling_factor=0.5), (4, 4)),
        (dict(output_shape=(9, 8), domain_padding=0.5), (9 - 2 * round(4 * 9 / 15), 8 - 2 * round(3 * 8 / 12))),
    ],
)
def test_a_factor_or_a_shape_says_how_many_points_there_are(options, sides):
    X = ri.Space(ri.Partition(wire.mpi().COMM_SELF, (1,)), (1, 1, 7, 6))
    assert NeuralOperator(X, (4, 3), 2, n_layers=2, **options).range.shape == (1, 1, *sides)


def test_on_a_grid_too_coarse_for_its_modes_a_block_has_the_middle_of_what_is_stored(team):
    """As there: of the frequencies -2 .. 1, those at -2, -1, 0 then act on -1, 0, 1."""
    P = ri.Partition(team, (1, 1, team.size, 1))
    make = lambda sides: NeuralOperator(ri.Space(P, (1, 1, *sides)), (4, 6), 4, n_layers=1)
    fine, coarse = make((8, 8)), make((3, 4))
    weights = fine.state()
    load_neural_operator(coarse, as_stored(weights) if team.rank == 0 else {})
    assert fine.parameter_spaces["block0.spectral.R"].shape == (4, 4, 4, 4)
    R = coarse.state()["block0.spectral.R"]
    assert team.rank or np.array_equal(R, weights["block0.spectral.R"][[3, 0, 2], :3])


def test_what_does_not_fit_is_refused_by_all_ranks_alike(team):
    X = ri.Space(ri.Partition(team, (1, 1, team.size)), SHAPE)
    F, root = network(X, "default"), team.rank == 0
    weights = F.state()
    state = as_stored(weights) if root else {}
    unknown = {**state, "fno_blocks.convs.0.weight.core": np.ones(3)}
    fewer = {name: w for name, w in state.items() if name != "lifting.fcs.1.bias"}
    turned = {name: w[:, :, ::2] if "convs.1.weight" in name else w for name, w in state.items()}
    make = lambda *arguments, **options: lambda: NeuralOperator(X, *arguments, **options)
    for text, call in {
        "convs.0.weight.core in the state dict is no weight": lambda: load_neural_operator(F, unknown),
        "lifting.fc1.b is missing": lambda: load_neural_operator(F, fewer),
        "expected complex128[4, 2, 4, 4], got complex128[2, 2, 4, 4]": lambda: load_neural_operator(F, turned),
        "need a tensor (batch, channels, 3 axes)": make((4, 3, 2), 4),
        "got Space(complex64[2, 2, 7, 6]": lambda: NeuralOperator(X.replace(dtype="complex64"), MODES, 4),
        "expected layers without statistics": lambda: NeuralOperator(
            X.replace(dtype="complex64", field="real"), MODES, 4, norm="batch_norm"
        ),
        "at least one of all channels": make((4, 3), 0),
        "at least one of all channels, layers and modes": make((4, 0), 4),
        "expected whole numbers, got (4.5, 3)": make((4.5, 3), 4),
        "of 1 modes on 7 points, none is left on the 6": make((1, 3), 4, output_shape=[(6, 6)] * 4),
        "at least one point after each layer, got [(4, 3), (2, 2), (1, 1), (0, 0)]": make(
            (4, 3), 4, resolution_scaling_factor=0.5
        ),
        "one for each of 4 layers, or 2 for each, got [1, 2]": make((4, 3), 4, resolution_scaling_factor=[1, 2]),
        "factor > 0, or one for each of 4 layers, or 2 for each, got -1": make((4, 3), 4, resolution_scaling_factor=-1),
        "or 2 for each, got inf": make((4, 3), 4, resolution_scaling_factor=np.inf),
        "an output_shape of 2 sizes, or one (or None) for each of 4 layers, got (6,)": make(
            (4, 3), 4, output_shape=(6,)
        ),
        "for each of 4 layers, got [(6, 6), None]": make((4, 3), 4, output_shape=[(6, 6), None]),
        "expected whole numbers, got 6": make((4, 3), 4, output_shape=6),
        "nothing is left of (2, 2) points without (1, 0)": make(
            (4, 3), 4, domain_padding=0.5, n_layers=1, output_shape=(2, 2)
        ),
        "expected a skip of 'linear'": make((4, 3), 4, fno_skip="soft"),
        "got 'grid' and 'layer'": make((4, 3), 4, norm="layer"),
        "got 'sine' and None": make((4, 3), 4, positional_embedding="sine"),
        "or one for each of 2 axes, got [0.1]": make((4, 3), 4, domain_padding=[0.1]),
        "got -0.1": make((4, 3), 4, domain_padding=-0.1),
        "expected a finite domain_padding >= 0, or one for each of 2 axes, got inf": make(
            (4, 3), 4, domain_padding=np.inf
        ),
        "got [0.1, nan]": make((4, 3), 4, domain_padding=[0.1, np.nan]),
        "layers, or 2 for each, got [[0.5, nan]]": make(
            (4, 3), 4, n_layers=1, resolution_scaling_factor=[[0.5, np.nan]]
        ),
        "expected a finite lifting_channel_ratio, got nan": make((4, 3), 4, lifting_channel_ratio=np.nan),
        "expected a finite channel_mlp_expansion, got inf": make((4, 3), 4, channel_mlp_expansion=np.inf),
    }.items():
        assert text in same_text(team, call)
    if team.size > 1:
        cut = ri.Space(ri.Partition(team, (1, team.size)), (2, team.size, 6, 6))
        assert "whole" in same_text(team, lambda: NeuralOperator(cut, (4, 3), 4))
