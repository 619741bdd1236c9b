"""Learning-rate schedules: a linear warm-up, then constant, half a cosine, or a staircase.

Definition   At step t = 1, 2, .., T, with a warm-up of w steps and the rate ``peak``:
                 t <= w      peak t / w
                 constant    peak
                 cosine      peak (1 + cos(pi (t - w) / (T - w + 1))) / 2, which would reach 0 one step after the last
                 step        peak factor^k,   k = floor((t - w - 1) / every): a stair down after each ``every`` steps
Range        A schedule is a function of t alone, so a training that goes on needs to know its step and no more. A warm-up that
             is longer than half the training is cut to that, so that the peak is reached.
Reference    Loshchilov and Hutter, arXiv 1608.03983 (cosine); Goyal et al., arXiv 1706.02677 (warm-up).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi

KINDS = ("constant", "cosine", "step")


@dataclass(frozen=True)
class Schedule:
    """The rates of ``steps`` steps; ``every`` and ``factor`` are those of the kind "step".

    ValueError where the kind is unknown, or a number makes no sense.
    """

    kind: str
    peak: float
    steps: int
    warmup: int = 0
    every: int = 1
    factor: float = 0.5

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"Schedule: there are {', '.join(KINDS)}, got {self.kind!r}")
        if not 0 < self.peak < float("inf") or self.steps < 1 or self.warmup < 0:
            raise ValueError(
                "Schedule: expected a finite peak > 0, steps >= 1 and a warmup >= 0, "
                f"got {self.peak}, {self.steps} and {self.warmup}"
            )
        if self.every < 1 or not 0 < self.factor <= 1:
            raise ValueError(f"Schedule: expected every >= 1 and 0 < factor <= 1, got {self.every} and {self.factor}")

    def rate(self, t: int) -> float:
        """The learning rate of step ``t``, the first of which is 1."""
        warmup = min(self.warmup, self.steps // 2)
        if t <= warmup:
            return self.peak * t / warmup
        if self.kind == "cosine":
            return self.peak * 0.5 * (1 + cos(pi * (t - warmup) / (self.steps - warmup + 1)))
        return self.peak * (self.factor ** ((t - warmup - 1) // self.every) if self.kind == "step" else 1)


def cosine_schedule(step: int, steps: int, peak: float, warmup: int) -> float:
    """The rate of ``step`` of ``steps`` by a cosine."""
    return Schedule("cosine", peak, steps, warmup).rate(step)
