"""The command line of the solvers: ``python -m solvers simulate | entries | plot | run | status | verify``.

Exit codes: 0 done; 1 could not (the reason is one line on stderr, or the traceback of a sample that failed); 2 the
command line is wrong; 130 interrupted.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import fields
from math import prod
from pathlib import Path

from refimpl import Partition, wire
from refimpl.cli import collectively, under_mpi

from . import generate as data
from . import navier_stokes, two_phase
from .checks import check_empty, check_free
from .entries import entries as lines_of
from .files import whole_or_absent
from .progress import bar
from .toml import FLOW, TWO_PHASE, kind_of, written

DEFAULTS = {kind: page.Settings() for kind, page in data.KINDS.items()}
KIND = "co2"  # of samples, where none is given
SETTINGS = {field.name for of in DEFAULTS.values() for field in fields(of)}


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = _parser().parse_args(arguments)
    if getattr(options, "case", None) and under_mpi():
        return collectively(lambda: options.command(options), f"python -m solvers {options.name}")
    try:
        return options.command(options)
    except (ValueError, OSError, RuntimeError) as error:
        print(f"python -m solvers {options.name}: {error}", file=sys.stderr)
        return 1
    except MemoryError as error:
        print(f"python -m solvers {options.name}: not enough memory: {error or 'ask for less'}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\ninterrupted; nothing complete is lost. {options.after_interrupt}", file=sys.stderr)
        return 130


def simulate(options: argparse.Namespace) -> int:
    """One run, one file: of the case in a TOML file, or of a sample that is drawn; a flow, or CO2 storage."""
    if options.ranks < 1 or (options.ranks > 1 and not options.case):
        raise ValueError(f"--ranks must be >= 1, and goes with CASE.toml, got {options.ranks}")
    if options.resume and not options.case:
        raise ValueError("--resume goes with CASE.toml")
    if options.case:
        if of_samples := sorted(_given(options, "kind", "index", *SETTINGS)):
            raise ValueError(
                f"{_option(of_samples[0])} is for samples, and {options.case} is a case, which says all itself"
            )
        return {FLOW: _simulate_flow, TWO_PHASE: _simulate_two_phase}[kind_of(options.case)](options)
    index = options.index or 0
    if index < 0:
        raise ValueError(f"--index must be >= 0, got {index}")
    check_free(options.out)
    plan = data.make_plan(_settings(options))
    with bar() as show:
        sample = data.make_sample(plan, index, progress=show)
    data.write_sample(options.out, sample, plan.digest)
    (name,) = {"mass_balance_error", "divergence"} & sample.provenance.keys()
    print(f"{options.out}: {sample.provenance['steps']} steps, {name.replace('_', ' ')} {sample.provenance[name]:.1e}")
    return 0


def _simulate_flow(options: argparse.Namespace) -> int:
    """Navier-Stokes, on --ranks ranks or on those of the mpiexec around this."""
    if options.resume:
        raise ValueError(f'--resume goes with a case of kind = "{TWO_PHASE}", and {options.case} is a flow')
    if not under_mpi():
        check_free(options.out)
    flow = navier_stokes.read_flow(options.case)
    if options.ranks > 1 and not under_mpi():
        return _on_ranks(options, (options.ranks,), flow.shape)
    comm = wire.world()
    _check_grid((comm.size,), flow.shape)
    with bar(hidden=comm.rank > 0) as show:
        navier_stokes.record(flow, options.out, comm, progress=show)
    if comm.rank == 0:
        print(options.out)
    return 0


def _simulate_two_phase(options: argparse.Namespace) -> int:
    """CO2 storage, on --ranks ranks or on those of the mpiexec around this; with --resume, from where the run has ended."""
    options.after_interrupt = "Run the same command with --resume to go on."
    if not (options.resume or under_mpi()):
        check_free(options.out)
    case = two_phase.read_case(options.case)
    if options.ranks > 1 and not under_mpi():
        grid = two_phase.grid_of(options.ranks, case.shape)
        return _on_ranks(options, grid, case.shape, *["--resume"] * options.resume)
    partition = None
    if under_mpi():
        comm = wire.world()
        grid = two_phase.grid_of(comm.size, case.shape)
        _check_grid(grid, case.shape)
        partition = Partition(comm, grid)
    first = not (partition and partition.comm.rank)
    with bar(hidden=not first) as show:
        two_phase.record(case, options.out, options.resume, show, partition)
    if first:
        run = two_phase.read_run(options.out)
        print(f"{options.out}: {run.dt.size} steps, mass balance {run.arrays['mass_balance_error'][-1]:.1e}")
        for line in two_phase.shortfalls(case.wells, case.times[-1], run.arrays["well_volume"][-1]):
            print(line)
    return 0


def _check_grid(grid: Sequence[int], shape: Sequence[int]) -> None:
    """Raise ValueError where ranks would have no cells: ``shape`` is cut over a ``grid`` of them along its first axes."""
    if any(p > n for p, n in zip(grid, shape, strict=False)):
        raise ValueError(
            f"--ranks: expected ranks that all have cells, got {prod(grid)}, which make a grid of {tuple(grid)} along the "
            f"first axes of shape {tuple(shape)}; take fewer"
        )


def _on_ranks(options: argparse.Namespace, grid: Sequence[int], shape: Sequence[int], *more: str) -> int:
    """The same command under mpiexec, where ``grid`` is the ranks' over cells of this ``shape``."""
    from refimpl.cli.launch import run_ranks

    _check_grid(grid, shape)
    if options.ranks > (cores := wire.available_cores()):
        print(
            f"python -m solvers simulate: {options.ranks} ranks take turns on {cores} available cores, which is slow; "
            f"--ranks {cores} is faster",
            file=sys.stderr,
        )
    return run_ranks(options.ranks, "simulate", str(options.case), "--out", str(options.out), *more, module="solvers")


def entries(options: argparse.Namespace) -> int:
    """All entries that CASE.toml may have, with their types, units and defaults."""
    cases = (FLOW, "a flow", navier_stokes.Flow), (TWO_PHASE, "CO2 storage", two_phase.Case)
    for kind, name, record in cases:
        print(f"CASE.toml of {name}\n\nkind = {written(kind)}", *lines_of(record), "", sep="\n")
    return 0


def plot(options: argparse.Namespace) -> int:
    """A picture of one run or sample; of a run, an animation too, or files for ParaView."""

    if options.out and options.vtk:
        raise ValueError(
            f"--out is a picture and --vtk files for ParaView: give one of them, got {options.out} and {options.vtk}"
        )
    picture = options.out or options.file.with_suffix(".png")
    check_empty(options.vtk) if options.vtk else check_free(picture)
    simulator = next((room for room in (two_phase, navier_stokes) if room.is_run(options.file)), None)
    if options.vtk and not simulator:
        raise ValueError(f"--vtk is for the run of a case, and {options.file} is none")
    if options.vtk:
        print(simulator.write_vtk(simulator.read_run(options.file), options.vtk))
        return 0
    content = simulator.read_run(options.file) if simulator else data.read_sample(options.file)
    with whole_or_absent(picture):
        simulator.plot(content, picture) if simulator else data.plot_sample(content, picture)
    print(picture)
    return 0


def run(options: argparse.Namespace) -> int:
    """A data set; the samples that are there stay."""
    done = data.generate(
        _settings(options),
        options.out,
        options.workers,
        max_failures=options.max_failures,
        retry_failed=options.retry_failed,
    )
    print(
        f"{done.out}: {done.made} samples made, {done.reused} reused, {len(done.failed)} failed, {done.seconds:.0f} s"
    )
    for record in done.failed:
        print(f"  sample {record['index']} failed: {record['error']}")
    return 0


def status(options: argparse.Namespace) -> int:
    """How many samples of each split are complete, missing, failed, damaged; reads them all."""
    settings, _ = data.read_plan(options.out)
    states = data.survey(options.out)
    kinds = ("complete", "missing", "failed", "damaged")
    print(f"{'':8}" + "".join(f"{kind:>10}" for kind in kinds))
    counts = Counter((settings.split_of(index), state) for index, (state, _) in states.items())
    for split in ("train", "valid", "test"):
        print(f"{split:8}" + "".join(f"{counts[split, kind]:10}" for kind in kinds))
    return 0


def verify(options: argparse.Namespace) -> int:
    """Read every sample and compare its content with the sha256 it was written with."""
    if options.path.is_dir():
        states = data.survey(options.path)
        bad = {index: f"{state}: {detail}" for index, (state, detail) in states.items() if state != "complete"}
        for index, fault in bad.items():
            print(f"sample {index} {fault}")
        print(f"{options.path}: {len(states) - len(bad)} of {len(states)} samples are complete and unchanged")
        return 1 if bad else 0
    data.check_sample(options.path)
    print(f"{options.path}: complete and unchanged")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m solvers", description="Simulate CO2-brine flow and incompressible flow; make training data."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    one = _command(
        commands,
        simulate,
        "python -m solvers simulate --shape 16,16,8 --frames 5 --years 2 --out sample.h5",
        "python -m solvers simulate --kind sphere --shape 32,24,24 --radius 3 --duration 10 --out wake.h5",
        "python -m solvers simulate flow.toml --ranks 2 --out run.h5",
        "python -m solvers simulate storage.toml --out storage.h5 --resume",
    )
    one.add_argument("case", type=Path, nargs="?", metavar="CASE.toml", help="a case, as below (default: a CO2 sample)")
    one.epilog += "\n\nAll entries of CASE.toml, with their types, units and defaults: python -m solvers entries"
    one.epilog += f"\n\nCASE.toml of a flow, flow.toml:\n\n{navier_stokes.EXAMPLE}"
    one.epilog += f"\n\nCASE.toml of CO2 storage, storage.toml:\n\n{two_phase.EXAMPLE}"
    one.add_argument("--ranks", type=int, default=1, help="processes that a case is cut over (default: 1)")
    one.add_argument("--out", type=_path, required=True, metavar="FILE.h5", help="the file to write, a new one")
    one.add_argument("--resume", action="store_true", help="of CO2 storage: go on with the run in FILE.h5")
    one.add_argument("--index", type=int, help="which sample of the root seed (default: 0)")
    _add_settings(one)

    _command(commands, entries, "python -m solvers entries")

    picture = _command(
        commands,
        plot,
        "python -m solvers plot sample.h5 --out sample.png",
        "python -m solvers plot run.h5 --out run.gif",
        "python -m solvers plot storage.h5 --vtk storage",
    )
    picture.epilog += "\n\nParaView opens storage/run.pvd, all frames with their times."
    picture.add_argument("file", type=Path, metavar="FILE.h5", help="a sample, or the run of a case")
    picture.add_argument(
        "--out",
        type=Path,
        metavar="FILE.png",
        help="the picture, a new file; of a run also .gif (default: beside FILE.h5)",
    )
    picture.add_argument(
        "--vtk", type=Path, metavar="DIR", help="of a run: write files for ParaView (VTK) into this folder, a new one"
    )

    many = _command(
        commands,
        run,
        "python -m solvers run --train 4 --valid 1 --test 1 --shape 16,16,8 --out data/small",
        "python -m solvers run --kind sphere --train 4 --valid 1 --test 1 --shape 32,24,24 --radius 3 --out data/wakes",
    )
    many.add_argument(
        "--out", type=_path, required=True, metavar="DIR", help="the data set's folder; run again to resume"
    )
    many.add_argument("--workers", type=int, help="processes (default: one per core)")
    many.add_argument("--max-failures", type=float, default=0.1, help="share of samples that may fail (default: 0.1)")
    many.add_argument("--retry-failed", action="store_true", help="try samples again that failed in an earlier run")
    for split in ("train", "valid", "test"):
        many.add_argument(f"--{split}", type=int, help=f"number of samples (default: {getattr(data.Settings, split)})")
    _add_settings(many)
    many.set_defaults(after_interrupt="Run the same command again to go on.")

    counts = _command(commands, status, "python -m solvers status data/small")
    counts.add_argument("out", type=Path, metavar="DIR", help="the data set's folder")

    check = _command(commands, verify, "python -m solvers verify data/small")
    check.add_argument("path", type=Path, metavar="DIR|FILE.h5", help="a data set or one sample")
    return parser


def _command(commands, function, *examples: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        function.__name__,
        help=function.__doc__,
        description=function.__doc__,
        epilog="\n  ".join(["example:", *examples]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=function, name=function.__name__, after_interrupt="")
    return parser


def _add_settings(parser: argparse.ArgumentParser) -> None:
    """The options that describe a sample; what is not given keeps the default of the kind's Settings."""
    group = parser.add_argument_group("the samples")
    group.add_argument("--kind", choices=DEFAULTS, help=f"CO2 storage, or flow past a sphere (default: {KIND})")

    def add(name: str, metavar: str, read, text: str) -> None:
        shown = ", ".join(f"{kind}: {_shown(getattr(of, name))}" for kind, of in DEFAULTS.items() if hasattr(of, name))
        group.add_argument(_option(name), metavar=metavar, type=read, help=f"{text} ({shown})")

    add("shape", "NX,NY,NZ", _numbers(int, 3), "cells")
    add("frames", "N", int, "report times after the initial state")
    add("root_seed", "SEED", int, "the seed of everything that is drawn")
    add("spacing", "DX,DY,DZ", _numbers(float, 3), "size of a cell, m")
    add("years", "YEARS", float, "simulated time")
    add("rate", "LOW,HIGH", _numbers(float, 2), "range of the total rate, m3/s of CO2")
    add("tops", "FILE", str, "a real top surface, HDF5 'tops' or Eclipse TOPS, m")
    add("tops_shape", "NX,NY", _numbers(int, 2), "its columns; an Eclipse file does not say them")
    add("tops_spacing", "DX,DY", _numbers(float, 2), "distance of its columns, m")
    add("tops_crop", "I0,I1,J0,J1", _numbers(int, 4), "keep its columns I0 to I1 - 1, J0 to J1 - 1 only")
    add("radius", "R", float, "of the sphere, cells")
    add("velocity", "U,V,W", _numbers(float, 3), "of the free stream, m/s; a cell is 1 m")
    add("reynolds", "RE", float, "U R / viscosity")
    add("duration", "T", float, "simulated time, in R / speed")


def _shown(default: object) -> str:
    return ",".join(f"{v:g}" for v in default) if isinstance(default, tuple) else str(default)


def _path(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("expected a name, got an empty one")
    return Path(text)


def _numbers(kind: type, count: int):
    """A reader of ``count`` numbers separated by commas."""

    def read(text: str) -> tuple:
        try:
            values = tuple(kind(word) for word in text.split(","))
        except ValueError:
            values = ()
        if len(values) != count:
            named = "whole numbers" if kind is int else "numbers"
            raise argparse.ArgumentTypeError(f"expected {count} {named} separated by commas, got {text!r}")
        return values

    return read


def _settings(options: argparse.Namespace) -> data.Splits:
    kind = options.kind or KIND
    given = _given(options, *SETTINGS)
    if foreign := sorted(given.keys() - {field.name for field in fields(DEFAULTS[kind])}):
        raise ValueError(f"{_option(foreign[0])} is no option for samples of kind {kind}")
    return data.KINDS[kind].Settings(**given)


def _given(options: argparse.Namespace, *names: str) -> dict[str, object]:
    """Those of the options that the command line has."""
    return {name: value for name in names if (value := getattr(options, name, None)) is not None}


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


if __name__ == "__main__":
    sys.exit(main())
