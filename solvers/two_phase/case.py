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
from math import prod
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from ..checks import check_values, check_within, numbers
from ..grid import Grid
from ..hdf5 import array_in
from ..records import made, settle
from ..toml import TWO_PHASE, case_in, plain, written
from .control import StepControl
from .fluids import Fluids
from .plausible import BOUNDS, check_run
from .reservoir import Reservoir, Rock, State, hydrostatic
from .saturation_functions import BrooksCorey, Corey, Regions
from .wells import Well

Field = float | tuple | str  # a number, nested tuples of numbers, or text: a file and an array in it
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
CURVES = ("relative_permeability", "capillary")


@dataclass(frozen=True)
class Case:
    """What is simulated, and when it is looked at: the arguments of Grid, Rock, Fluids, Reservoir, StepControl and
    ``hydrostatic``.

    ``shape``            cells along x, y and z; the first layer is the top one
    ``spacing``          of the cells along x, y and z, m: each a number, a list or a file, "model.h5:dx" or
                         "dx.npy"; of z, of each layer or cell
    ``permeability``     of the rock along x, y and z, m2: each a number, an array (nx, ny, nz) or a file
    ``porosity``         of the rock, a number, an array (nx, ny, nz) or a file; 0: an inactive cell
    ``times``            of the frames that are kept, beside the first, s
    ``top``              depth of the top of the first layer, m: a number, an array (nx, ny) or a file
    ``active``           which cells take part: true, or an array (nx, ny, nz) of true and false, or of 1 and 0, or a file
    ``region``           which entry, from 0 on, of relative_permeability and of capillary a cell has, where there are several
    ``boundary``         "closed", "open", or by how much the cells at the sides have more pore volume: a number, four (x-low,
                         x-high, y-low, y-high), or an array (nx, ny, nz) or a file, of all cells
    ``wells``            injectors and producers
    ``density``          of brine and CO2 at reference_pressure, kg/m3
    ``viscosity``        of brine and CO2, Pa s
    ``compressibility``  of brine and CO2, 1/Pa
    ``rock_compressibility``  of the pores, 1/Pa
    ``reference_pressure``    at which density, porosity and the wells' volumes hold, Pa
    ``relative_permeability`` Corey's curves, one entry for all the rock, or one for each number in region
    ``capillary``        Brooks' and Corey's curves, none, one entry for all the rock, or one for each number in region
    ``pressure``         of the brine at rest at the depth datum, at first, Pa
    ``datum``            the depth at which there is that pressure, m
    ``control``          of time steps and of Newton's method

    Raises ValueError where a number makes no sense or the parts do not fit each other, OSError where a file is missing.
    """

    shape: tuple[int, int, int]
    spacing: tuple[Field, Field, Field]
    permeability: tuple[Field, Field, Field]
    porosity: Field
    times: tuple[float, ...]
    top: Field = 0.0
    active: bool | Field = True
    region: Field = 0
    boundary: Field = "closed"
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
        settle(self)
        if not self.relative_permeability:
            raise ValueError("Case: expected at least one relative_permeability, got none")
        for bound, name, value in (
            ("cells", f"the cells of shape {self.shape}", prod(max(float(n), 0.0) for n in self.shape)),
            ("initial pressure", "pressure", self.pressure),
            ("depth", "datum", self.datum),
            ("compressibility", "rock_compressibility", self.rock_compressibility),
        ):
            check_within("Case", name, value, BOUNDS[bound])
        check_run(self.reservoir, self.times, self.initial)

    @cached_property
    def reservoir(self) -> Reservoir:
        """The model, its files read."""
        lists = ("spacing", "permeability")
        spacing, permeability = ([loaded(f"{n}[{i}]", v) for i, v in enumerate(getattr(self, n))] for n in lists)
        grid = Grid(self.shape, tuple(spacing), loaded("top", self.top), self._active())
        region, boundary = loaded("region", self.region, "iu"), self.boundary
        if np.shape(region) not in ((), grid.shape):
            raise ValueError(f"Case: region must be a number or have the grid's {grid.shape}, got {np.shape(region)}")
        curves, capillary = (_curves(name, getattr(self, name), region, grid.shape) for name in CURVES)
        return Reservoir(
            grid,
            Rock(
                tuple(permeability),
                loaded("porosity", self.porosity),
                self.rock_compressibility,
                self.reference_pressure,
            ),
            Fluids(self.density, self.viscosity, self.compressibility, self.reference_pressure, curves, capillary),
            self.wells,
            boundary if isinstance(boundary, str) and not is_file(boundary) else loaded("boundary", boundary),
        )

    @property
    def initial(self) -> State:
        """Brine at rest."""
        return hydrostatic(self.reservoir, self.pressure, self.datum)

    def _active(self) -> np.ndarray:
        """The cells that take part."""
        active = loaded("active", self.active, "biuf")
        check_values("Case: expected active to be true or false (1 or 0)", active, (active == 0) | (active == 1))
        return np.asarray(active != 0) if np.ndim(active) else np.full(self.shape, active != 0)


def loaded(name: str, value: Field, kinds: str = "iuf") -> Any:
    """The number or array that the ``value`` of a field stands for; ``kinds``: see ``numbers``. OSError or ValueError, which
    name the field, where it is none."""
    if not is_file(value):
        return numbers(f'Case: expected {name} to be a number, a list, "FILE.h5:ARRAY" or "FILE.npy"', value, kinds)[()]
    try:
        return numbers(f"expected numbers in {value}", _stored(value), kinds)[()]
    except (OSError, ValueError) as error:
        raise type(error)(f"Case: {name}: {error}") from error


def _stored(place: str) -> np.ndarray:
    """The array at "FILE.h5:ARRAY" or in "FILE.npy"."""
    if not place.endswith(".npy"):
        path, _, name = place.rpartition(":")
        return array_in(path, name)
    try:
        return np.load(place, allow_pickle=False)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no file {place}") from error
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{place} is not a .npy file of numbers, or damaged") from error


def is_file(value: Any) -> TypeGuard[str]:
    """Whether a field is the name of an array in a file."""
    return isinstance(value, str) and (":" in value or value.endswith(".npy"))


def _curves(name: str, each: tuple, region: Any, shape: tuple[int, int, int]) -> Any:
    """One curve for all cells, or Regions; None without any. ValueError where no region tells several apart."""
    if not each:
        return None
    if len(each) == 1:
        return each[0]
    if np.ndim(region) or region != 0:
        return Regions(np.broadcast_to(region, shape), each)
    raise ValueError(
        f"Case: {name} has {len(each)} entries; expected a region in each cell that says which, got region = 0"
    )
    return each[0]


def to_toml(case: Case) -> str:
    """The case as the text of a TOML file."""
    given = {each.name: getattr(case, each.name) for each in fields(case)}
    wells, control, *curves = (given.pop(name) for name in ("wells", "control", *CURVES))
    lines = [f"kind = {written(TWO_PHASE)}", *(f"{name} = {written(value)}" for name, value in given.items())]
    for name, entries in zip(CURVES, curves, strict=True):
        for entry in entries:
            lines += [f"\n[[{name}]]", *_entries(entry)]
    for well in wells:
        lines += ["\n[[wells]]", f"kind = {written(type(well).__name__.lower())}", *_entries(well)]
    return "\n".join([*lines, "\n[control]", *_entries(control)]) + "\n"


def _entries(record: Any) -> Iterator[str]:
    for name, value in vars(record).items():
        if value is not None:
            yield f"{name} = {written(plain(value))}"


def read_case(path: str | Path) -> Case:
    """The case in a TOML file. OSError where a file is missing, ValueError, which names the file, where it is no case."""
    with case_in(path) as text:
        return case_of(text, Path(path).resolve().parent)


def case_of(text: str, folder: Path = Path()) -> Case:
    """The case that ``to_toml`` has written, with files in ``folder``. ValueError where it is none."""
    given = tomllib.loads(text)
    if (kind := given.pop("kind", None)) != TWO_PHASE:
        raise ValueError(f'expected kind = "{TWO_PHASE}", got {kind!r}')
    return made(Case, {name: _placed(value, folder) for name, value in given.items()})


def _placed(value: Any, folder: Path) -> Any:
    """``value`` with the names of files as they are from anywhere."""
    if isinstance(value, list):
        return [_placed(part, folder) for part in value]
    return str(folder / value) if is_file(value) else value
