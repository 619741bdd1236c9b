"""In place: how much brine and CO2 each cell holds, as a layer of the state.

Definition   M = V r b s, the accumulation of ``assembly``, reference m3 (times the reference density: kg), V = (the boundary's
             multiplier) volume porosity. What stands for aquifers counts.
Why          Injected and produced masses are sums of M: behind the last frame of a ``history`` it gives their gradients.
Adjoint      Cell by cell, a 2 x 2 block [phase, unknown] transposed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from refimpl.layers.layer import Blocks, Layer

from .history import History


class InPlace(Layer):
    """M of the states of ``history``: from blocks (2, nx, ny, nz), pressure in Pa and saturation, to blocks (2, nx, ny, nz),
    brine and CO2 in reference m3; with the parameter "porosity", at first the history's."""

    def __init__(self, history: History) -> None:
        super().__init__(history.domain, history.domain)
        self.history, properties = history, history.properties
        self.parameter_spaces = {"porosity": properties.spaces["porosity"]}
        self.parameters = {"porosity": history.parameters["porosity"]}

    def value(self, u: np.ndarray) -> np.ndarray:
        return self.derivative(u)[0]

    def derivative(self, u: np.ndarray) -> tuple[np.ndarray, Callable, Callable]:
        properties, shape = self.history.properties, self.domain.local_shape
        content, slopes = self.history.assembly.per_volume(self.history.vector(u))
        V = properties.volume * self.parameters["porosity"].ravel() + properties.fixed

        def tangent(du: np.ndarray, d: Blocks) -> np.ndarray:
            dM = V * np.einsum("auc,uc->ac", slopes, du.reshape(2, -1))
            return (dM + properties.volume * d["porosity"].ravel() * content).reshape(shape)

        def adjoint(dM: np.ndarray) -> tuple[np.ndarray, Blocks]:
            g = dM.reshape(2, -1)
            du, porosity = np.einsum("auc,ac->uc", slopes, V * g), properties.volume * (content * g).sum(axis=0)
            return du.reshape(shape), {"porosity": porosity.reshape(self.parameter_spaces["porosity"].local_shape)}

        return (V * content).reshape(shape), tangent, adjoint
