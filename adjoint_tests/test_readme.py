"""The README's programs run as they stand, on the four ranks that they are written for."""

import re
from pathlib import Path

import numpy as np
import pytest
from test_dfno_state import as_dfno
from theorems import library_or_skip

from refimpl import wire

README = Path(__file__).parents[1] / "README.md"
PROGRAMS = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)


def run(team, *programs):
    """What the programs define, one after the other; the team is their world."""
    names = {"team": team}
    for program in programs:
        exec(program.replace("MPI.COMM_WORLD", "team"), names)
    return names


def test_the_page_runs(team, capsys):
    if team.size != 4:
        pytest.skip("it is written for 4 ranks")
    assert run(team, PROGRAMS[0])["gradients"]
    assert "passed" in capsys.readouterr().out


def test_what_others_have_trained_runs(team, tmp_path, monkeypatch):
    if team.size != 4:
        pytest.skip("it is written for 4 ranks")
    torch, theirs = (library_or_skip(team, name) for name in ("torch", "neuralop.models"))
    folder = wire.at_root(team, lambda: tmp_path)
    monkeypatch.chdir(folder)
    wire.at_root(team, lambda: torch.save(theirs.FNO((24, 24), 3, 1, 32).state_dict(), "neuraloperator.pt"))
    wire.at_root(team, lambda: [torch.save(state, f"dfno_rank{r}.pt") for r, state in enumerate(dfno_states(torch))])
    names = run(team, "import refimpl as ri", PROGRAMS[1])
    assert all(np.all(w == 0.5) for w in names["D"].parameters.values())


def test_a_simulator_has_the_adjoint_that_is_shown(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(PROGRAMS[2], names)
    assert len(names["run"].steps) == 11
    assert set(names["gradients"]) == {"permeability", "porosity", "multiplier", "rate"}


def dfno_states(torch):
    """What four ranks of dfno store: tensors of one number, in the shapes of README's network."""
    shapes = {"time": (16, 1), "lift.linear": (20, 2), "head.project": (128, 20), "head.out": (1, 128)}
    weights = {f"{node}.W": np.full(shape, 0.5, "float32") for node, shape in shapes.items()}
    weights |= {f"{node}.b": np.full(shape[:1], 0.5, "float32") for node, shape in shapes.items()}
    for k in range(4):
        weights[f"block{k}.linear.W"] = np.full((20, 20), 0.5, "float32")
        weights[f"block{k}.spectral.R"] = np.full((8, 8, 8, 4, 20, 20), 0.5, "complex64")
    for state in as_dfno(weights, (4, 4, 4, 4), (1, 1, 2, 2)):
        yield {
            name: torch.from_numpy(np.array(w, w.dtype if w.dtype.kind == "c" else "float32"))
            for name, w in state.items()
        }
