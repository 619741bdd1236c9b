"""Time a step of the Navier-Stokes simulator: cells a second, against jax-cfd and PhiFlow as shipped, and on several ranks.

ab2, rk3   a step of Taylor and Green's vortices on 64^3 cells, periodic, in float64; one rank, one thread. A step of rk3 has
           three stages. Target: 4 million cells a second with ab2.
jax-cfd    its semi-implicit step on as many cells, in float32, of the same flow: van Leer's fluxes, one projection by FFT. Not
           the same scheme, and half the bytes; it is what a user of that package has. Target: 3 times as fast.
PhiFlow    on NumPy, as its examples do it: semi-Lagrangian advection, explicit diffusion, pressure by conjugate gradients to
           1e-5, in float32. On 32^3 cells: its matrix of 64^3 periodic cells overflows 32-bit integers (3.4.0).
ranks      under mpiexec, the same cells cut over the ranks: "1 rank / ours" is the speed-up, target 0.85 times the ranks. While
           one rank works alone, the others sleep.

"copy / ours" is one pass over the velocity: read it, write it.

example:
    python benchmarks/navier_stokes.py
    mpiexec -n 2 python benchmarks/navier_stokes.py
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from math import pi
from time import process_time
from typing import Any

import numpy as np
from harness import Case, Work, circumstances, copy_of, header, measure, only_on_rank_0, version_of
from mpi4py import MPI
from threadpoolctl import threadpool_limits

from solvers.navier_stokes import Flow
from solvers.navier_stokes.simulate import Run

FASTER, EFFICIENCY = 3.0, 0.85


def alone(comm: MPI.Comm, n: int) -> Iterator[Case]:
    for scheme in ("ab2", "rk3"):
        ours = step(comm, n, scheme)
        peer, theirs = jax_cfd(n) if scheme == "ab2" else ("", None)
        work: dict[str, Work | None] = {"refimpl": ours, peer or "jax-cfd": theirs}
        yield Case(f"{scheme}, {n}^3", work, {peer: FASTER} if theirs else {}, copy_of(np.ones((3, n, n, n))))
    peer, theirs = phiflow(n // 2)
    yield Case(f"ab2, {n // 2}^3", {"refimpl": step(comm, n // 2, "ab2"), peer: theirs}, {})


def together(comm: MPI.Comm, n: int) -> Iterator[Case]:
    for scheme in ("ab2", "rk3"):
        work = {
            f"{comm.size} ranks": step(comm, n, scheme),
            "1 rank": only_on_rank_0(comm, step(MPI.COMM_SELF, n, scheme)),
        }
        yield Case(f"{scheme}, {n}^3", work, {"1 rank": EFFICIENCY * comm.size})


def step(comm: MPI.Comm, n: int, scheme: str) -> Work:
    """A step as a run makes it, with its look at the stability."""
    flow = Flow((n,) * 3, (2 * pi,) * 3, 0.001, 1e-2, steps=1, initial="taylor-green", scheme=scheme)
    return Run(flow, comm).step


def vortices(xp: Any) -> tuple[Callable, Callable, Callable]:
    """Taylor and Green's velocity of (x, y, z), in the functions of ``xp``."""
    return (
        lambda x, y, z: xp.sin(x) * xp.cos(y) * xp.cos(z),
        lambda x, y, z: -xp.cos(x) * xp.sin(y) * xp.cos(z),
        lambda x, y, z: 0 * z,
    )


def jax_cfd(n: int) -> tuple[str, Work | None]:
    """The peer's name, and its step where it is installed."""
    try:
        import jax
        import jax_cfd.base as cfd
    except ImportError:
        return "jax-cfd", None
    grid = cfd.grids.Grid((n,) * 3, domain=((0, 2 * pi),) * 3)
    v = cfd.initial_conditions.initial_velocity_field(vortices(jax.numpy), grid)
    move = jax.jit(cfd.equations.semi_implicit_navier_stokes(density=1.0, viscosity=0.001, dt=1e-2, grid=grid))

    def work() -> None:
        jax.block_until_ready([u.array.data for u in move(v)])

    return f"jax-cfd {version_of('jax-cfd')}", work


def phiflow(n: int) -> tuple[str, Work | None]:
    """The peer's name, and its step where it is installed."""
    try:
        from phi import flow
    except ImportError:
        return "PhiFlow", None
    u = vortices(flow.math)
    start = lambda x: flow.vec(**{a: f(*x.vector) for a, f in zip("xyz", u, strict=True)})
    box = flow.Box(x=2 * pi, y=2 * pi, z=2 * pi)
    v = flow.StaggeredGrid(start, flow.extrapolation.PERIODIC, x=n, y=n, z=n, bounds=box)

    def work() -> None:
        moved = flow.diffuse.explicit(flow.advect.semi_lagrangian(v, v, 1e-2), 0.001, 1e-2)
        flow.fluid.make_incompressible(moved, (), flow.Solve("CG", 1e-5, rank_deficiency=1))

    return f"PhiFlow {version_of('phiflow')}", work


def rate(comm: MPI.Comm, n: int) -> str:
    """Cells a second and rank, by the median of ten steps."""
    lines = []
    for scheme in ("ab2", "rk3"):
        work, times = step(comm, n, scheme), []
        for _ in range(11):
            start = process_time()
            work()
            times.append(process_time() - start)
        lines.append(
            f"{scheme}: {n**3 / comm.size / np.median(times[1:]) / 1e6:.1f} million cells a CPU second and rank"
        )
    return "; ".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=64, help="along each of three axes (default: 64)")
    parser.add_argument("--rounds", type=int, default=15, help="turns of each contender (default: 15)")
    parser.add_argument("--seconds", type=float, default=0.5, help="length of a turn (default: 0.5)")
    args = parser.parse_args()
    comm = MPI.COMM_WORLD
    with threadpool_limits(1):
        cases = list((alone if comm.size == 1 else together)(comm, args.cells))
        table = [*header(cases[0]), *measure(comm, cases, args.rounds, args.seconds)]
        rates = rate(comm, args.cells)
    if comm.rank == 0:
        told = [f"## Navier-Stokes, float64, {comm.size} rank{'s' * (comm.size > 1)}, one thread each", ""]
        told += [
            circumstances(comm.size, ("refimpl", "numpy", "scipy", "jax", "jax-cfd", "phiflow")),
            "",
            *table,
            "",
            rates,
        ]
        print("\n".join(told))


if __name__ == "__main__":
    main()
