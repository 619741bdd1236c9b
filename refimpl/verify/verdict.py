"""One verdict of all ranks on what they did together.

Kinds        A rank was fine, gave up a wait, rejected the example (``assume``), skipped, stood in a deadlock, or raised.
Verdict      The worst kind of all ranks, found by one all-reduce of a number. If it is not "fine", the details are pooled,
             and all ranks raise the same exception: what is equal on several ranks is said once ("all 4 ranks: ...").
Afterwards   The team is renewed, as messages of this example may still be on their way. Only where all ranks rejected or
             skipped alike is it kept.
"""

from __future__ import annotations

import re
import traceback
import unittest
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

from hypothesis.errors import UnsatisfiedAssumption

from .board import State, merge
from .team import SPENT_LIMIT, Deadlock, Guard, PeerFailed, Team
from .watchdog import Watchdog


class RankFailure(AssertionError):
    """The verdict of all ranks: at least one has failed."""


class Kind(IntEnum):
    """How an example ended on one rank; the worst of all ranks counts."""

    FINE = 0
    GAVE_UP = 1
    REJECTED = 2
    SKIPPED = 3
    DEADLOCK = 4
    ERROR = 5


@dataclass(frozen=True)
class Outcome:
    """How an example ended on one rank, in a form that travels."""

    kind: Kind
    text: str

    @staticmethod
    def of(problem: BaseException | None) -> Outcome:
        kind = _kind(problem)
        text = "" if problem is None else str(problem) if kind is Kind.DEADLOCK else _describe(problem)
        return Outcome(kind, text)


def _kind(problem: BaseException | None) -> Kind:
    if problem is None:
        return Kind.FINE
    if isinstance(problem, unittest.SkipTest) or type(problem).__name__ in ("Skipped", "XFailed"):  # pytest's
        return Kind.SKIPPED
    known = {PeerFailed: Kind.GAVE_UP, UnsatisfiedAssumption: Kind.REJECTED, Deadlock: Kind.DEADLOCK}
    return next((kind for cls, kind in known.items() if isinstance(problem, cls)), Kind.ERROR)


HARNESS = {Path(__file__).with_name(f"{name}.py") for name in ("board", "team", "verdict", "spmd", "pytest_spmd")}


def _describe(problem: BaseException) -> str:
    """``ValueError: text  [test_a.py:7 > wire.py:31]``: the type, the message, and the way there."""
    frames = [f for f in traceback.extract_tb(problem.__traceback__) if _is_users(Path(f.filename))]
    way = " > ".join(f"{Path(f.filename).name}:{f.lineno}" for f in frames[-4:])
    text = str(problem) or (frames[-1].line if frames else "") or ""
    text = re.sub(r" at 0x[0-9a-f]+", "", text)  # addresses differ from rank to rank, what failed does not
    return f"{type(problem).__name__}: {text}".replace("\n", "\n    ") + f"  [{way}]"


def _is_users(file: Path) -> bool:
    return file not in HARNESS and not {"_pytest", "pluggy", "hypothesis"} & set(file.parts)


class Collective:
    """``with Collective(team, label) as live:`` on every rank: at its end all return, or all raise the same.

    ``live`` is the communicator to use; it differs from ``team`` where an earlier failure made that one unusable.
    All ranks reject (UnsatisfiedAssumption) where one does; all skip where all do.
    """

    def __init__(self, team: Team, label: str) -> None:
        self.guard, self.dog = team.guard, Watchdog(label)

    def __enter__(self) -> Team:
        self.guard.board.begin()
        self.dog.__enter__()
        return self.guard.team

    def __exit__(self, kind: object, problem: BaseException | None, trace: object) -> bool:
        __tracebackhide__ = True
        self.dog.__exit__()
        if isinstance(problem, (KeyboardInterrupt, GeneratorExit)):
            return False
        self.guard.board.finish(State.RETURNED if problem is None else State.RAISED)
        try:
            _conclude(self.guard, Outcome.of(problem), problem)
        finally:
            self.guard.board.begin()  # what follows, as in a test that expects this failure, is another example
        return True


def _conclude(guard: Guard, mine: Outcome, problem: BaseException | None) -> None:
    __tracebackhide__ = True
    if guard.control.largest(mine.kind) == Kind.FINE:
        return
    outcomes = guard.control.pool(mine)
    worst = max(outcome.kind for outcome in outcomes)
    alike = all(outcome.kind == worst for outcome in outcomes)
    if not (alike and worst in (Kind.REJECTED, Kind.SKIPPED)) and guard.size > 1:
        guard.renew()
    if worst is Kind.REJECTED:
        raise UnsatisfiedAssumption from None
    if worst is Kind.SKIPPED and alike and problem is not None:
        raise problem
    raise RankFailure(_verdict(outcomes, worst)) from (problem if mine.kind is Kind.ERROR else None)


def _verdict(outcomes: list[Outcome], worst: Kind) -> str:
    if worst is Kind.DEADLOCK:
        return "Deadlock: " + next(outcome.text for outcome in outcomes if outcome.kind is worst)
    bad = [(rank, outcome.text) for rank, outcome in enumerate(outcomes) if outcome.kind is worst]
    lines = merge(bad, len(outcomes))
    if worst is Kind.SKIPPED:
        lines.append("the other ranks did not skip: all ranks must, or none")
    count = f"{len(bad)} of {len(outcomes)} ranks failed\n" if len(lines) > 1 else ""
    return count + "\n".join(lines)


def exhausted(guard: Guard) -> bool:
    """Whether the MPI has hardly any communicator left. The answer is the same on all ranks of the team."""
    return guard.control.largest(Guard.spent) > SPENT_LIMIT


def together(team: Team, body: Callable[..., object], label: str, *args: Any, **kwargs: Any) -> None:
    """Run ``body(team, ...)`` on every rank; all return, or all raise the same (see ``Collective``)."""
    __tracebackhide__ = True
    with Collective(team, label) as live:
        body(live, *args, **kwargs)
