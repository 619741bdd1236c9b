"""Ghosts: a velocity with one layer of cells around each block, from its neighbours and from the walls.

Definition   G : V -> W,   (G u)_p = u on [a_p - 1, b_p + 1) along every space axis, corners included. Across a wall at rest, a
             component along it continues as its mirror image with the other sign, so that it is 0 in between; the component
             that crosses the wall is 0 on it and beyond.
Moving       A wall with the velocity U adds 2 U to the mirror image: the constant ``moving``, which does not depend on u.
Adjoint      The mirror images are subtracted from what they mirror; then ghosts are added back to their owners (HaloExchange*).
Cost         One packed message to each neighbour.
Trap         The order of the axes: an image of an image is in a corner. Forward goes axis by axis, and the adjoint goes back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from refimpl import HaloExchange, Space, wire
from refimpl.operator import Operator, Traffic

from .mesh import Mesh


class Ghosts(Operator):
    """G on the velocities ``V``. ``speeds``: (axis, 0 or 1) -> the velocity of the wall at the low or high end of the axis."""

    def __init__(self, V: Space, mesh: Mesh, speeds: Mapping[tuple[int, int], Sequence[float]] | None = None) -> None:
        rows = [inner_widths(row, wall) for row, wall in zip(V.blocks[1:], mesh.walls, strict=True)]
        self.mesh, self.exchange = mesh, HaloExchange(V, [(0, 0), *rows], "periodic")
        wide = {axis: [(a - (a < b), b + (a < b)) for a, b in row] for axis, row in enumerate(V.blocks)}
        self.domain, self.range = V, V.replace(blocks=wide | {0: V.blocks[0]})
        self.inside = tuple(
            slice(c - a, d - a)
            for (a, _), (c, d) in zip(self.range.local_box, self.exchange.range.local_box, strict=True)
        )
        self.moving = self._moving(speeds or {})

    def forward(self, u: np.ndarray) -> np.ndarray:  # V -> W:  ghost = -image
        self.domain.check(u, self)
        w = self.range.zeros()
        with wire.unchecked():
            w[self.inside] = self.exchange.forward(u)
        for component, _, ghost, image in self._images():
            w[component][ghost] = -w[component][image]
        return w

    def adjoint(self, w: np.ndarray) -> np.ndarray:  # W -> V:  image -= ghost
        self.range.check(w, self, "adjoint")
        w = w.copy()
        for component, _, ghost, image in reversed(list(self._images())):
            w[component][image] -= w[component][ghost]
        with wire.unchecked():
            return self.exchange.adjoint(np.ascontiguousarray(w[self.inside]))

    def traffic(self) -> Traffic:
        return self.exchange.traffic()

    def _images(self) -> Iterator[tuple[int, tuple[int, int], tuple, tuple]]:
        """(component, wall, ghost, image): the layers behind this rank's walls and what they mirror."""
        d, box = self.mesh.ndim, self.domain.local_box[1:]
        for axis, (wall, n, (start, stop)) in enumerate(zip(self.mesh.walls, self.mesh.shape, box, strict=True)):
            ends = [end for end, here in enumerate((start == 0, stop == n)) if wall and start < stop and here]
            for end in ends:
                at = lambda k, axis=axis: (*(slice(None),) * axis, k)
                ghost, image = (at(0), at(1)) if end == 0 else (at(-1), at(-2))
                yield from ((c, (axis, end), ghost, image) for c in range(d) if c != axis)

    def _moving(self, speeds: Mapping[tuple[int, int], Sequence[float]]) -> np.ndarray | None:
        """2 U in the ghosts of this rank; None where its walls are at rest."""
        w = None
        for component, wall, ghost, _ in self._images():
            if any(speeds.get(wall, ())):
                w = self.range.zeros() if w is None else w
                w[component][ghost] = 2.0 * speeds[wall][component]
        return w


def inner_widths(row: Sequence[tuple[int, int]], wall: bool) -> list[tuple[int, int]]:
    """One ghost at each end of each block along an axis, but none across a wall."""
    n = max(stop for _, stop in row)
    return [(int(a < b and not (wall and a == 0)), int(a < b and not (wall and b == n))) for a, b in row]
