"""What every operator must be, as assertions that the tests of several operators share."""

from importlib import import_module
from importlib.util import find_spec

import numpy as np
import pytest

import refimpl as ri
from refimpl import verify, wire
from refimpl.arrays import contiguous, fresh, library, namespace, to_host
from refimpl.operator import Operator
from refimpl.verify.dot_test import small_integers

# one two-dimensional grid for each size of a team
GRIDS = {1: (1, 1), 2: (2, 1), 3: (1, 3), 4: (2, 2), 5: (5, 1), 6: (3, 2), 7: (1, 7), 8: (2, 4)}


def whole(X, x):
    """The global array of ``x``, on every rank."""
    return wire.share(X.comm, X.gather(x))


def read_at(n, start, stop, boundary):
    """The indices of 0..n-1 that are read at start..stop-1, and where there is one."""
    index = np.arange(start, stop)
    if boundary == "periodic":
        index = index % max(n, 1)
    if boundary == "reflect":
        index = (n - 1) - np.abs((n - 1) - np.abs(index))
    return index, (index >= 0) & (index < n)


def cut(array, box, boundary="zero"):
    """The box of a global array; what lies outside is zero, comes round from the other side, or is mirrored."""
    for axis, (start, stop) in enumerate(box):
        n = array.shape[axis]
        index, inside = read_at(n, start, stop, boundary)
        shape = [len(index) if i == axis else m for i, m in enumerate(array.shape)]
        block = np.zeros(shape, array.dtype)
        at = (slice(None),) * axis
        if n:
            block[(*at, inside)] = array[(*at, index[inside])]
        array = block
    return array


def assembled(Y, y, boundary="zero"):
    """The global array, on every rank, to which every block of every rank is *added* in its place."""
    total = np.zeros(Y.shape, Y.dtype)
    blocks = wire.pool(Y.comm, to_host(y))
    for rank, box in Y.boxes.items():
        read = [read_at(n, start, stop, boundary) for n, (start, stop) in zip(Y.shape, box, strict=True)]
        inside = [ok for _, ok in read]
        places = [i[ok] for i, ok in read]
        np.add.at(total, np.ix_(*places), blocks[rank][np.ix_(*inside)])
    return total


def assert_exact_adjoint(A, seed=0):
    """<A x, y> == <x, A* y> on small integers, independent in every copy: no round-off, so no tolerance."""
    test = verify.dot_test(A, seed, exact=True)
    assert test, str(test)


def assert_adjoint(A, seed=0, chain=1):
    """<A x, y> and <x, A* y> differ by round-off only."""
    test = verify.dot_test(A, seed, chain=chain)
    assert test, str(test)


def assert_copies(A, seed=0, boundary="zero"):
    """A gives every rank its box of the one global array; A* adds every box up and gives every rank its own."""
    x, y = small_integers(A.domain, seed), small_integers(A.range, seed + 1)
    assert np.array_equal(A.forward(x), cut(whole(A.domain, x), A.range.local_box, boundary))
    assert np.array_equal(A.adjoint(y), cut(assembled(A.range, y, boundary), A.domain.local_box))


def assert_honest(A, seed=0):
    """A and A* send what they predict, vote once, leave their argument alone, whatever its memory, and give a fresh block."""
    for B in (A, A.H):
        block = B.domain.random(seed, copies="independent")
        before = fresh(block)
        with ri.counting() as count:
            result = B.forward(block)
        assert count.total == B.traffic().forward and count.votes == 1
        assert np.array_equal(block, before)
        assert_block_of(B.range, result)
        assert not shares_memory(result, block)
        assert_overlaps(B, block, result)
        with ri.unchecked(), ri.counting() as silent:
            for other_memory in (reversed_and_strided(block), columns_first(block)):
                assert np.array_equal(B.forward(other_memory), result)
        assert silent.votes == 0


def assert_overlaps(A, x, y):
    """Two passes that are begun before either is finished give what one after the other gives."""
    first, second = A.start(x), A.start(2 * x)
    assert np.array_equal(A.finish(first), y) and np.array_equal(A.finish(second), A.forward(2 * x))


def assert_block_of(X, block):
    """``block`` has the library, the dtype and the shape of a block of ``X``."""
    assert X.problem(block, "result") is None


def shares_memory(a, b):
    return np.shares_memory(to_host(a), to_host(b))


def reversed_and_strided(block):
    """The same numbers in memory that has gaps and runs backwards (in torch's, which cannot, forwards)."""
    step = 2 if library(block) == "torch" else -2
    view = namespace(block).zeros(tuple(2 * n for n in block.shape), dtype=block.dtype)
    view = view[(slice(None, None, step),) * block.ndim]
    view[...] = block
    return view


def columns_first(block):
    """The same numbers in Fortran's order."""
    xp, axes = namespace(block), tuple(range(block.ndim))[::-1]
    return xp.permute_dims(contiguous(xp.permute_dims(block, axes)), axes)


class Planted(Operator):
    """``A`` with another adjoint: a deliberate fault, which the tests must find."""

    def __init__(self, A, adjoint):
        self.domain, self.range, self.norm_bound = A.domain, A.range, A.norm_bound
        self.forward, self.adjoint = A.forward, adjoint


def assert_rejected(A, seed=0):
    """The dot test, exact and with its tolerance, and the explicit matrix all find the fault in A.adjoint."""
    assert not verify.dot_test(A, seed, exact=True)
    assert not verify.dot_test(A, seed, chain=8)
    with pytest.raises(ArithmeticError, match="the conjugate transpose has"):
        verify.matrix(A)


def same_text(team, call, kind=ValueError):
    """The text of the exception of ``call()``, which must be raised by all ranks, the same."""
    with pytest.raises(kind) as caught:
        call()
    texts = wire.pool(team, str(caught.value))
    assert len(set(texts)) == 1
    return texts[0]


def library_or_skip(team, name):
    """A module that need not be installed; all ranks skip where a rank has none."""
    if not all(wire.pool(team, find_spec(name) is not None)):
        pytest.skip(f"{name} is not installed", allow_module_level=True)
    return import_module(name)


def relative(a, b):
    """max |a - b| / max |b|, in float64; infinite where it is not a number."""
    a, b = to_host(a), to_host(b)
    gap, size = (float(np.max(np.abs(c), initial=0)) for c in (a - b, b))
    return gap / max(size, 1e-300) if np.isfinite(gap) else np.inf


def assert_derivative_is_honest(F, seed=0, x=None):
    """J* is the adjoint of J, both send what they predict, F(x) is the value of F.linearize(x), no argument is changed, and its
    memory does not matter."""
    x, dy = F.domain.random(seed) if x is None else x, F.range.random(seed + 1, copies="independent")
    kept = fresh(x), fresh(dy), {name: fresh(p) for name, p in F.parameters.items()}
    y, J = F.linearize(x)
    assert np.array_equal(F(x), y)
    assert_block_of(F.range, y)
    assert not shares_memory(x, y)
    assert_adjoint(J, seed, chain=8)
    with ri.counting() as count:
        dx, gradients = J.adjoint(dy)
    assert count.total == J.traffic().adjoint and count.votes == 1
    with ri.counting() as count:
        dy_again = J.forward(dx, gradients)
    assert count.total == J.traffic().forward and count.votes == 1
    assert_block_of(J.domain, (dx, gradients))
    assert_block_of(F.range, dy_again)
    with ri.unchecked():
        assert_near(F.range, F(reversed_and_strided(x)), y)
        assert_near(J.domain["x"], J.adjoint(reversed_and_strided(dy))[0], dx)
    assert np.array_equal(x, kept[0]) and np.array_equal(dy, kept[1])
    assert all(np.array_equal(p, kept[2][name]) for name, p in F.parameters.items())


def assert_near(X, a, b):
    """Two blocks of ``X`` differ by round-off, in relation to all of ``b``."""
    gap, allowed = np.max(np.abs(to_host(a - b)), initial=0), 64 * np.finfo(X.dtype).eps * X.norm(b)
    assert gap <= allowed, f"gap {gap:.1e}, allowed {allowed:.1e}"


def assert_close(space, mine, expected, factor=64.0):
    """The distributed ``mine`` is the global ``expected`` up to round-off of its dtype, relative to the largest entry."""
    gap, eps = relative(whole(space, mine), expected), np.finfo(space.dtype).eps
    assert gap <= factor * eps, f"relative gap {gap:.1e}, allowed {factor * eps:.1e}"
