"""Images with labels: MNIST's files, whole and damaged; the digits; batches and one-hot targets on any partition."""

import gzip
import re
import struct
import sys

import numpy as np
import pytest
from theorems import GRIDS, same_text, whole

import refimpl as ri
from refimpl import wire
from refimpl.training import Images, digits, mnist, read_idx

PIXELS = np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3)
LABELS = np.array([3, 0, 2, 1, 3], np.uint8)
CODES = {"uint8": 0x08, "int8": 0x09, "int16": 0x0B, "int32": 0x0C, "float32": 0x0D, "float64": 0x0E}


def idx(array):
    """The bytes of an IDX file, written from its definition."""
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, CODES[array.dtype.name], array.ndim, *array.shape)
    return head + array.astype(array.dtype.newbyteorder(">")).tobytes()


def write_mnist(folder, **changed):
    """Four small files in MNIST's names, two of them gzipped; ``changed`` replaces the bytes of some, None leaves one out."""
    files = {
        "train_images": ("train-images-idx3-ubyte", idx(PIXELS)),
        "train_labels": ("train-labels-idx1-ubyte.gz", gzip.compress(idx(LABELS))),
        "test_images": ("t10k-images-idx3-ubyte.gz", gzip.compress(idx(PIXELS[:2]))),
        "test_labels": ("t10k-labels-idx1-ubyte", idx(LABELS[:2])),
    }
    for key, (name, content) in files.items():
        content = changed.get(key, content)
        if content is not None:
            (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("dtype", CODES)
@pytest.mark.parametrize("shape", [(2, 3, 2), (0, 4), (1,), ()])
def test_an_idx_file_is_the_array_that_was_written(tmp_path, dtype, shape):
    array = np.asarray(10 * np.random.default_rng(0).standard_normal(shape)).astype(dtype)
    file = tmp_path / "file"
    for content in (idx(array), gzip.compress(idx(array))):
        file.write_bytes(content)
        found = read_idx(file)
        assert np.array_equal(found, array) and found.dtype == array.dtype and found.dtype.isnative


DAMAGED = {
    "empty": (b"", "expected an IDX file, which begins with 00 00 and one of 08, .*, got nothing"),
    "another format": (b"\x89PNG\r\n", "expected an IDX file, .*, got 89 50 4e 47"),
    "another type": (b"\0\0\x07\x01\0\0\0\0", "expected an IDX file, .*, got 00 00 07 01"),
    "half a header": (idx(PIXELS)[:13], "expected a header of 16 bytes for 3 axes, got 13"),
    "too short": (idx(PIXELS)[:-1], r"expected 76 bytes for uint8\[5, 4, 3\], got 75"),
    "too long": (idx(PIXELS) + b"0", r"expected 76 bytes for uint8\[5, 4, 3\], got 77"),
    "huge": (b"\0\0\x08\x03" + b"\xff" * 12, "expected 79228162458924105385300197391 bytes for uint8"),
    "half a gzip": (gzip.compress(idx(PIXELS))[:-9], "expected a whole gzip file, got a damaged one"),
    "a spoilt gzip": (gzip.compress(idx(PIXELS))[:30] + b"0" * 20, "expected a whole gzip file, got a damaged one"),
}


@pytest.mark.parametrize("how", DAMAGED)
def test_a_damaged_idx_file_is_named_with_what_was_expected_and_got(tmp_path, how):
    content, text = DAMAGED[how]
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(OSError if "gzip" in how else ValueError, match=f"{tmp_path / 'file'}: {text}"):
        read_idx(tmp_path / "file")


def test_mnist_is_read_on_rank_0_and_scattered(team, shared_tmp_path):
    wire.together(team, lambda: write_mnist(shared_tmp_path) if team.rank == 0 else None)
    train, test = mnist(team, shared_tmp_path)
    assert (len(train), len(test)) == (5, 2) and np.array_equal(train.labels, LABELS)
    assert (train.pixels is None) == (team.rank > 0)
    X = ri.Space(ri.Partition(team, (1, 1, *GRIDS[team.size])), (3, 1, 4, 3))
    Y = ri.Space(ri.Partition(team, (team.size, 1)), (3, 4), "float32")
    x, t = train.scatter([4, 0, 4], X), train.targets([4, 0, 4], Y)
    assert np.array_equal(whole(X, x), PIXELS[[4, 0, 4], None] / 255)
    assert np.array_equal(whole(Y, t), np.eye(4)[[3, 3, 3]]) and t.dtype == np.float32


UNFIT = {
    "one is missing": ({"test_labels": None}, "t10k-labels-idx1-ubyte or .*-labels-idx1-ubyte.gz, got neither"),
    "one is damaged": ({"train_images": b"\0\0\x08\x03"}, "train-images-idx3-ubyte: expected a header of 16 bytes"),
    "labels for images": ({"train_images": idx(LABELS)}, r"expected 8-bit numbers with 3 axes, got uint8\[5\]"),
    "real labels": ({"test_labels": idx(LABELS[:2] + 0.5)}, r"expected 8-bit numbers with 1 axes, got float64\[2\]"),
    "more labels": (
        {"test_labels": idx(LABELS)},
        "t10k-labels-idx1-ubyte: expected 2 labels, as many as images in .*5$",
    ),
}


@pytest.mark.parametrize("how", UNFIT)
def test_files_that_do_not_fit_are_named_on_all_ranks(team, shared_tmp_path, how):
    changed, text = UNFIT[how]
    wire.together(team, lambda: write_mnist(shared_tmp_path, **changed) if team.rank == 0 else None)
    kind = OSError if how == "one is missing" else ValueError
    assert re.search(text, same_text(team, lambda: mnist(team, shared_tmp_path), kind))


def images(team):
    return Images(team, *((PIXELS, LABELS) if team.rank == 0 else (None, None)))


def test_what_does_not_fit_is_refused_by_all_ranks_alike(team):
    root, mine = team.rank == 0, images(team)
    P = ri.Partition(team, (team.size, 1))
    for text, call in {
        "got uint8[5, 4] and uint8[5]": lambda: Images(team, *((PIXELS[..., 0], LABELS) if root else (None, None))),
        "got uint8[5, 4, 3] and uint8[4]": lambda: Images(team, *((PIXELS, LABELS[1:]) if root else (None, None))),
        "got object[] and object[]": lambda: Images(team, None, None),
        "and float64[5]": lambda: Images(team, *((PIXELS, LABELS / 2) if root else (None, None))),
        "numbers 0..4, got 4..5": lambda: mine.scatter([4, 5], ri.Space(P, (2, 1, 4, 3))),
        "numbers 0..4, got -1..-1": lambda: mine.targets([-1], ri.Space(P, (1, 4))),
        "Images.scatter: numbers: expected whole numbers": lambda: mine.scatter([0.5], ri.Space(P, (1, 1, 4, 3))),
        "digits: side: expected whole numbers": lambda: digits(team, side=7.5),
        "a side of at least 1 pixel, got 0": lambda: digits(team, side=0),
        "expected float64[2, 1, 4, 4] on rank 0, got float64[2, 1, 4, 3]": lambda: mine.scatter(
            [0, 1], ri.Space(P, (2, 1, 4, 4))
        ),
        "expected labels 0..2, got 1..3": lambda: mine.targets([3, 4], ri.Space(P, (2, 3))),
        "expected float64[1, 4] on rank 0, got float64[2, 4]": lambda: mine.targets([3, 4], ri.Space(P, (1, 4))),
        "a size from 1 to the 5 images, got 6": lambda: next(mine.batches(6)),
        "a size from 1 to the 5 images, got 0": lambda: next(mine.batches(0)),
    }.items():
        assert text in same_text(team, call)


def test_an_epoch_shows_every_image_once_in_an_order_of_its_own(team):
    batches = images(team).batches(2, seed=1)
    first, second = ([next(batches).tolist() for _ in range(2)] for _ in range(2))
    assert first != second and all(len(set(sum(epoch, []))) == 4 for epoch in (first, second))
    assert len(set(map(str, wire.pool(team, (first, second))))) == 1


class Brightness(ri.layers.Layer):
    """Scores the class of the number of the image: its first pixel is 12 times that."""

    def value(self, x):
        return -np.abs(x[:, 0, 0, :1] * 255 / 12 - np.arange(5)) if x.size else self.range.zeros()


def test_predictions_are_those_of_every_image_once_whatever_the_batch(team):
    for size in (1, 2, 5, 7):
        X = ri.Space(ri.Partition(team, (1, 1, 1, 1), ranks=[team.size - 1]), (size, 1, 4, 3))
        found = images(team).predictions(Brightness(X, X.replace(shape=(size, 5), cuts=(0, 1))))
        assert found.tolist() == [0, 1, 2, 3, 4]
    none = Images(team, *((PIXELS[:0], LABELS[:0]) if team.rank == 0 else (None, None)))
    assert none.predictions(Brightness(X, X.replace(shape=(7, 5), cuts=(0, 1)))).size == 0


def test_digits_are_enlarged_by_the_nearest_neighbour_and_split(team):
    pytest.importorskip("sklearn", reason="the digits need the images extra")
    small, large = digits(team, side=8)[0], digits(team)
    assert [len(part) for part in large] == [1500, 297] and set(large[1].labels) == set(range(10))
    assert [part.pixels is None for part in large] == [team.rank > 0] * 2
    if team.rank == 0:
        assert large[0].pixels.shape == (1500, 28, 28) and (small.pixels.min(), small.pixels.max()) == (0, 1)
        for i in (0, 3, 4, 13, 27):
            assert np.array_equal(large[0].pixels[:, i, i], small.pixels[:, 8 * i // 28, 8 * i // 28])


def test_without_scikit_learn_the_remedy_is_told_on_all_ranks(team, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    assert "pip install 'refimpl[images]'" in same_text(team, lambda: digits(team), RuntimeError)
