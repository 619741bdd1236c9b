"""Training: optimizer, schedules, clipping, loop, and resuming; on any number of ranks and any grid the same."""

from __future__ import annotations

import csv
import sys
import tracemalloc
from math import sqrt
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from theorems import same_text

import refimpl as ri
from refimpl import wire
from refimpl.layers import BatchNorm, Dropout, Linear, PlumeL2, RelativeH1, RelativeL2, Sequential, Tanh, chain
from refimpl.models import FNO
from refimpl.training import (
    AdamW,
    Dataset,
    Progress,
    Scaling,
    Schedule,
    Training,
    View,
    checkpoint,
    clip,
    cosine_schedule,
    fit,
    global_norm,
    load_model,
    log,
    loop,
    optimizers,
)
from refimpl.training.dataset import INPUTS, OUTPUT
from refimpl.training.loop import accumulated, batches, errors, loss_and_gradients, stored_spaces

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


def network(team, batch=2, grid=None, dtype="float64"):
    X = ri.Space(ri.Partition(team, grid or (1, 1, team.size, 1, 1, 1)), (batch, len(INPUTS), *CELLS, 1), dtype)
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


def few(team):
    """For what does not depend on the number of ranks, once there are several."""
    if team.size > 2:
        pytest.skip("on 1 and 2 ranks, to save time")


def train(team, folder, out, epochs, stop_after=None, make=network, **options):
    data, held_out = Dataset(team, folder, "train"), Dataset(team, folder, "valid")
    model = make(team)
    plan = Training(**dict(epochs=epochs, warmup=2, save_every=1) | options)
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


GRIDS = {
    1: [(1, 1, 1, 1, 1, 1)],
    2: [(2, 1, 1, 1, 1, 1), (1, 1, 1, 2, 1, 1)],
    3: [(3, 1, 1, 1, 1, 1)],  # more ranks than samples
    4: [(4, 1, 1, 1, 1, 1), (2, 1, 1, 2, 1, 1), (1, 1, 2, 2, 1, 1)],
    6: [(2, 1, 3, 1, 1, 1)],
}


def test_every_grid_of_batch_and_space_gives_the_losses_norms_and_weights_of_one_rank(team, data):
    alone = steps_on(ri.wire.group(team, (team.rank,)), (1,) * 6, data)
    for grid in GRIDS.get(team.size, []):
        losses, norms, weights = steps_on(team, grid, data)
        assert np.allclose(losses, alone[0], rtol=1e-13, atol=0) and np.allclose(norms, alone[1], rtol=1e-12, atol=0)
        for name, w in weights.items():
            assert np.max(np.abs(w - alone[2][name])) <= 1e-11 * np.max(np.abs(w)), (grid, name)


def steps_on(comm, grid, data):
    """Losses, gradient norms and global weights of three clipped steps, the second of them on two batches."""
    model, set_, plan = network(comm, 2, grid), Dataset(comm, data, "train"), Training(limit=0.5)
    loss, moments, scaling, found = RelativeL2(model.range), plan.rule.start(model.parameters), set_.scaling(), []
    for t, numbers in enumerate([[(0, 1)], [(2, 3), (1, 2)], [(3, 0)]], start=1):
        views = [[View(i), View(j, (0,))] for i, j in numbers]
        pairs = (set_.read(batch, model.domain, model.range, scaling) for batch in views)
        value, norm, moments = loop.step(model, loss, pairs, moments, t, 1e-2, plan)
        found.append((value, norm))
    return *zip(*found, strict=True), wire.share(comm, model.state())


def test_the_mean_gradient_of_two_batches_is_that_of_one_twice_as_large(team, data):
    few(team)
    set_ = Dataset(team, data, "train")
    views, scaling = [View(0), View(1, (1,)), View(2), View(3)], set_.scaling()
    small, large = network(team, 2), network(team, 4)
    pairs = [set_.read(half, small.domain, small.range, scaling) for half in (views[:2], views[2:])]
    whole = set_.read(views, large.domain, large.range, scaling)
    value, gradients = accumulated(small, RelativeL2(small.range), pairs)
    expected, wanted, _ = loss_and_gradients(large, RelativeL2(large.range), *whole)
    assert value == pytest.approx(expected, rel=1e-13)
    W = ri.Product(large.parameter_spaces)
    gap = {name: gradients[name] - g for name, g in wanted.items()}
    assert W.norm(gap) <= 1e-13 * W.norm(wanted)
    last, *_ = loss_and_gradients(small, RelativeL2(small.range), *pairs[1])
    assert abs(last - expected) > 1e-4  # a sum, or the last batch alone, would be seen


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


def test_an_interrupted_training_with_every_option_goes_on_to_the_same_bits(team, data, capfd):
    few(team)
    options = dict(accumulate=2, schedule="step", step_every=1, loss="plume_l2", limit=0.1, patience=3, epochs=3)
    whole, progress = train(team, data, data / "whole", **options)
    resumed, again = train(team, data, data / "resumed", stop_after=3, **options)
    assert (progress.loss, progress.rate, progress.norm) == (again.loss, again.rate, again.norm)
    assert all(np.array_equal(w, resumed.parameters[name]) for name, w in whole.parameters.items())
    assert progress.rate == [5e-3, 5e-3, 2.5e-3] and max(progress.norm) > 0.1
    assert "another plan" not in capfd.readouterr().out
    train(team, data, data / "whole", **options | dict(rate=1e-3, patience=0))
    told = [line for line in capfd.readouterr().out.splitlines() if "another plan" in line]
    assert told == ["going on with another plan: rate 0.005 -> 0.001, patience 3 -> 0"] * (team.rank == 0)


def test_a_training_goes_on_on_another_grid_and_number_of_ranks(team, data):
    few(team)
    grid = lambda comm, batch=2: network(comm, batch, (comm.size, 1, 1, 1, 1, 1))
    options = dict(schedule="constant", warmup=1)
    train(team, data, data / "moved", 1, make=grid, **options)
    alone = ri.wire.group(team, (team.rank,))
    if team.rank == 0:
        moved, progress = train(alone, data, data / "moved", 2, **options)
        stayed, expected = train(alone, data, data / "stayed", 2, **options)
        assert np.allclose(progress.loss, expected.loss, rtol=1e-12) and progress.ranks == sorted({team.size, 1})[::-1]
        one, two = moved.state(), stayed.state()
        assert max(np.abs(one[k] - two[k]).max() / np.abs(one[k]).max() for k in one) < 1e-10


def test_the_scaling_is_fitted_to_the_same_bits_on_any_ranks_and_stored_with_the_network(team, data):
    scaling = Dataset(team, data, "train").scaling()
    assert scaling == Dataset(ri.wire.group(team, (team.rank,)), data, "train").scaling()
    fields = []
    for path in Dataset(team, data, "train").files:
        with h5py.File(path) as file:
            fields.append(file["t0_fields/depth"][:].astype("float64"))
    assert scaling.mean[2] == pytest.approx(np.mean(fields)) and scaling.deviation[2] == pytest.approx(np.std(fields))
    few(team)
    train(team, data, data / "out", epochs=1)
    assert load_model(network(team), data / "out")[1] == scaling


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


SPOILED = (
    lambda text: "{}",
    lambda text: "null",
    lambda text: "[1]",
    lambda text: '{"sha256": 1',
    lambda text: text.replace('"epoch": 1', '"epoch": "two"'),
    lambda text: text.replace('"held_out": [', '"held_out": [[], '),
)


def test_a_damaged_index_is_refused_on_all_ranks(team, data):
    model, _ = train(team, data, data / "out", epochs=1)
    index = data / "out" / "step-000001" / "index.json"
    sound = wire.at_root(team, index.read_text)
    for spoil in SPOILED:
        assert spoil(sound) != sound
        wire.at_root(team, lambda spoil=spoil: index.write_text(spoil(sound)))
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


@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_an_update_is_bit_for_bit_the_formula_and_adds_the_weights_once(dtype):
    rng, rule, shape = np.random.default_rng(0), AdamW(weight_decay=0.1), (5, 3 * optimizers.TILE // 5)
    w, g = ({"w": rng.standard_normal((*shape, 2), "float32").view(dtype)} for _ in range(2))
    m, v = rule.start(w)
    real = lambda a: a["w"].view("float32")
    (W, G), M, V = map(real, (w, g)), 0 * real(g), 0 * real(g)
    before = w["w"].copy(), g["w"].copy()
    for t in range(1, 4):
        M, V = 0.9 * M + (1 - 0.9) * G, 0.999 * V + (1 - 0.999) * (G * G)
        direction = M / (1 - 0.9**t) / (np.sqrt(V / (1 - 0.999**t)) + 1e-8) + 0.1 * W
        W = W - 0.01 * direction
        tracemalloc.start()
        new, moments = rule.step(w, g, (m, v), t, 0.01)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert moments[0]["w"] is m["w"] and moments[1]["w"] is v["w"]
        assert np.array_equal(real(new), W) and np.array_equal(real(m), M) and np.array_equal(real(v), V)
        assert w["w"].nbytes < peak < w["w"].nbytes + 10 * 4 * optimizers.TILE
        if t == 1:
            assert np.array_equal(w["w"], before[0]) and np.array_equal(g["w"], before[1])
        w = new


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


@pytest.mark.parametrize("kind", ["constant", "cosine", "step"])
def test_a_warm_up_longer_than_the_training_still_reaches_the_peak(kind):
    assert max(Schedule(kind, 1.0, 10, 20).rate(t) for t in range(1, 11)) == 1.0
    assert Schedule(kind, 1.0, 8, 4).rate(1) == 0.25 and Schedule(kind, 1.0, 1, 20).rate(1) > 0


def test_a_constant_rate_stays_and_stairs_begin_after_the_warm_up():
    assert [Schedule("constant", 3.0, 9, 2).rate(t) for t in range(1, 10)] == [1.5, *[3.0] * 8]
    stairs = Schedule("step", 8.0, 9, 2, every=3, factor=0.5)
    assert [stairs.rate(t) for t in range(1, 10)] == [4, 8, 8, 8, 8, 4, 4, 4, 2]
    assert Training(schedule="step", step_every=2, step_factor=0.1, warmup=0).schedule_of(5).every == 10


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (dict(kind="linear"), "there are constant, cosine, step, got 'linear'"),
        (dict(peak=0.0), "a finite peak > 0"),
        (dict(peak=np.nan), "a finite peak > 0"),
        (dict(steps=0), "steps >= 1"),
        (dict(warmup=-1), "a warmup >= 0"),
        (dict(every=0), "every >= 1"),
        (dict(factor=0.0), "0 < factor <= 1"),
        (dict(factor=1.5), "0 < factor <= 1"),
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused(wrong, told):
    with pytest.raises(ValueError, match=told):
        Schedule(**dict(kind="cosine", peak=1.0, steps=10) | wrong)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (dict(epochs=0), "epochs and save_every must be at least 1"),
        (dict(warmup=-1), "warmup at least 0"),
        (dict(limit=0.0), "rate and limit must be positive"),
        (dict(limit=np.nan), "rate and limit must be positive"),
        (dict(rate=-1.0), "rate and limit must be positive"),
        (dict(weight_decay=-0.1), "weight_decay not negative"),
        (dict(weight_decay=np.inf), "all finite, got 0.005, 1.0 and inf"),
        (dict(accumulate=0), "accumulate and step_every must be at least 1"),
        (dict(step_every=0), "accumulate and step_every must be at least 1"),
        (dict(patience=-1), "patience at least 0"),
        (dict(step_factor=0.0), "step_factor must be above 0"),
        (dict(plume_weight=0.5), "plume_weight at least 1"),
        (dict(schedule="linear"), "schedule must be one of constant, cosine, step, got 'linear'"),
        (dict(loss="l2"), "loss must be one of relative_l2, relative_h1, plume_l2, got 'l2'"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(wrong, told):
    with pytest.raises(ValueError, match=told):
        Training(**wrong)


def test_a_plan_names_its_loss(team):
    Y = network(team).range
    assert type(Training().loss_on(Y)) is RelativeL2 and type(Training(loss="relative_h1").loss_on(Y)) is RelativeH1
    plume = Training(loss="plume_l2", plume_weight=3.0).loss_on(Y)
    assert type(plume) is PlumeL2 and plume.weight == 3.0


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
    for limit in (0.0, -1.0, np.nan):
        assert f"limit > 0, got {limit}" in same_text(team, lambda limit=limit: clip(space, g, limit))


def test_the_norm_counts_each_number_once_whatever_holds_copies_of_it(team):
    P = ri.Partition(team, (team.size,))
    copies, blocks = ri.Space(P, (4, 3), cuts=(None, None)), ri.Space(P, (9,))
    W = ri.Product(c=copies, b=blocks)
    g = {"c": copies.random(1), "b": blocks.random(2)}
    once = sqrt(copies.norm(g["c"]) ** 2 / team.size + blocks.norm(g["b"]) ** 2)
    assert global_norm(W, g) == pytest.approx(once, rel=1e-15)
    assert (W.norm(g) > 1.01 * once) == (team.size > 1)  # the inner product counts every copy: it is not what clips


def test_norms_and_losses_of_float32_are_summed_in_float64(team):
    X = ri.Space(ri.Partition(team, (1, team.size)), (1, 4097), "float32")
    e = np.full((1, 4097), 2.0**-14, "float32")
    e[0, 0] = 64.0
    exact = 2.0**12 + 2.0**-16  # of the squares; float32 has 24 bits, and would lose the last term
    block = X.scatter(e if team.rank == 0 else None)
    assert global_norm(ri.Product(w=X), {"w": block}) == sqrt(exact)
    t = X.scatter(np.eye(1, 4097, dtype="float32") if team.rank == 0 else None)
    assert RelativeL2(X)(block + t, t) == sqrt(exact)
    assert float(np.float32(exact)) != exact


def test_the_first_step_of_adam_in_float32_is_corrected_in_float64():
    rule, w, g = AdamW(), {"w": np.zeros(3, "float32")}, {"w": np.array([1e-3, -2, 500], "float32")}
    new, _ = rule.step(w, g, rule.start(w), 1, 1.0)
    assert new["w"].dtype == "float32" and np.max(np.abs(new["w"] + np.sign(g["w"])) - [1e-5, 0, 0]) < 4e-7
    narrow = np.float32(1) - np.float32(rule.beta2)  # what float32 would make of 1 - b2
    assert abs(sqrt(float(narrow) / (1 - rule.beta2)) - 1) > 5e-6


def with_errors(monkeypatch, values):
    """Held-out errors as given, one after the other."""
    left = iter(values)
    monkeypatch.setattr(loop, "errors", lambda *_: [next(left)])


def test_training_stops_where_the_held_out_error_stays_worse_and_keeps_the_best_network(team, data, monkeypatch):
    few(team)
    with_errors(monkeypatch, [0.5, 0.3, 0.4, 0.3, 0.9])
    model, progress = train(team, data, data / "out", epochs=9, patience=2, save_every=9, schedule="constant")
    assert progress.held_out == [0.5, 0.3, 0.4, 0.3] and (progress.epoch, progress.best) == (4, 2)
    assert load_model(network(team), data / "out")[0].held_out == progress.held_out
    again, same = train(team, data, data / "out", epochs=9, patience=2, schedule="constant")
    assert same.loss == progress.loss and all(
        np.array_equal(w, again.parameters[k]) for k, w in model.parameters.items()
    )
    with_errors(monkeypatch, [0.5, 0.3])
    two, _ = train(team, data, data / "two", epochs=2, schedule="constant")
    best = network(team)
    assert load_model(best, data / "out" / "best")[0].epoch == 2
    assert all(np.array_equal(w, best.parameters[name]) for name, w in two.parameters.items())


def test_training_that_goes_on_from_a_checkpoint_has_the_best_network_of_its_own_history(team, data, monkeypatch):
    few(team)
    lost, went_on = [0.3, 0.2], [0.9, 0.8, 0.7]
    with_errors(monkeypatch, [0.5, 0.6, 0.6, *lost, *went_on])
    _, progress = train(team, data, data / "out", epochs=6, save_every=3, stop_after=10)
    assert progress.held_out == [0.5, 0.6, 0.6, *went_on] and progress.best == 1
    best = wire.at_root(team, lambda: [path.name for path in checkpoint.committed(data / "out" / "best")])
    assert best == ["step-000001"]


def test_a_new_training_forgets_the_best_network_of_another_in_its_folder(team, data, monkeypatch):
    few(team)
    with_errors(monkeypatch, [0.5, 0.1])
    train(team, data, data / "out", epochs=2)
    wire.at_root(team, lambda: checkpoint.clear(data / "out", after=0))
    with_errors(monkeypatch, [0.7])
    train(team, data, data / "out", epochs=1)
    assert load_model(network(team), data / "out" / "best")[0].held_out == [0.7]


def test_a_held_out_error_that_is_not_finite_ends_the_training_on_all_ranks(team, data, monkeypatch):
    few(team)
    with_errors(monkeypatch, [np.nan])
    text = same_text(team, lambda: train(team, data, data / "out", epochs=1), ArithmeticError)
    assert "held-out error nan after step 2" in text


@pytest.mark.filterwarnings("error")
def test_a_training_that_diverges_is_told_once_and_not_by_warnings(team, data):
    few(team)
    text = same_text(team, lambda: train(team, data, data / "out", epochs=1, rate=1e300, warmup=0), ArithmeticError)
    assert "lower the rate" in text


def test_held_out_errors_do_not_depend_on_the_batch(team, data):
    few(team)
    set_ = Dataset(team, data, "train")
    grid = (team.size, 1, 1, 1, 1, 1)
    one, three = (errors(network(team, b, g), set_, set_.scaling()) for b, g in ((1, None), (3, grid)))
    assert len(one) == 4 and np.allclose(one, three, rtol=1e-13)


def test_the_log_has_every_epoch_once_also_of_a_training_that_was_interrupted(team, data):
    few(team)
    _, progress = train(team, data, data / "out", epochs=3, stop_after=5)
    text = wire.at_root(team, lambda: (data / "out" / "log.csv").read_text())
    rows = list(csv.DictReader(text.splitlines()))
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3]
    for name in log.COLUMNS:
        assert [float(row[name]) for row in rows] == getattr(progress, name) and len(set(getattr(progress, name))) == 3
    old = Progress(epoch=2, loss=[2.0, 1.0], held_out=[3.0, 2.0], rate=[0.1])
    assert [row["rate"] for row in log.rows(old)] == [None, 0.1]


def test_tensorboard_is_told_every_epoch_or_its_absence_is_told_once(team, data, monkeypatch, capfd):
    few(team)
    told = []
    writer = SimpleNamespace(add_scalar=lambda *scalar: told.append(scalar), flush=lambda: None)
    monkeypatch.setitem(sys.modules, "tensorboard.summary", SimpleNamespace(Writer=lambda folder: writer))
    monkeypatch.setattr(log, "find_spec", lambda name: name)
    _, progress = train(team, data, data / "out", epochs=2, tensorboard=True)
    expected = [(name, getattr(progress, name)[i], i + 1) for i in range(2) for name in log.COLUMNS]
    assert told == expected * (team.rank == 0)
    monkeypatch.setattr(log, "find_spec", lambda name: None)
    capfd.readouterr()
    train(team, data, data / "out", epochs=2, tensorboard=True)  # there is nothing left to do
    assert capfd.readouterr().out.count("TensorBoard is not installed") == (team.rank == 0)


def test_every_epoch_sees_every_sample_once_in_another_order():
    first, second = batches(10, 3, 0, 0), batches(10, 3, 0, 1)
    assert first != second and batches(10, 3, 0, 0) == first
    for epoch in (first, second):
        seen = [view.sample for batch in epoch for view in batch]
        assert len(seen) == 9 == len(set(seen))
    assert {view.mirrored for view in sum(first + second, [])} == {(), (0,), (1,), (0, 1)}
