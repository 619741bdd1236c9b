"""Starting ranks: the mpiexec of this environment, with a clean environment of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

from .. import wire

PATIENCE = 10.0  # seconds that mpiexec has to end its ranks
FOREIGN = ("PMI_", "PMIX_", "HYDRA_", "OMPI_")  # an mpiexec around this process left them: ours would mistake them


def mpiexec() -> str:
    """The mpiexec beside this Python, or else the first on the PATH. RuntimeError where there is none."""
    own = Path(sys.executable).parent / "mpiexec"
    found = str(own) if own.exists() else shutil.which("mpiexec")
    if found is None:
        raise RuntimeError(
            "no mpiexec was found; install one with pip install 'refimpl[mpich]', or load your cluster's MPI"
        )
    return found


def environment(ranks: int) -> dict[str, str]:
    """This process's environment for ``ranks`` ranks: where they outnumber the cores, waiting must yield."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    if ranks > wire.available_cores():
        clean |= {"MPIR_CVAR_POLLS_BEFORE_YIELD": "1", "MPIR_CVAR_ENABLE_HEAVY_YIELD": "1"}
    if not sys.stderr.isatty():
        clean.setdefault("TQDM_MININTERVAL", "10")  # a log file wants few lines
    return clean


def run_ranks(ranks: int, *arguments: str, module: str = "refimpl") -> int:
    """``mpiexec -n ranks python -m module arguments``; its exit code. No rank outlives this process.

    SIGTERM to this process ends the ranks and raises SystemExit; of SIGKILL only Linux tells mpiexec.
    """
    from solvers.generate.workers import end_with

    command = [mpiexec(), "-n", str(ranks), sys.executable, "-m", module, *arguments]
    before = signal.signal(signal.SIGTERM, _exit)
    try:
        orphaned = partial(end_with, os.getpid(), signal.SIGTERM)
        with subprocess.Popen(command, env=environment(ranks), preexec_fn=orphaned) as job:
            try:
                return job.wait()
            finally:
                _end(job)
    finally:
        signal.signal(signal.SIGTERM, before)


def _exit(number: int, frame: object) -> None:
    sys.exit(128 + number)


def _end(job: subprocess.Popen) -> None:
    """Have an mpiexec that still runs end its ranks, and wait until it has."""
    job.terminate()  # nothing where it has ended
    try:
        job.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        job.kill()
