"""Theorems about the two-phase simulator on many ranks: it is the run of one, bit by bit; and about its linear solver."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import strategies as st
from theorems import GRIDS, Planted, assert_exact_adjoint, assert_honest, assert_rejected, same_text, whole
from two_phase_cases import DAY, layered_reservoir, rough_reservoir

import refimpl as ri
from refimpl.verify import spmd
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
    SimulationError,
    State,
    StepControl,
    simulate,
)
from solvers.two_phase.assembly import Assembly
from solvers.two_phase.blocks import Block, Gathering
from solvers.two_phase.linear import CPR
from solvers.two_phase.pairing import Pairing, pairs
from solvers.two_phase.prolongation import Prolongation


@pytest.fixture(autouse=True)
def even_small_grids_are_shared(monkeypatch):
    monkeypatch.setattr("solvers.two_phase.blocks.MESSAGE", 0)


def small_reservoir():
    """36 cells, so few that every rank eliminates; 12 columns on a rough top, with capillary pressure."""
    return rough_reservoir()


def larger_reservoir():
    """13 x 11 columns of 4 cells, solved by multigrid; wells, of which most grids put some on another rank."""
    reservoir = layered_reservoir((13, 11, 4), entry_pressure=1e5)
    limited, monitor = Injector((1, 2), (1, 3), 1e-2, bhp=8.7e6), Producer((11, 9), (0, 4), 7e6, 1e-4)
    return replace(reservoir, wells=[*reservoir.wells, limited, monitor])


def faulted(reservoir):
    """The reservoir with tight planes after an odd number of columns, so that blocks and pairs begin at odd columns."""
    k = [permeability.copy() for permeability in reservoir.rock.permeability]
    for one in k:
        one[4:6] *= 1e-6
        one[:, 6] *= 1e-6
    return replace(reservoir, rock=replace(reservoir.rock, permeability=tuple(k)))


def varied_reservoir():
    """7 x 6 columns of 3 cells, a part of them inactive, of two kinds of rock and many sizes; wells with schedules."""
    rng, shape = np.random.default_rng(4), (7, 6, 3)
    region, active = rng.integers(0, 2, shape), rng.random(shape) < 0.8
    active[1, 1] = active[5, 4] = True
    curves = Regions(region, [Corey(), Corey((3.0, 1.5), (0.3, 0.1))])
    fluids = Fluids(relative_permeability=curves, capillary=Regions(region, [BrooksCorey(1e3), BrooksCorey(1e5)]))
    sizes = (30.0 + 40.0 * rng.random(7), 30.0 + 40.0 * rng.random(6), 3.0 + 4.0 * rng.random(shape))
    k = 1e-12 * np.exp(rng.standard_normal(shape))
    rows = ((0.0, 2e-3), (10.0 * DAY, 0.0))
    wells = [Producer((5, 4), (0, 3), 7e6), Injector((1, 1), (1, 3), rows, bhp=1.2e7)]
    return Reservoir(
        Grid(shape, sizes, 800.0 + 5.0 * rng.random((7, 6)), active), Rock((k, k, k), 0.2), fluids, wells, "open"
    )


CASES = {
    "small": (small_reservoir, StepControl(), DAY * np.array([3.0, 20.0])),
    "varied": (varied_reservoir, StepControl(), DAY * np.array([3.0, 20.0])),
    "larger": (larger_reservoir, StepControl(first=5.0 * DAY, tolerance=1e-5, mass_tolerance=1e-6), [5.0 * DAY]),
}


def together_and_alone(team, case, grid=None):
    """The result on a grid of the team's ranks (default: all), with whole frames, and on rank 0 that of one rank."""
    make, control, times = CASES[case]
    result = simulate(make(), times, control=control, partition=ri.Partition(team, grid or GRIDS[team.size]))
    frames = {
        name: [whole(result.space, f.copy()) for f in getattr(result, name)] for name in ("pressure", "saturation")
    }
    return replace(result, **frames), simulate(make(), times, control=control) if team.rank == 0 else None


def assert_same_run(together, alone):
    assert together.steps == alone.steps
    assert together.newton_iterations == alone.newton_iterations
    assert together.mass_balance_error == alone.mass_balance_error
    assert together.linear_iterations == alone.linear_iterations
    for name in ("saturation", "pressure", "bhp", "well_volume"):
        assert np.array_equal(getattr(together, name), getattr(alone, name)), name


@pytest.mark.parametrize("case", CASES)
def test_on_any_grid_of_ranks_it_is_the_run_of_one_bit_by_bit(team, case):
    together, alone = together_and_alone(team, case)
    if alone:
        assert alone.saturation[-1].max() > 0.02
        assert_same_run(together, alone)


@pytest.mark.mpi(min_size=3)
def test_ranks_outside_the_partition_come_along(team):
    together, alone = together_and_alone(team, "small", (2, 1))
    assert together.bhp.shape == (3, 2)
    if alone:
        assert_same_run(together, alone)


def parts_of_a_step(partition=None):
    """What a Newton iteration is made of, whole on each rank: R, a product with the Jacobian, a preconditioned vector."""
    assembly = Assembly(faulted(larger_reservoir()), partition)
    rng = np.random.default_rng(0)
    shape = assembly.reservoir.grid.shape
    x_old, x, v = (assembly.pack(State(8e6 + 1e6 * rng.random(shape), 0.7 * rng.random(shape))) for _ in range(3))
    R, J = assembly.linearize(x, x_old, DAY)
    cpr = CPR(assembly)
    cpr.factor(J)
    gather = Gathering(assembly.comm, assembly.numbers)
    return {"R": gather(R), "J v": gather(cpr.multiply(v)), "M R": gather(cpr.apply(R))}


def test_every_part_of_a_step_is_that_of_one_rank_bit_by_bit(team):
    alone = parts_of_a_step()
    for name, part in parts_of_a_step(ri.Partition(team, GRIDS[team.size])).items():
        assert np.array_equal(part, alone[name]), name


@pytest.mark.mpi(min_size=2)
@pytest.mark.parametrize("height, wrong_parts", [(8, {"R", "J v", "M R"}), (4, {"M R"})], ids=["states", "multigrid"])
def test_a_halo_that_is_wrong_in_the_last_digits_is_found(team, height, wrong_parts, monkeypatch):
    alone, halo = parts_of_a_step(), Block.extend

    def wrong(block, x):
        around = halo(block, x) * (1.0 + 1e-12 * (block.height == height))
        around[block.inside] = x
        return around

    monkeypatch.setattr(Block, "extend", wrong)
    found = parts_of_a_step(ri.Partition(team, GRIDS[team.size]))
    assert {name for name in found if not np.array_equal(found[name], alone[name])} == wrong_parts


def test_a_process_alone_needs_no_mpi():
    program = (
        "import sys; sys.path.insert(0, 'adjoint_tests')\n"
        "from two_phase_cases import layered_reservoir\n"
        "from solvers.two_phase import simulate\n"
        "assert simulate(layered_reservoir((9, 9, 7)), [1e5]).steps\n"
        "assert 'mpi4py.MPI' not in sys.modules, 'MPI was initialised'\n"
    )
    root = ri.__file__.rsplit("/", 2)[0]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


# Failures reach all ranks


@pytest.mark.mpi(min_size=2)
def test_a_singular_column_of_one_rank_fails_the_run_on_all(team):
    reservoir = layered_reservoir((10, 9, 8))
    kx, ky, kz = (k.copy() for k in reservoir.rock.permeability)
    for k in (kx, ky, kz):
        k[9, 8] = 0.0  # a column cut off, of fluids and pores that nothing compresses
    rigid = replace(reservoir.rock, permeability=(kx, ky, kz), compressibility=0.0)
    wells = [*reservoir.wells, Producer((0, 0), (0, 8), 5e6)]
    closed = replace(reservoir, rock=rigid, fluids=Fluids(compressibility=(0.0, 0.0)), wells=wells)
    partition, control = ri.Partition(team, GRIDS[team.size]), StepControl(shortest=4e4)
    text = same_text(team, lambda: simulate(closed, [DAY], control=control, partition=partition), SimulationError)
    assert "below the shortest" in text


@pytest.mark.mpi(min_size=2)
def test_ranks_that_simulate_different_things_are_told(team):
    reservoir, partition = rough_reservoir(), ri.Partition(team, GRIDS[team.size])
    times = DAY * np.arange(1.0, 3.0 + (team.rank == 1))
    assert "do not make the same call" in same_text(team, lambda: simulate(reservoir, times, partition=partition))


def test_a_partition_of_other_than_two_axes_is_refused(team):
    with pytest.raises(ValueError, match="ranks along x, along y"):
        simulate(rough_reservoir(), [DAY], partition=ri.Partition(team, (1,)))


# The transfer between two grids


def random_pairing(shape, seed) -> Pairing:
    """Pairs between walls at random."""
    rng = np.random.default_rng(seed)
    return Pairing.of(*(pairs(rng.random(n - 1) < 0.3) for n in shape[:2]))


def prolongation(team, shape, seed=0) -> Prolongation:
    fine = Block(ri.Partition(team, GRIDS[team.size]), shape, [random_pairing(shape, seed)], 1)
    return Prolongation(fine.coarser(), fine)


SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 3))


@spmd.property_test(shape=SHAPES, seed=st.integers(0, 99))
def test_adjoint_of_prolongation_is_restriction(team, shape, seed):
    P = prolongation(team, shape, seed)
    assert_exact_adjoint(P)
    assert_honest(P)


@spmd.property_test(shape=SHAPES, seed=st.integers(0, 99))
def test_restriction_adds_the_columns_that_prolongation_copies(team, shape, seed):
    P, pairing = prolongation(team, shape, seed), random_pairing(shape, seed)
    coarse, fine = whole(P.domain, P.domain.random(1)), whole(P.range, P.forward(P.domain.random(1)))
    i, j = np.indices(shape[:2])
    assert np.array_equal(fine, coarse[pairing.x[i], pairing.y[j]])
    y = P.range.random(2)
    total = np.zeros_like(coarse)
    np.add.at(total, (pairing.x[i], pairing.y[j]), whole(P.range, y))
    np.testing.assert_allclose(whole(P.domain, P.adjoint(y)), total, rtol=1e-13, atol=1e-13)


def test_a_restriction_that_takes_the_mean_is_rejected(team):
    P = prolongation(team, (7, 6, 2))
    assert_rejected(Planted(P, lambda y: 0.25 * P.adjoint(y)))
