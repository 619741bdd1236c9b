"""The plan of a data set: what is drawn, how it is split, and the hash that ties every sample to it.

A plan is written once, as ``plan.json``, before the first sample, and never changed: a sample is a function of the plan
and its index, ``SeedSequence([root_seed, index])``, whatever the number of workers, the order or the interruptions. The
split is fixed by the index: the first ``train`` samples train, the next ``valid`` validate, the last ``test`` test.
The hash covers the settings and what a file that they name holds, not the path it was read from.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ..files import write_atomically

NAME = "plan.json"
SCHEMA = 1  # of the samples: raise it where the meaning of a sample's content changes
SPLITS = ("train", "valid", "test")
PATTERNS = (NAME, *(f"data/{split}/sample-[0-9]*.h5" for split in SPLITS))  # the files of a data set


@dataclass(frozen=True)
class Splits:
    """What the settings of every kind of data set have.

    ``train``, ``valid``, ``test``   numbers of samples
    ``frames``                       report times after the initial state
    ``root_seed``                    the seed of everything that is drawn

    Raises ValueError where a value makes no sense.
    """

    kind: ClassVar[str]
    sources: ClassVar[tuple[str, ...]] = ()  # the settings that say where a file is, and not what is in it

    train: int = 32
    valid: int = 4
    test: int = 6
    frames: int = 20
    root_seed: int = 2024

    def __post_init__(self) -> None:
        self.make_plain(int, "train", "valid", "test", "frames", "root_seed")
        if min(self.train, self.valid, self.test) < 0 or self.samples == 0:
            raise ValueError(
                f"Settings: expected at least one sample, got train {self.train}, valid {self.valid}, test {self.test}"
            )
        if self.root_seed < 0 or self.frames < 1:
            raise ValueError(
                f"Settings: expected root_seed >= 0 and frames >= 1, got {self.root_seed} and {self.frames}"
            )

    def make_plain(self, kind: type, *names: str) -> None:
        """Python's own numbers and tuples, so that (50, 50, 5) and [50.0, 50.0, 5.0] are one plan with one hash."""
        for name in names:
            given = getattr(self, name)
            plain = None if given is None else kind(given) if np.ndim(given) == 0 else tuple(map(kind, given))
            object.__setattr__(self, name, plain)

    @property
    def samples(self) -> int:
        return self.train + self.valid + self.test

    def split_of(self, index: int) -> str:
        """The split that sample ``index`` belongs to."""
        return SPLITS[int(np.searchsorted(np.cumsum([self.train, self.valid]), index, side="right"))]

    def path_of(self, out: Path, index: int) -> Path:
        """The file of sample ``index`` in the data set ``out``."""
        return out / "data" / self.split_of(index) / f"sample-{index:06d}.h5"

    def generators(self, index: int, count: int) -> list[np.random.Generator]:
        """Independent generators for what is drawn for sample ``index``."""
        seeds = np.random.SeedSequence([self.root_seed, index]).spawn(count)
        return [np.random.default_rng(seed) for seed in seeds]


@dataclass(frozen=True, eq=False)
class Plan:
    """Settings, and what was read for them: what a worker needs."""

    settings: Splits

    @property
    def digest(self) -> str:
        """sha256 of all that determines a sample."""
        return hashlib.sha256(json.dumps(self.content(), sort_keys=True).encode()).hexdigest()

    def content(self) -> dict:
        """What is hashed: the settings without where files are."""
        sources = self.settings.sources
        settings = {name: value for name, value in asdict(self.settings).items() if name not in sources}
        return {"schema": SCHEMA, "settings": settings}


def write_plan(plan: Plan, out: Path) -> None:
    """Write ``plan.json``, or accept the one that is there if it is the same plan; ValueError where it is another."""
    file, settings = out / NAME, plan.settings
    if not file.exists():
        sources = {name: getattr(settings, name) for name in settings.sources}
        record = {"plan": plan.digest, "kind": settings.kind, **sources, **plan.content()}
        write_atomically(file, json.dumps(record, indent=1).encode() + b"\n")
    elif (found := read_record(file))["plan"] != plan.digest:
        raise ValueError(
            f"{out} holds a data set of another plan: {_difference(found, plan)}. "
            "Choose another folder, or delete this one"
        )


def read_record(file: Path) -> dict:
    """What ``plan.json`` holds. Raises FileNotFoundError, ValueError."""
    if not file.is_file():
        raise FileNotFoundError(f"{file.parent} is no data set: it has no {NAME}")
    try:
        record = json.loads(file.read_text())
        if {"plan", "kind", "schema", "settings"} <= set(record):
            return record
    except (ValueError, TypeError):
        pass
    raise ValueError(f"{file} is damaged; delete it (the same settings write it again), or choose another folder")


def _difference(found: dict, plan: Plan) -> str:
    """Which entries differ, in words."""
    wanted: dict[str, Any] = json.loads(json.dumps({"kind": plan.settings.kind, **plan.content()}))  # tuples as lists
    if found["kind"] != wanted["kind"]:
        return f"kind is {found['kind']} there and {wanted['kind']} here"
    old, new = {**found["settings"], **found}, {**wanted["settings"], **wanted}
    names = [name for name in sorted(new) if name != "settings" and old.get(name) != new[name]]
    return ", ".join(f"{name} is {old.get(name)} there and {new[name]} here" for name in names)
