"""The main job, end to end, on a page.

  1  simulate CO2 injection into random sand and seal models under a real or synthetic top surface
  2  train a model-parallel Fourier neural operator on these simulations, over MPI, with hand-written adjoints
  3  compare it with the simulator on unseen cases
  4  prove the adjoints of everything that was used
  5  write OUT/index.html: open it in a browser; it needs no network

A second run reuses what it finds valid; an interrupted one goes on where it stopped. Another grid, surface or number of
samples needs another --out. A cell is 80 x 80 x 6 m.

examples:
  refimpl demo
  refimpl demo --tops sleipner_tops_orig.h5 --out sleipner
  refimpl demo --tops TOPS.INC --tops-shape 64,118 --out mine
  refimpl demo --cells 16,16,8 --samples 12 --epochs 10 --ranks 4 --out small
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from solvers.generate import Settings

    from .config import Config

VALID, TEST = 4, 6  # samples beside those that train
FRAMES = 8  # report times: one a year


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out", type=named, default=Path("report"), help="folder of the page and the data (default: report)"
    )
    parser.add_argument(
        "--tops", type=named, help="a real top surface: HDF5 with a data set 'tops' (nx, ny), depths in m"
    )
    parser.add_argument(
        "--tops-shape", type=numbers(2), help="its columns NX,NY; an Eclipse file (TOPS) does not say them"
    )
    parser.add_argument(
        "--cells", type=numbers(3), default=(20, 20, 8), help="NX,NY,NZ, at least 6,6,6 (default: 20,20,8)"
    )
    parser.add_argument("--samples", type=int, default=160, help="training simulations (default: 160)")
    parser.add_argument("--epochs", type=int, default=16, help="passes over them (default: 16)")
    parser.add_argument("--ranks", type=int, default=2, help="ranks that share the network (default: 2)")
    parser.add_argument("--workers", type=int, help="processes that simulate (default: one a core)")


def named(text: str) -> Path:
    """The path that is meant; ~ is the home folder, also where no shell has seen it."""
    if not text:
        raise argparse.ArgumentTypeError("expected a name, got an empty one")
    return Path(os.path.expanduser(text))


def numbers(count: int) -> Callable[[str], tuple[int, ...]]:
    """A reader of ``count`` whole numbers separated by commas."""

    def read(text: str) -> tuple[int, ...]:
        values = tuple(int(word) if word.strip().isdigit() else 0 for word in text.split(","))
        if len(values) != count or min(values) < 1:
            raise argparse.ArgumentTypeError(
                f"expected {count} positive whole numbers separated by commas, got {text!r}"
            )
        return values

    return read


def run(args: argparse.Namespace) -> int:
    from solvers.generate import generate, make_plan, make_sample

    from . import report
    from .config import write

    if int(os.environ.get("PMI_SIZE") or os.environ.get("OMPI_COMM_WORLD_SIZE") or 1) > 1:
        raise ValueError("demo starts its ranks itself: run it without mpiexec, and choose their number with --ranks")
    if args.ranks < 1 or args.samples < 2 or args.epochs < 1:
        raise ValueError("expected at least 1 rank, 2 samples and 1 epoch")
    start, out, toml = time.perf_counter(), args.out, args.out / "train.toml"
    say(f"1/5 simulate: {args.samples + VALID + TEST} cases of {' x '.join(map(str, args.cells))} cells")
    settings = data_settings(args)
    summary = generate(settings, out / "data", workers=args.workers)
    print(f"made {summary.made}, reused {summary.reused}, failed {len(summary.failed)}")
    for record in summary.failed:
        print(f"  sample {record['index']} failed: {record['error']}")
    config = training_config(args, settings)
    write(toml, config)
    say(f"2/5 train on {args.ranks} ranks")
    ranks(args, "train", toml, "--resume")
    say("3/5 compare with the simulator on unseen cases")
    ranks(args, "evaluate", toml)
    alone = make_sample(make_plan(settings), args.samples + VALID).provenance["seconds"]
    print(f"one simulation, alone on one core: {alone:.2f} s")
    say("4/5 prove the adjoints")
    proved = ranks(args, "verify", "--config", toml, "--report", out / "adjoints.json", may_fail=True)
    say("5/5 write the page")
    page = report.write(out, config, alone, len(summary.failed))
    say(f"done in {time.perf_counter() - start:.0f} s: open {page}")
    return int(not proved)


def ranks(args: argparse.Namespace, command: str, *arguments: object, may_fail: bool = False) -> bool:
    """Run a command of this program on the ranks asked for; whether it ended well. RuntimeError where it had to."""
    from .launch import run_ranks

    code = run_ranks(args.ranks, command, *map(str, arguments))
    if code and not may_fail:
        raise RuntimeError(f"{command} on {args.ranks} ranks ended with code {code}; its message is above")
    return code == 0


def say(text: str) -> None:
    print(f"\n== {text}", flush=True)


def data_settings(args: argparse.Namespace):
    """What is simulated."""
    from solvers.generate import Settings

    tops = None if args.tops is None else os.fspath(args.tops)
    return Settings(
        shape=args.cells,
        train=args.samples,
        valid=VALID,
        test=TEST,
        tops=tops,
        tops_shape=args.tops_shape,
        frames=FRAMES,
    )


def training_config(args: argparse.Namespace, settings: Settings) -> Config:
    """The network and the loop, sized to the grid; another network or data set gets a folder of its own."""
    from ..training import Training
    from .config import Config, Model

    modes = (*(min(4, n // 2) for n in args.cells), min(3, settings.frames // 2 + 1))
    model, training = Model(modes=modes), Training(epochs=args.epochs)
    described = json.dumps([asdict(model), asdict(training), asdict(settings)], sort_keys=True)
    name = f"training-{hashlib.sha256(described.encode()).hexdigest()[:8]}"
    return Config(data=args.out / "data", out=args.out / name, model=model, training=training)
