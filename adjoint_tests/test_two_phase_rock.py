"""Theorems about rock that varies: cells of several sizes, cells that take no part, kinds of rock with curves of their own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from two_phase_cases import DARCY, DAY, derivative_gap, layered_reservoir, random_step, rough_reservoir

from solvers.grid import Grid
from solvers.two_phase import (
    BrooksCorey,
    Corey,
    Fluids,
    Injector,
    Producer,
    Regions,
    Reservoir,
    Rock,
    State,
    StepControl,
    hydrostatic,
    simulate,
)
from solvers.two_phase.assembly import Assembly

EXACT = StepControl(tolerance=1e-10)
ALIKE = dict(density=(1000.0, 1000.0), viscosity=(5e-4, 5e-4), compressibility=(1e-12, 1e-12))
ONE_FLUID = Fluids(**ALIKE, relative_permeability=Corey((1.0, 1.0), (0.0, 0.0)))


# Sizes of cells


def test_cells_of_one_size_are_the_same_however_it_is_said():
    grid = Grid((4, 3, 2), (40.0, 30.0, 5.0), 800.0)
    other = Grid((4, 3, 2), (np.full(4, 40.0), np.full(3, 30.0), np.full((4, 3, 2), 5.0)), np.full((4, 3), 800.0))
    k = [DARCY * np.random.default_rng(a).random((4, 3, 2)) for a in range(3)]
    np.testing.assert_array_equal(grid.depth, other.depth)
    np.testing.assert_array_equal(grid.volume, other.volume)
    np.testing.assert_array_equal(grid.transmissibility(k), other.transmissibility(k))


def test_depths_add_up_the_layers_of_each_column():
    dz = np.array([[[1.0, 2.0, 4.0]], [[8.0, 4.0, 2.0]]])
    grid = Grid((2, 1, 3), (10.0, 10.0, dz), np.array([[100.0], [200.0]]))
    np.testing.assert_array_equal(grid.depth[:, 0], [[100.5, 102.0, 105.0], [204.0, 210.0, 213.0]])
    np.testing.assert_array_equal(grid.edges[0], [0.0, 10.0, 20.0])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_pressure_falls_along_a_line_of_unequal_cells_as_resistances_in_series_say(axis):
    rng, n, rate = np.random.default_rng(3), 9, 1e-4
    h, k = 1.0 + 9.0 * rng.random(n), DARCY * 10.0 ** rng.uniform(-2.0, 0.0, n)
    shape, spacing = [1, 1, 1], [20.0, 20.0, 20.0]
    shape[axis], spacing[axis] = n, h
    ends = [((0, 0), (0, 1)), ((n - 1, 0), (0, 1)) if axis == 0 else ((0, n - 1), (0, 1))]
    ends = ends if axis < 2 else [((0, 0), (0, 1)), ((0, 0), (n - 1, n))]
    wells = [Injector(*ends[0], rate), Producer(*ends[1], 8.1e6)]
    rock = Rock((k.reshape(shape),) * 3, 0.2, compressibility=0.0)
    reservoir = Reservoir(Grid(shape, spacing, 800.0), rock, ONE_FLUID, wells)
    result = simulate(reservoir, [DAY], control=EXACT)
    resistance = 0.5 * (h / k)[:-1] + 0.5 * (h / k)[1:]
    drops = -np.diff((result.pressure[1] - 1000.0 * 9.80665 * reservoir.grid.depth).ravel())
    np.testing.assert_allclose(drops, rate * 5e-4 * resistance / 400.0, rtol=1e-4, atol=1.0)


def test_a_reservoir_of_unequal_cells_turned_by_a_right_angle_gives_the_same_plume():
    rng = np.random.default_rng(5)
    dx, dy, dz = 30.0 + 40.0 * rng.random(6), 30.0 + 40.0 * rng.random(5), 3.0 + 4.0 * rng.random((6, 5, 4))
    k = DARCY * np.exp(rng.standard_normal((6, 5, 4)))
    top = 800.0 + 5.0 * rng.standard_normal((6, 5))
    turned = lambda a: a.transpose(1, 0, 2)
    plumes = []
    for grid, rock, cell in (
        (Grid((6, 5, 4), (dx, dy, dz), top), Rock((k, k, 0.1 * k), 0.2), (2, 3)),
        (Grid((5, 6, 4), (dy, dx, turned(dz)), top.T), Rock((turned(k), turned(k), 0.1 * turned(k)), 0.2), (3, 2)),
    ):
        result = simulate(
            Reservoir(grid, rock, Fluids(), [Injector(cell, (2, 4), 4e-3)], "open"), [60.0 * DAY], control=EXACT
        )
        assert result.mass_balance_error <= 1e-12 and result.saturation.max() > 0.3
        plumes.append(result.saturation[1])
    np.testing.assert_allclose(plumes[0], turned(plumes[1]), atol=1e-9)


# Inactive cells


def facies(shape: tuple[int, int, int], contrast: float = 1e6) -> Reservoir:
    """Layered rock a third of whose cells are inactive at random, a column wholly, by a porosity of 0 and by the grid."""
    reservoir, rng = layered_reservoir(shape, contrast), np.random.default_rng(11)
    (well,) = reservoir.wells
    porosity, active = np.where(rng.random(shape) < 0.2, 0.0, 0.3), rng.random(shape) < 0.85
    porosity[2, 2] = 0.0
    active[well.cell], porosity[well.cell] = True, 0.3
    grid = Grid(shape, reservoir.grid.spacing, reservoir.grid.top, active)
    return replace(reservoir, grid=grid, rock=replace(reservoir.rock, porosity=porosity))


@pytest.mark.parametrize("shape", [(7, 6, 5), (11, 10, 6)])
def test_inactive_cells_take_no_part(shape):
    reservoir = facies(shape)
    result = simulate(reservoir, [50.0 * DAY, 100.0 * DAY])
    still = ~reservoir.active
    assert 0.2 < still.mean() < 0.5 and still[2, 2].all()
    assert result.saturation[-1].max() > 0.3 and not result.saturation[-1][still].any()
    np.testing.assert_array_equal(result.pressure[-1][still], result.pressure[0][still])
    assert result.mass_balance_error <= 1e-9


def test_a_part_between_inactive_cells_is_the_simulation_of_that_part(monkeypatch):
    part = layered_reservoir((6, 6, 6), 1e3)
    part = replace(part, boundary="closed", wells=[Injector((3, 3), (4, 6), 2e-3)])
    shape, rng = (10, 9, 6), np.random.default_rng(2)
    active = np.zeros(shape, dtype=bool)
    active[2:8, 1:7] = True
    top, k = 700.0 + 100.0 * rng.random(shape[:2]), [DARCY * rng.random(shape) for _ in range(3)]
    top[2:8, 1:7] = part.grid.top
    for whole, values in zip(k, part.rock.permeability, strict=True):
        whole[2:8, 1:7] = values
    whole = replace(
        part,
        grid=Grid(shape, part.grid.spacing, top, active),
        rock=replace(part.rock, permeability=tuple(k)),
        wells=[Injector((5, 4), (4, 6), 2e-3)],
    )
    steps = StepControl(first=10.0 * DAY, longest=10.0 * DAY, tolerance=1e-10)
    alone = simulate(part, [30.0 * DAY], control=steps)
    for largest_direct in (0, 10**9):
        monkeypatch.setattr("solvers.two_phase.linear.LARGEST_DIRECT", largest_direct)
        result = simulate(whole, [30.0 * DAY], control=steps)
        np.testing.assert_allclose(result.saturation[1, 2:8, 1:7], alone.saturation[1], atol=1e-7)
        np.testing.assert_allclose(result.pressure[1, 2:8, 1:7], alone.pressure[1], rtol=1e-8)
    assert result.mass_balance_error == pytest.approx(alone.mass_balance_error, abs=1e-10)


# Kinds of rock


def two_kinds(reservoir: Reservoir, seed: int = 1) -> Reservoir:
    """The reservoir with two kinds of rock at random."""
    region = np.random.default_rng(seed).integers(0, 2, reservoir.grid.shape)
    curves = Regions(region, [Corey(), Corey((3.0, 1.5), (0.3, 0.1))])
    capillary = Regions(region, [BrooksCorey(1e4), BrooksCorey(2e5, 3.0)])
    return replace(reservoir, fluids=replace(reservoir.fluids, relative_permeability=curves, capillary=capillary))


def test_jacobian_is_the_derivative_of_the_residual_with_two_kinds_of_rock():
    assembly = Assembly(two_kinds(rough_reservoir()))
    step = random_step(assembly)
    assert derivative_gap(assembly.jacobian(*step).toarray(), assembly, *step) < 1e-12


def test_each_cell_has_the_curves_of_its_own_kind():
    region = np.array([[[0, 1, 2, 1]]])
    kinds = [Corey(), Corey((3.0, 1.5), (0.3, 0.1)), Corey((2.0, 4.0), (0.0, 0.2), table_points=33)]
    S = np.array([0.1, 0.2, 0.3, 0.4])
    both = Regions(region, kinds).evaluate(S)
    for place, kind in enumerate(region.ravel()):
        np.testing.assert_array_equal(
            np.array(both)[..., place], np.array(kinds[kind].evaluate(S[place : place + 1]))[..., 0]
        )
    np.testing.assert_allclose(Regions(region, kinds).largest_saturation, [0.8, 0.7, 1.0, 0.7])


def test_regions_of_one_kind_are_one_curve():
    reservoir = layered_reservoir((6, 6, 6), entry_pressure=0.0)
    region = np.random.default_rng(0).integers(0, 2, (6, 6, 6))
    split = Fluids(
        relative_permeability=Regions(region, [Corey()] * 2), capillary=Regions(region, [BrooksCorey(1e4)] * 2)
    )
    runs = [
        simulate(replace(reservoir, fluids=fluids), [40.0 * DAY], control=EXACT).saturation
        for fluids in (split, Fluids(capillary=BrooksCorey(1e4)))
    ]
    np.testing.assert_allclose(*runs, atol=1e-10)


def test_saturation_stays_between_the_bounds_of_each_kind():
    reservoir = two_kinds(layered_reservoir((8, 8, 6), 1e2))
    result = simulate(reservoir, [100.0 * DAY])
    bound = reservoir.fluids.relative_permeability.largest_saturation.reshape(8, 8, 6)
    assert result.saturation.max() > 0.3 and (result.saturation <= bound).all()
    assert result.mass_balance_error <= 1e-9


def test_brine_that_no_longer_flows_gives_way_where_the_pressure_rises():
    curves = Fluids(relative_permeability=Corey((1.0, 1.0)))
    grid, sand = Grid((8, 8, 6), (50.0, 50.0, 5.0), 800.0), Rock((DARCY, DARCY, 0.1 * DARCY), 0.3, compressibility=0.0)
    rows = ((0.0, 2e-3), (365.0 * DAY, 0.0), (730.0 * DAY, 2e-3))
    wells = [Injector((4, 4), (4, 6), rows, bhp=2e7), Producer((0, 0), (5, 6), 7e6, 5e-4)]
    reservoir = Reservoir(grid, sand, curves, wells, (1.0, 50.0, 1.0, 50.0))
    result = simulate(reservoir, DAY * np.array([365.0, 730.0, 1500.0]))
    assert 0.8 < result.saturation.max() < 0.801  # 4.5e-10 / Pa of a fifth of the pores
    assert len(result.steps) <= 30 and result.mass_balance_error <= 1e-9


def test_co2_that_rises_leaves_behind_what_is_trapped():
    trapping = Fluids(relative_permeability=Corey(residuals=(0.2, 0.25)))
    left = []
    for fluids in (Fluids(), trapping):
        reservoir = Reservoir(Grid((1, 1, 10), (20.0, 20.0, 5.0), 800.0), Rock((DARCY,) * 3, 0.3), fluids)
        S = np.where(np.arange(10) >= 7, 0.6, 0.0).reshape(1, 1, 10)
        result = simulate(reservoir, [1000.0 * DAY], State(hydrostatic(reservoir).pressure, S))
        left.append(result.saturation[1, 0, 0])
    assert left[0][7:].max() < 0.05
    assert (left[1][7:] >= 0.25).all() and left[1][7:].max() < 0.35


WRONG = {
    "lengths of another shape": (lambda: Grid((3, 3, 2), (np.ones(2), 1.0, 1.0)), "dx to be a number or of shape"),
    "a length of zero": (
        lambda: Grid((3, 3, 2), (1.0, np.array([1.0, 0.0, 2.0]), 1.0)),
        r"dy in m, got 0 at index 1",
    ),
    "active of another shape": (lambda: Grid((3, 3, 2), (1.0,) * 3, active=np.ones((3, 3), bool)), "active"),
    "active that is no bool": (lambda: Grid((3, 3, 2), (1.0,) * 3, active=np.ones((3, 3, 2))), "bool, got float64"),
    "no cell active": (
        lambda: Reservoir(Grid((3, 3, 2), (1.0,) * 3), Rock((1e-12,) * 3, 0.0), Fluids()),
        "no cell is active",
    ),
    "a well in an inactive cell": (
        lambda: replace(facies((7, 6, 5)), wells=[Injector((2, 2), (3, 5), 1e-3)]),
        r"well 0 \(injector\): its perforation in layer 3 is in an inactive cell, \(2, 2, 3\)",
    ),
    "porosity below zero": (
        lambda: Rock((1e-12,) * 3, np.where(np.arange(8).reshape(2, 2, 2) == 5, -0.1, 0.2)),
        r"porosity must be in 0..1, got -0.1 in cell \(1, 0, 1\)",
    ),
    "a region without a curve": (lambda: Regions(np.array([[[0, 2]]]), [Corey(), Corey()]), r"regions in 0..1, got 2"),
    "regions that are no numbers": (lambda: Regions(np.zeros((1, 1, 2)), [Corey()]), "integers, got float64"),
    "curves of two kinds": (
        lambda: Regions(np.zeros((1, 1, 2), int), [Corey(), BrooksCorey(1.0)]),
        "BrooksCorey, Corey",
    ),
    "regions of another shape": (
        lambda: replace(
            rough_reservoir(), fluids=Fluids(relative_permeability=Regions(np.zeros((1, 1, 2), int), [Corey()]))
        ),
        "the regions must be",
    ),
}


@pytest.mark.parametrize("fault", WRONG)
def test_what_cannot_be_is_refused_with_its_name_and_value(fault):
    attempt, reason = WRONG[fault]
    with pytest.raises(ValueError, match=reason):
        attempt()
