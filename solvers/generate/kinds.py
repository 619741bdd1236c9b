"""The kinds of data sets. Each is a page with Settings, ``make_plan`` and ``make_sample``; what is here takes any of them.

co2      ``storage``   CO2 injected into random geology
sphere   ``sphere``    a free stream past a sphere
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from . import sphere, storage
from .plan import NAME, Plan, Splits, read_record
from .sample import Sample
from .storage_picture import plot_storage
from .wake_picture import plot_wake

KINDS: dict[str, ModuleType] = {page.Settings.kind: page for page in (storage, sphere)}


def make_plan(settings: Splits) -> Plan:
    """The plan of ``settings``: what they name is read. Raises OSError and ValueError where it cannot be."""
    return KINDS[settings.kind].make_plan(settings)


def make_sample(plan: Plan, index: int, progress: Callable | None = None) -> Sample:
    """Sample ``index`` of ``plan``, simulated; ``progress(fraction, text)`` is called between steps.

    Raises RuntimeError where the solver gives up, or the result is not what it must be.
    """
    return KINDS[plan.settings.kind].make_sample(plan, index, progress)


def read_plan(out: Path) -> tuple[Splits, str]:
    """The settings of the data set ``out`` and its plan's hash. Raises FileNotFoundError, ValueError."""
    record = read_record(Path(out) / NAME)
    kind = KINDS[record["kind"]].Settings
    given = record["settings"] | {name: record.get(name) for name in kind.sources}
    settings = {name: tuple(v) if isinstance(v, list) else v for name, v in given.items()}
    return kind(**settings), record["plan"]


def plot_sample(sample: Sample, path: str | Path) -> None:
    """Draw ``sample`` into an image file; the suffix of ``path`` (.png, .pdf, .svg) names the format."""
    (plot_wake if "solid" in sample.static else plot_storage)(sample, path)
