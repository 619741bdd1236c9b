"""Compare a trained surrogate with the simulator on unseen cases, beside two honest baselines.

The baselines are the mean of all training saturations, and the training case nearest in permeability, top and wells,
mirror images included. The table has MSE, MAE, relative L2 error, R^2 and the error inside the plume (mean absolute error where
the saturation exceeds 0.01) of every frame, over all unseen cases.
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

from .files import check_folder, write_together


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=Path, help="the TOML file of the training")
    parser.add_argument(
        "--best", action="store_true", help="use the network of the lowest held-out error, not the newest"
    )


def run(args: argparse.Namespace) -> int:
    from .. import wire
    from ..training import Dataset, load_model
    from ..training.metrics import errors_of
    from .config import read

    comm = wire.world()
    config = wire.together(comm, lambda: read(args.config))
    train, test = Dataset(comm, config.data, "train"), Dataset(comm, config.data, "test")
    model = config.network(comm, train.cells, train.frames, batch=1)
    progress, scaling = load_model(model, config.out / "best" if args.best else config.out)
    wire.at_root(comm, lambda: check_folder(config.out))
    cases, sums, pictures = compare(model.frozen(), train, test, scaling)
    every_frame = {name: [errors_of(frame) for frame in found] for name, found in sums.items()}
    result = {
        "ranks": comm.size,
        "grid": model.domain.partition.shape,
        "parameters": model.parameter_count,
        "cells": train.cells,
        "frames": train.frames,
        "progress": vars(progress),
        "cases": cases,
        "frame_errors": {name: [without_nan(errors) for errors in found] for name, found in every_frame.items()},
    }
    wire.together(comm, lambda: write(config.out, result, pictures) if comm.rank == 0 else None)
    if comm.rank == 0:
        print(table(every_frame["network"], errors_of(sums["network"].sum(axis=0))))
        for name in ("network", "nearest", "mean"):
            error = sum(case[f"{name}_errors"]["relative_l2"] for case in cases) / len(cases)
            print(f"relative L2 error, {name:8}: {error:.3f}")
    return 0


def compare(model: Any, train: Any, test: Any, scaling: Any) -> tuple[list[dict], dict[str, Any], list[dict]]:
    """For every test case the errors of network and baselines and the seconds of a prediction; over all cases the sums of every
    frame; on rank 0 also the fields.

    The baselines know what the network was trained on: the training cases and their mirror images.
    """
    from ..training import View, rollout
    from ..training.loop import progress_bar
    from ..training.metrics import errors_of, frame_sums
    from ..training.rollouts import rolled_out

    X, Y = model.domain, rolled_out(model, train.frames)
    views = [View(i, mirrored) for i in range(len(train)) for mirrored in ((), (0,), (1,), (0, 1))]
    known = [train.read([view], X, Y, scaling) for view in views]
    mean = sum(y for _, y in known) / Y.dtype.type(len(known))
    model(known[0][0])  # the first call makes communicators and loads libraries
    cases, pictures = [], []
    sums: dict[str, Any] = dict.fromkeys(("network", "nearest", "mean"), 0)
    with progress_bar(X.comm, "comparing", len(test)) as bar:
        for i in range(len(test)):
            x, target = test.read([View(i)], X, Y, scaling)
            start = time.perf_counter()
            prediction = rollout(model, x, train.frames)
            seconds = time.perf_counter() - start
            nearest = min(range(len(known)), key=lambda k: X.norm(known[k][0] - x))
            fields = {"network": prediction, "nearest": known[nearest][1], "mean": mean}
            case = {"file": test.files[i].name, "nearest": views[nearest]._asdict(), "seconds": seconds}
            for name, field in fields.items():
                found = frame_sums(Y, field, target)[0]
                sums[name] += found
                case[f"{name}_errors"] = errors_of(found.sum(axis=0))
            cases.append(case)
            pictures.append({"truth": Y.gather(target), "prediction": Y.gather(prediction)})
            bar.update()
    return cases, sums, pictures


def without_nan(errors: dict[str, float]) -> dict[str, float | None]:
    """None, which JSON has, for nan, which it has not."""
    return {name: None if value != value else value for name, value in errors.items()}


def table(frames: list[dict[str, float]], overall: dict[str, float]) -> str:
    """All metrics, a frame a line, and over all frames."""
    titles = {"mse": "MSE", "mae": "MAE", "relative_l2": "relative L2", "r2": "R^2", "plume_mae": "plume MAE"}
    lines = [f"{'frame':>5}" + "".join(f"{title:>13}" for title in titles.values())]
    for name, errors in (*((str(i), e) for i, e in enumerate(frames, start=1)), ("all", overall)):
        lines.append(f"{name:>5}" + "".join(f"{errors[metric]:13.4g}" for metric in titles))
    return "\n".join(lines)


def write(out: Path, result: dict, pictures: list[dict]) -> None:
    """evaluation.json and predictions.h5, both or none."""
    from ..training.files import write_bytes, write_hdf5

    def fields(file: Any) -> None:
        for case, both in zip(result["cases"], pictures, strict=True):
            for name, field in both.items():
                file.create_dataset(f"{case['file']}/{name}", data=field[0, 0], compression="gzip", compression_opts=1)

    text = json.dumps(result, indent=1).encode()
    write_together(
        {
            out / "predictions.h5": lambda path: write_hdf5(path, fields),
            out / "evaluation.json": lambda path: write_bytes(path, text),
        }
    )
