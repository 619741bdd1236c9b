"""Checkpoints: distributed tensors on disk, committed whole or not at all, readable on any partition.

Layout       folder/step-000120/rank-0.h5, rank-1.h5, ..   each rank's blocks, every number written once, by its owner
             folder/step-000120/index.json                 each file's sha256 and boxes (start, stop per axis), ``extra``,
                                                           and the sha256 of all these
Commit       All write into step-000120.partial and sync; all vote; then rank 0 writes the index, syncs and renames the folder.
             So a crash at any moment leaves the previous checkpoint, and a ``.partial`` that the next save removes.
             A step that is made again is moved to ``.old`` until the new one stands; a crash in between leaves the ``.old``,
             which counts as committed.
             The one before the newest is kept: where the newest is damaged, that is taken. Then training goes on from there,
             and what the next save finds of later steps is of a history that is no more: it goes.
Loading      A block is put together from the hyperslabs of all boxes that overlap it, whatever ranks wrote them.
Cost         Every rank writes, and in loading reads, its own blocks; the sums of files are checked once, shared by the ranks.
             To be written, a rank's blocks are in memory once more (files.py).
Reference    The write-sync-rename commit: Pillai et al., "All file systems are not created equal", OSDI 2014.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Collection
from contextlib import suppress
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from .. import wire
from ..arrays import Array, to_host
from ..space import Box, Space
from .files import write_bytes, write_hdf5

KEEP = 2  # committed checkpoints that stay


def save(
    folder: Path,
    step: int,
    spaces: dict[str, Space],
    blocks: dict[str, Array],
    extra: dict[str, Any],
    keep: Collection[int] = (),
) -> Path:
    """Commit the ``blocks`` of ``spaces`` and the JSON-able ``extra``; collective.

    Of the others, those of later steps go, and of the earlier ones all but the last and those of the steps ``keep``.
    Raises ValueError where a space holds a number in several places that are no copies (ghosts), OSError on all ranks where
    the files cannot be written.
    """
    comm = next(iter(spaces.values())).comm
    for name, space in spaces.items():
        if not all(space.covers_once(axis) for axis in range(space.ndim)):
            raise ValueError(f"checkpoint: {name} on {space!r} has blocks that overlap or leave gaps")
    final = Path(folder) / f"step-{step:06d}"
    partial = final.with_suffix(".partial")
    wire.together(comm, lambda: _fresh(partial) if comm.rank == 0 else None)
    record = wire.together(comm, lambda: _write_blocks(partial, spaces, blocks))
    records = wire.pool(comm, record)
    wire.together(comm, lambda: _commit(partial, final, records, extra, keep) if comm.rank == 0 else None)
    return final


def committed(folder: Path) -> list[Path]:
    """The committed checkpoints of a folder, the newest first."""
    found = _all(folder)
    whole = [p for p in found if p.suffix == "" or (p.suffix == ".old" and p.with_suffix("") not in found)]
    return sorted(whole, key=step_of, reverse=True)


def step_of(path: Path) -> int:
    """The step of a checkpoint, committed or not."""
    return int(path.stem.removeprefix("step-"))


def clear(folder: Path, after: int) -> None:
    """Remove a folder's checkpoints of later steps than ``after``, if there are any; on one rank."""
    for path in _all(folder):
        if step_of(path) > after:
            shutil.rmtree(path)


def _all(folder: Path) -> list[Path]:
    """All checkpoints, also those that are not, or no longer, committed."""
    return [p for p in Path(folder).glob("step-*") if p.is_dir() and p.stem.removeprefix("step-").isdigit()]


def newest_extra(comm: Any, folder: Path) -> dict[str, Any]:
    """The ``extra`` of the newest checkpoint whose index can be read; collective.

    FileNotFoundError on all ranks where there is no checkpoint, OSError where no index can be read.
    """
    found = wire.at_root(comm, lambda: committed(folder))
    if not found:
        raise FileNotFoundError(f"no checkpoint in {folder}; train first")
    return wire.at_root(comm, lambda: _first_readable(found))["extra"]


def _first_readable(found: list[Path]) -> dict[str, Any]:
    *newer, oldest = found
    for path in newer:
        with suppress(OSError):
            return _read_index(path)
    return _read_index(oldest)


def load_newest(
    folder: Path, spaces: dict[str, Space], optional: Collection[str] = ()
) -> tuple[dict[str, Array], dict[str, Any]] | None:
    """What ``load`` gives of the newest checkpoint that is not damaged; None where there is none at all; collective.

    Says on rank 0 which ones it passes over. Raises OSError on all ranks where all are damaged, and what ``load`` raises.
    """
    comm = next(iter(spaces.values())).comm
    found = wire.at_root(comm, lambda: committed(folder))
    for path, older in zip_longest(found, found[1:]):
        try:
            return load(path, spaces, optional)
        except OSError as error:
            if older is None:
                remedy = f"no older checkpoint is there: delete {folder}, and train again without --resume"
                raise OSError(f"{error}; {remedy}") from error
            if comm.rank == 0:
                print(f"{error}; using the older checkpoint {older.name}", flush=True)
    return None


def load(
    path: Path, spaces: dict[str, Space], optional: Collection[str] = ()
) -> tuple[dict[str, Array], dict[str, Any]]:
    """This rank's blocks of ``spaces`` and the ``extra`` of a committed checkpoint; collective.

    Of the ``optional`` names, those that are not in it are left out.
    Raises OSError on all ranks where a file is missing or damaged, ValueError where names or shapes do not fit.
    """
    comm = next(iter(spaces.values())).comm
    index = wire.together(comm, lambda: _read_index(path))
    wire.together(comm, lambda: _check_files(path, index["files"][comm.rank :: comm.size]))
    stored = {name for file in index["files"] for name in file["arrays"]}
    wanted = {name: space for name, space in spaces.items() if name in stored or name not in optional}
    blocks = wire.together(
        comm, lambda: {name: _read_block(path, index, name, space) for name, space in wanted.items()}
    )
    return blocks, index["extra"]


def _fresh(partial: Path) -> None:
    """An empty folder to write into; what a crash has left is removed, or put back where nothing newer took its place."""
    for leftover in partial.parent.glob("step-*.partial"):
        shutil.rmtree(leftover)
    for old in partial.parent.glob("step-*.old"):
        if old.with_suffix("").exists():
            shutil.rmtree(old)
        else:
            old.rename(old.with_suffix(""))
    partial.mkdir(parents=True)


def _write_blocks(partial: Path, spaces: dict[str, Space], blocks: dict[str, np.ndarray]) -> dict[str, Any]:
    """Write what this rank owns; what the index must say of it."""
    rank = next(iter(spaces.values())).comm.rank
    file, arrays = partial / f"rank-{rank}.h5", {}

    def fill(out: Any) -> None:
        for name, space in spaces.items():
            block = to_host(blocks[name])
            if block.size and space.owns:  # of several copies, the first
                out.create_dataset(name, data=block)
                arrays[name] = {"shape": space.shape, "dtype": space.dtype.name, "box": space.local_box}

    write_hdf5(file, fill)
    _sync(file)
    return {"name": file.name, "sha256": _digest(file), "arrays": arrays}


def _commit(partial: Path, final: Path, records: list[dict], extra: dict[str, Any], keep: Collection[int]) -> None:
    index = partial / "index.json"
    text = json.dumps({"files": records, "extra": extra})
    write_bytes(index, json.dumps({"sha256": _seal(text), **json.loads(text)}).encode())
    _sync(index)
    _sync(partial)
    if final.exists():  # a step that is made again: the old one goes when the new one is there
        final.rename(final.with_suffix(".old"))
    os.replace(partial, final)
    shutil.rmtree(final.with_suffix(".old"), ignore_errors=True)
    _sync(final.parent)
    clear(final.parent, after=step_of(final))
    for old in committed(final.parent)[KEEP:]:
        if step_of(old) not in keep:
            shutil.rmtree(old)


def _read_index(path: Path) -> dict[str, Any]:
    """The index, which is what was written or else an OSError: nothing that reads it need check its entries."""
    index: Any = None
    try:
        index = json.loads((path / "index.json").read_text())
        whole = index.pop("sha256") == _seal(json.dumps(index))
    except (ValueError, KeyError, TypeError, AttributeError):  # no JSON, or no object with such an entry
        whole = False
    if not whole:
        raise OSError(f"{path / 'index.json'} is damaged, or of another version of this program")
    return index


def _seal(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _check_files(path: Path, files: list[dict[str, Any]]) -> None:
    for file in files:
        if not (path / file["name"]).exists():
            raise FileNotFoundError(f"{path / file['name']} is missing: it was committed, and is not there any more")
        if _digest(path / file["name"]) != file["sha256"]:
            raise OSError(f"{path / file['name']} is damaged: its sha256 is not the one that was committed")


def _read_block(path: Path, index: dict[str, Any], name: str, space: Space) -> Array:
    """The block of ``space`` from every stored box that overlaps it."""
    import h5py

    block, filled = np.zeros(space.local_shape, space.dtype), 0
    for file in index["files"]:
        stored = file["arrays"].get(name)
        if stored is None:
            continue
        if tuple(stored["shape"]) != space.shape or stored["dtype"] != space.dtype.name:
            raise ValueError(
                f"checkpoint {path}: {name} is {stored['dtype']}{stored['shape']}, "
                f"expected {space.dtype.name}{list(space.shape)}; was the model changed?"
            )
        overlap = [(max(a, c), min(b, d)) for (a, b), (c, d) in zip(space.local_box, stored["box"], strict=True)]
        if all(a < b for a, b in overlap) and space.partition.active:
            with h5py.File(path / file["name"]) as data:
                block[_within(overlap, space.local_box)] = data[name][_within(overlap, stored["box"])]
            filled += int(np.prod([b - a for a, b in overlap]))
    needed = block.size * space.partition.active  # a tensor without axes has a number on inactive ranks too
    if filled != needed:
        raise ValueError(f"checkpoint {path}: {name} covers {filled} of the {needed} numbers that are needed")
    return space.adopt(block)


def _within(box: Any, outer: Box) -> tuple[slice, ...]:
    return tuple(slice(a - start, b - start) for (a, b), (start, _) in zip(box, outer, strict=True))


def _digest(file: Path) -> str:
    with open(file, "rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
