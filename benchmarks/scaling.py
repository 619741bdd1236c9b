"""Time the Fourier neural operator on one rank and on several in one run: weak and strong scaling, forward + adjoint.

weak    each rank has CELLS of its own. "1 rank / ours" is the parallel efficiency, target 0.95.
strong  CELLS in all. "1 rank / ours" is the speed-up, target 0.85 times the number of ranks.
apart   every rank works on what one rank has, at once and without messages: what the machine leaves of an efficiency of 1,
        since cores share memory, cache and clock. "apart / ours" is what our messages and waiting leave of that.

While one rank works alone, the others sleep.

example:
    mpiexec -n 2 python benchmarks/scaling.py
    mpiexec -n 2 python benchmarks/scaling.py --cells 16,16,16 --timesteps 8
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from harness import Case, Work, circumstances, header, measure, only_on_rank_0
from mpi4py import MPI
from threadpoolctl import threadpool_limits

from refimpl.cli.cases import Case as Network
from refimpl.verify import LoneRank

WEAK, STRONG = 0.95, 0.85  # targets of the efficiency


def cases(comm: MPI.Comm, cells: tuple[int, ...], timesteps: int) -> Iterator[Case]:
    grid, one = (comm.size, *(1 for _ in cells[1:])), (1,) * len(cells)
    modes = (4,) * (len(cells) + 1)
    for weak, target in ((True, WEAK), (False, STRONG * comm.size)):
        network = Network("weak" if weak else "strong", cells, timesteps, modes, (grid,), weak)
        work = {
            f"{comm.size} ranks": forward_and_adjoint(network.model(comm, grid)),
            "1 rank": only_on_rank_0(comm, forward_and_adjoint(network.model(LoneRank(0, 1), one))),
        }
        if weak:
            work["apart"] = forward_and_adjoint(network.model(LoneRank(0, 1), one))
        name = f"{network.name}, {' x '.join(map(str, (*network.cells_on(grid), timesteps)))}, modes {modes}, 4 blocks"
        yield Case(name, work, {"1 rank": target})


def forward_and_adjoint(model: Any) -> Work:
    x, dy = model.domain.random(1), model.range.random(2)

    def work() -> None:
        _, J = model.linearize(x)
        J.adjoint(dy)

    return work


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sizes = lambda text: tuple(map(int, text.split(",")))
    parser.add_argument("--cells", type=sizes, default=(32, 32, 32), help="cells of one rank (default: 32,32,32)")
    parser.add_argument("--timesteps", type=int, default=16, help="(default: 16)")
    parser.add_argument("--rounds", type=int, default=15, help="turns of each contender (default: 15)")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of a turn (default: 1)")
    args = parser.parse_args()
    comm = MPI.COMM_WORLD
    with threadpool_limits(1):
        tables = [
            [*header(case), *measure(comm, [case], args.rounds, args.seconds)]
            for case in cases(comm, args.cells, args.timesteps)
        ]
    if comm.rank == 0:
        told = [f"## Scaling of the Fourier neural operator, float32, {comm.size} ranks", ""]
        told += [circumstances(comm.size, ("refimpl", "numpy", "mpi4py"))]
        print("\n".join([*told, *(line for table in tables for line in ["", *table])]))


if __name__ == "__main__":
    main()
