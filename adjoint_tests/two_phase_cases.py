"""Small reservoirs that the tests of the two-phase simulator share."""

from __future__ import annotations

import numpy as np

from solvers.grid import Grid
from solvers.two_phase import BrooksCorey, Corey, Fluids, Injector, Reservoir, Rock, State
from solvers.two_phase.assembly import Assembly

DARCY = 9.869233e-13  # m2
DAY = 86400.0  # s


def rough_reservoir(capillary: bool = True) -> Reservoir:
    """4 x 3 x 3 cells of lognormal rock below a rough top, two wells, and a seal with its own entry pressure."""
    rng, shape = np.random.default_rng(7), (4, 3, 3)
    kx, ky, kz = (DARCY * np.exp(rng.standard_normal(shape)) for _ in range(3))
    entry = np.where(np.arange(3) == 1, 2e5, 1e4) * np.ones(shape)
    fluids = Fluids(capillary=BrooksCorey(entry) if capillary else None)
    wells = [Injector((1, 1), (0, 3), 2e-3), Injector((3, 2), (2, 3), 1e-3)]
    top = 800.0 + 5.0 * rng.standard_normal(shape[:2])
    return Reservoir(Grid(shape, (40.0, 30.0, 5.0), top), Rock((kx, ky, kz), 0.25), fluids, wells, boundary=10.0)


def layered_reservoir(
    shape: tuple[int, int, int] = (16, 16, 8), contrast: float = 1e6, entry_pressure: float = 0.0
) -> Reservoir:
    """Sands of 2 darcy on a dome, cut by one-cell seals ``contrast`` times tighter, with a feeder; open sides, one injector."""
    nx, ny, nz = shape
    k = np.full(shape, 2.0 * DARCY)
    k[:, :, 2::4] /= contrast
    entry = np.where(k < DARCY, entry_pressure, 0.1 * entry_pressure)
    k[nx // 2 : nx // 2 + 2, ny // 3 : ny // 3 + 2, 2::4] = 0.02 * DARCY
    x, y = np.linspace(-1.0, 1.0, nx)[:, None], np.linspace(-1.0, 1.0, ny)
    grid = Grid(shape, (50.0, 50.0, 5.0), 800.0 + 20.0 * (x**2 + y**2))
    fluids = Fluids(capillary=BrooksCorey(entry) if entry_pressure else None)
    well = Injector((nx // 2, ny // 2), (nz - 2, nz), 0.005)
    return Reservoir(grid, Rock((k, k, 0.1 * k), 0.3), fluids, [well], boundary="open")


def line_reservoir(cells: int, viscosity_ratio: float, length: float, rate: float, porosity: float) -> Reservoir:
    """A line of rock of 1 m2, CO2 injected into its first cell; a last cell of huge volume takes what arrives."""
    fluids = Fluids(
        density=(1000.0, 1000.0),
        viscosity=(1e-3, 1e-3 / viscosity_ratio),
        compressibility=(1e-12, 1e-12),
        relative_permeability=Corey(residuals=(0.0, 0.0)),
    )
    grid = Grid((cells, 1, 1), (length / cells, 1.0, 1.0))
    well = Injector((0, 0), (0, 1), rate, radius=0.01)
    return Reservoir(grid, Rock((DARCY,) * 3, porosity, 0.0), fluids, [well], boundary=(1.0, 1e6, 1.0, 1.0))


def random_step(assembly: Assembly, seed: int = 0) -> tuple[np.ndarray, np.ndarray, float]:
    """(x, x_old, dt): two states without relation, so that every term of the residual is at work."""
    rng = np.random.default_rng(seed)
    n = assembly.cells
    states = [State(8e6 + 1e6 * rng.random(n), 0.05 + 0.7 * rng.random(n)) for _ in range(2)]
    x, x_old = (assembly.pack(state) for state in states)
    x[2 * n :] += 1e6 * rng.random(x.size - 2 * n)
    return x, x_old, 3.0 * DAY


def derivative_gap(matrix: np.ndarray, assembly: Assembly, x: np.ndarray, x_old: np.ndarray, dt: float) -> float:
    """The largest relative difference of a column of ``matrix`` and the residual's complex-step derivative."""
    gap = 0.0
    for column, size in enumerate(np.abs(x) + 1.0):
        step = np.zeros_like(x, dtype=complex)
        step[column] = 1e-30j * size
        exact = assembly.residual(x + step, x_old, dt).imag / (1e-30 * size)
        gap = max(gap, np.abs(matrix[:, column] - exact).max() / np.abs(exact).max())
    return gap
