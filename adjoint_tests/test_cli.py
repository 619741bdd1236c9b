"""The command line under a real mpiexec: mistakes are told once, in one line; a killed rank ends the job."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path
from random import Random

import h5py
import numpy as np
import pytest
from test_training import CELLS, FRAMES, make_data

from refimpl import cli, wire
from refimpl.cli import evaluate, report
from refimpl.cli.config import Config, Model, read, write
from refimpl.cli.launch import environment, mpiexec
from refimpl.training import Training
from refimpl.training.checkpoint import committed
from refimpl.training.dataset import INPUTS

SMALL = Model(width=3, modes=(2, 2, 1, 2), blocks=1, hidden=4, dtype="float64")
TINY = ["--cells", "6,6,6", "--samples", "2"]
ROOT = Path(__file__).parents[1]


@pytest.fixture
def config(tmp_path):
    make_data(tmp_path)
    (tmp_path / "data" / "test").mkdir()
    (tmp_path / "data" / "test" / "sample-0.h5").hardlink_to(tmp_path / "data" / "valid" / "sample-0.h5")
    path = tmp_path / "train.toml"
    write(path, Config(data=tmp_path, out=tmp_path / "out", model=SMALL, training=Training(epochs=2)))
    return path


def refimpl(*arguments, ranks=2):
    command = [mpiexec(), "-n", str(ranks), sys.executable, "-m", "refimpl", *map(str, arguments)]
    return subprocess.run(command, env=environment(ranks), capture_output=True, text=True, timeout=60, check=False)


def lines(done):
    return [line for line in done.stderr.splitlines() if line.startswith("refimpl")]


def test_train_then_evaluate_then_predict_then_verify(config):
    out = config.parent / "out"
    assert refimpl("train", config).returncode == 0
    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG") and len((out / "log.csv").read_text().split()) == 3
    evaluated = refimpl("evaluate", config, ranks=1)
    assert evaluated.returncode == 0 and "relative L2 error, network" in evaluated.stdout
    found = json.loads((out / "evaluation.json").read_text())
    assert found["ranks"] == 1 and found["progress"]["ranks"] == [2]
    assert found["progress"]["core_seconds"] == 2 * found["progress"]["seconds"]
    table = [line.split() for line in evaluated.stdout.splitlines()]
    for name, errors in zip(["1", "2", "3", "all"], [*found["frame_errors"]["network"], None], strict=True):
        row = next(row for row in table if row[:1] == [name])
        case = found["cases"][0]["network_errors"]  # there is one case
        assert [float(word) for word in row[1:]] == pytest.approx(list((errors or case).values()), rel=1e-3)
    predicted = refimpl(
        "predict", config, config.parent / "data" / "test", "--out", config.parent / "predicted", ranks=3
    )
    assert predicted.returncode == 0 and "predicted 1 cases of 6 x 5 x 4 cells x 3 frames" in predicted.stdout
    with h5py.File(config.parent / "predicted" / "sample-0.h5") as mine, h5py.File(out / "predictions.h5") as theirs:
        field, expected = mine["t0_fields/saturation"][:], theirs["sample-0.h5/prediction"][:]
    assert field.shape == (1, FRAMES, *CELLS) and np.allclose(
        np.moveaxis(field[0], 0, -1), expected, rtol=0, atol=1e-10
    )
    verified = refimpl("verify", "--config", config, ranks=1)
    assert verified.returncode == 0 and "the trained FNO" in verified.stdout and "FAILED" not in verified.stdout


def test_a_data_parallel_training_of_windows_rolls_out_to_more_frames_on_other_cells(config):
    text = config.read_text().replace("batch = 1", "batch = 2\ngrid = [2, 1, 1, 1, 1, 1]")
    config.write_text(text.replace("window = 0", "window = 2").replace("tensorboard = false", "tensorboard = true"))
    trained = refimpl("train", config)
    assert trained.returncode == 0 and "grid (2, 1, 1, 1, 1, 1)" in trained.stdout
    assert trained.stdout.count("TensorBoard is not installed") == (find_spec("tensorboard") is None)
    case = config.parent / "new.h5"
    with h5py.File(case, "w") as file:
        for name in INPUTS:
            file[f"t0_fields/{name}"] = np.ones((1, 7, 8, 4), "float32")
    arguments = ("predict", config, case, "--out", config.parent / "far", "--best", "--frames", "5")
    done = refimpl(*arguments)
    assert done.returncode == 0 and "1 cases of 7 x 8 x 4 cells x 5 frames" in done.stdout
    with h5py.File(config.parent / "far" / "new.h5") as file:
        field = file["t0_fields/saturation"]
        assert field.shape == (1, 5, 7, 8, 4) and np.all(np.isfinite(field))
    assert refimpl("evaluate", config, "--best").returncode == 0


@pytest.fixture
def alone(monkeypatch, capsys):
    """``alone(command, ...)``: the one line that is told where a command fails, in this process and on it alone."""
    for name in cli.RANK_NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("refimpl.wire.world", lambda: wire.mpi().COMM_SELF)

    def told(command, *arguments):
        assert cli.main([command, *map(str, arguments)]) == 1
        error = capsys.readouterr().err.splitlines()[-1]
        assert error.startswith(f"refimpl {command}: ")
        return error

    return told


def test_mistakes_in_a_training_and_a_prediction_are_told_on_one_line(config, alone):
    test = config.parent / "data" / "test"

    def told(*arguments):
        return alone("predict", *arguments)

    assert "there is no HDF5 file" in told(config, config.parent / "nothing.h5", "--out", config.parent / "p")
    assert "/*.h5" in told(config, config.parent, "--out", config.parent / "p")
    assert "would take the place of" in told(config, test, "--out", test)
    assert "no checkpoint in" in told(config, test, "--out", config.parent / "p")
    text = config.read_text()
    for old, new, problem in (
        ("window = 0", "window = 4", "a window of 4 frames is longer than the 3 frames there are"),
        ("accumulate = 1", "accumulate = 5", "a batch of 1 5 times needs as many samples, there are 4"),
    ):
        config.write_text(text.replace(old, new))
        assert problem in alone("train", config)
    config.write_text(text)
    assert cli.main(["train", str(config)]) == 0
    assert f"expected 1 to {FRAMES} frames" in told(config, test, "--out", config.parent / "p", "--frames", "4")
    assert not (config.parent / "p").exists()
    (config.parent / "bad.h5").write_bytes(b"no HDF5")
    assert "bad.h5 cannot be read; check how it was made" in told(
        config, config.parent / "bad.h5", "--out", config.parent / "p"
    )


def test_a_second_training_needs_resume_and_then_has_nothing_to_do(config):
    assert refimpl("train", config).returncode == 0
    again = refimpl("train", config)
    assert again.returncode == 1 and len(lines(again)) == 1 and "--resume" in again.stderr
    assert "Traceback" not in again.stderr
    assert refimpl("train", config, "--resume", ranks=1).returncode == 0


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("width", "wdith", "no entry wdith"),
        ("batch = 1", "batch = 1\ngrid = [1, 1, 4, 1, 1, 1]", "needs 4 ranks"),
        ("batch = 1", "batch = 1\ngrid = [1, 1, 1, 1, 1, 2]", "must be whole"),
    ],
)
def test_a_mistake_in_the_configuration_is_told_once(config, old, new, told):
    replace(config, old, new)
    done = refimpl("train", config)
    assert done.returncode == 1 and told in done.stderr and "Traceback" not in done.stderr
    assert len(lines(done)) == 1


def replace(config, old, new):
    text = config.read_text()
    assert old in text
    config.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("modes = [2, 2, 1, 2]", "modes = [9, 2, 1, 2]", "holds 1 to 3 modes"),
        ("epochs = 2", "epochs = ", "train.toml"),
        ('data = "."', 'data = "nowhere"', "no samples in"),
        ('data = "."', "data = 3", "must be the name of a folder"),
        ("width = 3", 'width = "a"', "width must be like 12"),
        ("epochs = 2", "epochs = 0", "epochs and save_every must be at least 1"),
        ("batch = 1", "batch = 0", "batch must be at least 1"),
    ],
)
def test_a_mistake_in_the_configuration_is_told_before_the_work(config, alone, old, new, told):
    replace(config, old, new)
    assert told in alone("train", config)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('dtype = "float64"', 'dtype = "banana"', "model: dtype must be float32 or float64, got 'banana'"),
        ('dtype = "float64"', 'dtype = "complex64"', "model: dtype must be"),
        ("hidden = 4\n", "hidden = 4\nseed = -1\n", "model: seed must be"),
        ("epochs = 2\n", "epochs = 2\nseed = -1\n", "training: seed must be"),
        ("window = 0", "window = -1", "model: window must be at least 0"),
        ("warmup = 20", "warmup = -1", "warmup at least 0"),
        ("limit = 1.0", "limit = 0", "rate and limit must be positive"),
        ('schedule = "cosine"', 'schedule = "linear"', "schedule must be one of constant, cosine, step"),
        ('loss = "relative_l2"', 'loss = "mse"', "loss must be one of relative_l2, relative_h1, plume_l2"),
        ("tensorboard = false", "tensorboard = 1", "tensorboard must be like false, got 1"),
        ("batch = 1", "batch = 1\ngrid = 2", r"grid must be like \[1, 1, 2, 1, 1, 1\], got 2"),
        ('out = "out"', 'out = ""', "out must be the name of a folder"),
    ],
)
def test_a_mistake_in_the_configuration_is_told_with_its_key(config, old, new, told):
    text = "\n".join(line for line in config.read_text().splitlines() if not line.startswith("seed")) + "\n"
    assert old in text
    config.write_text(text.replace(old, new))
    with pytest.raises(ValueError, match=f"train.toml.*{told}"):
        read(config)


def test_more_ranks_than_cells_train_too(config):
    assert refimpl("train", config, ranks=8).returncode == 0


def test_an_unwritable_out_is_told_once(config):
    (config.parent / "out").write_text("a file, not a folder")
    done = refimpl("train", config)
    assert done.returncode == 1 and len(lines(done)) == 1 and "Traceback" not in done.stderr
    assert "cannot write into the folder" in done.stderr and "training" not in done.stdout  # before the work


def test_an_unwritable_report_is_told_once_and_before_the_tests(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    for path, told in ((tmp_path / "file" / "adjoints.json", "cannot write"), (tmp_path, "is a folder")):
        done = refimpl("verify", "--report", path)
        assert done.returncode == 1 and len(lines(done)) == 1 and told in done.stderr and not done.stdout


def test_a_killed_rank_ends_the_job_and_training_goes_on_to_the_bits_of_one_that_was_not_killed(config):
    """Of two trainings without end, one rank is killed at a moment that nobody chose; what is complete then stays."""
    endless = config.read_text().replace("epochs = 2", "epochs = 100000").replace("save_every = 5", "save_every = 1")
    endless = endless.replace('schedule = "cosine"', 'schedule = "constant"').replace("warmup = 20", "warmup = 0")
    config.write_text(endless)
    command, out, rng = (
        [mpiexec(), "-n", "2", sys.executable, "-m", "refimpl", "train"],
        config.parent / "out",
        Random(),
    )
    for _ in range(2):
        before, moment = newest(out), rng.uniform(0, 0.3)
        arguments = dict(env=environment(2), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with subprocess.Popen([*command, str(config), "--resume"], **arguments) as job:
            wait_until(lambda before=before: newest(out) > before)
            time.sleep(moment)
            os.kill(rng.choice(ranks_of(job.pid)), signal.SIGKILL)
            start = time.monotonic()
            assert job.wait(timeout=10) != 0
            assert time.monotonic() - start < 10
    last = newest(out) + 1
    for name in ("out", "whole"):
        text = endless.replace("epochs = 100000", f"epochs = {last}").replace('out = "out"', f'out = "{name}"')
        config.write_text(text)
        done = refimpl("train", config, "--resume")
        assert done.returncode == 0 and "older checkpoint" not in done.stdout, done.stderr
    one, two = (stored(config.parent / name / f"step-{last:06d}") for name in ("out", "whole"))
    assert set(one) == set(two) and all(np.array_equal(array, two[name]) for name, array in one.items())


def newest(out: Path) -> int:
    """The step of the newest checkpoint, 0 where there is none."""
    return max((int(path.name[5:]) for path in committed(out) if path.suffix == ""), default=0)


def stored(checkpoint: Path) -> dict[str, np.ndarray]:
    arrays = {}
    for shard in checkpoint.glob("*.h5"):
        with h5py.File(shard) as file:
            found = []
            file.visititems(lambda name, item, found=found: found.append(name) if hasattr(item, "dtype") else None)
            arrays |= {f"{shard.name}/{name}": file[name][()] for name in found}
    return arrays


def wait_until(ready, seconds=40):
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def ranks_of(parent: int) -> list[int]:
    """The descendants of a process that run Python, by /proc."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except OSError:
            continue
        pid, ppid = int(text.split()[0]), int(text.rsplit(")", 1)[1].split()[1])
        if ppid == parent:
            found += [pid] if "python" in text.split("(")[1] else ranks_of(pid)
    return sorted(found)


def test_no_process_outlives_a_demo_that_is_ended_while_it_trains(tmp_path):
    command = [sys.executable, "-m", "refimpl", "demo", "--out", str(tmp_path), *TINY, "--epochs", "100000"]
    for number in (signal.SIGTERM, signal.SIGKILL) if sys.platform == "linux" else (signal.SIGTERM,):
        with subprocess.Popen(
            command, env=environment(2), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as demo:
            wait_until(lambda: trains(demo.pid))
            family = descendants(demo.pid)
            assert len(family) >= 4  # mpiexec, its proxy and two ranks
            demo.send_signal(number)
            code = demo.wait(timeout=10)
        deadline = time.monotonic() + 5
        while (left := [pid for pid in family if alive(pid)]) and time.monotonic() < deadline:
            time.sleep(0.1)
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        assert not left and code == (128 + number if number == signal.SIGTERM else -number)


def trains(demo: int) -> bool:
    return sum(b"train" in command_of(pid) and b"-n" not in command_of(pid) for pid in descendants(demo)) >= 2


def command_of(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return []


def descendants(parent: int) -> list[int]:
    children = [pid for pid, (_, ppid) in processes().items() if ppid == parent]
    return children + [pid for child in children for pid in descendants(child)]


def alive(pid: int) -> bool:
    return processes().get(pid, ("Z", 0))[0] != "Z"


def processes() -> dict[int, tuple[str, int]]:
    """pid -> (state, parent), by /proc."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text().rsplit(")", 1)[1].split()[:2]
        except OSError:
            continue
        found[int(stat.parent.name)] = state, int(parent)
    return found


def test_no_mpiexec_is_told_in_one_line(tmp_path):
    fake = tmp_path / "python"
    fake.symlink_to(sys.executable)
    script = (
        f"import sys; sys.executable = {str(fake)!r}\n"
        "from refimpl.cli import launch\n"
        "try: launch.mpiexec()\n"
        "except RuntimeError as error: print(error)\n"
    )
    env = {**os.environ, "PATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True)
    assert "refimpl[mpich]" in done.stdout


def test_no_mpi_library_is_told_in_one_line():
    code = "import sys; sys.modules['mpi4py'] = None; from refimpl.cli import main; sys.exit(main(['verify']))"
    for command in ([sys.executable, "-c", code], [str(mpiexec()), "-n", "2", sys.executable, "-c", code]):
        done = subprocess.run(command, env=environment(2), capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 1 and len(done.stderr.splitlines()) == 1 and "refimpl[mpich]" in done.stderr


def test_the_demo_makes_its_page_and_reuses_what_is_there(tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, "-m", "refimpl", "demo", "--out", str(out), *TINY, "--epochs", "1"]
    clean = environment(2)  # an mpiexec around the suite is not the demo's
    first = subprocess.run(command, env=clean, capture_output=True, text=True, timeout=120, check=False)
    assert first.returncode == 0, first.stderr
    made = [p for p in (tmp_path / "out").rglob("*") if p.suffix == ".h5" and p.name != "predictions.h5"]
    times = {p: p.stat().st_mtime_ns for p in made}
    page = (tmp_path / "out" / "index.html").read_text()
    assert len(made) > 12 and "FAILED" not in page and "http://" not in page and "https://" not in page
    with h5py.File(next(p for p in made if p.parent.name == "train"), "a") as file:
        file["t0_fields/saturation"][0, 1, 0, 0, 0] = np.nan
    command += ["--ranks", "3"]
    again = subprocess.run(command, env=clean, capture_output=True, text=True, timeout=120, check=False)
    assert again.returncode == 0 and "made 1, reused 11, failed 0" in again.stdout
    assert sum(p.stat().st_mtime_ns != t for p, t in times.items()) == 1
    assert "over 2 MPI ranks" in (out / "index.html").read_text()  # it was not trained again
    told = report.facts(out, read(out / "train.toml"), one=1.0)
    assert told["evaluation"]["ranks"] == 3 and told["core_speed"] == pytest.approx(told["speed"] / 3)
    assert told["spent_core_seconds"] == pytest.approx(told["data_seconds"] + 2 * told["training_seconds"])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--out", ""], "expected a name"),
        (["--tops-shape", "9,9"], "no file tops is given"),
        (["--tops", "."], "is a folder, expected a file"),
        (["--workers", "0"], "at least 1 of workers, got 0\n"),
        (["--cells", "100000,100000,6"], "choose fewer or smaller cells"),
    ],
)
def test_a_mistake_in_the_arguments_of_the_demo_is_told(tmp_path, arguments, told):
    command = [sys.executable, "-m", "refimpl", "demo", "--out", str(tmp_path / "out"), *arguments]
    done = subprocess.run(command, env=environment(1), capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode in (1, 2) and told in done.stderr and len(lines(done)) == 1


def test_a_demo_under_mpiexec_is_refused_once(tmp_path):
    done = refimpl("demo", "--out", tmp_path / "out", ranks=3)
    assert done.returncode != 0 and len(lines(done)) == 1 and "run it without mpiexec" in done.stderr


def test_make_hands_names_with_spaces_to_the_demo():
    env = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}  # one may be around us
    command = ["make", "--dry-run", "demo", "OUT=with space", "TOPS=it's my top.h5"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    words = shlex.split(next(line for line in done.stdout.splitlines() if " demo " in line))
    assert words[words.index("demo") :][:5] == ["demo", "--out", "with space", "--tops", "it's my top.h5"]


def test_every_command_has_help_with_an_example(capsys):
    for name in cli.COMMANDS:
        with pytest.raises(SystemExit) as end:
            cli.parse([name, "--help"])
        shown = capsys.readouterr().out
        assert end.value.code == 0 and "example" in shown and f"refimpl {name}" in shown


def test_the_example_has_every_entry_at_its_default_and_is_shown(tmp_path, capsys):
    text = Path(cli.__file__).with_name("example.toml").read_text()
    (tmp_path / "example.toml").write_text(text)
    found = read(tmp_path / "example.toml")
    assert found == Config(tmp_path / "data", tmp_path / "training", grid=(1, 1, 2, 1, 1, 1))
    for kind in (Config, Model, Training):
        missing = {field.name for field in fields(kind)} - {
            line.split(" ")[0].strip("[]") for line in text.splitlines()
        }
        assert not missing
    with pytest.raises(SystemExit):
        cli.parse(["train", "--help"])
    assert text.strip() in capsys.readouterr().out


def test_a_disk_that_is_full_leaves_both_results_of_an_evaluation_as_they_were(tmp_path, monkeypatch):
    def evaluated(number):
        fields = {"truth": np.full((1, 1, 3), number)}
        evaluate.write(tmp_path, {"cases": [{"file": "a"}], "number": number}, [fields])

    def full(path, _):
        path.touch()
        if path.name.startswith("evaluation"):
            raise OSError(28, "No space left on device")

    evaluated(1)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match=r"No space left on device.*evaluation\.json\.partial"):
        evaluated(2)
    assert sorted(before) == ["evaluation.json", "predictions.h5"]
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_configuration_survives_writing_and_reading(tmp_path):
    config = Config(data=tmp_path / "a", out=tmp_path / "b", batch=3, grid=(1, 1, 2, 1, 1, 1), model=SMALL)
    write(tmp_path / "c.toml", config)
    assert read(tmp_path / "c.toml") == config


def test_a_configuration_names_a_link_to_another_disk_as_it_was_given(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "data").symlink_to(tmp_path / "disk")
    config = Config(data=tmp_path / "out" / "data", out=tmp_path / "out" / "training")
    write(tmp_path / "out" / "c.toml", config)
    assert read(tmp_path / "out" / "c.toml") == config


def test_a_benchmark_without_its_peer_tells_what_to_install():
    run = "import runpy, sys; sys.modules['torch'] = None; sys.path.insert(0, 'benchmarks'); "
    command = [sys.executable, "-c", run + "runpy.run_path('benchmarks/fno.py')"]
    env = {"PYTHONPATH": str(ROOT)} | environment(1)
    done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1 and done.stderr.splitlines()[-1].endswith("pip install -r benchmarks/requirements.txt")
    assert len(done.stderr.splitlines()) == 1


def test_help_and_import_do_not_start_mpi():
    code = "import sys, refimpl, refimpl.cli; refimpl.cli.parse(['train', 'x']); print('mpi4py.MPI' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    heavy = "import sys, refimpl; print([m for m in ('scipy', 'h5py', 'matplotlib') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
