"""A data set of simulations in The Well's HDF5 layout, of which each rank reads only its block.

Layout       folder/data/{train,valid,test}/*.h5, one trajectory a file; fields (1, nx, ny, nz) or (1, frames, nx, ny, nz)
             in ``t0_fields``.
Tensors      x (batch, channels, nx, ny, nz, 1): static fields, scaled;   y (batch, 1, nx, ny, nz, T): one field at the frames
             1..T (frame 0 is the initial state).
Windows      Where x has one channel more, that is the field at frame k, and y holds the w frames k+1..k+w: so a network learns
             to go on from any frame (rollouts.py). A sample then counts once for every k = 0..T-w.
Scaling      (f - mean) / deviation with constants of the whole training set, never of one sample: physical values matter.
             Permeabilities, which span nine decades, enter as logarithms.
Mirrors      The physics has no left and right: the mirror image of a sample in x or y is a sample that costs nothing.
Reading      Every rank opens the file read-only and takes its hyperslab; serial HDF5 is enough. A problem on one rank is an
             OSError on all.
Reference    Ohana et al., "The Well", NeurIPS 2024 (the layout).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import wire
from ..arrays import Array
from ..space import Space

INPUTS = ("permeability_x", "permeability_z", "depth", "well_rate")
LOGARITHMIC = ("permeability_x", "permeability_z")
OUTPUT = "saturation"
CACHE = 2**30  # bytes of blocks that a rank keeps in memory
REMEDY = "run refimpl demo, or python -m solvers run, again: it makes damaged samples anew"


@dataclass(frozen=True)
class Scaling:
    """(f - mean) / deviation for each input, in the order of INPUTS."""

    mean: tuple[float, ...]
    deviation: tuple[float, ...]


class View(NamedTuple):
    """A sample, or its mirror image along some of the space axes (0: x, 1: y): gravity acts along z, so it is one too.

    ``start``: the frame before the first that is predicted.
    """

    sample: int
    mirrored: tuple[int, ...] = ()
    start: int = 0


def takes_state(X: Space) -> bool:
    """Whether the inputs in X have a channel for the field at a frame, beside the static ones."""
    return X.shape[1] == len(INPUTS) + 1


class Cases:
    """Files with the inputs of simulations, which may not have been run; every rank of ``comm`` makes the same calls.

    Attributes: ``files``; ``cells`` (nx, ny, nz).
    Raises OSError or ValueError on all ranks where a file is damaged, lacks a field, or has another shape.
    """

    remedy = "check how it was made"

    def __init__(self, comm: Any, files: Sequence[Path], where: str | Path, shape: Callable | None = None) -> None:
        if not files:
            raise ValueError(f"{type(self).__name__}: there are no files in {where}")
        self.comm, self.files, shape = comm, list(files), shape or _input_shape
        shapes = wire.together(comm, lambda: [shape(f) for i, f in enumerate(self.files) if i % comm.size == comm.rank])
        every = {shape for part in wire.pool(comm, shapes) for shape in part}
        if len(every) > 1:
            raise ValueError(f"{type(self).__name__}: the samples in {where} have different shapes: {sorted(every)}")
        self.shape = every.pop()
        self.cells = list(self.shape[-3:])
        self.cache: dict[tuple, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self.files)

    def inputs(self, views: Sequence[View], X: Space, scaling: Scaling) -> Array:
        """This rank's block of the inputs (in X) of ``views``, one for each of the batch.

        A state that a file does not hold is zero. Raises ValueError where the number of views is not the batch, ValueError
        or OSError on all ranks where a file fails.
        """
        self._check_batch(views, X)
        return wire.together(self.comm, lambda: self._stacked(views, X, lambda v: self._inputs(v, X, scaling)))

    def _check_batch(self, views: Sequence[View], X: Space) -> None:
        if len(views) != X.shape[0]:
            name = type(self).__name__
            raise ValueError(f"{name}.read: expected {X.shape[0]} views, one for each of the batch, got {len(views)}")

    def _stacked(self, views: Sequence[View], X: Space, block: Callable[[View], np.ndarray]) -> Array:
        """This rank's rows of a batch in X."""
        x = np.zeros(X.local_shape, X.dtype)
        if X.partition.active:
            for row, b in enumerate(range(*X.local_box[0])):
                x[row] = block(views[b])
        return X.adopt(x)

    def _inputs(self, view: View, X: Space, scaling: Scaling) -> np.ndarray:
        """(channels, nx, ny, nz, 1)"""

        def read(fields: Any) -> np.ndarray:
            channels = [_scale_free(name, self._block(fields[name], view, X)) for name in INPUTS]
            scaled = [(f - m) / d for f, m, d in zip(channels, scaling.mean, scaling.deviation, strict=True)]
            if takes_state(X):
                scaled.append(self._frames(fields, view, X, 0, 1)[0])
            return np.stack(scaled)[..., None].astype(X.dtype)

        return self._cached(("x", view, X.local_box, X.dtype.name, X.shape[1], scaling), read)

    def _frames(self, fields: Any, view: View, X: Space, first: int, stop: int) -> np.ndarray:
        """The output at frames first..stop-1 from the start of the view, (frames, nx, ny, nz); zero where there is none."""
        if OUTPUT not in fields:
            return np.zeros((stop - first, *(b - a for a, b in X.local_box[2:5])))
        return self._block(fields[OUTPUT], view, X, slice(view.start + first, view.start + stop))

    def _block(self, field: Any, view: View, X: Space, *frames: slice) -> np.ndarray:
        """The hyperslab of X's block in (1, .., nx, ny, nz), from the other end and reversed where the view is mirrored."""
        cut, turn = [], []
        for axis, (start, stop) in enumerate(X.local_box[2:5]):
            mirrored, n = axis in view.mirrored, self.cells[axis]
            cut.append(slice(n - stop, n - start) if mirrored else slice(start, stop))
            turn.append(slice(None, None, -1) if mirrored else slice(None))
        return field[(0, *frames, *cut)][(..., *turn)]

    def _cached(self, key: tuple, read: Callable[[Any], np.ndarray]) -> np.ndarray:
        if key in self.cache:
            return self.cache[key]
        block = _read(self.files[key[1].sample], read, self.remedy)
        if sum(b.nbytes for b in self.cache.values()) + block.nbytes <= CACHE:
            self.cache[key] = block
        return block


class Dataset(Cases):
    """One split of the data set in ``folder``; every rank of ``comm`` makes the same calls.

    Attributes: ``files``; ``cells`` (nx, ny, nz); ``frames`` T, without the initial one.
    Raises OSError or ValueError on all ranks where there is no such data, or a file has another shape.
    """

    remedy = REMEDY

    def __init__(self, comm: Any, folder: str | Path, split: str) -> None:
        self.split, pattern = split, Path(folder) / "data" / split
        files = wire.at_root(comm, lambda: sorted(pattern.glob("*.h5")))
        if not files:
            raise FileNotFoundError(
                f"Dataset: no samples in {pattern}; make some with: python -m solvers run --out {folder}"
            )
        super().__init__(comm, files, pattern, _shape)
        self.frames = self.shape[0] - 1

    def scaling(self) -> Scaling:
        """Mean and deviation of each input over all samples; the ranks share the work, and any number finds the same bits."""
        sums, size = np.zeros((len(self), 3, len(INPUTS))), self.comm.size
        for rank, part in enumerate(wire.pool(self.comm, wire.together(self.comm, self._sums))):
            sums[rank::size] = part
        count, first, second = sums.sum(axis=0)
        mean = first / count
        deviation = np.sqrt(np.maximum(second / count - mean**2, 0))
        return Scaling(tuple(mean.tolist()), tuple(np.where(deviation > 0, deviation, 1.0).tolist()))

    def _sums(self) -> np.ndarray:
        """(number of cells, sum, sum of squares) of each input for each of this rank's share of the files."""
        share = self.files[self.comm.rank :: self.comm.size]
        sums = np.zeros((len(share), 3, len(INPUTS)))
        for k, path in enumerate(share):
            for i, name in enumerate(INPUTS):
                f = _read(path, partial(_whole, name))
                sums[k, :, i] = f.size, f.sum(), np.square(f).sum()
        return sums

    def starts(self, X: Space, Y: Space) -> int:
        """How many frames there are to start from, for inputs in X and targets in Y: 1 where X takes no state.

        ValueError where Y has other frames than there are, or more.
        """
        window = Y.shape[-1]
        if not (1 <= window <= self.frames if takes_state(X) else window == self.frames):
            expected = f"1 to {self.frames}" if takes_state(X) else str(self.frames)
            raise ValueError(f"Dataset: expected targets of {expected} frames, got {window}")
        return self.frames - window + 1

    def read(self, views: Sequence[View], X: Space, Y: Space, scaling: Scaling) -> tuple[Array, Array]:
        """This rank's blocks of the inputs (in X) and targets (in Y) of ``views``, one for each of the batch.

        Raises ValueError where their number is not the batch of X, or a view starts too late, ValueError or OSError on all
        ranks where a file fails.
        """
        self._check_batch(views, X)
        self._check_batch(views, Y)
        starts = self.starts(X, Y)
        late = [view for view in views if not 0 <= view.start < starts]
        if late:
            raise ValueError(
                f"Dataset.read: expected views that start at a frame from 0 to {starts - 1}, got {late[0]}"
            )

        def blocks() -> tuple[Array, Array]:
            x = self._stacked(views, X, lambda view: self._inputs(view, X, scaling))
            return x, self._stacked(views, Y, lambda view: self._targets(view, Y))

        return wire.together(self.comm, blocks)

    def _targets(self, view: View, Y: Space) -> np.ndarray:
        """(1, nx, ny, nz, frames)"""

        def read(fields: Any) -> np.ndarray:
            return np.moveaxis(self._frames(fields, view, Y, 1, 1 + Y.shape[-1]), 0, -1)[None].astype(Y.dtype)

        return self._cached(("y", view, Y.local_box, Y.dtype.name), read)


def _read(path: Path, read: Callable[[Any], Any], remedy: str = REMEDY) -> Any:
    """``read`` of the fields of a file. OSError where it is damaged, ValueError where an array in it is not finite."""
    import h5py

    try:
        with h5py.File(path) as file:
            found = read(file["t0_fields"])
    except ValueError:
        raise
    except Exception as error:  # flipped bits make h5py raise nearly every kind
        raise OSError(f"{path} cannot be read; {remedy} ({error})") from error
    if isinstance(found, np.ndarray) and not np.all(np.isfinite(found)):
        raise ValueError(f"{path} holds numbers that are not finite; {remedy}")
    return found


def _shape(path: Path) -> tuple[int, ...]:
    """(frames, nx, ny, nz) of a sample's output."""

    def read(fields: Any) -> tuple[int, ...]:
        missing = {*INPUTS, OUTPUT} - set(fields)
        if missing:
            raise ValueError(f"{path} has no field {', '.join(sorted(missing))} in t0_fields; {REMEDY}")
        shape = fields[OUTPUT].shape[1:]
        unlike = [name for name in INPUTS if fields[name].shape[1:] != shape[1:]]
        if len(shape) != 4 or unlike:
            raise ValueError(
                f"{path}: expected {OUTPUT} (1, frames, nx, ny, nz) and (1, nx, ny, nz) of {', '.join(INPUTS)}"
            )
        return shape

    return _read(path, read)


def _input_shape(path: Path) -> tuple[int, ...]:
    """(nx, ny, nz) of a sample's inputs."""

    def read(fields: Any) -> tuple[int, ...]:
        missing = set(INPUTS) - set(fields)
        if missing:
            raise ValueError(f"{path} has no field {', '.join(sorted(missing))} in t0_fields; {Cases.remedy}")
        shapes = {fields[name].shape for name in INPUTS} | {
            (1, *fields[OUTPUT].shape[2:]) for _ in {OUTPUT} & set(fields)
        }
        if len(shapes) > 1 or len(min(shapes)) != 4:
            raise ValueError(f"{path}: expected (1, nx, ny, nz) of {', '.join(INPUTS)}, got {sorted(shapes)}")
        return shapes.pop()[1:]

    return _read(path, read, Cases.remedy)


def _whole(name: str, fields: Any) -> np.ndarray:
    return _scale_free(name, fields[name][0])


def _scale_free(name: str, f: np.ndarray) -> np.ndarray:
    f = f.astype(np.float64)
    return np.log10(f) if name in LOGARITHMIC else f
