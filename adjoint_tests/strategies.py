"""What the property tests draw: cases, small frozen records of sizes, grids, dtypes and a seed; never array elements.

A case says which tensor on which grid, and makes its partition and space on any team:

    @spmd.property_test(case=strategies.halos)
    def test_...(team, case):
        H = ri.HaloExchange(case.space(team), case.widths, case.boundary)

Every strategy is a function of the number of ranks, as ``property_test`` wants it. Simple cases come first, so that
counterexamples shrink to one block on one rank. The odd ones are all there: inactive ranks, ranks in another order, more ranks
than indices, sizes 0 and 1, several grid axes on one tensor axis, copies, unbalanced and empty blocks, halos that are
one-sided, negative or wider than a block.
"""

from dataclasses import dataclass, fields
from functools import cache
from itertools import product
from math import prod

from hypothesis import strategies as st

import refimpl as ri

DTYPES = ("float64", "float32", "complex128", "complex64")
LONGEST = (0, 17, 9, 6, 4, 3)  # the longest side that is drawn, by the number of axes

Ints = tuple[int, ...]
Row = tuple[tuple[int, int], ...]  # (start, stop) of each block along an axis, or (left, right) of its halo


# ---- cases -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class TensorCase:
    """A tensor on a grid. ``ranks``, ``cuts``, ``blocks``: None for the defaults of Partition and Space."""

    shape: Ints
    grid: Ints
    ranks: Ints | None = None
    cuts: tuple[Ints, ...] | None = None
    blocks: tuple[Row, ...] | None = None
    dtype: str = "float64"
    seed: int = 0

    def partition(self, team) -> ri.Partition:
        return ri.Partition(team, self.grid, self.ranks)

    def space(self, team) -> ri.Space:
        blocks = None if self.blocks is None else dict(enumerate(self.blocks))
        return ri.Space(self.partition(team), self.shape, self.dtype, cuts=self.cuts, blocks=blocks)

    def __repr__(self) -> str:
        """Only what is not the default: a counterexample should be short."""
        told = [f for f in fields(self) if getattr(self, f.name) != f.default]
        return f"{type(self).__name__}({', '.join(f'{f.name}={getattr(self, f.name)!r}' for f in told)})"


@dataclass(frozen=True, repr=False)
class RepartitionCase(TensorCase):
    """A tensor, and another grid for it."""

    new_grid: Ints = ()
    new_ranks: Ints | None = None

    def new_partition(self, team) -> ri.Partition:
        return ri.Partition(team, self.new_grid, self.new_ranks)


@dataclass(frozen=True, repr=False)
class BroadcastCase(TensorCase):
    """A tensor on a grid, and a larger grid that the first one broadcasts to as NumPy shapes do."""

    new_grid: Ints = ()

    def new_partition(self, team) -> ri.Partition:
        return ri.Partition(team, self.new_grid)


@dataclass(frozen=True, repr=False)
class HaloCase(TensorCase):
    """A tensor in disjoint blocks, and the widths of their halos: for each axis one (left, right), or one for each block."""

    widths: tuple[tuple[int, int] | Row, ...] = ()
    boundary: str = "zero"


# ---- pieces ----------------------------------------------------------------------------------------------------------


@cache
def all_grids(size: int, axes: int) -> list[Ints]:
    """All grids of ``axes`` axes on at most ``size`` ranks, the small ones first."""
    sides = range(1, size + 1)
    return sorted((g for g in product(sides, repeat=axes) if prod(g) <= size), key=lambda g: (prod(g), g[::-1]))


def grids(size: int, axes: int) -> st.SearchStrategy[Ints]:
    """Grids on at most ``size`` ranks; half of those drawn use all ranks."""
    grids = all_grids(size, axes)
    return st.sampled_from(grids) | st.sampled_from([g for g in grids if prod(g) == size])


@st.composite
def shapes(draw, axes: int) -> Ints:
    """Shapes of small sides, odd and even, now and then with a side of 1 or 0."""
    sides = draw(st.tuples(*[st.integers(1, LONGEST[axes])] * axes))
    empty = draw(st.integers(0, 8 * axes)) - 7 * axes  # one draw in nine empties an axis
    return tuple(0 if axis == empty - 1 else n for axis, n in enumerate(sides))


def some_ranks(size: int, count: int) -> st.SearchStrategy[Ints | None]:
    """The first ``count`` ranks (None), or any others in any order."""
    return st.none() | st.permutations(range(size)).map(lambda ranks: tuple(ranks[:count]))


seeds = st.integers(0, 999)
dtypes = st.sampled_from(DTYPES)
axes = st.integers(1, 4)


@st.composite
def cut_row(draw, n: int, parts: int) -> Row:
    """Blocks that cover 0..n once each, of any lengths, empty ones too."""
    inner = sorted(draw(st.lists(st.integers(0, n), min_size=parts - 1, max_size=parts - 1)))
    return tuple(zip([0, *inner], [*inner, n], strict=True))


# ---- strategies: each a function of the number of ranks ----------------------------------------------------------------


@st.composite
def tensors(draw, size: int, dtypes: st.SearchStrategy[str] = dtypes) -> TensorCase:
    """Balanced blocks, grid axis i on tensor axis i."""
    d = draw(axes)
    return TensorCase(draw(shapes(d)), draw(grids(size, d)), dtype=draw(dtypes), seed=draw(seeds))


@st.composite
def unbalanced(draw, size: int, dtypes: st.SearchStrategy[str] = dtypes) -> TensorCase:
    """Explicit disjoint blocks of any lengths, on any ranks."""
    d = draw(axes)
    shape, grid = draw(shapes(d)), draw(grids(size, d))
    blocks = tuple(draw(cut_row(n, p)) for n, p in zip(shape, grid, strict=True))
    ranks = draw(some_ranks(size, prod(grid)))
    return TensorCase(shape, grid, ranks, None, blocks, draw(dtypes), draw(seeds))


@st.composite
def copied(draw, size: int, dtypes: st.SearchStrategy[str] = dtypes) -> TensorCase:
    """Any assignment of grid axes to tensor axes: several on one, and some on none, which hold copies."""
    d, grid = draw(st.integers(1, 3)), draw(axes.flatmap(lambda g: grids(size, g)))
    assigned = [draw(st.integers(0, d)) for _ in grid]  # d: copies
    cuts = tuple(tuple(g for g, axis in enumerate(assigned) if axis == i) for i in range(d))
    return TensorCase(draw(shapes(d)), grid, cuts=cuts, dtype=draw(dtypes), seed=draw(seeds))


@st.composite
def repartitions(draw, size: int, dtypes: st.SearchStrategy[str] = dtypes) -> RepartitionCase:
    """Balanced blocks on one grid, and any other grid on any ranks."""
    d = draw(axes)
    grid, new_grid = draw(grids(size, d)), draw(grids(size, d))
    return RepartitionCase(
        draw(shapes(d)),
        grid,
        draw(some_ranks(size, prod(grid))),
        dtype=draw(dtypes),
        seed=draw(seeds),
        new_grid=new_grid,
        new_ranks=draw(some_ranks(size, prod(new_grid))),
    )


@st.composite
def broadcasts(draw, size: int, dtypes: st.SearchStrategy[str] = dtypes) -> BroadcastCase:
    """Blocks on a grid whose axes are, aligned on the right, those of the larger grid or 1."""
    new_grid = draw(axes.flatmap(lambda g: grids(size, g)))
    kept = draw(st.integers(1, len(new_grid)))
    grid = tuple(draw(st.sampled_from(sorted({1, p}))) for p in new_grid[len(new_grid) - kept :])
    return BroadcastCase(draw(shapes(kept)), grid, dtype=draw(dtypes), seed=draw(seeds), new_grid=new_grid)


@st.composite
def halos(draw, size: int, dtypes: st.SearchStrategy[str] = dtypes) -> HaloCase:
    """Any blocks with halos of any width from -2 to beyond the whole axis (periodic: up to it, reflected: below it)."""
    case = draw(tensors(size, dtypes) | unbalanced(size, dtypes))
    boundary = draw(st.sampled_from(["zero", "periodic", "reflect"]))
    widths = []
    for n, parts in zip(case.shape, case.grid, strict=True):
        most = max({"zero": n + 2, "periodic": n, "reflect": n - 1}[boundary], 0)
        width = st.integers(0, 2) | st.integers(-2, most)
        pair = st.tuples(*[width.map(lambda w, most=most: min(w, most))] * 2)
        widths.append(draw(pair | st.tuples(*[pair] * parts)))
    known = {f.name: getattr(case, f.name) for f in fields(TensorCase)}
    return HaloCase(**known, widths=tuple(widths), boundary=boundary)


@dataclass(frozen=True, repr=False)
class AxesCase(TensorCase):
    """A tensor on a grid, and some axes of the grid."""

    axes: Ints = ()


@st.composite
def gathers(draw, size: int, dtypes: st.SearchStrategy[str] = dtypes) -> AxesCase:
    """Blocks of any kind, and grid axes along which they can be put together: of those that cut one axis, the last ones."""
    case = draw(tensors(size, dtypes) | unbalanced(size, dtypes) | copied(size, dtypes))
    cuts = case.cuts or tuple((g,) for g in range(len(case.grid)))
    chosen = [cut[draw(st.integers(0, len(cut))) :] for cut in cuts]
    known = {f.name: getattr(case, f.name) for f in fields(TensorCase)}
    return AxesCase(**known, axes=tuple(g for cut in chosen for g in cut))


@st.composite
def sums(draw, size: int, dtypes: st.SearchStrategy[str] = dtypes) -> AxesCase:
    """Copies along the first grid axes, blocks along the others, and some of the axes with copies."""
    d, copies = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    grid = draw(grids(size, d + copies))
    cuts = tuple((copies + i,) for i in range(d))
    chosen = draw(st.sets(st.integers(0, copies - 1), min_size=1))
    return AxesCase(draw(shapes(d)), grid, cuts=cuts, dtype=draw(dtypes), seed=draw(seeds), axes=tuple(sorted(chosen)))


REAL = st.sampled_from(("float64", "float32"))


@st.composite
def fields_of_a_network(draw, size: int, dtypes: st.SearchStrategy[str] = REAL) -> TensorCase:
    """(batch, channels, one or two space axes) with whole channels, on any ranks."""
    d = draw(st.integers(1, 2))
    batch, *space = draw(grids(size, d + 1))
    grid = (batch, 1, *space)
    return TensorCase(
        draw(shapes(d + 2)), grid, draw(some_ranks(size, prod(grid))), dtype=draw(dtypes), seed=draw(seeds)
    )


@dataclass(frozen=True, repr=False)
class SpectralCase(TensorCase):
    """A real tensor (batch, channels, axes to transform), and how many modes to keep."""

    modes: Ints = ()


@st.composite
def spectra(draw, size: int, dtypes: st.SearchStrategy[str] = REAL, whole_last: bool = False) -> SpectralCase:
    """One to four axes of any parity, modes up to all that the grid holds, any axes but the channels cut, on any ranks.

    ``whole_last``: the last axis is not cut.
    """
    n = draw(st.integers(1, 4))
    longest = (0, 9, 7, 5, 4)[n]
    sides = tuple(draw(st.integers(2, longest)) for _ in range(n))
    modes = (*(draw(st.integers(1, side // 2)) for side in sides[:-1]), draw(st.integers(1, sides[-1] // 2 + 1)))
    batch, *space = draw(grids(size, n + 1 - whole_last))
    grid = (batch, 1, *space, *[1] * whole_last)
    shape = (draw(st.integers(1, 3)), draw(st.integers(1, 2)), *sides)
    ranks = draw(some_ranks(size, prod(grid)))
    return SpectralCase(shape, grid, ranks, dtype=draw(dtypes), seed=draw(seeds), modes=modes)
