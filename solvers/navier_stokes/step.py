"""Step: a layer from the state of a flow to the state one step later, with its physics as parameters.

Definition   schemes.py. The state is the velocity u; with ab2 (u, N(u before)), one behind the other.
Parameters   "viscosity" (1,), and with a ball "ball" = (centre.., radius); one owner each, which broadcasts them in every step.
Tangent      The same stages with the tangents of N and Q; P is linear.
Adjoint      The stages from the last to the first, with N*, Q* and P* = P.
Cost         For each stage one exchange of ghosts and one projection.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from refimpl import Space
from refimpl.layers.layer import Blocks, Layer
from refimpl.layers.owners import from_owners
from refimpl.operator import Traffic

from .flow import Flow
from .ghosts import Ghosts
from .projection import Projection
from .solid import Fraction, Penalty
from .tendency import Tendency

STAGES = (0.0, 3 / 4, 1 / 3)  # of rk3: how much of the step's first velocity is in that after each stage


class Step(Layer):
    """A step of ``dt`` seconds of ``flow``, on velocities cut as the numbers a cell ``S`` are, on all ranks of S.

    Raises ValueError where S is not of the flow's cells, or leaves ranks out.
    """

    told = ("flow", "dt")

    def __init__(self, flow: Flow, S: Space, dt: float) -> None:
        mesh = flow.mesh
        if S.partition.size != S.comm.size or S.shape != mesh.shape:
            raise ValueError(f"Step: expected {mesh.shape} cells on a grid of all {S.comm.size} ranks, got {S!r}")
        V = mesh.vectors(S)
        state = V if flow.scheme == "rk3" else V.replace(shape=(2 * mesh.ndim, *mesh.shape))
        super().__init__(state, state)
        self.flow, self.dt, self.velocities = flow, dt, V
        self.ghosts, self.project = Ghosts(V, mesh, flow.speeds), Projection(S, mesh)
        self.tendency = Tendency(self.ghosts.range, V, mesh)
        self.penalty = Penalty(V, mesh, dt, flow.ball.eta if flow.ball else 1.0, flow.fringe)
        self.fraction = Fraction(V, mesh)
        self.force = np.reshape(flow.force or (0.0,) * mesh.ndim, (mesh.ndim, *(1,) * mesh.ndim))
        given = {"viscosity": [flow.viscosity]} | ({"ball": [*flow.ball.centre, flow.ball.radius]} if flow.ball else {})
        self.owned = {name: from_owners(vector(V, len(numbers)), 0, sharded=False) for name, numbers in given.items()}
        self.parameter_spaces = {name: A.domain for name, A in self.owned.items()}
        self.parameters = {
            name: np.array(numbers if W.partition.active else [], float)
            for (name, numbers), W in zip(given.items(), self.parameter_spaces.values(), strict=True)
        }

    def value(self, x: np.ndarray) -> np.ndarray:
        nu, chi, _ = self._physics()
        if self.flow.scheme == "rk3":  # u <- a x + (1 - a) E(u, N(u))
            u = x
            for a in STAGES:
                u = self._mixed(a, x, self.push(u, self.slope(u, nu), chi))
            return u
        u, before = self._halves(x)  # u <- E(u, 3/2 N - 1/2 N before)
        N = self.slope(u, nu)
        return np.concatenate([self.push(u, 1.5 * N - 0.5 * before, chi), N])

    def derivative(self, x: np.ndarray) -> tuple[np.ndarray, Callable, Callable]:
        return (self._rk3 if self.flow.scheme == "rk3" else self._ab2)(x)

    def _rk3(self, x: np.ndarray) -> tuple[np.ndarray, Callable, Callable]:
        (nu, chi, ball), u, stages = self._physics(), x, []
        for a in STAGES:
            N, *slopes = self.slope_derivative(u, nu)
            e, *pushes = self.push_derivative(u, N, chi)
            u = self._mixed(a, x, e)
            stages.append((a, slopes, pushes))

        def tangent(dx: np.ndarray, d: Blocks) -> np.ndarray:  # du <- a dx + (1 - a) dE(du, dN)
            (dnu, dchi), du = self._changes(d, ball), dx
            for a, (slope, _), (push, _) in stages:
                du = self._mixed(a, dx, push(du, slope(du, dnu), dchi))
            return du

        def adjoint(dy: np.ndarray) -> tuple[np.ndarray, Blocks]:  # dx += a du;  du <- dE* (1 - a) du
            du, dx, dnu, dchi = dy, np.zeros_like(dy), 0.0, 0.0
            for a, (_, slope), (_, push) in reversed(stages):
                dx += a * du
                own, dN, more = push((1.0 - a) * du)
                through, dn = slope(dN)
                du, dnu, dchi = own + through, dnu + dn, dchi + more
            return dx + du, self._gradients(dnu, dchi, ball)

        return u, tangent, adjoint

    def _ab2(self, x: np.ndarray) -> tuple[np.ndarray, Callable, Callable]:
        (nu, chi, ball), (u, before) = self._physics(), self._halves(x)
        N, slope, slope_adjoint = self.slope_derivative(u, nu)
        y, push, push_adjoint = self.push_derivative(u, 1.5 * N - 0.5 * before, chi)

        def tangent(dx: np.ndarray, d: Blocks) -> np.ndarray:  # (dE(du, 3/2 dN - 1/2 dN before), dN)
            (dnu, dchi), (du, dbefore) = self._changes(d, ball), self._halves(dx)
            dN = slope(du, dnu)
            return np.concatenate([push(du, 1.5 * dN - 0.5 * dbefore, dchi), dN])

        def adjoint(dy: np.ndarray) -> tuple[np.ndarray, Blocks]:  # dN += 3/2 dM,  dN before = -1/2 dM
            dnew, dN = self._halves(dy)
            own, dM, dchi = push_adjoint(dnew)
            through, dnu = slope_adjoint(dN + 1.5 * dM)
            return np.concatenate([own + through, -0.5 * dM]), self._gradients(dnu, dchi, ball)

        return np.concatenate([y, N]), tangent, adjoint

    # ---- the first state ---------------------------------------------------------------------------------------------

    def begin(self, u: np.ndarray) -> np.ndarray:
        """The state at first: with ab2, N(u) stands for the tendency before, which makes the first step Euler's."""
        return u if self.flow.scheme == "rk3" else np.concatenate([u, self.slope(u, self._physics()[0])])

    def begin_derivative(self, u: np.ndarray) -> tuple[np.ndarray, Callable, Callable]:
        if self.flow.scheme == "rk3":
            return u, lambda du, d: du, lambda dx: (dx, {})
        nu, _, ball = self._physics()
        N, slope, slope_adjoint = self.slope_derivative(u, nu)

        def tangent(du: np.ndarray, d: Blocks) -> np.ndarray:
            return np.concatenate([du, slope(du, self._changes(d, ball)[0])])

        def adjoint(dx: np.ndarray) -> tuple[np.ndarray, Blocks]:
            du, dN = self._halves(dx)
            through, dnu = slope_adjoint(dN)
            return du + through, self._gradients(dnu, np.zeros_like(u), ball)

        return np.concatenate([u, N]), tangent, adjoint

    # ---- a stage: E(u, N) = P Q (u + dt N) ---------------------------------------------------------------------------

    def slope(self, u: np.ndarray, nu: float) -> np.ndarray:
        """N(u), with the force."""
        return self._driven(self.tendency.value(self.surrounded(u), nu))

    def slope_derivative(self, u: np.ndarray, nu: float) -> tuple[np.ndarray, Callable, Callable]:
        N, tangent, adjoint = self.tendency.derivative(self.surrounded(u), nu)

        def forward(du: np.ndarray, dnu: float) -> np.ndarray:
            return tangent(self.ghosts.forward(du), dnu)

        def back(dN: np.ndarray) -> tuple[np.ndarray, float]:
            dw, dnu = adjoint(dN)
            return self.ghosts.adjoint(dw), dnu

        return self._driven(N), forward, back

    def push(self, u: np.ndarray, N: np.ndarray, chi: Any) -> np.ndarray:
        """E(u, N)."""
        return self.project.forward(self.penalty.value(self._moved(u, N), chi))

    def push_derivative(self, u: np.ndarray, N: np.ndarray, chi: Any) -> tuple[np.ndarray, Callable, Callable]:
        q, tangent, adjoint = self.penalty.derivative(self._moved(u, N), chi)

        def forward(du: np.ndarray, dN: np.ndarray, dchi: Any) -> np.ndarray:  # dE = P dQ (du + dt dN)
            return self.project.forward(tangent(self._moved(du, dN), dchi))

        def back(dy: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # du = Q* P* dy,  dN = dt du
            du, dchi = adjoint(self.project.adjoint(dy))
            return du, self.dt * du, dchi

        return self.project.forward(q), forward, back

    def drag(self, x: np.ndarray) -> np.ndarray:
        """This rank's part of the force on the ball in the next stage: sum of chi / eta q, times a cell's volume."""
        (nu, chi, _), u = self._physics(), self._halves(x)[0]
        if self.flow.ball is None:
            return np.zeros(self.flow.mesh.ndim)
        q = self.penalty.value(self._moved(u, self.slope(u, nu)), chi)
        return (chi * q).reshape(len(q), -1).sum(axis=1) * (self.flow.mesh.cell_volume / self.flow.ball.eta)

    def _moved(self, u: np.ndarray, N: np.ndarray) -> np.ndarray:
        """u + dt N."""
        v = self.dt * N
        v += u
        return v

    def surrounded(self, u: np.ndarray) -> np.ndarray:
        """u with its ghosts, behind moving walls too."""
        w = self.ghosts.forward(u)
        if self.ghosts.moving is not None:
            w += self.ghosts.moving
        return w

    def _driven(self, N: np.ndarray) -> np.ndarray:
        if self.flow.force:
            N += self.force
            for at in self.tendency.low_walls:
                N[at] = 0.0
        return N

    def _halves(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return x[: self.flow.mesh.ndim], x[self.flow.mesh.ndim :]

    @staticmethod
    def _mixed(a: float, x: np.ndarray, e: np.ndarray) -> np.ndarray:
        """a x + (1 - a) e, in place of e."""
        if a:
            e *= 1.0 - a
            e += a * x
        return e

    # ---- the parameters ----------------------------------------------------------------------------------------------

    def _physics(self) -> tuple[float, Any, np.ndarray | None]:
        """The viscosity, chi and the ball, on all ranks, as they are now."""
        pending = {name: A.start(self.parameters[name]) for name, A in self.owned.items()}
        found = {name: A.finish(pending[name]) for name, A in self.owned.items()}
        ball = found.get("ball")
        nu = float(found["viscosity"][0])
        return nu, 0.0 if ball is None else self.fraction.value(ball), ball

    def _changes(self, d: Blocks, ball: np.ndarray | None) -> tuple[float, Any]:
        """dnu and dchi, on all ranks."""
        dnu = self.owned["viscosity"].forward(d["viscosity"])
        if ball is None:
            return float(dnu.sum()), 0.0
        return float(dnu.sum()), self.fraction.derivative(ball)[1](self.owned["ball"].forward(d["ball"]))

    def _gradients(self, dnu: float, dchi: Any, ball: np.ndarray | None) -> Blocks:
        """What dnu and dchi are for the owners, summed over all ranks."""
        local = {"viscosity": np.array([dnu])}
        if ball is not None:
            local["ball"] = self.fraction.derivative(ball)[2](dchi)
        return {name: A.adjoint(local[name]) for name, A in self.owned.items()}

    def traffic(self) -> Traffic:
        stages = [self.ghosts.traffic(), self.project.traffic()] * (3 if self.flow.scheme == "rk3" else 1)
        return sum([*stages, *(A.traffic() for A in self.owned.values())], Traffic())


def vector(V: Space, n: int) -> Space:
    """The space of n numbers of which every rank of V has a copy."""
    return V.replace(shape=(n,), cuts=(None,), blocks={})
