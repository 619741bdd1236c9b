"""Time the start: the CPU seconds of ``import refimpl`` over those of ``import numpy`` and ``mpi4py``, in fresh processes.

Target: at most 0.25 s more. The processes alternate, and the median of the differences in the same round is told.

example:
    python benchmarks/startup.py --rounds 15
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence

import numpy as np
from harness import circumstances
from tqdm import tqdm

TARGET = 0.25  # s
PROGRAMS = {
    "nothing": "",
    "numpy, mpi4py": "import numpy, mpi4py",
    "refimpl": "import numpy, mpi4py, refimpl",
}


def seconds(program: str) -> float:
    """The CPU time, user and system, of a fresh Python that runs ``program``."""
    told = f"{program}\nimport time\nprint(time.process_time())"
    return float(subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True).stdout)


def slowest(count: int) -> Sequence[str]:
    """The modules whose import takes longest by itself, of those that refimpl adds."""
    program = [sys.executable, "-X", "importtime", "-c", "import numpy, mpi4py; print(flush=True); import refimpl"]
    lines = subprocess.run(program, capture_output=True, text=True, check=True).stderr.splitlines()
    rows = [line.removeprefix("import time:").split("|") for line in lines if line.count("|") == 2]
    begin = next(i for i, row in enumerate(rows) if row[2].strip() == "mpi4py")
    own = sorted(((int(row[0]), row[2].strip()) for row in rows[begin + 1 :]), reverse=True)
    return [f"{name} {us / 1000:.1f} ms" for us, name in own[:count]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="processes of each program (default: 9)")
    args = parser.parse_args()
    for program in PROGRAMS.values():
        seconds(program)  # fills the disk's cache
    rounds = [[seconds(p) for p in PROGRAMS.values()] for _ in tqdm(range(args.rounds), "start-up", leave=False)]
    times = np.array(rounds)
    more = times[:, 2] - times[:, 1]
    low, middle, high = np.percentile(more, [25, 50, 75])
    print("## Start-up\n")
    print(circumstances(1, ("refimpl", "numpy", "mpi4py")), "\n\n| import | CPU s, median |\n|---|---|")
    for name, median in zip(PROGRAMS, np.median(times, axis=0), strict=True):
        print(f"| {name} | {median:.3f} |")
    verdict = "met" if middle <= TARGET else "missed"
    print(f"| refimpl over numpy, mpi4py | **{middle:.3f}** [{low:.3f}, {high:.3f}] (target {TARGET}: {verdict}) |")
    print(f"\nThe longest, by themselves: {', '.join(slowest(6))}.")


if __name__ == "__main__":
    main()
