"""The generation of training data: the same samples however they are made, and nothing by halves."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from solvers.__main__ import main
from solvers.generate import (
    GenerationError,
    Settings,
    check_sample,
    generate,
    make_plan,
    make_sample,
    read_plan,
    read_sample,
    survey,
    write_sample,
)
from solvers.generate import engine as engine_module
from solvers.generate import storage as sample_module
from solvers.generate.plan import write_plan
from solvers.generate.storage import draw_reservoir
from solvers.generate.the_well import content_digest
from solvers.generate.workers import run_in_processes
from solvers.two_phase import SimulationError

TINY = Settings(
    shape=(6, 7, 6), spacing=(50.0, 50.0, 5.0), train=2, valid=1, test=1, years=0.2, frames=2, rate=(1e-3, 2e-3)
)
TINY_OPTIONS = (
    "--shape 6,7,6 --spacing 50,50,5 --train 2 --valid 1 --test 1 --years 0.2 --frames 2 --rate 1e-3,2e-3".split()
)
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A data set made in one process without an interruption."""
    out = tmp_path_factory.mktemp("whole")
    generate(TINY, out, workers=1, progress=False)
    return out


@pytest.fixture
def copied(whole, tmp_path):
    """A copy of it to damage."""
    out = tmp_path / "copied"
    subprocess.run(["cp", "-rp", whole, out], check=True)
    return out


def files(out: Path) -> list[Path]:
    return sorted(out.glob("data/*/*.h5"))


def digests(out: Path) -> dict[str, str]:
    """Name -> sha256 of the content as it is read."""
    return {path.name: content_digest(read_sample(path)) for path in files(out)}


def stamps(out: Path) -> dict[str, tuple[int, int]]:
    return {path.name: (path.stat().st_mtime_ns, path.stat().st_ino) for path in files(out)}


# Samples are a function of the plan and the index


def test_samples_are_the_same_whatever_the_number_of_workers(whole, tmp_path):
    summary = generate(TINY, tmp_path, workers=2, progress=False)
    assert (summary.made, summary.reused, summary.failed) == (4, 0, ())
    assert digests(tmp_path) == digests(whole)


def test_a_sample_does_not_depend_on_those_before_it_nor_on_how_many_there_are(whole):
    alone = make_sample(make_plan(replace(TINY, train=7)), 3)
    assert content_digest(alone) == digests(whole)["sample-000003.h5"]


def test_samples_differ_and_so_do_seeds():
    plans = [make_plan(replace(TINY, root_seed=seed)) for seed in (0, 1)]
    rocks = [draw_reservoir(plan, index).rock.permeability[0] for plan in plans for index in range(3)]
    tops = [draw_reservoir(plan, index).grid.top for plan in plans for index in range(3)]
    for draws in (rocks, tops):
        assert len({draw.tobytes() for draw in draws}) == 6


def test_the_hash_of_a_plan_depends_on_values_not_on_their_spelling():
    assert make_plan(replace(TINY, spacing=[50, 50, 5], shape=np.array([6, 7, 6]))).digest == make_plan(TINY).digest
    assert make_plan(replace(TINY, spacing=(50, 50, 6))).digest != make_plan(TINY).digest


def test_the_split_is_fixed_by_the_index(whole):
    assert [TINY.split_of(index) for index in range(4)] == ["train", "train", "valid", "test"]
    assert [path.relative_to(whole / "data").as_posix() for path in files(whole)] == [
        "test/sample-000003.h5",
        "train/sample-000000.h5",
        "train/sample-000001.h5",
        "valid/sample-000002.h5",
    ]


def test_the_given_fields_are_those_that_were_simulated(whole):
    sample = read_sample(files(whole)[0])
    reservoir = draw_reservoir(make_plan(TINY), 3)
    assert np.allclose(sample.static["permeability_x"], reservoir.rock.permeability[0])
    assert np.allclose(sample.static["permeability_z"], reservoir.rock.permeability[2])
    assert np.allclose(sample.static["depth"], reservoir.grid.depth)
    assert sample.static["well_rate"].sum() == pytest.approx(sample.scalars["total_rate"])
    assert np.allclose(sample.times, [0.0, *TINY.times])
    assert not sample.varying["saturation"][0].any() and sample.varying["saturation"][1:].max() > 0.05
    assert sample.dt.sum() == pytest.approx(TINY.times[-1])
    assert abs(sample.provenance["mass_balance_error"]) <= 1e-8


# The file


def test_the_file_has_the_layout_of_the_well(whole):
    with h5py.File(files(whole)[0]) as file:
        groups = {"dimensions", "boundary_conditions", "scalars", "t0_fields", "t1_fields", "t2_fields"}
        assert set(file) == groups | {"refimpl"}
        root = file.attrs
        assert isinstance(root["dataset_name"], str) and root["grid_type"] == "cartesian"
        assert root["n_spatial_dims"] == 3 and root["n_trajectories"] == 1
        for name in root["simulation_parameters"]:
            assert root[name] == file["scalars"][name][()]
        _check_dimensions(file)
        _check_boundaries(file)
        _check_fields(file)


def _check_dimensions(file):
    dimensions = file["dimensions"]
    assert list(dimensions.attrs["spatial_dims"]) == ["x", "y", "z"]
    assert [dimensions[name].shape for name in ("time", "x", "y", "z")] == [(3,), (6,), (7,), (6,)]
    assert [dimensions[name].attrs["units"] for name in ("time", "x", "y", "z")] == ["s", "m", "m", "m"]
    for stored in (*dimensions.values(), *file["scalars"].values()):
        assert isinstance(stored.attrs["sample_varying"], np.bool_) and isinstance(
            stored.attrs["time_varying"], np.bool_
        )
    assert sorted(file["scalars"].attrs["field_names"]) == sorted(file["scalars"])


def _check_boundaries(file):
    kinds = {}
    for boundary in file["boundary_conditions"].values():
        (name,) = boundary.attrs["associated_dims"]
        kinds[name] = boundary.attrs["bc_type"]
        assert len(boundary.attrs["associated_fields"]) == 0
        assert not boundary.attrs["sample_varying"] and not boundary.attrs["time_varying"]
        mask = boundary["mask"]
        assert mask.dtype == bool and mask.shape == file["dimensions"][name].shape
        assert boundary["values"].shape == (np.count_nonzero(mask),)
    assert kinds == {"x": "OPEN", "y": "OPEN", "z": "WALL"}


def _check_fields(file):
    units = {"permeability_x": "m2", "permeability_z": "m2", "porosity": "1", "depth": "m", "well_rate": "m3/s"}
    units |= {"saturation": "1", "pressure": "Pa"}
    fields = file["t0_fields"]
    assert {name: stored.attrs["units"] for name, stored in fields.items()} == units
    assert sorted(fields.attrs["field_names"]) == sorted(units)
    for name, stored in fields.items():
        varying = name in ("saturation", "pressure")
        assert stored.attrs["time_varying"] == varying and stored.attrs["sample_varying"]
        assert stored.attrs["dim_varying"].tolist() == [True] * 3 and stored.attrs["dim_varying"].dtype == bool
        assert stored.shape == ((1, 3, 6, 7, 6) if varying else (1, 6, 7, 6)) and stored.dtype == np.float32
        assert stored.fletcher32 and stored.shuffle and stored.compression == "gzip"
    for order in (1, 2):
        assert len(file[f"t{order}_fields"].attrs["field_names"]) == 0


def test_a_sample_read_back_is_the_one_written(tmp_path):
    sample = make_sample(make_plan(TINY), 0)
    sha256 = write_sample(tmp_path / "sample.h5", sample, plan="p")
    back = read_sample(tmp_path / "sample.h5")
    assert content_digest(back) == sha256 == content_digest(sample)
    assert back.provenance.keys() == sample.provenance.keys() and back.index == sample.index
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sample.h5"]


def test_a_real_top_is_named_with_its_terms_and_enters_the_hash(tmp_path):
    tops = [700.0 + np.random.default_rng(seed).random((9, 9)) for seed in range(2)]
    plans = []
    for number, top in enumerate(tops):
        with h5py.File(tmp_path / f"top{number}.h5", "w") as file:
            file["tops"] = top
        plans.append(make_plan(replace(TINY, tops=str(tmp_path / f"top{number}.h5"))))
    assert len({plan.digest for plan in (make_plan(TINY), *plans)}) == 3
    (tmp_path / "top0.h5").rename(tmp_path / "moved.h5")
    assert make_plan(replace(TINY, tops=str(tmp_path / "moved.h5"))).digest == plans[0].digest
    notice = make_sample(plans[1], 0).provenance["notice"]
    assert "top1.h5" in notice and "The Sleipner Group" in notice and "co2datashare.org" in notice
    assert "notice" not in make_sample(make_plan(TINY), 0).provenance


def test_a_crop_of_a_real_top_is_a_plan_of_its_own_by_its_depths_and_is_kept_with_it(tmp_path):
    top = 700.0 + np.random.default_rng(0).random((12, 12))
    for name, surface in (("whole.h5", top), ("part.h5", top[2:11, 1:10])):
        with h5py.File(tmp_path / name, "w") as file:
            file["tops"] = surface
    cropped = replace(TINY, tops=str(tmp_path / "whole.h5"), tops_crop=(2, 11, 1, 10))
    plan = make_plan(cropped)
    assert np.array_equal(plan.surface, top[2:11, 1:10])
    assert plan.digest == make_plan(replace(TINY, tops=str(tmp_path / "part.h5"))).digest
    write_plan(plan, tmp_path)
    assert read_plan(tmp_path) == (cropped, plan.digest)
    with pytest.raises(ValueError, match="does not lie inside"):
        make_plan(replace(cropped, tops_crop=(2, 13, 1, 10)))


# Resuming


def test_a_second_run_makes_nothing(copied):
    before = stamps(copied)
    summary = generate(TINY, copied, workers=2, progress=False)
    assert (summary.made, summary.reused) == (0, 4) and stamps(copied) == before


def test_missing_truncated_and_unfinished_samples_are_made_again_and_others_untouched(copied, whole):
    missing, truncated, unfinished, sound = files(copied)
    before = stamps(copied)
    missing.unlink()
    truncated.write_bytes(truncated.read_bytes()[:-2000])
    with h5py.File(unfinished, "a") as file:
        del file["refimpl"].attrs["complete"]
    (copied / "data" / "train" / "sample-000001.h5.partial").write_bytes(b"half")
    (copied / "plan.json.partial").write_bytes(b"half")
    kinds = {name: state for name, (state, _) in survey(copied).items()}
    assert sorted(kinds.values()) == ["complete", "damaged", "damaged", "missing"]
    summary = generate(TINY, copied, workers=1, progress=False)
    assert (summary.made, summary.reused) == (3, 1)
    assert digests(copied) == digests(whole) and stamps(copied)[sound.name] == before[sound.name]
    assert not list(copied.rglob("*.partial"))


def test_files_of_the_user_beside_the_data_outlive_a_run(copied):
    places = (
        "film.mp4.partial",
        "data/notes.partial",
        "data/train/mine.h5.partial",
        "data/old/sample-000001.h5.partial",
    )
    mine = [copied / place for place in places]
    for path in mine:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"mine")
    generate(TINY, copied, workers=1, progress=False)
    assert all(path.read_bytes() == b"mine" for path in mine)


def test_a_flipped_bit_and_a_number_that_is_not_one_are_found_and_repaired(copied, whole):
    _, flipped, spoiled, _ = files(copied)
    with h5py.File(flipped) as file:
        place = file["t0_fields/pressure"].id.get_chunk_info(0).byte_offset
    flip(flipped, place + 20)
    with h5py.File(spoiled, "a") as file:
        file["t0_fields/saturation"][0, 1, 0, 0, 0] = np.nan
    assert sum(state == "damaged" for state, _ in survey(copied).values()) == 2
    assert generate(TINY, copied, workers=1, progress=False).made == 2
    assert digests(copied) == digests(whole)


def flip(path: Path, place: int, bit: int = 0) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1 << bit
    path.write_bytes(content)


def test_bits_flipped_anywhere_are_harmless_or_a_fault_that_names_the_file(copied):
    path, rng = files(copied)[0], np.random.default_rng(0)
    sound, found = path.read_bytes(), 0
    for _ in range(150):
        flip(path, int(rng.integers(len(sound))), int(rng.integers(8)))
        try:
            check_sample(path, make_plan(TINY).digest)
        except (OSError, ValueError) as error:
            found += 1
            assert str(path) in str(error)
        path.write_bytes(sound)
    assert found > 10


def test_changed_content_is_found_by_its_sha256(copied):
    path = files(copied)[0]
    with h5py.File(path, "a") as file:
        file["t0_fields/depth"][0, 0, 0, 0] += 1.0
    with pytest.raises(ValueError, match="sha256"):
        check_sample(path)


def test_a_run_killed_on_the_way_is_finished_by_the_next(tmp_path, whole):
    command = [sys.executable, "-m", "solvers", "run", *TINY_OPTIONS, "--workers", "2", "--out", str(tmp_path)]
    driver = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, start_new_session=True)
    _wait_for(lambda: files(tmp_path) or driver.poll() is not None)
    driver.kill()
    driver.communicate()
    _wait_for(lambda: not _alive_in_session(driver.pid))  # workers die with their driver
    generate(TINY, tmp_path, workers=1, progress=False)
    assert digests(tmp_path) == digests(whole) and not list(tmp_path.rglob("*.partial"))


def test_an_interrupt_stops_the_workers_and_says_how_to_go_on(tmp_path):
    settings = [*TINY_OPTIONS, "--train", "500", "--workers", "2", "--out", str(tmp_path)]
    command = [sys.executable, "-m", "solvers", "run", *settings]
    driver = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, start_new_session=True, text=True)
    _wait_for(lambda: files(tmp_path) or driver.poll() is not None)
    os.killpg(driver.pid, signal.SIGINT)
    _, message = driver.communicate(timeout=60)
    assert driver.returncode == 130 and "Run the same command again" in message and "Traceback" not in message
    _wait_for(lambda: not _alive_in_session(driver.pid))
    assert not list(tmp_path.rglob("*.partial"))
    assert "complete" in {state for state, _ in survey(tmp_path).values()}


def _wait_for(condition, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def _alive_in_session(session: int) -> list[int]:
    """Processes of the session that are neither gone nor zombies."""
    alive = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == session and fields[0] != "Z":
                alive.append(int(folder.name))
    return alive


# Plans, journals, locks


def test_another_plan_in_the_folder_is_refused_by_name(copied):
    before = stamps(copied)
    with pytest.raises(
        ValueError, match="frames is 2 there and 3 here, root_seed is 2024 there and 1 here.*Choose another"
    ):
        generate(replace(TINY, frames=3, root_seed=1), copied, workers=1, progress=False)
    assert stamps(copied) == before


def test_a_damaged_plan_is_named_and_samples_outlive_its_deletion(copied):
    (copied / "plan.json").write_text('{"plan": ')
    with pytest.raises(ValueError, match="damaged; delete it"):
        generate(TINY, copied, workers=1, progress=False)
    (copied / "plan.json").unlink()
    assert generate(TINY, copied, workers=1, progress=False).reused == 4


def test_the_journal_has_a_line_per_sample_and_a_torn_one_is_cut(copied):
    journal = copied / "journal.jsonl"
    records = [json.loads(line) for line in journal.read_text().splitlines()]
    assert sorted(record["index"] for record in records) == [0, 1, 2, 3]
    assert all(record["status"] == "done" and record["newton_iterations"] > 0 for record in records)
    journal.write_bytes(journal.read_bytes() + b'{"index": 9, "sta')
    files(copied)[0].unlink()
    generate(TINY, copied, workers=1, progress=False)
    assert [json.loads(line)["index"] for line in journal.read_text().splitlines()][-1] == 3


def test_a_damaged_line_in_the_journal_is_passed_over(copied, capsys):
    journal = copied / "journal.jsonl"
    first, *others = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([first, b'{"index": \xff\n', b"[1]\n", b'{"index": [0]}\n', b"\n", *others]))
    assert main(["status", str(copied)]) == main(["verify", str(copied)]) == 0
    assert generate(TINY, copied, workers=1, progress=False).reused == 4


def test_two_runs_in_one_folder_are_refused(copied):
    with engine_module.Journal(copied), pytest.raises(BlockingIOError, match="another run"):
        generate(TINY, copied, workers=1, progress=False)


@pytest.mark.parametrize(
    "change",
    [
        {"shape": (6, 5, 6)},
        {"shape": (6, 6, 5)},
        {"tops_spacing": (50.0, -50.0)},
        {"tops_spacing": (50.0, 0.2)},
        {"spacing": (0.2, 50.0, 5.0)},
        {"tops": "top.h5", "tops_shape": (0, 5)},
        {"tops_shape": (9, 9)},
        {"tops_crop": (0, 9, 0, 9)},
        {"tops": "top.h5", "tops_crop": (0, 9)},
        {"years": np.nan},
        {"spacing": (50.0, 0.0, 5.0)},
        {"train": -1},
        {"train": 0, "valid": 0, "test": 0},
        {"years": 0.0},
        {"frames": 0},
        {"rate": (2.0, 1.0)},
        {"root_seed": -1},
    ],
)
def test_senseless_settings_are_refused(change):
    with pytest.raises(ValueError, match="Settings"):
        replace(TINY, **change)


def test_a_synthetic_top_that_would_fill_the_memory_is_refused():
    with pytest.raises(ValueError, match="choose fewer or smaller cells"):
        make_plan(replace(TINY, spacing=(1e6, 1e6, 5.0)))


# Failures


def failing(indices):
    """make_sample that gives up on some samples."""

    def make(plan, index):
        if index in indices:
            raise SimulationError(f"sample {index} would not converge")
        return make_sample(plan, index)

    return make


def test_a_failing_sample_is_reported_and_the_others_are_made(tmp_path, monkeypatch, whole):
    monkeypatch.setattr(engine_module, "make_sample", failing({1}))
    summary = generate(TINY, tmp_path, workers=1, progress=False, max_failures=0.3)
    assert summary.made == 3 and [record["index"] for record in summary.failed] == [1]
    assert survey(tmp_path)[1] == ("failed", "SimulationError: sample 1 would not converge")
    assert {name: d for name, d in digests(whole).items() if "1" not in name} == digests(tmp_path)


def test_a_failed_sample_is_not_simulated_again_unless_told_to(tmp_path, monkeypatch):
    monkeypatch.setattr(engine_module, "make_sample", failing({1}))
    first = generate(TINY, tmp_path, workers=1, progress=False, max_failures=0.3)
    monkeypatch.setattr(engine_module, "make_sample", make_sample)  # it would succeed now
    again = generate(TINY, tmp_path, workers=1, progress=False, max_failures=0.3)
    assert (again.made, again.reused, again.failed) == (0, 3, first.failed)
    with pytest.raises(
        GenerationError, match="1 of the 4 samples(.|\n)*--retry-failed(.|\n)*sample 1 would not converge"
    ):
        generate(TINY, tmp_path, workers=1, progress=False)
    retried = generate(TINY, tmp_path, workers=1, progress=False, retry_failed=True)
    assert (retried.made, retried.reused, retried.failed) == (1, 3, ())
    assert generate(TINY, tmp_path, workers=1, progress=False).reused == 4


def test_a_sample_that_failed_under_another_plan_is_tried(tmp_path, monkeypatch):
    monkeypatch.setattr(engine_module, "make_sample", failing({1}))
    generate(TINY, tmp_path, workers=1, progress=False, max_failures=0.3)
    (tmp_path / "plan.json").unlink()
    monkeypatch.setattr(engine_module, "make_sample", make_sample)
    assert generate(replace(TINY, root_seed=7), tmp_path, workers=1, progress=False).made == 4


def test_too_many_failures_are_an_error_with_the_first_traceback(tmp_path, monkeypatch):
    monkeypatch.setattr(engine_module, "make_sample", failing({1}))
    with pytest.raises(GenerationError, match="1 of the 4 samples(.|\n)*Traceback(.|\n)*sample 1 would not converge"):
        generate(TINY, tmp_path, workers=1, progress=False)
    assert len(files(tmp_path)) == 3


def test_a_run_in_which_the_first_five_fail_stops(tmp_path, monkeypatch):
    monkeypatch.setattr(engine_module, "make_sample", failing(range(100)))
    with pytest.raises(GenerationError, match="first 5 samples all failed"):
        generate(replace(TINY, train=50), tmp_path, workers=1, progress=False, max_failures=1.0)
    assert len((tmp_path / "journal.jsonl").read_text().splitlines()) == 5


@pytest.mark.parametrize(
    "fault", [{"mass_balance_error": 1e-7}, {"mass_balance_error": np.nan}, {"saturation": np.nan}]
)
def test_a_result_that_loses_mass_or_is_not_finite_is_no_sample(monkeypatch, fault):
    true_simulate = sample_module.simulate

    def simulate(*arguments, **options):
        result = true_simulate(*arguments, **options)
        spoiled = {name: value * np.ones_like(getattr(result, name)) for name, value in fault.items()}
        return replace(result, **spoiled)

    monkeypatch.setattr(sample_module, "simulate", simulate)
    with pytest.raises(SimulationError, match="mass|finite"):
        make_sample(make_plan(TINY), 0)


def test_a_folder_that_cannot_be_made_and_an_unfit_top_are_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="cannot make the folder"):
        generate(TINY, tmp_path / "file" / "data", workers=1, progress=False)
    with pytest.raises(FileNotFoundError, match="absent.h5"):
        generate(replace(TINY, tops="absent.h5"), tmp_path / "data", workers=1, progress=False)
    with h5py.File(tmp_path / "small.h5", "w") as file:
        file["tops"] = np.full((3, 3), 700.0)
    with pytest.raises(ValueError, match="spans 250 x 300 m .* only 100 x 100 m"):
        generate(replace(TINY, tops=str(tmp_path / "small.h5")), tmp_path / "data", workers=1, progress=False)
    assert not (tmp_path / "data").exists()


def test_a_full_disk_is_one_clear_error_and_no_half_file(tmp_path):
    def limit_files():  # a write beyond the limit fails as it does on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    command = [sys.executable, "-m", "solvers", "run", *TINY_OPTIONS, "--workers", "1", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, preexec_fn=limit_files, capture_output=True, text=True)
    assert done.returncode == 1 and "cannot write" in done.stderr and "run again" in done.stderr
    assert "Traceback" not in done.stderr and not list(tmp_path.rglob("*.h5*"))


# Workers


def has_mpi(_) -> bool:
    return "mpi4py.MPI" in sys.modules


def die_once(folder: str) -> int:
    """Kill this worker the first time."""
    marker = Path(folder) / "died"
    if not marker.exists():
        marker.write_text("")
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()


def die(_) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_workers_do_not_import_mpi():
    assert list(run_in_processes(has_mpi, [0, 1], 2)) == [False, False]


def test_a_killed_worker_is_replaced_and_no_task_is_lost(tmp_path):
    assert len(list(run_in_processes(die_once, [str(tmp_path)] * 6, 1))) == 6


def test_workers_that_always_die_end_the_run():
    with pytest.raises(RuntimeError, match="giving up"):
        list(run_in_processes(die, [0], 1))


# The command line


def test_commands_from_a_sample_to_its_picture(tmp_path, capsys):
    sample = tmp_path / "sample.h5"
    assert (
        main(
            [
                "simulate",
                "--shape",
                "6,6,6",
                "--rate",
                "1e-3,1e-3",
                "--years",
                "0.2",
                "--frames",
                "2",
                "--out",
                str(sample),
            ]
        )
        == 0
    )
    assert main(["plot", str(sample)]) == 0
    assert sample.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert main(["verify", str(sample)]) == 0
    assert "complete and unchanged" in capsys.readouterr().out


def test_status_counts_and_verify_judges(copied, capsys):
    assert main(["verify", str(copied)]) == 0
    files(copied)[1].unlink()
    assert main(["status", str(copied)]) == 0
    train = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("train"))
    assert train.split() == ["train", "1", "1", "0", "0"]
    assert main(["verify", str(copied)]) == 1


def test_mistakes_of_the_user_end_in_one_line(tmp_path, capsys):
    assert main(["plot", str(tmp_path / "absent.h5")]) == 1
    assert main(["status", str(tmp_path)]) == 1
    assert main(["run", "--train", "-3", "--out", str(tmp_path)]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3 and all(line.startswith("python -m solvers ") for line in lines)
    with pytest.raises(SystemExit) as error:
        main(["run", "--shape", "3,4", "--out", str(tmp_path)])
    assert error.value.code == 2


def test_a_mistake_is_told_of_the_argument_that_has_it(tmp_path, capsys):
    with pytest.raises(ValueError) as error:
        generate(TINY, tmp_path, workers=0)
    assert "workers" in str(error.value) and "max_failures" not in str(error.value)
    for command in ("run", "simulate"):
        with pytest.raises(SystemExit):
            main([command, "--out", ""])
        assert "expected a name" in capsys.readouterr().err


def test_what_cannot_be_written_is_refused_before_the_work(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("solvers.generate.make_sample", None)  # nothing is simulated
    there = tmp_path / "there.h5"
    there.write_text("mine")
    mistakes = {
        ("simulate", "--out", str(there)): "is there already",
        ("simulate", "--out", str(tmp_path / "nowhere" / "sample.h5")): "no folder",
        ("simulate", "--index", "-1", "--out", str(tmp_path / "new.h5")): "--index must be >= 0, got -1",
        ("plot", "sample.h5", "--out", str(there)): "is there already",
    }
    for arguments, reason in mistakes.items():
        assert main([*arguments]) == 1
        assert reason in capsys.readouterr().err
    assert there.read_text() == "mine"


def test_a_lack_of_memory_ends_in_one_line(tmp_path, capsys, monkeypatch):
    def greedy(settings):
        raise MemoryError("Unable to allocate 1 PiB")

    monkeypatch.setattr("solvers.generate.make_plan", greedy)
    assert main(["simulate", "--out", str(tmp_path / "sample.h5")]) == 1
    assert capsys.readouterr().err == "python -m solvers simulate: not enough memory: Unable to allocate 1 PiB\n"


def test_every_command_has_help_with_an_example_of_itself(capsys):
    for command in ("simulate", "plot", "run", "status", "verify"):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        assert f"example:\n  python -m solvers {command} " in capsys.readouterr().out
