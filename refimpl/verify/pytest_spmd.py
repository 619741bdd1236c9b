"""The pytest plugin of ``spmd``: one mpiexec, many team sizes, one report.

    mpiexec -n 6 python -m pytest -p refimpl.verify.pytest_spmd --with-mpi --sizes 1,2,3,4,6

``team``             A test with this fixture runs once for each size of ``--sizes`` ([np1], [np2], ...), on the first
                     ranks of the run, with a guarded communicator. Set-up, call, tear-down each end in one verdict of
                     all ranks of the team. ``@pytest.mark.mpi(min_size=2)`` (pytest-mpi) leaves out the sizes below.
Without ``team``     A test runs on one rank alone, after the others: see ``dealing``.
``shared_tmp_path``  A temporary directory that all ranks of the team see.
Report               Rank 0 decides what runs, in which order, and when to stop; it alone prints and writes files. Ranks
                     outside a team wait, asleep, and take over its verdict. The exit code is rank 0's on every rank.
No hangs             The watchdog (SPMD_LIMIT) looks after each phase of each test, and collection. An exception that
                     leaves pytest's own machinery on one rank ends the job.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from .board import MPI, Control, merge
from .dealing import Dealer
from .team import SPENT_LIMIT, Guard, Team
from .verdict import Collective, RankFailure
from .watchdog import Watchdog, abort

WORLD = MPI.COMM_WORLD
Wrapper = Generator[None, Any, Any]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--sizes", default="1,2,3,4,6", help="team sizes to test, up to the number of ranks")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Only rank 0 writes the JUnit file; the others keep their temporary files apart, lest they clear away each other's."""
    if WORLD.rank:
        directory = tempfile.TemporaryDirectory(prefix=f"pytest-rank{WORLD.rank}-", ignore_cleanup_errors=True)
        config.add_cleanup(directory.cleanup)
        config.option.xmlpath, config.option.basetemp = None, directory.name


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    Watchdog.console = os.fdopen(os.dup(2), "w")  # during a test, pytest has redirected descriptor 2
    config.pluginmanager.register(Conductor(read_sizes(config.getoption("--sizes"))), "spmd_conductor")
    if WORLD.rank:
        silence(config)


def read_sizes(text: str) -> list[int]:
    """The sizes of ``--sizes`` that this run has the ranks for."""
    if not all(part.strip().isdigit() and int(part) > 0 for part in text.split(",")):
        raise pytest.UsageError(f"--sizes: expected numbers of ranks such as 1,2,4, got {text!r}")
    return sorted({size for size in map(int, text.split(",")) if size <= WORLD.size})


def silence(config: pytest.Config) -> None:
    """Let this rank's reporter write to nowhere."""
    config.pluginmanager.unregister(name="terminalreporter")
    reporter = pytest.TerminalReporter(config, open(os.devnull, "w"))
    config.pluginmanager.register(reporter, "terminalreporter")


def end_job(text: str) -> None:
    """Print and end all ranks; nothing where there is only one."""
    if WORLD.size > 1:
        Watchdog.console.write(f"\n{text}\n")
        Watchdog.console.flush()
        abort()


# ---- which test runs where -------------------------------------------------------------------------------------------


def team_size(item: Any) -> int:
    """The size of a test's team; 0 for a test without one."""
    return item.callspec.params.get("team", 0) if hasattr(item, "callspec") else 0


def least_size(definition: pytest.Item) -> int:
    """The min_size of a test's ``mpi`` markers, 1 without."""
    return max((mark.kwargs.get("min_size") or 1 for mark in definition.iter_markers("mpi")), default=1)


def takes_part(item: pytest.Item) -> bool:
    """Whether this rank runs the test itself."""
    return WORLD.rank < team_size(item)


@dataclass(frozen=True)
class Verdict:
    """What rank 0 tells after each test: whether it failed, and why to stop the run (empty: go on)."""

    failed: bool
    stop: str


class Follower(pytest.Item):
    """Stands, on a rank that has no part in it, for a test: waits for rank 0's verdict and takes it over."""

    def runtest(self) -> None:
        if conductor(self.config).hear(self.session, Verdict(False, "")).failed:
            raise RankFailure("failed on rank 0")


class Conductor:
    """The hooks that keep all ranks of one pytest run together."""

    def __init__(self, sizes: list[int]) -> None:
        self.control, self.sizes = Control(WORLD), sizes
        self.guards: dict[int, Guard] = {}
        self.failed: set[str] = set()
        self.broken: list[str] = []
        self.alone: list[pytest.Item] = []
        self.dealer = Dealer(self.control)

    def hear(self, session: pytest.Session, mine: Verdict) -> Verdict:
        """Rank 0's verdict on every rank; all stop where it says so."""
        verdict = self.control.share(mine)
        if verdict.stop and not session.shouldfail:
            session.shouldstop = verdict.stop
        return verdict

    # -- collection --

    def pytest_report_header(self) -> str:
        library = MPI.Get_library_version().splitlines()[0].strip()
        sizes = ", ".join(map(str, self.sizes)) or "none"
        return f"spmd: {WORLD.size} rank{'s' if WORLD.size > 1 else ''}, team sizes {sizes}; {library}"

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        if "team" in metafunc.fixturenames:
            least = least_size(metafunc.definition)
            fit = [pytest.param(size, id=f"np{size}") for size in self.sizes if size >= least]
            reason = f"needs a team of {least} ranks or more; this run has teams of {self.sizes}"
            none = pytest.param(0, id=f"np{least}", marks=pytest.mark.skip(reason=reason))
            metafunc.parametrize("team", fit or [none], indirect=True)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.broken.append(f"{report.nodeid}: {report.longreprtext}")

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection(self, session: pytest.Session) -> Wrapper:
        with Watchdog("collecting the tests"):
            return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection_modifyitems(self, session: pytest.Session, items: list[pytest.Item]) -> Wrapper:
        """Every rank runs rank 0's list in rank 0's order, with followers for the tests it has no part in."""
        yield
        mine = {item.nodeid: item for item in items}
        order = self.control.share(list(mine))
        missing = [f"{name} is not collected" for name in order if name not in mine]
        problems = self.control.pool(self.broken + missing)
        found = [mine[name] for name in order if name in mine]
        self.alone = [item for item in found if not team_size(item)]
        items[:] = [item if takes_part(item) else follower(item) for item in found if team_size(item)] + self.alone
        if any(problems):
            session.testsfailed += not session.testsfailed  # then pytest stops, on all ranks
            self.broken = (
                [] if problems[0] else merge(((r, "\n".join(p)) for r, p in enumerate(problems) if p), WORLD.size)
            )
        else:
            self._make_guards({team_size(item) for item in items})

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.broken and not self.guards:
            terminalreporter.section("errors that rank 0 does not have")
            terminalreporter.write_line("\n".join(self.broken))

    def _make_guards(self, sizes: set[int]) -> None:
        for size in sorted(set(self.control.share(sizes)) - {0}):
            comm = WORLD.Split(0 if WORLD.rank < size else MPI.UNDEFINED)
            if comm != MPI.COMM_NULL:
                self.guards[size] = Guard(comm)

    # -- each test --

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Wrapper:
        """First the tests of teams, then those of one rank."""
        session.items = session.items[: len(session.items) - len(self.alone)]
        result = yield
        if not session.config.option.collectonly:
            self.dealer.run(session, self.alone)
        if session.shouldfail:
            raise session.Failed(session.shouldfail)
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.add(report.nodeid)
        self.dealer.keep(report)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Wrapper:
        stop = ""
        try:
            return (yield)
        except BaseException as problem:
            stop = f"{type(problem).__name__}: {problem}"
            if WORLD.rank:
                end_job(f"rank {WORLD.rank} leaves {item.nodeid}: {stop}")
            raise
        finally:
            if not isinstance(item, Follower) and team_size(item):
                stop = stop or str(item.session.shouldfail or item.session.shouldstop or "")
                if Guard.spent > SPENT_LIMIT:
                    stop = "too many failures: the MPI has hardly any communicator left"
                self.hear(item.session, Verdict(item.nodeid in self.failed, stop))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Wrapper:
        __tracebackhide__ = True
        return (yield from self._phase(item, "setting up"))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Wrapper:
        __tracebackhide__ = True
        if getattr(getattr(item, "obj", None), "is_property_test", False) and team_size(item):
            return (yield)  # has a watchdog and a verdict for each example
        return (yield from self._phase(item, "running"))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Wrapper:
        __tracebackhide__ = True
        return (yield from self._phase(item, "tearing down"))

    def _phase(self, item: pytest.Item, doing: str) -> Wrapper:
        __tracebackhide__ = True
        label = f"{doing} {item.nodeid}"
        if isinstance(item, Follower):
            return (yield)
        if not team_size(item):
            with Watchdog(label):
                return (yield)
        with Collective(self.guards[team_size(item)].team, label):
            return (yield)

    # -- the end --

    def pytest_internalerror(self, excrepr: object) -> None:
        end_job(f"pytest fails on rank {WORLD.rank}:\n{excrepr}")

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Wrapper:
        session.exitstatus = self.control.share(int(session.exitstatus))
        return (yield)


def conductor(config: pytest.Config) -> Any:
    """The conductor of this run."""
    return config.pluginmanager.get_plugin("spmd_conductor")


def follower(item: Any) -> pytest.Item:
    """The stand-in for ``item``, at the same place in the tree."""
    return Follower.from_parent(item.parent, name=item.name)


# ---- fixtures --------------------------------------------------------------------------------------------------------


@pytest.fixture
def team(request: pytest.FixtureRequest) -> Team:
    """A guarded communicator of the first ranks of the run; the test runs once for each size of ``--sizes``."""
    return conductor(request.config).guards[request.param].team


@pytest.fixture
def shared_tmp_path(team: Team, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One temporary directory for all ranks of the team."""
    return team.bcast(tmp_path_factory.mktemp("shared") if team.rank == 0 else None)
