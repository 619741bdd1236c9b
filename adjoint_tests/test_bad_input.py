"""Theorems about what the simulators refuse: by name and value, before the first step, in one line."""

from __future__ import annotations

import copy
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass, fields, replace
from math import inf, nan

import h5py
import numpy as np
import pytest

from refimpl import wire
from refimpl.cli.launch import environment
from solvers import navier_stokes, two_phase
from solvers.__main__ import main
from solvers.entries import documented
from solvers.navier_stokes import Ball, Flow, simulate
from solvers.navier_stokes.flow import flow_of
from solvers.records import made
from solvers.two_phase import BrooksCorey, Case, Corey, Injector, Producer, StepControl
from solvers.two_phase.case import case_of

# ---- every field, wrong in every way -------------------------------------------------------------------------------------

CAVITY = """
shape = [8, 8]
lengths = [1.0, 1.0]
viscosity = 0.01
end = 1.0
boundaries = ["wall", "wall"]
steps = 50
scheme = "ab2"
force = [0.1, 0.0]
[lids]
y-high = [1.0, 0.0]
"""
STORAGE = """
capillary = [{ entry_pressure = 1e3 }]
control = { first = 1e5, tolerance = 1e-7 }
relative_permeability = [{ exponents = [2.0, 2.0], residuals = [0.2, 0.0], table_points = 33 }]
rock_compressibility = 4.5e-10
density = [1025.0, 700.0]
reference_pressure = 1e7
pressure = 101325.0
"""
SMALLER = two_phase.EXAMPLE.replace("20, 20, 8", "4, 4, 8").replace("[10, 10]", "[1, 1]").replace("[17, 10]", "[3, 1]")
RECORDS = {
    "a flow with a ball": (Flow, tomllib.loads(navier_stokes.EXAMPLE)),
    "a cavity": (Flow, tomllib.loads(CAVITY)),
    "storage": (Case, tomllib.loads(STORAGE + SMALLER)),
}
del RECORDS["storage"][1]["kind"]
WRONG = ["opn", True, nan, -inf, 10**400, 1e30, -1e30, [], [[1.0, 2.0], [3.0]], ["a"], {"colour": "red"}, "no.h5:x"]
ALSO = {"permeability": "k[xyz]", "spacing": "d[xyz]|cell", "cell": "outside the grid", "layers": "outside the grid"}


def places(table, above=()):
    """The paths of all entries of a table and of the tables and lists in it, with their values."""
    for key, value in table.items() if isinstance(table, dict) else enumerate(table):
        yield (*above, key), value
        if isinstance(value, dict | list):
            yield from places(value, (*above, key))


def changed(table, place, value):
    table = copy.deepcopy(table)
    at = table
    for key in place[:-1]:
        at = at[key]
    at[place[-1]] = value
    return table


@pytest.mark.parametrize("name", RECORDS)
def test_a_wrong_value_of_any_field_is_refused_by_name_and_value(name):
    kind, table = RECORDS[name]
    made(kind, table)
    for place, old in places(table):
        for value in WRONG:
            field = [key for key in place if isinstance(key, str)][-1]
            if (value == [] and isinstance(old, list)) or (field, value) == ("first", 1e30):
                continue  # an empty list may be the default, and a first step as long as the run
            with pytest.raises((ValueError, OSError)) as refused:
                made(kind, changed(table, place, value))
                pytest.fail(f"{place} = {value!r} is accepted")
            text = str(refused.value)
            assert type(refused.value) in (ValueError, FileNotFoundError), text
            assert re.search(f"{field}|{ALSO.get(field, field)}", text), (place, value, text)
            assert "got" in text or "outside" in text or "no.h5" in text, (place, value, text)


@pytest.mark.parametrize("name", RECORDS)
def test_an_entry_that_is_not_known_or_missing_is_named(name):
    kind, table = RECORDS[name]
    for place, old in [((), table), *((p, v) for p, v in places(table) if isinstance(v, dict) and "y-high" not in v)]:
        with pytest.raises(ValueError, match="has no entry colour, got 'red'; it may have"):
            made(kind, changed(table, (*place, "colour"), "red"))
        lacking = {"centre", "shape", "end", "entry_pressure", "layers"} & set(old)
        for entry in lacking:
            rest = {key: value for key, value in old.items() if key != entry}
            with pytest.raises(ValueError, match=f"lacks the entry {entry}: a "):
                made(kind, changed(table, place, rest) if place else rest)


IMPLAUSIBLE = [
    (dict(ball=Ball((3.0, 4.1), 1e-6)), r"ball.radius of at least half a cell.* got 1e-06 m"),
    (dict(ball=Ball((3.0, 4.1), 0.5, 1e4)), r"ball.eta, .*about 0.0625 s.*got 10000 s"),
    (dict(ball=Ball((9.8, 4.1), 0.5)), r"the ball, .* fringe, .* from x = 10.2 m on: got ball.centre \(9.8, 4.1\)"),
    (dict(viscosity=1e12), r"viscosity within 1e-10..10000 m2/s .*got 1e\+12"),
    (dict(viscosity=1e4, end=1e9), r"got end = 1e\+09 s, more than 1e\+08 steps; are all numbers in m and s"),
    (dict(end=1e-8), "got end = 1e-08 s, in which nothing moves"),
    (dict(inflow=(1e6, 0.0)), r"\|inflow\| within .* m/s, or 0, got 1e\+06 at index 0"),
    (dict(lengths=(1.2e7, 8.0)), r"lengths within .*got 1.2e\+07 at index 0"),
    (dict(frames=10**6, steps=10**6), "at most 1e.08 steps in all, got 1000000 and 1000000"),
]


@pytest.mark.parametrize("change, reason", IMPLAUSIBLE)
def test_a_flow_in_other_units_is_refused(change, reason):
    with pytest.raises(ValueError, match=f"^Flow: .*{reason}"):
        replace(flow_of(navier_stokes.EXAMPLE), **change)


def test_every_entry_is_documented_and_told(capsys):
    assert main(["entries"]) == 0
    told = capsys.readouterr().out.splitlines()
    for kind in (Flow, Ball, Case, Corey, BrooksCorey, Injector, Producer, StepControl):
        assert list(documented(kind)) == [each.name for each in fields(kind)] and all(documented(kind).values())
        assert {each.name for each in fields(kind)} <= {re.split(" |,", line)[0] for line in told}
    for line in ("[ball]", "eta = 0.001", "shape, needed", "[[wells]]", "bhp = inf", "bhp, needed", "region = 0"):
        assert line in told
    assert not documented(Planted)


@dataclass
class Planted:
    """Its ``field`` is documented in a sentence only."""

    field: int


# ---- the command line ----------------------------------------------------------------------------------------------------


@pytest.fixture
def alone(monkeypatch):
    """Commands in this process, as if no mpiexec were around it."""
    monkeypatch.setattr("solvers.__main__.under_mpi", lambda: False)


def refused(capsys, *arguments):
    """The one line of a command that could not."""
    assert main([str(each) for each in arguments]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith(f"python -m solvers {arguments[0]}: "), lines
    assert lines[0].count("simulate: ") <= 1
    return lines[0]


def test_a_file_that_is_missing_foreign_or_damaged_is_told_with_what_was_expected(tmp_path, capsys, alone):
    case, text, foreign, torn = (tmp_path / name for name in ("case.toml", "text.h5", "foreign.h5", "torn.h5"))
    case.write_text(two_phase.EXAMPLE)
    text.write_text("no HDF5")
    with h5py.File(foreign, "w") as file:
        file["x"] = 1.0
    with h5py.File(torn, "w") as file:
        file.attrs.update({"kind": "two-phase", "case": two_phase.EXAMPLE})
    assert "no file " in refused(capsys, "plot", tmp_path / "none.h5")
    for command in (["plot", text], ["simulate", case, "--resume", "--out", text]):
        assert "text.h5 is no HDF5 file, or damaged" in refused(capsys, *command)
    assert "foreign.h5 is not a complete sample" in refused(capsys, "plot", foreign)
    assert "torn.h5 is not the run of a case" in refused(capsys, "plot", torn)
    assert "foreign.h5 is not a run of this case" in refused(capsys, "simulate", case, "--resume", "--out", foreign)
    assert "No such file" in (told := refused(capsys, "simulate", tmp_path / "no.toml", "--out", tmp_path / "run.h5"))
    assert "Errno" not in told


def test_options_that_would_do_nothing_are_refused(tmp_path, capsys, alone):
    case, out = tmp_path / "case.toml", ["--out", tmp_path / "run.h5"]
    case.write_text(CAVITY)
    for option, value in (
        ("--years", 3),
        ("--shape", "4,4,4"),
        ("--index", 0),
        ("--kind", "co2"),
        ("--tops-crop", "0,1,0,1"),
    ):
        told = refused(capsys, "simulate", case, option, value, *out)
        assert told.endswith(f"{option} is for samples, and {case} is a case, which says all itself")
    assert "--years is no option for samples of kind sphere" in refused(
        capsys, "simulate", "--kind", "sphere", "--years", 3, *out
    )
    told = refused(capsys, "plot", tmp_path / "run.h5", "--out", tmp_path / "x.svg", "--vtk", tmp_path / "vv")
    assert "give one of them" in told


def test_ranks_without_cells_are_refused_and_ranks_that_take_turns_are_told(tmp_path, capsys, monkeypatch, alone):
    (tmp_path / "flow.toml").write_text(CAVITY)
    (tmp_path / "storage.toml").write_text(two_phase.EXAMPLE)
    out = ["--out", tmp_path / "run.h5"]
    assert "got 50, which make a grid of (50,)" in refused(
        capsys, "simulate", tmp_path / "flow.toml", "--ranks", 50, *out
    )
    assert "of shape (20, 20, 8)" in refused(capsys, "simulate", tmp_path / "storage.toml", "--ranks", 23, *out)
    started = []
    monkeypatch.setattr("refimpl.cli.launch.run_ranks", lambda ranks, *_, module: started.append(ranks) or 0)
    monkeypatch.setattr(wire, "available_cores", lambda: 2)
    for ranks, told in ((2, ""), (4, "4 ranks take turns on 2 available cores, which is slow; --ranks 2 is faster\n")):
        assert main(["simulate", str(tmp_path / "flow.toml"), "--ranks", str(ranks), *map(str, out)]) == 0
        assert capsys.readouterr().err.endswith(told) and started.pop() == ranks


def test_a_case_that_cannot_run_is_told_once_on_two_ranks(tmp_path):
    from refimpl.cli.launch import mpiexec

    (tmp_path / "flow.toml").write_text(CAVITY.replace("0.01", "1e12"))
    command = [mpiexec(), "-n", "2", sys.executable, "-m", "solvers", "simulate", "flow.toml", "--out", "run.h5"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, env=environment(2))
    assert done.returncode == 1 and done.stderr.count("flow.toml: Flow: expected viscosity within") == 1
    assert "Traceback" not in done.stderr and not (tmp_path / "run.h5").exists()


# ---- units ---------------------------------------------------------------------------------------------------------------


def test_a_flow_carries_its_units_into_its_file(tmp_path):
    flow = replace(flow_of(CAVITY), end=0.02, steps=1)
    result = simulate(flow, wire.mpi().COMM_SELF)
    assert result.units["energy"] == "m4/s2" and result.units["drag"] == "m3/s2" and result.units["dt"] == "s"
    assert vars(result.frames[0]).keys() <= result.units.keys()
    navier_stokes.record(flow, tmp_path / "run.h5", wire.mpi().COMM_SELF)
    with h5py.File(tmp_path / "run.h5") as file:
        assert all(file[name].attrs["units"] == result.units[name] for name in file)


def test_fields_of_other_kinds_are_refused_also_from_files(tmp_path):
    case = case_of(two_phase.EXAMPLE)
    np.save(tmp_path / "words.npy", np.array(["a"]))
    (tmp_path / "empty.npy").touch()
    for name, reason in (("words", "got an array of <U1"), ("empty", "not a .npy file"), ("none", "no file")):
        with pytest.raises((ValueError, OSError), match=f"^Case: porosity: .*{reason}"):
            replace(case, porosity=str(tmp_path / f"{name}.npy"))
