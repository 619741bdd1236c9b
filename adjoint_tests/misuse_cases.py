"""Wrong calls, each of which must be the same clear error on all ranks: for the suite, and for benchmarks/misuse.py.

A case is a function of the communicator, made by all ranks together, and a part of the text that it must raise. ``odd`` is the
one rank, the last, that does something else than the others. At least two ranks; none of them may hang.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import refimpl as ri
from refimpl import layers, models


@dataclass(frozen=True)
class Misuse:
    """A wrong call. ``says``: a part of the text of the error."""

    name: str
    call: Callable[[Any], Any]
    says: str


def odd(comm):
    return comm.rank == comm.size - 1


def line(comm, n=None, dtype="float64"):
    """A vector of two numbers a rank, or of n."""
    return ri.Space(ri.Partition(comm, (comm.size,)), (2 * comm.size if n is None else n,), dtype)


def copies(comm, n=3):
    """The same vector on every rank."""
    return ri.Space(ri.Partition(comm, (comm.size,)), (n,), cuts=(None,))


def plane(comm):
    """A plane cut along its first axis."""
    return ri.Space(ri.Partition(comm, (comm.size, 1)), (2 * comm.size, 3))


def image(comm):
    """(batch, channels, height, width) cut along its height."""
    return ri.Space(ri.Partition(comm, (1, 1, comm.size, 1)), (2, 4, 4 * comm.size, 5))


def halo(comm, **options):
    return ri.HaloExchange(line(comm, **options), [(1, 1)])


def on(comm, ranks, shape=(1,)):
    return ri.Partition(comm, shape, ranks=ranks)


def vector(*shape, dtype="float64"):
    return np.zeros(shape, dtype)


def given(comm, wrong, A=halo):
    """A forward in which every rank gives ``wrong``."""
    return A(comm).forward(wrong)


def given_by_odd(comm, wrong, A=halo):
    """A forward in which one rank gives ``wrong``, and the others what is right."""
    operator = A(comm)
    return operator.forward(wrong if odd(comm) else operator.domain.zeros())


def with_wrong_parameter(comm):
    F = layers.Linear(image(comm), 3)
    F.parameters["W"] = vector(1, 1)
    return F(F.domain.zeros())


def without_a_parameter(comm):
    F = layers.Linear(image(comm), 3)
    return F.load_state({"W": vector(3, 4)} if comm.rank == 0 else None)


def wrong_weights(comm):
    F = layers.Linear(image(comm), 3, bias=False)
    return F.load_state({"W": vector(4, 3)} if comm.rank == 0 else None)


def swapped(comm):
    """Two operators, on one rank in the other order."""
    X = line(comm)
    for A in (ri.HaloExchange(X, [(1, 1)]), ri.AllGather(X, 0))[:: -1 if odd(comm) else 1]:
        A.forward(X.zeros())


def left_out(comm):
    """One rank leaves out a call and goes on to the next."""
    X = copies(comm)
    if not odd(comm):
        ri.AllSumReduce(X, 0).forward(X.zeros())
    return X.norm(X.zeros())


def forward_or_adjoint(comm):
    A = ri.Shift(line(comm), (1,))
    return (A.adjoint if odd(comm) else A.forward)(A.domain.zeros())


def inactive(comm):
    X = ri.Space(ri.Partition(comm, (1,)), (2,))
    return ri.HaloExchange(X, [(1, 1)]).forward(vector(2))


def elsewhere(comm):
    """A partition of another communicator."""
    return ri.Partition(comm.Dup() if comm.size > 1 else comm, (comm.size,))


SHAPE = [
    Misuse("block of a wrong size", lambda c: given(c, vector(3)), "expected float64[2], got float64[3]"),
    Misuse(
        "block of a wrong size on one rank", lambda c: given_by_odd(c, vector(3)), "expected float64[2], got float64[3]"
    ),
    Misuse("block with an axis too many", lambda c: given(c, vector(2, 1)), "got float64[2, 1]"),
    Misuse("whole array instead of a block", lambda c: given(c, vector(2 * c.size)), "expected float64[2], got"),
    Misuse("empty block on one rank", lambda c: given_by_odd(c, vector(0)), "got float64[0]"),
    Misuse(
        "adjoint given a block without ghosts",
        lambda c: halo(c).adjoint(vector(2)),
        "expected float64[4], got float64[2]",
    ),
    Misuse("transposed block", lambda c: given(c, vector(3, 2), lambda c: ri.Identity(plane(c))), "got float64[3, 2]"),
    Misuse("inactive rank gives a block", inactive, "expected float64[0], got float64[2]"),
    Misuse(
        "copies of different lengths",
        lambda c: given(c, vector(3 + odd(c)), lambda c: ri.AllSumReduce(copies(c), 0)),
        "[4]",
    ),
    Misuse("list instead of an array", lambda c: given(c, [0.0, 0.0]), "got list"),
    Misuse("None on one rank", lambda c: given_by_odd(c, None), "got NoneType"),
    Misuse(
        "inner product with another space", lambda c: line(c).inner(vector(2), vector(2 + odd(c))), "got float64[3]"
    ),
    Misuse("scatter of a wrong shape", lambda c: line(c).scatter(vector(1) if c.rank == 0 else None), "got float64[1]"),
    Misuse("scatter of nothing", lambda c: line(c).scatter(None), "got NoneType"),
]

DTYPE = [
    Misuse("float32 for float64", lambda c: given(c, vector(2, dtype="float32")), "got float32[2]"),
    Misuse("float32 on one rank", lambda c: given_by_odd(c, vector(2, dtype="float32")), "got float32[2]"),
    Misuse("integers", lambda c: given(c, vector(2, dtype="int64")), "got int64[2]"),
    Misuse("complex for real", lambda c: given(c, vector(2, dtype="complex128")), "got complex128[2]"),
    Misuse("objects", lambda c: given(c, vector(2, dtype=object)), "got object[2]"),
    Misuse("a space of integers", lambda c: line(c, dtype="int32"), "a dtype of float32"),
    Misuse("a dtype that NumPy has not", lambda c: line(c, dtype="bfloat16"), "expected a dtype of float32"),
    Misuse("complex factor of a real map", lambda c: 1j * halo(c), "takes a real factor"),
]

PARTITION = [
    Misuse("grid of more ranks than there are", lambda c: ri.Partition(c, (c.size, 2)), "start with mpiexec -n"),
    Misuse("grid with a zero", lambda c: ri.Partition(c, (c.size, 0)), "must be >= 1"),
    Misuse("a rank named twice", lambda c: on(c, [0, 0], (2,)), "different ranks"),
    Misuse("a rank that does not exist", lambda c: on(c, [c.size]), "must lie in 0.."),
    Misuse("more grid axes than tensor axes", lambda c: ri.Space(ri.Partition(c, (1, c.size)), (4,)), "say cuts="),
    Misuse(
        "one grid axis cuts two axes",
        lambda c: ri.Space(ri.Partition(c, (c.size,)), (4, 4), cuts=(0, 0)),
        "at most once",
    ),
    Misuse(
        "blocks for another grid",
        lambda c: ri.Space(ri.Partition(c, (c.size,)), (4,), blocks={0: [(0, 4)]}),
        "blocks (start",
    ),
    Misuse(
        "repartition of 2-D to 3-D",
        lambda c: ri.Repartition(plane(c), ri.Partition(c, (c.size, 1, 1))),
        "more axes than",
    ),
    Misuse(
        "repartition to another communicator", lambda c: ri.Repartition(line(c), elsewhere(c)), "on one communicator"
    ),
    Misuse(
        "broadcast between unlike grids",
        lambda c: ri.Broadcast(plane(c), ri.Partition(c, (1, c.size))),
        "cannot be broadcast to",
    ),
    Misuse("sum of blocks, not copies", lambda c: ri.SumReduce(line(c), on(c, [0])), "cut the tensor"),
    Misuse("gathering copies", lambda c: ri.AllGather(copies(c), 0), "hold copies"),
    Misuse("scattering blocks, not copies", lambda c: ri.ReduceScatter(line(c), 0), "must hold copies"),
    Misuse("all-reduce of unequal blocks", lambda c: ri.AllSumReduce(line(c, 2 * c.size + 1), 0), "of equal shape"),
    Misuse("grid axis that does not exist", lambda c: ri.AllGather(line(c), 1), "must name different axes"),
    Misuse("gather to a rank that does not exist", lambda c: ri.Gather(line(c), root=c.size), "must lie in 0.."),
    Misuse("scatter from several ranks", lambda c: ri.Scatter(line(c), on(c, [0])), "a space on one rank"),
]

ARGUMENTS = [
    Misuse("halo widths for too few axes", lambda c: ri.HaloExchange(plane(c), [(1, 1)]), "widths for each of 2 axes"),
    Misuse("halo of half an index", lambda c: ri.HaloExchange(line(c), [(0, 0.5)]), "expected (left, right)"),
    Misuse("unknown boundary", lambda c: ri.HaloExchange(line(c), [(1, 1)], "mirror"), "boundary="),
    Misuse(
        "periodic halo wider than the tensor", lambda c: ri.HaloExchange(line(c), [(99, 0)], "periodic"), "at most n = "
    ),
    Misuse("halo of a tensor that has one", lambda c: ri.HaloExchange(halo(c).range, [(1, 1)]), "must hold each of"),
    Misuse("composition of maps that do not fit", lambda c: halo(c) @ halo(c), "is not the range"),
    Misuse("sum of maps that do not fit", lambda c: halo(c) + ri.Identity(line(c)), "expected the same spaces"),
    Misuse("matrix of a large map", lambda c: ri.Identity(line(c, 5000)).matrix(), "use smaller spaces"),
    Misuse("restriction to outside", lambda c: ri.Restriction(line(c), [(0, 99)]), "must lie in a tensor"),
    Misuse("negative padding", lambda c: ri.Padding(line(c), [(-1, 0)]), "expected widths >= 0"),
    Misuse("no permutation", lambda c: ri.Transpose(plane(c), (0, 0)), "a permutation"),
    Misuse("linear layer over a cut axis", lambda c: layers.Linear(line(c), 2, axis=0), "it must be whole"),
    Misuse("kernel larger than the image", lambda c: layers.Convolution(image(c), 2, 99), "does not fit into"),
    Misuse("groups that do not divide", lambda c: layers.Convolution(image(c), 2, 3, groups=3), "groups that divide"),
    Misuse("parameter of a wrong shape", with_wrong_parameter, "block W on rank 0: expected float64[3, 4]"),
    Misuse("weights without the bias", without_a_parameter, "expected parameters ['W', 'b'], got ['W']"),
    Misuse("weights of a wrong shape", wrong_weights, "expected float64[3, 4] on rank 0, got float64[4, 3]"),
    Misuse("more modes than the grid has", lambda c: models.FNO(image(c), width=4, modes=(99, 2), blocks=1), "modes"),
]

DIFFERENT = [
    Misuse(
        "halo widths that differ", lambda c: ri.HaloExchange(line(c), [(1, 1 + odd(c))]).forward(vector(2)), "same call"
    ),
    Misuse(
        "boundaries that differ",
        lambda c: ri.Shift(line(c), (1,), "periodic" if odd(c) else "zero").forward(vector(2)),
        "same call",
    ),
    Misuse("steps that differ", lambda c: ri.Shift(line(c), (1 + odd(c),)).forward(vector(2)), "same call"),
    Misuse("global sizes that differ", lambda c: halo(c, n=2 * c.size + odd(c)).forward(vector(2)), "same call"),
    Misuse(
        "dtypes of the space that differ",
        lambda c: line(c, dtype="float32" if odd(c) else "float64").norm(vector(2)),
        "same call",
    ),
    Misuse(
        "ranks in another order",
        lambda c: ri.AllGather(
            ri.Space(on(c, range(c.size)[:: -1 if odd(c) else 1], (c.size,)), (2 * c.size,)), 0
        ).forward(vector(2)),
        "same call",
    ),
    Misuse(
        "targets that differ", lambda c: ri.Repartition(line(c), on(c, [int(odd(c))])).forward(vector(2)), "same call"
    ),
    Misuse("roots that differ", lambda c: ri.Gather(line(c), root=int(odd(c))).forward(vector(2)), "same call"),
    Misuse(
        "grid axes that differ",
        lambda c: ri.AllSumReduce(copies(c), () if odd(c) else 0).forward(vector(3)),
        "same call",
    ),
    Misuse("strides that differ", lambda c: layers.AvgPool(image(c), 2, 2 - odd(c))(image(c).zeros()), "same call"),
    Misuse("layers that differ", lambda c: (layers.GELU if odd(c) else layers.ReLU)(line(c))(vector(2)), "same call"),
    Misuse("factors that differ", lambda c: ((2.0 + odd(c)) * halo(c)).forward(vector(2)), "same call"),
]

ORDER = [
    Misuse("adjoint on one rank, forward on the others", forward_or_adjoint, "same call"),
    Misuse("two operators in another order", swapped, "same call"),
    Misuse("a call left out on one rank", left_out, "same call"),
    Misuse(
        "norm on one rank, gather on the others",
        lambda c: (line(c).norm if odd(c) else line(c).gather)(vector(2)),
        "same call",
    ),
    Misuse(
        "scatter on one rank, norm on the others",
        lambda c: line(c).scatter(None) if odd(c) else line(c).norm(vector(2)),
        "same call",
    ),
    Misuse(
        "value on one rank, linearization on the others",
        lambda c: (layers.GELU(line(c)) if odd(c) else layers.GELU(line(c)).linearize)(vector(2)),
        "same call",
    ),
]

GROUPS = {
    "shape": SHAPE,
    "dtype": DTYPE,
    "partition and rank count": PARTITION,
    "arguments": ARGUMENTS,
    "different arguments on different ranks": DIFFERENT,
    "order of calls": ORDER,
}
CASES = [case for group in GROUPS.values() for case in group]


# ---- what no vote can tell, as one rank never comes to it: told in the table, and not tested -------------------------------


def refused_on_one_rank(comm):
    """A constructor sends nothing, so only the rank with the wrong argument raises; the others wait for it in forward."""
    return ri.HaloExchange(line(comm), [] if odd(comm) else [(1, 1)]).forward(vector(2))


def leaves_on_one_rank(comm):
    if odd(comm):
        raise RuntimeError("this rank has a problem of its own")
    return halo(comm).forward(vector(2))


def unchecked_on_one_rank(comm):
    """The others vote; this one has already sent its messages and gone on."""
    if not odd(comm):
        return halo(comm).forward(vector(2))
    with ri.unchecked():
        return halo(comm).forward(vector(2))


UNSEEN = [
    Misuse("constructor that refuses on one rank alone", refused_on_one_rank, ""),
    Misuse("a rank that raises between two calls", leaves_on_one_rank, ""),
    Misuse("votes switched off on one rank alone", unchecked_on_one_rank, ""),
]


# ---- calls that look wrong and are right: memory that is not contiguous, or empty ----------------------------------------


def same_as_contiguous(comm, change):
    """A forward of ``change(x)``, the same numbers in other memory, gives what that of x gives."""
    A = ri.HaloExchange(plane(comm), [(1, 1), (1, 0)])
    x = A.domain.random(1)
    return np.array_equal(A.forward(change(x)), A.forward(x))


def all_reduce_of_fortran_order(comm):
    X = ri.Space(ri.Partition(comm, (comm.size,)), (2, 3), cuts=(None, None))
    x = X.random(1)
    return np.allclose(ri.AllSumReduce(X, 0).forward(np.asfortranarray(x)), comm.size * x)


def more_ranks_than_indices(comm):
    T = ri.Repartition(line(comm, 1), on(comm, [comm.size - 1]))
    return T.forward(T.domain.zeros() + 5).sum() == 5 * odd(comm)


def fewer_ranks_in_the_grid(comm):
    X = ri.Space(ri.Partition(comm, (1,)), (3,), cuts=(None,))
    return ri.AllSumReduce(X, 0).forward(X.zeros() + 1).sum() == 3 * (comm.rank == 0)


def wide_halo(comm):
    H = ri.HaloExchange(line(comm, comm.size), [(comm.size, 0)])
    return H.forward(H.domain.zeros() + 1).sum() == comm.rank + 1


def uneven_gather(comm):
    n = 2 * comm.size + 1
    x = line(comm, n).random(1)
    return np.array_equal(ri.AllGather(line(comm, n), 0).forward(x), ri.Space(on(comm, [comm.rank]), (n,)).random(1))


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


RIGHT = {
    "Fortran order": lambda c: same_as_contiguous(c, np.asfortranarray),
    "reversed memory": lambda c: same_as_contiguous(c, lambda x: x[::-1].copy()[::-1]),
    "every second number of a buffer": lambda c: same_as_contiguous(c, lambda x: np.repeat(x, 2, axis=1)[:, ::2]),
    "memory that is read-only": lambda c: same_as_contiguous(c, read_only),
    "all-reduce of Fortran order": all_reduce_of_fortran_order,
    "empty blocks: more ranks than indices": more_ranks_than_indices,
    "a grid of fewer ranks than there are": fewer_ranks_in_the_grid,
    "halo wider than a block": wide_halo,
    "gathering blocks of unequal sizes": uneven_gather,
}


def usable(comm):
    """True where the communicator still does what it should."""
    A = ri.AllGather(line(comm), 0)
    return np.array_equal(A.forward(A.domain.zeros() + comm.rank), np.repeat(np.arange(comm.size), 2))
