"""Pictures of a run: the plume from above and in sections over time, and what the wells did; an animation; files for ParaView.

From above   The CO2 column height, the sum of porosity times saturation times dz over each column (m).
Section      The saturation along x through the first well, cells as they hang from the top; inactive ones grey.
PNG          Both at four times; below them the wells' bottom-hole pressures and what they brought in.
GIF          Both, one picture a frame.
VTK          A structured grid for each frame, whose cells share corners: at the mean depth of the columns around. Pressure,
             saturation, porosity, permeability; z points up, inactive cells are hidden. Open ``run.pvd``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..vtk import structured_file, write_collection
from .files import Recording
from .fluids import CO2
from .simulate import YEAR
from .wells import named

MOMENTS = 4
COLUMNS = 12  # of the PNG: 1 to 4 panels share them
COLUMN, SATURATION = "CO2 column (m)", "CO2 saturation"
COLOURS, NOTHING = "magma_r", "#cccccc"
MEGAPASCAL = 1e6


def plot(run: Recording, path: Path) -> None:
    """Draw the run into an image file; the suffix .gif makes an animation. ValueError where it has no frame."""
    if len(run.arrays["time"]) == 0:
        raise ValueError("the run has no frame yet")
    if path.suffix == ".gif":
        return animate(run, path)
    from matplotlib.figure import Figure

    count = len(run.arrays["time"])
    moments = np.unique(np.linspace(0, count - 1, MOMENTS + 1).round().astype(int)[1:])
    figure = Figure(figsize=(4.0 * MOMENTS, 10.0), layout="constrained")
    rows = figure.add_gridspec(3, COLUMNS)
    width, half = COLUMNS // moments.size, COLUMNS // 2
    panels = [
        [figure.add_subplot(rows[row, n * width : (n + 1) * width]) for n in range(moments.size)] for row in (0, 1)
    ]
    for n, moment in enumerate(moments):
        above, section = draw_plume(panels[0][n], run, moment), draw_section(panels[1][n], run, moment)
        panels[0][n].set_title(f"after {run.arrays['time'][moment] / YEAR:.3g} years")
    figure.colorbar(above, ax=panels[0], label=COLUMN, pad=0.01, panchor=False)
    figure.colorbar(section, ax=panels[1], label=SATURATION, pad=0.01)
    draw_wells(figure.add_subplot(rows[2, :half]), figure.add_subplot(rows[2, half:]), run)
    if not run.complete:
        figure.suptitle("not complete: the run ended before its last frame")
    figure.savefig(path, dpi=110)


def animate(run: Recording, path: Path) -> None:
    """One picture a frame, five a second."""
    from matplotlib.animation import FuncAnimation, PillowWriter
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    parts = list(zip(figure.subplots(1, 2), (draw_plume, draw_section), (COLUMN, SATURATION), strict=True))
    for axes, draw, label in parts:
        figure.colorbar(draw(axes, run, 0), ax=axes, label=label)

    def show(moment: int) -> list:
        for axes, draw, _ in parts:
            axes.clear()
            draw(axes, run, moment)
        figure.suptitle(f"after {run.arrays['time'][moment] / YEAR:.2f} years", fontsize=10)
        return []

    FuncAnimation(figure, show, frames=len(run.arrays["time"])).save(path, PillowWriter(5), dpi=90)


def draw_plume(axes: Any, run: Recording, moment: int) -> Any:
    """The CO2 column height, with the wells."""
    x, y = run.arrays["x"], run.arrays["y"]
    height = column_height(run)
    empty = ~run.arrays["active"].any(axis=2)
    axes.set_facecolor(NOTHING)
    values = np.ma.masked_array(height[moment], empty)
    image = axes.pcolormesh(x, y, values.T, cmap=COLOURS, vmin=0.0, vmax=height.max() or 1.0)
    for well in run.case.wells:
        i, j = well.cell
        axes.plot(0.5 * (x[i] + x[i + 1]), 0.5 * (y[j] + y[j + 1]), "k^", markersize=6, markerfacecolor="white")
    axes.set(xlabel="x (m)", ylabel="y (m)", aspect="equal")
    return image


def draw_section(axes: Any, run: Recording, moment: int) -> Any:
    """The saturation along x through the first well, or through the middle."""
    j = run.case.wells[0].cell[1] if run.case.wells else len(run.arrays["y"]) // 2 - 1
    x = run.arrays["x"]
    below = at_corners(planes(run)[:, j : j + 1])[:, 0]
    values = np.ma.masked_array(run.arrays["saturation"][moment, :, j], ~run.arrays["active"][:, j])
    axes.set_facecolor(NOTHING)
    largest = run.arrays["saturation"].max() or 1.0
    image = axes.pcolormesh(
        np.broadcast_to(x[:, None], below.shape), below, values, cmap=COLOURS, vmin=0.0, vmax=largest
    )
    axes.invert_yaxis()
    axes.set(xlabel="x (m)", ylabel="depth (m)")
    return image


def draw_wells(pressures: Any, volumes: Any, run: Recording) -> None:
    """Bottom-hole pressures, and the CO2 that the wells have brought in, over time."""
    years = run.arrays["time"] / YEAR
    for number, well in enumerate(run.case.wells):
        name = named(number, well)
        pressures.plot(years, run.arrays["bhp"][:, number] / MEGAPASCAL, marker=".", label=name)
        volumes.plot(years, run.arrays["well_volume"][:, number, CO2], marker=".", label=name)
    pressures.set(xlabel="years", ylabel="bottom-hole pressure (MPa)")
    volumes.set(xlabel="years", ylabel="CO2 brought in (m³ at reference pressure)")
    if run.case.wells:
        pressures.legend(frameon=False)


def column_height(run: Recording) -> np.ndarray:
    """(T+1, nx, ny): the CO2 column height, m."""
    pores = np.where(run.arrays["active"], run.arrays["porosity"] * run.arrays["dz"], 0.0)
    return (run.arrays["saturation"] * pores).sum(axis=-1)


def planes(run: Recording) -> np.ndarray:
    """(nx, ny, nz+1): the depths of the upper face of each cell and of the lowest one, m."""
    depth, half = run.arrays["depth"], 0.5 * run.arrays["dz"]
    return np.concatenate([depth - half, (depth + half)[:, :, -1:]], axis=2)


def at_corners(values: np.ndarray) -> np.ndarray:
    """(nx+1, ny+1, ..): at each corner of the columns the mean of the values (nx, ny, ..) of the columns around it."""
    for axis in (0, 1):
        values = np.moveaxis(values, axis, 0)
        wide = np.concatenate([values[:1], values, values[-1:]])
        values = np.moveaxis(0.5 * (wide[:-1] + wide[1:]), 0, axis)
    return values


def write_vtk(run: Recording, folder: Path) -> Path:
    """A file of cells for each frame, and the collection, whose path is returned."""
    x, y, depth = run.arrays["x"], run.arrays["y"], at_corners(planes(run))
    points = np.stack(np.broadcast_arrays(x[:, None, None], y[:, None], -depth))[
        ..., ::-1
    ]  # z upward: the lowest layer first
    upward = lambda values: values[None, ..., ::-1]
    fixed = {
        name: upward(run.arrays[name]) for name in ("porosity", "permeability_x", "permeability_y", "permeability_z")
    }
    hidden = ~run.arrays["active"][..., ::-1]

    def cells(moment: int) -> bytes:
        fields = {name: upward(run.arrays[name][moment]) for name in ("saturation", "pressure")}
        return structured_file(points, fields | fixed, hidden)

    times = run.arrays["time"]
    return write_collection(folder, times, ((f"frame-{moment:04d}.vts", cells(moment)) for moment in range(len(times))))
