"""The training loop: one number of one loss, its gradient by adjoints, one step; then the next.

Step         y, J = F.linearize(x);   L, l = loss.linearize(y, t);   dx, g = J.adjoint(l.adjoint(1.0));   w <- AdamW(w, g);
             and the statistics (running means, the step of a dropout) become J.new_state.
Held out     The error on samples that are not trained on is that of F.frozen(), the network as it is used afterwards.
Order        The samples of an epoch are permuted by (seed, epoch), alike on every rank and any number of ranks.
Resume       A checkpoint is committed every few epochs with parameters w, moments m and v, statistics s and history; training
             goes on from the newest one, and gives what it would have given uninterrupted. One without statistics is of a
             time when training did not change them: then the model's own, with which it began, are right.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..layers import Layer, RelativeL2
from ..layers.layer import Blocks
from ..space import Product, Space
from . import checkpoint
from .dataset import Dataset, Scaling, View
from .metrics import relative_l2
from .optimizers import AdamW, clip, cosine_schedule


@dataclass(frozen=True)
class Training:
    """What the loop is told: ``epochs`` over the samples in batches of the model's size, and how to step.

    ``rate``: peak learning rate; ``warmup``: steps up to it; ``limit``: the gradient norm that is clipped to;
    ``save_every``: epochs between checkpoints.
    """

    epochs: int = 16
    rate: float = 5e-3
    warmup: int = 20
    limit: float = 1.0
    weight_decay: float = 0.1
    save_every: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.epochs, self.save_every) < 1 or self.warmup < 0:
            raise ValueError("Training: epochs and save_every must be at least 1, and warmup at least 0")
        if not (self.rate > 0 and self.limit > 0 and self.weight_decay >= 0 and np.isfinite(self.rate + self.limit)):
            raise ValueError("Training: rate and limit must be positive and finite, weight_decay not negative")
        if self.seed < 0:
            raise ValueError(f"training: seed must be at least 0, got {self.seed}")


@dataclass
class Progress:
    """Where training stands: finished epochs, their mean losses and held-out errors, and what they cost.

    ``seconds``: by the clock; ``ranks``: the numbers of ranks that trained, in order; ``core_seconds``: over all of them.
    """

    epoch: int = 0
    loss: list[float] = field(default_factory=list)
    held_out: list[float] = field(default_factory=list)
    seconds: float = 0.0
    ranks: list[int] = field(default_factory=list)
    core_seconds: float = 0.0

    def spend(self, seconds: float, ranks: int) -> None:
        """Add an epoch's cost."""
        self.seconds += seconds
        self.core_seconds += seconds * ranks
        if ranks not in self.ranks:
            self.ranks.append(ranks)


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

    ``held_out_model``: the same network for a batch of one, for the held-out error. Shows a bar on rank 0.
    Raises ArithmeticError on all ranks where the loss is not finite.
    """
    steps = len(train) // model.domain.shape[0]
    if steps == 0:
        raise ValueError(f"fit: a batch of {model.domain.shape[0]} needs as many samples, there are {len(train)}")
    optimizer, loss = AdamW(weight_decay=plan.weight_decay), RelativeL2(model.range)
    moments, progress = resume(model, optimizer, scaling, folder)
    with progress_bar(model.domain.comm, "training", plan.epochs * steps, progress.epoch * steps) as bar:
        while progress.epoch < plan.epochs:
            start, losses = time.perf_counter(), []
            for k, batch in enumerate(batches(len(train), model.domain.shape[0], plan.seed, progress.epoch)):
                t = progress.epoch * steps + k + 1
                x, y = train.read(batch, model.domain, model.range, scaling)
                value, gradients, statistics = loss_and_gradients(model, loss, x, y)
                gradients, norm = clip(Product(model.parameter_spaces), gradients, plan.limit)
                if not np.isfinite(value + norm):
                    raise ArithmeticError(
                        f"fit: loss {value}, gradient norm {norm} at step {t}; lower the rate, or check the data"
                    )
                rate = cosine_schedule(t, plan.epochs * steps, plan.rate, plan.warmup)
                model.parameters, moments = optimizer.step(model.parameters, gradients, moments, t, rate)
                model.statistics = statistics
                losses.append(value)
                bar.update()
            progress.epoch += 1
            progress.loss.append(float(np.mean(losses)))
            held_out_model.parameters, held_out_model.statistics = model.parameters, model.statistics
            progress.held_out.append(float(np.mean(errors(held_out_model.frozen(), held_out, scaling))))
            progress.spend(time.perf_counter() - start, model.domain.comm.size)
            bar.set_postfix(loss=f"{progress.loss[-1]:.3f}", held_out=f"{progress.held_out[-1]:.3f}")
            if progress.epoch % plan.save_every == 0 or progress.epoch == plan.epochs:
                save(model, moments, progress, scaling, folder)
    return progress


def loss_and_gradients(model: Layer, loss: Any, x: np.ndarray, target: np.ndarray) -> tuple[float, Blocks, Blocks]:
    """The loss at the present parameters, its gradient with respect to them, and what the statistics become."""
    y, J = model.linearize(x)
    value, derivative = loss.linearize(y, target)
    _, gradients = J.adjoint(derivative.adjoint(1.0))
    return value, gradients, J.new_state


def errors(model: Layer, data: Dataset, scaling: Scaling) -> list[float]:
    """The relative L2 error of each sample; ``model`` takes a batch of one."""
    found = []
    for i in range(len(data)):
        x, y = data.read([View(i)], model.domain, model.range, scaling)
        found.append(relative_l2(model.range, model(x), y))
    return found


def batches(samples: int, size: int, seed: int, epoch: int) -> list[list[View]]:
    """An epoch's samples in batches, permuted and mirrored at random by (seed, epoch); a last incomplete batch is left out."""
    rng = np.random.default_rng([seed, epoch])
    mirrors = rng.integers(0, 2, (samples, 2))
    views = [View(i, tuple(np.flatnonzero(mirrors[i]).tolist())) for i in rng.permutation(samples).tolist()]
    return [views[i : i + size] for i in range(0, samples - size + 1, size)]


def stored_spaces(model: Layer, parts: str) -> dict[str, Space]:
    """The spaces of what a checkpoint holds of a model: "w/..", "m/.." and "v/.." for parameters, "s/.." for statistics."""
    spaces = {part: model.statistics_spaces if part == "s" else model.parameter_spaces for part in parts}
    return {f"{part}/{name}": space for part in parts for name, space in spaces[part].items()}


def save(model: Layer, moments: tuple[Blocks, Blocks], progress: Progress, scaling: Scaling, folder: Path) -> None:
    """Commit parameters, moments, statistics and history."""
    parts = {"w": model.parameters, "m": moments[0], "v": moments[1], "s": model.statistics}
    blocks = {f"{p}/{name}": block for p, part in parts.items() for name, block in part.items()}
    extra = {"progress": vars(progress), "scaling": vars(scaling)}
    checkpoint.save(folder, progress.epoch, stored_spaces(model, "wmvs"), blocks, extra)


def restore(model: Layer, parts: str, folder: Path) -> tuple[Blocks, dict[str, Any]] | None:
    """Put the newest checkpoint's parameters and statistics into the model; all its ``parts``, and what else it says."""
    spaces = stored_spaces(model, parts)
    found = checkpoint.load_newest(folder, spaces, optional={name for name in spaces if name.startswith("s/")})
    if found is not None:
        blocks, _ = found
        model.parameters = {name: blocks[f"w/{name}"] for name in model.parameter_spaces}
        model.statistics = {name: blocks.get(f"s/{name}", initial) for name, initial in model.statistics.items()}
    return found


def resume(model: Layer, optimizer: AdamW, scaling: Scaling, folder: Path) -> tuple[tuple[Blocks, Blocks], Progress]:
    """Put the newest checkpoint into the model; its moments and history, or fresh ones where there is none.

    Raises ValueError on all ranks where the checkpoint belongs to data of another scaling.
    """
    found = restore(model, "wmvs", folder)
    if found is None:
        return optimizer.start(model.parameters), Progress()
    blocks, extra = found
    if extra["scaling"] != json.loads(json.dumps(vars(scaling))):
        raise ValueError(f"{folder} was trained on other data; choose another folder, or delete it")
    m, v = ({name: blocks[f"{p}/{name}"] for name in model.parameter_spaces} for p in "mv")
    return (m, v), Progress(**extra["progress"])


def load_model(model: Layer, folder: Path) -> tuple[Progress, Scaling]:
    """Put the newest checkpoint into ``model``, on any partition. FileNotFoundError where there is none.

    After training, use ``model.frozen()``.
    """
    found = restore(model, "ws", folder)
    if found is None:
        raise FileNotFoundError(f"no checkpoint in {folder}; train first")
    _, extra = found
    stored = extra["scaling"]
    return Progress(**extra["progress"]), Scaling(tuple(stored["mean"]), tuple(stored["deviation"]))


def progress_bar(comm: Any, what: str, total: int, done: int = 0) -> Any:
    """A bar on rank 0, nothing elsewhere."""
    from tqdm import tqdm

    return tqdm(desc=what, total=total, initial=done, disable=comm.rank != 0, dynamic_ncols=True)
