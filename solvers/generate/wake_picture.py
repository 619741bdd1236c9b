"""A picture of one flow past a sphere: its vorticity in the two planes that cut the sphere's middle, at four report times.

Upper row   vorticity_z, seen from above: the two signs are the two sides of the wake.
Lower row   the size of the vorticity, seen from the side.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .sample import Sample

MOMENTS = 4


def plot_wake(sample: Sample, path: str | Path) -> None:
    """Draw ``sample`` into an image file; the suffix of ``path`` (.png, .pdf, .svg) names the format."""
    from matplotlib.figure import Figure

    (_, j, k), solid = middle_of(sample), sample.static["solid"]
    vorticity = np.stack([sample.varying[f"vorticity_{axis}"] for axis in "xyz"], axis=-1)
    from_above, from_the_side = vorticity[:, :, :, k, 2], np.linalg.norm(vorticity[:, :, j], axis=-1)
    frames = np.unique(np.linspace(0, sample.times.size - 1, MOMENTS + 1).round().astype(int)[1:])
    figure = Figure(figsize=(3.6 * MOMENTS, 7.0), layout="constrained")
    panels = figure.subplots(2, frames.size, squeeze=False)
    for row, (name, values, body, colours, sides) in enumerate(
        [
            ("vorticity_z (1/s)", from_above, solid[:, :, k], "RdBu_r", "xy"),
            ("|vorticity| (1/s)", from_the_side, solid[:, j], "magma_r", "xz"),
        ]
    ):
        limit = float(np.quantile(np.abs(values[1:]), 0.99)) or 1.0  # the thin layer at the sphere has far more
        for axes, frame in zip(panels[row], frames, strict=True):
            x, y = (sample.axes[axis] for axis in sides)
            lowest = -limit if colours == "RdBu_r" else 0.0
            image = axes.pcolormesh(x, y, values[frame].T, cmap=colours, vmin=lowest, vmax=limit, shading="nearest")
            axes.contourf(x, y, body.T, levels=(0.5, 2.0), colors="grey")
            axes.set(title=f"{name} at {sample.times[frame]:.3g} s", aspect="equal")
            axes.set(xlabel=f"{sides[0]} (m)", ylabel=f"{sides[1]} (m)")
        figure.colorbar(image, ax=list(panels[row]), pad=0.01)
    figure.suptitle(
        f"Sample {sample.index}: a sphere of radius {sample.scalars['radius']:g} m, Reynolds number "
        f"{sample.scalars['reynolds']:g}"
    )
    figure.savefig(path, dpi=110)


def middle_of(sample: Sample) -> list[int]:
    """The cell in the middle of the sphere."""
    solid = np.asarray(sample.static["solid"], float)
    return [round(float((place * solid).sum() / solid.sum())) for place in np.indices(solid.shape)]
