"""The pictures of the main job's page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from solvers.generate.storage import YEAR
from solvers.geology import MILLIDARCY

from ..partition import blocks
from ..training import log

CO2, DIFFERENCE, ROCK = "magma_r", "RdBu_r", "viridis"
NETWORK, BASELINES = "#0b6fa4", {"nearest": "#c4622d", "mean": "#7a7a7a"}
NAMES = {"network": "network", "nearest": "nearest training case", "mean": "training mean"}


@dataclass(frozen=True)
class Case:
    """One unseen case: rock (nx, ny, nz) and saturations (nx, ny, nz, T)."""

    name: str
    permeability: np.ndarray  # vertical, m2
    depth: np.ndarray  # m
    wells: np.ndarray  # (n, 2) columns
    x: np.ndarray  # m
    y: np.ndarray  # m
    years: np.ndarray
    truth: np.ndarray
    prediction: np.ndarray

    @property
    def section(self) -> int:
        """The y index of the first injector."""
        return int(self.wells[0, 1])

    @property
    def frames(self) -> list[int]:
        """The report times that end each quarter."""
        return sorted({max(round(quarter * len(self.years) / 4) - 1, 0) for quarter in (1, 2, 3, 4)})


def load_case(data: Path, out: Path, name: str) -> Case:
    """The test case in file ``name`` with its prediction."""
    import h5py

    with h5py.File(data / "data" / "test" / name) as file, h5py.File(out / "predictions.h5") as predicted:
        fields, dimensions = file["t0_fields"], file["dimensions"]
        return Case(
            name=name,
            permeability=fields["permeability_z"][0],
            depth=fields["depth"][0],
            wells=np.unique(np.argwhere(fields["well_rate"][0] > 0)[:, :2], axis=0),
            x=dimensions["x"][:],
            y=dimensions["y"][:],
            years=dimensions["time"][1:] / YEAR,
            truth=predicted[f"{name}/truth"][:],
            prediction=predicted[f"{name}/prediction"][:],
        )


def rock(case: Case) -> Any:
    """The depth of the top with the wells, and the permeability on a section through the first injector."""
    import matplotlib.pyplot as plt
    from matplotlib.colors import LogNorm

    figure, (top, section) = plt.subplots(1, 2, figsize=(10, 3.6), width_ratios=(1, 1.9), layout="constrained")
    image = top.pcolormesh(case.x, case.y, case.depth[:, :, 0].T, cmap="terrain_r", shading="nearest")
    figure.colorbar(image, ax=top, label="depth (m)")
    top.plot(case.x[case.wells[:, 0]], case.y[case.wells[:, 1]], "v", color="black", markersize=8)
    top.axhline(case.y[case.section], color="black", linestyle="--", linewidth=0.8)
    top.set(title="top surface, injectors, section", xlabel="x (m)", ylabel="y (m)", aspect="equal")
    values = case.permeability[:, case.section] / MILLIDARCY
    image = pave(section, case, values, cmap=ROCK, norm=LogNorm())
    figure.colorbar(image, ax=section, label="vertical permeability (mD)")
    section.set(title="sands, seals and feeders", xlabel="x (m)", ylabel="depth (m)")
    return figure


def sections(case: Case) -> Any:
    """Saturation on the section: simulated, predicted, difference, at four times."""
    fields = {"simulated": case.truth[:, case.section], "predicted": case.prediction[:, case.section]}
    return compare(case, fields, lambda axes, values, **style: pave(axes, case, values, **style), "depth (m)", 6.6)


def maps(case: Case) -> Any:
    """The mean saturation of every column: simulated, predicted, difference, at four times."""

    def draw(axes: Any, values: np.ndarray, **style: Any) -> Any:
        axes.set_aspect("equal")
        return axes.pcolormesh(case.x, case.y, values.T, shading="nearest", **style)

    return compare(
        case, {"simulated": case.truth.mean(axis=2), "predicted": case.prediction.mean(axis=2)}, draw, "y (m)", 8.2
    )


def compare(case: Case, fields: dict[str, np.ndarray], draw: Callable, ylabel: str, height: float) -> Any:
    """Rows: the two fields (.., .., T) on one colour scale, and their difference on half of it; columns: times."""
    import matplotlib.pyplot as plt

    figure, rows = plt.subplots(
        3, len(case.frames), figsize=(11, height), sharex=True, sharey=True, layout="constrained"
    )
    span = max(float(fields["simulated"][..., case.frames].max()), 1e-6)
    shown = fields | {"difference": fields["predicted"] - fields["simulated"]}
    for axes, (title, field) in zip(rows, shown.items(), strict=True):
        style: dict[str, Any] = dict(cmap=CO2, vmin=0, vmax=span)
        if title == "difference":
            style = dict(cmap=DIFFERENCE, vmin=-span / 2, vmax=span / 2)
        for ax, frame in zip(axes, case.frames, strict=True):
            image = draw(ax, field[..., frame], **style)
        axes[0].set_ylabel(f"{title}\n{ylabel}")
        figure.colorbar(image, ax=axes, label="saturation", pad=0.01)
    for ax, frame in zip(rows[0], case.frames, strict=True):
        ax.set_title(f"{case.years[frame]:.1f} years")
    for ax in rows[-1]:
        ax.set_xlabel("x (m)")
    return figure


def pave(axes: Any, case: Case, values: np.ndarray, **style: Any) -> Any:
    """Colour the cells of the section (nx, nz), each column at its own depth."""
    edges_x, edges_z = cell_edges(case)
    image = axes.pcolormesh(edges_x, edges_z, np.repeat(values, 2, axis=0)[:-1], **style)
    if not axes.yaxis_inverted():
        axes.invert_yaxis()
    return image


def cell_edges(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Corners (2 nx, nz + 1) of the section's columns: each is a rectangle, with a step to the next."""
    depth, dx = case.depth[:, case.section], case.x[1] - case.x[0]
    dz = depth[0, 1] - depth[0, 0] if depth.shape[1] > 1 else 1.0
    z = np.concatenate([depth - dz / 2, depth[:, -1:] + dz / 2], axis=1)
    x = np.stack([case.x - dx / 2, case.x + dx / 2 - 1e-6 * dx], axis=1).ravel()
    return np.repeat(x[:, None], z.shape[1], axis=1), np.repeat(z, 2, axis=0)


def curves(evaluation: dict) -> Any:
    """Training loss and held-out error over epochs."""
    return log.curves(evaluation["progress"]["loss"], evaluation["progress"]["held_out"])


def errors(evaluation: dict) -> Any:
    """The error of every unseen case: network and baselines."""
    import matplotlib.pyplot as plt

    cases = evaluation["cases"]
    figure, ax = plt.subplots(figsize=(5.4, 3.4), layout="constrained")
    place = np.arange(len(cases))
    for k, name in enumerate(("network", "nearest", "mean")):
        heights = [case[f"{name}_errors"]["relative_l2"] for case in cases]
        ax.bar(place + 0.27 * (k - 1), heights, 0.25, color=BASELINES.get(name, NETWORK), label=NAMES[name])
    ax.set_xticks(place, [f"case {i + 1}" for i in place])
    ax.set_ylabel("relative L2 error of saturation")
    ax.legend(frameon=False, ncols=1, loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8)
    return figure


def partition(evaluation: dict, modes: tuple[int, ...]) -> Any:
    """Who holds what: the cells seen from above, and the kept frequencies along x and y."""
    import matplotlib.pyplot as plt

    figure, (space, spectrum) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    grid = evaluation["grid"][2:4]
    colour_blocks(space, evaluation["cells"][:2], grid)
    space.set(title="data: cells, seen from above", xlabel="x (cell)", ylabel="y (cell)")
    colour_blocks(spectrum, [2 * m for m in modes[:2]], grid)
    spectrum.set(title="spectral weights: kept frequencies", xlabel="along x", ylabel="along y")
    return figure


def colour_blocks(axes: Any, shape: list[int], grid: list[int]) -> None:
    import matplotlib.pyplot as plt

    colours = plt.get_cmap("tab10" if grid[0] * grid[1] <= 10 else "viridis", max(grid[0] * grid[1], 10))
    for i, (a, b) in enumerate(blocks(shape[0], grid[0])):
        for j, (c, d) in enumerate(blocks(shape[1], grid[1])):
            rank = i * grid[1] + j
            axes.add_patch(plt.Rectangle((a, c), b - a, d - c, facecolor=colours(rank), edgecolor="white", alpha=0.8))
            if a < b and c < d:
                axes.text((a + b) / 2, (c + d) / 2, f"rank {rank}", ha="center", va="center", color="white")
    axes.set(xlim=(0, shape[0]), ylim=(0, shape[1]), aspect="equal")
