"""Theorems about the adjoint of the two-phase simulator: of a step and of a whole run, by all that they are given."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from theorems import GRIDS, relative, same_text
from two_phase_cases import DAY, layered_reservoir, random_step, rough_reservoir

import refimpl as ri
from refimpl import verify
from refimpl.operator import Operator
from solvers.two_phase import (
    History,
    Injector,
    InPlace,
    Producer,
    SimulationError,
    State,
    StepControl,
    hydrostatic,
    simulate,
    steps_of,
)
from solvers.two_phase.assembly import Assembly, Coefficients
from solvers.two_phase.blocks import Block, Gathering
from solvers.two_phase.linear import CPR, Direct
from solvers.two_phase.properties import Properties
from solvers.two_phase.sensitivity import Sensitivity
from solvers.two_phase.transposed import Transposition

EXACT = StepControl(tolerance=1e-11, mass_tolerance=1e-11)
EVERYTHING = ("x", "porosity", "permeability", "multiplier", "rate")


def storage():
    """36 cells of rough rock with capillary pressure: an injector whose rate changes, a producer at its limit."""
    rows = ((0.0, 2e-3), (2.0 * DAY, 1e-3))
    return replace(rough_reservoir(), wells=[Injector((1, 1), (0, 3), rows), Producer((3, 2), (0, 3), 7.9e6)])


def every_kind():
    """Injectors and producers on their rates and on their limits, at the pressures of ``random_step``."""
    wells = [Injector((1, 1), (0, 3), 2e-3), Injector((0, 0), (0, 3), 1.0, bhp=9.5e6)]
    wells += [Producer((3, 2), (0, 3), 8e6), Producer((2, 0), (0, 3), 1e6, 3e-3)]
    return replace(rough_reservoir(), wells=wells)


def history(team=None, **changes):
    """Three steps of 2 days; the second and the last state."""
    partition = team and ri.Partition(team, GRIDS[team.size])
    return History(storage(), [2.0 * DAY] * 3, [2, 3], partition, **changes)


def some_state(H):
    """Mobile CO2 everywhere, so that no saturation is at its bound."""
    p = hydrostatic(H.assembly.reservoir).pressure
    return H.block_of(State(p, 0.1 + 0.3 * np.random.default_rng(0).random(p.shape)))


class Scaled(Operator):
    """A derivative of a run, in units in which all parts of its domain and range count alike."""

    def __init__(self, J, only=EVERYTHING):
        self.J, self.domain, self.range, W = J, J.domain, J.range, J.layer.parameters
        here = J.range.partition.active  # the blocks of ranks outside are empty
        states, self.weight = (np.reshape(pair, (2, 1, 1, 1)) if here else 1.0 for pair in ([1e5, 0.05], [1e-5, 1.0]))
        size = {"x": states, "porosity": 0.05, "permeability": 0.2 * W["permeability"], "multiplier": 0.2, "rate": 2e-4}
        self.size = {name: size[name] * (name in only) for name in size}

    def forward(self, d):
        return self.weight * self.J.forward({name: self.size[name] * part for name, part in d.items()})

    def adjoint(self, dy):
        dx, gradients = self.J.adjoint(self.weight * dy)
        return {name: self.size[name] * part for name, part in ({"x": dx} | gradients).items()}


def remainders(H, u, only, steps):
    """Of a scalar of the frames, |f(m + h d) - f(m) - h <f*, d>| for each h; f* by the adjoint."""
    y, J = H.linearize(u)
    A, kept = Scaled(J, only), dict(H.parameters)
    d, w = J.domain.random(3), A.weight * H.range.random(9)
    slope = J.domain.inner(d, A.adjoint(w / A.weight))
    found = []
    for h in steps:
        H.parameters = {name: kept[name] + h * A.size[name] * d[name] for name in kept}
        found.append(abs(H.range.inner(H(u + h * A.size["x"] * d["x"]) - y, w) - h * slope))
    H.parameters = kept
    return np.array(found)


# A step


def a_step(reservoir):
    assembly = Assembly(reservoir)
    x, x_old, dt = random_step(assembly)
    return assembly, Sensitivity(assembly, Direct(assembly), x, x_old, dt), x, x_old, dt


def test_a_step_depends_on_the_state_before_as_it_says():
    assembly, step, x, x_old, dt = a_step(every_kind())
    for column, size in enumerate(np.abs(x_old) + 1.0):
        unit = np.zeros_like(x)
        unit[column] = size
        exact = assembly.residual(x.astype(complex), x_old + 1e-30j * unit, dt).imag / 1e-30
        assert np.abs(step.by_old(unit) - exact).max() <= 1e-12 * max(np.abs(exact).max(), 1e-12)


def test_a_step_depends_on_its_coefficients_as_it_says():
    assembly, step, x, x_old, dt = a_step(every_kind())
    given = Coefficients(assembly.pore_volume, assembly.transmissibility, assembly.wells.index, assembly.wells.rate)
    rng = np.random.default_rng(2)
    for part in given._fields:
        zero = {name: np.zeros_like(getattr(given, name)) for name in given._fields}
        size = np.where(np.isfinite(getattr(given, part)), getattr(given, part), 1.0)
        dm = Coefficients(**zero | {part: rng.standard_normal(size.size) * size})
        moved = Coefficients(*(a + 1e-30j * b for a, b in zip(given, dm, strict=True)))
        exact = assembly.having(moved).residual(*np.array([x, x_old], complex), dt).imag / 1e-30
        assert np.abs(step.by_coefficients(dm) - exact).max() <= 1e-12 * np.abs(exact).max(), part


def test_the_parameters_as_given_make_the_coefficients_of_the_reservoir():
    rock = replace(storage().rock, porosity=np.where(np.arange(36).reshape(4, 3, 3) == 20, 0.0, 0.25))
    assembly = Assembly(replace(storage(), rock=rock))
    properties = Properties(assembly)
    first, second = properties.value(properties.given)
    assert np.array_equal(first.volume, assembly.pore_volume)
    assert np.array_equal(first.transmissibility, assembly.transmissibility)
    np.testing.assert_allclose(first.connection, assembly.wells.index, rtol=1e-14)
    assert np.array_equal(first.inflow, assembly.rates)
    assert np.array_equal(second.inflow, assembly.at(2.0 * DAY).rates)


def test_each_part_of_a_step_has_its_transpose_beside_it():
    assembly, step, *_ = a_step(every_kind())
    rng = np.random.default_rng(3)
    dx, lam = rng.standard_normal((2, assembly.size))
    dx[0 : 2 * assembly.cells : 2] *= 1e6
    left, right = step.by_old(dx) @ lam, dx @ step.by_old_adjoint(lam)
    assert abs(left - right) <= 1e-13 * np.linalg.norm(step.by_old(dx)) * np.linalg.norm(lam)
    for part, back in zip(Coefficients._fields, step.by_coefficients_adjoint(lam), strict=True):
        zero = {name: np.zeros(c.size) for name, c in step.by_coefficients_adjoint(lam)._asdict().items()}
        dm = Coefficients(**zero | {part: rng.standard_normal(back.size)})
        forward = step.by_coefficients(dm)
        assert abs(forward @ lam - getattr(dm, part) @ back) <= 1e-13 * np.linalg.norm(forward) * np.linalg.norm(lam)


def test_the_derivative_of_one_step_has_its_adjoint(team):
    H = History(storage(), [2.0 * DAY], None, ri.Partition(team, GRIDS[team.size]))
    _, J = H.linearize(some_state(H))
    w = J.range.random(4)
    cotangents = Scaled(J).adjoint(w)
    for name in EVERYTHING:
        A = Scaled(J, (name,))
        d = A.domain.random(5)
        forward = A.forward(d)
        gap = abs(A.range.inner(forward, w) - A.domain.spaces[name].inner(d[name], cotangents[name]))
        assert gap <= 1e-12 * A.range.norm(forward) * A.range.norm(w), name


WRONG = {
    "without the head in the bore": lambda s: s.by.head.fill(0.0),
    "without what the cells held": lambda s: s.by.stored.fill(0.0),
    "without the perforations' index": lambda s: s.by.wells.q_by_index.fill(0.0),
    "without the valves' drawdown": lambda s: s.by.wells.R_by_drawdown.fill(0.0),
}


@pytest.mark.parametrize("fault", WRONG)
def test_an_adjoint_that_forgets_a_part_is_rejected(fault, monkeypatch):
    H = history()
    _, J = H.linearize(some_state(H))
    A = Scaled(J)
    d, w = A.domain.random(5), A.range.random(4)
    right = A.range.inner(A.forward(d), w)
    adjoint = Sensitivity.adjoint

    def forgetful(step, g):
        WRONG[fault](step)
        return adjoint(step, g)

    monkeypatch.setattr(Sensitivity, "adjoint", forgetful)
    assert abs(A.domain.inner(d, A.adjoint(w)) - right) > 1e-9 * abs(right)
    assert not verify.dot_test(A, chain=64)


# A run


@pytest.mark.parametrize("parameter", EVERYTHING)
def test_the_gradient_of_a_run_leaves_a_remainder_of_second_order(parameter):
    H = history()
    found = remainders(H, some_state(H), (parameter,), 10.0 ** -np.arange(1.0, 5.0))
    assert np.log10(found[:-1] / found[1:]).min() >= 1.95, found


def test_a_gradient_that_takes_the_head_for_constant_leaves_one_of_first_order(monkeypatch):
    monkeypatch.setattr("solvers.two_phase.assembly.head_by_old", lambda wells, *_: np.zeros((2, wells.cell.size)))
    H = history()
    found = remainders(H, some_state(H), ("x",), 10.0 ** -np.arange(3.0, 6.0))
    assert np.log10(found[:-1] / found[1:]).max() <= 1.5, found


def test_a_run_of_given_steps_is_that_of_the_simulator():
    result = simulate(storage(), DAY * np.array([1.0, 3.0]), control=EXACT)
    H = History(storage(), result.steps, steps_of(result))
    frames = H(H.block_of(hydrostatic(storage())))
    np.testing.assert_allclose(frames[:, 1], result.saturation[1:], atol=1e-9)
    np.testing.assert_allclose(frames[:, 0], result.pressure[1:], rtol=1e-9)


@pytest.mark.parametrize("every", [2, 5])
def test_a_gradient_is_the_same_from_fewer_checkpoints_bit_by_bit(every):
    gradients = []
    for H in (history(), history(every=every)):
        _, J = H.linearize(some_state(H))
        dx, others = J.adjoint(H.range.random(1))
        gradients.append(others | {"x": dx})
    assert all(np.array_equal(gradients[0][name], gradients[1][name]) for name in EVERYTHING)


@cache
def gradients_of_one(make):
    """Those of a scalar of the frames, on one rank and by elimination."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("solvers.two_phase.linear.LARGEST_DIRECT", 10**9)
        H = make()
    A = Scaled(H.linearize(some_state(H))[1])
    return A.adjoint(A.range.random(1))


@pytest.mark.mpi(min_size=2)
def test_the_gradient_on_many_ranks_is_that_on_one(team):
    H = history(team)
    J = H.linearize(some_state(H))[1]
    together = Scaled(J).adjoint(H.range.random(1))
    assert_gathered(J, together, history, 1e-11)


@pytest.mark.mpi(min_size=6)
def test_ghosts_that_are_cropped_in_place_of_added_back_are_found(team, monkeypatch):
    monkeypatch.setattr(Block, "extend_adjoint", lambda block, y: y[block.inside])
    H = history(team)
    J = H.linearize(some_state(H))[1]
    cropped = J.domain.spaces["permeability"].gather(Scaled(J).adjoint(H.range.random(1))["permeability"])
    assert team.rank or relative(cropped, gradients_of_one(history)["permeability"]) > 1e-6


def assert_gathered(J, gradients, make, tolerance):
    wholes = {name: J.domain.spaces[name].gather(gradients[name]) for name in EVERYTHING}
    if J.domain.comm.rank == 0:
        alone = gradients_of_one(make)
        assert all(relative(wholes[name], alone[name]) < tolerance for name in EVERYTHING)


# Masses


def test_what_is_in_place_has_the_derivative_that_it_says():
    H = history()
    M, u, weight = InPlace(H), some_state(H), np.reshape([1e5, 0.05], (2, 1, 1, 1))
    y, J = M.linearize(u)
    np.testing.assert_allclose(y.reshape(2, -1), H.assembly.held(H.vector(u)), rtol=1e-14)
    d, w = J.domain.random(1), J.range.random(2)
    d["x"] *= weight
    forward, (dx, gradients) = J.forward(d), J.adjoint(w)
    gap = J.range.inner(forward, w) - J.domain.inner(d, {"x": dx} | gradients)
    assert abs(gap) <= 1e-14 * J.range.norm(forward) * J.range.norm(w)
    before, h = dict(M.parameters), 1e-6
    M.parameters = {"porosity": before["porosity"] + h * d["porosity"]}
    np.testing.assert_allclose((M(u + h * d["x"]) - y) / h, forward, rtol=1e-4, atol=1e-5 * np.abs(forward).max())


def test_the_co2_in_place_grows_by_the_time_that_a_rate_lasts_and_by_nothing_else():
    wells = [Injector((1, 1), (0, 3), ((0.0, 2e-3), (2.0 * DAY, 1e-3)))]
    H = History(replace(storage(), wells=wells), [2.0 * DAY] * 3)
    frames, J = H.linearize(some_state(H))
    M, K = InPlace(H).linearize(frames[0])
    dframe, _ = K.adjoint(np.stack([np.zeros_like(M[0]), np.ones_like(M[1])]))
    gradients = J.adjoint(dframe[None])[1]
    np.testing.assert_allclose(gradients["rate"], [[2.0 * DAY], [4.0 * DAY]], rtol=1e-9)
    assert np.abs(gradients["permeability"] * H.parameters["permeability"]).max() <= 1e-9 * M[1].sum()
    assert np.abs(gradients["multiplier"]).max() <= 1e-9 * M[1].sum()


# Larger systems


def larger_history(team=None, grid=None):
    """A step on 9 x 7 columns of sand and seals, with an injector and a producer at its limit."""
    reservoir = layered_reservoir((9, 7, 4), 1e3, 1e5)
    wells = [*reservoir.wells, Producer((2, 2), (0, 4), 7.95e6)]
    partition = team and ri.Partition(team, grid or GRIDS[team.size])
    return History(replace(reservoir, wells=wells), [DAY], None, partition)


def test_the_gradient_by_multigrid_on_any_grid_of_ranks_is_that_by_elimination_on_one(team, monkeypatch):
    monkeypatch.setattr("solvers.two_phase.linear.LARGEST_DIRECT", 0)
    H = larger_history(team)
    _, J = H.linearize(some_state(H))
    A, before = Scaled(J), H.linear.iterations
    w, d = A.range.random(1), A.domain.random(2)
    gradients = A.adjoint(w)
    assert H.linear.iterations - before <= 20
    forward = A.forward(d)
    gap = abs(A.range.inner(forward, w) - A.domain.inner(d, gradients))
    assert gap <= 1e-12 * A.range.norm(forward) * A.range.norm(w)
    assert_gathered(J, gradients, larger_history, 1e-8)


@pytest.mark.mpi(min_size=4)
def test_ranks_outside_the_partition_come_along(team, monkeypatch):
    monkeypatch.setattr("solvers.two_phase.linear.LARGEST_DIRECT", 0)
    H = larger_history(team, (2, 1))
    _, J = H.linearize(some_state(H))
    assert_gathered(J, Scaled(J).adjoint(H.range.random(1)), larger_history, 1e-8)


def test_the_coefficients_of_the_transpose_are_those_of_the_transposed_matrix_on_any_grid_of_ranks(team):
    found = []
    for H in (larger_history(team), larger_history()):
        assembly, cpr = H.assembly, CPR(H.assembly)
        x, x_old = (assembly.drive(H.vector(some_state(H) * factor)) for factor in (1.0, 0.99))
        J = assembly.jacobian(x, x_old, DAY)
        C = Transposition(assembly.block, 2)(cpr.stencil.read(J.data))
        found.append(Gathering(assembly.comm, assembly.block.numbers)(np.moveaxis(C, 3, 0)))
    assert np.array_equal(*found)
    rows = np.repeat(np.arange(J.shape[0]), np.diff(J.indptr))
    there = J.toarray().T[rows, J.indices]
    assert np.array_equal(cpr.stencil.read(there), C)


def test_a_gradient_takes_one_transposed_solve_a_step():
    H = history()
    y, J = H.linearize(some_state(H))
    forward, H.linear.iterations = H.linear.iterations, 0
    J.adjoint(y)
    assert H.linear.iterations == 3 and forward >= 6


def test_a_jacobian_keeps_the_parameters_that_it_was_made_with():
    H = history()
    y, J = H.linearize(some_state(H))
    before = J.adjoint(y)[1]["permeability"]
    H.parameters = H.parameters | {"permeability": 2.0 * H.parameters["permeability"]}
    assert np.array_equal(J.adjoint(y)[1]["permeability"], before)


def test_unfit_steps_and_frames_are_refused():
    for steps, frames, every in (([], None, 1), ([DAY, 0.0], None, 1), ([DAY], None, 0), ([DAY], [2], 1)):
        with pytest.raises(ValueError, match="History: expected"):
            History(storage(), steps, frames, every=every)


def test_a_step_that_cannot_be_solved_is_named_on_all_ranks(team):
    H = History(storage(), [1e4 * DAY], None, ri.Partition(team, GRIDS[team.size]))
    text = same_text(team, lambda: H(some_state(H)), SimulationError)
    assert "History: step 1 of 8.64e+08 s failed; give shorter steps" in text
