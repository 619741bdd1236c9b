"""CO2 in a whole field, on one core: the time of one pressure solve, or the time and the most memory of one injection.

pressure   64 x 118 x 256 cells (1.9 million) with seals of one cell, a million times tighter: conjugate gradients with one
           multigrid cycle to 1e-8, set-up included. Target: 15 s of CPU time.
injection  64 x 64 x 64 cells (262,144) of lognormal rock between aquifers, to the first ten report times, at least a step to
           each, the states kept in memory. Target: at most 6 GiB, of the whole process.

example:
    python benchmarks/whole_field.py pressure
    python benchmarks/whole_field.py injection
    python benchmarks/whole_field.py injection --shape 128 118 64
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from time import process_time

import numpy as np
from against_flow import injection
from harness import circumstances
from threadpoolctl import threadpool_limits

from refimpl import wire
from refimpl.cli.one_rank import resident
from solvers.two_phase import simulate
from solvers.two_phase.stencil import to_csr

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "adjoint_tests"))
from hard_rock import FLAT, hard_reservoir, pressure_coefficients, sealed, solve_pressure, source_and_sink

SHAPES = {"pressure": (64, 118, 256), "injection": (64, 64, 64)}
REPORTS, CONTRAST = 10, 1e6


def pressure(shape: tuple[int, int, int]) -> str:
    C = pressure_coefficients(hard_reservoir(sealed(shape, CONTRAST), FLAT))
    A, b = to_csr(C), source_and_sink(shape)
    start = process_time()
    p, iterations = solve_pressure(C, A, b)
    seconds = process_time() - start
    left = np.linalg.norm(b - A @ p) / np.linalg.norm(b)
    return f"{iterations} iterations, {seconds:.1f} s of CPU time, a residual of {left:.1e}"


def run(shape: tuple[int, int, int]) -> str:
    case = injection(shape)
    case = replace(case, times=case.times[:REPORTS])
    start = process_time()
    result = simulate(case)
    seconds, newton = process_time() - start, result.newton_iterations
    return (
        f"{len(result.steps)} steps, {newton} Newton iterations, {result.linear_iterations} linear ones, "
        f"{seconds:.0f} s of CPU time, {1e6 * seconds / newton / np.prod(shape):.1f} us a cell and Newton iteration, "
        f"at most {resident() / 2**30:.2f} GiB"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=SHAPES)
    parser.add_argument("--shape", type=int, nargs=3, help="cells along x, y, z (default: 64 118 256, and 64 64 64)")
    args = parser.parse_args()
    shape = tuple(args.shape or SHAPES[args.what])
    with threadpool_limits(1), wire.unchecked():
        told = {"pressure": pressure, "injection": run}[args.what](shape)
    print(f"## CO2, {args.what}, {' x '.join(map(str, shape))} cells, float64, one thread")
    print(f"{circumstances(1, ('refimpl', 'numpy', 'scipy'))}\n\n{told}")


if __name__ == "__main__":
    main()
