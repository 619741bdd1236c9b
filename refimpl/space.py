"""Space: where a distributed tensor lives, and its one inner product.

Definition   A Space is a global shape, a partition and a dtype. Grid axes cut tensor axes into blocks; a grid axis that cuts
             nothing holds copies. A vector of the space is the memory of all ranks together: one block a rank.
Inner        <x, y> = sum over ranks of sum(conj(x) y): every copy counts. A space of a real-linear map has field "real"
             and takes the real part.
Product      A product space is a dict of spaces; its vectors are dicts of blocks.
Random       A number depends on (seed, global index) alone, so a tensor is the same on every partition: two uniforms
             (random_numbers.py), and by Box and Muller a standard normal.
Trap         Copies that are equal and copies that are independent are both vectors of the space. A dot test must draw them
             independently, or it cannot see an adjoint that forgets all copies but one.
Reference    Box and Muller, "A note on the generation of random normal deviates", 1958.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from math import fsum, prod, sqrt
from numbers import Integral
from types import ModuleType
from typing import Any

import numpy as np

from . import wire
from .arrays import Array, dtype_name, from_wire, is_array, library, to_host
from .partition import Partition, blocks, whole_numbers
from .random_numbers import split, uniform_pairs

Box = tuple[tuple[int, int], ...]  # (start, stop) along each axis, in global indices
DTYPES = ("float32", "float64", "complex64", "complex128")


class VectorSpace:
    """What Space and Product share: a global inner product and norm made of local ones, and the collective check."""

    comm: Any
    field: str

    def zeros(self) -> Any:
        """The vector zero."""
        raise NotImplementedError

    def random(self, seed: int = 0, copies: str = "equal") -> Any:
        """A standard normal vector."""
        raise NotImplementedError

    @property
    def signature(self) -> str:
        """All that makes the space, as text: the same on every rank."""
        raise NotImplementedError

    def problem(self, x: Any, who: str) -> ValueError | None:
        """What is wrong with this rank's part of ``x``, as an exception, or None."""
        raise NotImplementedError

    def local_inner(self, x: Any, y: Any) -> float | complex:
        """This rank's part of <x, y>, in float64."""
        raise NotImplementedError

    @property
    def local_size(self) -> int:
        """The length of this rank's memory as a vector; complex numbers count twice where the field is real."""
        raise NotImplementedError

    def to_vector(self, x: Any) -> np.ndarray:
        """This rank's memory as a vector: C order; (Re, Im) stacked where the field is real."""
        raise NotImplementedError

    def from_vector(self, v: np.ndarray) -> Any:
        """The vector of the space whose ``to_vector`` is ``v``."""
        raise NotImplementedError

    def inner(self, x: Any, y: Any) -> Any:
        """<x, y> over all ranks and copies, summed exactly in float64; the same number on every rank.

        Raises the same ValueError on all ranks where a block of any rank is not of this space.
        """
        if wire.checking():
            name = f"{type(self).__name__}.inner"
            wire.vote(self.comm, self.problem(x, name) or self.problem(y, name), f"{name} on {self.signature}")
        everyone = wire.everyone(self.comm)
        own = np.array([self.local_inner(x, y)], np.complex128)
        parts = wire.finish(wire.start_all_gather(self.comm, everyone, own, [1] * len(everyone)))
        total = complex(fsum(parts.real), fsum(parts.imag))
        return total.real if self.field == "real" else total

    def norm(self, x: Any) -> float:
        """sqrt(<x, x>), the same number on every rank."""
        return sqrt(self.inner(x, x).real)

    def check(self, x: Any, who: Any, what: str = "forward") -> None:
        """Raise the same ValueError on all ranks where the block of any rank is not of this space.

        The same where ranks do not call the same: ``what`` ("forward", "adjoint") of ``who``, an operator or a name.
        Collective; nothing happens inside ``unchecked()``.
        """
        if wire.checking():
            name, signature = (who, f"{who} on {self.signature}") if isinstance(who, str) else (who.name, who.signature)
            wire.vote(self.comm, self.problem(x, name), f"{what} of {signature}")


class Space(VectorSpace):
    """Tensors of one global ``shape`` and ``dtype`` over a partition.

    ``cuts[i]``: the grid axis (or a tuple of them, or None) that cuts tensor axis i; by default grid axis i cuts axis i.
    ``blocks[i]``: explicit (start, stop) per coordinate of axis i; by default balanced. Blocks may overlap (ghosts) or reach
    outside [0, n). ``field``: "real" for real-linear maps, else "complex"; by default that of the dtype.
    ``xp``, ``device``: the array library that holds a block, and where.

    Raises ValueError where cuts, blocks, dtype or field do not fit.
    """

    def __init__(
        self,
        partition: Partition,
        shape: Sequence[int],
        dtype: str | np.dtype | type = "float64",
        *,
        cuts: Sequence[int | tuple[int, ...] | None] | None = None,
        blocks: Mapping[int, Sequence[tuple[int, int]]] | None = None,
        field: str | None = None,
        xp: ModuleType = np,
        device: object = None,
    ) -> None:
        self.partition, self.comm = partition, partition.comm
        self.shape, self.dtype = whole_numbers("Space", shape), read_dtype(dtype)
        self.xp, self.device = xp, device
        self.field = field or ("complex" if self.dtype.kind == "c" else "real")
        if self.dtype.name not in DTYPES or self.field not in ("real", "complex") or any(n < 0 for n in self.shape):
            raise ValueError(
                f"Space: expected sizes >= 0, a dtype of {', '.join(DTYPES)} and a field of real or complex, "
                f"got {self.shape}, {self.dtype.name} and {self.field}"
            )
        self.cuts = self._read_cuts(cuts)
        self.blocks = tuple(self._read_blocks(axis, (blocks or {}).get(axis)) for axis in range(self.ndim))
        if blocks and not set(blocks) <= set(range(self.ndim)):
            raise ValueError(f"Space: blocks name axes {sorted(blocks)}, the tensor has axes 0..{self.ndim - 1}")

    def _read_cuts(self, cuts: Any) -> tuple[tuple[int, ...], ...]:
        grid = self.partition.shape
        if cuts is None:
            if len(grid) > self.ndim:
                raise ValueError(f"Space: the grid {grid} has more axes than the tensor {self.shape}; say cuts=")
            cuts = [i if i < len(grid) else None for i in range(self.ndim)]
        if len(cuts) != self.ndim:
            raise ValueError(f"Space: expected one entry of cuts for each of {self.ndim} tensor axes, got {cuts!r}")
        listed = [() if c is None else (c,) if isinstance(c, Integral) else c for c in cuts]
        read = tuple(whole_numbers("Space: cuts", cut) for cut in listed)
        used = [g for cut in read for g in cut]
        if len(set(used)) != len(used) or not set(used) <= set(range(len(grid))):
            raise ValueError(f"Space: cuts {cuts!r} must name each axis of the grid {grid} at most once")
        return read

    def _read_blocks(self, axis: int, given: Any) -> tuple[tuple[int, int], ...]:
        parts = prod(self.partition.shape[g] for g in self.cuts[axis])
        if given is None:
            return tuple(blocks(self.shape[axis], parts))
        given = tuple(whole_numbers("Space: blocks", block) for block in given)
        if len(given) != parts or any(len(block) != 2 or block[1] < block[0] for block in given):
            raise ValueError(f"Space: expected {parts} blocks (start <= stop) along axis {axis}, got {list(given)}")
        return given

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def copy_axes(self) -> tuple[int, ...]:
        """The grid axes that cut nothing, and so hold copies."""
        used = {g for cut in self.cuts for g in cut}
        return tuple(g for g in range(len(self.partition.shape)) if g not in used)

    @property
    def owns(self) -> bool:
        """True where this rank's block is the first of its copies: what counts once, or is stored once, is taken from it."""
        return self.partition.active and not any(self.partition.coords[g] for g in self.copy_axes)

    def block_number(self, axis: int, coords: Sequence[int]) -> int:
        """Which block along tensor ``axis`` lies at grid coordinates ``coords``."""
        number = 0
        for g in self.cuts[axis]:
            number = number * self.partition.shape[g] + coords[g]
        return number

    def box(self, coords: Sequence[int]) -> Box:
        """The (start, stop) along each axis of the block at grid coordinates ``coords``."""
        return tuple(self.blocks[i][self.block_number(i, coords)] for i in range(self.ndim))

    @cached_property
    def boxes(self) -> dict[int, Box]:
        """The box of every active rank, by its rank in the communicator."""
        return {r: self.box(self.partition.coords_of(place)) for place, r in enumerate(self.partition.ranks)}

    def covers_once(self, axis: int) -> bool:
        """True where the blocks along ``axis`` hold each of its indices once: no ghosts, no gaps."""
        runs = sorted(block for block in self.blocks[axis] if block[0] < block[1])
        return [start for start, _ in runs] + [self.shape[axis]] == [0, *(stop for _, stop in runs)]

    def is_whole(self, axis: int) -> bool:
        """True where every rank holds all of ``axis`` and no more: one block, no ghosts."""
        return self.blocks[axis] == ((0, self.shape[axis]),)

    @cached_property
    def local_box(self) -> Box:
        """This rank's box; empty on an inactive rank."""
        return self.box(self.partition.coords) if self.partition.active else ((0, 0),) * self.ndim

    @cached_property
    def local_shape(self) -> tuple[int, ...]:
        return tuple(stop - start for start, stop in self.local_box)

    @property
    def local_slice(self) -> tuple[slice, ...]:
        """This rank's block in the global tensor; ghosts may make it start below 0 or end beyond n."""
        return tuple(slice(start, stop) for start, stop in self.local_box)

    def replace(self, **changes: Any) -> Space:
        """The same space but for ``changes``: any of the arguments of Space; a new dtype comes with its own field.

        Without ``blocks``, an axis keeps its blocks where the grid, its size and its cut stay.
        """
        new: dict[str, Any] = dict(partition=self.partition, shape=self.shape, dtype=self.dtype, cuts=self.cuts)
        new |= dict(field=None if "dtype" in changes else self.field, xp=self.xp, device=self.device) | changes
        if "blocks" not in changes:
            balanced = Space(**new)
            pairs = zip(balanced.shape, balanced.cuts, self.shape, self.cuts, strict=False)
            stays = [(n, cut) == (m, old) for n, cut, m, old in pairs]
            same_grid = balanced.partition.shape == self.partition.shape
            new["blocks"] = {i: self.blocks[i] for i, same in enumerate(stays) if same and same_grid}
        return Space(**new)

    def __eq__(self, other: object) -> bool:
        """Equal spaces have the same memory: shape, dtype, field, and the same box on every rank."""
        if not isinstance(other, Space):
            return NotImplemented
        mine = (self.comm, self.shape, self.dtype, self.field)
        if mine != (other.comm, other.shape, other.dtype, other.field):
            return False
        made = (self.partition, self.cuts, self.blocks)  # spaces that are made alike need no look at every rank's box
        return made == (other.partition, other.cuts, other.blocks) or self.boxes == other.boxes

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Space({self.dtype.name}{list(self.shape)} over {self.partition.shape})"

    @cached_property
    def signature(self) -> str:
        grid, ranks = self.partition.shape, self.partition.ranks
        said = [f"{self.dtype.name}{list(self.shape)} over {grid}"]
        if (self.dtype.kind, self.field) == ("c", "real"):
            said.append("a real field")
        if ranks != tuple(range(len(ranks))):
            said.append(f"ranks {list(ranks)}")
        if self.cuts != tuple((i,) if i < len(grid) else () for i in range(self.ndim)):
            said.append(f"cuts {self.cuts}")
        rows = {i: list(row) for i, row in enumerate(self.blocks)}
        said += [f"blocks {row} of axis {i}" for i, row in rows.items() if row != blocks(self.shape[i], len(row))]
        return f"({', '.join(said)})"

    # ---- blocks ------------------------------------------------------------------------------------------------------

    def zeros(self) -> Array:
        """A block of zeros."""
        return self.adopt(np.zeros(self.local_shape, self.dtype))

    def adopt(self, block: Array) -> Array:
        """A block of NumPy, or one from the wire, as a block of this space's array library."""
        return from_wire(block, self.xp, self.device)

    def problem(self, x: Any, who: str) -> ValueError | None:
        """What is wrong with this rank's block ``x``, as an exception, or None."""
        # of the other kinds, a matrix multiplies otherwise, and a masked array leaves numbers out
        plain = type(x) is np.ndarray or isinstance(x, np.memmap)
        if plain and self.xp is np and (x.dtype, x.shape) == (self.dtype, self.local_shape):
            return None
        got = f"{dtype_name(x)}{list(x.shape)}" if is_array(x) else type(x).__name__
        if is_array(x) and library(x) != library(self.xp):
            got += f" of {library(x)}"
        elif isinstance(x, np.ndarray) and not plain:
            got += f" of {type(x).__name__}"
        expected = f"{self.dtype.name}{list(self.local_shape)}"
        where = f"{who} on rank {self.comm.rank}"
        return None if got == expected else ValueError(f"{where}: expected {expected}, got {got}")

    def local_inner(self, x: Array, y: Array) -> float | complex:
        """This rank's part of <x, y>, in float64."""
        if not self.partition.active:
            return 0.0
        wide = np.complex128 if self.dtype.kind == "c" else np.float64
        part: Any = np.vdot(to_host(x).astype(wide), to_host(y).astype(wide))
        return part.real if self.field == "real" else part

    def random(self, seed: int = 0, copies: str = "equal") -> Array:
        """A standard normal block (complex: real and imaginary part are) by (seed, global index) alone; ghosts outside: 0.

        ``copies="independent"``: by (seed, rank, local index), so that copies and ghosts differ: for dot tests.
        """
        u, v = self._uniforms(seed, copies)
        radius, angle = np.sqrt(-2 * np.log(1 - u)), 2 * np.pi * v
        normal = radius * np.exp(1j * angle) if self.dtype.kind == "c" else radius * np.cos(angle)
        return self.adopt(
            np.where(self._inside(), normal, 0).astype(self.dtype) if copies == "equal" else normal.astype(self.dtype)
        )

    def uniform(self, seed: int = 0) -> Array:
        """Uniform on [0, 1) by (seed, global index) alone; complex: both parts."""
        u, v = self._uniforms(seed, "equal")
        return self.adopt((u + 1j * v if self.dtype.kind == "c" else u).astype(self.dtype))

    def _uniforms(self, seed: int, copies: str) -> tuple[np.ndarray, np.ndarray]:
        """Two uniform numbers for each place of the block."""
        if copies == "equal":
            return uniform_pairs(seed, self.local_box, self.shape)
        if copies == "independent":
            return uniform_pairs(split(seed, self.comm.rank + 1), [(0, n) for n in self.local_shape], self.local_shape)
        raise ValueError(f'Space.random: expected copies="equal" or "independent", got {copies!r}')

    def _inside(self) -> np.ndarray:
        inside = np.ones((1,) * self.ndim, bool)
        for axis, (start, stop) in enumerate(self.local_box):
            i = np.arange(start, stop).reshape((-1,) + (1,) * (self.ndim - 1 - axis))
            inside = inside & (i >= 0) & (i < self.shape[axis])
        return inside

    # ---- whole arrays ------------------------------------------------------------------------------------------------

    def scatter(self, array: np.ndarray | None, who: str = "Space.scatter") -> Array:
        """The blocks of a whole ``array`` given on rank 0 of the communicator; ghosts outside are zero.

        Raises ValueError on all ranks, in the name of ``who``, where the array is not of the space's shape and dtype.
        """
        root, problem = self.comm.rank == 0, None
        if root:
            got = f"{dtype_name(array)}{list(array.shape)}" if is_array(array) else type(array).__name__
            expected = f"{self.dtype.name}{list(self.shape)}"
            problem = None if got == expected else ValueError(f"{who}: expected {expected} on rank 0, got {got}")
        wire.vote(self.comm, problem, f"Space.scatter on {self.signature}")
        whole = to_host(array) if root else None
        sends = {} if whole is None else {r: _cut(whole, box).ravel() for r, box in self.boxes.items()}
        own = sends.pop(0, np.empty(0, self.dtype))
        sizes = {0: prod(self.local_shape)} if self.partition.active and not root else {}
        received = wire.exchange(self.comm, sends, sizes, self.dtype)
        return self.adopt(received.get(0, own).reshape(self.local_shape)) if self.partition.active else self.zeros()

    def gather(self, x: Array) -> np.ndarray | None:
        """The whole array on rank 0 of the communicator, None elsewhere; of copies and overlaps, the first counts.

        Only the first copy of a block travels.
        """
        self.check(x, "Space.gather")
        copy_axes, places = self.copy_axes, map(self.partition.coords_of, range(self.partition.size))
        boxes = {
            r: tuple((max(a, 0), min(b, n)) for (a, b), n in zip(self.box(coords), self.shape, strict=True))
            for r, coords in zip(self.partition.ranks, places, strict=True)
            if not any(coords[g] for g in copy_axes)
        }
        mine = np.empty(0, self.dtype)
        if self.comm.rank in boxes:
            offsets = zip(boxes[self.comm.rank], self.local_box, strict=True)
            mine = to_host(x)[tuple(slice(a - start, max(a, b) - start) for (a, b), (start, _) in offsets)].ravel()
        root = self.comm.rank == 0
        sizes = {r: prod(max(b - a, 0) for a, b in box) for r, box in boxes.items() if r} if root else {}
        received = wire.exchange(self.comm, {} if root else {0: mine}, sizes, self.dtype) | ({0: mine} if root else {})
        if not root:
            return None
        whole = np.zeros(self.shape, self.dtype)
        for r, box in reversed(boxes.items()):
            if r in received and received[r].size:
                whole[tuple(slice(a, b) for a, b in box)] = received[r].reshape([b - a for a, b in box])
        return whole

    # ---- memory as a vector, for explicit matrices -------------------------------------------------------------------

    @property
    def local_size(self) -> int:
        """The length of this rank's memory as a vector; complex numbers count twice where the field is real."""
        n = prod(self.local_shape) if self.partition.active else 0
        return 2 * n if self._stacked else n

    @property
    def _stacked(self) -> bool:
        return self.field == "real" and self.dtype.kind == "c"

    def to_vector(self, x: Array) -> np.ndarray:
        """This rank's memory as a vector: C order; (Re, Im) stacked where the field is real."""
        flat = to_host(x).ravel()[: prod(self.local_shape) * self.partition.active]
        return np.concatenate([flat.real, flat.imag]) if self._stacked else flat

    def from_vector(self, v: np.ndarray) -> Array:
        """The block whose ``to_vector`` is ``v``."""
        if not self.partition.active:
            return self.zeros()
        v = v[: v.size // 2] + 1j * v[v.size // 2 :] if self._stacked else v
        return self.adopt(v.astype(self.dtype).reshape(self.local_shape))


class Product(VectorSpace):
    """The product of named spaces on one communicator; a vector is a dict of blocks with the same names.

    A pair ``(block, others)`` is read as ``{"x": block, **others}``, the form in which a layer's adjoint returns
    the cotangent of its input and of its parameters.
    """

    def __init__(self, spaces: Mapping[str, Any] | None = None, **named: Any) -> None:
        self.spaces = {**(spaces or {}), **named}
        if not self.spaces:
            raise ValueError("Product: expected at least one space")
        self.comm = next(iter(self.spaces.values())).comm
        fields = {s.field for s in self.spaces.values()}
        if len(fields) > 1:
            raise ValueError(
                'Product: expected spaces of one field; give complex spaces of a real-linear map field="real"'
            )
        self.field = fields.pop()

    def __getitem__(self, name: str) -> Any:
        return self.spaces[name]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Product) and self.spaces == other.spaces

    __hash__ = None  # type: ignore[assignment]

    @cached_property
    def signature(self) -> str:
        return f"({', '.join(f'{name}: {space.signature}' for name, space in self.spaces.items())})"

    def __repr__(self) -> str:
        return f"Product({', '.join(f'{name}={space!r}' for name, space in self.spaces.items())})"

    @staticmethod
    def element(x: Any) -> dict[str, Array]:
        """``x`` as a dict: a pair (block, others) becomes {"x": block, **others}."""
        pair = isinstance(x, tuple) and len(x) == 2 and isinstance(x[1], Mapping)
        return {"x": x[0], **x[1]} if pair else x

    def zeros(self) -> dict[str, Array]:
        return {name: space.zeros() for name, space in self.spaces.items()}

    def random(self, seed: int = 0, copies: str = "equal") -> dict[str, Array]:
        """Each block with a seed of its own."""
        return {name: space.random(split(seed, i), copies) for i, (name, space) in enumerate(self.spaces.items())}

    def problem(self, x: Any, who: str) -> ValueError | None:
        x = self.element(x)
        if not isinstance(x, Mapping) or set(x) != set(self.spaces):
            got = sorted(x) if isinstance(x, Mapping) else type(x).__name__
            return ValueError(f"{who} on rank {self.comm.rank}: expected blocks {sorted(self.spaces)}, got {got}")
        problems = (space.problem(x[name], f"{who}, block {name}") for name, space in self.spaces.items())
        return next((p for p in problems if p is not None), None)

    def local_inner(self, x: Any, y: Any) -> float | complex:
        x, y = self.element(x), self.element(y)
        return sum(space.local_inner(x[name], y[name]) for name, space in self.spaces.items())

    @property
    def local_size(self) -> int:
        return sum(space.local_size for space in self.spaces.values())

    def to_vector(self, x: Any) -> np.ndarray:
        x = self.element(x)
        return np.concatenate([space.to_vector(x[name]) for name, space in self.spaces.items()])

    def from_vector(self, v: np.ndarray) -> dict[str, Array]:
        ends = np.cumsum([space.local_size for space in self.spaces.values()])
        parts = np.split(v, ends[:-1])
        return {name: space.from_vector(p) for (name, space), p in zip(self.spaces.items(), parts, strict=True)}


def read_dtype(dtype: Any) -> np.dtype:
    """``dtype`` as NumPy's, in the machine's byte order; ValueError where there is none of that name."""
    try:
        return np.dtype(dtype).newbyteorder("=")
    except TypeError:
        raise ValueError(f"Space: expected a dtype of {', '.join(DTYPES)}, got {dtype!r}") from None


def _cut(array: np.ndarray, box: Box) -> np.ndarray:
    """The box of a global array, zero outside."""
    block = np.zeros([stop - start for start, stop in box], array.dtype)
    inner = [(max(a, 0), max(min(b, n), max(a, 0))) for (a, b), n in zip(box, array.shape, strict=True)]
    there = tuple(slice(a, b) for a, b in inner)
    here = tuple(slice(a - start, b - start) for (a, b), (start, _) in zip(inner, box, strict=True))
    block[here] = array[there]
    return block
