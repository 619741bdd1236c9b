"""What the training loop is told, and where it stands."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isfinite

from ..layers import PlumeL2, RelativeH1, RelativeL2
from ..layers.losses import Loss
from ..space import Space
from .optimizers import AdamW
from .schedules import KINDS, Schedule

LOSSES = ("relative_l2", "relative_h1", "plume_l2")


@dataclass(frozen=True)
class Training:
    """``epochs`` over the samples in batches of the model's size, and how to step.

    ``rate``: the peak of the learning rate's ``schedule`` (schedules.py), with ``warmup`` steps up to it; "step": it is
    multiplied by ``step_factor`` after each ``step_every`` epochs.
    ``accumulate``: batches whose mean gradient makes one step; ``limit``: the norm that it is clipped to.
    ``loss``: "relative_l2", "relative_h1" (with differences of neighbouring cells and frames) or "plume_l2" (the plume
    counts ``plume_weight`` times).
    ``save_every``: epochs between checkpoints; ``patience``: epochs without a better held-out error after which training
    stops, 0: never; ``tensorboard``: also log for TensorBoard.
    """

    epochs: int = 16
    rate: float = 5e-3
    schedule: str = "cosine"
    warmup: int = 20
    step_every: int = 5
    step_factor: float = 0.5
    accumulate: int = 1
    limit: float = 1.0
    weight_decay: float = 0.1
    loss: str = "relative_l2"
    plume_weight: float = 10.0
    save_every: int = 5
    patience: int = 0
    tensorboard: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.epochs, self.save_every) < 1 or self.warmup < 0:
            given = f"got {self.epochs}, {self.save_every} and {self.warmup}"
            raise ValueError(f"Training: epochs and save_every must be at least 1, and warmup at least 0, {given}")
        sizes = (self.rate, self.limit, self.weight_decay)
        if not (self.rate > 0 and self.limit > 0 and self.weight_decay >= 0 and all(map(isfinite, sizes))):
            given = f"got {self.rate}, {self.limit} and {self.weight_decay}"
            raise ValueError(
                f"Training: rate and limit must be positive, weight_decay not negative, all finite, {given}"
            )
        if self.seed < 0:
            raise ValueError(f"training: seed must be at least 0, got {self.seed}")
        if min(self.accumulate, self.step_every) < 1 or self.patience < 0:
            given = f"got {self.accumulate}, {self.step_every} and {self.patience}"
            raise ValueError(
                f"Training: accumulate and step_every must be at least 1, and patience at least 0, {given}"
            )
        if not (0 < self.step_factor <= 1 and 1 <= self.plume_weight < float("inf")):
            given = f"got {self.step_factor} and {self.plume_weight}"
            raise ValueError(
                f"Training: step_factor must be above 0 and at most 1, plume_weight at least 1 and finite, {given}"
            )
        for name, known in (("schedule", KINDS), ("loss", LOSSES)):
            if getattr(self, name) not in known:
                raise ValueError(f"Training: {name} must be one of {', '.join(known)}, got {getattr(self, name)!r}")

    @property
    def rule(self) -> AdamW:
        """How a gradient becomes a step."""
        return AdamW(weight_decay=self.weight_decay)

    def schedule_of(self, steps: int) -> Schedule:
        """The learning rate, where an epoch has ``steps`` steps."""
        every = self.step_every * steps
        return Schedule(self.schedule, self.rate, self.epochs * steps, self.warmup, every, self.step_factor)

    def loss_on(self, Y: Space) -> Loss:
        """The loss for predictions in Y."""
        if self.loss == "plume_l2":
            return PlumeL2(Y, weight=self.plume_weight)
        return RelativeH1(Y) if self.loss == "relative_h1" else RelativeL2(Y)


@dataclass
class Progress:
    """Where training stands: finished epochs, their mean losses and held-out errors, and what they cost.

    ``rate``, ``norm``: the last learning rate and the mean gradient norm, before it was clipped, of each epoch.
    ``seconds``: by the clock; ``ranks``: the numbers of ranks that trained, in order; ``core_seconds``: over all of them.
    """

    epoch: int = 0
    loss: list[float] = field(default_factory=list)
    held_out: list[float] = field(default_factory=list)
    rate: list[float] = field(default_factory=list)
    norm: list[float] = field(default_factory=list)
    seconds: float = 0.0
    ranks: list[int] = field(default_factory=list)
    core_seconds: float = 0.0

    def record(self, **numbers: float) -> None:
        """One more epoch, with its ``loss``, ``held_out``, ``rate`` and ``norm``."""
        self.epoch += 1
        for name, number in numbers.items():
            getattr(self, name).append(number)

    def spend(self, seconds: float, ranks: int) -> None:
        """Add an epoch's cost."""
        self.seconds += seconds
        self.core_seconds += seconds * ranks
        if ranks not in self.ranks:
            self.ranks.append(ranks)

    @property
    def best(self) -> int:
        """The epoch of the lowest held-out error, of equal ones the first; 0 before there is one."""
        return self.best_until(self.epoch)

    def best_until(self, epoch: int) -> int:
        """What ``best`` was after that epoch."""
        errors = self.held_out[:epoch]
        return 1 + errors.index(min(errors)) if errors else 0

    def stale(self, patience: int) -> bool:
        """Whether the best epoch lies ``patience`` epochs back; never for a patience of 0."""
        return 0 < patience <= self.epoch - self.best
