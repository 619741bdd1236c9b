"""Checkpoints: any partition reads what any other wrote; a crash at any moment leaves the last good one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pytest
import strategies
from theorems import same_text

import refimpl as ri
from refimpl import wire
from refimpl.cli.launch import environment
from refimpl.training import checkpoint
from refimpl.verify import spmd


@contextmanager
def a_folder(team):
    """A new folder that all ranks know."""
    folder = Path(wire.at_root(team, tempfile.mkdtemp))
    try:
        yield folder
    finally:
        if team.rank == 0:
            shutil.rmtree(folder)


@spmd.property_test(case=strategies.repartitions)
def test_what_any_partition_saves_is_loaded_on_any_other(team, case):
    X, Y = case.space(team), ri.Space(case.new_partition(team), case.shape, case.dtype)
    with a_folder(team) as folder:
        path = checkpoint.save(folder, 1, {"x": X}, {"x": X.random(case.seed)}, {"seed": case.seed})
        blocks, extra = checkpoint.load(path, {"x": Y})
    assert np.array_equal(blocks["x"], Y.random(case.seed)) and extra == {"seed": case.seed}


def numbers_on_disk(path: Path) -> int:
    total = 0
    for file in path.glob("*.h5"):
        with h5py.File(file) as data:
            total += sum(array.size for array in data.values())
    return total


def test_of_several_copies_one_is_written_and_every_owner_writes_a_file_of_its_own(team, shared_tmp_path):
    P = ri.Partition(team, (team.size,))
    copies, blocks = ri.Space(P, (5,), cuts=(None,)), ri.Space(P, (team.size, 3))
    spaces = {"copies": copies, "blocks": blocks}
    path = checkpoint.save(shared_tmp_path, 1, spaces, {k: X.random(1) for k, X in spaces.items()}, {})
    assert wire.at_root(team, lambda: numbers_on_disk(path)) == 5 + 3 * team.size
    assert wire.at_root(team, lambda: len(list(path.glob("rank-*.h5")))) == team.size
    assert [X.owns for X in spaces.values()] == [team.rank == 0, True]


class Crash:
    """Lets ``left`` operations on files pass, and then no more: as a process that is killed in between."""

    NAMES = ("fsync", "replace", "rename", "mkdir", "unlink", "rmdir")

    def __init__(self, monkeypatch, left):
        self.left = left
        for name in self.NAMES:
            monkeypatch.setattr(os, name, self.counted(getattr(os, name)))

    def counted(self, operation):
        def call(*args, **kwargs):
            self.left -= 1
            if self.left < 0:
                raise OSError("crashed")
            return operation(*args, **kwargs)

        return call


@pytest.mark.parametrize("step", [2, 1], ids=["of a new step", "of a step that is made again"])
@pytest.mark.parametrize("who", [0, -1], ids=["the first rank", "the last rank"])
def test_a_crash_at_any_moment_leaves_the_last_good_checkpoint(team, shared_tmp_path, monkeypatch, who, step):
    if team.size > 2:
        pytest.skip("on 1 and 2 ranks, to save time")
    X = ri.Space(ri.Partition(team, (team.size,)), (7,))
    good, done, crashes = X.random(0), False, 0
    checkpoint.save(shared_tmp_path, 1, {"x": X}, {"x": good}, {})
    while not done:
        new = X.random(1 + crashes)
        with monkeypatch.context() as patch:
            if team.rank == who % team.size:
                Crash(patch, crashes)
            try:
                checkpoint.save(shared_tmp_path, step, {"x": X}, {"x": new}, {})
                done = True
            except OSError as error:
                assert "crashed" in str(error)
                crashes += 1
        blocks, _ = checkpoint.load_newest(shared_tmp_path, {"x": X})
        found = wire.pool(team, [bool(np.array_equal(blocks["x"], x)) for x in (good, new)])
        old, renewed = (all(same) for same in zip(*found, strict=True))
        assert renewed or (old and not done)
        good = new if renewed else good
    assert crashes >= (6 if who == 0 or team.size == 1 else 1)
    left = wire.at_root(team, lambda: sorted(path.name for path in shared_tmp_path.iterdir()))
    assert left == [f"step-{s:06d}" for s in sorted({1, step})]


FULL = """
import resource, sys
from pathlib import Path
import numpy as np, refimpl as ri
from refimpl import wire
from refimpl.cli.launch import environment
from refimpl.training import checkpoint

X, folder = ri.Space(ri.Partition(wire.world(), (1,)), (3000,)), Path(sys.argv[1])
checkpoint.save(folder, 1, {"x": X}, {"x": X.random(1)}, {})
for most in (0, 100, 3000, 20000, 24000):  # bytes that a file may have: of 24000, and HDF5's own
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
    try:
        checkpoint.save(folder, 2, {"x": X}, {"x": X.random(2)}, {})
    except OSError as error:
        assert "rank-0.h5" in str(error) and len(str(error).splitlines()) == 1, error
        print("refused")
    found, _ = checkpoint.load_newest(folder, {"x": X})
    assert np.array_equal(found["x"], X.random(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
checkpoint.save(folder, 2, {"x": X}, {"x": X.random(2)}, {})
found, _ = checkpoint.load_newest(folder, {"x": X})
assert np.array_equal(found["x"], X.random(2))
"""


def test_a_disk_that_is_full_at_any_byte_is_an_error_in_one_line_and_leaves_the_last_good_checkpoint(tmp_path):
    command = [sys.executable, "-c", FULL, str(tmp_path / "out")]
    done = subprocess.run(command, env=environment(1), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0 and done.stdout.split() == ["refused"] * 5, done.stderr


def test_a_damaged_or_missing_shard_of_the_last_rank_is_named_on_all_ranks(team, shared_tmp_path):
    X = ri.Space(ri.Partition(team, (team.size,)), (2 * team.size,))
    path = checkpoint.save(shared_tmp_path, 1, {"x": X}, {"x": X.random(1)}, {})
    shard = path / f"rank-{team.size - 1}.h5"

    def spoil():
        content = bytearray(shard.read_bytes())
        content[-1] ^= 1
        shard.write_bytes(content)

    for action, told in ((spoil, "is damaged: its sha256"), (shard.unlink, "is missing")):
        wire.at_root(team, action)
        text = same_text(team, lambda: checkpoint.load_newest(shared_tmp_path, {"x": X}), OSError)
        assert text.startswith(f"{shard} {told}") and f"delete {shared_tmp_path}" in text


def test_what_the_newest_readable_index_says_is_found_without_its_tensors(team, shared_tmp_path):
    X = ri.Space(ri.Partition(team, (team.size,)), (3,))
    assert "train first" in same_text(team, lambda: checkpoint.newest_extra(team, shared_tmp_path), FileNotFoundError)
    paths = [checkpoint.save(shared_tmp_path, s, {"x": X}, {"x": X.zeros()}, {"step": s}) for s in (999999, 1000000)]
    assert checkpoint.newest_extra(team, shared_tmp_path) == {"step": 1000000}
    wire.at_root(team, lambda: (paths[1] / "index.json").write_text("{"))
    assert checkpoint.newest_extra(team, shared_tmp_path) == {"step": 999999}
    wire.at_root(team, lambda: (paths[0] / "index.json").write_text("{"))
    text = same_text(team, lambda: checkpoint.newest_extra(team, shared_tmp_path), OSError)
    assert "step-999999/index.json is damaged" in text


def test_a_damaged_newest_checkpoint_does_not_outlive_the_intact_ones_that_follow(team, shared_tmp_path):
    X = ri.Space(ri.Partition(team, (team.size,)), (3,))
    save = lambda step, **keep: checkpoint.save(shared_tmp_path, step, {"x": X}, {"x": X.random(step)}, {}, **keep)
    save(1), wire.at_root(team, (save(5) / "index.json").unlink)
    for step, keep, stay in ((2, (), [2, 1]), (3, (), [3, 2]), (4, (2,), [4, 3, 2]), (5, (), [5, 4])):
        save(step, keep=keep)
        assert wire.at_root(team, lambda: list(map(checkpoint.step_of, checkpoint.committed(shared_tmp_path)))) == stay
        assert np.array_equal(checkpoint.load_newest(shared_tmp_path, {"x": X})[0]["x"], X.random(step))


def test_ghosts_are_not_stored(team, shared_tmp_path):
    X = ri.Space(ri.Partition(team, (team.size,)), (2 * team.size,))
    ghosts = ri.HaloExchange(X, [(1, 1)]).range
    text = same_text(team, lambda: checkpoint.save(shared_tmp_path, 1, {"x": ghosts}, {"x": ghosts.zeros()}, {}))
    assert text.startswith("checkpoint: x on") and "overlap or leave gaps" in text
