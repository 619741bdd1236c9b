"""The training loop: one number of one loss, its gradient by adjoints, one step; then the next.

Step         y, J = F.linearize(x);   L, l = loss.linearize(y, t);   dx, g = J.adjoint(l.adjoint(1.0));   g <- the mean over the
             batches of the step;   g <- clipped;   w <- AdamW(w, g);
             and the statistics (running means, the step of a dropout) become J.new_state, batch after batch.
Parallel     The grid may cut the batch (data parallel), space (model parallel), or both. L is the mean over the whole batch,
             and g arrives summed at each weight's owner, by the adjoint of its broadcast: so no grid needs an all-reduce of
             gradients, and all give one network, to round-off.
Precision    Networks in float32 have losses, norms and Adam's corrections in float64 (losses.py, optimizers.py). The sum over
             the batches of a step is of the gradients' dtype: k batches add k round-offs to a mean of noise.
Held out     The error on samples that are not trained on is that of F.frozen(), the network as it is used afterwards, and of
             all frames (rollouts.py).
Order        The samples of an epoch are permuted by (seed, epoch), alike on every rank and any number of ranks.
Resume       A checkpoint is committed every few epochs with parameters w, moments m and v, statistics s and history; training
             goes on from the newest one, and gives what it would have given uninterrupted. One without statistics is of a
             time when training did not change them: then the model's own, with which it began, are right.
Best so far  The network of the lowest held-out error is kept beside them, in best/; and those that were the best at each
             checkpoint, so that training which goes on from there, whatever came after, has the best of its own history.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from dataclasses import asdict
from math import fsum
from pathlib import Path
from typing import Any

import numpy as np

from .. import wire
from ..layers import Layer
from ..layers.layer import Blocks
from ..space import Product, Space
from . import checkpoint
from .dataset import Dataset, Scaling, View
from .log import Board, write_log
from .metrics import errors_of, frame_sums
from .optimizers import clip
from .plan import Progress, Training
from .rollouts import rolled_out, rollout


def fit(
    model: Layer,
    held_out_model: Layer,
    train: Dataset,
    held_out: Dataset,
    scaling: Scaling,
    plan: Training,
    folder: Path,
) -> Progress:
    """Train ``model`` in place, from the newest checkpoint in ``folder`` where there is one; collective.

    ``held_out_model``: the same network for any batch, for the held-out error. Writes log.csv, and shows a bar on rank 0.
    Raises ArithmeticError on all ranks where the loss or the held-out error is not finite.
    """
    comm, root, size = model.domain.comm, model.domain.comm.rank == 0, model.domain.shape[0]
    starts = train.starts(model.domain, model.range)
    steps = len(train) * starts // size // plan.accumulate
    if steps == 0:
        needed = f"a batch of {size}" + f" {plan.accumulate} times" * (plan.accumulate > 1)
        raise ValueError(f"fit: {needed} needs as many samples, there are {len(train) * starts}")
    loss, schedule = plan.loss_on(model.range), plan.schedule_of(steps)
    moments, progress = resume(model, scaling, plan, folder)
    wire.at_root(comm, lambda: checkpoint.clear(folder / "best", after=progress.epoch))  # of a history that is no more
    board = wire.together(comm, lambda: Board(folder, plan.tensorboard and root))
    quiet = np.errstate(over="ignore", invalid="ignore")  # of what is not finite, all ranks are told once
    with quiet, progress_bar(comm, "training", plan.epochs * steps, progress.epoch * steps) as bar:
        while not finished(progress, plan):
            start, t, found = time.perf_counter(), progress.epoch * steps, []
            views = iter(batches(len(train), size, plan.seed, progress.epoch, starts))
            for _ in range(steps):
                t += 1
                pairs = (train.read(next(views), model.domain, model.range, scaling) for _ in range(plan.accumulate))
                value, norm, moments = step(model, loss, pairs, moments, t, schedule.rate(t), plan)
                found.append((value, norm))
                bar.update()
            held_out_model.parameters, held_out_model.statistics = model.parameters, model.statistics
            error = float(np.mean(errors(held_out_model.frozen(), held_out, scaling)))
            if not np.isfinite(error):
                raise ArithmeticError(f"fit: held-out error {error} after step {t}; lower the rate, or check the data")
            value, norm = np.mean(found, axis=0).tolist()
            progress.record(loss=value, held_out=error, rate=schedule.rate(t), norm=norm)
            progress.spend(time.perf_counter() - start, comm.size)
            bar.set_postfix(loss=f"{progress.loss[-1]:.3f}", held_out=f"{error:.3f}")
            if progress.best == progress.epoch:
                saved = wire.at_root(comm, lambda: list(map(checkpoint.step_of, checkpoint.committed(folder))))
                save(model, None, progress, scaling, plan, folder / "best", keep=[*map(progress.best_until, saved)])
            if progress.epoch % plan.save_every == 0 or finished(progress, plan):
                save(model, moments, progress, scaling, plan, folder)
            wire.together(comm, lambda: write_log(progress, folder, board) if root else None)
    return progress


def finished(progress: Progress, plan: Training) -> bool:
    """Whether all epochs are done, or the best one lies too far back."""
    return progress.epoch >= plan.epochs or progress.stale(plan.patience)


def step(
    model: Layer, loss: Any, pairs: Iterable[tuple], moments: tuple[Blocks, Blocks], t: int, rate: float, plan: Training
) -> tuple[float, float, tuple[Blocks, Blocks]]:
    """Step ``t`` on batches (x, target), which changes the model; its loss, the gradient's norm and the new moments.

    Raises ArithmeticError on all ranks where one of these is not finite.
    """
    value, gradients = accumulated(model, loss, pairs)
    gradients, norm = clip(Product(model.parameter_spaces), gradients, plan.limit)
    if not np.isfinite(value + norm):
        raise ArithmeticError(f"fit: loss {value}, gradient norm {norm} at step {t}; lower the rate, or check the data")
    model.parameters, moments = plan.rule.step(model.parameters, gradients, moments, t, rate)
    return value, norm, moments


def accumulated(model: Layer, loss: Any, pairs: Iterable[tuple]) -> tuple[float, Blocks]:
    """The mean loss of pairs (x, target) and its gradient; each pair changes the model's statistics, one after the other."""
    values: list[float] = []
    total: Blocks = {}
    for x, target in pairs:
        value, gradients, model.statistics = loss_and_gradients(model, loss, x, target)
        values.append(value)
        total = {k: total[k] + g for k, g in gradients.items()} if total else gradients
    n = len(values)
    return fsum(values) / n, total if n == 1 else {k: g * (1 / n) for k, g in total.items()}


def loss_and_gradients(model: Layer, loss: Any, x: np.ndarray, target: np.ndarray) -> tuple[float, Blocks, Blocks]:
    """The loss at the present parameters, its gradient with respect to them, and what the statistics become."""
    y, J = model.linearize(x)
    value, derivative = loss.linearize(y, target)
    _, gradients = J.adjoint(derivative.adjoint(1.0))
    return value, gradients, J.new_state


def errors(model: Layer, data: Dataset, scaling: Scaling) -> list[float]:
    """The relative L2 error of each sample, over all frames; a last batch that is not full is filled with its last sample.

    ZeroDivisionError on all ranks where a sample is zero everywhere.
    """
    found, X, Y = [], model.domain, rolled_out(model, data.frames)
    for first in range(0, len(data), X.shape[0]):
        views = [View(min(first + k, len(data) - 1)) for k in range(X.shape[0])]
        x, target = data.read(views, X, Y, scaling)
        sums = frame_sums(Y, rollout(model, x, data.frames), target).sum(axis=1)
        found += [errors_of(s)["relative_l2"] for s in sums[: len(data) - first]]
        if not np.all(sums[:, 2]):
            raise ZeroDivisionError(
                f"errors: a sample of {first}..{views[-1].sample} of {data.split} is zero everywhere"
            )
    return found


def batches(samples: int, size: int, seed: int, epoch: int, starts: int = 1) -> list[list[View]]:
    """An epoch's samples in batches, permuted and mirrored at random by (seed, epoch); a last incomplete batch is left out.

    ``starts``: each sample comes with every start from 0 on.
    """
    rng, n = np.random.default_rng([seed, epoch]), samples * starts
    mirrors = rng.integers(0, 2, (n, 2))
    order = rng.permutation(n).tolist()
    views = [View(i // starts, tuple(np.flatnonzero(mirrors[i]).tolist()), i % starts) for i in order]
    return [views[i : i + size] for i in range(0, n - size + 1, size)]


def stored_spaces(model: Layer, parts: str) -> dict[str, Space]:
    """The spaces of what a checkpoint holds of a model: "w/..", "m/.." and "v/.." for parameters, "s/.." for statistics."""
    spaces = {part: model.statistics_spaces if part == "s" else model.parameter_spaces for part in parts}
    return {f"{part}/{name}": space for part in parts for name, space in spaces[part].items()}


def save(
    model: Layer,
    moments: tuple[Blocks, Blocks] | None,
    progress: Progress,
    scaling: Scaling,
    plan: Training,
    folder: Path,
    keep: Collection[int] = (),
) -> None:
    """Commit parameters, moments (where there are), statistics and history, and what a prediction must know of the data.

    ``keep``: earlier epochs of which the checkpoints stay.
    """
    parts = {"w": model.parameters, "s": model.statistics} | (dict(zip("mv", moments, strict=True)) if moments else {})
    blocks = {f"{p}/{name}": block for p, part in parts.items() for name, block in part.items()}
    extra = {
        "progress": asdict(progress),
        "scaling": asdict(scaling),
        "plan": asdict(plan),
        "frames": model.range.shape[-1],
    }
    checkpoint.save(folder, progress.epoch, stored_spaces(model, "".join(parts)), blocks, extra, keep)


def restore(model: Layer, parts: str, folder: Path) -> tuple[Blocks, dict[str, Any]] | None:
    """Put the newest checkpoint's parameters and statistics into the model; all its ``parts``, and what else it says."""
    spaces = stored_spaces(model, parts)
    found = checkpoint.load_newest(folder, spaces, optional={name for name in spaces if name.startswith("s/")})
    if found is not None:
        blocks, _ = found
        model.parameters = {name: blocks[f"w/{name}"] for name in model.parameter_spaces}
        model.statistics = {name: blocks.get(f"s/{name}", initial) for name, initial in model.statistics.items()}
    return found


def resume(model: Layer, scaling: Scaling, plan: Training, folder: Path) -> tuple[tuple[Blocks, Blocks], Progress]:
    """Put the newest checkpoint into the model; its moments and history, or fresh ones where there is none.

    Says on rank 0 where it was made by another plan. Raises ValueError on all ranks where it is of data of another scaling.
    """
    comm, found = model.domain.comm, restore(model, "wmvs", folder)
    if found is None:
        return plan.rule.start(model.parameters), Progress()
    blocks, extra = found
    if read_scaling(extra) != scaling:
        raise ValueError(f"{folder} was trained on other data; choose another folder, or delete it")
    before = extra.get("plan", {})
    changed = [f"{k} {before[k]} -> {v}" for k, v in asdict(plan).items() if before.get(k, v) != v]
    if changed and comm.rank == 0:
        print(f"going on with another plan: {', '.join(changed)}", flush=True)
    m, v = ({name: blocks[f"{p}/{name}"] for name in model.parameter_spaces} for p in "mv")
    return (m, v), Progress(**extra["progress"])


def load_model(model: Layer, folder: Path) -> tuple[Progress, Scaling]:
    """Put the newest checkpoint into ``model``, on any partition. FileNotFoundError where there is none.

    After training, use ``model.frozen()``. The best network so far is in ``folder / "best"``.
    """
    found = restore(model, "ws", folder)
    if found is None:
        raise FileNotFoundError(f"no checkpoint in {folder}; train first")
    _, extra = found
    return Progress(**extra["progress"]), read_scaling(extra)


def read_scaling(extra: dict[str, Any]) -> Scaling:
    """The scaling of the data that a checkpoint was trained on."""
    stored = extra["scaling"]
    return Scaling(tuple(stored["mean"]), tuple(stored["deviation"]))


def progress_bar(comm: Any, what: str, total: int, done: int = 0) -> Any:
    """A bar on rank 0, nothing elsewhere."""
    from tqdm import tqdm

    return tqdm(desc=what, total=total, initial=done, disable=comm.rank != 0, dynamic_ncols=True)
