"""Theorems about runs of the two-phase simulator: cases and their files, runs that go on, pictures, and what is refused."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace

import h5py
import numpy as np
import pytest
from PIL import Image
from two_phase_cases import DARCY, DAY

from refimpl import wire
from refimpl.cli.launch import environment
from solvers import navier_stokes, two_phase
from solvers.__main__ import main
from solvers.grid import Grid
from solvers.navier_stokes import Flow, read_flow
from solvers.two_phase import (
    EXAMPLE,
    BrooksCorey,
    Case,
    Corey,
    Fluids,
    Injector,
    Producer,
    Reservoir,
    Rock,
    SimulationError,
    State,
    StepControl,
    is_run,
    plot,
    read_case,
    read_run,
    record,
    simulate,
    to_toml,
    write_vtk,
)
from solvers.two_phase.case import case_of
from solvers.two_phase.files import MODEL_UNITS
from solvers.two_phase.pictures import at_corners, column_height
from solvers.two_phase.simulate import March

SMALL = Case(
    shape=(6, 5, 4),
    spacing=(50.0, (40.0, 60.0, 50.0, 60.0, 40.0), 5.0),
    permeability=(DARCY, DARCY, 0.1 * DARCY),
    porosity=np.where(np.arange(120).reshape(6, 5, 4) % 13 == 0, 0.0, 0.3),
    times=(5.0 * DAY, 20.0 * DAY, 50.0 * DAY, 60.0 * DAY),
    top=800.0 + np.arange(30.0).reshape(6, 5),
    boundary="open",
    wells=(
        Producer((5, 3), (1, 3), 5e6, 1e-6),
        Injector((2, 2), (2, 4), ((0.0, 4e-3), (50.0 * DAY, 1e-3)), bhp=1.2e7),
    ),
)
FLOW = Flow((4, 4), (1.0, 1.0), 0.1, 0.1, frames=3, steps=2)


def solvers(*arguments):
    command = [sys.executable, "-m", "solvers", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, env=environment(1))


# Cases and their files


KINDS = replace(
    SMALL,
    region=np.arange(120).reshape(6, 5, 4) % 2,
    relative_permeability=(Corey(), Corey((3.0, 1.5), (0.3, 0.1))),
    capillary=(BrooksCorey(1e3), BrooksCorey(1e5, 3.0)),
    active=np.arange(120).reshape(6, 5, 4) != 7,
    control=StepControl(first=DAY, longest=10.0 * DAY),
)


@pytest.mark.parametrize("case", [SMALL, KINDS, case_of(EXAMPLE)], ids=["small", "kinds", "example"])
def test_a_case_comes_back_from_its_file(tmp_path, case):
    (tmp_path / "case.toml").write_text(to_toml(case))
    assert read_case(tmp_path / "case.toml") == case
    assert read_case(tmp_path / "case.toml") != replace(case, times=(1e9,))


def test_an_entry_pressure_in_each_cell_comes_back_also_as_the_one_curve_of_several_regions():
    entry = 1e4 + np.arange(120.0).reshape(6, 5, 4)
    case = replace(KINDS, capillary=(BrooksCorey(entry),))
    again = case_of(to_toml(case))
    np.testing.assert_array_equal(again.capillary[0].entry_pressure, entry)
    assert again.reservoir.fluids.capillary is again.capillary[0]


def test_fields_in_files_are_those_that_are_written_out(tmp_path):
    with h5py.File(tmp_path / "model.h5", "w") as file:
        file["rock/porosity"], file["top"] = np.array(SMALL.porosity), np.array(SMALL.top)
    np.save(tmp_path / "kz.npy", np.full(SMALL.shape, 0.1 * DARCY))
    text = to_toml(replace(SMALL, porosity=0.3, top=0.0, permeability=(DARCY,) * 3))
    text = text.replace("porosity = 0.3", 'porosity = "model.h5:rock/porosity"').replace(
        "top = 0.0", 'top = "model.h5:top"'
    )
    text = re.sub("permeability = .*", f'permeability = [{DARCY}, {DARCY}, "kz.npy"]', text, count=1)
    (tmp_path / "case.toml").write_text(text)
    case = read_case(tmp_path / "case.toml")
    assert case_of(to_toml(case)) == case
    np.testing.assert_array_equal(case.reservoir.pore_volume, SMALL.reservoir.pore_volume)
    np.testing.assert_array_equal(case.reservoir.transmissibility, SMALL.reservoir.transmissibility)
    with pytest.raises(ValueError, match=r"Case: top: .*model.h5 .* has no array tops; it has rock, top"):
        replace(case, top=f"{tmp_path / 'model.h5'}:tops")
    with pytest.raises(OSError, match="nowhere.h5"):
        replace(case, top="nowhere.h5:top")


def test_a_file_that_is_no_case_is_refused(tmp_path):
    for text, reason in (
        ("shape = [4", "case.toml"),
        ("shape = [4, 4, 4]", 'expected kind = "two-phase"'),
        (EXAMPLE.replace("porosity", "porosities"), "porosities"),
        (EXAMPLE.replace('"producer"', '"sink"'), 'kind = "injector" or "producer", got .sink.'),
        (EXAMPLE.replace("layers = [6, 8]", "layer = 6"), "layer"),
        (EXAMPLE.replace('"open"', '"ajar"'), "ajar"),
    ):
        (tmp_path / "case.toml").write_text(text)
        with pytest.raises(ValueError, match=reason):
            read_case(tmp_path / "case.toml")
    (tmp_path / "case.toml").write_text(EXAMPLE)
    with pytest.raises(ValueError, match="navier-stokes"):
        read_flow(tmp_path / "case.toml")


# Runs


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A case, and its run on two ranks by the command line."""
    made = tmp_path_factory.mktemp("case")
    (made / "case.toml").write_text(to_toml(SMALL))
    done = solvers("simulate", made / "case.toml", "--out", made / "run.h5", "--ranks", 2)
    assert done.returncode == 0 and done.stdout.count("mass balance") == 1, done.stderr
    return made


def assert_same_run(one, other):
    assert one.complete and other.complete
    np.testing.assert_array_equal(one.dt, other.dt)
    for name, values in one.arrays.items():
        np.testing.assert_array_equal(values, other.arrays[name], err_msg=name)


def test_a_run_that_two_ranks_recorded_is_bitwise_that_of_simulate(folder):
    run, result = read_run(folder / "run.h5"), simulate(SMALL)
    assert run.complete and run.case == SMALL and is_run(folder / "run.h5")
    for name in ("pressure", "saturation", "bhp", "well_volume"):
        np.testing.assert_array_equal(run.arrays[name], getattr(result, name))
    np.testing.assert_array_equal(run.arrays["time"], result.times)
    np.testing.assert_array_equal(run.dt, result.steps)
    for name in ("newton_iterations", "linear_iterations", "mass_balance_error"):
        assert run.arrays[name][-1] == getattr(result, name)
    with h5py.File(folder / "run.h5") as file:
        assert file["pressure"].attrs["units"] == result.units["pressure"] == "Pa" and file["dt"].attrs["units"] == "s"


def spoil(path, name, frame):
    """Change bytes of a frame."""
    with h5py.File(path) as file:
        place = file[name].id.get_chunk_info(frame).byte_offset
    with path.open("r+b") as raw:
        raw.seek(place + 100)
        raw.write(b"\xfe" * 100)


@pytest.mark.parametrize("after", [1, 3])
def test_a_run_that_goes_on_is_bitwise_the_one_that_was_not_interrupted(folder, tmp_path, after):
    def interrupt(fraction, text):
        if fraction >= SMALL.times[after - 1] / SMALL.times[-1]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        record(SMALL, tmp_path / "run.h5", progress=interrupt)
    part = read_run(tmp_path / "run.h5")
    assert not part.complete and part.arrays["time"].tolist() == [0.0, *SMALL.times[:after]]
    spoil(tmp_path / "run.h5", "pressure", after + 1)  # what a kill may leave of the frame that is being written
    record(read_case(folder / "case.toml"), tmp_path / "run.h5", resume=True)
    assert_same_run(read_run(tmp_path / "run.h5"), read_run(folder / "run.h5"))
    record(SMALL, tmp_path / "run.h5", resume=True)  # nothing is left to do
    assert_same_run(read_run(tmp_path / "run.h5"), read_run(folder / "run.h5"))


KILLED = """
import os, signal, sys
from solvers.two_phase import files, read_case

calls, on_disk = 0, files.on_disk

def killed(file):
    global calls
    calls += 1
    on_disk(file)
    if calls == 5:  # the third frame is written, but not yet counted
        os.kill(os.getpid(), signal.SIGKILL)

files.on_disk = killed
files.record(read_case(sys.argv[1]), sys.argv[2])
"""


def test_a_run_killed_while_it_writes_can_be_read_and_goes_on_bitwise_also_on_more_ranks(folder, tmp_path):
    path = tmp_path / "run.h5"
    run = subprocess.run([sys.executable, "-c", KILLED, folder / "case.toml", path], env=environment(1), timeout=100)
    assert run.returncode == -signal.SIGKILL
    killed = read_run(path)
    assert not killed.complete and killed.arrays["time"].tolist() == [0.0, SMALL.times[0]]
    done = solvers("simulate", folder / "case.toml", "--out", path, "--resume", "--ranks", 2)
    assert done.returncode == 0, done.stderr
    assert_same_run(read_run(path), read_run(folder / "run.h5"))


KILLED_EARLY = """
import os, sys
from solvers import hdf5, navier_stokes, two_phase

hdf5.give_name = lambda *names: os._exit(9)  # all but the name is there
flow = navier_stokes.Flow((4, 4), (1.0, 1.0), 0.1, 0.1)
try:
    case = two_phase.read_case(sys.argv[1])
    two_phase.record(case, sys.argv[2]) if "storage" in sys.argv[2] else navier_stokes.record(flow, sys.argv[2])
except OSError as error:
    print(error)
"""


@pytest.mark.parametrize("name", ["storage.h5", "flow.h5"])
def test_a_run_killed_before_its_file_is_set_up_leaves_none_and_blocks_no_other(folder, tmp_path, name):
    path, command = tmp_path / name, [sys.executable, "-c", KILLED_EARLY, folder / "case.toml", tmp_path / name]
    once_more = lambda: subprocess.run(command, env=environment(1), timeout=100, capture_output=True, text=True)
    assert once_more().returncode == 9 and [file.name for file in tmp_path.iterdir()] == [f"{name}.partial"]
    with h5py.File(tmp_path / f"{name}.partial", "w"):  # one that is alive
        assert "is being written by another process" in once_more().stdout
    if name == "storage.h5":
        record(SMALL, path, resume=True)
    else:
        navier_stokes.record(FLOW, path, wire.mpi().COMM_SELF)
    assert [file.name for file in tmp_path.iterdir()] == [name]


class Lost:
    """What Ctrl-C comes to where Python can only ignore it."""

    def __del__(self):
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("room", [two_phase, navier_stokes], ids=["storage", "flow"])
def test_an_interrupt_is_never_lost_and_ends_a_run_between_two_steps(tmp_path, room):
    def interrupt(fraction, text):
        if fraction > 0.4:
            Lost()

    run, alone = (SMALL, {}) if room is two_phase else (FLOW, {"comm": wire.mpi().COMM_SELF})
    with pytest.raises(KeyboardInterrupt):
        room.record(run, tmp_path / "run.h5", progress=interrupt, **alone)
    found = room.read_run(tmp_path / "run.h5")
    assert not found.complete and len(found.arrays["time"]) > 1
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_run_of_another_case_is_not_gone_on_with(folder, tmp_path):
    with pytest.raises(ValueError, match="not a run of this case: it has another TOML"):
        record(replace(SMALL, porosity=0.3), folder / "run.h5", resume=True)
    np.save(tmp_path / "porosity.npy", np.full(SMALL.shape, 0.3))
    case = replace(SMALL, porosity=str(tmp_path / "porosity.npy"), times=(DAY,), wells=SMALL.wells[:1])
    record(case, tmp_path / "run.h5")
    np.save(tmp_path / "porosity.npy", np.full(SMALL.shape, 0.2))
    with pytest.raises(ValueError, match="its porosity is another"):
        record(replace(case), tmp_path / "run.h5", resume=True)
    with pytest.raises(OSError, match="there already"):
        record(case, tmp_path / "run.h5")


def test_bytes_that_have_changed_are_told_and_not_drawn(folder, tmp_path):
    path = tmp_path / "run.h5"
    shutil.copy(folder / "run.h5", path)
    spoil(path, "saturation", 2)
    with pytest.raises(OSError, match="run.h5 is damaged"):
        read_run(path)


def test_a_file_that_counts_more_frames_than_it_has_is_told_by_its_name(folder, tmp_path):
    path = tmp_path / "run.h5"
    shutil.copy(folder / "run.h5", path)
    with h5py.File(path, "r+") as file:
        file["frames"][()] = 9
    for act in (lambda: read_run(path), lambda: record(SMALL, path, resume=True)):
        with pytest.raises(OSError, match="run.h5 is damaged, .*it says that 9 of its 5 frames"):
            act()


def test_what_is_computed_before_a_run_fails_can_be_read(folder, tmp_path):
    case = replace(SMALL, control=StepControl(most_steps=read_run(folder / "run.h5").dt.size - 1))
    with pytest.raises(SimulationError, match="steps led to"):
        record(case, tmp_path / "run.h5")
    run = read_run(tmp_path / "run.h5")
    assert not run.complete and len(run.arrays["time"]) >= 3
    plot(run, tmp_path / "run.png")


def test_a_full_disk_is_told_before_the_first_step(tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 1 << 20})
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    with pytest.raises(OSError, match="the run needs .* bytes, the disk has"):
        record(SMALL, tmp_path / "run.h5")
    assert not (tmp_path / "run.h5").exists()


def test_a_step_that_fails_is_told_with_the_cell_the_residual_and_the_step():
    control = StepControl(most_iterations=1, shortest=0.1 * DAY)
    with pytest.raises(SimulationError, match=r"step of .* s failed.*max \|R dt / V\| = .* in cell \(2, 2, \d\)"):
        simulate(SMALL, control=control)


# Pictures


def test_a_run_is_drawn_animated_and_written_for_paraview(folder):
    run, (nx, ny, nz) = read_run(folder / "run.h5"), SMALL.shape
    first = {name: values if name in MODEL_UNITS else values[:2] for name, values in run.arrays.items()}
    plot(replace(run, arrays=first), folder / "run.gif")
    with Image.open(folder / "run.gif") as animation:
        assert animation.n_frames == 2
    done = solvers("plot", folder / "run.h5", "--vtk", folder / "vtk")
    assert done.returncode == 0 and done.stdout.strip() == str(folder / "vtk" / "run.pvd"), done.stderr
    with pytest.raises(OSError, match="vtk is there already, and not an empty folder"):
        write_vtk(run, folder / "vtk")
    names = re.findall('file="(.*?)"', (folder / "vtk" / "run.pvd").read_text())
    head, raw = (folder / "vtk" / names[3]).read_bytes().split(b'encoding="raw">_')
    offset = {name: int(at) for name, at in re.findall(r'Name="(\w+)"[^>]*offset="(\d+)"', head.decode())}
    number = lambda name, kind, n: np.frombuffer(raw, kind, n, offset=8 + offset[name])
    upward = lambda values: values.reshape(nz, ny, nx).T[..., ::-1]
    assert len(names) == 5 and f'WholeExtent="0 {nx} 0 {ny} 0 {nz}"' in head.decode()
    np.testing.assert_allclose(
        upward(number("saturation", "<f4", nx * ny * nz)), run.arrays["saturation"][3], atol=1e-7
    )
    np.testing.assert_array_equal(upward(number("vtkGhostType", "u1", nx * ny * nz)) == 32, ~run.arrays["active"])
    points = number("points", "<f4", 3 * (nx + 1) * (ny + 1) * (nz + 1)).reshape(nz + 1, ny + 1, nx + 1, 3)
    np.testing.assert_allclose(points[-1, 0, 0], [0.0, 0.0, -800.0])  # the first column's own top
    np.testing.assert_allclose(points[0, -1, -1], [300.0, 250.0, -849.0])


def test_a_full_disk_is_told_with_the_picture_of_which_nothing_stays(folder, tmp_path, monkeypatch, capsys):
    def full(figure, path, **_):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", full)
    assert main(["plot", str(folder / "run.h5"), "--out", str(tmp_path / "run.png")]) == 1
    assert "run.png: [Errno 28] No space left" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_corners_are_at_the_mean_of_the_columns_around():
    corners = at_corners(np.array([[1.0, 2.0], [5.0, 8.0]]))
    np.testing.assert_allclose(corners, [[1.0, 1.5, 2.0], [3.0, 4.0, 5.0], [5.0, 6.5, 8.0]])


def test_the_columns_hold_the_co2_that_was_brought_in(folder):
    run, grid = read_run(folder / "run.h5"), SMALL.reservoir.grid
    held = (column_height(run)[1] * np.outer(*map(np.diff, grid.edges)))[
        1:-1, 1:-1
    ].sum()  # it has not reached the sides
    density = Fluids().expansion(1, run.arrays["pressure"][1, 2, 2, 2])[0]
    assert held * density == pytest.approx(run.arrays["well_volume"][1, :, 1].sum(), rel=0.02)


# What is refused


def box(wells=(), **changes) -> Reservoir:
    given = dict(k=1e-12, porosity=0.2, top=800.0, spacing=(10.0, 10.0, 2.0), fluids=Fluids()) | changes
    grid = Grid((3, 3, 2), given["spacing"], given["top"])
    return Reservoir(grid, Rock((given["k"],) * 3, given["porosity"]), given["fluids"], wells, "open")


WELL = dict(cell=(1, 1), layers=(0, 1), rate=1e-4)
RIGID = dict(compressibility=(0.0, 0.0), rock_compressibility=0.0)
LOOKING = replace(SMALL.wells[0], rate=1e-8)
IMPLAUSIBLE = {
    "permeability in millidarcy": (lambda: simulate(box(k=100.0), [DAY]), r"kx within 1e-30..1e-08 m2 .*got 100"),
    "permeability in darcy": (lambda: simulate(box(k=0.1), [DAY]), r"kx within 1e-30..1e-08 m2 .*got 0.1"),
    "depth in centimetres": (lambda: simulate(box(top=80000.0), [DAY]), "the top within .* m, got 80000"),
    "depth in km": (lambda: simulate(box(top=0.8), [DAY]), r"largest depth of top within .* m \(1 km .*got 0.8"),
    "density in g/cm3": (
        lambda: simulate(box(fluids=Fluids((1.025, 0.7))), [DAY]),
        "density of brine within 700..2000 kg/m3 .*got 1.025",
    ),
    "viscosity in cP": (
        lambda: simulate(box(fluids=Fluids(viscosity=(0.5, 0.06))), [DAY]),
        r"viscosity of brine within 1e-06..0.01 Pa s \(1 cP is 1e-3 Pa s\), got 0.5",
    ),
    "viscosity of CO2 in cP": (
        lambda: simulate(box(fluids=Fluids(viscosity=(5e-4, 0.06))), [DAY]),
        "viscosity of CO2.*got 0.06",
    ),
    "compressibility in 1/bar": (
        lambda: simulate(box(fluids=Fluids(compressibility=(4.5e-5, 1e-3))), [DAY]),
        "compressibility within .*got 4.5e-05",
    ),
    "pressure in bar": (
        lambda: simulate(box(), [DAY], State(np.full((3, 3, 2), 80.0), np.zeros((3, 3, 2)))),
        r"initial pressure .* within .* \(1 bar is 1e5 Pa\), got 80 in cell \(0, 0, 0\)",
    ),
    "reference pressure in bar": (
        lambda: replace(SMALL, reference_pressure=100.0),
        r"reference_pressure within 10000..1e\+09 Pa \(1 bar is 1e5 Pa\), or 0, got 100",
    ),
    "entry pressure in bar": (
        lambda: replace(SMALL, capillary=(BrooksCorey(0.05),)),
        r"entry_pressure within 100..1e\+08 Pa \(1 bar is 1e5 Pa\), or 0, got 0.05",
    ),
    "limit in bar": (lambda: simulate(box([Injector(**WELL, bhp=120.0)]), [DAY]), r"limit of well 0 \(injector\)"),
    "rate in cubic metres a day": (
        lambda: simulate(box([Injector(**WELL | {"rate": 600.0})]), [DAY]),
        r"rate of well 0 \(injector\) within 0..5 m3/s .*got 600",
    ),
    "rate in kg/s": (lambda: simulate(box([Injector(**WELL | {"rate": 7.0})]), [DAY]), "rate of well 0 .*got 7"),
    "times in years": (
        lambda: replace(SMALL, times=(0.25, 0.5, 1.0, 2.0), wells=()),
        r"last of the times of the reports within 10000.* s \(a day is 8.64e4 s, a year 3.16e7 s\).*got 2",
    ),
    "times in days": (
        lambda: replace(SMALL, times=(91.0, 182.0, 365.0, 730.0), wells=()),
        "last of the times.*got 730",
    ),
    "a schedule in days": (
        lambda: simulate(box([Injector(**WELL | {"rate": ((0.0, 1e-4), (365.0, 0.0))})]), [DAY]),
        r"last of the times in the rate of well 0 \(injector\) within .*got 365",
    ),
    "a schedule that outlasts the run": (
        lambda: simulate(box([Injector(**WELL | {"rate": ((0.0, 1e-4), (2.0 * DAY, 0.0))})]), [DAY]),
        r"rate of well 0 \(injector\) changes at 172800 s, and the last of the times of the reports is 86400 s",
    ),
    "a limit below the rock's pressure": (
        lambda: simulate(box([Injector(**WELL, bhp=7e6)]), [DAY]),
        r"well 0 \(injector\) can pass nothing within its limit of 7e\+06 Pa: the pressure in the rock .* is 8.1\d+e\+06",
    ),
    "the same beside a producer": (
        lambda: simulate(box([Producer((2, 2), (0, 1), 1e6, 1e-8), Injector(**WELL, bhp=7e6)]), [DAY]),
        r"well 1 \(injector\) can pass nothing within its limit of 7e\+06 Pa",
    ),
    "the same later, beside a producer that is only there to look": (
        lambda: replace(SMALL, wells=(LOOKING, Injector((2, 2), (2, 4), ((1e6, 4e-3),), bhp=8e6))),
        r"well 1 \(injector\) can pass nothing within its limit of 8e\+06 Pa: the pressure in the rock .* is 8.\d+e\+06",
    ),
    "a producer above the rock's pressure": (
        lambda: simulate(box([Producer((1, 1), (0, 1), 9e6)]), [DAY]),
        r"well 0 \(producer\) can pass nothing within its limit of 9e\+06 Pa",
    ),
    "a rate far beyond the limit": (
        lambda: simulate(box([Injector(**WELL | {"rate": 4.0}, bhp=8.3e6)]), [DAY]),
        r"cannot come near its rate of 4 m3/s: within its limit of 8.3e\+06 Pa .* m3/s go in at first",
    ),
    "more than the pores hold": (
        lambda: simulate(box([Injector(**WELL, bhp=9e6), Injector(**WELL | {"rate": 1.0})]), [10.0 * DAY]),
        r"are to inject 8.64e\+05 m3 by 864000 s, and at 1e\+09 Pa the pores make room for",
    ),
    "a rigid box": (
        lambda: replace(SMALL, **RIGID, wells=SMALL.wells[1:]),
        r"injectors alone.* got rock_compressibility = 0 and compressibility = \(0.0, 0.0\)",
    ),
    "a rigid box that wells empty": (
        lambda: replace(SMALL, **RIGID, wells=SMALL.wells[:1]),
        "producers alone.* got rock_compressibility = 0",
    ),
    "a box that is nearly rigid": (
        lambda: replace(SMALL, **RIGID | {"rock_compressibility": 1e-20}, wells=(Injector((2, 2), (2, 4), 4e-3),)),
        r"are to inject 2.07e\+04 m3 by 5.184e\+06 s, and at 1e\+09 Pa the pores make room for",
    ),
    "an aquifer in which all mass is lost": (
        lambda: replace(SMALL, boundary=1e9),
        r"the boundary within 1e-06..1e\+07 times the pore volume, got 1e\+09",
    ),
    "two capillary curves without a region": (
        lambda: replace(SMALL, capillary=KINDS.capillary),
        "capillary has 2 entries; expected a region in each cell .*got region = 0",
    ),
    "two relative permeabilities without a region": (
        lambda: replace(SMALL, relative_permeability=KINDS.relative_permeability),
        "relative_permeability has 2 entries",
    ),
    "a case is checked where it is made": (lambda: replace(SMALL, top=80000.0), "the top within"),
    "steps": (lambda: StepControl(first=10.0), "first"),
}


def test_a_limit_is_not_refused_that_other_wells_will_meet():
    later = Injector((2, 2), (2, 4), ((30.0 * DAY, 4e-3),), bhp=8e6)
    replace(SMALL, wells=(replace(SMALL.wells[0], rate=np.inf), later))
    replace(SMALL, wells=(replace(SMALL.wells[0], bhp=9e6, rate=np.inf), replace(later, bhp=np.inf)))


def test_a_producer_that_is_to_relieve_what_an_injector_builds_up_is_not_refused():
    sides = (1e4, 3e3, 1e3, 300.0, 100.0, 100.0, 100.0, 300.0, 1e3, 3e3, 1e4)
    box = Grid((11, 11, 2), (sides, sides, 10.0), 1000.0)
    wells = [
        Injector((5, 5), (0, 2), 0.01, bhp=3e7),
        Producer((6, 5), (0, 2), 1.12e7),
    ]  # 1 MPa above the rock's pressure
    result = simulate(Reservoir(box, Rock((3e-14, 3e-14, 3e-15), 0.25), Fluids(), wells), [1e7, 3e7])
    assert result.well_volume[-1, 1].sum() < -1e5


def test_what_a_limit_kept_a_well_from_is_told_at_the_end(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("solvers.__main__.under_mpi", lambda: False)
    beyond = replace(SMALL, times=(DAY,), wells=(Injector((2, 2), (2, 4), 0.9, bhp=1.2e7), SMALL.wells[0]))
    (tmp_path / "case.toml").write_text(to_toml(beyond))
    assert main(["simulate", str(tmp_path / "case.toml"), "--out", str(tmp_path / "run.h5")]) == 0
    told = capsys.readouterr().out.splitlines()
    brought = read_run(tmp_path / "run.h5").arrays["well_volume"][-1, 0, 1]
    assert told[1:] == [
        f"well 0 (injector) brought in {brought:.3g} of 7.78e+04 m3: held back by its limit of 1.2e+07 Pa"
    ]


@pytest.mark.parametrize("fault", IMPLAUSIBLE)
def test_a_run_that_cannot_be_is_refused_before_its_first_step(fault, monkeypatch):
    monkeypatch.setattr(March, "to", lambda *_: pytest.fail("a step was made"))
    attempt, reason = IMPLAUSIBLE[fault]
    with pytest.raises(ValueError, match=reason):
        attempt()
