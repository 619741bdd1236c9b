"""NeuralOperator, on any number of ranks, is neuraloperator's FNO with the same weights: its value and all its gradients.

There, spectra are held in single precision whatever the data are; where the comparison is in float64, the name of that type
means double precision for the test. Without neuraloperator, the file is skipped.
"""

from functools import partial

import numpy as np
import pytest
from theorems import GRIDS, library_or_skip, relative, same_text, whole

import refimpl as ri
from refimpl import wire
from refimpl.models import NeuralOperator, load_neural_operator, neural_operator_weights
from refimpl.models.neural_operator_grids import spectrum
from refimpl.models.neural_operator_state import used

torch = library_or_skip(ri.wire.world(), "torch")
theirs = library_or_skip(ri.wire.world(), "neuralop.models")
complex_there = library_or_skip(ri.wire.world(), "neuralop.layers.complex")
torch.set_num_threads(1)
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")

TOLERANCE = {"float64": 1e-10, "float32": 1e-5}  # relative to the largest entry
# gradients that cancel, as of a bias before a norm, have the round-off of larger ones: how small they may be, of the largest
SMALL = {"float64": 1e-3, "float32": 1.0}


@pytest.fixture(params=["float64", "float32"])
def dtype(request, monkeypatch):
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, request.param))
    if request.param == "float64":
        monkeypatch.setattr(torch, "cfloat", torch.cdouble)
        monkeypatch.setattr(complex_there.apply_complex, "__defaults__", (torch.cdouble,))
        monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    yield request.param
    torch.set_default_dtype(before)


def pair(team, dtype, shape, cut, **options):
    """Ours with the weights of theirs, which have been drawn from a seed, and theirs."""
    torch.manual_seed(1)
    call = {k: v for k, v in options.items() if k == "output_shape"}
    there = theirs.FNO(in_channels=shape[1], **{k: v for k, v in options.items() if k not in call})
    there.forward = partial(there.forward, **call)
    cuts = [cut.index(i) if i in cut else None for i in range(len(shape))]
    if options.pop("complex_data", False):
        dtype = {"float64": "complex128", "float32": "complex64"}[dtype]
    X = ri.Space(ri.Partition(team, GRIDS[team.size]), shape, dtype, cuts=cuts, field="real")
    here = NeuralOperator(X, **options)
    load_neural_operator(here, arrays(there.state_dict()))
    return here, there


def arrays(state):
    return {name: w.detach().numpy() for name, w in state.items() if name != "_metadata"}


def gaps(here, there):
    """How far the value, each gradient and the running statistics differ."""
    x, dy = here.domain.random(1), here.range.random(2)
    (y, J), h = here.linearize(x), torch.tensor(whole(here.domain, x), requires_grad=True)
    value, names = there(h), [name for name, _ in there.named_parameters()]
    exact = torch.autograd.grad(value, [h, *there.parameters()], torch.tensor(whole(here.range, dy)))
    dx, gradients = J.adjoint(dy)
    expected = used(here, neural_operator_weights(dict(zip(names, (g.numpy() for g in exact[1:]), strict=True))))
    assert set(expected) == set(gradients)
    found = {"value": relative(whole(here.range, y), value.detach()), "x": relative(whole(here.domain, dx), exact[0])}
    sizes = {name: np.max(np.abs(g)) for name, g in expected.items()}
    least = SMALL[np.zeros(0, here.domain.dtype).real.dtype.name] * max(sizes.values())
    for name, g in gradients.items():
        gap = np.max(np.abs(whole(here.parameter_spaces[name], g) - expected[name]))
        found[name] = gap / max(sizes[name], least)
    statistics = neural_operator_weights(arrays(there.state_dict()))
    for name, new in J.new_state.items():
        found[name] = relative(whole(here.statistics_spaces[name], new), statistics[name])
    return found


def plain(n_modes, **options):
    return dict(n_modes=n_modes, hidden_channels=4, out_channels=2, n_layers=2) | options


CASES = {  # shape, the two axes that are cut, options
    "1-d": ((2, 1, 10), (0, 2), plain((6,))),
    "1-d, odd": ((2, 1, 9), (0, 2), plain((5,))),
    "2-d": ((2, 2, 8, 6), (2, 3), plain((4, 4))),
    "2-d, odd": ((2, 1, 7, 9), (2, 3), plain((4, 5))),
    "2-d, odd numbers of modes": ((1, 1, 8, 8), (2, 3), plain((5, 3))),
    "2-d, odd sizes and numbers of modes": ((1, 1, 9, 7), (2, 3), plain((5, 3))),
    "2-d, all modes": ((1, 2, 6, 8), (2, 3), plain((6, 8))),
    "2-d, all modes, odd": ((1, 2, 7, 5), (2, 3), plain((7, 5))),
    "3-d": ((2, 1, 6, 4, 6), (0, 3), plain((4, 2, 4))),
    "3-d, odd": ((1, 1, 5, 6, 7), (2, 4), plain((3, 4, 3))),
    "soft-gating and linear": ((2, 1, 8, 6), (2, 3), plain((4, 4), fno_skip="soft-gating", channel_mlp_skip="linear")),
    "identity": ((2, 1, 8, 6), (0, 2), plain((4, 4), fno_skip="identity", channel_mlp_skip="identity")),
    "no skips": ((2, 1, 8, 6), (0, 2), plain((4, 4), fno_skip=None, channel_mlp_skip=None)),
    "no channel MLPs": ((2, 1, 8, 6), (0, 2), plain((4, 4), use_channel_mlp=False)),
    "no positions, other ratios": (
        (2, 3, 8, 6),
        (0, 2),
        plain((4, 4), positional_embedding=None, lifting_channel_ratio=0, projection_channel_ratio=3),
    ),
    "instance norm": ((2, 1, 8, 6), (2, 3), plain((4, 4), norm="instance_norm")),
    "group norm": ((2, 1, 8, 6), (2, 3), plain((4, 4), norm="group_norm")),
    "batch norm": ((3, 1, 8, 6), (0, 2), plain((4, 4), norm="batch_norm")),
    "padding": ((2, 1, 8, 6), (2, 3), plain((4, 4), domain_padding=0.2)),
    "padding of one axis, to an odd length": ((2, 1, 7, 6), (2, 3), plain((4, 4), domain_padding=[0.0, 0.25])),
    "complex, 1-d": ((2, 1, 9), (0, 2), plain((4,), complex_data=True)),
    "complex, 2-d": ((2, 1, 8, 6), (2, 3), plain((4, 3), complex_data=True, norm="group_norm")),
    "complex, 2-d, odd, all modes": ((1, 2, 5, 7), (2, 3), plain((5, 7), complex_data=True, domain_padding=0.2)),
    "complex, 3-d, other skips": (
        (1, 1, 4, 5, 6),
        (2, 3),
        plain((4, 3, 4), complex_data=True, fno_skip="soft-gating", channel_mlp_skip=None, norm="instance_norm"),
    ),
    "complex, identity": (
        (1, 1, 6, 5),
        (2, 3),
        plain((4, 3), complex_data=True, fno_skip="identity", channel_mlp_skip="identity"),
    ),
    "more modes than points": ((1, 1, 5, 6), (2, 3), plain((8, 9))),
    "more modes than points, one odd": ((1, 1, 6, 5), (2, 3), plain((9, 8), domain_padding=[0.0, 0.2])),
    "more modes than points, complex": ((1, 1, 5, 4), (2, 3), plain((8, 7), complex_data=True)),
    "more modes than points, complex, 1-d": ((1, 1, 5), (0, 2), plain((8,), complex_data=True)),
    "1-d, to twice the points": ((2, 1, 9), (0, 2), plain((5,), resolution_scaling_factor=2)),
    "1-d, to fewer points": ((2, 1, 10), (0, 2), plain((6,), resolution_scaling_factor=0.5, fno_skip="identity")),
    "2-d, to twice the points": ((2, 1, 6, 5), (2, 3), plain((4, 4), resolution_scaling_factor=2)),
    "2-d, to fewer points": ((1, 1, 12, 9), (2, 3), plain((4, 4), resolution_scaling_factor=0.5)),
    "2-d, to more and then fewer": (
        (1, 1, 7, 6),
        (2, 3),
        plain((4, 4), resolution_scaling_factor=[1.5, 0.7], channel_mlp_skip="linear"),
    ),
    "2-d, a factor for each layer and axis": (
        (1, 1, 6, 8),
        (0, 3),
        plain((4, 3), resolution_scaling_factor=[[2.0, 1.0], [1.0, 0.5]], fno_skip="soft-gating"),
    ),
    "2-d, to a shape": ((2, 1, 6, 5), (2, 3), plain((4, 4), output_shape=(9, 11))),
    "2-d, a shape for each layer": (
        (2, 1, 6, 5),
        (2, 3),
        plain((4, 4), output_shape=[(5, 8), None], resolution_scaling_factor=[3, 2], channel_mlp_skip=None),
    ),
    "2-d, padded and scaled": (
        (1, 1, 8, 6),
        (2, 3),
        plain((4, 4), n_layers=1, domain_padding=0.25, resolution_scaling_factor=1.5),
    ),
    "complex, without skips, scaled": (
        (1, 1, 6, 5),
        (2, 3),
        plain((4, 3), complex_data=True, fno_skip=None, channel_mlp_skip=None, resolution_scaling_factor=[2, 0.5]),
    ),
    "3-d, to more points": ((1, 1, 4, 5, 6), (2, 3), plain((4, 3, 4), resolution_scaling_factor=1.5)),
    "3-d, to fewer points": ((1, 1, 8, 5, 6), (2, 4), plain((4, 4, 4), resolution_scaling_factor=[0.6, 1.0])),
    "3-d, to a shape": ((1, 1, 5, 5, 4), (2, 3), plain((4, 3, 4), output_shape=(7, 5, 9))),
    "padding in 3-d, four layers": ((1, 1, 6, 5, 4), (2, 3), plain((4, 3, 4), domain_padding=0.25, n_layers=4)),
}


@pytest.mark.parametrize("name", CASES)
def test_value_and_gradients_are_those_of_neuraloperator(team, dtype, name):
    shape, cut, options = CASES[name]
    found = gaps(*pair(team, dtype, shape, cut, **options))
    assert max(found.values()) <= TOLERANCE[dtype], found


def test_that_odd_axes_are_shifted_twice_there_is_told_apart(team, dtype, monkeypatch):
    def unmoved(Y, n_modes, sides):
        kept = spectrum(Y, n_modes, sides)
        return kept._replace(onto=kept.modes)

    shape, cut, options = CASES["2-d, odd"]
    monkeypatch.setattr("refimpl.models.neural_operator.spectrum", unmoved)
    assert gaps(*pair(team, dtype, shape, cut, **options))["value"] > 1e-3
    shape, cut, options = CASES["2-d"]
    assert gaps(*pair(team, dtype, shape, cut, **options))["value"] <= TOLERANCE[dtype]


def on_file(team, tmp_path, there):
    """The path of a file with the state dict, as it is."""
    path = wire.at_root(team, lambda: tmp_path / "there.pt")
    wire.at_root(team, lambda: torch.save(there.state_dict(), path))
    return path


def small(team, **options):
    X = ri.Space(ri.Partition(team, (1, 1, team.size)), (1, 1, 6, 6), "float32")
    return NeuralOperator(X, (4, 4), 4, n_layers=1, **options)


def test_state_dicts_and_checkpoints_are_read_from_files_on_one_rank_for_all(team, tmp_path):
    there = theirs.FNO((4, 4), 1, 1, 4, n_layers=1)
    folder = wire.at_root(team, lambda: tmp_path)
    wire.at_root(team, lambda: there.save_checkpoint(folder, "b"))
    expected = wire.at_root(team, lambda: neural_operator_weights(arrays(there.state_dict())))
    for source in (
        on_file(team, tmp_path, there),
        folder / "b_state_dict.pt",
        torch.load(folder / "b_state_dict.pt", weights_only=False) if team.rank == 0 else {},
    ):
        here = small(team, seed=1)
        load_neural_operator(here, source)
        assert all(team.rank or np.array_equal(w, expected[name]) for name, w in here.state().items())


OTHER = {  # options there, what the error says, and those here that mean the same
    "stabilizer": (dict(stabilizer="tanh"), "stabilizer = 'tanh', our model has None", None),
    "non_linearity": (
        dict(non_linearity=torch.nn.functional.relu),
        "non_linearity = 'relu', our model has 'gelu'",
        None,
    ),
    "preactivation": (dict(preactivation=True), "preactivation = True, our model has False", None),
    "separable": (dict(separable=True), "separable = True", None),
    "max_n_modes": (dict(max_n_modes=(6, 4)), "max_n_modes = (6, 4)", None),
    "padding": (dict(domain_padding=0.2), "domain_padding = 0.2, our model has None", dict(domain_padding=[0.2, 0.2])),
    "no padding": (dict(domain_padding=0), None, dict(domain_padding=None)),
    "scaling": (dict(resolution_scaling_factor=2), "factor = 2,", dict(resolution_scaling_factor=[[2, 2]])),
    "norm": (dict(norm="instance_norm"), "norm = 'instance_norm'", dict(norm="instance_norm")),
    "skip": (
        dict(fno_skip="identity", channel_mlp_skip=None),
        "_skip = ",
        dict(fno_skip="identity", channel_mlp_skip=None),
    ),
    "free": (dict(channel_mlp_dropout=0.1, fno_block_precision="mixed"), None, {}),
}


@pytest.mark.parametrize("name", OTHER)
def test_a_state_dict_with_other_options_is_refused(team, tmp_path, name):
    options, text, same = OTHER[name]
    path = on_file(team, tmp_path, theirs.FNO((4, 4), 1, 1, 4, n_layers=1, **options))
    if text:
        message = same_text(team, lambda: load_neural_operator(small(team), path))
        assert text in message and "there.pt" in message
    if same is not None:
        load_neural_operator(small(team, **same), path)


def test_options_that_were_given_by_position_count(team, tmp_path):
    by_position = (4, 4), 1, 1, 4, 1, 2, 2, None
    load_neural_operator(small(team, positional_embedding=None), on_file(team, tmp_path, theirs.FNO(*by_position)))
    text = same_text(team, lambda: load_neural_operator(small(team), on_file(team, tmp_path, theirs.FNO(*by_position))))
    assert "positional_embedding = None, our model has 'grid'" in text


def test_what_a_file_names_and_is_not_known_is_refused_and_never_run(team, tmp_path, monkeypatch):
    path = on_file(team, tmp_path, theirs.FNO((4, 4), 1, 1, 4, n_layers=1, non_linearity=torch.nn.GELU()))
    text = same_text(team, lambda: load_neural_operator(small(team), path))
    assert "there.pt names torch.nn.modules.activation.GELU" in text
    path = on_file(team, tmp_path, theirs.FNO((4, 4), 1, 1, 4, n_layers=1))
    with monkeypatch.context() as older:  # as torch < 2.5 is
        older.delattr(torch.serialization, "safe_globals")
        text = same_text(team, lambda: load_neural_operator(small(team), path))
    assert "take torch >= 2.5, or store numbers alone: torch.save(" in text
    model, folder = theirs.FNO((4, 4), 1, 1, 4, n_layers=1), path.parent
    remedy = text.partition("store numbers alone: ")[2].replace("..", "path")
    wire.at_root(team, lambda: exec(remedy, {"torch": torch, "model": model, "path": folder / "alone.pt"}))
    load_neural_operator(small(team), folder / "alone.pt")
