"""Pictures of a run: the vorticity over time, what is conserved and what is lost; an animation; and files for ParaView.

PNG      The vorticity (its last component, in three dimensions on the plane half-way up) at six times with the streamlines in
         the plane, the ball in grey and the fringe hatched; below it the energy and the enstrophy, and the force on the ball
         along the first axis.
GIF      The same slice, one picture a frame.
VTK      One image file a frame with velocity and vorticity at the centres of the cells and the ball's fraction, as raw
         float32, and a collection with their times: open ``run.pvd``. Format: VTK file formats, https://docs.vtk.org.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..vtk import image_file, write_collection
from .files import Recording
from .mesh import Mesh
from .simulate import units

MOMENTS = 6
VORTICITY = "vorticity (1/s)"


def plot(run: Recording, path: Path) -> None:
    """Draw the run into an image file; the suffix .gif makes an animation."""
    if path.suffix == ".gif":
        return animate(run, path)
    from matplotlib.figure import Figure

    count = len(run.arrays["time"])
    moments = np.unique(np.linspace(0, count - 1, MOMENTS).round().astype(int))
    figure = Figure(figsize=(3.4 * 3, 6.6 + 2.4), layout="constrained")
    rows = figure.add_gridspec(3, 3, height_ratios=(1, 1, 0.8))
    limit = largest(run)
    for place, moment in enumerate(moments):
        axes = figure.add_subplot(rows[place // 3, place % 3])
        image = draw_slice(axes, run, moment, limit)
        draw_streamlines(axes, run, moment)
        axes.set_title(f"{run.arrays['time'][moment]:.3g} s", fontsize=10)
    figure.colorbar(image, ax=figure.axes, label=VORTICITY, shrink=0.8)
    draw_series(figure.add_subplot(rows[2, : 2 if run.flow.ball else 3]), run, ("energy", "enstrophy"))
    if run.flow.ball:
        axes = figure.add_subplot(rows[2, 2])
        axes.plot(run.arrays["time"][1:], run.arrays["drag"][1:, 0], color="#c4622d")
        axes.set(xlabel="time (s)", title=f"force on the ball, first axis ({units(run.flow.mesh.ndim)['drag']})")
    tell_fringe(figure, run)
    if not run.complete:
        figure.suptitle("not complete: the run ended before its last frame")
    figure.savefig(path, dpi=110)


def animate(run: Recording, path: Path) -> None:
    """One picture a frame, ten a second."""
    from matplotlib.animation import FuncAnimation, PillowWriter
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes, limit = figure.add_subplot(), largest(run)
    figure.colorbar(draw_slice(axes, run, 0, limit), ax=axes, label=VORTICITY, shrink=0.7)
    tell_fringe(figure, run)

    def show(moment: int) -> list:
        axes.clear()
        image = draw_slice(axes, run, moment, limit)
        axes.set_title(f"{run.arrays['time'][moment]:.3g} s", fontsize=10)
        return [image]

    FuncAnimation(figure, show, frames=len(run.arrays["time"])).save(path, PillowWriter(10), dpi=90)


def draw_slice(axes: Any, run: Recording, moment: int, limit: float) -> Any:
    """The vorticity on a plane, with the ball and the fringe."""
    values, (lx, ly) = plane(run.arrays["vorticity"][moment][-1]), run.flow.lengths[:2]
    image = axes.imshow(values.T, origin="lower", extent=(0, lx, 0, ly), cmap="RdBu_r", vmin=-limit, vmax=limit)
    if "fraction" in run.arrays:
        chi = plane(run.arrays["fraction"])
        axes.imshow(np.ma.masked_less(chi.T, 0.5), origin="lower", extent=(0, lx, 0, ly), cmap="gray", vmin=0, vmax=2)
    if (fringe := run.flow.fringe) and fringe.axis < 2:
        mark, end = (axes.axvspan, axes.axhspan)[fringe.axis], run.flow.lengths[fringe.axis]
        mark((1.0 - fringe.part) * end, end, facecolor="none", edgecolor="#999999", hatch="//", linewidth=0.0)
    axes.set(xlabel="x (m)", ylabel="y (m)")
    return image


def tell_fringe(figure: Any, run: Recording) -> None:
    """What the hatches mean."""
    if run.flow.fringe:
        figure.supxlabel("hatched: the fringe, in which the inflow is restored", fontsize=9)


def draw_streamlines(axes: Any, run: Recording, moment: int) -> None:
    """Where the fluid goes in the plane, at that moment."""
    mesh = run.flow.mesh
    u, v = (plane(c) for c in at_centres(run.arrays["velocity"][moment], mesh)[:2])
    if u.any() or v.any():
        x, y = ((np.arange(n) + 0.5) * h for n, h in zip(u.shape, mesh.spacing, strict=False))
        axes.streamplot(x, y, u.T, v.T, color="black", linewidth=0.4, density=0.7, arrowsize=0.5)


def draw_series(axes: Any, run: Recording, names: Sequence[str]) -> None:
    """Numbers over time, each as a share of its largest."""
    for name in names:
        values = run.arrays[name]
        axes.plot(run.arrays["time"], values / max(values.max(), np.finfo(float).tiny), label=name)
    axes.set(xlabel="time (s)", title="share of the largest", ylim=(0, 1.05))
    axes.legend(frameon=False)


def plane(values: np.ndarray) -> np.ndarray:
    """(nx, ny): a field in the plane, or half-way up."""
    return values if values.ndim == 2 else values[:, :, values.shape[2] // 2]


def largest(run: Recording) -> float:
    """What the colours end at: the 99th of 100 shares of the vorticity, which is largest in a few cells of a boundary layer."""
    return float(np.quantile(np.abs(run.arrays["vorticity"][:, -1]), 0.99)) or 1.0


# ---- ParaView ------------------------------------------------------------------------------------------------------------


def write_vtk(run: Recording, folder: Path) -> Path:
    """An image file for each frame, and the collection, whose path is returned."""
    mesh, times = run.flow.mesh, run.arrays["time"]
    counts, spacing = (*mesh.shape, 1)[:3], (*mesh.spacing, min(mesh.spacing))[:3]  # in the plane, one layer
    fixed = {"fraction": run.arrays["fraction"][None]} if "fraction" in run.arrays else {}

    def image(moment: int) -> bytes:
        velocity = at_centres(run.arrays["velocity"][moment], mesh)
        return image_file(counts, spacing, {"velocity": velocity, "vorticity": run.arrays["vorticity"][moment]} | fixed)

    return write_collection(folder, times, ((f"frame-{moment:04d}.vti", image(moment)) for moment in range(len(times))))


def at_centres(u: np.ndarray, mesh: Mesh) -> np.ndarray:
    """The velocity at the centres of the cells, with 0 as a third component in the plane."""
    means = []
    for axis, wall in enumerate(mesh.walls):
        above = np.roll(u[axis], -1, axis)
        if wall:  # its high end is a wall
            above[(*(slice(None),) * axis, -1)] = 0.0
        means.append(0.5 * (u[axis] + above))
    return np.stack(means + [np.zeros_like(u[0])] * (3 - mesh.ndim))
