"""The plan of a data set: what is drawn, how it is split, and the hash that ties every sample to it.

A plan is written once, as ``plan.json``, before the first sample, and never changed: a sample is a function of the plan
and its index, ``SeedSequence([root_seed, index])``, whatever the number of workers, the order or the interruptions. The
split is fixed by the index: the first ``train`` samples train, the next ``valid`` validate, the last ``test`` test.
The hash covers the settings and the depths of a real top surface as cropped, not the path it was read from.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..geology import FEWEST_LAYERS, check_patch, load_top, synthetic_top
from .files import write_atomically

NAME = "plan.json"
SCHEMA = 1  # of the samples: raise it where the meaning of a sample's content changes
REGION = 2**32 - 1  # the index that draws the synthetic surface: no sample has it
FEWEST_COLUMNS = 6  # of x and of y: wells and feeders keep off the boundary
FINEST = 2.0  # m, least distance of columns: random fields cost (correlation length / distance)^2
SMALLEST_REGION = (64, 118)  # columns of a synthetic surface
LARGEST_REGION = 2**22  # columns in all
YEAR = 365.25 * 86400.0  # s
SPLITS = ("train", "valid", "test")
PATTERNS = (NAME, *(f"data/{split}/sample-[0-9]*.h5" for split in SPLITS))  # the files of a data set
SOURCE = ("tops", "tops_crop")  # the settings that the surface's own hash stands for


@dataclass(frozen=True)
class Settings:
    """What a data set is made of. Lengths in m, rates in m3/s of CO2 at the fluids' reference pressure.

    ``shape``, ``spacing``           cells (nx, ny, nz) and their size; dx and dy at least 2 m
    ``train``, ``valid``, ``test``   numbers of samples
    ``years``, ``frames``            report times: ``frames`` equal intervals over ``years``, after the initial state
    ``rate``                         the total rate of a sample is drawn uniformly between these two
    ``root_seed``                    the seed of everything that is drawn
    ``tops``                         the file of a real top surface; None: a synthetic one
    ``tops_shape``, ``tops_spacing`` its columns (an Eclipse file does not say them), and their distance
    ``tops_crop``                    (i0, i1, j0, j1): of its columns, keep those with i0 <= i < i1, j0 <= j < j1

    Raises ValueError where a value makes no sense.
    """

    shape: tuple[int, int, int] = (24, 24, 10)
    spacing: tuple[float, float, float] = (80.0, 80.0, 6.0)
    train: int = 32
    valid: int = 4
    test: int = 6
    years: float = 8.0
    frames: int = 20
    rate: tuple[float, float] = (0.012, 0.016)
    root_seed: int = 2024
    tops: str | None = None
    tops_shape: tuple[int, int] | None = None
    tops_spacing: tuple[float, float] = (50.0, 50.0)
    tops_crop: tuple[int, int, int, int] | None = None

    def __post_init__(self) -> None:
        self._make_plain()
        if len(self.shape) != 3 or min(self.shape[:2]) < FEWEST_COLUMNS or self.shape[2] < FEWEST_LAYERS:
            least = f"{FEWEST_COLUMNS} x {FEWEST_COLUMNS} x {FEWEST_LAYERS}"
            raise ValueError(f"Settings: shape needs three numbers of cells, at least {least}, got {self.shape}")
        for name, count in (("spacing", 3), ("tops_spacing", 2)):
            lengths = getattr(self, name)
            if len(lengths) != count or not all(0.0 < length < np.inf for length in lengths):
                raise ValueError(f"Settings: {name} needs {count} positive lengths in m, got {lengths}")
            if min(lengths[:2]) < FINEST:
                raise ValueError(f"Settings: {name} must be at least {FINEST:g} m in x and y, got {lengths}")
        if min(self.train, self.valid, self.test) < 0 or self.samples == 0:
            raise ValueError(
                f"Settings: expected at least one sample, got train {self.train}, valid {self.valid}, test {self.test}"
            )
        if not 0.0 < self.years < np.inf or self.frames < 1:
            raise ValueError(f"Settings: expected years > 0 and frames >= 1, got {self.years} and {self.frames}")
        if len(self.rate) != 2 or not 0.0 < self.rate[0] <= self.rate[1] < np.inf:
            raise ValueError(f"Settings: rate needs two values 0 < low <= high in m3/s, got {self.rate}")
        if self.root_seed < 0:
            raise ValueError(f"Settings: root_seed must be >= 0, got {self.root_seed}")
        if self.tops_shape is not None and (len(self.tops_shape) != 2 or min(self.tops_shape) < 1):
            raise ValueError(f"Settings: tops_shape needs two numbers of columns, at least 1, got {self.tops_shape}")
        if self.tops_shape is not None and self.tops is None:
            raise ValueError("Settings: tops_shape says the columns of a surface's file, but no file tops is given")
        if self.tops_crop is not None and (self.tops is None or len(self.tops_crop) != 4):
            raise ValueError(f"Settings: tops_crop needs four numbers i0, i1, j0, j1, and tops; got {self.tops_crop}")

    def _make_plain(self) -> None:
        """Python's own numbers and tuples, so that (50, 50, 5) and [50.0, 50.0, 5.0] are one plan with one hash."""
        plain: dict[str, Any] = {
            name: int(getattr(self, name)) for name in ("train", "valid", "test", "frames", "root_seed")
        }
        plain |= {"years": float(self.years), "tops": None if self.tops is None else str(self.tops)}
        plain |= {name: tuple(map(float, getattr(self, name))) for name in ("spacing", "rate", "tops_spacing")}
        plain |= {"shape": tuple(map(int, self.shape))}
        for name in ("tops_shape", "tops_crop"):
            given = getattr(self, name)
            plain |= {name: None if given is None else tuple(map(int, given))}
        for name, value in plain.items():
            object.__setattr__(self, name, value)

    @property
    def samples(self) -> int:
        return self.train + self.valid + self.test

    @property
    def times(self) -> np.ndarray:
        """The report times after the initial state, (frames,), s."""
        return np.linspace(0.0, self.years * YEAR, self.frames + 1)[1:]

    def split_of(self, index: int) -> str:
        """The split that sample ``index`` belongs to."""
        return SPLITS[int(np.searchsorted(np.cumsum([self.train, self.valid]), index, side="right"))]

    def path_of(self, out: Path, index: int) -> Path:
        """The file of sample ``index`` in the data set ``out``."""
        return out / "data" / self.split_of(index) / f"sample-{index:06d}.h5"


@dataclass(frozen=True, eq=False)
class Plan:
    """Settings together with the top surface that samples take patches of, (nx, ny) m: what a worker needs."""

    settings: Settings
    surface: np.ndarray

    @property
    def digest(self) -> str:
        """sha256 of all that determines a sample."""
        return hashlib.sha256(json.dumps(self.content(), sort_keys=True).encode()).hexdigest()

    def content(self) -> dict:
        """What is hashed: the settings without where a real surface comes from, and that surface's own hash."""
        settings = {name: value for name, value in asdict(self.settings).items() if name not in SOURCE}
        real = self.settings.tops is not None
        surface = hashlib.sha256(self.surface.tobytes()).hexdigest() if real else None
        return {"schema": SCHEMA, "settings": settings, "tops_sha256": surface}


def make_plan(settings: Settings) -> Plan:
    """Read the top surface that the settings name, or draw one.

    Raises what ``load_top`` raises, and ValueError where the model is larger than the surface, or the surface too large.
    """
    if settings.tops is not None:
        crop = None if settings.tops_crop is None else (settings.tops_crop[:2], settings.tops_crop[2:])
        surface = load_top(settings.tops, settings.tops_shape, crop)
        check_patch(surface.shape, settings.tops_spacing, settings.shape[:2], settings.spacing[:2])
        return Plan(settings, surface)
    rng = np.random.default_rng(np.random.SeedSequence([settings.root_seed, REGION]))
    spans = [(n - 1) * d / s for n, d, s in zip(settings.shape, settings.spacing, settings.tops_spacing, strict=False)]
    shape = [max(least, 2 * int(np.ceil(span))) for least, span in zip(SMALLEST_REGION, spans, strict=True)]
    if shape[0] * shape[1] > LARGEST_REGION:
        raise ValueError(
            f"the synthetic top of so large a model would have {shape[0]} x {shape[1]} columns, more than "
            f"{LARGEST_REGION}; choose fewer or smaller cells"
        )
    return Plan(settings, synthetic_top(rng, shape, settings.tops_spacing))


def write_plan(plan: Plan, out: Path) -> None:
    """Write ``plan.json``, or accept the one that is there if it is the same plan; ValueError where it is another."""
    file = out / NAME
    if not file.exists():
        record = {"plan": plan.digest, **{name: getattr(plan.settings, name) for name in SOURCE}, **plan.content()}
        write_atomically(file, json.dumps(record, indent=1).encode() + b"\n")
    elif (found := _read_record(file))["plan"] != plan.digest:
        raise ValueError(
            f"{out} holds a data set of another plan: {_difference(found, plan.content())}. "
            "Choose another folder, or delete this one"
        )


def read_plan(out: Path) -> tuple[Settings, str]:
    """The settings of the data set ``out`` and its plan's hash. Raises FileNotFoundError, ValueError."""
    record = _read_record(Path(out) / NAME)
    given = record["settings"] | {name: record.get(name) for name in SOURCE}
    settings: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in given.items()}
    return Settings(**settings), record["plan"]


def _read_record(file: Path) -> dict:
    if not file.is_file():
        raise FileNotFoundError(f"{file.parent} is no data set: it has no {NAME}")
    try:
        record = json.loads(file.read_text())
        if {"plan", "tops", "schema", "settings", "tops_sha256"} <= set(record):
            return record
    except (ValueError, TypeError):
        pass
    raise ValueError(f"{file} is damaged; delete it (the same settings write it again), or choose another folder")


def _difference(found: dict, wanted: dict) -> str:
    """Which entries differ, in words."""
    old, new = ({**c["settings"], "schema": c["schema"], "tops_sha256": c["tops_sha256"]} for c in (found, wanted))
    new = json.loads(json.dumps(new))  # tuples as lists, as in the file
    names = [name for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name)]
    return ", ".join(f"{name} is {old.get(name)} there and {new.get(name)} here" for name in names)
