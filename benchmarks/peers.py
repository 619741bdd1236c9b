"""The peers' side of each movement: their forward, then what they call its adjoint or backward, on the same data.

Each function gives a callable that returns (forward, adjoint) as arrays of this rank, so that they can be compared with ours.

pylops-mpi   MPIHalo. Its adjoint crops the ghosts, and does not add them back to their owners: less work than an adjoint.
mpi4py-fft   Transfer, an Alltoallw of subarray types into arrays that exist; its way back is the adjoint of a permutation.
mpi4py       One collective of the same data into arrays that exist: no adjoint pair, no check, no new memory.
DistDL       From a checkout at DISTDL_SRC: layers of torch and its autograd. NumPy names that it still uses are given back.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
from mpi4py import MPI

import refimpl as ri

Pair = Callable[[], tuple[np.ndarray, np.ndarray]]


def attempt(comm: MPI.Comm, make: Callable[[], Pair]) -> Pair | str:
    """The peer's work, after a first call; or why it cannot be done, on all ranks alike."""
    problem, work = "", None
    try:
        work = make()
        work()
    except Exception as error:
        problem = f"{type(error).__name__}: {error}".splitlines()[0]
    problems = [p for p in comm.allgather(problem) if p]
    return problems[0] if problems else work


def mpi_halo(H: ri.HaloExchange, x: np.ndarray, y: np.ndarray) -> Pair:
    """pylops-mpi's halo of the same widths, on equal blocks."""
    from pylops_mpi import DistributedArray
    from pylops_mpi.basicoperators import MPIHalo

    X = H.domain
    widths = tuple(w for row in H.widths for w in row[0])
    A = MPIHalo(X.shape, widths, X.partition.shape, comm=X.comm, dtype=X.dtype)
    sizes = X.comm.allgather(x.size), X.comm.allgather(y.size)
    X_, Y_ = (DistributedArray(int(sum(s)), base_comm=X.comm, local_shapes=s, dtype=X.dtype) for s in sizes)
    X_[:], Y_[:] = x.ravel(), y.ravel()
    return lambda: (A.matvec(X_).local_array, A.rmatvec(Y_).local_array)


def transfer(T: ri.Repartition, x: np.ndarray, y: np.ndarray) -> Pair:
    """mpi4py-fft's redistribution between two aligned pencils: axis 0 becomes whole where axis -1 was."""
    from mpi4py_fft.pencil import Pencil, Subcomm

    X = T.domain
    cut = [0 if c else 1 for c in X.cuts]
    pencil = Pencil(Subcomm(X.comm, cut), X.shape, X.ndim - 1)
    plan = pencil.transfer(pencil.pencil(0), X.dtype)
    forward, back = np.empty_like(y), np.empty_like(x)

    def work() -> tuple[np.ndarray, np.ndarray]:
        plan.forward(x, forward)
        plan.backward(y, back)
        return forward, back

    return work


# ---- plain mpi4py ------------------------------------------------------------------------------------------------------


def plain(comm: MPI.Comm, kind: str, whole: np.ndarray, block: np.ndarray) -> Pair:
    """A collective and the one that is its adjoint, of a ``whole`` and a ``block`` of it."""
    a, b, c = np.empty_like(whole), np.empty_like(whole), np.empty_like(block)

    def bcast() -> np.ndarray:
        if comm.rank == 0:
            np.copyto(a, whole)
        comm.Bcast(a)
        return a

    def reduce() -> np.ndarray:
        comm.Reduce(whole, b)
        return b

    def all_reduce() -> np.ndarray:
        comm.Allreduce(whole, a)
        return a

    def all_gather() -> np.ndarray:
        comm.Allgather(block, a)
        return a

    def reduce_scatter() -> np.ndarray:
        comm.Reduce_scatter_block(whole, c)
        return c

    pairs = {
        "Broadcast": (bcast, reduce),
        "SumReduce": (reduce, bcast),
        "AllSumReduce": (all_reduce, all_reduce),
        "AllGather": (all_gather, reduce_scatter),
        "ReduceScatter": (reduce_scatter, all_gather),
    }
    forward, adjoint = pairs[kind]
    return lambda: (forward(), adjoint())


# ---- DistDL ------------------------------------------------------------------------------------------------------------


FILES = {
    "Broadcast": "broadcast",
    "SumReduce": "sum_reduce",
    "AllSumReduce": "all_sum_reduce",
    "AllGather": "all_gather",
    "ReduceScatter": "reduce_scatter",
}


def checkout(variable: str, package: str) -> None:
    """Put the package's checkout, which an environment variable names, first on the path. ImportError where there is none."""
    source = os.environ.get(variable)
    if not source:
        raise ImportError(f"{variable} names no checkout")
    folders = [f for f in (source, os.path.join(source, "src")) if os.path.isdir(os.path.join(f, package))]
    if not folders:
        raise ImportError(f"no package {package} in {source}")
    if folders[0] not in sys.path:
        sys.path.insert(0, folders[0])


def distdl() -> Any:
    """The package from DISTDL_SRC with its NumPy back end. ImportError where there is none."""
    checkout("DISTDL_SRC", "distdl")
    for name, kind in (("int", int), ("bool", bool), ("float", float), ("bool8", np.bool_)):
        if not hasattr(np, name):
            setattr(np, name, kind)
    import distdl
    import torch

    torch.set_num_threads(1)
    try:
        from distdl.config import set_backend

        set_backend(backend_comm="mpi", backend_array="numpy")
    except ImportError:
        pass  # the first DistDL has one back end
    return distdl


def distdl_grid(comm: MPI.Comm, shape: tuple[int, ...], ranks: tuple[int, ...] | None = None) -> Any:
    """A Cartesian partition of DistDL."""
    distdl()
    try:
        from distdl.backends.common.partition import MPIPartition
    except ImportError:
        from distdl.backends.mpi.partition import MPIPartition

    chosen = np.arange(prod(shape)) if ranks is None else np.array(ranks)
    return MPIPartition(comm).create_partition_inclusive(chosen).create_cartesian_topology_partition(list(shape))


def layer_pair(layer: Callable, x: np.ndarray, y: np.ndarray, pad: list[int] | None = None) -> Pair:
    """The layer's forward on x and its autograd on y; with ``pad``, x is padded first, as the halo layer expects."""
    import torch

    tx = torch.from_numpy(x.copy()).requires_grad_(True)
    ty = torch.from_numpy(y.copy())

    def work() -> tuple[np.ndarray, np.ndarray]:
        out = layer(torch.nn.functional.pad(tx, pad) if pad else tx)
        (dx,) = torch.autograd.grad(out, tx, ty.reshape(out.shape))
        return out.detach().numpy(), dx.detach().numpy()

    return work


def distdl_halo(H: ri.HaloExchange, x: np.ndarray, y: np.ndarray) -> Pair:
    """DistDL's halo exchange; ghosts outside the domain are padded on both sides, and no message."""
    P = distdl_grid(H.domain.comm, H.domain.partition.shape)
    from distdl.nn.halo_exchange import HaloExchange

    widths = np.array([row[0] for row in H.widths])
    inner = np.zeros_like(widths)
    for axis, (place, count) in enumerate(zip(H.domain.partition.coords, H.domain.partition.shape, strict=True)):
        inner[axis] = widths[axis] * [place > 0, place < count - 1]
    shape = [n + left + right for n, (left, right) in zip(x.shape, inner, strict=True)]
    pad = [int(w) for pair in inner[::-1] for w in pair]  # no ghost outside: their slices count from the array's end
    y = y[tuple(slice(w - i, w - i + n) for (w, _), (i, _), n in zip(widths, inner, shape, strict=True))]
    return layer_pair(HaloExchange(P, inner, inner, inner), x, y, pad)


def distdl_repartition(T: ri.Repartition, x: np.ndarray, y: np.ndarray) -> Pair:
    """DistDL's repartition between two grids."""
    X, Y = T.domain, T.range
    grids = [tuple(prod(Z.partition.shape[g] for g in cut) for cut in Z.cuts) for Z in (X, Y)]
    P_x, P_y = (distdl_grid(X.comm, grid, ranks_along(Z)) for grid, Z in zip(grids, (X, Y), strict=True))
    from distdl.nn.repartition import Repartition

    return layer_pair(Repartition(P_x, P_y), x, y)


def ranks_along(Z: ri.Space) -> tuple[int, ...]:
    """The ranks in the order of their blocks, the last tensor axis fastest: of a grid all of whose axes cut."""
    order = [g for cut in Z.cuts for g in cut]
    return tuple(np.arange(Z.partition.size).reshape(Z.partition.shape).transpose(order).ravel().tolist())


def distdl_collective(kind: str, comm: MPI.Comm, x: np.ndarray, y: np.ndarray) -> Pair:
    """The collective of this name on a grid of one axis."""
    from importlib import import_module

    P, one = distdl_grid(comm, (comm.size,)), distdl_grid(comm, (1,))
    make = getattr(import_module(f"distdl.nn.{FILES[kind]}"), kind)
    partitions = {"Broadcast": (one, P), "SumReduce": (P, one)}.get(kind, (P, (0,)))
    return layer_pair(make(*partitions), x, y)
