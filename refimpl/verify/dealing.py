"""Tests without a team, dealt over ranks: a core each, and rank 0 reports them all.

Dealing      Each rank of rank 0's computer, as many as it has cores, takes the next file that no other has claimed; a file
             stays whole, as its tests share fixtures. The first to make the file's mark in a shared directory has it.
Reports      travel to rank 0 at the end as pytest's own serialized reports (as pytest-xdist's do), and are told there as if
             the tests had run there.
"""

from __future__ import annotations

import shutil
import tempfile
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from .. import wire
from .board import Control

STOP = "stop"  # the mark after which no rank starts another test


class Dealer:
    """Deals tests to the first ranks of the world. Collective to make, and to run."""

    def __init__(self, control: Control) -> None:
        self.control = control
        self.reports: list[Any] | None = None  # of another rank than 0, while it runs its share
        near = control.pool(wire.mpi().Get_processor_name())
        places = [rank for rank, name in enumerate(near) if name == near[0]]
        self.takes_part = control.rank in places[: wire.available_cores()]
        self.marks = Path(control.share(tempfile.mkdtemp(prefix="dealt-") if control.rank == 0 else None))

    def claim(self, mark: str) -> bool:
        """Whether this rank is the first to make ``mark``."""
        try:
            (self.marks / mark).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    def run(self, session: pytest.Session, items: list[pytest.Item]) -> None:
        """Run the files of ``items`` that this rank can claim; on rank 0, report those of all."""
        self.reports = [] if self.control.rank else None
        try:
            if self.takes_part:
                self._run_share(session, items)
        finally:
            self._gather(session)

    def _run_share(self, session: pytest.Session, items: list[pytest.Item]) -> None:
        for number, (_, group) in enumerate(groupby(items, key=lambda item: item.path)):
            tests = list(group) if self.claim(str(number)) else []
            for test, following in zip(tests, [*tests[1:], None], strict=False):
                if (self.marks / STOP).exists():
                    return
                test.ihook.pytest_runtest_protocol(item=test, nextitem=following)
                if session.shouldfail or session.shouldstop:
                    self.claim(STOP)

    def keep(self, report: pytest.TestReport) -> None:
        """Remember a report that rank 0 is to tell."""
        if self.reports is not None:
            self.reports.append(report)

    def _gather(self, session: pytest.Session) -> None:
        hook = session.config.hook
        mine = [
            hook.pytest_report_to_serializable(config=session.config, report=report) for report in self.reports or ()
        ]
        self.reports = None
        gathered = self.control.pool(mine)
        if self.control.rank:
            return
        shutil.rmtree(self.marks)
        for data in (data for rank in gathered[1:] for data in rank):
            report = hook.pytest_report_from_serializable(config=session.config, data=data)
            if report.when == "setup":
                hook.pytest_runtest_logstart(nodeid=report.nodeid, location=report.location)
            hook.pytest_runtest_logreport(report=report)
            if report.when == "teardown":
                hook.pytest_runtest_logfinish(nodeid=report.nodeid, location=report.location)
