"""Compare a trained surrogate with the simulator on unseen cases, beside two honest baselines.

The baselines are the mean of all training saturations, and the training case nearest in permeability, top and wells,
mirror images included.
Writes evaluation.json and predictions.h5 into the configuration's ``out``.

example:
    mpiexec -n 2 refimpl evaluate report/train.toml
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from .files import check_folder, write_whole


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=Path, help="the TOML file of the training")


def run(args: argparse.Namespace) -> int:
    from .. import wire
    from ..training import Dataset, load_model
    from .config import read

    comm = wire.world()
    config = wire.together(comm, lambda: read(args.config))
    train, test = Dataset(comm, config.data, "train"), Dataset(comm, config.data, "test")
    model = config.network(comm, train, batch=1)
    progress, scaling = load_model(model, config.out)
    wire.at_root(comm, lambda: check_folder(config.out))
    cases, pictures = compare(model.frozen(), train, test, scaling)
    result = {
        "ranks": comm.size,
        "grid": model.domain.partition.shape,
        "parameters": model.parameter_count,
        "cells": train.cells,
        "frames": train.frames,
        "progress": vars(progress),
        "cases": cases,
    }
    wire.together(comm, lambda: write(config.out, result, pictures) if comm.rank == 0 else None)
    if comm.rank == 0:
        for name in ("network", "nearest", "mean"):
            error = sum(case[f"{name}_errors"]["relative_l2"] for case in cases) / len(cases)
            print(f"relative L2 error, {name:8}: {error:.3f}")
    return 0


def compare(model: Any, train: Any, test: Any, scaling: Any) -> tuple[list[dict], list[dict]]:
    """For every test case the errors of network and baselines and the seconds of a prediction; on rank 0 also the fields.

    The baselines know what the network was trained on: the training cases and their mirror images.
    """
    from ..training import View
    from ..training.loop import progress_bar
    from ..training.metrics import plume_mae, relative_l2

    X, Y = model.domain, model.range
    views = [View(i, mirrored) for i in range(len(train)) for mirrored in ((), (0,), (1,), (0, 1))]
    known = [train.read([view], X, Y, scaling) for view in views]
    mean = sum(y for _, y in known) / Y.dtype.type(len(known))
    model(known[0][0])  # the first call makes communicators and loads libraries
    cases, pictures = [], []
    with progress_bar(X.comm, "comparing", len(test)) as bar:
        for i in range(len(test)):
            x, target = test.read([View(i)], X, Y, scaling)
            start = time.perf_counter()
            prediction = model(x)
            seconds = time.perf_counter() - start
            nearest = min(range(len(known)), key=lambda k: X.norm(known[k][0] - x))
            fields = {"network": prediction, "nearest": known[nearest][1], "mean": mean}
            case = {"file": test.files[i].name, "nearest": views[nearest]._asdict(), "seconds": seconds}
            for name, field in fields.items():
                errors = {"relative_l2": relative_l2(Y, field, target), "plume_mae": plume_mae(Y, field, target)}
                case[f"{name}_errors"] = errors
            cases.append(case)
            pictures.append({"truth": Y.gather(target), "prediction": Y.gather(prediction)})
            bar.update()
    return cases, pictures


def write(out: Path, result: dict, pictures: list[dict]) -> None:
    """evaluation.json and predictions.h5."""
    import h5py

    def fields(path: Path) -> None:
        with h5py.File(path, "w") as file:
            for case, both in zip(result["cases"], pictures, strict=True):
                for name, field in both.items():
                    file.create_dataset(
                        f"{case['file']}/{name}", data=field[0, 0], compression="gzip", compression_opts=1
                    )

    write_whole(out / "predictions.h5", fields)
    write_whole(out / "evaluation.json", lambda path: path.write_text(json.dumps(result, indent=1)))
