"""Predict new cases with a trained surrogate.

A case is an HDF5 file with permeability_x, permeability_z, depth and well_rate, each (1, nx, ny, nz), in the group t0_fields:
what python -m solvers makes, but no simulation is needed. The cells may be others than those of the training. Into the folder
--out goes a file for each case, of the same name, with t0_fields/saturation (1, frames, nx, ny, nz).

A network that was trained with a window (see refimpl train --help) goes on from its own predictions, to as many --frames as
asked for. It begins with the first frame of t0_fields/saturation, or without one with no CO2.

example:
    mpiexec -n 2 refimpl predict report/train.toml report/data/data/test --out predictions
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path
from typing import Any

from .files import check_folder, write_whole


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=Path, help="the TOML file of the training")
    parser.add_argument("cases", type=Path, help="an HDF5 file, or a folder of them")
    parser.add_argument("--out", type=Path, required=True, help="the folder for the predictions")
    parser.add_argument(
        "--frames", type=int, help="frames to predict (default: those that the network predicts at once)"
    )
    parser.add_argument(
        "--best", action="store_true", help="use the network of the lowest held-out error, not the newest"
    )


def run(args: argparse.Namespace) -> int:
    from .. import wire
    from ..training import Cases, Dataset, View, load_model, rollout
    from ..training.checkpoint import newest_extra
    from ..training.rollouts import rolled_out
    from .config import read

    comm = wire.world()
    config = wire.together(comm, lambda: read(args.config))
    trained = config.out / "best" if args.best else config.out
    cases = Cases(comm, wire.at_root(comm, lambda: files_of(args.cases, args.out)), args.cases)
    frames = newest_extra(comm, trained).get("frames") or Dataset(comm, config.data, "train").frames
    model = config.network(comm, cases.cells, frames, batch=config.batch_ranks)
    _, scaling = load_model(model, trained)
    model, frames, size = model.frozen(), frames if args.frames is None else args.frames, config.batch_ranks
    Y = rolled_out(model, frames)
    wire.at_root(comm, lambda: check_folder(args.out))
    start = time.perf_counter()
    for first in range(0, len(cases), size):  # a last batch that is not full is filled with its last case
        numbers = [min(first + k, len(cases) - 1) for k in range(size)]
        x = cases.inputs([View(i) for i in numbers], model.domain, scaling)
        predicted = Y.gather(rollout(model, x, frames))
        wire.together(comm, partial(write, args.out, cases, numbers, predicted))
    if comm.rank == 0:
        cells = " x ".join(map(str, cases.cells))
        seconds = time.perf_counter() - start
        print(f"predicted {len(cases)} cases of {cells} cells x {frames} frames in {seconds:.1f} s: {args.out}")
    return 0


def files_of(cases: Path, out: Path) -> list[Path]:
    """The HDF5 files that are meant. OSError where there is none, ValueError where a prediction would take the place of one."""
    files = sorted(cases.glob("*.h5")) if cases.is_dir() else [cases]
    if not files or not files[0].exists():
        raise FileNotFoundError(f"there is no HDF5 file {cases}{'/*.h5' if cases.is_dir() else ''}")
    taken = [file for file in files if (out / file.name).resolve() == file.resolve()]
    if taken:
        raise ValueError(f"--out {out} is the folder of the cases: a prediction would take the place of {taken[0]}")
    return files


def write(out: Path, cases: Any, numbers: list[int], predicted: Any) -> None:
    """A file for each case of a batch (batch, 1, nx, ny, nz, frames); on rank 0, where there is one."""
    import numpy as np

    from ..training.dataset import OUTPUT
    from ..training.files import write_hdf5

    for i, field in {} if predicted is None else dict(zip(numbers, predicted, strict=True)).items():

        def fill(file: Any, field: Any = field) -> None:
            fields = file.create_group("t0_fields")
            fields.create_dataset(OUTPUT, data=np.moveaxis(field, -1, 1), compression="gzip", compression_opts=1)

        write_whole(out / cases.files[i].name, partial(write_hdf5, fill=fill))
