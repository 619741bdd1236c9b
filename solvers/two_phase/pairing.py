"""Pairing: which columns of a grid become one on the next coarser one.

Definition   Along x, columns stay single or are taken together by two; along y alike; a coarse column is what lies at one
             coarse place along x and at one along y. So the coarse columns are a grid again.
Walls        A coarse column has one pressure in a layer. Astride a fault it would need two, and every copy of it were wrong
             on one side: several times the iterations. So pairs are not made across a wall: a plane between columns most
             of whose ties are weak. A tie is weak where both of its columns have a far stronger one elsewhere; a
             fault of one cell is tied weakly to all, and may join either side.
Anisotropy   Where columns are tied far more strongly along one axis, all planes across the other are walls: only pressures
             along the strong axis are smoothed by relaxation, and only that axis is coarsened.
Ties         of two columns: the sum of what ties their cells. A coarse tie is the sum of the fine ones it stands for.
In the end   the walls are all that is left, and are overlooked: few columns must remain.
Reference    Ruge and Stueben (1987), Algebraic multigrid: coarsening along strong couplings, here kept to a grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
from scipy.sparse import csr_matrix

FEWEST_COLUMNS = 16  # so few need not be coarsened
WEAK = 0.3  # of the strongest tie of each of its columns: a tie below that of both
WALL = 0.3  # share of weak ties in a plane that is a wall
SLOWEST = 0.75  # share of the columns that may be left; otherwise walls are overlooked

Ties = tuple[np.ndarray, np.ndarray]  # (nx - 1, ny) along x, (nx, ny - 1) along y
Box = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Pairing:
    """The columns at the places (i, j) become part of the coarse one at (x[i], y[j]).

    ``shares``, (2, places) along x and along y: the part of a link from there to the coarse column before, and after, that
    goes into the coarse link.
    """

    x: np.ndarray
    y: np.ndarray
    shares: tuple[np.ndarray, np.ndarray]

    @classmethod
    def of(cls, x: np.ndarray, y: np.ndarray) -> Pairing:
        """That of a whole grid."""
        return cls(x, y, (_shares(x), _shares(y)))

    @property
    def shape(self) -> tuple[int, int]:
        """The coarse columns along x and along y."""
        return firsts(self.x).size, firsts(self.y).size

    def within(self, box: Box) -> Pairing:
        """That of the columns in ``box``, (start, stop) along x and along y, where it cuts no coarse one."""
        i, j = (slice(start, stop) for start, stop in box[:2])
        x, y = self.x[i], self.y[j]
        return Pairing(x - x[:1], y - y[:1], (self.shares[0][:, i], self.shares[1][:, j]))

    @cached_property
    def copies(self) -> csr_matrix:
        """(columns, coarse columns): 1 where a column is part of a coarse one."""
        part_of = (self.x[:, None] * self.shape[1] + self.y).ravel()
        return csr_matrix(
            (np.ones(part_of.size), part_of, np.arange(part_of.size + 1)), (part_of.size, prod(self.shape))
        )

    @cached_property
    def sums(self) -> csr_matrix:
        """Its transpose."""
        return self.copies.T.tocsr()

    def copied(self, x: np.ndarray) -> np.ndarray:
        """(coarse columns along x, along y, layers) -> the same for the columns: copies."""
        return (self.copies @ x.reshape(prod(self.shape), x.shape[2])).reshape(self.x.size, self.y.size, x.shape[2])

    def summed(self, y: np.ndarray) -> np.ndarray:
        """(columns along x, along y, layers) -> the same for the coarse columns: sums."""
        return (self.sums @ y.reshape(self.x.size * self.y.size, y.shape[2])).reshape(*self.shape, y.shape[2])


def pairings(ties: Ties) -> list[Pairing]:
    """Those of a grid and of all that are coarser, until FEWEST_COLUMNS are left."""
    shape = len(ties[1]), len(ties[0].T)
    if prod(shape) <= FEWEST_COLUMNS:
        return []
    pairing = Pairing.of(*(pairs(walls) for walls in _walls(*ties)))
    if prod(pairing.shape) > SLOWEST * prod(shape):
        pairing = Pairing.of(*(np.arange(n) // 2 for n in shape))
    return [pairing, *pairings(_coarser(ties, pairing))]


def firsts(places: np.ndarray) -> np.ndarray:
    """The first fine place of each coarse one."""
    return np.flatnonzero(np.diff(places, prepend=-1))


def lasts(places: np.ndarray) -> np.ndarray:
    """The last fine place of each coarse one."""
    return np.flatnonzero(np.diff(places, append=-1))


def summed(a: np.ndarray, places: np.ndarray, axis: int) -> np.ndarray:
    """The sums of what has the same coarse place along an axis."""
    return np.add.reduceat(a, firsts(places), axis=axis)


def _shares(places: np.ndarray) -> np.ndarray:
    """Copies steepen what lies between the middles of two coarse columns to one step: 1 over the columns between them."""
    widths = np.bincount(places)
    before, after = (widths[(places + step) % widths.size] for step in (-1, 1))
    return 2.0 / (widths[places] + np.stack([before, after]))


def _coarser(ties: Ties, pairing: Pairing) -> Ties:
    """The ties of the coarse columns."""
    (x, y), (along_x, along_y) = ties, (share[1] for share in pairing.shares)
    x, y = x * along_x[:-1, None], y * along_y[:-1]
    return summed(x[np.diff(pairing.x) > 0], pairing.y, 1), summed(y[:, np.diff(pairing.y) > 0], pairing.x, 0)


def pairs(walls: np.ndarray) -> np.ndarray:
    """Coarse places along an axis, of pairs between walls."""
    places, single = [0], True
    for wall in walls:
        joins = single and not wall
        places.append(places[-1] + (not joins))
        single = not joins
    return np.array(places)


def _walls(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which planes between columns are walls, along x and along y."""
    strongest = np.zeros((len(y), len(x.T)))
    for part, tie in ((strongest[1:], x), (strongest[:-1], x), (strongest[:, 1:], y), (strongest[:, :-1], y)):
        np.maximum(part, tie, out=part)
    weak_x = x < WEAK * np.minimum(strongest[1:], strongest[:-1])
    weak_y = y < WEAK * np.minimum(strongest[:, 1:], strongest[:, :-1])
    return weak_x.mean(axis=1) > WALL, weak_y.mean(axis=0) > WALL
