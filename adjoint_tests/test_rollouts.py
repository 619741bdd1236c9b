"""Rollouts: windows of a data set, and networks that go on from their own predictions."""

import h5py
import numpy as np
import pytest
from test_training import CELLS, FRAMES, few, make_data, network
from theorems import same_text, whole

import refimpl as ri
from refimpl import wire
from refimpl.arrays import namespace, to_host
from refimpl.models import FNO
from refimpl.training import Cases, Dataset, Scaling, Training, View, fit, load_model, rollout
from refimpl.training.dataset import INPUTS, OUTPUT
from refimpl.training.loop import batches, errors

RAW = Scaling((0.0,) * len(INPUTS), (1.0,) * len(INPUTS))


@pytest.fixture
def data(shared_tmp_path, team):
    wire.together(team, lambda: make_data(shared_tmp_path) if team.rank == 0 else None)
    return shared_tmp_path


def windowed(team, batch=2, window=2):
    """A network that predicts a window from the state before it."""
    X = ri.Space(ri.Partition(team, (1, 1, team.size, 1, 1, 1)), (batch, len(INPUTS) + 1, *CELLS, 1))
    return FNO(X, width=3, modes=(2, 2, 1, 2), blocks=1, out_timesteps=window, hidden=4)


def test_a_window_starts_at_a_state_and_holds_the_frames_after_it(team, data):
    model, set_ = windowed(team), Dataset(team, data, "train")
    assert set_.starts(model.domain, model.range) == 2
    x, y = set_.read([View(2, (), 1), View(1, (0,), 0)], model.domain, model.range, RAW)
    x, y = whole(model.domain, x), whole(model.range, y)
    for row, (i, turn, start) in enumerate([(2, 1, 1), (1, -1, 0)]):
        with h5py.File(set_.files[i]) as file:
            saturation = file["t0_fields"][OUTPUT][0][:, ::turn]
        assert np.array_equal(x[row, -1, ..., 0], saturation[start])
        assert np.array_equal(np.moveaxis(y[row, 0], -1, 0), saturation[start + 1 : start + 3])


def test_an_epoch_of_windows_sees_every_start_of_every_sample_once():
    views = [view for batch in batches(4, 2, 0, 0, starts=3) for view in batch]
    assert {(view.sample, view.start) for view in views} == {(i, k) for i in range(4) for k in range(3)}
    assert len(views) == 12


class Counting:
    """Predicts s + 1, .., s + w from a state s."""

    def __init__(self, X, window):
        self.domain, self.window, self.applied = X, window, 0
        self.range = X.replace(shape=(X.shape[0], 1, *X.shape[2:-1], window))

    def __call__(self, x):
        self.applied += 1
        xp = namespace(x)
        return xp.concat([x[:, -1:, ...] + k for k in range(1, self.window + 1)], axis=-1)


@pytest.mark.parametrize(("window", "frames", "applied"), [(2, 5, 3), (2, 2, 1), (3, 1, 1), (1, 4, 4)])
def test_a_rollout_goes_on_from_the_last_frame_of_each_window(team, window, frames, applied):
    X = ri.Space(ri.Partition(team, (1, 1, team.size, 1, 1, 1)), (2, len(INPUTS) + 1, *CELLS, 1))
    model, x = Counting(X, window), X.random(1)
    y = rollout(model, x, frames)
    Y = model.range.replace(shape=(*model.range.shape[:-1], frames))
    expected = whole(X, x)[:, -1:] + np.arange(1, frames + 1)
    assert np.allclose(whole(Y, y), expected, rtol=0, atol=1e-14) and model.applied == applied


def test_a_network_without_a_state_predicts_its_frames_and_no_more(team):
    few(team)
    model = network(team)
    x = model.domain.random(1)
    assert np.array_equal(rollout(model, x, FRAMES), model(x))
    assert np.array_equal(rollout(model, x, FRAMES - 1), model(x)[..., : FRAMES - 1])
    for frames in (0, FRAMES + 1):
        text = same_text(team, lambda frames=frames: rollout(model, x, frames))
        assert f"expected 1 to {FRAMES} frames" in text and "trained with a window" in text


def test_a_network_of_windows_trains_on_any_ranks_and_its_held_out_error_is_that_of_the_rollout(team, data):
    few(team)
    train, held_out, plan = Dataset(team, data, "train"), Dataset(team, data, "valid"), Training(epochs=2)
    model, single = windowed(team), windowed(team, 1)
    progress = fit(model, single, train, held_out, train.scaling(), plan, data / "out")
    alone = windowed(ri.wire.group(team, (team.rank,)), 1)
    _, scaling = load_model(alone, data / "out")
    lone = Dataset(alone.domain.comm, data, "valid")
    x, target = lone.read([View(0)], alone.domain, alone.range.replace(shape=(1, 1, *CELLS, FRAMES)), scaling)
    first, xp = alone(x), namespace(x)
    second = alone(xp.concat([x[:, :-1, ...], first[..., -1:]], axis=1))
    predicted, target = to_host(xp.concat([first, second], axis=-1))[..., :FRAMES], to_host(target)
    error = np.linalg.norm(predicted - target) / np.linalg.norm(target)
    assert progress.held_out[-1] == pytest.approx(error, rel=1e-10)
    assert errors(alone, lone, scaling) == pytest.approx([error], rel=1e-12)


def test_new_cases_need_no_simulation_and_begin_without_co2(team, data):
    def spoil():
        with h5py.File(data / "data" / "train" / "sample-1.h5", "a") as file:
            del file["t0_fields"][OUTPUT]

    model = windowed(team)
    files = Dataset(team, data, "train").files[:2]
    wire.together(team, lambda: spoil() if team.rank == 0 else None)
    cases = Cases(team, files, data)
    assert cases.cells == list(CELLS) and len(cases) == 2
    x = whole(model.domain, cases.inputs([View(0), View(1)], model.domain, RAW))
    assert np.all(x[0, -1] > 0) and np.all(x[1, -1] == 0) and np.all(x[1, 2] > 0)
    assert "has no field saturation" in same_text(team, lambda: Dataset(team, data, "train"))


def test_frames_and_views_that_do_not_fit_are_refused_on_all_ranks(team, data):
    set_, model, plain = Dataset(team, data, "train"), windowed(team), network(team)
    X, Y = model.domain, model.range
    late = same_text(team, lambda: set_.read([View(0), View(1, (), 2)], X, Y, RAW))
    assert "a frame from 0 to 1, got View(sample=1, mirrored=(), start=2)" in late
    long = Y.replace(shape=(*Y.shape[:-1], FRAMES + 1))
    assert f"targets of 1 to {FRAMES} frames" in same_text(team, lambda: set_.starts(X, long))
    short = plain.range.replace(shape=Y.shape)
    assert f"targets of {FRAMES} frames, got 2" in same_text(
        team, lambda: set_.read([View(0)] * 2, plain.domain, short, RAW)
    )
    assert "there are no files" in same_text(team, lambda: Cases(team, [], data))
    cases = Cases(team, set_.files, data)
    assert "Cases.read: expected 2 views" in same_text(team, lambda: cases.inputs([View(0)], X, RAW))


def test_a_case_that_lacks_a_field_or_has_another_shape_is_named_on_all_ranks(team, data):
    files = Dataset(team, data, "train").files

    def change(file, name, shape):
        with h5py.File(file, "a") as out:
            del out["t0_fields"][name]
            if shape:
                out["t0_fields"][name] = np.ones(shape, "float32")

    wire.at_root(team, lambda: change(files[0], "depth", None))
    assert "sample-0.h5 has no field depth" in same_text(team, lambda: Cases(team, files, data))
    wire.at_root(team, lambda: change(files[1], "depth", (1, 3, 3, 3)))
    assert "sample-1.h5: expected (1, nx, ny, nz)" in same_text(team, lambda: Cases(team, files[1:], data))
