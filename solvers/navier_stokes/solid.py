"""Solid: a ball at rest in the flow, and a zone that restores the inflow, by penalisation of the velocity.

Definition   In the ball, and in the fringe along an axis with inflow, du/dt = -a u + b,  a = chi / eta + lambda,  b = lambda U.
             Over a step of dt, implicitly and point by point:   Q v = (v + dt b) / (1 + dt a).
Ball         chi(x) = c(|x - x_c| - R),   c(s) = (1 - sin(pi s / 2h)) / 2 for |s| <= h, 1 inside, 0 outside: once differentiable
             in centre and radius. h is the widest side of a cell. A ball is a disc in two dimensions.
Fringe       lambda rises from 0 and falls to 0 again, as sin^2, over the last part of the axis: in between it forgets the wake.
Surface      Fluid of speed U comes to rest where chi / eta > U / h: with eta = h / 2U where chi = 1/2, on the sphere. A smaller
             eta stops it farther out, by up to h. Even so the drag is that of a ball about h / 2 larger: at Re = 100, 8 and 12
             cells a diameter differ by 9 % in drag, and by 1.2 % where R is less by h / 2 ("retraction", Breugem).
Tangent      dq = (dv - q dt dchi / eta) / (1 + dt a),   dchi = c'(s) (-n . dx_c - dR),   n = (x - x_c) / |x - x_c|.
Adjoint      dv = dq / (1 + dt a);   dchi = -q dt / eta dv;   dx_c = -sum of c' n dchi,  dR = -sum of c' dchi.
Force        The ball takes from the fluid, for each unit of density, the momentum  sum of (chi / eta) q h_1 .. h_d  a second.
Reference    Angot, Bruneau and Fabrie, Numer. Math. 81, 1999 (penalisation); Nordström, Nordin and Henningson, SIAM J. Sci.
             Comput. 20, 1999 (fringe); Breugem, J. Comput. Phys. 231, 2012 (retraction).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from refimpl import Space

from ..records import settle
from .mesh import Mesh


@dataclass(frozen=True)
class Ball:
    """A ball at rest; in two dimensions a disc.

    ``centre``  m
    ``radius``  m
    ``eta``     the time in which it stops the fluid, s: about half the time in which the fluid passes a cell
    """

    centre: tuple[float, ...]
    radius: float
    eta: float = 1e-3

    def __post_init__(self) -> None:
        settle(self)


class Fringe(NamedTuple):
    """``velocity`` that is restored over the last ``part`` of ``axis``, at most ``strength`` times a second."""

    axis: int
    part: float
    strength: float
    velocity: tuple[float, ...]


class Penalty:
    """Q on the velocities ``V``, for one length ``dt`` of a step and with the ball's ``eta``."""

    def __init__(self, V: Space, mesh: Mesh, dt: float, eta: float, fringe: Fringe | None) -> None:
        self.stop = dt / eta
        self.restoring: np.ndarray | float = 0.0  # dt lambda
        self.restored: np.ndarray | float = 0.0  # dt lambda U
        if fringe:
            rates = [
                restoring(mesh.positions(V, c)[fringe.axis], mesh.lengths[fringe.axis], fringe)
                for c in range(mesh.ndim)
            ]
            self.restoring = dt * np.stack([np.broadcast_to(rate, V.local_shape[1:]) for rate in rates])
            self.restored = self.restoring * np.reshape(fringe.velocity, (mesh.ndim, *(1,) * mesh.ndim))

    def value(self, v: np.ndarray, chi: np.ndarray | float) -> np.ndarray:  # q = (v + dt b) / (1 + dt a)
        if isinstance(chi, float) and isinstance(self.restoring, float):
            return v
        q = v + self.restored
        q /= self._resistance(chi)
        return q

    def derivative(self, v: np.ndarray, chi: np.ndarray | float) -> tuple[np.ndarray, Callable, Callable]:
        q, resistance = self.value(v, chi), self._resistance(chi)

        def tangent(dv: np.ndarray, dchi: np.ndarray | float) -> np.ndarray:  # dq = (dv - q dt dchi / eta) / (1 + dt a)
            return (dv - self.stop * q * dchi) / resistance

        def adjoint(dq: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # dv = dq / (1 + dt a),  dchi = -q dt / eta dv
            dv = dq / resistance
            return dv, -self.stop * q * dv

        return q, tangent, adjoint

    def _resistance(self, chi: np.ndarray | float) -> np.ndarray | float:
        """1 + dt a."""
        return 1.0 + self.restoring + self.stop * chi


class Fraction:
    """chi on the faces of ``V``, or at the centres of its cells where ``centres``."""

    def __init__(self, V: Space, mesh: Mesh, centres: bool = False) -> None:
        components = [None] if centres else range(mesh.ndim)
        self.places = [mesh.positions(V, component) for component in components]
        self.h = max(mesh.spacing)
        self.known: tuple[bytes, np.ndarray] | None = None

    def value(self, ball: np.ndarray) -> np.ndarray:
        """chi for ``ball`` = (centre.., radius). A run asks for the same one in each step: it is kept."""
        key = ball.tobytes()
        if self.known is None or self.known[0] != key:
            self.known = key, np.stack([step_down(self._distance(x, ball), self.h) for x in self.places])
        return self.known[1]

    def derivative(self, ball: np.ndarray) -> tuple[np.ndarray, Callable, Callable]:
        slope = np.stack([slope_down(self._distance(x, ball), self.h) for x in self.places])  # c'

        def tangent(dball: np.ndarray) -> np.ndarray:  # dchi = c' (-n . dx_c - dR)
            inward = [sum(n * d for n, d in zip(self._normal(x, ball), dball[:-1], strict=True)) for x in self.places]
            return -slope * (np.stack(inward) + dball[-1])

        def adjoint(dchi: np.ndarray) -> np.ndarray:  # dx_c = -sum of c' n dchi,  dR = -sum of c' dchi
            c = slope * dchi
            pulls = [[np.sum(n * row) for n in self._normal(x, ball)] for x, row in zip(self.places, c, strict=True)]
            return -np.array([*np.sum(pulls, axis=0), c.sum()])

        return self.value(ball), tangent, adjoint

    def _distance(self, x: list[np.ndarray], ball: np.ndarray) -> np.ndarray:
        """From the surface, outward."""
        return np.sqrt(sum((a - b) ** 2 for a, b in zip(x, ball[:-1], strict=True))) - ball[-1]

    def _normal(self, x: list[np.ndarray], ball: np.ndarray) -> list[np.ndarray]:
        r = self._distance(x, ball) + ball[-1]
        return [(a - b) / np.maximum(r, np.finfo(float).tiny) for a, b in zip(x, ball[:-1], strict=True)]


def step_down(s: np.ndarray, h: float) -> np.ndarray:
    """c: from 1 at -h to 0 at h."""
    return 0.5 - 0.5 * np.sin(0.5 * np.pi * np.clip(s / h, -1.0, 1.0))


def slope_down(s: np.ndarray, h: float) -> np.ndarray:
    """c'."""
    return np.where(np.abs(s) < h, -0.25 * np.pi / h * np.cos(0.5 * np.pi * s / h), 0.0)


def restoring(x: np.ndarray, length: float, fringe: Fringe) -> np.ndarray:
    """lambda at x along an axis."""
    inside = (x / length - 1.0 + fringe.part) / fringe.part
    return np.where((inside > 0.0) & (inside < 1.0), fringe.strength * np.sin(np.pi * inside) ** 2, 0.0)
