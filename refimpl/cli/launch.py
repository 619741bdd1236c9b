"""Starting ranks: the mpiexec of this environment, with a clean environment of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

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
    from solvers.generate.workers import available_cores

    clean = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    if ranks > available_cores():
        clean |= {"MPIR_CVAR_POLLS_BEFORE_YIELD": "1", "MPIR_CVAR_ENABLE_HEAVY_YIELD": "1"}
    if not sys.stderr.isatty():
        clean.setdefault("TQDM_MININTERVAL", "10")  # a log file wants few lines
    return clean


def run_ranks(ranks: int, *arguments: str) -> int:
    """``mpiexec -n ranks python -m refimpl arguments``; its exit code."""
    command = [mpiexec(), "-n", str(ranks), sys.executable, "-m", "refimpl", *arguments]
    return subprocess.run(command, env=environment(ranks), check=False).returncode
