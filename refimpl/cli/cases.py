"""The cases of ``refimpl scaling``: those of the papers, and the user's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Case:
    """An FNO on a grid of ``cells``, which are those of one rank where ``weak``, and grids of ranks along the cells' axes."""

    name: str
    cells: tuple[int, ...]
    timesteps: int
    modes: tuple[int, ...]
    grids: tuple[tuple[int, ...], ...]
    weak: bool = False
    width: int = 20
    blocks: int = 4
    dtype: str = "float32"

    def __post_init__(self) -> None:
        for grid in self.grids:
            if len(grid) != len(self.cells):
                raise ValueError(
                    f"the grid {text(grid)} needs one entry for each of the cells' axes, {text(self.cells)}"
                )
            if min(grid) < 1 or any(p > n for p, n in zip(grid, self.cells_on(grid), strict=True)):
                raise ValueError(f"the grid {text(grid)} leaves ranks without any of the {text(self.cells)} cells")

    def cells_on(self, grid: Sequence[int]) -> tuple[int, ...]:
        """All cells of a run on ``grid``."""
        return tuple(n * p for n, p in zip(self.cells, grid, strict=True)) if self.weak else self.cells

    def model(self, comm: Any, grid: Sequence[int]) -> Any:
        """The network on the ranks of ``comm``. ValueError where the modes do not fit, or the ranks are too few."""
        from ..models import FNO
        from ..partition import Partition
        from ..space import Space

        X = Space(Partition(comm, (1, 1, *grid, 1)), (1, 1, *self.cells_on(grid), 1), self.dtype)
        return FNO(X, self.width, self.modes, self.blocks, out_timesteps=self.timesteps)


def text(sizes: Sequence[int]) -> str:
    """Sizes as they are written: 64x64x64."""
    return "x".join(map(str, sizes))


WEAK = Case("weak", (64, 64, 64), 32, (4, 4, 4, 8), (), weak=True)
ON = ((1, 1, 1), (2, 1, 1), (2, 2, 1), (4, 4, 1), (8, 6, 1), (16, 12, 1), (32, 24, 1), (48, 32, 1), (64, 48, 1))
SLEIPNER = ((4, 2, 1), (4, 4, 1), (8, 4, 1), (8, 8, 1), (16, 8, 1))
CASES = {
    case.name: case
    for case in (
        replace(WEAK, grids=ON),  # the local size and width of dfno's benchmarks
        replace(WEAK, name="weak-12", modes=(12, 12, 12, 8), grids=ON[3:8]),
        # arXiv 2204.01205 tells the number of variables, not the shape of the grid: this one is ours
        Case("variables", (2048, 640, 64), 31, (8, 8, 8, 8), ((32, 16, 1),)),
        # dfno's training of the Sleipner data: width, modes and time steps
        Case("sleipner", (262, 118, 64), 86, (16, 16, 12, 10), SLEIPNER, width=10),
    )
}
