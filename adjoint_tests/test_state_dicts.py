"""State dicts and files that are damaged, or no state dict, are refused by name, with the same error on all ranks."""

import pickle

import numpy as np
import pytest
from theorems import library_or_skip, same_text

import refimpl as ri
from refimpl import wire
from refimpl.models import FNO, NeuralOperator, load_dfno, load_neural_operator

WEIGHT = "lifting.fcs.0.weight"
MATRIX = {WEIGHT: np.ones((8, 3, 1))}
NOT_STATES = {  # and what the error says
    "an integer key": ({1: np.ones(2)}, "by name in the state dict, got the key 1"),
    "a state dict inside": ({"model": {WEIGHT: np.ones(2)}}, "got only model; is one of them that dict?"),
    "nothing": ({}, "got an empty one"),
    "NaN": ({WEIGHT: np.array([1, np.nan])}, f"{WEIGHT} in the state dict: expected finite numbers, got 1 "),
    "infinite": ({WEIGHT: np.array([1j, np.inf])}, f"{WEIGHT} in the state dict: expected finite numbers, got 1 "),
    "words": ({WEIGHT: np.array(["a"])}, f"{WEIGHT} in the state dict: expected numbers, got <U1"),
    "a number for a matrix": ({"fno_blocks.convs.0.weight": np.ones(())}, "has the shape ()"),
    "a wide kernel": ({WEIGHT: np.ones((8, 3, 5))}, f"{WEIGHT} in the state dict has the shape (8, 3, 5)"),
    "another network": ({"module.weight": np.ones(2)}, "module.weight in the state dict is no weight of a dense FNO"),
    "an option that ours has not": (
        MATRIX | {"_metadata": {"stabilizer": "tanh"}},
        "stabilizer = 'tanh', our model has None",
    ),
    "another option": (MATRIX | {"_metadata": {"domain_padding": 0.2}}, "domain_padding = 0.2, our model has None"),
    "an option by position": (MATRIX | {"_metadata": {"args": ((4, 4), 1, 1, 4, 2)}}, "n_layers = 2, our model has 1"),
    "an option of no kind": (MATRIX | {"_metadata": {"domain_padding": "wide"}}, "domain_padding = 'wide', our model"),
    "few weights": (MATRIX, "from the state dict: block0.bias.b is missing (and "),
}
FILES = {
    "empty": (b"", "not whole"),
    "junk": (b"hello world" * 100, "not whole"),
    "short": (b"PK", "not whole"),
    "a pickle": (pickle.dumps({WEIGHT: [1.0]}), "not whole"),
    "code": (b"cos\nsystem\n(S'touch ran'\ntR.", "bad.pt"),
}


def operator(team):
    return NeuralOperator(ri.Space(ri.Partition(team, (1, 1, team.size)), (1, 1, 6, 6)), (4, 4), 4, n_layers=1)


@pytest.mark.parametrize("name", NOT_STATES)
def test_what_is_no_state_dict_of_the_network_is_refused(team, name):
    state, text = NOT_STATES[name]
    assert text in same_text(team, lambda: load_neural_operator(operator(team), state if team.rank == 0 else None))


def test_a_file_of_numpy_is_told_apart(team):
    text = same_text(team, lambda: load_neural_operator(operator(team), "no.npz"))
    assert 'no.npz is a file of NumPy: give numpy.load("no.npz")' in text


@pytest.mark.parametrize("name", FILES)
def test_what_is_no_file_of_torch_is_refused_and_never_run(team, tmp_path, monkeypatch, name):
    library_or_skip(team, "torch")
    content, text = FILES[name]
    path = wire.at_root(team, lambda: tmp_path / "bad.pt")
    monkeypatch.chdir(path.parent)
    wire.at_root(team, lambda: path.write_bytes(content))
    message = same_text(team, lambda: load_neural_operator(operator(team), path))
    assert text in message and "bad.pt" in message and not (path.parent / "ran").exists()


def test_what_is_damaged_or_of_a_type_that_numpy_has_not_is_refused(team, tmp_path):
    torch = library_or_skip(team, "torch")
    path = wire.at_root(team, lambda: tmp_path / "bad.pt")
    wire.at_root(team, lambda: torch.save({WEIGHT: torch.ones(100)}, path))
    whole = wire.at_root(team, path.read_bytes)
    at = whole.index(np.ones(100, "float32").tobytes())
    for content in (whole[: len(whole) // 2], whole[:at] + b"\1" + whole[at + 1 :]):
        wire.at_root(team, lambda content=content: path.write_bytes(content))
        message = same_text(team, lambda: load_neural_operator(operator(team), path))
        assert "bad.pt is no state dict of torch.save, or not whole" in message
    wire.at_root(team, lambda: torch.save({WEIGHT: torch.ones(2, dtype=torch.bfloat16)}, path))
    message = same_text(team, lambda: load_neural_operator(operator(team), path))
    assert f"{WEIGHT} in {path}: NumPy has no torch.bfloat16; store it in another" in message
    wire.at_root(team, lambda: torch.save(torch.ones(2), path))
    assert "got Tensor" in same_text(team, lambda: load_neural_operator(operator(team), path))


def test_what_the_system_cannot_read_is_an_os_error(team, tmp_path):
    library_or_skip(team, "torch")
    folder = wire.at_root(team, lambda: tmp_path)
    for path in (folder, folder / "nowhere.pt"):
        assert path.name in same_text(team, lambda path=path: load_dfno(small_fno(team), path), kind=OSError)


def small_fno(team):
    return FNO(ri.Space(ri.Partition(team, (1, 1, team.size)), (1, 1, 6, 6)), 2, (2, 2), blocks=1)
