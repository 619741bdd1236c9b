"""The command line: one file a command, each with ``add_arguments(parser)`` and ``run(args)``.

A user's mistake ends in one line without a traceback and exit code 1. Under mpiexec, an error that all ranks raise together
is printed once; one that a single rank raises is printed with its traceback, and ends the job.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from importlib import import_module
from typing import Any

COMMANDS = {
    "demo": "the main job, end to end: simulate, train, compare, prove, show",
    "train": "train a surrogate on a data set",
    "predict": "predict new cases with a trained surrogate",
    "evaluate": "compare a trained surrogate with the simulator on unseen cases",
    "verify": "dot tests of every operator and layer on the ranks at hand",
    "scaling": "memory, messages and time of an FNO on many ranks, predicted",
}
RANK_NAMES = ("PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK")  # one of them is set by each mpiexec
MISTAKES = (ValueError, OSError, ArithmeticError, RuntimeError, MemoryError)


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    if sys.version_info < (3, 11):  # noqa: UP036  a wheel may have been unpacked by hand
        print(f"refimpl: needs Python 3.11 or newer, this is {sys.version.split()[0]}", file=sys.stderr)
        return 2
    args = parse(argv)
    command = import_module(f"refimpl.cli.{args.command}")
    if args.command == "demo" or not under_mpi():  # the demo starts its ranks itself
        return alone(command, args)
    return collectively(command, args)


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="refimpl", description="The executable reference of model-parallel scientific machine learning."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in COMMANDS.items():
        module = import_module(f"refimpl.cli.{name}")
        sub = commands.add_parser(
            name, help=text, description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        module.add_arguments(sub)
    return parser.parse_args(argv)


def under_mpi() -> bool:
    """True in a process that an mpiexec started."""
    return any(name in os.environ for name in RANK_NAMES)


def alone(command: Any, args: argparse.Namespace) -> int:
    try:
        return command.run(args)
    except KeyboardInterrupt:
        print(f"refimpl {args.command}: interrupted; what is complete stays, the same command goes on", file=sys.stderr)
        return 130
    except MISTAKES as error:
        tell(args, error)
        return 1


def tell(args: argparse.Namespace, error: Exception) -> None:
    """Print an error, in one of the processes of an mpiexec that all have it."""
    if all(os.environ.get(name, "0") == "0" for name in RANK_NAMES):
        print(f"refimpl {args.command}: {error}", file=sys.stderr)


def collectively(command: Any, args: argparse.Namespace) -> int:
    """Run on every rank; tell an error of all from an error of one."""
    from .. import wire

    try:
        comm = wire.world()
    except RuntimeError as error:  # no MPI library: every rank fails alike, and none can speak to another
        tell(args, error)
        return 1
    end = wire.Rendezvous(comm)
    try:
        return command.run(args)
    except KeyboardInterrupt:
        wire.abort(comm, 130)
        return 130
    except Exception as error:
        if isinstance(error, MISTAKES) and end.complete(seconds=3.0):
            if comm.rank == 0:
                print(f"refimpl {args.command}: {error}", file=sys.stderr, flush=True)
            return 1
        print(f"refimpl {args.command} on rank {comm.rank}:\n{traceback.format_exc()}", file=sys.stderr, flush=True)
        wire.abort(comm, 1)
        return 1
