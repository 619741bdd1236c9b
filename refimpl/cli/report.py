"""The page of the main job: numbers, pictures and what they mean, as one HTML file that needs no network."""

from __future__ import annotations

import base64
import json
from io import BytesIO
from pathlib import Path
from statistics import mean, median
from typing import Any

from . import pictures
from .config import Config
from .files import write_whole


def write(out: Path, config: Config, simulation_seconds: float, failed: int) -> Path:
    """Write out/index.html from the results in ``config.out`` and out/adjoints.json; returns its path.

    ``simulation_seconds``: those of one unseen case, alone on this machine; ``failed``: samples that could not be made.
    """
    import jinja2

    template = jinja2.Template(
        Path(__file__).with_name("report.html").read_text(), autoescape=True, undefined=jinja2.StrictUndefined
    )
    text = template.render(facts(out, config, simulation_seconds), failed=failed, **drawings(config))
    write_whole(out / "index.html", lambda path: path.write_text(text))
    return (out / "index.html").resolve()


def facts(out: Path, config: Config, one: float) -> dict[str, Any]:
    """All numbers on the page; ``one``: seconds of one simulation."""
    evaluation = json.loads((config.out / "evaluation.json").read_text())
    cases, progress = evaluation["cases"], evaluation["progress"]
    simulations = {split: provenance(config.data, split) for split in ("train", "valid", "test")}
    simulated = [s["seconds"] for split in simulations.values() for s in split]
    prediction = median(c["seconds"] for c in cases)
    spent = sum(simulated) + progress["core_seconds"]
    errors = {name: mean(c[f"{name}_errors"]["relative_l2"] for c in cases) for name in ("network", "nearest", "mean")}
    gain = {name: errors[name] / errors["network"] for name in ("nearest", "mean")}
    return {
        "evaluation": evaluation,
        "cases": cases,
        "errors": errors,
        "plume": {name: mean(c[f"{name}_errors"]["plume_mae"] for c in cases) for name in errors},
        "gain": gain | {"best": min(gain.values())},
        "adjoints": json.loads((out / "adjoints.json").read_text()),
        "model": config.model,
        "training": config.training,
        "samples": {split: len(found) for split, found in simulations.items()},
        "mass": max(s["mass_balance_error"] for split in simulations.values() for s in split),
        "notice": next((s["notice"] for s in simulations["train"] if "notice" in s), None),
        "simulation_seconds": one,
        "prediction_seconds": prediction,
        "speed": one / prediction,
        "core_speed": one / (prediction * evaluation["ranks"]),
        "data_seconds": sum(simulated),
        "training_seconds": progress["seconds"],
        "spent_core_seconds": spent,
        "payback": spent / (one - prediction * evaluation["ranks"]) if one > prediction * evaluation["ranks"] else None,
    }


def provenance(data: Path, split: str) -> list[dict[str, Any]]:
    """How each sample of a split was made."""
    import h5py

    found = []
    for path in sorted((data / "data" / split).glob("*.h5")):
        with h5py.File(path) as file:
            found.append(dict(file["refimpl"].attrs))
    return found


def drawings(config: Config) -> dict[str, str]:
    """Every picture of the page as a data URI."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    evaluation = json.loads((config.out / "evaluation.json").read_text())
    case = pictures.load_case(config.data, config.out, evaluation["cases"][0]["file"])
    drawn = {
        "rock_picture": pictures.rock(case),
        "section_picture": pictures.sections(case),
        "map_picture": pictures.maps(case),
        "curve_picture": pictures.curves(evaluation),
        "error_picture": pictures.errors(evaluation),
        "partition_picture": pictures.partition(evaluation, config.model.modes),
    }
    uris = {name: as_uri(figure) for name, figure in drawn.items()}
    plt.close("all")
    return uris


def as_uri(figure: Any) -> str:
    """A figure as a PNG in a data URI."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
