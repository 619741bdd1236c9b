"""Plausible: a flow that cannot be is refused before its first step, by the name and the value of what is wrong.

Units        A number that is off by orders of magnitude is in other units: mm for m, cSt for m2/s. The bounds are wide, and
             take in flows without dimensions, where lengths and speeds are about 1 and the viscosity is 1 / Re.
Ball         One that is less than a cell across is not there for the mesh. One that stops the fluid in far more time than the
             fluid takes through a cell is not there for the fluid: see ``solid``, where eta = h / 2U. One in the fringe, where
             the free stream is restored, has no wake.
Steps        More than MOST_STEPS never come to an end. In a time that is far shorter than one stable step nothing moves.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import numpy as np

from ..checks import Bounds, check_within

if TYPE_CHECKING:
    from .flow import Flow

BOUNDS = {
    "cells": Bounds(1, 1e11, "in all"),
    "length": Bounds(1e-6, 1e7, "m"),
    "viscosity": Bounds(1e-10, 1e4, "m2/s (1 cSt is 1e-6 m2/s)", zero=True),
    "end": Bounds(1e-9, 1e10, "s"),
    "aspect": Bounds(1.0, 1e4, "times its shortest"),
    "speed": Bounds(1e-9, 1e4, "m/s", zero=True),
    "force": Bounds(1e-15, 1e6, "m/s2", zero=True),
    "eta": Bounds(1e-12, 1e6, "s"),
}
MOST_STEPS = 10**8
MOST_BEYOND = 100.0  # times the time in which the fluid passes a cell
LEAST = 1e-6  # of the longest stable step


def check_flow(flow: Flow) -> None:
    """Raise ValueError where a number of ``flow`` is not plausible."""
    h = flow.mesh.spacing
    for bound, name, values in (
        ("cells", f"the cells of shape {flow.shape}", prod(map(float, flow.shape))),
        ("length", "lengths", flow.lengths),
        ("aspect", f"the longest side of a cell, by shape and lengths {flow.lengths},", max(h) / min(h)),
        ("viscosity", "viscosity", flow.viscosity),
        ("end", "end", flow.end),
        ("speed", "|inflow|", np.abs(flow.inflow)),
        *(("speed", f"|lids.{side}|", np.abs(speed)) for side, speed in flow.lids.items()),
        ("force", "|force|", np.abs(flow.force)),
    ):
        check_within("Flow", name, values, BOUNDS[bound])
    check_ball(flow)
    check_fringe(flow)
    check_steps(flow)


def check_ball(flow: Flow) -> None:
    """Raise ValueError where the ball leaves the box, or is none for the mesh or for the fluid."""
    if (ball := flow.ball) is None:
        return
    check_within("Flow", "ball.eta", ball.eta, BOUNDS["eta"])
    h = max(flow.mesh.spacing)
    if len(ball.centre) != len(flow.shape):
        raise ValueError(f"Flow: the ball needs {len(flow.shape)} coordinates, got ball.centre {ball.centre}")
    if not 2.0 * ball.radius >= h:
        raise ValueError(
            f"Flow: expected ball.radius of at least half a cell of lengths / shape, {0.5 * h:g} m, got {ball.radius:g} m, "
            "which the mesh cannot see; is it in m?"
        )
    reach = ball.radius + h
    if not all(reach <= c <= n - reach for c, n in zip(ball.centre, flow.lengths, strict=True)):
        raise ValueError(
            f"Flow: the ball, with a cell around it, leaves the box of lengths {flow.lengths}: got ball.centre "
            f"{ball.centre} and ball.radius {ball.radius:g} m"
        )
    if ball.eta * flow.rate > MOST_BEYOND:
        raise ValueError(
            f"Flow: expected ball.eta, in which the ball stops the fluid, of about {0.5 / flow.rate:.3g} s, half the time in "
            f"which the fluid passes a cell, got {ball.eta:g} s: it would flow through"
        )


def check_fringe(flow: Flow) -> None:
    """Raise ValueError where the ball, with a cell around it, is in the fringe."""
    if (ball := flow.ball) is None or (fringe := flow.fringe) is None:
        return
    begins = (1.0 - fringe.part) * flow.lengths[fringe.axis]
    if ball.centre[fringe.axis] + ball.radius + max(flow.mesh.spacing) > begins:
        raise ValueError(
            "Flow: the ball, with a cell around it, reaches into the fringe, where the inflow is restored, from "
            f"{'xyz'[fringe.axis]} = {begins:g} m on: got ball.centre {ball.centre} and ball.radius {ball.radius:g} m"
        )


def check_steps(flow: Flow) -> None:
    """Raise ValueError where there is no stable step, or steps are too many, or far too short."""
    if flow.frames < 1 or flow.steps < 0 or flow.frames * max(flow.steps, 1) > MOST_STEPS:
        raise ValueError(
            f"Flow: expected frames >= 1 and steps >= 0, at most {MOST_STEPS:g} steps in all, got {flow.frames} and "
            f"{flow.steps}"
        )
    longest = flow.longest_step if flow.steps else flow.longest_driven_step
    given = (
        f"at viscosity = {flow.viscosity:g} m2/s, lengths = {flow.lengths} m and the speeds and force that are given"
    )
    if longest == 0.0:
        raise ValueError(f'Flow: no step of {flow.scheme} is stable {given}; take scheme = "rk3", got {flow.scheme!r}')
    if longest * MOST_STEPS < flow.end:
        raise ValueError(
            f"Flow: {given}, steps of at most {longest:.3g} s are stable, got end = {flow.end:g} s, more than {MOST_STEPS:g} "
            "steps; are all numbers in m and s?"
        )
    if flow.rate > 0.0 and not np.any(flow.force) and flow.end < LEAST * longest:
        raise ValueError(
            f"Flow: {given}, steps of up to {longest:.3g} s are stable, got end = {flow.end:g} s, in which nothing moves; are "
            "all numbers in m and s?"
        )
