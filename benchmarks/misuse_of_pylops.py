"""The wrong calls of adjoint_tests/misuse_cases.py as a user of pylops-mpi would make them, by the same names.

Each returns, where it raises nothing, whether this rank's answer is right. A name that is missing has no counterpart there.
"""

from __future__ import annotations

import numpy as np
from mpi4py import MPI
from pylops_mpi import DistributedArray, MPIFirstDerivative, Partition
from pylops_mpi.basicoperators import MPIHalo

C = MPI.COMM_WORLD
P, LAST = C.size, C.size - 1
ODD = C.rank == LAST


def vector(*sizes, dtype="float64", fill=None, **options):
    """A distributed vector of two numbers a rank, or of ``sizes``; filled with 1, 2, .. by global index."""
    sizes = sizes or (2,) * P
    x = DistributedArray(sum(sizes), local_shapes=list(sizes), dtype=dtype, **options)
    begin = sum(sizes[: C.rank])
    x[:] = np.arange(begin + 1, begin + 1 + sizes[C.rank]) if fill is None else fill
    return x


def halo(width=1, n=None, **options):
    return MPIHalo((n or 2 * P,), (width, width), **options)


def extended(scale=1.0):
    """What a halo of width 1 of ``vector()`` should be here."""
    whole = np.concatenate([[0], np.arange(1, 2 * P + 1), [0]])
    return scale * whole[2 * C.rank : 2 * C.rank + 4]


def is_halo(y, scale=1.0):
    return np.array_equal(y.local_array, extended(scale))


def plane(**options):
    x = DistributedArray((2 * P, 3), **options)
    x[:] = np.arange(6).reshape(2, 3) + 6 * C.rank
    return x


def transposed():
    x, H = vector(*(6,) * P), MPIHalo((2 * P, 3), (1, 1, 0, 0), (P, 1))
    block = np.arange(6.0).reshape(2, 3)
    x[:] = block.T.ravel()
    return bool(np.array_equal(H.matvec(x).local_array.reshape(4, 3)[1:-1], block))


def broadcast_of_different_lengths():
    x = DistributedArray(3 + ODD, partition=Partition.BROADCAST)
    x[:] = np.ones(3 + ODD)
    return False


def complex_for_real():
    y = halo().matvec(vector(dtype="complex128", fill=1j))
    return bool(np.any(y.local_array.imag != 0))


def swapped():
    x, H = vector(), halo()
    calls = [lambda: H.matvec(x), lambda: x.norm()]
    for call in calls[:: -1 if ODD else 1]:
        call()
    return True


def left_out():
    x, H = vector(), halo()
    if not ODD:
        H.matvec(x)
    return bool(np.isclose(x.norm(), np.linalg.norm(np.arange(1, 2 * P + 1))))


def forward_or_adjoint():
    H, x = halo(), vector()
    y = vector(*(4,) * P)
    return is_halo(H.matvec(x)) if not ODD else H.rmatvec(y).local_array.size == 2


def different_axes():
    x = plane(axis=0)
    y = x.redistribute(1 if ODD else 0)
    return y.local_shape == x.local_shape


def different_dtypes():
    H = halo(dtype="float32" if ODD else "float64")
    return is_halo(H.matvec(vector(dtype="float32" if ODD else "float64")))


def unequal_sum():
    sizes = (2,) * (P - 1)
    return (vector(*sizes, 3) + vector(3, *sizes)).local_shape == (2,)


def different_factors():
    return is_halo(((2.0 + ODD) * halo()).matvec(vector()), 2.0)


def different_strides():
    x = vector(*(4,) * P)
    D = MPIFirstDerivative((4 * P,), sampling=2.0 - ODD)
    return bool(np.allclose(D.matvec(x).local_array[1:-1], 0.5))


def refused_on_one_rank():
    return is_halo(MPIHalo((2 * P,), (1, 1, 1) if ODD else (1, 1)).matvec(vector()))


def leaves_on_one_rank():
    if ODD:
        raise RuntimeError("this rank has a problem of its own")
    return is_halo(halo().matvec(vector()))


def gathered(x, expected):
    return bool(np.array_equal(x.asarray(), expected))


def fortran_gather():
    x = DistributedArray((2 * P, 3), local_array=np.asfortranarray(np.arange(6.0).reshape(2, 3) + 6 * C.rank))
    return gathered(x, np.arange(6.0 * P).reshape(2 * P, 3))


def strided_gather():
    x = DistributedArray((2 * P, 3), local_array=(np.arange(12.0).reshape(2, 6) + 12 * C.rank)[:, ::2])
    return gathered(x, np.arange(12.0 * P).reshape(2 * P, 6)[:, ::2])


def reversed_gather():
    x = DistributedArray(2 * P, local_array=np.arange(2.0)[::-1] + 2 * C.rank)
    return gathered(x, (np.arange(2.0 * P).reshape(P, 2)[:, ::-1]).ravel())


def read_only_gather():
    block = np.arange(2.0) + 2 * C.rank
    block.flags.writeable = False
    return gathered(DistributedArray(2 * P, local_array=block), np.arange(2.0 * P))


CALLS = {
    "block of a wrong size": lambda: is_halo(halo().matvec(vector(*(3,) * P))),
    "block of a wrong size on one rank": lambda: is_halo(halo().matvec(vector(*(2,) * (P - 1), 3))),
    "block with an axis too many": lambda: is_halo(halo().matvec(DistributedArray((2 * P, 1)))),
    "whole array instead of a block": lambda: is_halo(
        halo().matvec(DistributedArray(2 * P, partition=Partition.BROADCAST))
    ),
    "empty block on one rank": lambda: is_halo(halo().matvec(vector(*(2,) * (P - 1), 0))),
    "adjoint given a block without ghosts": lambda: halo().rmatvec(vector()).local_array.size == 2,
    "transposed block": transposed,
    "copies of different lengths": broadcast_of_different_lengths,
    "list instead of an array": lambda: is_halo(halo().matvec([0.0] * 2 * P)),
    "None on one rank": lambda: is_halo(halo().matvec(None if ODD else vector())),
    "inner product with another space": lambda: vector().dot(vector(*(2,) * (P - 1), 3)) is None,
    "scatter of a wrong shape": lambda: (
        DistributedArray.to_dist(np.ones(1 if C.rank == 0 else 2 * P)).local_shape == (2,)
    ),
    "scatter of nothing": lambda: DistributedArray.to_dist(None) is None,
    "float32 for float64": lambda: is_halo(halo().matvec(vector(dtype="float32"))),
    "float32 on one rank": lambda: is_halo(halo().matvec(vector(dtype="float32" if ODD else "float64"))),
    "integers": lambda: is_halo(halo().matvec(vector(dtype="int64"))),
    "complex for real": complex_for_real,
    "objects": lambda: is_halo(halo().matvec(vector(dtype=object))),
    "a space of integers": lambda: is_halo(halo(dtype="int32").matvec(vector(dtype="int32"))),
    "a dtype that NumPy has not": lambda: vector(dtype="bfloat16") is None,
    "complex factor of a real map": lambda: is_halo((1j * halo()).matvec(vector()), 1j),
    "grid of more ranks than there are": lambda: MPIHalo((8, 8), 1, (P, 2)) is None,
    "grid with a zero": lambda: MPIHalo((8, 8), 1, (P, 0)) is None,
    "more grid axes than tensor axes": lambda: MPIHalo((4,), 1, (1, P)) is None,
    "blocks for another grid": lambda: DistributedArray(4, local_shapes=[4]) is None,
    "repartition of 2-D to 3-D": lambda: plane().redistribute(5) is None,
    "repartition to another communicator": lambda: is_halo(halo().matvec(DistributedArray(2, base_comm=MPI.COMM_SELF))),
    "sum of blocks, not copies": lambda: (vector() + DistributedArray(2 * P, partition=Partition.BROADCAST)) is None,
    "gathering copies": lambda: gathered(
        DistributedArray(2, partition=Partition.BROADCAST, local_array=np.ones(2)), np.ones(2)
    ),
    "all-reduce of unequal blocks": unequal_sum,
    "grid axis that does not exist": lambda: DistributedArray(4, axis=1) is None,
    "halo widths for too few axes": lambda: MPIHalo((2 * P, 3), (1, 1, 1), (P, 1)) is None,
    "halo of half an index": lambda: MPIHalo((2 * P,), (0.5, 0.5)).matvec(vector()) is None,
    "periodic halo wider than the tensor": lambda: MPIHalo((2 * P,), (9, 9)) is None,
    "halo of a tensor that has one": lambda: halo().matvec(halo().matvec(vector())) is None,
    "composition of maps that do not fit": lambda: (halo() @ halo()).matvec(vector()) is None,
    "sum of maps that do not fit": lambda: (halo() + halo(0)).matvec(vector()) is None,
    "negative padding": lambda: MPIHalo((2 * P,), (-1, 0)) is None,
    "halo widths that differ": lambda: is_halo(halo(1 + ODD).matvec(vector())),
    "global sizes that differ": lambda: is_halo(halo(n=2 * P + ODD).matvec(vector())),
    "dtypes of the space that differ": different_dtypes,
    "targets that differ": different_axes,
    "grid axes that differ": lambda: gathered(
        DistributedArray((P, P), axis=int(ODD), local_array=np.ones((P, 1) if ODD else (1, P))), np.ones((P, P))
    ),
    "strides that differ": different_strides,
    "factors that differ": different_factors,
    "adjoint on one rank, forward on the others": forward_or_adjoint,
    "two operators in another order": swapped,
    "a call left out on one rank": left_out,
    "norm on one rank, gather on the others": lambda: (
        vector().norm() > 0 if ODD else gathered(vector(), np.arange(1, 2 * P + 1))
    ),
    "scatter on one rank, norm on the others": lambda: (
        DistributedArray.to_dist(np.ones(2 * P)).local_shape == (2,)
        if ODD
        else bool(np.isclose(vector().norm(), np.linalg.norm(np.arange(1, 2 * P + 1))))
    ),
    "value on one rank, linearization on the others": lambda: (
        np.isclose(vector().norm(1), P * (2 * P + 1))
        if ODD
        else np.isclose(vector().norm(2), np.linalg.norm(np.arange(1, 2 * P + 1)))
    ),
    "constructor that refuses on one rank alone": refused_on_one_rank,
    "a rank that raises between two calls": leaves_on_one_rank,
    "Fortran order": fortran_gather,
    "reversed memory": reversed_gather,
    "every second number of a buffer": strided_gather,
    "memory that is read-only": read_only_gather,
    "empty blocks: more ranks than indices": lambda: (
        halo(0, 1).matvec(vector(*[1] + [0] * (P - 1))).local_array.size == (C.rank == 0)
    ),
    "halo wider than a block": lambda: MPIHalo((P,), (P, P)) is None,
    "gathering blocks of unequal sizes": lambda: gathered(vector(*(2,) * (P - 1), 3), np.arange(1, 2 * P + 2)),
}
