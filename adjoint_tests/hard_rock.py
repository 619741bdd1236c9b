"""Rock that is hard for the linear solver of the two-phase simulator; its tests, validation and benchmark share it."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.sparse import csr_matrix

from solvers.grid import Grid
from solvers.two_phase import Fluids, History, Injector, Reservoir, Rock, SimulationError, StepControl, hydrostatic
from solvers.two_phase.assembly import Assembly
from solvers.two_phase.blocks import cut, one_rank
from solvers.two_phase.krylov import conjugate_gradients
from solvers.two_phase.linear import CPR
from solvers.two_phase.multigrid import Multigrid
from solvers.two_phase.simulate import March
from solvers.two_phase.stencil import ABOVE, BELOW, CENTRE, EAST, NORTH, SOUTH, WEST, to_csr

MILLIDARCY = 9.869233e-16  # m2
FLAT, CUBES, TALL = (50.0, 50.0, 2.0), (10.0, 10.0, 10.0), (1.0, 1.0, 10.0)  # cells, m
CONTRASTS = (1.0, 1e2, 1e4, 1e6, 1e8)

Shape = tuple[int, int, int]


def lognormal(shape: Shape, sigma: float) -> np.ndarray:
    """Permeability, m2: exp of a normal field with the standard deviation ``sigma``, correlated over some two cells."""
    noise = gaussian_filter(np.random.default_rng(0).standard_normal(shape), 1.5, mode="wrap")
    return 100.0 * MILLIDARCY * np.exp(sigma * noise / noise.std())


def sealed(shape: Shape, contrast: float) -> np.ndarray:
    """Sand of 2 darcy with one-cell seals every six layers, ``contrast`` times tighter, pierced by a feeder in the middle."""
    k, (nx, ny, nz) = 20.0 * lognormal(shape, 0.3), shape
    for layer in range(3, nz, 6):
        k[:, :, layer] = 2000.0 * MILLIDARCY / contrast
        k[nx // 2 - 1 : nx // 2 + 1, ny // 2 - 1 : ny // 2 + 1, layer] = 20.0 * MILLIDARCY
    return k


def faulted(shape: Shape) -> np.ndarray:
    """Lognormal sand cut by a vertical fault of one cell, a million times tighter."""
    k = lognormal(shape, 1.0)
    k[:, shape[1] // 2 - 1] *= 1e-6
    return k


def cut_up(shape: Shape) -> np.ndarray:
    """Lognormal sand cut by such faults along both axes, into parts of unequal size; one of them ends halfway."""
    k, (nx, ny, _) = lognormal(shape, 1.0), shape
    for share in (0.17, 0.55, 0.66):
        k[:, int(share * ny)] *= 1e-6
        k[int((1.0 - share) * nx)] *= 1e-6
    k[: nx // 2, int(0.85 * ny)] *= 1e-6
    return k


def aslant(shape: Shape) -> np.ndarray:
    """Lognormal sand cut by such a fault from corner to corner."""
    k, (i, j) = lognormal(shape, 1.0), np.indices(shape[:2])
    k[np.abs(i * shape[1] / shape[0] + j - shape[1]) < 1.0] *= 1e-6
    return k


def hard_reservoir(k: np.ndarray, spacing: tuple[float, float, float], kv: float = 0.1) -> Reservoir:
    """Rock of the horizontal permeability ``k`` and ``kv`` times that downwards, with one injector below."""
    nx, ny, nz = k.shape
    rate = 1e-7 * k.size * float(np.prod(spacing)) / 86400.0  # a ten-millionth of the box a day
    well = Injector((nx // 2, ny // 2), (max(nz - 3, 0), nz), rate, radius=0.05)
    return Reservoir(Grid(k.shape, spacing, 800.0), Rock((k, k, kv * k), 0.3), Fluids(), [well], boundary="open")


def pressure_coefficients(reservoir: Reservoir) -> np.ndarray:
    """The stencil, (7, nx, ny, nz), of sum of T (p_i - p_j) over the faces plus a millionth of their mean times p_i."""
    nx, ny, nz = reservoir.grid.shape
    parts = np.split(reservoir.transmissibility, np.cumsum([(nx - 1) * ny * nz, nx * (ny - 1) * nz]))
    C = np.zeros((7, nx, ny, nz))
    C[EAST, :-1] = C[WEST, 1:] = -parts[0].reshape(nx - 1, ny, nz)
    C[NORTH, :, :-1] = C[SOUTH, :, 1:] = -parts[1].reshape(nx, ny - 1, nz)
    C[BELOW, :, :, :-1] = C[ABOVE, :, :, 1:] = -parts[2].reshape(nx, ny, nz - 1)
    C[CENTRE] = 1e-6 * parts[0].mean() - C[1:].sum(axis=0)
    return C


def source_and_sink(shape: Shape) -> np.ndarray:
    """A right-hand side: 1 at the bottom in the middle, -1 in the first cell."""
    b = np.zeros(shape)
    b[shape[0] // 2, shape[1] // 2, -1], b[0, 0, 0] = 1.0, -1.0
    return b.ravel()


def multigrid_of(C: np.ndarray) -> Multigrid:
    """The cycle for a stencil (7, nx, ny, nz)."""
    ties = -C[EAST, :-1].sum(axis=2), -C[NORTH, :, :-1].sum(axis=2)
    multigrid = Multigrid(cut(C.shape[1:], ties, one_rank()))
    multigrid.factor(C.reshape(7, -1))
    return multigrid


def solve_pressure(C: np.ndarray, A: csr_matrix, b: np.ndarray) -> tuple[np.ndarray, int]:
    """(p, iterations of conjugate gradients) to 1e-8, set-up included."""
    multigrid = multigrid_of(C)
    p, _, iterations = conjugate_gradients(A.dot, multigrid.solve, b, 1e-8, 200)
    return p, iterations


def pressure_iterations(k: np.ndarray, spacing: tuple[float, float, float], kv: float = 0.1) -> int:
    """How many iterations the pressure in this rock takes."""
    C = pressure_coefficients(hard_reservoir(k, spacing, kv))
    return solve_pressure(C, to_csr(C), source_and_sink(k.shape))[1]


def coupled_iterations(reservoir: Reservoir, steps: int) -> int:
    """The most outer iterations that any Newton iteration of the first ``steps`` accepted time steps takes."""
    assembly, most = Assembly(reservoir), 0
    march = March(assembly, StepControl(most_steps=steps), assembly.pack(hydrostatic(reservoir)))
    march.linear = cpr = CPR(assembly)
    solve = cpr.solve

    def watched(matrix: csr_matrix, rhs: np.ndarray) -> np.ndarray:
        nonlocal most
        before = cpr.iterations
        x = solve(matrix, rhs)
        most = max(most, cpr.iterations - before)
        return x

    cpr.solve = watched
    with suppress(SimulationError):  # of one step too many
        while len(march.steps) < steps:
            march.to(march.time + march.proposal)
    if len(march.steps) < steps:
        raise ArithmeticError(f"the injection got no further than {len(march.steps)} steps")
    return most


def adjoint_iterations(reservoir: Reservoir, steps: int) -> int:
    """The iterations that a transposed solve takes, to 1e-13: of the first ``steps`` time steps, the mean, rounded up."""
    assembly = Assembly(reservoir)
    march = March(assembly, StepControl(), assembly.pack(hydrostatic(reservoir)))
    while len(march.steps) < steps:
        march.to(march.time + march.proposal)
    H = History(reservoir, march.steps)
    y, J = H.linearize(H.block_of(hydrostatic(reservoir)))
    before = H.linear.iterations
    J.adjoint(y)
    return -((before - H.linear.iterations) // len(march.steps))
