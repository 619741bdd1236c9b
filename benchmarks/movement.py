"""Time the data movements against their peers: forward and adjoint, in alternating rounds, on the ranks at hand.

HaloExchange  against pylops-mpi's MPIHalo, target 2, and DistDL's, target 2.
Repartition   against mpi4py-fft's Transfer, target 1.5, and DistDL's, target 2.
Collectives   against the same call of plain mpi4py (no target: it checks nothing and makes no array), and DistDL's, target 1.

Where two sides should compute the same numbers, they are compared before they are timed. The votes are on. "copy / ours" is
the share of the bandwidth of np.copyto: one copy of the result of forward and of adjoint, in the same rounds.

example:
    mpiexec -n 2 python benchmarks/movement.py
    DISTDL_SRC=~/distdl mpiexec -n 4 python benchmarks/movement.py --only halo --rounds 31
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator

import numpy as np
import peers
from harness import Case, circumstances, copy_of, header, measure
from mpi4py import MPI

import refimpl as ri

GRIDS = {1: (1, 1), 2: (2, 1), 4: (2, 2)}  # over the first two axes
PACKAGES = ("refimpl", "numpy", "mpi4py", "mpich", "pylops-mpi", "mpi4py-fft", "torch")


def halos(comm: MPI.Comm) -> Iterator[Case]:
    """Blocks of about 4 thousand and 1 million numbers, halos of width 1 on every side."""
    grid = GRIDS[comm.size]
    for d, sides in ((2, (64, 1024)), (3, (16, 96)), (4, (8, 32))):
        for n in sides:
            X = ri.Space(ri.Partition(comm, grid + (1,) * (d - 2)), [n * p for p in grid] + [n] * (d - 2))
            H = ri.HaloExchange(X, [(1, 1)] * d)
            x, y = X.random(1), H.range.random(2, copies="independent")
            others = {
                "MPIHalo": (2.0, lambda H=H, x=x, y=y: peers.mpi_halo(H, x, y), (True, False)),
                "DistDL": (2.0, lambda H=H, x=x, y=y: peers.distdl_halo(H, x, y), (False, True)),
            }
            yield case(comm, f"HaloExchange {d}-D, {n}^{d} a rank", H, x, y, others)


def repartitions(comm: MPI.Comm) -> Iterator[Case]:
    """Axis 0 becomes whole where the last axis was; on four ranks and three axes, axis 1 stays cut."""
    shapes = (
        ((64, 64), "float64"),
        ((1024, 1024), "float64"),
        ((64, 64, 20), "float32"),
        ((64, 64, 64, 20), "float32"),
    )
    for shape, dtype in shapes:
        pencils = comm.size == 4 and len(shape) == 3
        P = ri.Partition(comm, (2, 2) if pencils else (comm.size,))
        middle = (1 if pencils else None,) + (None,) * (len(shape) - 3) if len(shape) > 2 else ()
        T = ri.Repartition(ri.Space(P, shape, dtype, cuts=(0, *middle, None)), P, cuts=(None, *middle, 0))
        x, y = T.domain.random(1), T.range.random(2)
        others = {
            "Transfer": (1.5, lambda T=T, x=x, y=y: peers.transfer(T, x, y), (True, True)),
            "DistDL": (2.0, lambda T=T, x=x, y=y: peers.distdl_repartition(T, x, y), (True, True)),
        }
        yield case(comm, f"Repartition {list(shape)} {dtype}, grid {P.shape}", T, x, y, others)


def collectives(comm: MPI.Comm) -> Iterator[Case]:
    """A whole of one thousand and one million numbers, and equal blocks of it."""
    P, one = ri.Partition(comm, (comm.size,)), ri.Partition(comm, (1,))
    for n in (1024, 1 << 20):
        V, B = ri.Space(one, (n,)), ri.Space(P, (n,))
        W = ri.Space(P, (n,), cuts=(None,))
        operators = (
            ri.Broadcast(V, P),
            ri.SumReduce(W, one),
            ri.AllSumReduce(W, 0),
            ri.AllGather(B, 0),
            ri.ReduceScatter(W, 0, range=B),
        )
        for A in operators:
            kind, x, y = type(A).__name__, A.domain.random(1), A.range.random(2)
            whole, block = W.random(1), B.random(1)
            others = {
                "plain mpi4py": (None, lambda k=kind, w=whole, b=block: peers.plain(comm, k, w, b), (False, False)),
                "DistDL": (1.0, lambda k=kind, x=x, y=y: peers.distdl_collective(k, comm, x, y), (True, True)),
            }
            yield case(comm, f"{kind}, {n} numbers", A, x, y, others)


def case(comm: MPI.Comm, name: str, A: ri.Operator, x: np.ndarray, y: np.ndarray, others: dict) -> Case:
    """One row: (target, the peer's work, whether its forward and its adjoint must be ours) for each peer."""

    def ours() -> tuple[np.ndarray, np.ndarray]:
        return A.forward(x), A.adjoint(y)

    row = Case(name, {"refimpl": ours}, floor=copy_of(*ours()))
    for peer, (target, make, same) in others.items():
        work = peers.attempt(comm, make)
        row.work[peer] = None if isinstance(work, str) else work
        if target:
            row.target[peer] = target
        if not isinstance(work, str):
            compare(comm, f"{name}: {peer}", ours(), work(), same)
        elif "DISTDL_SRC" not in work:
            row.note += f"{peer}: {work}. "
    return row


def compare(comm: MPI.Comm, what: str, ours: tuple, theirs: tuple, same: tuple[bool, bool]) -> None:
    """End the run where two results that should be equal are not, up to round-off."""
    pairs = [(a, b) for a, b, equal in zip(ours, theirs, same, strict=True) if equal and a.size]
    good = all(a.size == b.size and np.allclose(a.ravel(), b.ravel(), rtol=1e-5, atol=1e-6) for a, b in pairs)
    if not comm.allreduce(good, op=MPI.LAND):
        raise SystemExit(f"{what} computes other numbers than refimpl")


GROUPS: dict[str, Callable] = {"halo": halos, "repartition": repartitions, "collectives": collectives}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=GROUPS, help="one of the groups (default: all)")
    parser.add_argument("--rounds", type=int, default=15, help="turns of each contender (default: 15)")
    parser.add_argument("--seconds", type=float, default=0.05, help="length of a turn (default: 0.05)")
    args = parser.parse_args()
    comm = MPI.COMM_WORLD
    if comm.size not in GRIDS:
        raise SystemExit(f"movement.py: expected 1, 2 or 4 ranks, got {comm.size}; start with mpiexec -n 2")
    told = [f"## Data movement, {comm.size} ranks", "", circumstances(comm.size, PACKAGES)]
    told += ["", "DistDL: a checkout by DISTDL_SRC. MPIHalo's adjoint crops the ghosts instead of adding them back."]
    for name in [args.only] if args.only else GROUPS:
        cases = list(GROUPS[name](comm))
        told += ["", *header(cases[0]), *measure(comm, cases, args.rounds, args.seconds)]
    if comm.rank == 0:
        print("\n".join(told))


if __name__ == "__main__":
    main()
