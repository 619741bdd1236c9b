"""Small-scope exhaustion: every data movement on *every* small case, matrix for matrix, without a tolerance.

Claim        Most faults of such code show in a small case. So beside random cases stand all small ones: sides 0..4 in one and
             two dimensions, every grid of up to 6 ranks, every axis set, every boundary, widths 0..5.
Proof        In each case M = E and M* = E^T, entry by entry, where E is a matrix of 0 and 1 that this file defines from global
             indices and places in the grid, without the operators. So M* = M^T, and no pair of equal errors can hide.
Batch        A data movement acts alike along a leading tensor axis that no grid axis cuts. Where that axis is as long as there
             are unit vectors, *one* forward moves them all, and entry k of the result is column k. A case takes one forward
             and one adjoint, and each rank compares its own rows with those of E and E^T: the proof itself sends no message.
Layout       Which rank holds which box follows here from ``ri.blocks`` and the order of ``np.ndindex``; an operator's range
             must have the boxes that the definition says.
Two axes     All pairs of widths on two axes are 1296 a grid, shape and boundary. So there (left, right) is any pair on one
             axis, and (0, 0), (1, 1) or (5, 5) on the other, both ways round.
Grids        Of three axes, up to 6 ranks have those of two axes and an axis of 1 only; the broadcasts take them all the same.

    make exhaust            all of it; the suite takes a part, drawn once for all (test_small_scope.py)
"""

import argparse
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, combinations_with_replacement, islice, permutations, product
from math import prod
from random import Random

import numpy as np
from strategies import all_grids
from tqdm import tqdm

import refimpl as ri
from refimpl import wire
from refimpl.movement.memory import Add, Allocate, Clear, Copy, Move
from refimpl.verify import spmd

SIDES = range(5)
WIDTHS = range(6)
STEPS = {1: range(-5, 6), 2: range(-3, 4)}
BOUNDARIES = ("zero", "periodic", "reflect")
BATCH = 100  # cases that end in one verdict of all ranks


# ---- layouts: who holds what -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Layout:
    """A tensor on a grid of ranks: grid axes ``cuts[i]`` cut tensor axis i into the blocks ``rows[i]``."""

    shape: tuple
    grid: tuple
    cuts: tuple
    ranks: tuple
    rows: tuple

    @staticmethod
    def of(shape, grid, cuts=None, ranks=None, rows=None):
        """Without ``cuts``, grid axis i cuts tensor axis i; without ``rows``, blocks are balanced."""
        cuts = tuple((g,) for g in range(len(grid))) if cuts is None else cuts
        parts = [prod(grid[g] for g in cut) for cut in cuts]
        balanced = [ri.blocks(n, p) for n, p in zip(shape, parts, strict=True)]
        return Layout(tuple(shape), grid, cuts, ranks or tuple(range(prod(grid))), tuple(map(tuple, rows or balanced)))

    @cached_property
    def places(self):
        """Rank -> its coordinates in the grid."""
        return dict(zip(self.ranks, np.ndindex(*self.grid), strict=True))

    @cached_property
    def boxes(self):
        """Rank -> (start, stop) along each axis."""
        return {
            rank: tuple(self._block(axis, place) for axis in range(len(self.shape)))
            for rank, place in self.places.items()
        }

    def _block(self, axis, place):
        numbers = list(np.ndindex(*(self.grid[g] for g in self.cuts[axis])))
        return self.rows[axis][numbers.index(tuple(place[g] for g in self.cuts[axis]))]

    @cached_property
    def copy_axes(self):
        return [g for g in range(len(self.grid)) if not any(g in cut for cut in self.cuts)]

    @cached_property
    def size(self):
        return sum(map(volume, self.boxes.values()))

    def axes_but(self, axes):
        return [g for g in range(len(self.grid)) if g not in axes]

    def agree(self, q, p, axes):
        """Whether ranks q and p have the same coordinates on ``axes`` of the grid."""
        return all(self.places[q][g] == self.places[p][g] for g in axes)

    def partition(self, comm):
        return ri.Partition(comm, self.grid, self.ranks)

    def space(self, comm, lead):
        """The space of ``lead`` such tensors, one behind the other."""
        rows = {axis + 1: row for axis, row in enumerate(self.rows)}
        return ri.Space(self.partition(comm), (lead, *self.shape), "float32", cuts=(None, *self.cuts), blocks=rows)

    def __repr__(self):
        return f"{list(self.shape)} cut by {self.cuts} of {self.grid} on {self.ranks}"


def volume(box):
    return prod(stop - start for start, stop in box)


# ---- the proof of one case -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """An operator V -> W (W -> V where ``turned``, with the transposed matrix), and its definition.

    W's index j is copied from V's index ``source(axis, j)``, on the ranks p from which rank q ``reads``.
    """

    name: str
    V: Layout
    W: Layout
    build: Callable  # from the space of V (turned: of W), with the leading axis
    reads: Callable = lambda q, p: True
    source: Callable = lambda axis, j: j
    turned: bool = False
    by_place: bool = False  # indices count from the start of each block
    detail: str = ""

    def __repr__(self):
        return f"{self.name} {self.detail}: {self.V} -> {self.W}"

    def operator(self, comm, lead):
        return self.build((self.W if self.turned else self.V).space(comm, lead))

    def entries(self, q, p):
        """E between rank q of W and rank p of V."""
        E = np.full((1, 1), self.reads(q, p))
        for axis, sides in enumerate(zip(self.W.boxes[q], self.V.boxes[p], strict=True)):
            rows, columns = [(0, b - a) for a, b in sides] if self.by_place else sides
            sources = np.array([self.source(axis, j) for j in range(*rows)], int)
            along = sources[:, None] == np.arange(*columns)
            E = (E[:, None, :, None] & along[:, None, :]).reshape(np.multiply(E.shape, along.shape))
        return E

    def matrices(self, comm):
        """This rank's rows of M and of M*, by one forward and one adjoint; None where it has none."""
        V, W, me = self.V, self.W, comm.rank
        lead = max(V.size, W.size, 1)
        A = self.operator(comm, lead)
        expected = (V if self.turned else W).boxes
        assert A.range.boxes == {rank: ((0, lead), *box) for rank, box in expected.items()}
        A = A.H if self.turned else A
        return columns(A.forward(units(V, me, lead)), V, W, me), columns(A.adjoint(units(W, me, lead)), W, V, me)

    def prove(self, comm):
        """M = E and M* = E^T on this rank's rows, and the range has the boxes of the definition."""
        me, (M, M_adjoint) = comm.rank, self.matrices(comm)
        if me in self.W.boxes:
            same(M, np.hstack([self.entries(me, p) for p in sorted(self.V.boxes)]), "matrix")
        if me in self.V.boxes:
            same(M_adjoint, np.vstack([self.entries(q, me) for q in sorted(self.W.boxes)]).T, "adjoint's matrix")


def units(V, me, lead):
    """This rank's part of all unit vectors of V, along the leading axis."""
    if me not in V.boxes:
        return np.zeros([0] * (1 + len(V.shape)), "float32")
    before = sum(volume(box) for rank, box in V.boxes.items() if rank < me)
    block = np.eye(lead, volume(V.boxes[me]), -before, dtype="float32")
    return block.reshape(lead, *(stop - start for start, stop in V.boxes[me]))


def columns(result, V, W, me):
    """This rank's rows of the matrix V -> W whose columns lie along the leading axis of ``result``."""
    if me not in W.boxes:
        return None
    assert not np.any(result[V.size :])
    return result.reshape(len(result), -1)[: V.size].T


def same(M, E, what):
    assert np.array_equal(M, E), f"rows of the {what}:\n{M.astype(int)}\nby definition:\n{E.astype(int)}"


# ---- the definitions: each operator as a case ------------------------------------------------------------------------


def broadcast_and_sum(shape, cuts, grid, new_grid):
    """From ``grid`` to ``new_grid``, whose axes, aligned on the right, are the same or were 1; and the sum back."""
    new = len(new_grid) - len(grid)
    kept = [g for g, p in enumerate(grid) if p == new_grid[g + new]]
    V = Layout.of(shape, grid, cuts)
    W = Layout.of(shape, new_grid, tuple(tuple(g + new for g in cut if g in kept) for cut in cuts))
    reads = lambda q, p: all(W.places[q][g + new] == V.places[p][g] for g in kept)
    yield Case("Broadcast", V, W, lambda X: ri.Broadcast(X, W.partition(X.comm)), reads)
    yield Case("SumReduce", V, W, lambda Y: ri.SumReduce(Y, V.partition(Y.comm)), reads, turned=True)


def all_sum(V, axes):
    """Every rank of a group along ``axes`` reads from all, number by number; so the blocks must be of one shape."""
    others = V.axes_but(axes)
    if all(len({b - a for a, b in row}) == 1 for row, cut in zip(V.rows, V.cuts, strict=True) if set(cut) & set(axes)):
        reads = lambda q, p: V.agree(q, p, others)
        yield Case(
            "AllSumReduce", V, V, lambda X: ri.AllSumReduce(X, axes), reads, by_place=True, detail=f"over {axes}"
        )


def gather_and_scatter(V, axes):
    """Every rank of a group along ``axes`` reads from all; of the grid axes that cut an axis, only the last can be gathered."""
    left = tuple(tuple(g for g in cut if g not in axes) for cut in V.cuts)
    copies = any(V.grid[g] > 1 for g in axes if g in V.copy_axes)
    if copies or any(cut[: len(rest)] != rest for cut, rest in zip(V.cuts, left, strict=True)):
        return
    W, others = Layout.of(V.shape, V.grid, left, rows=map(merged, V.rows, V.cuts, left, [V.grid] * 2)), V.axes_but(axes)
    reads = lambda q, p: V.agree(q, p, others)
    yield Case("AllGather", V, W, lambda X: ri.AllGather(X, axes), reads, detail=f"over {axes}")
    scatter = lambda Y: ri.ReduceScatter(Y, axes, range=V.space(Y.comm, Y.shape[0]))
    if set(axes) <= set(W.copy_axes):
        yield Case("ReduceScatter", V, W, scatter, reads, turned=True, detail=f"over {axes}")


def merged(row, cut, rest, grid):
    """Blocks of a row joined to as many as the grid axes ``rest`` cut."""
    step = len(row) // prod(grid[g] for g in rest)
    return [(row[k][0], row[k + step - 1][1]) for k in range(0, len(row), step)]


def moves(name, V, W, build):
    """Every index is read from the rank that has it; where several do, from the one at the reader's own place of the copies."""

    def reads(q, p):
        own = V.places.get(q, (0,) * len(V.grid))
        return all(V.places[p][g] == own[g] for g in V.copy_axes)

    yield Case(name, V, W, build, reads)


def repartition(V, W):
    yield from moves("Repartition", V, W, lambda X: ri.Repartition(X, W.partition(X.comm), (None, *W.cuts)))


def transpose(V, axes):
    W = Layout.of(V.shape, V.grid, tuple(tuple(axes[g] for g in cut) for cut in V.cuts))
    yield from moves("Transpose", V, W, lambda X: ri.Transpose(X, axes))


def scatter_and_gather(V, root):
    """From all ranks of V to one, and back."""
    W = Layout.of(V.shape, (1,) * len(V.grid), V.cuts, (root,))
    yield from moves("Gather", V, W, lambda X: ri.Gather(X, root))
    yield from moves("Scatter", W, V, lambda X: ri.Scatter(X, V.partition(X.comm), (None, *V.cuts)))


def halo(V, widths, boundary):
    """Blocks grown by (left, right), empty ones excepted. Periodic: by n at most; reflected: by n - 1 beyond the ends."""
    grown = lambda a, b, l, r: (a - l, max(b + r, a - l)) if a < b else (a, b)
    rows = [[grown(*block, *pair) for block in row] for row, pair in zip(V.rows, widths, strict=True)]
    far = [a < b and (a <= -n or b >= 2 * n) for n, row in zip(V.shape, rows, strict=True) for a, b in row]
    wide = [w > n for n, pair in zip(V.shape, widths, strict=True) for w in pair]
    if any({"zero": [], "periodic": wide, "reflect": far}[boundary]):
        return
    W = Layout.of(V.shape, V.grid, V.cuts, rows=rows)
    reads = lambda q, p: V.agree(q, p, V.copy_axes)
    build = lambda X: ri.HaloExchange(X, [(0, 0), *widths], boundary)
    source = lambda axis, j: fold(j, V.shape[axis], boundary)
    yield Case(f"HaloExchange, {boundary}", V, W, build, reads, source, detail=f"by {widths}")


def fold(j, n, boundary):
    """Which index is read at j; where that is outside [0, n), none."""
    if boundary == "periodic":
        return j % n
    return min(abs(j), 2 * (n - 1) - j, key=abs) if boundary == "reflect" and not 0 <= j < n else j


def padding(V, widths):
    W = Layout.of([l + n + r for n, (l, r) in zip(V.shape, widths, strict=True)], V.grid)
    build = lambda X: ri.Padding(X, [(0, 0), *widths])
    yield Case("Padding", V, W, build, source=lambda axis, j: j - widths[axis][0], detail=f"by {widths}")


def restriction(V, box):
    W = Layout.of([b - a for a, b in box], V.grid)
    build = lambda X: ri.Restriction(X, [(0, X.shape[0]), *box])
    yield Case("Restriction", V, W, build, source=lambda axis, j: j + box[axis][0], detail=f"to {box}")


def shift(V, steps, boundary):
    source = lambda axis, j: fold(j - steps[axis], V.shape[axis], boundary)
    build = lambda X: ri.Shift(X, (0, *steps), boundary)
    yield Case(f"Shift, {boundary}", V, V, build, source=source, detail=f"by {steps}")


@dataclass(frozen=True)
class MemoryCase:
    """A primitive on pieces a and b of n numbers on two ranks; ``blocks`` says by which factor each reads from each."""

    name: str
    n: int
    owners: tuple
    blocks: tuple
    build: Callable  # from the product of the pieces, and the space of b

    def __repr__(self):
        return f"{self.name} of {self.n} numbers on ranks {self.owners}"

    def prove(self, comm):
        """As for every other case; the unit vectors are those of a, then those of b."""
        n, me, B = self.n, comm.rank, np.array(self.blocks)
        lead = max(2 * n, 1)
        a, b = (ri.Space(ri.Partition(comm, (1,), [p]), (lead, n), "float32", cuts=(None, 0)) for p in self.owners)
        A = self.build(ri.Product({"a": a, "b": b} if B.shape[1] == 2 else {"a": a}), b)
        for apply, factors in ((A.forward, B), (A.adjoint, B.T)):
            E, unit = np.kron(factors, np.eye(n)), np.eye(lead, factors.shape[1] * n, dtype="float32")
            parts = zip("ab", self.owners, np.split(unit, factors.shape[1], axis=1), strict=False)
            found = apply({name: part if me == p else np.zeros((0, 0), "float32") for name, p, part in parts})
            for name, p, rows in zip("ab", self.owners, np.split(E, len(E) // max(n, 1) or 1), strict=False):
                if me == p:
                    same(found[name].T[:, : E.shape[1]], rows, f"matrix, piece {name}")


def primitives(n, owners):
    """What the two pieces hold afterwards, of what they held before."""
    yield MemoryCase("Allocate", n, owners, ((1,), (0,)), lambda M, b: Allocate(M, "b", b))
    yield MemoryCase("Clear", n, owners, ((0, 0), (0, 1)), lambda M, b: Clear(M, "a"))
    yield MemoryCase("Add", n, owners, ((1, 0), (1, 1)), lambda M, b: Add(M, "a", "b"))
    yield MemoryCase("Copy", n, owners, ((1, 0), (1, 0)), lambda M, b: Copy(M, "a", "b"))
    yield MemoryCase("Move", n, owners, ((0, 0), (1, 0)), lambda M, b: Move(M, "a", "b"))


# ---- all of them -----------------------------------------------------------------------------------------------------


def shapes(axes):
    return list(product(SIDES, repeat=axes))


def cuttings(grid_axes, axes):
    """Every assignment of grid axes to the tensor axes, or to none (copies)."""
    for assigned in product(range(axes + 1), repeat=grid_axes):
        yield tuple(tuple(g for g, axis in enumerate(assigned) if axis == i) for i in range(axes))


def layouts(ranks, axes, grid_axes=None):
    """Every shape on every grid: as many axes, each cut by its own; or ``grid_axes``, in every assignment."""
    for grid, cuts in product(all_grids(ranks, grid_axes or axes), cuttings(grid_axes, axes) if grid_axes else [None]):
        for shape in shapes(axes):
            yield Layout.of(shape, grid, cuts)


def pairs(axes, values, others=()):
    """Pairs of ``values`` for each axis: all of them for one axis; for two, all on one and equal ``others`` on the other."""
    every, equal = list(product(values, repeat=2)), [(w, w) for w in others]
    return [(pair,) for pair in every] if axes == 1 else sorted({*product(every, equal), *product(equal, every)})


def subsets(n):
    return [axes for size in range(n + 1) for axes in combinations(range(n), size)]


def smaller(new_grid, axes):
    """The grids of ``axes`` axes that broadcast to ``new_grid``."""
    return product(*(sorted({1, p}) for p in new_grid[len(new_grid) - axes :]))


def everything(ranks):
    """(definition, arguments) of every case on a team of ``ranks``."""
    one_or_two = (1, 2)
    for n, owners in product(SIDES, product(range(ranks), repeat=2)):
        yield primitives, n, owners
    for axes, old, new in product(one_or_two, one_or_two, (0, 1)):
        for new_grid, cuts, shape in product(all_grids(ranks, old + new), list(cuttings(old, axes)), shapes(axes)):
            for grid in smaller(new_grid, old):
                yield broadcast_and_sum, shape, cuts, grid, new_grid
    for axes, grid_axes in product(one_or_two, one_or_two):
        for V, chosen in product(layouts(ranks, axes, grid_axes), subsets(grid_axes)):
            yield all_sum, V, chosen
            yield gather_and_scatter, V, chosen
    yield from repartitions(ranks)
    for axes in one_or_two:
        for V in layouts(ranks, axes):
            yield from offsets(V, axes)
    for grid_axes, boundary in product(one_or_two, BOUNDARIES):
        for V, widths in product(layouts(ranks, 1, grid_axes), pairs(1, range(-2, 6))):
            yield halo, V, widths, boundary
    for V, widths, boundary in product(layouts(ranks, 2), pairs(2, WIDTHS, (0, 1, 5)), BOUNDARIES):
        yield halo, V, widths, boundary


def repartitions(ranks):
    """Every grid to every grid, and to its ranks counted from the last; of one tensor axis, in every assignment."""
    lines = [V for grid_axes in (1, 2) for V in layouts(ranks, 1, grid_axes)]
    planes = list(layouts(ranks, 2))
    for kind in (lines, planes):
        backwards = [Layout.of(W.shape, W.grid, W.cuts, tuple(range(ranks))[::-1][: len(W.ranks)]) for W in kind]
        for V, W in product(kind, [*kind, *backwards]):
            if V.shape == W.shape:
                yield repartition, V, W
    for V in planes:
        for axes in permutations(range(2)):
            yield transpose, V, axes
        for root in range(ranks):
            yield scatter_and_gather, V, root


def offsets(V, axes):
    """Paddings by up to 3, restrictions to every box, and shifts by up to 5 (of two axes: 3) either way."""
    for widths in pairs(axes, range(4), range(4)):
        yield padding, V, widths
    for box in product(*(combinations_with_replacement(range(n + 1), 2) for n in V.shape)):
        yield restriction, V, box
    for steps, boundary in product(product(STEPS[axes], repeat=axes), BOUNDARIES[:2]):
        yield shift, V, steps, boundary


def named(ranks):
    """A small case of each operator and boundary, of more numbers than one."""
    found = {}
    for case in (
        c
        for definition, *arguments in islice(everything(ranks), 0, None, 10 * ranks + 1)
        for c in definition(*arguments)
    ):
        if (
            isinstance(case, Case)
            and 1 < min(case.V.size, case.W.size)
            and max(case.V.size, case.W.size) < 6 + 4 * ranks
        ):
            found.setdefault(case.name, case)
    return found


# ---- the run ---------------------------------------------------------------------------------------------------------


def exhaust(team, step=1):
    """Prove one choice of arguments in ``step`` on ``team``; returns how many cases of each operator there were."""
    counts, dice = Counter(), Random(0)  # a regular stride could miss an operator
    chosen = (choice for choice in everything(team.size) if dice.random() * step < 1)
    total = sum(1 for _ in everything(team.size)) // step if team.rank == 0 else None
    bar = tqdm(chosen, total=total, disable=team.rank > 0, unit="choice", smoothing=0.02)
    cases = (case for definition, *arguments in bar for case in definition(*arguments))
    while batch := list(islice(cases, BATCH)):
        spmd.together(team, prove_all, f"{BATCH} cases from {batch[0]}", batch)
        counts.update(case.name for case in batch)
    return counts


def prove_all(team, cases):
    """Prove each case; what fails names its case."""
    for case in cases:
        try:
            with ri.unchecked():
                case.prove(team)
        except Exception as problem:
            raise AssertionError(f"{case}: {problem or type(problem).__name__}") from problem


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--step", type=int, default=1, help="take one choice of arguments in STEP only")
    step = parser.parse_args().step
    team = spmd.Team(wire.world())
    counts = exhaust(team, step)
    if team.rank == 0:
        print("\n".join(f"{name:24}{count:10,}" for name, count in counts.items()))
        print(
            f"{'all exactly as defined':24}{counts.total():10,}  cases on {team.size} ranks"
            + (f", one in {step}" if step > 1 else "")
        )
