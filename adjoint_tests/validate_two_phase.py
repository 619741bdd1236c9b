"""Iterations of the two-phase simulator's linear solver in hard rock; a table, and exit code 1 where there are too many.

pressure   conjugate gradients with one multigrid cycle, to 1e-8: at most 20. Seals of one cell every six layers, pierced by a
           feeder, for contrasts of permeability from 1 to 1e8; a vertical fault of one cell, a million times tighter, and
           seven of them along both axes; lognormal rock whose logarithm has the standard deviation 1 or 2; in flat cells
           (50 x 50 x 2 m, the vertical permeability a tenth of the horizontal one), cubes, and tall cells (1 x 1 x 10 m).
rough      the same where no grid of coarse columns fits the rock: the standard deviation 3, up to 40; a fault from corner to
           corner of at most 64^3 cells, up to 65 in tall cells, whose layers hardly help each other. On the whole field
           such a fault takes 35, 64 and 194.
coupled    the most iterations of GMRES, to 3e-3, that a Newton iteration takes in the first three time steps of an injection,
           in all of these rocks and cells, on larger grids in some of them and in the first step: at most 40. The most that was
           seen is 26, for a fault from corner to corner of tall cells; on the whole field 3 and 4.
adjoint    the iterations of GMRES, to 1e-13, for the transposed Jacobians of the same steps: at most 25.

    python adjoint_tests/validate_two_phase.py                   all, some half an hour, by its parts
    python adjoint_tests/validate_two_phase.py --largest 32      cubes of at most 32^3 cells
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain, product

import numpy as np
from hard_rock import (
    CONTRASTS,
    CUBES,
    FLAT,
    TALL,
    Shape,
    adjoint_iterations,
    aslant,
    coupled_iterations,
    cut_up,
    faulted,
    hard_reservoir,
    lognormal,
    pressure_iterations,
    sealed,
)
from threadpoolctl import threadpool_limits
from tqdm import tqdm

CELLS = {"flat": (FLAT, 0.1), "cubic": (CUBES, 1.0), "tall": (TALL, 1.0)}
ROCKS: dict[str, Callable[[Shape], np.ndarray]] = {
    **{f"seals, {contrast:.0e}": partial(sealed, contrast=contrast) for contrast in CONTRASTS},
    "fault": faulted,
    "faults": cut_up,
    "lognormal, 1": partial(lognormal, sigma=1.0),
    "lognormal, 2": partial(lognormal, sigma=2.0),
}
ROUGH: dict[str, tuple[Callable[[Shape], np.ndarray], int]] = {
    "lognormal, 3": (partial(lognormal, sigma=3.0), 40),
    "aslant": (aslant, 65),
}
IN_LARGE = ("seals, 1e+08", "faults", "lognormal, 2")
MOST_OF_PRESSURE, MOST_OF_NEWTON, MOST_OF_ADJOINT = 20, 40, 25
ODD, WHOLE_FIELD = (63, 45, 17), (64, 118, 256)

Row = tuple[str, list[int], int]  # name, iterations in each rock, how many there may be


def pressure(shapes: list[Shape]) -> Iterator[Row]:
    for shape in shapes:
        for cells, (spacing, kv) in CELLS.items():
            counts = [pressure_iterations(rock(shape), spacing, kv) for rock in ROCKS.values()]
            yield f"pressure, {named(shape)}, {cells}", counts, MOST_OF_PRESSURE


def rough(shapes: list[Shape]) -> Iterator[Row]:
    for shape, (name, (rock, most)) in product(shapes, ROUGH.items()):
        if (shape, name) != (WHOLE_FIELD, "aslant"):
            counts = [pressure_iterations(rock(shape), spacing, kv) for spacing, kv in CELLS.values()]
            yield f"{name}, {named(shape)}, {', '.join(CELLS)}", counts, most


def coupled(shapes: list[Shape]) -> Iterator[Row]:
    for shape, (cells, (spacing, kv)) in product(shapes, CELLS.items()):
        counts = [coupled_iterations(hard_reservoir(rock(shape), spacing, kv), 3) for rock in ROCKS.values()]
        yield f"coupled, {named(shape)}, {cells}", counts, MOST_OF_NEWTON
    for shape, (name, (rock, _)) in product(shapes, ROUGH.items()):
        counts = [coupled_iterations(hard_reservoir(rock(shape), spacing, kv), 3) for spacing, kv in CELLS.values()]
        yield f"coupled, {name}, {named(shape)}, {', '.join(CELLS)}", counts, MOST_OF_NEWTON


def coupled_in_large(shapes: list[Shape]) -> Iterator[Row]:
    for shape, (cells, (spacing, kv)) in product(shapes, CELLS.items()):
        if shape != WHOLE_FIELD or cells == "flat":
            counts = [coupled_iterations(hard_reservoir(ROCKS[name](shape), spacing, kv), 1) for name in IN_LARGE]
            yield f"coupled, {', '.join(IN_LARGE)}, {named(shape)}, {cells}", counts, MOST_OF_NEWTON


def adjoint(shapes: list[Shape]) -> Iterator[Row]:
    for shape in shapes:
        for cells in ("flat", "cubic"):
            spacing, kv = CELLS[cells]
            counts = [adjoint_iterations(hard_reservoir(rock(shape), spacing, kv), 3) for rock in ROCKS.values()]
            yield f"adjoint, {named(shape)}, {cells}", counts, MOST_OF_ADJOINT


def named(shape: Shape) -> str:
    return " x ".join(map(str, shape))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--largest", type=int, default=256, help="leave out grids with more cells along any axis")
    args = parser.parse_args()
    fits = lambda shapes: [shape for shape in shapes if max(shape) <= args.largest]
    alone = fits([(16, 16, 16), (32, 32, 32), ODD, (64, 64, 64), WHOLE_FIELD])
    flowing, large = fits([(16, 16, 16), (32, 32, 32)]), fits([(64, 64, 64), WHOLE_FIELD])
    print("| iterations | " + " | ".join(ROCKS) + " | at most |")
    print("|---" * (len(ROCKS) + 2) + "|")
    failed = False
    with threadpool_limits(1):
        parts = chain(pressure(alone), rough(alone), coupled(flowing), coupled_in_large(large), adjoint(flowing))
        rows = tqdm(parts, total=5 * len(alone) + 7 * len(flowing) + 3 * len(large) - 3 * (WHOLE_FIELD in alone))
        for name, counts, most in rows:
            failed |= max(counts) > most
            tqdm.write(f"| {name} | " + " | ".join(map(str, counts)) + f" | {most} |", file=sys.stdout)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
