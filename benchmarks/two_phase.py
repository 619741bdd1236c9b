"""Time the CO2 simulator: its pressure solve against pyamg, runs against OPM Flow, a Newton iteration, that on several ranks.

pressure   conjugate gradients with one multigrid cycle to 1e-8, set-up included, in sand with seals of one cell, a million
           times tighter; one rank, one thread. Target: twice as fast as pyamg.
pyamg      the classical method (Ruge and Stueben), as shipped, inside conjugate gradients. It is the better of its methods
           here: smoothed aggregation took 93 times our time (version 5.4.1, 3 rounds). "copy / ours" is one pass over the
           memory of the matrix, seven numbers a cell: read it, write it. Nine iterations and the set-up take 220 of them.
OPM Flow   two injections into lognormal rock between aquifers, 23 steps in a year and a half, by the same equations, to the
           same tolerances of Newton's method and of the linear solver, on one thread: CPU time for a cell in a Newton
           iteration, all of a run divided by its iterations. Flow with each of two linear solvers, less the time in which it
           reads the deck; ours with all set-up. Below, how far the two solutions differ. Target: at most 4 times Flow's.
Newton     one iteration, assembly and linear solve, as a step of an injection makes it. Told is the CPU time for a cell.
adjoint    of the first of these injections, from the gradient by all frames to those by the first state, rock and rates: its
           CPU time over that of ``simulate``, with all states kept, and with every fifth. Target: at most 1, all kept.
ranks      under mpiexec, the same iteration with the columns cut over the ranks: "1 rank / ours" is the speed-up, target 0.75
           times the ranks. While one rank works alone, the others sleep.

example:
    python benchmarks/two_phase.py
    mpiexec -n 2 python benchmarks/two_phase.py
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
from against_flow import SHAPES, against_flow, injection
from harness import Case, Work, circumstances, copy_of, header, measure, only_on_rank_0, version_of
from mpi4py import MPI
from threadpoolctl import threadpool_limits

from refimpl import Partition, wire
from solvers.two_phase import History, StepControl, hydrostatic, simulate, steps_of
from solvers.two_phase.assembly import Assembly
from solvers.two_phase.blocks import grid_of
from solvers.two_phase.simulate import March
from solvers.two_phase.stencil import to_csr

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "adjoint_tests"))
from hard_rock import FLAT, hard_reservoir, pressure_coefficients, sealed, solve_pressure, source_and_sink

FASTER, EFFICIENCY, CONTRAST, TOLERANCE = 2.0, 0.75, 1e6, 1e-8
MOST_OF_ADJOINT = 1.0
DAYS = 86400.0 * np.array([1.0, 5.0])


def pressure(n: int) -> Iterator[Case]:
    C = pressure_coefficients(hard_reservoir(sealed((n, n, n), CONTRAST), FLAT))
    A, b = to_csr(C), source_and_sink((n, n, n))
    peer, theirs = pyamg(A, b)
    work: dict[str, Work | None] = {"refimpl": lambda: solve_pressure(C, A, b), peer: theirs}
    yield Case(f"pressure, {n}^3", work, {peer: FASTER} if theirs else {}, copy_of(C))


def pyamg(A: object, b: np.ndarray) -> tuple[str, Work | None]:
    """The peer's name, and its solve where it is installed."""
    try:
        import pyamg
    except ImportError:
        return "pyamg", None

    def work() -> None:
        pyamg.ruge_stuben_solver(A).solve(b, tol=TOLERANCE, accel="cg", maxiter=200)

    return f"pyamg {version_of('pyamg')}", work


def newton(partition: Partition | None, shape: tuple[int, int, int]) -> Work:
    """A Newton iteration in the second step of an injection."""
    reservoir = hard_reservoir(sealed(shape, CONTRAST), FLAT)
    assembly = Assembly(reservoir, partition)
    march = March(assembly, StepControl(first=DAYS[0]), assembly.pack(hydrostatic(reservoir)))
    march.to(DAYS[0])
    x = march.x

    def work() -> None:
        R, jacobian = assembly.linearize(x, x, DAYS[1])
        march.linear.solve(jacobian, -R)

    return work


def together(comm: MPI.Comm, shape: tuple[int, int, int]) -> Iterator[Case]:
    lone = newton(None, shape) if comm.rank == 0 else lambda: None
    ours = newton(Partition(comm, grid_of(comm.size, shape)), shape)
    work = {f"{comm.size} ranks": ours, "1 rank": only_on_rank_0(comm, lone)}
    yield Case(f"Newton, {' x '.join(map(str, shape))}", work, {"1 rank": EFFICIENCY * comm.size})


def cost(shape: tuple[int, int, int]) -> str:
    """CPU time of a cell in a Newton iteration, by the median of five."""
    work, times = newton(None, shape), []
    for _ in range(6):
        start = process_time()
        work()
        times.append(process_time() - start)
    median = np.median(times[1:])
    return f"Newton, {' x '.join(map(str, shape))}: {1e6 * median / np.prod(shape):.1f} us of CPU time a cell and iteration"


def cost_of_adjoint() -> str:
    """Of a run's adjoint, all states kept or every fifth."""
    case = replace(injection(SHAPES[0]), control=StepControl(first=np.inf))
    run, result = timed(lambda: simulate(case))
    ratios = []
    for every in (1, 5):
        H = History(case.reservoir, result.steps, steps_of(result), every=every)
        _, J = H.linearize(H.block_of(case.initial))
        ratios.append(timed(lambda J=J, H=H: J.adjoint(H.range.random(1)))[0] / run)
    name = f"adjoint of {len(result.steps)} steps, {' x '.join(map(str, case.shape))}"
    verdict = f"(at most {MOST_OF_ADJOINT:g}: {'met' if ratios[0] <= MOST_OF_ADJOINT else 'missed'})"
    return f"{name}: **{ratios[0]:.2f}** times the CPU time of the run {verdict}; with every fifth state kept {ratios[1]:.2f}"


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """The CPU time of a call, s, and its result."""
    start = process_time()
    result = work()
    return process_time() - start, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=64, help="along each axis of the pressure solve (default: 64)")
    parser.add_argument("--shape", type=int, nargs=3, default=(64, 64, 32), help="of Newton's grid (default: 64 64 32)")
    parser.add_argument("--rounds", type=int, default=9, help="turns of each contender (default: 9)")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of a turn (default: 1)")
    parser.add_argument("--runs", type=int, default=5, help="of each contender against OPM Flow (default: 5)")
    args = parser.parse_args()
    comm, shape = MPI.COMM_WORLD, tuple(args.shape)
    with threadpool_limits(1), wire.unchecked():
        cases = list(pressure(args.cells) if comm.size == 1 else together(comm, shape))
        table = [*header(cases[0]), *measure(comm, cases, args.rounds, args.seconds)]
        told = ["\n".join(against_flow(args.runs)), "", cost(shape), "", cost_of_adjoint()] if comm.size == 1 else []
    if comm.rank == 0:
        lines = [f"## CO2 and brine, float64, {comm.size} rank{'s' * (comm.size > 1)}, one thread each", ""]
        lines += [circumstances(comm.size, ("refimpl", "numpy", "scipy", "pyamg")), "", *table, "", *told]
        print("\n".join(lines))


if __name__ == "__main__":
    main()
