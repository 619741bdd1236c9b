"""Case: a run of the simulator as a small record that is written to and read from TOML.

Units        SI: m, m2, m3/s at reference pressure, Pa, Pa s, kg/m3, 1/Pa, s.
Fields       of the cells (spacing, top, permeability, porosity, active, region) are numbers, nested lists, or the name of an
             array in a file: "model.h5:porosity", or "porosity.npy"; in a TOML file relative to that file's folder.
Regions      ``region`` says which entry of ``relative_permeability``, and of ``capillary``, a cell has.
Rest         At first all is brine at rest, with ``pressure`` at the depth ``datum``.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..grid import Grid
from ..toml import TWO_PHASE, plain, written
from .control import StepControl
from .fluids import Fluids
from .plausible import check_run
from .reservoir import MULTIPLIERS, Reservoir, Rock, State, hydrostatic
from .saturation_functions import BrooksCorey, Corey, Regions
from .wells import Injector, Producer, Well

Field = Any  # a number, nested tuples of numbers, or text: a file and an array in it
EXAMPLE = """kind = "two-phase"
shape = [20, 20, 8]             # cells
spacing = [50.0, 50.0, 5.0]     # m; each a number or a list
top = 800.0                     # m below the surface; or "model.h5:top"
permeability = [1e-12, 1e-12, 1e-13]    # m2, along x, y, z
porosity = 0.3                  # 0: an inactive cell
boundary = "open"               # or "closed", or multiples of pore volume: x-low, x-high, y-low, y-high
times = [7.9e6, 1.6e7, 3.2e7, 6.3e7]    # s, of the frames that are kept, beside the first

[[wells]]
kind = "injector"
cell = [10, 10]
layers = [6, 8]                 # 6 and 7, counted from the top
rate = [[0.0, 0.01], [3.2e7, 0.0]]      # m3/s from a time in s on: after a year it is shut in
bhp = 1.2e7                     # Pa, at most

[[wells]]
kind = "producer"
cell = [17, 10]
layers = [0, 8]
bhp = 5e6                       # Pa, at least
rate = 1e-6                     # m3/s, at most: a monitoring well
"""
WELLS: dict[str, Any] = {"injector": Injector, "producer": Producer}
CURVES = {"relative_permeability": Corey, "capillary": BrooksCorey}


@dataclass(frozen=True)
class Case:
    """What is simulated, and when it is looked at. The arguments are those of Grid, Rock, Fluids, Reservoir, StepControl and
    ``hydrostatic``; ``times`` of the frames in s. Of ``relative_permeability`` and ``capillary``, one entry for all the rock,
    or one for each number in ``region``.

    Raises ValueError where a number makes no sense or the parts do not fit each other, OSError where a file is missing.
    """

    shape: tuple[int, int, int]
    spacing: tuple[Field, Field, Field]
    permeability: tuple[Field, Field, Field]
    porosity: Field
    times: tuple[float, ...]
    top: Field = 0.0
    active: Field = True
    region: Field = 0
    boundary: str | float | tuple = "closed"
    wells: tuple[Well, ...] = ()
    density: tuple[float, float] = Fluids.density
    viscosity: tuple[float, float] = Fluids.viscosity
    compressibility: tuple[float, float] = Fluids.compressibility
    rock_compressibility: float = Rock.compressibility
    reference_pressure: float = Fluids.reference_pressure
    relative_permeability: tuple[Corey, ...] = (Corey(),)
    capillary: tuple[BrooksCorey, ...] = ()
    pressure: float = 101325.0
    datum: float = 0.0
    control: StepControl = field(default_factory=StepControl)

    def __post_init__(self) -> None:
        for each in fields(self):
            object.__setattr__(self, each.name, plain(getattr(self, each.name)))
        if not self.relative_permeability:
            raise ValueError("Case: expected at least one relative_permeability")
        check_run(self.reservoir, self.times, self.initial)

    @cached_property
    def reservoir(self) -> Reservoir:
        """The model, its files read."""
        spacing, permeability = ([loaded(value) for value in given] for given in (self.spacing, self.permeability))
        active, region = np.asarray(loaded(self.active)) != 0, loaded(self.region)
        curves, capillary = (_curves(each, region, self.shape) for each in (self.relative_permeability, self.capillary))
        return Reservoir(
            Grid(self.shape, tuple(spacing), loaded(self.top), active if active.ndim else None),
            Rock(tuple(permeability), loaded(self.porosity), self.rock_compressibility, self.reference_pressure),
            Fluids(self.density, self.viscosity, self.compressibility, self.reference_pressure, curves, capillary),
            self.wells,
            self.boundary if self.boundary in MULTIPLIERS else loaded(self.boundary),
        )

    @property
    def initial(self) -> State:
        """Brine at rest."""
        return hydrostatic(self.reservoir, self.pressure, self.datum)


def loaded(value: Field) -> Any:
    """The number or array that ``value`` stands for. OSError or ValueError, which name the file, where it is not there."""
    if not isinstance(value, str):
        return np.array(value) if isinstance(value, tuple) else value
    if value.endswith(".npy"):
        return np.load(value, allow_pickle=False)
    if not is_file(value):
        raise ValueError(f'Case: expected a number, a list, "FILE.h5:ARRAY" or "FILE.npy", got "{value}"')
    import h5py

    path, _, name = value.rpartition(":")
    with h5py.File(path, "r") as file:
        if name not in file:
            raise ValueError(f"Case: {path} has no array {name}; it has {', '.join(file)}")
        return file[name][()]


def is_file(value: Any) -> bool:
    """Whether a field is the name of an array in a file."""
    return isinstance(value, str) and (":" in value or value.endswith(".npy"))


def _curves(each: tuple, region: Any, shape: tuple[int, int, int]) -> Any:
    """One curve for all cells, or Regions; None without any."""
    if len(each) == 1 and np.ndim(region) == 0 and region == 0:
        return each[0]
    return Regions(np.broadcast_to(region, shape), each) if each else None


def to_toml(case: Case) -> str:
    """The case as the text of a TOML file."""
    given = {each.name: getattr(case, each.name) for each in fields(case)}
    wells, control, *curves = (given.pop(name) for name in ("wells", "control", *CURVES))
    lines = [f"kind = {written(TWO_PHASE)}", *(f"{name} = {written(value)}" for name, value in given.items())]
    for name, entries in zip(CURVES, curves, strict=True):
        for entry in entries:
            lines += [f"\n[[{name}]]", *_entries(entry)]
    for well in wells:
        kind = next(name for name, each in WELLS.items() if isinstance(well, each))
        lines += ["\n[[wells]]", f"kind = {written(kind)}", *_entries(well)]
    return "\n".join([*lines, "\n[control]", *_entries(control)]) + "\n"


def _entries(record: Any) -> Iterator[str]:
    for name, value in vars(record).items():
        if value is not None:
            yield f"{name} = {written(plain(value))}"


def read_case(path: str | Path) -> Case:
    """The case in a TOML file. OSError where a file is missing, ValueError, which names the file, where it is no case."""
    try:
        return case_of(Path(path).read_text(), Path(path).resolve().parent)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path}: {error}") from error


def case_of(text: str, folder: Path = Path()) -> Case:
    """The case that ``to_toml`` has written, with files in ``folder``. ValueError, TypeError or KeyError where it is none."""
    given = tomllib.loads(text)
    if given.pop("kind", None) != TWO_PHASE:
        raise ValueError(f'expected kind = "{TWO_PHASE}"')
    for name, kind in CURVES.items():
        if name in given:
            given[name] = [kind(**_plain_entries(entry)) for entry in given[name]]
    given["wells"] = [_well(**_plain_entries(entry)) for entry in given.get("wells", ())]
    given["control"] = StepControl(**given.get("control", {}))
    return Case(**{name: _placed(value, folder) for name, value in given.items()})


def _well(kind: str, **entries: Any) -> Well:
    if kind not in WELLS:
        raise ValueError(f"expected a well of the kind {' or '.join(WELLS)}, got {kind!r}")
    return WELLS[kind](**entries)


def _plain_entries(entry: dict[str, Any]) -> dict[str, Any]:
    return {name: plain(value) for name, value in entry.items()}


def _placed(value: Any, folder: Path) -> Any:
    """``value`` with the names of files as they are from anywhere."""
    if isinstance(value, list):
        return [_placed(part, folder) for part in value]
    return str(folder / value) if is_file(value) else value
