"""Property tests of programs that run on many ranks (SPMD), without hangs.

    from hypothesis import strategies as st
    from refimpl.verify import spmd

    @spmd.property_test(n=st.integers(0, 9), seed=st.integers(0, 99))
    def test_sum_of_copies(team, n, seed):              # all ranks of ``team`` run this
        ...                                             # use ``team`` as a communicator

    mpiexec -n 4 python -m pytest -p refimpl.verify.pytest_spmd --sizes 1,2,3,4 test_mine.py

Who drives   Rank 0 runs Hypothesis, the ordinary engine; what it draws travels by pickle; all ranks run the body.
Why          With an engine on every rank the draws must never part, and they do:

                 random seeds, the example database, wall-clock limits     one rank generates what the others do not
                 constants that Hypothesis reads from local modules        an ``import`` on one rank changes its draws
                 a failure on one rank                                     it shrinks, the others go on, all hang

             With one engine there is nothing to agree on, and seeds, database and shrinking work as ever.
Verdict      An example ends when all ranks have: one tiny all-reduce says whether all are well. If not, every rank
             raises the same RankFailure, with equal messages merged ("all 4 ranks: ..."). ``assume`` false on any rank
             rejects on all.
No hangs     ``Team`` (its page: refimpl.verify.team) turns a wait for a rank that has raised, or that never comes, into
             an exception. So a forgotten collective is an ordinary failing example, and Hypothesis shrinks it.
Watchdog     What the guard cannot see (an endless loop, a hang in C) ends the job: after SPMD_LIMIT seconds in one
             example the Python stacks are printed and MPI_Abort(70) is called.
Draw         sizes, grids, dtypes and one integer ``seed``; never array elements. Fill arrays from (seed, global index),
             and the counterexample reads ``shape=(3,), seed=0``. A strategy that needs the number of ranks is given as
             a function of it: ``case=lambda size: ...``, or ``case=cases`` for ``@st.composite def cases(draw, size)``.
Profiles     SPMD_PROFILE=default (the same examples in every run) or nightly (random seeds; a database on rank 0, from which
             what failed is tried first in the next run). SPMD_EXAMPLES sets their number: by default 6 on one rank to 3 on
             four and more, nightly 1000. A counterexample to be tried in every run is written above the test:
             ``@spmd.example(n=3, seed=0)``.
Many nodes   On one node the ranks share a board of states. On several, a wait can only time out (SPMD_ALONE, 10 s):
             slower, and the message cannot say why.
"""

from __future__ import annotations

import inspect
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.database import DirectoryBasedExampleDatabase
from hypothesis.errors import HypothesisDeprecationWarning, UnsatisfiedAssumption

from .team import Deadlock, Guard, PeerFailed, Team
from .verdict import Collective, RankFailure, exhausted, together
from .watchdog import LIMIT, Watchdog

__all__ = [
    "Collective",
    "Deadlock",
    "PeerFailed",
    "RankFailure",
    "Team",
    "example",
    "profile",
    "property_test",
    "together",
]


class TooManyFailures(KeyboardInterrupt):
    """The MPI has hardly any communicator left; Hypothesis stops at once, as at Ctrl-C."""


def profile(size: int = 1) -> settings:
    """The Hypothesis settings of SPMD_PROFILE and SPMD_EXAMPLES, for a team of ``size`` ranks."""
    name = os.environ.get("SPMD_PROFILE", "default")
    if name not in ("default", "nightly"):
        raise ValueError(f"SPMD_PROFILE: expected default or nightly, got {name}")
    phases = set(Phase) - {Phase.explain}  # explain traces every line
    common: dict[str, Any] = dict(deadline=None, report_multiple_bugs=False, phases=phases)
    common["suppress_health_check"] = list(HealthCheck)
    usual = max(3, 7 - size) if name == "default" else 1000  # ranks that share a core take turns
    examples = int(os.environ.get("SPMD_EXAMPLES", usual))
    if name == "nightly":
        # one for each size: what fails on six ranks alone would pass on one, and be forgotten as mended
        database = DirectoryBasedExampleDatabase(f".hypothesis/examples-np{size}")
        return settings(max_examples=examples, derandomize=False, database=database, **common)
    return settings(max_examples=examples, derandomize=True, database=None, **common)


def property_test(**strategies: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Hypothesis' ``given`` for tests on many ranks: ``body(team, **drawn)`` runs on every rank of ``team``.

    A strategy that depends on the number of ranks is given as a function ``size -> strategy``. Drawn values must be
    picklable. Further parameters of ``body`` stay parameters of the test (fixtures, parametrize). Of Hypothesis'
    functions the body may call ``assume`` and ``reject``.
    """

    def decorate(body: Callable[..., None]) -> Callable[..., None]:
        def test(team: Team, **fixtures: Any) -> None:
            __tracebackhide__ = True
            prop = _Property(team.guard, body, fixtures)
            if team.rank == 0:
                _lead(prop, strategies, test.examples)  # type: ignore[attr-defined]
            else:
                _follow(prop)

        test.__name__, test.__qualname__, test.__doc__ = body.__name__, body.__qualname__, body.__doc__
        test.__module__ = body.__module__
        parameters = inspect.signature(body).parameters
        test.__signature__ = inspect.Signature([p for n, p in parameters.items() if n not in strategies])  # type: ignore[attr-defined]
        test.is_property_test, test.examples = True, ()  # type: ignore[attr-defined]
        return test

    return decorate


def example(**values: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """An example that a property test tries first, in every run; above ``property_test``, with a value for each strategy.

    For a counterexample that was found once. A value that depends on the number of ranks is given as a function of it.
    """

    def decorate(test: Any) -> Any:
        test.examples = (values, *test.examples)
        return test

    return decorate


@dataclass(frozen=True)
class _Property:
    """One property on one team."""

    guard: Guard
    body: Callable[..., None]
    fixtures: dict[str, Any]

    def attempt(self, drawn: dict[str, Any]) -> None:
        label = f"{self.body.__name__}({', '.join(f'{name}={value!r}' for name, value in drawn.items())})"
        failure = None
        try:
            together(self.guard.team, self.body, label, **drawn, **self.fixtures)
        except RankFailure as caught:
            failure = caught
        if failure:
            failure.__context__ = None  # Hypothesis tells bugs apart by it, but which rank gives up first is chance
            raise failure


@dataclass(frozen=True)
class _Stop:
    """Rank 0's last word: why it stopped, empty where the property holds."""

    reason: str


def _lead(prop: _Property, strategies: dict[str, Any], explicit: tuple[dict[str, Any], ...]) -> None:
    __tracebackhide__ = True
    guard, examples = prop.guard, 0

    def drive(**drawn: Any) -> None:
        nonlocal examples
        examples += 1
        dog.feed()
        guard.control.share(drawn)
        try:
            prop.attempt(drawn)
        except RankFailure as failure:
            if exhausted(guard):
                raise TooManyFailures(f"too many failures in one run; the last: {drawn}: {failure}") from None
            raise
        finally:
            dog.feed()

    reason = "rank 0 stopped"
    try:
        _dress(drive, prop.body, strategies)
        test = given(**_sized(strategies, guard.size))(drive)
        for values in reversed(explicit):  # Hypothesis tries the last one first
            test = hypothesis.example(**_sized(values, guard.size))(test)
        with Watchdog(f"{prop.body.__name__}: drawing values on rank 0", LIMIT + 5) as dog:
            profile(guard.size)(test)()
        reason = ""
    except TooManyFailures as end:
        reason = str(end)
        raise RankFailure(reason) from None
    except BaseException as problem:
        reason = str(problem) or type(problem).__name__
        problem.add_note(f"({examples} examples ran on {guard.size} rank{'s' if guard.size > 1 else ''})")
        raise problem.with_traceback(None) from problem.__cause__
    finally:
        guard.control.share(_Stop(reason))


def _sized(values: dict[str, Any], size: int) -> dict[str, Any]:
    """``values``, with functions of the number of ranks evaluated."""
    return {name: value(size) if callable(value) else value for name, value in values.items()}


def _dress(drive: Any, body: Callable[..., None], strategies: dict[str, Any]) -> None:
    """Let Hypothesis see the body's name and source (its seed and its database key) and the drawn parameters."""
    drive.__name__, drive.__qualname__, drive.__module__ = body.__name__, body.__qualname__, body.__module__
    drive.__wrapped__ = body
    drive.__signature__ = inspect.Signature(
        [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in strategies]
    )


def _follow(prop: _Property) -> None:
    __tracebackhide__ = True
    skipped: BaseException | None = None
    with warnings.catch_warnings():  # ``assume`` warns where Hypothesis does not run
        warnings.simplefilter("ignore", HypothesisDeprecationWarning)
        while not isinstance(order := prop.guard.control.share(), _Stop):
            try:
                prop.attempt(order)
            except RankFailure:
                exhausted(prop.guard)
            except UnsatisfiedAssumption:
                pass
            except BaseException as problem:  # all ranks skip: so does the test
                skipped = problem
    if order.reason:
        raise skipped or RankFailure(order.reason)
