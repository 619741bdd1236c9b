"""Plumes: a run as a network sees it, a layer from the rock to the plume in each frame.

Definition   m -> S: the permeability along x, y and z is K e^m, K the reservoir's own; S is the CO2 saturation in the frames of
             a ``history`` that begins with brine at rest.
Spaces       m (1, nz, nx, ny, 1) -> S (1, nz, nx, ny, frames): batch, channel, x, y, time. The layers of rock are channels.
Tangent      dk = k dm in each direction; of the history's tangent, the saturations.
Adjoint      The saturations' cotangents beside zeros for the pressures; of the history's adjoint, dm = sum of k dk over the
             directions.
Why          A network between these spaces can stand in for the simulator wherever S is used, and its adjoint for J*.
Trap         Where wells keep their rates, brine and CO2 flow alike in rock that is everywhere twice as permeable, but for
             gravity and compression: saturations hardly show the mean of m.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from refimpl import Partition, Space
from refimpl.layers.layer import Blocks, Layer

from .history import History
from .reservoir import Reservoir, hydrostatic


class Plumes(Layer):
    """The saturations after those of the ``steps``, s, of ``reservoir`` that are numbered in ``frames``, by the logarithm of
    the factor by which each cell is more permeable. Arguments and errors: those of ``History``. The grid of the tensors is
    (1, 1, ranks along x, ranks along y, 1)."""

    told = ("steps", "frames")

    def __init__(
        self,
        reservoir: Reservoir,
        steps: Sequence[float],
        frames: Sequence[int] | None = None,
        partition: Partition | None = None,
    ) -> None:
        self.history = H = History(reservoir, steps, frames, partition)
        self.steps, self.frames = H.steps, H.frames
        cells, (nx, ny, nz) = H.parameter_spaces["porosity"], reservoir.grid.shape
        grid = cells.partition.reshape((1, 1, *cells.partition.shape, 1))
        X = Space(grid, (1, nz, nx, ny, 1), blocks={2: cells.blocks[0], 3: cells.blocks[1]})
        super().__init__(X, X.replace(shape=(1, nz, nx, ny, len(H.frames))))
        self.given, self.start = H.parameters["permeability"], H.block_of(hydrostatic(reservoir))

    def value(self, m: np.ndarray) -> np.ndarray:
        self.history.parameters = self._rock(m)
        return self._saturation(self.history.value(self.start))

    def derivative(self, m: np.ndarray) -> tuple[np.ndarray, Callable, Callable]:
        H = self.history
        H.parameters = self._rock(m)
        k, (states, along, back) = H.parameters["permeability"], H.derivative(self.start)
        nothing = {name: space.zeros() for name, space in H.parameter_spaces.items()}

        def tangent(dm: np.ndarray, d: Blocks) -> np.ndarray:
            dk = k * self._cells(dm)
            return self._saturation(along(H.domain.zeros(), nothing | {"permeability": dk}))

        def adjoint(dS: np.ndarray) -> tuple[np.ndarray, Blocks]:
            dframes = dS.transpose(4, 0, 2, 3, 1)
            _, gradients = back(np.concatenate([np.zeros_like(dframes), dframes], axis=1))
            dm = (k * gradients["permeability"]).sum(axis=0)
            return np.ascontiguousarray(dm.transpose(2, 0, 1)).reshape(self.domain.local_shape), {}

        return self._saturation(states), tangent, adjoint

    def _rock(self, m: np.ndarray) -> Blocks:
        return self.history.parameters | {"permeability": self.given * np.exp(self._cells(m))}

    def _cells(self, m: np.ndarray) -> np.ndarray:
        """(nx, ny, nz), of m."""
        return m.transpose(0, 2, 3, 1, 4).reshape(self.history.parameter_spaces["porosity"].local_shape)

    def _saturation(self, states: np.ndarray) -> np.ndarray:
        """S, of frames (frames, 2, nx, ny, nz)."""
        return np.ascontiguousarray(states[:, 1:].transpose(1, 4, 2, 3, 0))
