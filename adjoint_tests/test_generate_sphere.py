"""Data sets of flow past a sphere: what is given and what is predicted belong together, and no sample needs MPI."""

import subprocess
import sys
from dataclasses import replace
from math import pi

import numpy as np
import pytest

from refimpl import wire
from solvers.__main__ import main
from solvers.generate import (
    Settings,
    SphereSettings,
    generate,
    make_plan,
    make_sample,
    read_plan,
    read_sample,
)
from solvers.generate.sphere import draw_flow
from solvers.navier_stokes import simulate

TINY = SphereSettings(shape=(16, 12, 12), radius=2.0, duration=2.0, frames=2, train=1, valid=1, test=1)
OPTIONS = "--kind sphere --shape 16,12,12 --radius 2 --duration 2 --frames 2".split()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    out = tmp_path_factory.mktemp("sphere")
    generate(TINY, out, workers=1, progress=False)
    return out


def test_a_sample_is_the_wake_of_the_sphere_that_it_gives(whole):
    sample, flow = read_sample(TINY.path_of(whole, 1)), draw_flow(TINY, 1)
    frames = simulate(flow, wire.mpi().COMM_SELF).all("vorticity")
    for c, axis in enumerate("xyz"):
        assert np.array_equal(sample.varying[f"vorticity_{axis}"], frames[:, c].astype("float32"))
    assert sample.static["solid"].sum() == pytest.approx(4 / 3 * pi * TINY.radius**3, rel=0.2)  # smeared over two cells
    centre = [np.average(x, weights=sample.static["solid"]) for x in np.indices(TINY.shape) + 0.5]
    assert centre == pytest.approx(flow.ball.centre, abs=0.1)
    assert np.abs(sample.varying["vorticity_z"][-1]).max() > 0.1
    assert sample.dt.sum() == pytest.approx(flow.end) and sample.provenance["divergence"] < 1e-12


def test_samples_differ_and_stay_in_their_room():
    centres = np.array([draw_flow(TINY, index).ball.centre for index in range(50)])
    assert len(np.unique(centres[:, 0])) == 50
    for x, (low, high) in zip(centres.T, TINY.room, strict=True):
        assert low <= x.min() and x.max() <= high


def test_a_file_keeps_all_of_a_sample_and_says_its_units(whole):
    made, found = make_sample(make_plan(TINY), 0), read_sample(TINY.path_of(whole, 0))
    assert (found.name, found.scalars, found.units, found.boundaries) == (
        made.name,
        made.scalars,
        made.units,
        made.boundaries,
    )
    for group in ("static", "varying", "axes"):
        mine, theirs = getattr(made, group), getattr(found, group)
        assert mine.keys() == theirs.keys() and all(np.array_equal(mine[name], theirs[name]) for name in mine)


def test_a_plan_is_read_back_and_another_kind_is_another_plan(whole):
    assert read_plan(whole) == (TINY, make_plan(TINY).digest)
    with pytest.raises(ValueError, match="another plan: radius is 2.0 there and 1.5 here"):
        generate(replace(TINY, radius=1.5), whole, workers=1, progress=False)
    with pytest.raises(ValueError, match="another plan: kind is sphere there and co2 here"):
        generate(Settings(), whole, workers=1, progress=False)
    assert generate(TINY, whole, workers=1, progress=False).reused == 3


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (dict(radius=4.0), "no room"),
        (dict(radius=-1.0), "above 0"),
        (dict(velocity=(-1.0, 0.0, 0.0)), "the first positive"),
        (dict(shape=(16, 12)), "three numbers of cells"),
        (dict(frames=0), "frames >= 1"),
        (dict(reynolds=float("nan")), "above 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong, told):
    with pytest.raises(ValueError, match=told):
        replace(TINY, **wrong)


def test_a_sample_is_made_without_mpi():
    code = (
        "import sys\nfrom solvers.generate import SphereSettings, make_plan, make_sample\n"
        "make_sample(make_plan(SphereSettings(shape=(16, 12, 12), radius=2.0, duration=0.5, frames=1)), 0)\n"
        "print('mpi4py.MPI' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_commands_make_and_draw_it(tmp_path, capsys):
    sample = tmp_path / "wake.h5"
    assert main(["simulate", *OPTIONS, "--out", str(sample)]) == 0
    assert main(["plot", str(sample)]) == 0
    assert sample.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert "divergence" in capsys.readouterr().out
    assert main(["simulate", *OPTIONS, "--years", "3", "--out", str(tmp_path / "other.h5")]) == 1
    assert "--years is no option for samples of kind sphere" in capsys.readouterr().err
