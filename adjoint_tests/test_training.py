"""Training: optimizer, schedule, clipping, loop, and resuming; on any number of ranks the same."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

import refimpl as ri
from refimpl import wire
from refimpl.layers import BatchNorm, Dropout, Linear, RelativeL2, Sequential, Tanh, chain
from refimpl.models import FNO
from refimpl.training import (
    AdamW,
    Dataset,
    Progress,
    Scaling,
    Training,
    View,
    checkpoint,
    clip,
    cosine_schedule,
    fit,
    load_model,
)
from refimpl.training.dataset import INPUTS, OUTPUT
from refimpl.training.loop import batches, errors, loss_and_gradients, stored_spaces

CELLS, FRAMES = (6, 5, 4), 3


def make_data(folder: Path) -> None:
    """A tiny data set: four training, one held-out sample of random fields."""
    rng = np.random.default_rng(0)
    for split, number in (("train", 4), ("valid", 1)):
        (folder / "data" / split).mkdir(parents=True)
        for i in range(number):
            with h5py.File(folder / "data" / split / f"sample-{i}.h5", "w") as file:
                fields = file.create_group("t0_fields")
                for name in INPUTS:
                    fields[name] = rng.uniform(0.1, 1, (1, *CELLS)).astype("float32")
                fields[OUTPUT] = rng.uniform(0, 1, (1, FRAMES + 1, *CELLS)).astype("float32")


def network(team, batch=2):
    X = ri.Space(ri.Partition(team, (1, 1, team.size, 1, 1, 1)), (batch, len(INPUTS), *CELLS, 1))
    return FNO(X, width=3, modes=(2, 2, 1, 2), blocks=1, out_timesteps=FRAMES, hidden=4)


def with_statistics(team, batch=2):
    """A network with running statistics, and with a mask that changes at every step."""
    X = ri.Space(ri.Partition(team, (1, 1, team.size, 1, 1, 1)), (batch, len(INPUTS), *CELLS, 1))
    return Sequential(
        chain(
            X,
            {
                "time": lambda Y: Linear(Y, FRAMES, axis=-1, seed=1),
                "lift": lambda Y: Linear(Y, 5, bias=False, seed=2),  # the norm takes a bias away
                "norm": BatchNorm,
                "tanh": Tanh,
                "dropout": lambda Y: Dropout(Y, 0.3),
                "out": lambda Y: Linear(Y, 1, seed=3),
            },
        )
    )


def train(team, folder, out, epochs, stop_after=None, make=network):
    data, held_out = Dataset(team, folder, "train"), Dataset(team, folder, "valid")
    model = make(team)
    plan = Training(epochs=epochs, warmup=2, save_every=1)
    if stop_after:
        model_then = make(team)
        interrupt = Stop(stop_after)
        with pytest.raises(Interrupted):
            fit(interrupt.watch(model_then), make(team, 1), data, held_out, data.scaling(), plan, out)
    progress = fit(model, make(team, 1), data, held_out, data.scaling(), plan, out)
    return model, progress


class Interrupted(Exception):
    pass


class Stop:
    """Raise on all ranks at the n-th linearisation, as an interrupt would."""

    def __init__(self, n):
        self.left = n

    def watch(self, model):
        linearize = model.linearize

        def counted(x):
            self.left -= 1
            if self.left < 0:
                raise Interrupted
            return linearize(x)

        model.linearize = counted
        return model


@pytest.fixture
def data(shared_tmp_path, team):
    wire.together(team, lambda: make_data(shared_tmp_path) if team.rank == 0 else None)
    return shared_tmp_path


def test_ten_steps_give_the_weights_of_one_rank(team, data):
    model = step_by_step(team, data)
    alone = step_by_step(ri.wire.group(team, (team.rank,)), data) if team.size > 1 else model
    one, many = alone.state(), model.state()
    gap = max(np.abs(one[k] - many[k]).max() / np.abs(one[k]).max() for k in one) if team.rank == 0 else 0
    assert gap < 1e-10


def step_by_step(comm, data):
    model, train_data = network(comm), Dataset(comm, data, "train")
    optimizer, loss, scaling = AdamW(weight_decay=1e-3), RelativeL2(model.range), train_data.scaling()
    moments = optimizer.start(model.parameters)
    for t in range(1, 11):
        x, y = train_data.read([View(t % 4), View((t + 1) % 4, (0, 1))], model.domain, model.range, scaling)
        _, gradients, _ = loss_and_gradients(model, loss, x, y)
        gradients, _ = clip(ri.Product(model.parameter_spaces), gradients, 0.5)
        model.parameters, moments = optimizer.step(model.parameters, gradients, moments, t, 1e-2)
    return model


def test_an_interrupted_training_goes_on_to_the_same_weights(team, data):
    whole, progress = train(team, data, data / "whole", epochs=3)
    resumed, again = train(team, data, data / "resumed", epochs=3, stop_after=5)
    assert progress.loss == again.loss and progress.held_out == again.held_out
    for name in whole.parameters:
        assert np.array_equal(whole.parameters[name], resumed.parameters[name])


def test_statistics_are_trained_stored_and_resumed(team, data):
    whole, progress = train(team, data, data / "whole", 2, make=with_statistics)
    resumed, again = train(team, data, data / "resumed", 2, stop_after=3, make=with_statistics)
    assert progress.loss == again.loss and progress.held_out == again.held_out
    state, theirs = (wire.share(team, model.state()) for model in (whole, resumed))
    assert all(np.array_equal(array, theirs[name]) for name, array in state.items())
    assert state["dropout.step"] == 4 and np.all(state["norm.mean"] != 0) and np.all(state["norm.variance"] != 1)


def test_statistics_are_those_of_one_rank_and_the_held_out_error_is_that_of_the_frozen_network(team, data):
    many, progress = train(team, data, data / "many", 2, make=with_statistics)
    comm = wire.group(team, (team.rank,))
    alone, loaded = with_statistics(comm, 1), with_statistics(comm, 1)
    if team.rank == 0:
        train(comm, data, data / "alone", 2, make=with_statistics)
        load_model(alone, data / "alone")
        load_model(loaded, data / "many")
        one, two = alone.state(), loaded.state()
        assert max(np.abs(one[k] - two[k]).max() / np.abs(one[k]).max() for k in one) < 1e-10
    held_out, single = Dataset(team, data, "valid"), with_statistics(team, 1)
    _, scaling = load_model(single, data / "many")
    assert errors(single.frozen(), held_out, scaling) == progress.held_out[-1:] != errors(single, held_out, scaling)


def test_a_checkpoint_without_statistics_is_of_a_training_that_did_not_change_them(team, data):
    model, initial = with_statistics(team), with_statistics(team)
    x = model.domain.random(1)
    model.statistics = model.linearize(x)[1].new_state
    blocks = {f"w/{name}": block + 1 for name, block in model.parameters.items()}
    extra = {"progress": vars(Progress(epoch=1)), "scaling": vars(Dataset(team, data, "train").scaling())}
    checkpoint.save(data / "old", 1, stored_spaces(model, "w"), blocks, extra)
    load_model(initial, data / "old")
    assert all(np.array_equal(initial.parameters[name], block + 1) for name, block in model.parameters.items())
    state = wire.share(team, initial.state())
    assert state["dropout.step"] == 0 and np.all(state["norm.variance"] == 1)


def test_a_checkpoint_of_any_ranks_loads_on_any_other(team, data):
    model, progress = train(team, data, data / "out", epochs=1)
    reversed_ranks = ri.Partition(team, (1, 1, 1, team.size, 1, 1), ranks=list(range(team.size))[::-1])
    X = ri.Space(reversed_ranks, (2, len(INPUTS), *CELLS, 1))
    other = FNO(X, width=3, modes=(2, 2, 1, 2), blocks=1, out_timesteps=FRAMES, hidden=4, seed=9)
    found, _ = load_model(other, data / "out")
    one, two = model.state(), other.state()
    assert found.loss == progress.loss
    assert team.rank or all(np.array_equal(one[k], two[k]) for k in one)


def test_a_damaged_checkpoint_is_refused_on_all_ranks(team, data):
    model, _ = train(team, data, data / "out", epochs=1)
    file = data / "out" / "step-000001" / "rank-0.h5"
    wire.together(team, lambda: damage(file) if team.rank == 0 else None)
    with pytest.raises(OSError, match="rank-0.h5 is damaged.*delete .*out, and train again without --resume"):
        load_model(model, data / "out")


def test_a_damaged_newest_checkpoint_gives_way_to_the_one_before(team, data, capfd):
    whole, progress = train(team, data, data / "out", epochs=3)
    file = data / "out" / "step-000003" / "rank-0.h5"
    wire.together(team, lambda: damage(file) if team.rank == 0 else None)
    found, _ = load_model(network(team), data / "out")
    assert found.epoch == 2 and found.loss == progress.loss[:2]
    assert team.rank or capfd.readouterr().out.count("using the older checkpoint step-000002") == 1
    resumed, again = train(team, data, data / "out", epochs=3)
    assert again.loss == progress.loss
    assert all(np.array_equal(w, resumed.parameters[name]) for name, w in whole.parameters.items())
    assert load_model(network(team), data / "out")[0].epoch == 3


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: "{}",
        lambda text: "null",
        lambda text: "[1]",
        lambda text: '{"sha256": 1',
        lambda text: text.replace('"epoch": 1', '"epoch": "two"'),
        lambda text: text.replace('"held_out": [', '"held_out": [[], '),
    ],
)
def test_a_damaged_index_is_refused_on_all_ranks(team, data, spoil):
    model, _ = train(team, data, data / "out", epochs=1)
    index = data / "out" / "step-000001" / "index.json"
    sound = wire.at_root(team, index.read_text)
    assert spoil(sound) != sound
    wire.at_root(team, lambda: index.write_text(spoil(sound)))
    with pytest.raises(OSError, match="index.json is damaged.*delete"):
        load_model(model, data / "out")


@pytest.mark.parametrize("name", ["index.json", "rank-0.h5"])
def test_a_missing_file_of_a_checkpoint_is_named_with_the_remedy_on_all_ranks(team, data, name):
    model, _ = train(team, data, data / "out", epochs=1)
    wire.at_root(team, (data / "out" / "step-000001" / name).unlink)
    with pytest.raises(OSError, match=f"{name}.*delete"):
        load_model(model, data / "out")


def test_a_history_knows_the_ranks_that_trained(team, data):
    _, progress = train(team, data, data / "out", epochs=1)
    assert progress.ranks == [team.size] and progress.core_seconds == progress.seconds * team.size
    found, _ = load_model(network(wire.group(team, (team.rank,))), data / "out")
    assert found.ranks == [team.size] and found.core_seconds == found.seconds * team.size  # the clock is rank 0's


def test_a_training_that_changes_its_ranks_adds_up_what_they_cost():
    progress = Progress()
    for seconds, ranks in ((2.0, 2), (2.0, 2), (1.0, 3)):
        progress.spend(seconds, ranks)
    assert (progress.seconds, progress.ranks, progress.core_seconds) == (5.0, [2, 3], 11.0)


def damage(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def test_a_checkpoint_of_another_network_is_refused_on_all_ranks(team, data):
    train(team, data, data / "out", epochs=1)
    X = ri.Space(ri.Partition(team, (1, 1, team.size, 1, 1, 1)), (2, len(INPUTS), *CELLS, 1))
    wider = FNO(X, width=5, modes=(2, 2, 1, 2), blocks=1, out_timesteps=FRAMES, hidden=4)
    with pytest.raises(ValueError, match="was the model changed"):
        load_model(wider, data / "out")


def test_an_unfinished_checkpoint_is_not_read_and_is_swept(team, data):
    wire.together(team, lambda: (data / "out" / "step-000009.partial").mkdir(parents=True) if team.rank == 0 else None)
    _, progress = train(team, data, data / "out", epochs=1)
    assert progress.epoch == 1
    assert not (data / "out" / "step-000009.partial").exists()


def test_each_rank_reads_its_block_of_the_whole(team, data):
    model, set_ = network(team), Dataset(team, data, "train")
    scaling = set_.scaling()
    x, y = set_.read([View(2), View(0, (0,))], model.domain, model.range, scaling)
    x, y = model.domain.gather(x), model.range.gather(y)
    if team.rank == 0:
        for row, (i, step) in enumerate([(2, 1), (0, -1)]):
            with h5py.File(set_.files[i]) as file:
                fields = file["t0_fields"]
                assert np.array_equal(y[row, 0], np.moveaxis(fields[OUTPUT][0, 1:], 0, -1)[::step])
                depth = fields["depth"][0].astype(float)[::step]
                scaled = (depth - scaling.mean[2]) / scaling.deviation[2]
                assert np.allclose(x[row, 2, ..., 0], scaled, rtol=1e-12)


def test_a_damaged_sample_is_an_error_on_all_ranks(team, data):
    set_ = Dataset(team, data, "train")
    wire.together(team, lambda: set_.files[1].write_bytes(b"no HDF5") if team.rank == 0 else None)
    model = network(team)
    with pytest.raises(OSError, match="sample-1.h5 cannot be read; run refimpl demo"):
        set_.read([View(1)] * 2, model.domain, model.range, set_.scaling())


def test_numbers_that_are_not_finite_are_an_error_on_all_ranks(team, data):
    def spoil():
        with h5py.File(data / "data" / "train" / "sample-0.h5", "a") as file:
            file["t0_fields"]["depth"][0, 0, 0, 0] = np.nan

    wire.together(team, lambda: spoil() if team.rank == 0 else None)
    with pytest.raises(ValueError, match="not finite; run refimpl demo"):
        Dataset(team, data, "train").scaling()


def test_a_missing_data_set_is_named(team, shared_tmp_path):
    with pytest.raises(FileNotFoundError, match="no samples in"):
        Dataset(team, shared_tmp_path / "nothing", "train")


def test_adam_is_the_textbook_formula():
    w, g = {"w": np.array([1.0, -2.0])}, {"w": np.array([0.5, 4.0])}
    rule = AdamW(weight_decay=0.1)
    new, (m, v) = rule.step(w, g, rule.start(w), 1, 0.01)
    # after one step m^ = g and v^ = g^2, so the direction is the sign of g
    assert np.allclose(new["w"], w["w"] - 0.01 * (np.sign(g["w"]) + 0.1 * w["w"]), rtol=1e-7)
    assert np.allclose(m["w"], 0.1 * g["w"]) and np.allclose(v["w"], 0.001 * g["w"] ** 2)


def test_a_complex_weight_is_two_real_ones():
    rule, rng = AdamW(weight_decay=0.1), np.random.default_rng(0)
    w, g = rng.standard_normal((2, 5, 2)), rng.standard_normal((3, 5, 2))
    pair, single = {"w": w[0]}, {"w": w[0].copy().view(complex)[:, 0]}
    moments_pair, moments_single = rule.start(pair), rule.start(single)
    for t in range(1, 4):
        pair, moments_pair = rule.step(pair, {"w": g[t - 1]}, moments_pair, t, 0.1)
        step = {"w": g[t - 1].copy().view(complex)[:, 0]}
        single, moments_single = rule.step(single, step, moments_single, t, 0.1)
    assert np.array_equal(single["w"].view(float).reshape(5, 2), pair["w"])


def test_the_schedule_warms_up_and_ends_near_zero():
    rates = [cosine_schedule(t, 100, 2.0, 10) for t in range(1, 101)]
    assert rates[0] == 0.2 and rates[9] == 2.0 and max(rates) == 2.0 and 0 < rates[-1] < 1e-3
    assert all(a > b for a, b in zip(rates[9:], rates[10:], strict=False))


def test_a_warm_up_longer_than_the_training_still_reaches_the_peak():
    assert max(cosine_schedule(t, 10, 1.0, 20) for t in range(1, 11)) == 1.0


def test_a_problem_of_any_kind_on_one_rank_is_raised_on_all(team):
    def fail():
        if team.rank == team.size - 1:
            raise MemoryError("too large")

    with pytest.raises(RuntimeError, match="too large"):
        wire.together(team, fail)


def test_the_number_of_views_is_the_batch(team, data):
    model, set_ = network(team), Dataset(team, data, "train")
    with pytest.raises(ValueError, match="expected 2 views"):
        set_.read([View(0)], model.domain, model.range, set_.scaling())


def test_a_training_is_not_resumed_on_other_data(team, data):
    train(team, data, data / "out", epochs=1)
    set_, model = Dataset(team, data, "train"), network(team)
    other = Scaling(tuple(2 * m for m in set_.scaling().mean), set_.scaling().deviation)
    with pytest.raises(ValueError, match="other data"):
        fit(model, network(team, 1), set_, Dataset(team, data, "valid"), other, Training(epochs=2), data / "out")


def test_clipping_scales_the_norm_over_all_ranks(team):
    X = ri.Space(ri.Partition(team, (team.size,)), (7,))
    space, g = ri.Product(w=X), {"w": X.random(1)}
    clipped, before = clip(space, g, 0.1)
    assert before == space.norm(g) and abs(space.norm(clipped) - 0.1) < 1e-15
    assert clip(space, g, 1e9)[0] is g


def test_every_epoch_sees_every_sample_once_in_another_order():
    first, second = batches(10, 3, 0, 0), batches(10, 3, 0, 1)
    assert first != second and batches(10, 3, 0, 0) == first
    for epoch in (first, second):
        seen = [view.sample for batch in epoch for view in batch]
        assert len(seen) == 9 == len(set(seen))
    assert {view.mirrored for view in sum(first + second, [])} == {(), (0,), (1,), (0, 1)}
