"""The configuration of a training: a TOML file. example.toml, beside this one, has all that it may say."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ..models import FNO
from ..partition import Partition
from ..space import Space
from ..training import Training
from ..training.dataset import INPUTS

DTYPES = ("float32", "float64")


@dataclass(frozen=True)
class Model:
    """The network's sizes; see ``models.fno``. ``window``: frames predicted at once; see ``training/rollouts.py``."""

    width: int = 12
    modes: tuple[int, ...] = (4, 4, 4, 3)
    blocks: int = 4
    hidden: int = 32
    window: int = 0
    dtype: str = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ValueError(f"model: dtype must be {' or '.join(DTYPES)}, got {self.dtype!r}")
        if self.seed < 0:
            raise ValueError(f"model: seed must be at least 0, got {self.seed}")
        if self.window < 0:
            raise ValueError(f"model: window must be at least 0, got {self.window}")


@dataclass(frozen=True)
class Config:
    """A training: where its data are, where its results go, the network and the loop."""

    data: Path
    out: Path
    batch: int = 1
    grid: tuple[int, ...] | None = None
    model: Model = Model()
    training: Training = Training()

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ValueError(f"batch must be at least 1, got {self.batch}")

    def network(self, comm: Any, cells: Sequence[int], frames: int, batch: int | None = None) -> FNO:
        """The FNO for cases of ``cells`` with ``frames`` frames, on the ranks of ``comm``, for ``batch`` samples at a time.

        Raises ValueError where the grid needs more ranks than there are, or the modes or the window do not fit.
        """
        m = self.model
        if m.window > frames:
            raise ValueError(f"model: a window of {m.window} frames is longer than the {frames} frames there are")
        P = Partition(comm, self.grid or (1, 1, comm.size, 1, 1, 1))
        channels = len(INPUTS) + (m.window > 0)  # a window begins with the state before it
        X = Space(P, (batch or self.batch, channels, *cells, 1), self.model.dtype)
        return FNO(X, m.width, m.modes, m.blocks, out_timesteps=m.window or frames, hidden=m.hidden, seed=m.seed)

    @property
    def batch_ranks(self) -> int:
        """The ranks along the batch: so many samples can be predicted at once."""
        return self.grid[0] if self.grid else 1


def read(path: Path) -> Config:
    """The configuration in a TOML file. OSError or ValueError where it cannot be read, or says what is not known."""
    try:
        table = tomllib.loads(Path(path).read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: {error}") from error
    for name in ("data", "out"):
        if name not in table:
            raise ValueError(f'{path}: expected an entry {name} = "FOLDER"')
        if not isinstance(table[name], str) or not table[name]:
            raise ValueError(f"{path}: {name} must be the name of a folder, got {table[name]!r}")
        table[name] = Path(path).absolute().parent / table[name]
    table["model"] = _section(path, "model", Model, table.get("model", {}))
    table["training"] = _section(path, "training", Training, table.get("training", {}))
    return _section(path, "the file", Config, table)


def write(path: Path, config: Config) -> None:
    """Write ``config`` as TOML; its folders, or links to them, must lie beside the file."""
    here = Path(path).absolute().parent
    lines = [f'{name} = "{Path(getattr(config, name)).absolute().relative_to(here)}"' for name in ("data", "out")]
    lines += [f"batch = {config.batch}"] + ([f"grid = {json.dumps(config.grid)}"] if config.grid else [])
    for section in ("model", "training"):
        lines += ["", f"[{section}]"]
        lines += [f"{name} = {json.dumps(value)}" for name, value in asdict(getattr(config, section)).items()]
    Path(path).write_text("\n".join(lines) + "\n")


def _section(path: Path, name: str, kind: type, table: Any) -> Any:
    """``kind`` with the entries of a table. ValueError where there is one that it does not know, or of another type."""
    if not isinstance(table, dict):
        raise ValueError(f"{path}: {name} must be a section [{name}], got {table!r}")
    known = {f.name: f.default for f in fields(kind)}
    unknown = sorted(set(table) - set(known))
    if unknown:
        raise ValueError(f"{path}: {name} has no entry {', '.join(unknown)}; there are {', '.join(known)}")
    for key, value in table.items():
        if not _fits(value, known[key]):
            like = (1, 1, 2, 1, 1, 1) if known[key] is None else known[key]
            raise ValueError(f"{path}: {name}: {key} must be like {json.dumps(like)}, got {value!r}")
    try:
        return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in table.items()})
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _fits(value: Any, default: Any) -> bool:
    """Whether a value of TOML can stand for the default."""
    if isinstance(default, tuple) or default is None:
        return isinstance(value, list) and all(type(v) is int for v in value)
    if isinstance(default, float):
        return type(value) in (int, float)
    return type(value) is type(default) if isinstance(default, (int, str)) else True
