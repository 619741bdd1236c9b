"""The engine: from settings to a folder of samples, whatever interrupts it.

    out/plan.json                      what is made (``plan``)
    out/journal.jsonl                  what happened to each sample (``journal``)
    out/data/{train,valid,test}/sample-000012.h5      the samples (``the_well``)

A run makes the samples that are missing or damaged and keeps the others, so running again is how to resume, after an
interrupt, a full disk or a power cut. A sample that fails (the solver gives up, a number is not finite, mass is not
conserved) is reported and not written; the run goes on, unless the first five all fail, and fails in the end where too
many did. It would fail again, so later runs of the same plan pass it over, and count it, unless told to retry.
"""

from __future__ import annotations

import os
import time
import traceback
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tqdm import tqdm

from refimpl import wire

from ..files import sweep_partial
from .journal import Journal, read_journal
from .kinds import make_plan, make_sample, read_plan
from .plan import PATTERNS, Plan, Splits, write_plan
from .the_well import check_sample, write_sample
from .workers import run_here, run_in_processes

FOUND = ("steps", "newton_iterations", "mass_balance_error", "divergence")  # of a sample, for the journal
HOPELESS = 5  # failures at the start, and nothing else: stop


class GenerationError(RuntimeError):
    """Too many samples failed; the message has the first failure's traceback."""


@dataclass(frozen=True)
class Summary:
    """What a run did: numbers of samples ``made`` and ``reused``, the journal's records of the ``failed``, in this run or
    in an earlier one and not tried again, wall seconds."""

    out: Path
    made: int
    reused: int
    failed: tuple[dict, ...]
    seconds: float


def generate(
    settings: Splits,
    out: str | Path,
    workers: int | None = None,
    progress: bool = True,
    max_failures: float = 0.1,
    retry_failed: bool = False,
) -> Summary:
    """Make every sample of ``settings`` that ``out`` does not hold yet.

    ``workers`` processes (default: one per core this process may use; 1: no other process). The samples that are there
    are read and compared with their sha256. ``max_failures`` is the share of the samples that may fail; those that
    failed in an earlier run count too, and are tried again only with ``retry_failed``.

    Raises ValueError where ``out`` holds another plan or the top surface is unfit, OSError where files cannot be read
    or written (what is complete stays), GenerationError where too many samples fail. A KeyboardInterrupt stops the
    workers and passes on.
    """
    start, out = time.perf_counter(), Path(out)
    workers = wire.available_cores() if workers is None else workers
    if workers < 1:
        raise ValueError(f"generate: expected at least 1 of workers, got {workers}")
    if not 0.0 <= max_failures <= 1.0:
        raise ValueError(f"generate: expected max_failures in 0..1, got {max_failures}")
    plan = make_plan(settings)
    _open_folder(out)
    write_plan(plan, out)
    with Journal(out) as journal:
        _sweep(out)
        lacking = [i for i in range(settings.samples) if _fault(settings.path_of(out, i), plan.digest)]
        known = {} if retry_failed else _known_failures(out, lacking, plan.digest)
        to_make = [i for i in lacking if i not in known]
        reused, passed = settings.samples - len(lacking), settings.samples - len(to_make)
        bar = tqdm(total=settings.samples, initial=passed, unit="sample", disable=not progress)
        try:
            with bar, closing(_made(plan, out, to_make, workers)) as records:
                failed = [*known.values(), *_follow(records, journal, bar)]
        finally:
            _sweep(out)  # of workers that were stopped in the middle
    _judge(failed, max_failures, settings.samples)
    return Summary(out, len(lacking) - len(failed), reused, tuple(failed), time.perf_counter() - start)


def survey(out: str | Path) -> dict[int, tuple[str, str]]:
    """The state of each sample of the data set ``out``: index -> (state, detail).

    The states: "complete", "missing", "failed" (the detail is the error), "damaged" (the detail says how). All is read.
    Raises FileNotFoundError where ``out`` is no data set, ValueError where its plan is damaged.
    """
    out = Path(out)
    settings, digest = read_plan(out)
    journal = read_journal(out)
    states = {}
    for index in range(settings.samples):
        path = settings.path_of(out, index)
        if path.exists():
            fault = _fault(path, digest)
            states[index] = ("damaged", fault) if fault else ("complete", str(path))
        else:
            error = journal.get(index, {}).get("error")
            states[index] = ("failed", error) if error else ("missing", str(path))
    return states


def make_file(plan: Plan, digest: str, out: Path, index: int) -> dict:
    """Make sample ``index`` and write its file; returns its line for the journal. Raises OSError (full disk)."""
    start = time.perf_counter()
    seed = [plan.settings.root_seed, index]
    record = {"index": index, "split": plan.settings.split_of(index), "seed": seed, "plan": digest}
    try:
        sample = make_sample(plan, index)
    except Exception as error:  # whatever ails one sample must not end the others
        cause = f"{type(error).__name__}: {error}"
        record |= {"status": "failed", "error": cause, "traceback": traceback.format_exc()}
    else:
        path = plan.settings.path_of(out, index)
        sha256 = write_sample(path, sample, digest)
        record |= {"status": "done", "sha256": sha256, "bytes": path.stat().st_size}
        record |= {name: sample.provenance[name] for name in FOUND if name in sample.provenance}
    return record | {"seconds": round(time.perf_counter() - start, 3)}


def _made(plan: Plan, out: Path, indices: list[int], workers: int):
    """The records of ``indices``, as they are made."""
    make = partial(make_file, plan, plan.digest, out)
    workers = min(workers, len(indices))
    return run_here(make, indices) if workers <= 1 else run_in_processes(make, indices, workers)


def _follow(records, journal: Journal, bar: tqdm) -> list[dict]:
    """Enter every record in the journal; the failed ones are returned. Stops where the first ones all fail."""
    failed = []
    try:
        for count, record in enumerate(records, start=1):
            journal.append(record)
            if record["status"] == "failed":
                failed.append(record)
                bar.set_postfix(failed=len(failed))
            bar.update()
            if len(failed) == count == HOPELESS:
                raise GenerationError(f"the first {HOPELESS} samples all failed; stopped.\n{failed[0]['traceback']}")
    except OSError as error:
        raise OSError(f"{error}. What is complete stays; when the cause is gone, run again to go on") from error
    return failed


def _known_failures(out: Path, lacking: list[int], digest: str) -> dict[int, dict]:
    """index -> record, of those of the samples ``lacking`` whose last record says that they failed under this plan."""
    journal = read_journal(out)
    records = ((index, journal.get(index, {})) for index in lacking)
    return {
        index: record for index, record in records if (record.get("status"), record.get("plan")) == ("failed", digest)
    }


def _sweep(out: Path) -> None:
    for pattern in PATTERNS:
        sweep_partial(out, pattern)


def _judge(failed: list[dict], share: float, samples: int) -> None:
    if len(failed) > share * samples:
        raise GenerationError(
            f"{len(failed)} of the {samples} samples failed, more than the {share * samples:g} allowed; "
            "to try those of earlier runs again: --retry-failed, or retry_failed=True. "
            f"The first, sample {failed[0]['index']}:\n{failed[0]['traceback']}"
        )


def _fault(path: Path, digest: str) -> str:
    """Why the file cannot be used as it is; empty where it can."""
    try:
        check_sample(path, digest)
    except (OSError, ValueError) as error:
        return str(error)
    return ""


def _open_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"cannot make the folder {out}: {error}") from error
    if not os.access(out, os.W_OK | os.X_OK):
        raise PermissionError(f"the folder {out} is not writable")
