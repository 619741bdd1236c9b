"""Newton's method for one implicit time step.

Iteration    J(x) dx = -R(x);  x <- x + dx,  with |dS| cut to 0.2 in each cell and S kept in [0, 1 - S_wr] and a little beyond
             (``saturation_functions``). The upwind directions are found anew in each iterate. Cutting S loses mass; so
             convergence is judged after it, on R.
Stops when   max |R dt / V| <= tolerance over all cells (V the pore volume: an error of saturation in one step), and
             |sum R dt| <= mass_tolerance times the mass in place and injected, for each phase and over the wells; in
             place: in the box itself, without the multiples that stand for aquifers; at least a millionth of both phases'.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.sparse import csr_matrix

from .assembly import Assembly
from .control import StepControl, StepFailed
from .saturation_functions import GIVES_WAY

LARGEST_CHANGE = 0.2  # of a saturation in one iteration
HARDLY = 1e-6  # of all mass: less of a phase is not worth more digits


def solve_step(
    assembly: Assembly,
    solve: Callable[[csr_matrix, np.ndarray], np.ndarray],
    x_old: np.ndarray,
    dt: float,
    control: StepControl,
) -> tuple[np.ndarray, int]:
    """(x, iterations) with R(x, x_old, dt) = 0 within the tolerances. Raises StepFailed."""
    x = x_old.copy()
    flow, _ = assembly.well_flow(x_old, x_old)
    scale = mass_scale(assembly, x_old, np.maximum(flow, 0.0).sum(axis=0) * dt)
    for iteration in range(control.most_iterations + 1):
        R, jacobian = assembly.linearize(x, x_old, dt)
        local, total = _errors(assembly, R, dt, scale)
        if not np.isfinite(local + total):
            raise StepFailed(f"The residual is not a finite number {_worst_cell(assembly, R)}", iteration)
        if iteration and local <= control.tolerance and total <= control.mass_tolerance:
            return x, iteration
        if iteration < control.most_iterations:
            x = _update(assembly, x, solve(jacobian, -R))
    raise StepFailed(
        f"Newton's method did not converge in {iteration} iterations: max |R dt / V| = {local:.1e} "
        f"{_worst_cell(assembly, R)} (tolerance {control.tolerance:.0e}), "
        f"mass {total:.1e} (tolerance {control.mass_tolerance:.0e})",
        iteration,
    )


def refined(
    assembly: Assembly,
    solve: Callable[[csr_matrix, np.ndarray], np.ndarray],
    x: np.ndarray,
    x_old: np.ndarray,
    dt: float,
) -> np.ndarray:
    """x after one more iteration: with an exact ``solve`` it squares an error that is small, and ends at round-off."""
    R, jacobian = assembly.linearize(x, x_old, dt)
    return _update(assembly, x, solve(jacobian, -R))


def mass_scale(assembly: Assembly, x: np.ndarray, through: np.ndarray) -> np.ndarray:
    """What errors of mass are relative to, (brine, CO2): in the box at ``x``, and ``through`` the wells; of a phase that is
    hardly there, a millionth of both together."""
    scale = assembly.in_place(x) + through
    return np.maximum(scale, HARDLY * scale.sum())


def _errors(assembly: Assembly, R: np.ndarray, dt: float, scale: np.ndarray) -> tuple[float, float]:
    """(largest change of saturation that a cell's residual stands for, relative error of the phases' masses), of all ranks.

    A number that is not finite makes one of the two so, and all ranks see it.
    """
    sums, volume = assembly.sums, assembly.pore_volume[assembly.inside]
    cells, wells = R[: 2 * assembly.cells].reshape(-1, 2).T, np.abs(R[2 * assembly.cells :])
    local = np.abs(cells / volume).max(axis=0)
    columns = np.zeros((sums.columns, 5))
    columns[:, :2] = sums.by_column(cells).sum(axis=2).T
    columns[:, 2] = sums.by_column(local[None]).max(axis=2)
    injects = assembly.wells.sign > 0.0  # what an injector misses counts as CO2, what a producer misses as brine
    sums.add_wells(columns[:, 3:], np.stack([wells * ~injects, wells * injects], axis=1))
    columns = sums.gather(columns)
    total = np.abs(columns[:, :2].sum(axis=0))
    total += columns[:, 3:].sum(axis=0)
    return columns[:, 2].max() * dt, (total * dt / scale).max()


def _worst_cell(assembly: Assembly, R: np.ndarray) -> str:
    """Where the residual of all ranks is largest, in words."""
    cells, volume = R[: 2 * assembly.cells].reshape(-1, 2).T, assembly.pore_volume[assembly.inside]
    change = np.nan_to_num(np.abs(cells / volume).max(axis=0), nan=np.inf)
    each = assembly.sums.gather(assembly.sums.by_column(change[None])[0])
    i, j, k = np.unravel_index(np.argmax(each), assembly.reservoir.grid.shape)
    return f"in cell {int(i), int(j), int(k)}"


def _update(assembly: Assembly, x: np.ndarray, dx: np.ndarray) -> np.ndarray:
    x = x + dx
    _, S, _ = assembly.unpack(x)
    _, dS, _ = assembly.unpack(dx)
    S += np.clip(dS, -LARGEST_CHANGE, LARGEST_CHANGE) - dS
    np.clip(S, 0.0, assembly.largest_saturation + GIVES_WAY, out=S)
    return x
