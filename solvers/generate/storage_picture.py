"""A picture of one sample of CO2 storage: the geology, and where the CO2 goes.

Upper row   the depth of the top with injectors and feeders; the permeability on a section through the first injector.
Below       at four report times: the CO2 column height, the integral of porosity times saturation over depth (m), over
            the contours of the top; and the saturation on the section, its seals in grey.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..geology import MILLIDARCY
from .sample import Sample
from .storage import YEAR

MOMENTS = 4
LARGEST_SATURATION = 0.8
SEALING = 0.1  # mD: cells below it are drawn grey on the saturation
DEPTH_COLOURS, ROCK_COLOURS, CO2_COLOURS = "terrain_r", "viridis", "magma_r"


def plot_storage(sample: Sample, path: str | Path) -> None:
    """Draw ``sample`` into an image file; the suffix of ``path`` (.png, .pdf, .svg) names the format."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.0 * MOMENTS, 10.5), layout="constrained")
    rows = figure.add_gridspec(3, MOMENTS, height_ratios=(1.2, 1.2, 0.8))
    _draw_top(figure.add_subplot(rows[0, 0]), sample)
    _draw_permeability(figure.add_subplot(rows[0, 1:]), sample)
    frames = np.unique(np.linspace(0, sample.times.size - 1, MOMENTS + 1).round().astype(int)[1:])
    _draw_maps([figure.add_subplot(rows[1, n]) for n in range(frames.size)], sample, frames)
    _draw_sections([figure.add_subplot(rows[2, n]) for n in range(frames.size)], sample, frames)
    figure.suptitle(
        f"Sample {sample.index}: {sample.scalars['injectors']:.0f} injector(s), "
        f"{sample.scalars['total_rate'] * YEAR / 1e6:.3g} million m³ of CO2 a year"
    )
    figure.savefig(path, dpi=110)


def _draw_top(axes, sample: Sample) -> None:
    x, y = sample.axes["x"], sample.axes["y"]
    image = axes.pcolormesh(x, y, sample.static["depth"][:, :, 0].T, cmap=DEPTH_COLOURS, shading="nearest")
    _mark_wells(axes, sample)
    for i, j in zip(*np.nonzero(_feeders(sample)), strict=True):
        axes.plot(x[i], y[j], "s", color="black", markersize=3)
    axes.axhline(y[_section(sample)], color="black", linewidth=0.8, linestyle="--")
    axes.set(title="depth (m), wells, feeders (dots), section", xlabel="x (m)", ylabel="y (m)", aspect="equal")
    axes.figure.colorbar(image, ax=axes)


def _draw_permeability(axes, sample: Sample) -> None:
    from matplotlib.colors import LogNorm

    j = _section(sample)
    values = sample.static["permeability_z"][:, j] / MILLIDARCY
    image = _pave(axes, sample, values, cmap=ROCK_COLOURS, norm=LogNorm())
    axes.invert_yaxis()
    axes.set(title=f"vertical permeability (mD) at y = {sample.axes['y'][j]:g} m", xlabel="x (m)", ylabel="depth (m)")
    axes.figure.colorbar(image, ax=axes, pad=0.01)


def _draw_maps(panels, sample: Sample, frames: np.ndarray) -> None:
    thickness = _cell_height(sample)
    heights = (sample.varying["saturation"] * sample.static["porosity"]).sum(axis=-1) * thickness
    for axes, frame in zip(panels, frames, strict=True):
        x, y = sample.axes["x"], sample.axes["y"]
        image = axes.pcolormesh(x, y, heights[frame].T, cmap=CO2_COLOURS, vmin=0.0, vmax=heights[frames].max() or 1.0)
        axes.contour(x, y, sample.static["depth"][:, :, 0].T, levels=8, colors="grey", linewidths=0.5)
        _mark_wells(axes, sample)
        axes.set(title=f"CO2 column (m) after {sample.times[frame] / YEAR:.1f} years", xlabel="x (m)", aspect="equal")
    panels[0].set_ylabel("y (m)")
    panels[0].figure.colorbar(image, ax=panels, pad=0.01)


def _draw_sections(panels, sample: Sample, frames: np.ndarray) -> None:
    j = _section(sample)
    seals = np.ma.masked_greater(sample.static["permeability_z"][:, j] / MILLIDARCY, SEALING)
    for axes, frame in zip(panels, frames, strict=True):
        image = _pave(
            axes, sample, sample.varying["saturation"][frame, :, j], cmap=CO2_COLOURS, vmin=0.0, vmax=LARGEST_SATURATION
        )
        _pave(axes, sample, seals, cmap="Greys", vmin=-1.0, vmax=1.0)
        axes.invert_yaxis()
        axes.set(title=f"CO2 saturation after {sample.times[frame] / YEAR:.1f} years", xlabel="x (m)")
    panels[0].set_ylabel("depth (m)")
    panels[0].figure.colorbar(image, ax=panels, pad=0.01)


def _pave(axes, sample: Sample, values: np.ndarray, **style):
    """Draw ``values`` (nx, nz) of the section as cells that follow the top."""
    x, depth = sample.axes["x"], sample.static["depth"][:, _section(sample)]
    edges = np.concatenate([[1.5 * x[0] - 0.5 * x[1]], 0.5 * (x[:-1] + x[1:]), [1.5 * x[-1] - 0.5 * x[-2]]])
    height = _cell_height(sample)
    tops = np.interp(edges, x, depth[:, 0]) - 0.5 * height
    below = tops[:, None] + height * np.arange(values.shape[1] + 1)
    return axes.pcolormesh(np.broadcast_to(edges[:, None], below.shape), below, values, **style)


def _mark_wells(axes, sample: Sample) -> None:
    for i, j in zip(*_wells(sample), strict=True):
        axes.plot(sample.axes["x"][i], sample.axes["y"][j], "k^", markersize=6, markerfacecolor="white")


def _wells(sample: Sample) -> tuple[np.ndarray, ...]:
    return np.nonzero(sample.static["well_rate"].any(axis=-1))


def _feeders(sample: Sample) -> np.ndarray:
    """Where a column pierces a seal: (nx, ny)."""
    permeability = sample.static["permeability_z"] / MILLIDARCY
    is_seal = np.median(permeability, axis=(0, 1)) < SEALING
    return np.any(permeability[:, :, is_seal] > SEALING, axis=-1)


def _section(sample: Sample) -> int:
    """The j of the section: the row of the first injector."""
    return int(_wells(sample)[1][0])


def _cell_height(sample: Sample) -> float:
    return float(sample.axes["z"][1] - sample.axes["z"][0])
