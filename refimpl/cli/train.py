"""Train a Fourier neural operator on a data set, model-parallel over the ranks of mpiexec.

The configuration is a TOML file; ``refimpl demo`` writes one. A training that was interrupted goes on from its newest
checkpoint with --resume, on any number of ranks and any grid. Into the configuration's ``out`` go checkpoints, the best network
so far (best/), log.csv and curves.png.

example:
    mpiexec -n 2 refimpl train report/train.toml --resume
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=Path, help="the TOML file")
    example = Path(__file__).with_name("example.toml").read_text()
    parser.epilog = f"a configuration with all its entries:\n\n{example}"
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint")


def run(args: argparse.Namespace) -> int:
    from .. import wire
    from ..training import Dataset, fit
    from ..training.checkpoint import committed
    from ..training.log import draw
    from .config import read
    from .files import check_folder

    comm = wire.world()
    config = wire.together(comm, lambda: read(args.config))
    if not args.resume and wire.at_root(comm, lambda: committed(config.out)):
        raise ValueError(f"{config.out} holds a checkpoint; say --resume to go on from it, or choose another out")
    train, valid = Dataset(comm, config.data, "train"), Dataset(comm, config.data, "valid")
    wire.at_root(comm, lambda: check_folder(config.out))
    model = config.network(comm, train.cells, train.frames)
    held_out_model = config.network(comm, train.cells, train.frames, batch=config.batch_ranks)
    if comm.rank == 0:
        print(
            f"training {model.parameter_count:,} parameters on {comm.size} ranks, grid {model.domain.partition.shape}: "
            f"{len(train)} samples of {' x '.join(map(str, train.cells))} cells x {train.frames} frames",
            flush=True,
        )
    progress = fit(model, held_out_model, train, valid, train.scaling(), config.training, config.out)
    wire.together(comm, lambda: draw(progress, config.out / "curves.png") if comm.rank == 0 else None)
    if comm.rank == 0:
        if progress.epoch < config.training.epochs:
            print(f"stopped: no better held-out error in {config.training.patience} epochs")
        print(
            f"trained {progress.epoch} epochs in {progress.seconds:.0f} s on {' and '.join(map(str, progress.ranks))} ranks; "
            f"held-out error {progress.held_out[-1]:.3f}, the best {min(progress.held_out):.3f} after epoch {progress.best}"
        )
    return 0
