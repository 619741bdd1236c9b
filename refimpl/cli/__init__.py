"""The command line: one file a command, each with ``add_arguments(parser)`` and ``run(args)``.

A user's mistake ends in one line without a traceback and exit code 1. Under mpiexec, an error that all ranks raise together
is printed once; one that a single rank raises is printed with its traceback, and ends the job.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Callable
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
    return collectively(lambda: command.run(args), f"refimpl {args.command}")


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
        tell(f"refimpl {args.command}", error)
        return 1


def tell(name: str, error: Exception) -> None:
    """Print an error, in one of the processes of an mpiexec that all have it."""
    if all(os.environ.get(rank, "0") == "0" for rank in RANK_NAMES):
        print(f"{name}: {error}", file=sys.stderr)


def collectively(action: Callable[[], int], name: str) -> int:
    """The exit code of ``action``, done on every rank for the command ``name``; tells an error of all from one of a rank."""
    from .. import wire

    try:
        comm = wire.world()
    except RuntimeError as error:  # no MPI library: every rank fails alike, and none can speak to another
        tell(name, error)
        return 1
    end = wire.Rendezvous(comm)
    try:
        return action()
    except KeyboardInterrupt:
        wire.abort(comm, 130)
        return 130
    except Exception as error:
        if isinstance(error, MISTAKES) and end.complete(seconds=3.0):
            if comm.rank == 0:
                print(f"{name}: {error}", file=sys.stderr, flush=True)
            return 1
        print(f"{name} on rank {comm.rank}:\n{traceback.format_exc()}", file=sys.stderr, flush=True)
        wire.abort(comm, 1)
        return 1
