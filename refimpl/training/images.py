"""Images with labels, to train a classifier: MNIST's files where the user has them, else the digits of scikit-learn.

IDX          MNIST's format: two zero bytes, the code of a type, the number of axes; their sizes as big-endian 32-bit integers;
             then the numbers, big-endian, in C order. A file may be gzipped.
Digits       1797 images of 8 x 8 pixels from 0 to 16, scaled to [0, 1] and enlarged by the nearest neighbour: pixel i of n is
             pixel 8 i // n. The first 1500 are for training, the others for testing.
Where        Rank 0 reads and holds the pixels, and a batch is scattered from there; the labels are told to all ranks.
Order        The images of an epoch are permuted by (seed, epoch), alike on every rank and any number of ranks.
Reference    LeCun, Cortes and Burges, "The MNIST database of handwritten digits" (IDX); Alpaydin and Kaynak, "Optical
             recognition of handwritten digits", UCI Machine Learning Repository, 1998.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import count
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from .. import wire
from ..arrays import Array
from ..layers import Layer
from ..partition import whole_numbers
from ..space import Space

IDX_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
DIGITS_FOR_TRAINING = 1500


class Images:
    """``pixels`` (n, height, width) and ``labels`` (n) from 0, given on rank 0 of ``comm`` (None elsewhere).

    Pixels of 8 bits stand for [0, 1]; real ones are taken as they are. Attribute ``labels``: on every rank.
    Raises ValueError on all ranks where the arrays do not fit.
    """

    def __init__(self, comm: Any, pixels: np.ndarray | None, labels: np.ndarray | None) -> None:
        self.comm = comm
        self.pixels, labels = wire.together(
            comm, partial(_checked, pixels, labels) if comm.rank == 0 else lambda: (None, None)
        )
        self.labels = wire.share(comm, labels)

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, size: int, seed: int = 0) -> Iterator[np.ndarray]:
        """The numbers of the images in batches, epoch after epoch without end; a last incomplete one is left out."""
        if not 1 <= size <= len(self):
            raise ValueError(f"Images.batches: expected a size from 1 to the {len(self)} images, got {size}")
        for epoch in count():
            order = np.random.default_rng([seed, epoch]).permutation(len(self))
            yield from order[: len(self) // size * size].reshape(-1, size)

    def scatter(self, numbers: Sequence[int] | np.ndarray, X: Space) -> Array:
        """The images of these numbers as a block of ``X`` (batch, 1, height, width). ValueError where they do not fit."""
        numbers = self._numbers("scatter", numbers)
        if self.pixels is None:
            return X.scatter(None)
        chosen = self.pixels[numbers, None]
        scale = 255 if chosen.dtype == np.uint8 else 1
        return X.scatter(chosen.astype(X.dtype) / X.dtype.type(scale))

    def targets(self, numbers: Sequence[int] | np.ndarray, Y: Space) -> Array:
        """One-hot: 1 at the label and 0 elsewhere, as a block of ``Y`` (batch, classes). ValueError where they do not fit."""
        labels = self.labels[self._numbers("targets", numbers)]
        if labels.size and not 0 <= labels.min() <= labels.max() < Y.shape[1]:
            raise ValueError(f"Images.targets: expected labels 0..{Y.shape[1] - 1}, got {labels.min()}..{labels.max()}")
        return Y.scatter(np.eye(Y.shape[1], dtype=Y.dtype)[labels] if self.comm.rank == 0 else None)

    def predictions(self, model: Layer) -> np.ndarray:
        """The label that ``model`` scores highest for each image, on every rank; a last incomplete batch is filled up."""
        size, found = model.domain.shape[0], [np.zeros(0, int)]
        for start in range(0, len(self), size):
            x = self.scatter(np.arange(start, start + size) % len(self), model.domain)
            scores = model.range.gather(model(x))
            if scores is not None:
                found.append(scores.argmax(axis=1))
        return wire.share(self.comm, np.concatenate(found)[: len(self)])

    def _numbers(self, what: str, numbers: Sequence[int] | np.ndarray) -> np.ndarray:
        """``numbers`` as an array. ValueError on all ranks where one is none of an image."""
        chosen = np.array(whole_numbers(f"Images.{what}: numbers", numbers), int)
        if chosen.size and not 0 <= chosen.min() <= chosen.max() < len(self):
            raise ValueError(f"Images.{what}: expected numbers 0..{len(self) - 1}, got {chosen.min()}..{chosen.max()}")
        return chosen


def _checked(pixels: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
    """Pixels and labels as arrays. ValueError where they do not fit."""
    pixels, labels = np.asarray(pixels), np.asarray(labels)
    if (
        pixels.ndim != 3
        or labels.shape != pixels.shape[:1]
        or labels.dtype.kind not in "iu"
        or pixels.dtype.kind not in "iuf"
    ):
        raise ValueError(
            "Images: expected real pixels [n, height, width] and whole labels [n] on rank 0, "
            f"got {pixels.dtype}{list(pixels.shape)} and {labels.dtype}{list(labels.shape)}"
        )
    return pixels, labels


# ---- where they come from --------------------------------------------------------------------------------------------


def digits(comm: Any, side: int = 28) -> tuple[Images, Images]:
    """Scikit-learn's digits with ``side`` x ``side`` pixels, for training and for testing; collective.

    Raises RuntimeError on all ranks, with the remedy, where scikit-learn is not installed.
    """
    (side,) = whole_numbers("digits: side", (side,))
    if side < 1:
        raise ValueError(f"digits: expected a side of at least 1 pixel, got {side}")
    pixels, labels = wire.together(comm, _read_digits if comm.rank == 0 else lambda: (None, None))
    if comm.rank:
        return Images(comm, None, None), Images(comm, None, None)
    nearest, n = np.arange(side) * pixels.shape[1] // side, DIGITS_FOR_TRAINING
    pixels = pixels[:, nearest[:, None], nearest] / 16
    return Images(comm, pixels[:n], labels[:n]), Images(comm, pixels[n:], labels[n:])


def _read_digits() -> tuple[np.ndarray, np.ndarray]:
    try:
        from sklearn.datasets import load_digits
    except ImportError as problem:
        raise RuntimeError(
            f"the digits come with scikit-learn, which is not here: pip install 'refimpl[images]' ({problem})"
        ) from None
    data = load_digits()
    return data.images, data.target


def mnist(comm: Any, folder: str | Path) -> tuple[Images, Images]:
    """MNIST, for training and for testing, from its four IDX files in ``folder``, gzipped or not; collective.

    Raises OSError or ValueError on all ranks where a file is missing, damaged, or does not fit the others.
    """
    read = lambda name: _read_pair(Path(folder), name) if comm.rank == 0 else (None, None)
    train, test = (wire.together(comm, partial(read, name)) for name in ("train", "t10k"))
    return Images(comm, *train), Images(comm, *test)


def _read_pair(folder: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """The images and the labels called ``name``."""
    paths = [_found(folder / f"{name}-{what}-ubyte") for what in ("images-idx3", "labels-idx1")]
    pixels, labels = (read_idx(path) for path in paths)
    for path, array, axes in zip(paths, (pixels, labels), (3, 1), strict=True):
        if array.ndim != axes or array.dtype != np.uint8:
            raise ValueError(f"{path}: expected 8-bit numbers with {axes} axes, got {array.dtype}{list(array.shape)}")
    if len(pixels) != len(labels):
        raise ValueError(
            f"{paths[1]}: expected {len(pixels)} labels, as many as images in {paths[0]}, got {len(labels)}"
        )
    return pixels, labels


def _found(path: Path) -> Path:
    """``path``, or its gzipped form."""
    forms = [path, path.with_name(path.name + ".gz")]
    for form in forms:
        if form.is_file():
            return form
    raise FileNotFoundError(f"expected a file {' or '.join(map(str, forms))}, got neither")


def read_idx(path: Path) -> np.ndarray:
    """The array in an IDX file, in the machine's byte order. Raises OSError or ValueError where it is damaged."""
    data = Path(path).read_bytes()
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (EOFError, OSError, zlib.error) as problem:
            raise OSError(f"{path}: expected a whole gzip file, got a damaged one ({problem})") from problem
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in IDX_TYPES:
        kinds = ", ".join(f"{code:02x}" for code in IDX_TYPES)
        raise ValueError(
            f"{path}: expected an IDX file, which begins with 00 00 and one of {kinds}, got {data[:4].hex(' ') or 'nothing'}"
        )
    dtype, start = np.dtype(IDX_TYPES[data[2]]), 4 + 4 * data[3]
    if len(data) < start:
        raise ValueError(f"{path}: expected a header of {start} bytes for {data[3]} axes, got {len(data)}")
    shape = np.frombuffer(data[4:start], ">u4").tolist()
    size = start + dtype.itemsize * prod(shape)
    if len(data) != size:
        raise ValueError(f"{path}: expected {size} bytes for {dtype.name}{shape}, got {len(data)}")
    return np.frombuffer(data, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))
