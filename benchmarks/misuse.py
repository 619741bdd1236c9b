"""What a wrong call ends in: refimpl and pylops-mpi, measured now, and DistDL, as it was measured before.

The cases are those of adjoint_tests/misuse_cases.py, and the calls that look wrong and are right. A rank that has not ended a
while (--limit) after all have begun counts as hanging. Calls that end in one error on all ranks, or in the right answer, run
one after the other in one mpiexec; any other is made again as the first call of a fresh one, and counts as it ends there.

example:
    python benchmarks/misuse.py --ranks 2 --out benchmarks/misuse.md
    python benchmarks/misuse.py --library pylops --case "factors that differ"
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from tqdm import tqdm

from refimpl.cli.launch import environment, mpiexec

HERE = Path(__file__).resolve().parent
PATIENCE = 5.0  # s that mpiexec has to end its ranks
START = 60.0  # s that Python and MPI may take to begin

# reference: runs of microsoft/distdl 4175d8e and slimgroup/dfno 011dfd0 with torch 2.13.0, mpi4py 4.1.2, MPICH 5.0.2
DISTDL = {
    "block of a wrong size": "torch's shape error (Linear), no word of the partition",
    "block of a wrong size on one rank": "**hang** (Linear)",
    "copies of different lengths": "**silent, garbage** (AllSumReduce; reads out of bounds)",
    "block with an axis too many": "late error: could not broadcast input array (Repartition)",
    "a dtype that NumPy has not": "KeyError (bfloat16)",
    "grid of more ranks than there are": "mpi4py's Invalid rank, error stack",
    "repartition of 2-D to 3-D": "clear error",
    "broadcast between unlike grids": "clear error",
    "more modes than the grid has": "torch.cat's size error (dfno)",
    "linear layer over a cut axis": "runs, meaning undefined (dfno)",
    "every second number of a buffer": "error: ndarray is not contiguous (AllSumReduce)",
    "all-reduce of Fortran order": "**silent, wrong**",
    "empty blocks: more ranks than indices": "right (Repartition); error on some ranks (FeatureConv1d)",
    "a grid of fewer ranks than there are": "right",
    "halo wider than a block": "**silent, wrong** (conv1d, k = 5, one number a rank)",
    "gathering blocks of unequal sizes": "**silent, wrong lengths** (AllGather, 1 and 4)",
}


# ---- on each rank --------------------------------------------------------------------------------------------------------


def play(library: str, names: Sequence[str], folder: Path) -> None:
    """Make the calls; each rank writes what each one ended in to a file of its own."""
    from mpi4py import MPI

    calls = refimpl_calls(MPI.COMM_WORLD.Dup()) if library == "refimpl" else pylops_calls()
    link, rank = MPI.COMM_WORLD.Dup(), MPI.COMM_WORLD.rank
    for name in names:
        link.Barrier()
        begin = folder / f"{names.index(name)}.{rank}.begun"
        begin.touch()
        try:
            end = ["right" if calls[name]() else "wrong", ""]
        except BaseException as problem:
            end = [type(problem).__name__, str(problem)]
        part = begin.with_suffix(".part")
        part.write_text(json.dumps(end))
        part.rename(begin.with_suffix(".ended"))
    time.sleep(3600)  # to leave now would end the others; whoever started this ends it


def refimpl_calls(comm) -> dict:
    sys.path.insert(0, str(HERE.parent / "adjoint_tests"))
    import misuse_cases as m

    wrong = {case.name: lambda case=case: case.call(comm) is None and False for case in m.CASES + m.UNSEEN}
    return wrong | {name: lambda is_right=is_right: is_right(comm) for name, is_right in m.RIGHT.items()}


def pylops_calls() -> dict:
    from misuse_of_pylops import CALLS

    return CALLS


# ---- outside -------------------------------------------------------------------------------------------------------------


def run(library: str, names: Sequence[str], ranks: int, limit: float) -> dict[str, str]:
    """What the calls end in, up to the first that does not end well; one that is not the first call is then left out."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        command = [mpiexec(), "-n", str(ranks), sys.executable, __file__, "--play", library, "--folder", temporary]
        quiet = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        job = subprocess.Popen(
            [*command, *(word for name in names for word in ("--case", name))], env=environment(ranks), **quiet
        )
        found: dict[str, str] = {}
        try:
            for number, name in enumerate(names):
                ends = watch(job, folder, number, ranks, limit)
                end = verdict(ends, job.poll())
                well = kind_of(end) in ("same error", "right answer")
                if well or number == 0:
                    found[name] = end
                if not well:
                    break
        finally:
            job.terminate()
            try:
                job.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                job.kill()
                job.wait()
    return found


def watch(job: subprocess.Popen, folder: Path, number: int, ranks: int, limit: float) -> list:
    """(kind, text) of each rank, None where it has not ended in time."""
    files = [folder / f"{number}.{rank}.begun" for rank in range(ranks)]
    deadline = time.monotonic() + START
    while not all(f.exists() for f in files) and job.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    deadline, ended = time.monotonic() + limit, [f.with_suffix(".ended") for f in files]
    while not all(f.exists() for f in ended) and job.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    return [json.loads(f.read_text()) if f.exists() else None for f in ended]


def verdict(ends: list, code: int | None) -> str:
    """How the call ended, in words, and the text of the error."""
    errors = [end for end in ends if end and end[0] not in ("right", "wrong")]
    texts = {text_of(end) for end in errors}
    told = "".join(f": `{text}`" for text in sorted(texts)[:1])
    if code not in (None, 0):
        return f"**crash** (exit code {code})"
    if None in ends:
        return f"**error on some ranks, the others hang**{told}" if errors else "**hang**"
    if errors and len(errors) < len(ends):
        return f"**error on some ranks, the others go on**{told}"
    if len(texts) > 1:
        return f"different errors{told}"
    if errors:
        return f"same error{told}"
    return "right answer" if all(kind == "right" for kind, _ in ends) else "**silent, wrong answer**"


def text_of(end: list) -> str:
    line = " ".join(f"{end[0]}: {end[1]}".split()).replace("|", "/").replace("`", "'")
    return line if len(line) <= 150 else f"{line[:147]}..."


def results(library: str, names: Sequence[str], ranks: int, limit: float) -> dict[str, str]:
    """What every call ends in."""
    found: dict[str, str] = {}
    with tqdm(names, library) as bar:
        while len(found) < len(names):
            new = run(library, [name for name in names if name not in found], ranks, limit)
            found |= new
            bar.update(len(new))
    return found


def table(groups: dict[str, list[str]], found: dict[str, dict[str, str]], ranks: int, limit: float) -> str:
    from harness import version_of

    versions = ", ".join(f"{name} {version_of(name)}" for name in ("refimpl", "pylops-mpi", "mpi4py", "mpich", "numpy"))
    lines = ["# What a wrong call ends in", "", f"Measured on {date.today()} with {ranks} ranks: {versions}."]
    lines += ["", "    python benchmarks/misuse.py --ranks 2 --out benchmarks/misuse.md", ""]
    lines += [
        "DistDL's column was not measured in this run: it is what microsoft/distdl 4175d8e and slimgroup/dfno 011dfd0 did",
        f"(torch 2.13.0, mpi4py 4.1.2, MPICH 5.0.2). A hang: no end within {limit:g} s. Empty: no such call, or not known.",
    ]
    for library, ends in found.items():
        kinds = sorted({kind_of(end) for end in ends.values()})
        counts = (f"{kind}: {sum(kind_of(e) == kind for e in ends.values())}" for kind in kinds)
        lines += ["", f"{library}, {len(ends)} calls. {'; '.join(counts)}."]
    for group, names in groups.items():
        lines += ["", f"## {group.capitalize()}", "", "| call | refimpl | pylops-mpi | DistDL |", "|---|---|---|---|"]
        columns = [found.get("refimpl", {}), found.get("pylops", {}), DISTDL]
        lines += [f"| {name} | {' | '.join(column.get(name, '') for column in columns)} |" for name in names]
    return "\n".join(lines) + "\n"


def kind_of(end: str) -> str:
    return end.split(": `")[0].split(" (")[0].replace("*", "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=2, help="ranks of each call (default: 2)")
    parser.add_argument("--limit", type=float, default=5.0, help="seconds that a call may take (default: 5)")
    parser.add_argument("--library", choices=("refimpl", "pylops"), help="one of the two (default: both)")
    parser.add_argument("--case", action="append", help="the name of a case, may be repeated (default: all)")
    parser.add_argument("--out", type=Path, help="write the table to this file (default: print it)")
    parser.add_argument("--play", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.play:
        play(args.play, args.case, args.folder)
        os._exit(0)
    sys.path.insert(0, str(HERE.parent / "adjoint_tests"))
    import misuse_cases as m

    groups = {group: [case.name for case in cases] for group, cases in m.GROUPS.items()}
    groups["out of reach of a vote: one rank never comes to it"] = [case.name for case in m.UNSEEN]
    groups["looks wrong, and is right"] = list(m.RIGHT)
    chosen = args.case or [name for names in groups.values() for name in names]
    found = {}
    for library in [args.library] if args.library else ["refimpl", "pylops"]:
        known = chosen if library == "refimpl" else [name for name in chosen if name in counterparts()]
        found[library] = results(library, known, args.ranks, args.limit)
    shown = {group: [n for n in names if n in chosen] for group, names in groups.items()}
    text = table({group: names for group, names in shown.items() if names}, found, args.ranks, args.limit)
    if args.out:
        args.out.write_text(text)
    else:
        print(text)


def counterparts() -> list[str]:
    """The cases that pylops-mpi has too, read from the file: importing it would start MPI here."""
    lines = (HERE / "misuse_of_pylops.py").read_text().split("CALLS = {")[1].splitlines()
    return [line.split('"')[1] for line in lines if line.startswith('    "')]


if __name__ == "__main__":
    main()
