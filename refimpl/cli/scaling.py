"""Predict what an FNO needs on many ranks: memory, messages and time of each, and the parallel efficiency.

Without --cells, the cases are those of the papers: "weak" and "weak-12", 64^3 cells and 32 time steps a rank with 4 and 12
modes, up to 3072 ranks; "variables", 2.6 billion of them on 512 ranks; "sleipner", the grid of 2 million cells. What is shown
is rank 0, which has the largest blocks and all small weights. "sums" and "repart": what the truncated transforms would send in
each of their two forms, of which the model takes the lesser; "dfno": what that program's repartitions would. Efficiency is
against the first of the grids: the same cells a rank (weak), or the same cells on more ranks (strong).

--measure shows prediction and measurement side by side. A machine of --calibrate knows its cores: ranks that share one take
turns. Both are of one moment: what else runs on the machine while it is calibrated, or measured, moves the ratio. On two cores
of an idle machine, the two examples of --measure gave 0.96 to 1.29 times the measured time; one rank alone is the fastest.

example:
    refimpl scaling --case variables --machine perlmutter
    refimpl scaling --cells 64,64,64 --timesteps 32 --modes 8,8,8,8 --grids 1x1x1,2x2x1,4x4x1 --machine summit --out scaling
    mpiexec -n 2 refimpl scaling --calibrate here.toml
    mpiexec -n 2 refimpl scaling --case weak --cells 32,32,32 --timesteps 16 --grids 1x1x1,2x1x1 --machine here.toml --measure
    mpiexec -n 8 refimpl scaling --cells 32,32,16 --timesteps 16 --modes 4,4,4,4 --grids 1x1x1,2x1x1,2x2x1,4x2x1 \\
        --machine here.toml --measure
    refimpl scaling --case weak --grids 32x24x1 --simulate 0
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import inf, prod
from pathlib import Path
from typing import Any

import numpy as np

from .cases import CASES, Case, text
from .files import check_folder, write_whole

GIB, MB = 2**30, 1e6
TITLES = (
    "ranks grid variables weights GiB:fwd GiB:step share "
    "MB:sent MB:sums MB:repart MB:dfno ratio forward adjoint efficiency"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--case", choices=CASES, help="one of the papers' cases; default: all of them")
    parser.add_argument(
        "--cells", type=whole_numbers, metavar="N,N,N", help="a case of your own: cells along each axis,"
    )
    parser.add_argument("--weak", action="store_true", default=None, help="which are those of one rank,")
    parser.add_argument("--timesteps", type=int, help="time steps of the output,")
    parser.add_argument("--modes", type=whole_numbers, metavar="M,M,M,M", help="modes along each axis and time,")
    parser.add_argument("--grids", type=grids, metavar="PxPxP,..", help="and ranks along each axis, for each row")
    parser.add_argument("--width", type=int, help="channels of the blocks; default: those of the case, or 20")
    parser.add_argument("--blocks", type=int, help="how many; default: 4")
    parser.add_argument("--dtype", choices=("float32", "float64"), help="default: float32")
    parser.add_argument("--machine", default="perlmutter", help="summit, perlmutter, azure-nd or a file of --calibrate")
    parser.add_argument("--out", type=Path, help="write scaling.txt and a picture of each case into this folder")
    other = parser.add_mutually_exclusive_group()
    other.add_argument("--calibrate", type=Path, metavar="FILE", help="measure this machine under mpiexec, into FILE")
    other.add_argument(
        "--measure", action="store_true", help="run each grid that fits on the ranks of mpiexec, beside it"
    )
    other.add_argument(
        "--simulate", type=int, metavar="RANK", help="run a training step of one rank of the last grid alone"
    )


def run(args: argparse.Namespace) -> int:
    from .. import wire
    from ..verify import LoneRank
    from . import under_mpi
    from .calibration import calibrate
    from .machines import find, toml
    from .one_rank import simulated

    uses_ranks = args.calibrate or args.measure or under_mpi()
    comm: Any = wire.world() if uses_ranks else LoneRank(0, 1)
    if args.calibrate:
        wire.at_root(comm, lambda: check_folder(args.calibrate.parent))
        machine = calibrate(comm)
        wire.at_root(comm, lambda: write_whole(args.calibrate, lambda path: path.write_text(toml(machine))))
        if comm.rank == 0:
            print(toml(machine))
        return 0
    machine, cases = wire.together(comm, lambda: find(args.machine)), wire.together(comm, lambda: chosen(args))
    if (args.measure or args.simulate is not None) and len(cases) > 1:
        raise ValueError("--measure and --simulate run one case: say --case, or --cells and what belongs to it")
    if args.measure:
        wire.limit_threads()  # without mpiexec too: so the machine was calibrated
        told = [measured(comm, case, machine) for case in cases]
    elif args.simulate is not None:
        if comm.size > 1:
            raise ValueError("--simulate runs one rank alone: start it without mpiexec")
        told = [simulated(case, args.simulate) for case in cases]
    else:
        if args.out:
            wire.at_root(comm, lambda: check_folder(args.out))
        told = wire.at_root(comm, lambda: [predicted(case, machine, args.out) for case in cases])
    if comm.rank == 0:
        print("\n\n".join(told))
    if args.out:
        wire.at_root(comm, lambda: write(args.out, "\n\n".join(told) + "\n"))
    return 0


def write(out: Path, told: str) -> None:
    write_whole(out / "scaling.txt", lambda path: path.write_text(told))


# ---- the cases -------------------------------------------------------------------------------------------------------


def whole_numbers(given: str) -> tuple[int, ...]:
    """ "64,64,64" as numbers."""
    return tuple(int(n) for n in given.split(","))


def grids(given: str) -> tuple[tuple[int, ...], ...]:
    """ "1x1x1,2x1x1" as grids."""
    return tuple(tuple(int(p) for p in grid.split("x")) for grid in given.split(","))


def chosen(args: argparse.Namespace) -> list[Case]:
    """The cases that the arguments ask for: the papers', one of them with changes, or the user's own."""
    names = ("cells", "timesteps", "modes", "grids", "width", "blocks", "dtype", "weak")
    own = {name: value for name in names if (value := getattr(args, name)) is not None}
    if args.case:
        return [replace(CASES[args.case], **own)]
    if not own:
        return list(CASES.values())
    missing = [f"--{name}" for name in names[:4] if name not in own]
    if missing:
        raise ValueError(
            f"a case of your own also needs {', '.join(missing)}; or say --case for one of the papers' to be changed"
        )
    return [Case("own", **own)]


# ---- predicted -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One grid of a case; ``dfno``: bytes a rank each way, or None where its partition would not work."""

    grid: tuple[int, ...]
    prediction: Any
    parameters: int
    dfno: float | None

    @property
    def ranks(self) -> int:
        return prod(self.grid)

    @property
    def seconds(self) -> float:
        return self.prediction.forward + self.prediction.adjoint


def predicted(case: Case, machine: Any, out: Path | None) -> str:
    """The case's table; its picture into ``out``."""
    rows = [row(case, grid, machine) for grid in case.grids]
    efficiencies = [efficiency(case, rows[0], r) for r in rows]
    if out:
        picture(case, machine, rows, efficiencies, out / f"scaling-{case.name}.png")
    return table(case, machine, rows, efficiencies)


def row(case: Case, grid: tuple[int, ...], machine: Any) -> Row:
    from ..verify import LoneRank
    from .dfno import volume
    from .prediction import predict

    model = case.model(LoneRank(0, prod(grid)), grid)
    try:
        theirs = case.blocks * volume(model.layers["block0"].domain, case.modes)
    except ValueError:
        theirs = None
    return Row(grid, predict(model, machine), model.parameter_count, theirs)


def efficiency(case: Case, first: Row, row: Row) -> float:
    """The time that the work takes on the first grid over that on this one, per rank."""
    return first.seconds / row.seconds * (1 if case.weak else first.ranks / row.ranks)


def table(case: Case, machine: Any, rows: Sequence[Row], efficiencies: Sequence[float]) -> str:
    each = "a rank" if case.weak else "in all"
    lines = [
        f"{case.name}: {text(case.cells)} cells {each}, {case.timesteps} time steps, width {case.width}, modes {case.modes},"
        f" {case.blocks} blocks, {case.dtype}; on {machine.name}",
        "memory a rank: a forward pass, a training step, and that as a share of the machine's (!: too much); messages a rank:",
        "all that rank 0 sends forward; each way, on average, what the transforms would send in either form (*: as chosen),",
        "and what dfno's repartitions would; ratio: dfno's to ours; times in s",
        "".join(f"{title.replace(':', ' '):>11}" for title in TITLES.split()),
    ]
    for r, e in zip(rows, efficiencies, strict=True):
        p = r.prediction
        share = p.memory.step / machine.memory
        cells = [r.ranks, text(r.grid), f"{prod(case.cells_on(r.grid)) * case.timesteps:.2e}", f"{r.parameters:.1e}"]
        cells += [f"{p.memory.forward / GIB:.2f}", f"{p.memory.step / GIB:.2f}", f"{share:.0%}" + "!" * (share > 1)]
        cells += [f"{p.traffic.forward.bytes / MB:.2f}"]
        cells += [f"{sent / MB:.2f}" + "*" * (form in p.chosen) for form, sent in p.forms.items()]
        dfno, ratio = ("-", "-") if r.dfno is None else (f"{r.dfno / MB:.1f}", f"{r.dfno / max(p.spectral, 1):.1f}")
        cells += [dfno, ratio if p.spectral else "-", f"{p.forward:.3g}", f"{p.adjoint:.3g}", f"{e:.0%}"]
        lines.append("".join(f"{cell:>11}" for cell in cells))
    return "\n".join(lines)


def picture(case: Case, machine: Any, rows: Sequence[Row], efficiencies: Sequence[float], path: Path) -> None:
    """Efficiency, and messages beside dfno's, over ranks."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    ranks = [r.ranks for r in rows]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    left.plot(ranks, efficiencies, "o-", color="#0b6fa4")
    left.set(xscale="log", xlabel="ranks", ylim=(0, 1.1), ylabel=f"{'weak' if case.weak else 'strong'} efficiency")
    theirs = [np.nan if not r.dfno else r.dfno / MB for r in rows]
    for form, line in (("sums", "o-"), ("repartition", "o:")):
        sent = [r.prediction.forms[form] / MB or np.nan for r in rows]
        right.plot(ranks, sent, line, color="#0b6fa4", label=form)
    right.plot(ranks, theirs, "o--", color="#c4622d", label="dfno's repartitions")
    right.set(xscale="log", yscale="log", xlabel="ranks", ylabel="MB a rank, each way")
    right.legend(frameon=False)
    for ax in (left, right):
        ax.set_xticks(ranks, [str(n) for n in ranks], rotation=45)
        ax.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
        ax.grid(alpha=0.3)
    figure.suptitle(f"{case.name}, predicted for {machine.name}", fontsize=10)
    write_whole(path, lambda partial: figure.savefig(partial, format="png", dpi=120))
    plt.close(figure)


# ---- measured --------------------------------------------------------------------------------------------------------


def measured(comm: Any, case: Case, machine: Any) -> str:
    """Predicted and measured seconds of the forward and of the adjoint, on each grid that has ranks here; collective.

    Ranks that a grid leaves out sleep meanwhile: waiting as MPI does would take the cores from those that work.
    """
    from .. import wire
    from .one_rank import expect_room

    lines, asleep = [], wire.Rendezvous(comm)
    for grid in (g for g in case.grids if prod(g) <= comm.size):
        ranks, expected = tuple(range(prod(grid))), row(case, grid, machine).prediction
        needed, what = expected.memory.step * prod(grid), f"{case.name} on {text(grid)}"
        wire.at_root(comm, partial(expect_room, needed, what))  # what is free is of one moment
        times = seconds_of(case, wire.group(comm, ranks), grid) if comm.rank in ranks else (0.0, 0.0)
        asleep.complete(inf)
        pairs = zip((expected.forward, expected.adjoint), times, strict=True)
        cells = [
            prod(grid),
            text(grid),
            *(cell for a, b in pairs for cell in (f"{a:.3g}", f"{b:.3g}", f"{a / (b or inf):.2f}")),
        ]
        lines.append("".join(f"{cell:>12}" for cell in cells))
    if not lines:
        raise ValueError(f"--measure: no grid of {case.name} fits on {comm.size} ranks; start more, or say --grids")
    titles = "ranks grid forward measured ratio adjoint measured ratio".split()
    title = f"{case.name}: seconds, predicted for {machine.name} and measured (the median of the slowest rank)"
    return "\n".join([title, "".join(f"{title:>12}" for title in titles), *lines])


def seconds_of(case: Case, comm: Any, grid: Sequence[int]) -> tuple[float, float]:
    """Of a linearisation and of an adjoint of the case on all ranks of ``comm``."""
    from .calibration import seconds

    model = case.model(comm, grid)
    x, dy = model.domain.random(1), model.range.random(2)
    _, J = model.linearize(x)
    return seconds(comm, lambda: model.linearize(x)), seconds(comm, lambda: J.adjoint(dy))
