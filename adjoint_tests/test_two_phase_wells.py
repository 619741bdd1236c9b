"""Theorems about the wells of the two-phase simulator: their derivatives, their controls, what they put in and take out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from two_phase_cases import DARCY, DAY, derivative_gap, layered_reservoir, random_step, rough_reservoir

from solvers.grid import Grid
from solvers.two_phase import (
    Corey,
    Fluids,
    Injector,
    Producer,
    Reservoir,
    Rock,
    State,
    StepControl,
    hydrostatic,
    simulate,
)
from solvers.two_phase.assembly import Assembly
from solvers.two_phase.fluids import BRINE, CO2
from solvers.two_phase.phases import evaluate_phases

EXACT = StepControl(tolerance=1e-10)


def box(wells, boundary="closed", shape=(5, 5, 3), k=DARCY) -> Reservoir:
    return Reservoir(Grid(shape, (50.0, 50.0, 5.0), 800.0), Rock((k, k, 0.1 * k), 0.3), Fluids(), wells, boundary)


def every_kind(reservoir: Reservoir) -> Reservoir:
    """Injectors and producers on their rates and on their limits, at the pressures of ``random_step``."""
    wells = [
        Injector((1, 1), (0, 3), 2e-3),
        Injector((0, 0), (0, 3), 1.0, bhp=9.5e6),
        Producer((3, 2), (0, 3), 8e6),
        Producer((2, 0), (1, 3), 1e6, 3e-3),
    ]
    return replace(reservoir, wells=wells)


# Derivatives


@pytest.mark.parametrize("capillary", [False, True])
def test_jacobian_is_the_derivative_of_the_residual_on_every_control(capillary):
    assembly = Assembly(every_kind(rough_reservoir(capillary)))
    x, x_old, dt = random_step(assembly)
    x[-3], x[-2] = 9.6e6, 7.9e6
    assert assembly.well_flow(x, x_old)[1].tolist() == [False, True, True, False]
    assert derivative_gap(assembly.jacobian(x, x_old, dt).toarray(), assembly, x, x_old, dt) < 1e-12


def test_derivative_test_rejects_a_well_that_is_thought_to_be_on_its_rate():
    assembly = Assembly(every_kind(rough_reservoir()))
    x, x_old, dt = random_step(assembly)
    x[-3] = 9.6e6
    other = x.copy()
    other[-3] = 9.4e6
    assert derivative_gap(assembly.jacobian(other, x_old, dt).toarray(), assembly, x, x_old, dt) > 1e-6


# Controls


def test_an_injector_at_its_limit_is_one_held_at_that_pressure():
    steps, times = StepControl(first=2.0 * DAY, tolerance=1e-10), DAY * np.array([2.0, 30.0])
    reservoir, held = (box([Injector((2, 2), (0, 3), rate, bhp=8.9e6)], "open") for rate in (0.2, np.inf))
    limited, result = (simulate(r, times, control=steps) for r in (reservoir, held))
    np.testing.assert_allclose(limited.bhp[1:, 0], 8.9e6, rtol=1e-12)
    np.testing.assert_allclose(limited.saturation, result.saturation, atol=1e-9)
    np.testing.assert_allclose(limited.pressure, result.pressure, rtol=1e-9)
    brine, co2 = evaluate_phases(Fluids(), limited.pressure[1].ravel(), limited.saturation[1].ravel())
    wells = reservoir.perforations
    outside = (
        co2.pressure[wells.cell]
        - 700.0 * Fluids().expansion(CO2, limited.pressure[0, 2, 2, 0])[0] * 9.80665 * wells.drop
    )
    q = wells.index * (brine.lam + co2.lam)[wells.cell] * co2.b[wells.cell] * (8.9e6 - outside)
    assert limited.well_volume[1, 0, CO2] == pytest.approx(2.0 * DAY * q.sum(), rel=1e-9)  # Peaceman, by hand


def test_an_injector_takes_up_its_rate_when_the_brine_around_it_is_gone_and_leaves_it_when_the_box_is_full():
    reservoir = box([Injector((2, 2), (0, 3), 0.02, bhp=8.9e6)], "open")
    result = simulate(reservoir, DAY * np.array([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0]))
    share = np.diff(result.well_volume[:, 0, CO2]) / np.diff(result.times) / 0.02
    at_limit = result.bhp[1:, 0] >= 8.9e6 * (1.0 - 1e-9)
    assert at_limit.tolist() == [True, True, False, False, False, False, True, True]
    assert (share[:2] < 0.99).all() and (share[-2:] < 0.8).all()
    np.testing.assert_allclose(share[2:6], 1.0, rtol=1e-6)
    assert result.bhp.max() <= 8.9e6 * (1.0 + 1e-12)
    assert result.mass_balance_error <= 1e-9


def test_mass_is_conserved_relative_to_what_goes_in_not_to_what_a_limit_keeps_out():
    rest = hydrostatic(box([])).pressure[2, 2, 0]
    wells = [Injector((2, 3), (0, 3), 0.01, bhp=rest + 1e4), Injector((2, 2), (0, 3), 1e-5)]
    result = simulate(box(wells), DAY * np.array([1.0, 100.0]))
    assert result.well_volume[-1, 0, CO2] < 0.1 * 100.0 * DAY * 0.01
    assert result.mass_balance_error <= 1e-9


def test_steps_end_where_a_schedule_changes_and_a_well_that_is_shut_in_passes_nothing():
    rows = ((10.0 * DAY, 5e-3), (33.0 * DAY, 0.0), (50.0 * DAY, 2e-3))
    reservoir = box([Injector((2, 2), (0, 3), rows), Injector((1, 1), (2, 3), 1e-3)], "open")
    result = simulate(reservoir, DAY * np.array([5.0, 20.0, 40.0, 60.0]), control=EXACT)
    ends = np.cumsum(result.steps)
    for time in (5.0, 10.0, 20.0, 33.0, 40.0, 50.0, 60.0):
        assert np.abs(ends - time * DAY).min() <= 1e-6
    expected = DAY * np.array([0.0, 0.0, 10 * 5e-3, 23 * 5e-3, 23 * 5e-3 + 10 * 2e-3])
    np.testing.assert_allclose(result.well_volume[:, 0, CO2], expected, atol=1e-6)
    np.testing.assert_allclose(result.well_volume[:, 1, CO2], result.times * 1e-3, atol=1e-6)
    assert result.bhp[1, 0] == pytest.approx(
        result.pressure[1, 2, 2, 0], abs=2e4
    )  # shut in, it shows the rock's pressure
    assert result.mass_balance_error <= 1e-12


def test_a_schedule_is_the_runs_of_its_parts_one_after_another():
    rows, steps = ((0.0, 5e-3), (20.0 * DAY, 1e-3)), StepControl(first=5.0 * DAY, longest=5.0 * DAY, tolerance=1e-10)
    whole = simulate(box([Injector((2, 2), (0, 3), rows)], "open"), [40.0 * DAY], control=steps)
    first = simulate(box([Injector((2, 2), (0, 3), 5e-3)], "open"), [20.0 * DAY], control=steps)
    middle = State(first.pressure[1], first.saturation[1])
    second = simulate(box([Injector((2, 2), (0, 3), 1e-3)], "open"), [20.0 * DAY], middle, steps)
    np.testing.assert_allclose(whole.saturation[1], second.saturation[1], atol=1e-9)
    np.testing.assert_allclose(whole.pressure[1], second.pressure[1], rtol=1e-9)


# Production


@pytest.mark.parametrize("direct", [True, False])
def test_what_a_producer_takes_out_is_missing_in_the_rock(direct, monkeypatch):
    if not direct:
        monkeypatch.setattr("solvers.two_phase.linear.LARGEST_DIRECT", 0)
    wells = [Injector((0, 0), (0, 3), 0.02), Producer((4, 4), (0, 3), 7.5e6), Producer((4, 0), (1, 3), 1e6, 1e-9)]
    result = simulate(box(wells), DAY * np.array([5.0, 20.0, 80.0, 160.0]))
    injector, producer, monitor = np.moveaxis(result.well_volume, 1, 0)
    assert (np.diff(producer, axis=0) <= 0.0).all()
    assert producer[1, CO2] == 0.0 and producer[-1, CO2] < -1e4  # it has broken through
    assert result.bhp[-1, 1] == pytest.approx(7.5e6, rel=1e-12)
    np.testing.assert_allclose(monitor.sum(axis=1), -1e-9 * result.times, rtol=1e-3)
    assert (injector[:, BRINE] == 0.0).all()
    assert result.mass_balance_error <= 1e-9


def test_producers_of_brine_alone_are_not_held_up_by_the_round_off_of_co2_that_is_not_there():
    wells = [Producer((1, 1), (0, 1), 8e6), Producer((1, 1), (1, 2), 7e6, 1e-3), Producer((2, 1), (1, 2), 7e6, 1e-3)]
    result = simulate(box(wells, "open", (6, 2, 2)), DAY * np.array([30.0, 200.0, 400.0]))
    assert len(result.steps) <= 6 and result.saturation.max() == 0.0
    assert result.mass_balance_error <= 1e-9


def test_a_producer_draws_each_phase_by_its_mobility():
    reservoir = box([Producer((2, 2), (1, 2), 1e6, 1e-5)], "open")
    rest = hydrostatic(reservoir)
    initial = State(rest.pressure, np.full(rest.saturation.shape, 0.4))
    result = simulate(reservoir, [1e4], initial)
    S, p = result.saturation[1, 2, 2, 1], result.pressure[1, 2, 2, 1]
    kw, kn = 0.5**2, 0.5**2  # of the effective saturation (1 - 0.4 - 0.2) / 0.8
    assert S == pytest.approx(0.4, abs=1e-4)
    brine, co2 = (
        Fluids().expansion(a, np.array([p]))[0][0] * k / Fluids().viscosity[a] for a, k in ((BRINE, kw), (CO2, kn))
    )
    volume = result.well_volume[1, 0]
    assert volume.sum() == pytest.approx(-1e4 * 1e-5, rel=1e-6)
    assert volume[CO2] / volume[BRINE] == pytest.approx(co2 / brine, rel=1e-3)


def test_a_rigid_box_runs_when_a_producer_keeps_its_pressure():
    wells = [Injector((0, 0), (0, 1), 1e-4), Producer((2, 2), (0, 1), 8e6)]
    rigid = Reservoir(
        Grid((3, 3, 1), (10.0, 10.0, 2.0), 800.0),
        Rock((DARCY,) * 3, 0.2, compressibility=0.0),
        Fluids(compressibility=(0.0, 0.0)),
        wells,
    )
    result = simulate(rigid, [DAY])
    assert result.well_volume[1].sum() == pytest.approx(0.0, abs=1e-6)  # as much out as in
    assert result.well_volume[1, 0, CO2] == pytest.approx(1e-4 * DAY)


def test_a_producer_is_an_injector_of_the_opposite_rate_in_one_fluid():
    alike = dict(density=(1000.0, 1000.0), viscosity=(5e-4, 5e-4), compressibility=(1e-12, 1e-12))
    fluids = Fluids(**alike, relative_permeability=Corey((1.0, 1.0), (0.0, 0.0)))
    changes = []
    for well in (Injector((2, 2), (0, 3), 1e-3), Producer((2, 2), (0, 3), 1e5, 1e-3)):
        result = simulate(replace(box([well], "open"), fluids=fluids), [10.0 * DAY], control=EXACT)
        changes.append([result.pressure[1] - result.pressure[0], result.bhp[1, 0] - result.pressure[1, 2, 2, 0]])
    for rise, fall in zip(*changes, strict=True):
        np.testing.assert_allclose(rise, -fall, rtol=1e-4)


def test_wells_and_the_iterative_solver_make_the_same_run_as_elimination(monkeypatch):
    wells = [Injector((3, 3), (4, 6), 0.05, bhp=9.3e6), Producer((7, 7), (0, 6), 7.8e6), Injector((8, 2), (4, 6), 5e-3)]
    reservoir = replace(layered_reservoir((10, 10, 6), 1e3), wells=wells)
    steps = StepControl(first=2.0 * DAY, longest=2.0 * DAY, tolerance=1e-10)
    iterative = simulate(reservoir, [4.0 * DAY], control=steps)
    monkeypatch.setattr("solvers.two_phase.linear.LARGEST_DIRECT", 10**9)
    direct = simulate(reservoir, [4.0 * DAY], control=steps)
    assert (
        direct.linear_iterations == direct.newton_iterations
        and iterative.linear_iterations > iterative.newton_iterations
    )
    np.testing.assert_allclose(iterative.saturation, direct.saturation, atol=1e-6)
    np.testing.assert_allclose(iterative.well_volume, direct.well_volume, rtol=1e-6, atol=1e-3)


WRONG = {
    "no rate and no limit": (lambda: Injector((0, 0), (0, 1), np.inf), "without a limit bhp"),
    "half a cell": (lambda: Injector((1.5, 0), (0, 1), 1e-3), r"cell\[0\] to be a whole number, got 1.5"),
    "limit of zero": (lambda: Injector((0, 0), (0, 1), 1e-3, bhp=0.0), "bhp > 0 in Pa, got 0.0"),
    "limit not a number": (lambda: Producer((0, 0), (0, 1), np.nan), "bhp to be a number, got nan"),
    "producer without pressure": (lambda: Producer((0, 0), (0, 1), np.inf), "finite, got inf"),
    "rows out of order": (lambda: Injector((0, 0), (0, 1), ((5.0, 1e-3), (1.0, 0.0))), "that increase"),
    "rows before the start": (lambda: Injector((0, 0), (0, 1), ((-5.0, 1e-3),)), "times in s >= 0"),
    "rows of one number": (lambda: Injector((0, 0), (0, 1), ((0.0,),)), "rate"),
    "a rate taken out": (lambda: Injector((0, 0), (0, 1), ((0.0, -1e-3),)), "rate >= 0"),
    "producer outside": (lambda: box([Producer((0, 9), (0, 1), 1e6)]), r"well 0 \(producer\): cell \(0, 9\)"),
}


@pytest.mark.parametrize("fault", WRONG)
def test_a_well_that_cannot_be_is_refused_with_its_reason(fault):
    attempt, reason = WRONG[fault]
    with pytest.raises(ValueError, match=reason):
        attempt()
