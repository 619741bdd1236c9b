"""Properties: from what a gradient is asked for, rock and rates, to the coefficients of the equations.

Parameters   "porosity" (nx, ny, nz);  "permeability" (3, nx, ny, nz), kx, ky, kz in m2;  "multiplier" (3, nx, ny, nz), of the
             transmissibility between a cell and the next one along x, y, z;  "rate" (periods, wells) in m3/s, >= 0 of injectors
             and producers alike, one row from time 0 on and one from each time at which a well's rate may change.
Volume       V = (the boundary's multiplier) volume porosity
Faces        T = m a b / (a + b),  a = 2 k_l V_l / h_l^2 and b alike of the right cell:
                 dT/da = m (b / (a + b))^2,   dT/db = m (a / (a + b))^2
Index        of a perforation W = 2 pi sqrt(kx ky) dz / L,  L = ln(r_o / r_w); with u = sqrt(ky / kx)
                 e = d ln r_o / d ln u = ((u dx^2 - dy^2 / u) / (u dx^2 + dy^2 / u) - (u - 1) / (u + 1)) / 2
                 dW/dkx = W / kx (1 + e / L) / 2,   dW/dky = W / ky (1 - e / L) / 2
Ranks        Cells are cut as columns are; a face takes the cells beside it from an extended block, whose adjoint adds what the
             two ranks at a face found. The rates belong to one rank, which broadcasts them; the adjoint sums.
Inactive     cells and faces between them stay so, whatever the parameters: their derivatives are 0.
"""

from __future__ import annotations

import numpy as np

from refimpl.layers.layer import Blocks
from refimpl.layers.owners import from_owners

from .assembly import Assembly, Coefficients


class Properties:
    """The map from parameters to the coefficients of ``assembly``, one for each period of the wells' schedules."""

    def __init__(self, assembly: Assembly) -> None:
        self.assembly, reservoir, block = assembly, assembly.reservoir, assembly.block
        grid, around = reservoir.grid, block.extended
        active = reservoir.active.ravel()
        self.starts = np.array([0.0, *reservoir.schedule])  # s, of periods
        self.volume = np.where(active, reservoir.multiplier * grid.volume.ravel(), 0.0)[block.numbers]
        self.fixed = np.where(active, 0.0, reservoir.pore_volume)[block.numbers]
        self.half = np.stack([2.0 * (grid.volume / h**2).ravel()[around] for h in grid.lengths])
        left, right = around[assembly.left], around[assembly.right]
        self.open = active[left] & active[right]
        i, j, k = np.unravel_index(right, grid.shape)
        before = np.unravel_index(left, grid.shape)
        self.axis = np.where(i > before[0], 0, np.where(j > before[1], 1, 2))  # of each face
        wells = assembly.wells
        self.bores = [h.ravel()[around[wells.cell]] for h in grid.lengths]
        self.radius = np.array([well.radius for well in reservoir.wells])[assembly.own_wells][wells.well]
        self.own = np.searchsorted(block.numbers, around[wells.cell])
        self._find_spaces()

    def _find_spaces(self) -> None:
        """The parameters' spaces, and the parameters of the reservoir as it is given."""
        reservoir, cells = self.assembly.reservoir, self.assembly.block.space
        blocks = {axis + 1: row for axis, row in enumerate(cells.blocks)}
        three = cells.replace(shape=(3, *cells.shape), cuts=(None, *cells.cuts), blocks=blocks)
        self.spaces = {"porosity": cells, "permeability": three, "multiplier": three}
        rock, shape = reservoir.rock, reservoir.grid.shape
        k = np.stack([np.broadcast_to(np.asarray(k, dtype=float), shape) for k in rock.permeability])
        porosity = np.broadcast_to(np.asarray(rock.porosity, dtype=float), shape)
        self.given = {
            "porosity": porosity[cells.local_slice].copy(),
            "permeability": k[three.local_slice].copy(),
            "multiplier": np.ones(three.local_shape),
        }
        if reservoir.wells:
            used = cells.replace(shape=(self.starts.size, len(reservoir.wells)), cuts=(None, None), blocks={})
            self.share = from_owners(used, 0, sharded=False)
            self.spaces["rate"] = self.share.domain
            rates = np.abs([reservoir.inflow_at(start) for start in self.starts])
            self.given["rate"] = rates[self.share.domain.local_slice].copy()

    def value(self, parameters: Blocks) -> list[Coefficients]:
        """The coefficients in each period."""
        half, T = self._faces(parameters)
        W, _ = self._indices(parameters)
        V = self.volume * parameters["porosity"].ravel() + self.fixed
        multiplier = self._beside(parameters["multiplier"])[0]
        return [Coefficients(V, multiplier * T, W, inflow) for inflow in self._inflows(parameters)]

    def tangent(self, parameters: Blocks, d: Blocks) -> list[Coefficients]:
        """The change of the coefficients in each period for changes ``d`` of the parameters."""
        (a, b), T = self._faces(parameters)
        _, by_k = self._indices(parameters)
        dk_left, dk_right = self._beside(d["permeability"])
        half_left, half_right = self._halves()
        multiplier, dmultiplier = self._beside(parameters["multiplier"])[0], self._beside(d["multiplier"])[0]
        by_a, by_b = _slopes(a, b)
        dT = dmultiplier * T + multiplier * self.open * (by_a * half_left * dk_left + by_b * half_right * dk_right)
        dk = d["permeability"].reshape(3, -1)[:, self.own]
        dW = by_k[0] * dk[0] + by_k[1] * dk[1]
        dV = self.volume * d["porosity"].ravel()
        return [Coefficients(dV, dT, dW, inflow) for inflow in self._inflows(d)]

    def adjoint(self, parameters: Blocks, cotangents: list[Coefficients]) -> Blocks:
        """The gradients of the parameters for the cotangents of the coefficients in each period."""
        V, dT, W = (sum(parts) for parts in list(zip(*cotangents, strict=True))[:3])
        (a, b), T = self._faces(parameters)
        _, by_k = self._indices(parameters)
        half_left, half_right = self._halves()
        multiplier = self._beside(parameters["multiplier"])[0]
        by_a, by_b = (multiplier * self.open * slope * dT for slope in _slopes(a, b))
        permeability = self._beside_adjoint(by_a * half_left, by_b * half_right)
        for axis in (0, 1):
            np.add.at(permeability[axis], self.own, by_k[axis] * W)
        multipliers = self._beside_adjoint(dT * T, np.zeros_like(dT))
        gradients = {"porosity": self.volume * V, "permeability": permeability, "multiplier": multipliers}
        shaped = {name: part.reshape(self.spaces[name].local_shape) for name, part in gradients.items()}
        return shaped | self._inflows_adjoint([c.inflow for c in cotangents])

    # Faces

    def _faces(self, parameters: Blocks) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
        """((a, b), T without the multiplier) of each face."""
        (k_left, k_right), (half_left, half_right) = self._beside(parameters["permeability"]), self._halves()
        a, b = half_left * k_left, half_right * k_right
        return (a, b), _harmonic(a, b) * self.open

    def _halves(self) -> tuple[np.ndarray, np.ndarray]:
        return self.half[self.axis, self.assembly.left], self.half[self.axis, self.assembly.right]

    def _beside(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """``values`` (3, own cells) along each face's axis, of its left and of its right cell."""
        around = np.stack([self.assembly.block.extend(part) for part in values.reshape(3, -1)])
        return around[self.axis, self.assembly.left], around[self.axis, self.assembly.right]

    def _beside_adjoint(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """(3, own cells), of what is given per face for its left and for its right cell."""
        around = np.zeros_like(self.half)
        np.add.at(around, (self.axis, self.assembly.left), left)
        np.add.at(around, (self.axis, self.assembly.right), right)
        return np.stack([self.assembly.block.extend_adjoint(part) for part in around])

    # Wells

    def _indices(self, parameters: Blocks) -> tuple[np.ndarray, np.ndarray]:
        """W of each perforation, and its derivatives by kx and ky there, (2, perforations)."""
        kx, ky, _ = parameters["permeability"].reshape(3, -1)[:, self.own]
        dx, dy, dz = self.bores
        flows = (kx > 0.0) & (ky > 0.0)
        kx, ky = np.where(flows, kx, 1.0), np.where(flows, ky, 1.0)
        u = np.sqrt(ky / kx)
        L = np.log(0.28 * np.sqrt(u * dx**2 + dy**2 / u) / (np.sqrt(u) + 1.0 / np.sqrt(u)) / self.radius)
        W = flows * 2.0 * np.pi * np.sqrt(kx * ky) * dz / L
        e = 0.5 * ((u * dx**2 - dy**2 / u) / (u * dx**2 + dy**2 / u) - (u - 1.0) / (u + 1.0))
        return W, 0.5 * W * np.stack([(1.0 + e / L) / kx, (1.0 - e / L) / ky])

    def _inflows(self, parameters: Blocks) -> list[np.ndarray]:
        """What own wells are to bring in each period."""
        if "rate" not in self.spaces:
            return [np.zeros(0)] * self.starts.size
        rates = self.share.forward(parameters["rate"]).reshape(self.starts.size, -1)
        return list(self.assembly.wells.sign * rates[:, self.assembly.own_wells])

    def _inflows_adjoint(self, inflows: list[np.ndarray]) -> Blocks:
        if "rate" not in self.spaces:
            return {}
        rates = np.zeros(self.share.range.shape)
        rates[:, self.assembly.own_wells] = self.assembly.wells.sign * np.stack(inflows)
        return {"rate": self.share.adjoint(rates[self.share.range.local_slice])}


def _harmonic(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    total = a + b
    return np.divide(a * b, total, out=np.zeros_like(total), where=total > 0.0)


def _slopes(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The derivatives of a b / (a + b) by a and by b."""
    total = a + b
    by_a, by_b = (np.divide(part, total, out=np.zeros_like(total), where=total > 0.0) ** 2 for part in (b, a))
    return by_a, by_b
