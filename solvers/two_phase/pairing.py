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
from math import prod

import numpy as np

FEWEST_COLUMNS = 16  # so few need not be coarsened
WEAK = 0.1  # of the strongest tie of each of its columns: a tie below that of both
WALL = 0.5  # share of weak ties in a plane that is a wall
SLOWEST = 0.75  # share of the columns that may be left; otherwise walls are overlooked

Ties = tuple[np.ndarray, np.ndarray]  # (nx - 1, ny) along x, (nx, ny - 1) along y
Box = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Pairing:
    """The columns at the places (i, j) become part of the coarse one at (x[i], y[j])."""

    x: np.ndarray
    y: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        """The coarse columns along x and along y."""
        return firsts(self.x).size, firsts(self.y).size

    def within(self, box: Box) -> Pairing:
        """That of the columns in ``box``, (start, stop) along x and along y, where it cuts no coarse one."""
        x, y = (places[start:stop] for places, (start, stop) in zip((self.x, self.y), box, strict=False))
        return Pairing(x - x[:1], y - y[:1])

    def copied(self, x: np.ndarray) -> np.ndarray:
        """Coarse columns (along x, along y, ..) -> fine ones: copies."""
        return x[self.x][:, self.y]

    def summed(self, y: np.ndarray) -> np.ndarray:
        """Fine columns (along x, along y, ..) -> coarse ones: sums."""
        return summed(summed(y, self.x, 0), self.y, 1)


def pairings(ties: Ties) -> list[Pairing]:
    """Those of a grid and of all that are coarser, until FEWEST_COLUMNS are left."""
    shape = len(ties[1]), len(ties[0].T)
    if prod(shape) <= FEWEST_COLUMNS:
        return []
    pairing = Pairing(*(pairs(walls) for walls in _walls(*ties)))
    if prod(pairing.shape) > SLOWEST * prod(shape):
        pairing = Pairing(*(np.arange(n) // 2 for n in shape))
    x, y = pairing.x, pairing.y
    return [pairing, *pairings((summed(ties[0][np.diff(x) > 0], y, 1), summed(ties[1][:, np.diff(y) > 0], x, 0)))]


def firsts(places: np.ndarray) -> np.ndarray:
    """The first fine place of each coarse one."""
    return np.flatnonzero(np.diff(places, prepend=-1))


def lasts(places: np.ndarray) -> np.ndarray:
    """The last fine place of each coarse one."""
    return np.flatnonzero(np.diff(places, append=-1))


def summed(a: np.ndarray, places: np.ndarray, axis: int) -> np.ndarray:
    """The sums of what has the same coarse place along an axis."""
    return np.add.reduceat(a, firsts(places), axis=axis)


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
