"""A network of commercial size on one rank: the time and the most memory of one forward pass, or of one training step.

forward  262 x 118 x 64 cells, 86 time steps, width 10: one activation is 6.3 GiB, and two of them are there at a time.
step     the same cells, 30 time steps: linearisation, loss, adjoint, clipping and Adam. An activation is 2.2 GiB.

Four blocks, modes 16, 16, 12, 10, a head of 128 channels that is worked on tile by tile, float32, random numbers. The memory
is what this process has at most above what it had before the network was made, beside what ``refimpl scaling`` predicts.

example:
    python benchmarks/commercial.py forward
    python benchmarks/commercial.py step
    python benchmarks/commercial.py step --cells 131,59,32 --timesteps 30 --modes 8,8,8,8
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from time import perf_counter, process_time

import numpy as np
from harness import circumstances
from mpi4py import MPI
from threadpoolctl import threadpool_limits

from refimpl.cli.cases import CASES
from refimpl.cli.one_rank import expect_room, resident, training_step
from refimpl.cli.prediction import memory
from refimpl.cli.scaling import whole_numbers
from refimpl.layers.pointwise import gelu_slope

GIB = 2**30
TIMESTEPS = {"forward": 86, "step": 30}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=TIMESTEPS)
    parser.add_argument("--cells", type=whole_numbers, default=(262, 118, 64), help="(default: 262,118,64)")
    parser.add_argument("--timesteps", type=int, help="of the output (default: 86 forward, 30 in a step)")
    parser.add_argument("--modes", type=whole_numbers, default=(16, 16, 12, 10), help="(default: 16,16,12,10)")
    parser.add_argument("--width", type=int, default=10, help="channels of the blocks (default: 10)")
    args = parser.parse_args()
    case = replace(
        CASES["sleipner"],
        cells=args.cells,
        timesteps=args.timesteps or TIMESTEPS[args.what],
        modes=args.modes,
        width=args.width,
        grids=((1, 1, 1),),
    )
    with threadpool_limits(1):
        print(f"## {args.what}: {circumstances(1, ('refimpl', 'numpy', 'mpi4py'))}\n\n{measured(args.what, case)}")


def measured(what: str, case) -> str:
    """One forward pass or training step of the case on this process alone."""
    gelu_slope(np.zeros(1, np.float32))  # loads libraries and makes tables
    before = resident(reset=True)
    model = case.model(MPI.COMM_SELF, (1, 1, 1))
    predicted = getattr(memory(model), what)
    expect_room(predicted, f"{what} of {case.cells} cells and {case.timesteps} time steps")
    x = model.domain.random(1)
    wall, cpu = perf_counter(), process_time()
    if what == "forward":
        model(x)
    else:
        training_step(model)
    wall, cpu = perf_counter() - wall, process_time() - cpu
    activation = 4 * case.width * np.prod(case.cells) * case.timesteps
    return (
        f"{case.cells} cells, {case.timesteps} time steps, width {case.width}, modes {case.modes}, {case.blocks} blocks, "
        f"{model.parameter_count:.1e} parameters, an activation of {activation / GIB:.2f} GiB\n"
        f"{wall:.0f} s ({cpu:.0f} s of CPU), at most {(resident() - before) / GIB:.1f} GiB, predicted {predicted / GIB:.1f} GiB"
    )


if __name__ == "__main__":
    main()
