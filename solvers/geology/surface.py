"""The top surface: the depth of the caprock's base over each column of cells, metres, positive downward.

Synthetic   A dipping plane plus a Gaussian random field of standard deviation 11 m and correlation length 0.5 km:
            about 720 to 790 m deep, domes half a kilometre wide, slopes of about 1.2 m in 50 m, as the Utsira top has.
From a file An HDF5 dataset ``tops`` (nx, ny), or an Eclipse include file: keyword TOPS, values with x fastest, repeat
            counts ``n*value``, comments ``--``, ended by ``/``. In metres: a file that
            says it is in feet (attribute ``units``, keyword GRIDUNIT) is refused.
Patch       A model covers a random patch of the surface, each axis flipped with probability 1/2; between columns the
            depth is interpolated linearly.
Reference   Sleipner 2019 Benchmark Model, The Sleipner Group, https://co2datashare.org (its surface is not
            included).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .layers import correlated_field

MEAN_DEPTH = 752.0  # m
RELIEF = 11.0  # m, standard deviation about the dipping plane
DOME_SIZE = 500.0  # m, correlation length of the domes
DIP = 0.005  # m/m, slope of the plane
ROUNDING = 1e-9
SHALLOWEST = 10.0  # m, of the deepest column: less is a depth in kilometres
DEEPEST = 10_000.0  # m, deeper than any storage reservoir
FEET_SUFFIXES = ("ft", "feet", "foot")


def synthetic_top(
    rng: np.random.Generator, shape: Sequence[int] = (64, 118), spacing: Sequence[float] = (50.0, 50.0)
) -> np.ndarray:
    """A random surface (nx, ny), m: a plane that dips in a random direction, with domes."""
    azimuth = rng.uniform(0.0, 2.0 * np.pi)
    x, y = (np.arange(n)[:, None] * d for n, d in zip(shape, spacing, strict=True))
    plane = DIP * (np.cos(azimuth) * (x - x.mean()) + np.sin(azimuth) * (y - y.mean()).T)
    domes = correlated_field(rng, shape, [DOME_SIZE / d for d in spacing])
    return MEAN_DEPTH + plane + RELIEF * domes


def random_patch(
    rng: np.random.Generator,
    top: np.ndarray,
    top_spacing: Sequence[float],
    shape: Sequence[int],
    spacing: Sequence[float],
) -> np.ndarray:
    """``shape`` columns, ``spacing`` metres apart, at a random place of the surface ``top``, randomly flipped: (nx,
    ny), m.

    The patch starts on a column of the surface, so equal spacings copy its values unchanged.
    Raises ValueError where the patch is larger than the surface.
    """
    from scipy.ndimage import map_coordinates

    check_patch(top.shape, top_spacing, shape, spacing)
    stride = [d / s for d, s in zip(spacing, top_spacing, strict=True)]
    room = [m - 1 - (n - 1) * q for m, n, q in zip(top.shape, shape, stride, strict=True)]
    start = [rng.integers(0, int(r + ROUNDING) + 1) for r in room]
    places = [s + q * np.arange(n) for s, q, n in zip(start, stride, shape, strict=True)]
    patch = map_coordinates(top, np.meshgrid(*places, indexing="ij"), order=1, mode="nearest")
    flipped = tuple(axis for axis in range(2) if rng.random() < 0.5)
    return np.flip(patch, flipped)


def check_patch(
    top_shape: Sequence[int], top_spacing: Sequence[float], shape: Sequence[int], spacing: Sequence[float]
) -> None:
    """Raise ValueError where ``shape`` columns at ``spacing`` do not fit into a surface."""
    have = [(n - 1) * d for n, d in zip(top_shape, top_spacing, strict=True)]
    want = [(n - 1) * d for n, d in zip(shape, spacing, strict=True)]
    if any(w > h * (1.0 + ROUNDING) for w, h in zip(want, have, strict=True)):
        raise ValueError(
            f"the model spans {want[0]:g} x {want[1]:g} m between its outer columns, the top surface only "
            f"{have[0]:g} x {have[1]:g} m; choose fewer or smaller cells, or give a larger surface"
        )


def load_top(
    path: str | Path, shape: tuple[int, int] | None = None, crop: Sequence[tuple[int, int]] | None = None
) -> np.ndarray:
    """Read a top surface: (nx, ny) float64, m, positive downward.

    ``shape`` = (nx, ny) is needed by an Eclipse file, which does not say it, and checked against an HDF5 file.
    ``crop`` = ((i0, i1), (j0, j1)) keeps the columns i0 <= i < i1, j0 <= j < j1.

    Raises OSError where the file is missing or cannot be read, ValueError where its content is not a surface in metres.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"load_top: {path} is a folder, expected a file")
    if not path.is_file():
        raise FileNotFoundError(f"load_top: no file {path}")
    top = _read_hdf5(path) if _is_hdf5(path) else _read_eclipse(path, shape)
    if shape is not None and top.shape != tuple(shape):
        raise ValueError(f"load_top: {path} holds {top.shape} columns, expected {tuple(shape)}")
    _check_depths(path, top)
    return top if crop is None else _cropped(path, top, crop)


def _is_hdf5(path: Path) -> bool:
    with open(path, "rb") as file:
        signature = file.read(8)
    return signature == b"\x89HDF\r\n\x1a\n" or path.suffix.lower() in (".h5", ".hdf5")


def _read_hdf5(path: Path) -> np.ndarray:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            return _tops_of(path, file)
    except OSError as error:
        raise OSError(f"load_top: {path} is damaged, truncated or no HDF5 file ({error})") from error


def _tops_of(path: Path, file) -> np.ndarray:
    if "tops" not in file:
        raise ValueError(f"load_top: {path} has no dataset 'tops'; it holds {sorted(file) or 'nothing'}")
    tops = file["tops"]
    if getattr(tops, "ndim", None) != 2 or tops.dtype.kind not in "iuf":
        raise ValueError(
            f"load_top: 'tops' in {path} must be a 2-D array of numbers (nx, ny), "
            f"got {getattr(tops, 'dtype', 'a group')}{list(getattr(tops, 'shape', ()))}"
        )
    units = _text(tops.attrs.get("units", "m"))
    if units.lower().startswith(FEET_SUFFIXES):
        raise ValueError(f"load_top: 'tops' in {path} is in {units}; convert it to metres (1 ft = 0.3048 m)")
    return tops[:].astype(np.float64)


def _text(attribute) -> str:
    """An HDF5 attribute of text, which may come as str, as bytes, or as an array of either."""
    first = next(iter(np.ravel(attribute).tolist()), "")
    return (first.decode(errors="replace") if isinstance(first, bytes) else str(first)).strip()


def _read_eclipse(path: Path, shape: tuple[int, int] | None) -> np.ndarray:
    if shape is None:
        raise ValueError(
            f"load_top: an Eclipse file does not say its shape; give shape=(nx, ny), or --tops-shape NX,NY, for {path}"
        )
    try:
        text = path.read_text(encoding="ascii", errors="strict")
    except UnicodeDecodeError as error:
        raise ValueError(f"load_top: {path} is neither HDF5 nor an Eclipse text file ({error})") from error
    words = " ".join(line.split("--")[0] for line in text.splitlines()).replace("/", " / ").split()
    if "TOPS" not in (keywords := [word.upper() for word in words]):
        raise ValueError(f"load_top: {path} has no keyword TOPS")
    _check_grid_unit(path, keywords)
    words = words[keywords.index("TOPS") + 1 :]
    if "/" not in words:
        raise ValueError(f"load_top: TOPS in {path} is not ended by '/': the file is truncated")
    repeats = [_repeat(path, word) for word in words[: words.index("/")]]
    counts, values = [n for n, _ in repeats], [value for _, value in repeats]
    if sum(counts) != shape[0] * shape[1]:  # before the values are repeated: a count may be absurd
        raise ValueError(
            f"load_top: TOPS in {path} has {sum(counts)} values, shape {tuple(shape)} needs {shape[0] * shape[1]}"
        )
    return np.repeat(values, counts).reshape(shape, order="F")


def _check_grid_unit(path: Path, keywords: Sequence[str]) -> None:
    if "GRIDUNIT" in keywords:
        unit = [*keywords, "/"][keywords.index("GRIDUNIT") + 1].strip("'\"")
        if unit != "/" and not unit.startswith("MET"):
            raise ValueError(f"load_top: GRIDUNIT in {path} is {unit}; convert TOPS to metres (1 ft = 0.3048 m)")


def _repeat(path: Path, word: str) -> tuple[int, float]:
    """(n, value) of ``n*value``, which stands for n values."""
    count, star, value = word.rpartition("*")
    try:
        n = int(count) if star else 1
        if n > 0:
            return n, float(value)
    except ValueError:
        pass
    raise ValueError(f"load_top: TOPS in {path}: {word!r} is not a number or n*number")


def _check_depths(path: Path, top: np.ndarray) -> None:
    if top.size == 0:
        raise ValueError(f"load_top: {path} holds no column")
    if not np.isfinite(top).all():
        raise ValueError(
            f"load_top: {path} has NaN or infinite depths in {np.count_nonzero(~np.isfinite(top))} columns"
        )
    if top.min() <= 0.0:
        raise ValueError(
            f"load_top: {path} has depths down to {top.min():g} m; they must be positive downward "
            "(for elevations, negative below the sea, change the sign)"
        )
    if top.max() < SHALLOWEST:
        raise ValueError(
            f"load_top: {path} has depths of {top.min():g} to {top.max():g}; expected depths in metres, positive down: "
            "these look like kilometres"
        )
    if top.max() > DEEPEST:
        raise ValueError(
            f"load_top: {path} has depths of up to {top.max():g} m, more than {DEEPEST:g} m; "
            "are they in feet (times 0.3048) or centimetres?"
        )


def _cropped(path: Path, top: np.ndarray, crop: Sequence[tuple[int, int]]) -> np.ndarray:
    if len(crop) != 2 or any(not 0 <= lo < hi <= n for (lo, hi), n in zip(crop, top.shape, strict=True)):
        raise ValueError(f"load_top: the crop {crop} does not lie inside the {top.shape} columns of {path}")
    (i0, i1), (j0, j1) = crop
    return top[i0:i1, j0:j1].copy()
