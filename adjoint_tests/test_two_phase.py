"""Theorems about the two-phase simulator: its derivatives, what it conserves, and solutions that are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.special import exp1
from two_phase_cases import (
    DARCY,
    DAY,
    derivative_gap,
    layered_reservoir,
    line_reservoir,
    random_step,
    rough_reservoir,
)

from solvers.grid import Grid
from solvers.two_phase import (
    BrooksCorey,
    Corey,
    Fluids,
    Injector,
    Reservoir,
    Rock,
    SimulationError,
    State,
    StepControl,
    hydrostatic,
    simulate,
)
from solvers.two_phase.assembly import Assembly
from solvers.two_phase.buckley_leverett import profile, shock
from solvers.two_phase.control import StepFailed
from solvers.two_phase.krylov import gmres
from solvers.two_phase.linear import CPR, Direct
from solvers.two_phase.multigrid import Multigrid
from solvers.two_phase.simulate import March
from solvers.two_phase.stencil import Stencil

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
MILLIDARCY, BAR = 1e-3 * DARCY, 1e5


# Derivatives


@pytest.mark.parametrize("capillary", [False, True])
def test_jacobian_is_the_derivative_of_the_residual(capillary):
    assembly = Assembly(rough_reservoir(capillary))
    step = random_step(assembly)
    assert derivative_gap(assembly.jacobian(*step).toarray(), assembly, *step) < 1e-12


def test_derivative_test_rejects_a_jacobian_whose_gravity_is_frozen():
    reservoir = rough_reservoir()
    assembly, step = Assembly(reservoir), random_step(Assembly(reservoir))
    without = Assembly(replace(reservoir, fluids=replace(reservoir.fluids, density=(1e-3, 1e-3))))
    assert derivative_gap(without.jacobian(*step).toarray(), assembly, *step) > 1e-6


def test_jacobian_and_its_transpose_pass_the_dot_test():
    assembly = Assembly(rough_reservoir())
    J = assembly.jacobian(*random_step(assembly))
    rng = np.random.default_rng(1)
    scale = np.where(np.arange(assembly.size) % 2, 1.0, 1e6)  # pressures are a million times larger than saturations
    v, w = scale * rng.standard_normal(assembly.size), rng.standard_normal(assembly.size)
    Jv, Jw = J @ v, J.T @ w
    assert abs(Jv @ w - v @ Jw) <= 1e-14 * np.linalg.norm(Jv) * np.linalg.norm(w)


@pytest.mark.parametrize("curve", [Corey(), Corey((3.0, 1.5), (0.15, 0.1)), Corey(table_points=161)])
def test_relative_permeabilities_have_the_derivatives_they_claim(curve):
    S = np.random.default_rng(0).random(200) * curve.largest_saturation
    for value, slope in zip(curve.evaluate(S + 1e-30j), curve.evaluate(S), strict=True):
        np.testing.assert_allclose(value[0].imag / 1e-30, slope[1], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("curve", [Corey(), Corey((1.0, 1.0)), Corey(table_points=9)])
def test_relative_permeabilities_stay_what_they_are_where_all_mobile_brine_is_gone(curve):
    (brine, d_brine), (co2, d_co2) = curve.evaluate(np.array([0.8 + 1e-9, 0.805, 0.81]))
    assert not np.any([brine, d_brine, d_co2]) and np.all(co2 == 1.0)


def test_table_of_relative_permeability_is_as_near_to_the_curve_as_its_spacing_squared():
    S = np.linspace(0.0, 0.8, 1001)
    for table, curve in zip(Corey(table_points=161).evaluate(S), Corey().evaluate(S), strict=True):
        assert np.abs(table[0] - curve[0]).max() <= (1.0 / 160.0) ** 2 / 4.0 * (1.0 + 1e-9)


def test_capillary_pressure_is_smooth_where_it_becomes_its_tangent():
    curve = BrooksCorey(1e4, linear_below=0.1)
    below, above = (curve.evaluate(np.array([0.1 + d])) for d in (-1e-9, 1e-9))
    np.testing.assert_allclose(below, above, rtol=1e-7)
    s = np.linspace(0.0, 1.0, 31)
    np.testing.assert_allclose(curve.evaluate(s + 1e-30j)[0].imag / 1e-30, curve.evaluate(s)[1], rtol=1e-12)


# Conservation, rest, symmetry


@pytest.mark.parametrize("capillary", [False, True])
def test_brine_at_rest_stays_at_rest_under_a_sloping_top(capillary):
    reservoir = replace(rough_reservoir(capillary), wells=[])
    result = simulate(reservoir, [DAY, 400.0 * DAY], control=StepControl(tolerance=1e-12))
    change = np.abs(result.pressure - result.pressure[0]).max()
    assert change <= 1e-10 * result.pressure.max()
    assert result.saturation.max() == 0.0


def test_hydrostatic_pressure_has_the_density_of_its_own_pressure():
    reservoir = Reservoir(Grid((1, 1, 400), (1.0, 1.0, 1.0), 800.0), Rock((DARCY,) * 3, 0.2), Fluids())
    p = hydrostatic(reservoir).pressure.ravel()
    rho = 1025.0 * Fluids().expansion(0, p)[0]
    np.testing.assert_allclose(np.diff(p), 9.80665 * 0.5 * (rho[1:] + rho[:-1]), rtol=1e-9)


@pytest.mark.parametrize("boundary", ["closed", "open"])
def test_mass_is_conserved_to_round_off(boundary):
    reservoir = replace(layered_reservoir((8, 8, 6), entry_pressure=1e5), boundary=boundary)
    result = simulate(reservoir, 30.0 * DAY * np.arange(1, 7), control=StepControl(tolerance=1e-10))
    assert result.saturation.max() > 0.3
    assert result.mass_balance_error <= 1e-13


def test_mass_is_conserved_with_the_iterative_solver():
    result = simulate(layered_reservoir(), 100.0 * DAY * np.arange(1, 5))
    assert result.mass_balance_error <= 1e-9


def test_a_lost_millionth_of_the_brine_in_the_box_is_reported_as_such_whatever_the_aquifers():
    for boundary in ("closed", "open"):
        reservoir = replace(layered_reservoir((6, 6, 6)), boundary=boundary)
        assembly = Assembly(reservoir)
        march = March(assembly, StepControl(), assembly.pack(hydrostatic(reservoir)))
        march.initial_mass[0] += 1e-6 * 36 * 6 * 50.0 * 50.0 * 5.0 * 0.3
        march.to(DAY)
        assert march.mass_balance_error == pytest.approx(1e-6, rel=0.01)


@pytest.mark.parametrize("shape", [(8, 1, 5), (1, 8, 5), (1, 1, 5)])
def test_an_axis_of_one_cell_has_no_open_sides(shape):
    multiplier = Reservoir(Grid(shape, (50.0, 50.0, 5.0)), SAND, Fluids(), boundary="open").multiplier.reshape(shape)
    assert np.all(multiplier == 1.0, axis=2).sum() == max(1, max(shape[:2]) - 2)
    assert np.all(multiplier == 1000.0, axis=2).sum() == (2 if max(shape[:2]) > 1 else 0)


def test_saturation_stays_between_its_bounds():
    result = simulate(layered_reservoir((8, 8, 6)), 100.0 * DAY * np.arange(1, 5))
    assert result.saturation.min() >= 0.0 and result.saturation.max() <= 0.8


def test_perforations_that_brine_would_leave_by_are_shut():
    grid = Grid((5, 5, 6), (50.0, 50.0, 5.0), 800.0)
    reservoir = Reservoir(grid, Rock((DARCY,) * 3, 0.3), Fluids(), [Injector((2, 2), (0, 6), 1e-4)], "open")
    result = simulate(reservoir, [10.0 * DAY])
    p, S = result.pressure[-1, 2, 2], result.saturation[-1, 2, 2]
    head = result.bhp[-1, 0] + 700.0 * 9.80665 * grid.spacing[2] * np.arange(6)
    assert p[0] < head[0] and p[5] > head[5]  # the well alone would draw brine in by its lowest perforation
    assert S[0] > 0.0 and S[5] == 0.0
    assert result.mass_balance_error <= 1e-9


def test_seal_with_entry_pressure_holds_back_co2():
    leaking, sealed = (layered_reservoir((8, 8, 6), 1e3, entry_pressure=p) for p in (0.0, 1e6))
    above = [simulate(r, [400.0 * DAY]).saturation[-1, :, :, :2].sum() for r in (leaking, sealed)]
    assert above[1] < 0.9 * above[0]


def test_symmetric_reservoir_has_a_symmetric_plume():
    reservoir = replace(layered_reservoir((9, 9, 6)), grid=Grid((9, 9, 6), (50.0, 50.0, 5.0), 800.0))
    k = np.broadcast_to(reservoir.rock.permeability[0].min(axis=(0, 1)), (9, 9, 6)).copy()
    result = simulate(replace(reservoir, rock=Rock((k, k, 0.1 * k), 0.3)), [200.0 * DAY])
    S = result.saturation[-1]
    assert S.max() > 0.1
    for mirrored in (S.transpose(1, 0, 2), S[::-1], S[:, ::-1]):
        np.testing.assert_allclose(mirrored, S, atol=1e-9)


# Known solutions


def test_agrees_with_opm_flow_at_every_step():
    file = DATA / "opm_flow_twophase_t10f.npz"
    if not file.exists():
        pytest.skip(f"the reference run of OPM Flow is not there: {file}")
    run = np.load(file)
    value = lambda name: float(run[name])
    kx = run["kx"].astype(float) * MILLIDARCY
    reservoir = Reservoir(
        Grid(run["n"], (value("dx"), value("dy"), value("dz")), value("top")),
        Rock((kx, kx, value("kvkh") * kx), value("phi"), value("cr") / BAR, value("pref") * BAR),
        Fluids(
            density=(value("rhow"), value("rhoo")),
            viscosity=(1e-3 * value("muw"), 1e-3 * value("muo")),
            compressibility=(value("cw") / BAR, value("co") / BAR),
            reference_pressure=value("pref") * BAR,
            relative_permeability=Corey((value("nw"), value("nn")), (value("Swi"), value("Sor")), table_points=161),
        ),
        [Injector((5, 5), (2, 5), value("rate") / DAY)],
        boundary=value("mult"),
    )
    initial = State(run["pressure_bar"][0].astype(float) * BAR, run["s_co2"][0].astype(float))
    result = simulate(reservoir, run["t_days"][1:] * DAY, initial, StepControl(first=np.inf, tolerance=1e-10))
    assert len(result.steps) == 24
    assert np.abs(result.saturation - run["s_co2"]).max() <= 1e-4
    assert np.abs(result.pressure / BAR - run["pressure_bar"]).max() <= 1e-3
    assert result.mass_balance_error <= 1e-12


def buckley_leverett_errors(viscosity_ratio: float, cells: int) -> tuple[float, float]:
    """(mean error of saturation, relative error of the front's position) after 0.4 pore volumes."""
    length, rate, porosity = 100.0, 1e-5, 0.2
    end = 0.4 * length * porosity / rate
    step = StepControl(first=end / cells, longest=end / cells)
    S = simulate(line_reservoir(cells, viscosity_ratio, length, rate, porosity), [end], control=step)
    S = S.saturation[-1].ravel()
    xi = (np.arange(8 * cells) + 0.5) / (8 * cells) / 0.4
    exact = profile(xi, viscosity_ratio).reshape(cells, 8).mean(axis=1)
    height, speed = shock(viscosity_ratio)
    last = np.flatnonzero(S > 0.5 * height)[-1]
    front = (last + 0.5 + (S[last] - 0.5 * height) / (S[last] - S[last + 1])) / cells
    return np.abs(S - exact).mean(), abs(front / (0.4 * speed) - 1.0)


@pytest.mark.parametrize("viscosity_ratio, finest, front", [(0.5, 200, 0.04), (2.0, 400, 0.03), (10.0, 200, 0.04)])
def test_buckley_leverett_is_approached_with_order_above_one_half(viscosity_ratio, finest, front):
    cells = [n for n in (50, 100, 200, 400) if n <= finest]
    errors, fronts = zip(*(buckley_leverett_errors(viscosity_ratio, n) for n in cells), strict=True)
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert orders.min() >= 0.5, f"errors {errors}"
    assert fronts[-1] <= front


def test_buckley_leverett_profile_conserves_what_was_injected():
    for ratio, known in ((0.5, 1.112372), (2.0, 1.366025), (10.0, 2.158312)):
        xi = (np.arange(200_000) + 0.5) / 200_000 * 2.5
        assert abs(profile(xi, ratio).mean() * 2.5 - 1.0) < 1e-4
        assert abs(shock(ratio)[1] - known) < 1e-6


def test_pressure_of_a_well_in_one_fluid_follows_theis():
    k, mu, height, rate = 0.1 * DARCY, 5e-4, 10.0, 1e-3
    alike = dict(density=(1000.0, 1000.0), viscosity=(mu, mu), compressibility=(4e-10, 4e-10))
    fluids = Fluids(**alike, relative_permeability=Corey((1.0, 1.0), (0.0, 0.0)))
    grid = Grid((41, 41, 1), (25.0, 25.0, height), 1000.0)
    rock = Rock((k, k, k), 0.2, compressibility=6e-10)
    reservoir = Reservoir(grid, rock, fluids, [Injector((20, 20), (0, 1), rate)])
    times = DAY * np.geomspace(0.05, 0.5, 7)  # before the sides are felt
    result = simulate(reservoir, times, control=StepControl(first=0.0025 * DAY, longest=0.01 * DAY))
    theis = lambda r, t: rate * mu / (4.0 * np.pi * k * height) * exp1(0.2 * mu * 1e-9 * r**2 / (4.0 * k * t))
    rise = result.pressure - result.pressure[0]
    for distance in (2, 4, 6):
        np.testing.assert_allclose(rise[3:, 20 + distance, 20, 0], theis(25.0 * distance, times[2:]), rtol=0.02)
    np.testing.assert_allclose(result.bhp[3:, 0] - result.pressure[0, 20, 20, 0], theis(0.1, times[2:]), rtol=0.01)


# The linear solver


@pytest.mark.parametrize("contrast", [1.0, 1e4, 1e8])
def test_multigrid_needs_few_iterations_whatever_the_contrast_of_the_seals(contrast):
    assembly = Assembly(layered_reservoir((17, 16, 9), contrast))
    x = assembly.pack(hydrostatic(assembly.reservoir))
    J = assembly.jacobian(x, x, 30.0 * DAY)
    n = 2 * assembly.cells
    pressure = (J[0:n:2, 0:n:2] + J[1:n:2, 0:n:2]).tocsr()
    multigrid = Multigrid(assembly.block)
    multigrid.factor(Stencil(pressure, assembly.block, 1).read(pressure.data).reshape(7, -1))
    b = np.random.default_rng(0).standard_normal(assembly.cells)
    solution, converged, _ = gmres(pressure.dot, multigrid.solve, b, 1e-8, 18)
    assert converged
    assert np.linalg.norm(pressure @ solution - b) <= 1e-7 * np.linalg.norm(b)


@pytest.mark.parametrize("entry_pressure", [0.0, 1e5])
def test_iterative_solution_is_the_one_of_elimination(entry_pressure):
    reservoir = layered_reservoir((10, 9, 8), entry_pressure=entry_pressure)
    reservoir = replace(reservoir, wells=[Injector((5, 4), (3, 8), 0.005)], boundary="closed")
    assembly = Assembly(reservoir)
    state = simulate(reservoir, [200.0 * DAY])
    x_old = assembly.pack(State(state.pressure[-1], state.saturation[-1]))
    x_old[2 * assembly.cells :] = state.bhp[-1]
    R, J = assembly.linearize(x_old, x_old, 50.0 * DAY)
    cpr = CPR(assembly)
    cpr.factor(J)
    _, quickly, _ = gmres(J.dot, cpr.apply, R, 1e-3, 7)
    x, converged, _ = gmres(J.dot, cpr.apply, R, 1e-12, 20)
    assert quickly and converged
    exact = Direct(assembly).solve(J, R)
    np.testing.assert_allclose(x[1::2], exact[1::2], atol=1e-8 * np.abs(exact[1::2]).max())
    np.testing.assert_allclose(x[0::2], exact[0::2], atol=1e-8 * np.abs(exact[0::2]).max())


def test_iterative_and_direct_solver_give_the_same_simulation(monkeypatch):
    reservoir, times = layered_reservoir((10, 10, 8)), 100.0 * DAY * np.arange(1, 4)
    control = StepControl(first=20.0 * DAY, longest=20.0 * DAY, tolerance=1e-10)
    iterative = simulate(reservoir, times, control=control)
    monkeypatch.setattr("solvers.two_phase.linear.LARGEST_DIRECT", 10**9)
    direct = simulate(reservoir, times, control=control)
    assert iterative.steps == direct.steps
    np.testing.assert_allclose(iterative.saturation, direct.saturation, atol=1e-6)
    np.testing.assert_allclose(iterative.pressure, direct.pressure, rtol=1e-7)


def test_a_system_too_large_to_eliminate_fails_the_step_instead(monkeypatch):
    assembly = Assembly(layered_reservoir((10, 9, 8)))
    x_old = assembly.pack(hydrostatic(assembly.reservoir))
    R, J = assembly.linearize(x_old, x_old, 50.0 * DAY)
    monkeypatch.setattr("solvers.two_phase.linear.MOST_ITERATIONS", 1)
    np.testing.assert_allclose(CPR(assembly).solve(J, R), Direct(assembly).solve(J, R))
    monkeypatch.setattr("solvers.two_phase.linear.LARGEST_FALLBACK", assembly.cells - 1)
    with pytest.raises(StepFailed, match="720 cells are too many"):
        CPR(assembly).solve(J, R)


# Failures


def test_report_times_are_hit_and_steps_add_up():
    times = DAY * np.array([1.0, 10.0, 11.0, 100.0])
    heard = []
    result = simulate(layered_reservoir((6, 6, 6)), times, progress=lambda fraction, text: heard.append(fraction))
    np.testing.assert_array_equal(result.times, [0.0, *times])
    assert abs(sum(result.steps) - times[-1]) <= 1e-9 * times[-1]
    assert heard[0] == 0.0 and set(times / times[-1]) <= set(heard) and len(heard) > len(result.steps)
    np.testing.assert_array_equal(heard, np.sort(heard))


def test_run_goes_on_from_any_of_its_frames():
    reservoir, control = layered_reservoir((6, 6, 6)), StepControl(longest=20.0 * DAY, tolerance=1e-10)
    whole = simulate(reservoir, DAY * np.array([100.0, 140.0]), control=control)
    middle = State(whole.pressure[1], whole.saturation[1])
    rest = simulate(reservoir, [40.0 * DAY], middle, replace(control, first=20.0 * DAY))
    np.testing.assert_allclose(rest.saturation[-1], whole.saturation[-1], atol=1e-7)
    np.testing.assert_allclose(rest.pressure[-1], whole.pressure[-1], rtol=1e-9)


def test_failed_solve_raises_instead_of_hanging():
    control = StepControl(most_iterations=1, shortest=0.1 * DAY)
    with pytest.raises(SimulationError, match="did not converge in 1 iterations"):
        simulate(layered_reservoir((6, 6, 6)), [100.0 * DAY], control=control)


def test_a_run_of_too_many_steps_raises_and_says_how_far_it_came():
    control = StepControl(longest=10.0 * DAY, most_steps=5)
    assert (
        len(simulate(layered_reservoir((6, 6, 6)), [40.0 * DAY], control=replace(control, first=8.0 * DAY)).steps) == 5
    )
    with pytest.raises(SimulationError, match="5 steps led to .* years only, and most_steps"):
        simulate(layered_reservoir((6, 6, 6)), [100.0 * DAY], control=control)


def with_nan(shape: tuple[int, ...]) -> np.ndarray:
    array = np.full(shape, 1e-12)
    array.flat[-1] = np.nan
    return array


BOX = Grid((3, 3, 2), (10.0, 10.0, 2.0), 800.0)
SAND = Rock((DARCY,) * 3, 0.2)
INVALID = {
    "shape of the grid": (lambda: Grid((3, 0, 2), (1.0, 1.0, 1.0)), "cell counts"),
    "spacing": (lambda: Grid((3, 3, 2), (1.0, -1.0, 1.0)), "positive lengths"),
    "top of another shape": (lambda: Grid((3, 3, 2), (1.0, 1.0, 1.0), np.zeros((2, 3))), "top"),
    "NaN in the top": (lambda: Grid((3, 3, 2), (1.0, 1.0, 1.0), with_nan((3, 3))), "not finite"),
    "NaN in the permeability": (lambda: Rock((with_nan((3, 3, 2)), 1e-12, 1e-12), 0.2), "kx must be finite"),
    "negative permeability": (lambda: Rock((1e-12, -1e-12, 1e-12), 0.2), "ky must be finite and >= 0"),
    "negative porosity": (lambda: Rock((1e-12,) * 3, -0.1), "porosity"),
    "NaN in the porosity": (lambda: Rock((1e-12,) * 3, with_nan((3, 3, 2))), "porosity"),
    "residuals": (lambda: Corey(residuals=(0.6, 0.5)), "residuals"),
    "entry pressure": (lambda: BrooksCorey(-1.0), "entry pressures"),
    "viscosity": (lambda: Fluids(viscosity=(0.0, 1e-5)), "viscosity"),
    "rock of another shape": (
        lambda: Reservoir(BOX, Rock((np.ones((3, 2, 2)),) * 3, 0.2), Fluids()),
        "have the grid's",
    ),
    "boundary": (lambda: Reservoir(BOX, SAND, Fluids(), boundary="ajar"), "ajar"),
    "multiplier": (lambda: Reservoir(BOX, SAND, Fluids(), boundary=0.0), "positive"),
    "well outside": (lambda: Reservoir(BOX, SAND, Fluids(), [Injector((3, 0), (0, 1), 1e-3)]), "outside the grid"),
    "well below": (lambda: Reservoir(BOX, SAND, Fluids(), [Injector((1, 1), (0, 3), 1e-3)]), "outside the grid"),
    "well too wide": (lambda: Reservoir(BOX, SAND, Fluids(), [Injector((1, 1), (0, 1), 1e-3, 5.0)]), "Peaceman"),
    "well in tight rock": (
        lambda: Reservoir(BOX, Rock((0.0, 0.0, 1e-12), 0.2), Fluids(), [Injector((1, 1), (0, 1), 1e-3)]),
        "no horizontal permeability",
    ),
    "negative rate": (lambda: Injector((1, 1), (0, 1), -1e-3), "rate"),
    "no layers": (lambda: Injector((1, 1), (1, 1), 1e-3), "k0 < k1"),
    "times that do not increase": (lambda: simulate(Reservoir(BOX, SAND, Fluids()), [2.0, 1.0]), "increasing"),
    "time zero": (lambda: simulate(Reservoir(BOX, SAND, Fluids()), [0.0, 1.0]), "above 0"),
    "no times": (lambda: simulate(Reservoir(BOX, SAND, Fluids()), []), "times of the reports"),
    "initial state of another shape": (
        lambda: simulate(Reservoir(BOX, SAND, Fluids()), [1.0], State(np.ones((3, 3)), np.zeros((3, 3)))),
        "initial state",
    ),
    "initial saturation": (
        lambda: simulate(Reservoir(BOX, SAND, Fluids()), [1.0], State(np.full((3, 3, 2), 1e7), np.ones((3, 3, 2)))),
        "initial saturation",
    ),
    "step": (lambda: StepControl(shortest=0.0), "shortest must be positive"),
}


@pytest.mark.parametrize("fault", INVALID)
def test_invalid_input_is_refused_with_its_reason(fault):
    attempt, reason = INVALID[fault]
    with pytest.raises(ValueError, match=reason):
        attempt()
