"""The weights that dfno stores, on one rank or several, are read as those of our FNO, which is then the same network."""

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from theorems import GRIDS, library_or_skip, relative, same_text, whole

import refimpl as ri
from refimpl import wire
from refimpl.models import FNO, dfno_weights, load_dfno, load_neural_operator
from refimpl.partition import blocks

DFNO = Path(__file__).resolve().parents[1] / "../shared/data/dfno_small_float64.npz"
SHAPE, MODES, TIMESTEPS = (2, 3, 6, 5, 4, 2), (2, 1, 2, 3), 5


def as_dfno(weights, modes, counts=None):
    """The state dicts of dfno's ranks, whose kept frequencies lie in ``counts`` blocks along each axis."""
    counts, states = counts or (1,) * len(modes), []
    names = {"time": "linear1", "lift.linear": "linear2", "head.project": "linear3", "head.out": "linear4"}
    for place in np.ndindex(*counts):
        state = {"bn1.gamma": np.ones(3)}  # never used there
        for name, w in weights.items():
            node, _, key = name.rpartition(".")
            block = node.partition(".")[0][5:]
            if node in names:
                state[f"{names[node]}.{key}"] = w if key == "W" else w.reshape(-1, *[1] * len(modes))
            elif key == "W":
                state[f"blocks.{block}.linear.W"] = w
            else:
                for i, corner in enumerate(corners(w, modes, counts, place)):
                    state[f"blocks.{block}.weights.{i}"] = corner
        if states:  # all but the corners is on the first rank only
            state = {name: w if ".weights." in name else np.zeros(0, w.dtype) for name, w in state.items()}
        states.append(state)
    return states


def corners(R, modes, counts, place):
    """The corners that are not empty on one rank; the first axis changes fastest."""
    rows = []
    for axis, (m, count, i) in enumerate(zip(modes, counts, place, strict=True)):
        start, stop = blocks(R.shape[axis], count)[i]
        mine = np.arange(start, stop)
        rows.append([mine[mine < m], mine[mine >= m]])
    rows[-1] = [np.concatenate(rows[-1])]  # of the real axis there are low ones only
    for halves in product(*rows[::-1]):
        if all(len(half) for half in halves):
            yield np.moveaxis(R[np.ix_(*halves[::-1])], (-2, -1), (0, 1))


def alone(shape):
    return ri.Space(ri.Partition(wire.mpi().COMM_SELF, (1,)), shape)


def model(team, **options):
    X = ri.Space(ri.Partition(team, (GRIDS[team.size][0], 1, 1, GRIDS[team.size][1])), SHAPE)
    return FNO(X, 3, MODES, blocks=2, out_timesteps=TIMESTEPS, hidden=4, **options)


@pytest.mark.parametrize(
    "grid, counts",
    {
        None: (1, 1, 1, 1),
        (1, 1, 1, 1, 1, 1): (1, 1, 1, 1),
        (1, 1, 2, 1, 1, 1): (1, 1, 2, 1),
        (1, 1, 1, 2, 1, 1): (1, 1, 1, 2),
        (1, 1, 3, 2, 1, 1): (1, 1, 3, 2),
        (1, 1, 2, 1, 2, 1): (1, 1, 4, 1),
    }.items(),
)
def test_what_ranks_of_dfno_have_stored_is_one_set_of_weights(grid, counts):
    weights = FNO(alone(SHAPE), 3, MODES, blocks=2, out_timesteps=TIMESTEPS, hidden=4).state()
    read = dfno_weights(as_dfno(weights, MODES, counts), MODES, grid)
    assert set(read) == set(weights) and all(np.array_equal(w, weights[name]) for name, w in read.items())


def test_two_space_axes_and_time():
    """An odd number of axes: the middle one is not cut."""
    weights = FNO(alone((1, 1, 6, 4, 1)), 2, (3, 2, 2), blocks=1, out_timesteps=4, hidden=3).state()
    read = dfno_weights(as_dfno(weights, (3, 2, 2), (1, 1, 2)), (3, 2, 2), (1, 1, 2, 1, 1))
    assert set(read) == set(weights) and all(np.array_equal(w, weights[name]) for name, w in read.items())


def test_what_is_read_is_given_to_any_partition(team):
    F, G = model(team), model(team, seed=1)
    weights = F.state()
    load_dfno(G, as_dfno(weights, MODES, (1, 1, 2, 1)) if team.rank == 0 else [], (1, 1, 2, 1, 1, 1))
    assert all(team.rank or np.array_equal(w, weights[name]) for name, w in G.state().items())


def test_a_file_of_torch_is_read_on_one_rank_for_all(team, tmp_path):
    torch = library_or_skip(team, "torch")
    F, G = model(team), model(team, seed=1)
    weights = F.state()
    path = wire.at_root(team, lambda: tmp_path / "model.pt")
    if team.rank == 0:
        torch.save({name: torch.tensor(w) for name, w in as_dfno(weights, MODES)[0].items()}, path)
    load_dfno(G, path)
    assert all(team.rank or np.array_equal(w, weights[name]) for name, w in G.state().items())


@pytest.mark.skipif(not DFNO.exists(), reason="the reference result of dfno (../shared/data) is not here")
def test_it_is_the_network_of_dfno(team):
    data = np.load(DFNO)
    config = json.loads(str(data["config"]))
    X = ri.Space(ri.Partition(team, (GRIDS[team.size][0], 1, 1, GRIDS[team.size][1])), data["x"].shape)
    F = FNO(X, config["width"], config["modes"], config["blocks"], out_timesteps=config["nt"])
    weights, exact = (stored(data, kind, config["modes"]) for kind in "wg")
    load_dfno(F, weights)
    root = team.rank == 0
    y, J = F.linearize(X.scatter(data["x"] if root else None))
    dx, mine = J.adjoint(F.range.scatter(data["dy"] if root else None))
    assert relative(whole(F.range, y), data["y"]) < 1e-14
    assert relative(whole(X, dx), data["dx"]) < 1e-14
    exact = dfno_weights(exact, config["modes"])
    gaps = {name: relative(whole(F.parameter_spaces[name], g), exact[name]) for name, g in mine.items()}
    assert max(gaps.values()) < 2e-14, gaps


def stored(data, kind, modes):
    """The weights "w" or the gradients "g" of the file, as dfno's state dict."""
    state = {}
    for name in data.files:
        if name.startswith(f"{kind}/"):
            name, array = name[2:].replace("block", "blocks."), data[name]
            if name.endswith(".R"):
                R = np.moveaxis(array, (0, 1), (-2, -1))
                one = (1,) * len(modes)
                state |= {
                    f"{name[:-2]}.weights.{i}": c for i, c in enumerate(corners(R, modes, one, (0,) * len(modes)))
                }
            else:
                state[name] = array
    return state


def test_what_does_not_fit_is_refused_by_all_ranks_alike(team):
    F, root = model(team), team.rank == 0
    weights = F.state()
    states = as_dfno(weights, MODES) if root else []
    state = states[0] if root else {}
    turned = {name: w[..., :1] if name == "blocks.0.weights.3" else w for name, w in state.items()}
    without = {name: w for name, w in state.items() if name != "linear3.b"}
    single = {name: w.astype("c8" if w.dtype.kind == "c" else "f4") for name, w in state.items()}
    for text, call in {
        "linear3.b is missing in the state dict of rank 0": lambda: load_dfno(F, without),
        "foo in the state dict of rank 0 has no place": lambda: load_dfno(F, state | {"foo": np.ones(2)}),
        "blocks.0.weights.8 in the state dict of rank 0 has no place": lambda: load_dfno(
            F, state | {"blocks.0.weights.8": np.ones(2)}
        ),
        "blocks.0.weights.0 in the state dict of rank 0 has the shape ()": lambda: load_dfno(
            F, state | {"blocks.0.weights.0": np.ones(())}
        ),
        "blocks.0.weights.1 in the state dict of rank 0 has the shape (3, 3, 2, 1, 2, 3) and type float64": lambda: (
            load_dfno(F, {name: w.real if name == "blocks.0.weights.1" else w for name, w in state.items()})
        ),
        "time.W: expected float64[5, 2], got float32[5, 2]; give the space the dtype": lambda: load_dfno(F, single),
        "lift.linear.b: expected float64[3], got float64[2]; give the model the options": lambda: load_dfno(
            F, state | {"linear2.b": np.ones(2)}
        ),
        "a dict of arrays by name, or a file, got NoneType": lambda: load_dfno(F, None),
        "blocks.0.weights.3 in the state dict of rank 0 has the shape": lambda: load_dfno(F, turned),
        "expected 2 state dicts for the grid (1, 1, 2, 1, 1, 1), got 1": lambda: load_dfno(
            F, states, (1, 1, 2, 1, 1, 1)
        ),
        "does not cut batch or channels, got (2, 1, 1, 1, 1, 1)": lambda: load_dfno(F, states, (2, 1, 1, 1, 1, 1)),
        "nor axis 3, got (1, 1, 1, 2, 1)": lambda: dfno_weights([], (2, 2, 2), (1, 1, 1, 2, 1)),
    }.items():
        assert text in same_text(team, call)
    expected = {
        "load_neural_operator: expected a NeuralOperator, got FNO": F,
        "load_dfno: expected an FNO, got ChannelMLP": F.layers["lift"],
    }
    for text, layer in expected.items():
        load = load_dfno if "dfno" in text else load_neural_operator
        assert text in same_text(team, lambda load=load, layer=layer: load(layer, {}), kind=TypeError)
    assert "nowhere.pt" in same_text(team, lambda: load_dfno(F, "nowhere.pt"), kind=(RuntimeError, OSError))
