"""The chapters run, on several ranks, and say what they promise; the weaver turns a failing cell into one clear message."""

import re
import runpy
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from refimpl.cli.launch import environment, mpiexec

ROOT = Path(__file__).resolve().parents[1]
WEAVER = ROOT / "tutorials" / "weave.py"
TIME = 60  # s for one run; far more than it needs

pytest.importorskip("markdown_it", reason="pages need the docs extra")


@pytest.fixture
def weave(tmp_path):
    """``weave(chapter, ranks)``: the finished process; the page lies in ``tmp_path``."""

    def weave(chapter: Path, ranks: int) -> subprocess.CompletedProcess:
        command = [mpiexec(), "-n", str(ranks), sys.executable, str(WEAVER), str(chapter), "--out", str(tmp_path)]
        clean = {n: v for n, v in environment(ranks).items() if not n.startswith("SPMD_")}  # a chapter's own examples
        clean |= {"PYTHONPATH": str(ROOT)}
        return subprocess.run(command, env=clean, capture_output=True, text=True, timeout=TIME)

    return weave


def write(folder: Path, source: str) -> Path:
    chapter = folder / "tiny.py"
    chapter.write_text(source)
    return chapter


def printed(page: Path) -> str:
    """All that the cells of a woven chapter printed."""
    return "\n".join(re.findall(r"^```text\n(.*?)\n```", page.read_text(), re.M | re.S))


TINY = """\
# %% [markdown]
# # A tiny chapter
# With $x^2$.
# %%
from mpi4py import MPI
comm = MPI.COMM_WORLD
print("one for all", comm.allreduce(1))
print("my rank is", comm.rank)
# %%
if comm.rank == 0:
    import matplotlib.pyplot as plt
    plt.figure().add_subplot().set_title("a square")
    print("only <me>")
"""


def test_a_page_shows_what_each_rank_said_and_rank_0_drew(weave, tmp_path):
    done = weave(write(tmp_path, TINY), ranks=2)
    assert done.returncode == 0, done.stderr
    markdown, page = (tmp_path / "tiny.md").read_text(), (tmp_path / "tiny.html").read_text()
    assert "[all 2 ranks] one for all 2\n[0] my rank is 0\n[1] my rank is 1\n" in markdown
    assert "```text\nonly <me>\n```\n\n![a square](tiny-1.svg)" in markdown
    assert "<h1>A tiny chapter</h1>" in page and "<msup>" in page and "only &lt;me&gt;" in page
    assert "data:image/svg+xml;base64," in page
    assert not re.search(r"(src|href)=\"(?!data:)", page), "a page must not need another file"


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("if comm.rank == 1: raise ValueError('no good')\ncomm.allreduce(1)", "rank 1: ValueError: no good"),
        ("if comm.rank == 0: comm.Barrier()", "Deadlock: rank 0 waiting in Barrier"),
        ("x = (", "all 2 ranks: SyntaxError"),
    ],
)
def test_a_cell_that_fails_on_one_rank_ends_on_all(weave, tmp_path, cell, message):
    setup = "# %%\nfrom mpi4py import MPI\ncomm = MPI.COMM_WORLD\n"
    done = weave(write(tmp_path, f"{setup}# %%\n{cell}\n"), ranks=2)
    assert done.returncode == 1
    assert done.stderr.count("tiny.py: the cell at line 5 failed") == 1
    assert done.stderr.count(message) == 1
    assert not (tmp_path / "tiny.html").exists()


def test_a_missing_chapter_is_one_line_and_no_traceback(weave, tmp_path):
    done = weave(tmp_path / "nowhere.py", ranks=1)
    assert done.returncode == 1 and "nowhere.py: cannot be read" in done.stderr
    assert "Traceback" not in done.stderr


def test_ranks_that_say_the_same_share_a_line():
    by_rank = runpy.run_path(str(WEAVER))["by_rank"]
    assert by_rank(["a\n", "", ""]) == "a"
    assert by_rank(["a\n", "b\n", "b\n", "b\n"]) == "[0] a\n[1-3] b"
    assert by_rank(["a\nc\n", "b\nc\n", "a\n"]) == "[0, 2] a\n[1] b\n[0, 1] c"


def test_chapter_1_finds_its_planted_bug(weave, tmp_path):
    done = weave(ROOT / "tutorials" / "01_linear_maps.py", ranks=2)
    assert done.returncode == 0, done.stderr
    text = printed(tmp_path / "01_linear_maps.md")
    assert "columns == matrix: True" in text
    assert "(S D)* == D* S*: True" in text
    assert "x = [ 0.  1.  4.  9. 16. 25.]" in text
    assert re.search(r"\(1, 2, 1\) passes: True(.|\n)*Failing.*test_adjoint_of_convolution", text)


def test_chapter_2_finds_its_trap_and_its_planted_bug(weave, tmp_path):
    done = weave(ROOT / "tutorials" / "02_broadcast.py", ranks=2)
    assert done.returncode == 0, done.stderr
    text = printed(tmp_path / "02_broadcast.md")
    assert "[0] before: [1. 2. 3.]  after: [1. 2. 3.]\n[1] before: []  after: [1. 2. 3.]" in text
    assert "B* y = [11. 11. 11.] and S y = [11. 11. 11.]" in text
    traps = dict(re.findall(r"(\w+) copies: sum \S+, trap (\S+)", text))
    assert float(traps["equal"]) < 1e-14 and float(traps["independent"]) > 1e-2
    gradient, total = re.search(r"gradient: (\S+) sum of all slopes: (\S+)", text).groups()
    assert gradient == total
    assert "[0] forward: 24 bytes predicted, 24 counted" in text
    assert "[1] adjoint: 24 bytes predicted, 24 counted" in text
    assert re.search(r"n = 8 passes: True(.|\n)*all 2 ranks: AssertionError(.|\n)*n=1,", text)


def test_chapter_12_learns_the_same_on_two_ranks_as_on_one(weave, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    for name, n in (("train", 40), ("t10k", 20)):  # noise in MNIST's format
        head = struct.pack(">IIII", 0x0803, n, 28, 28), struct.pack(">II", 0x0801, n)
        (tmp_path / f"{name}-images-idx3-ubyte").write_bytes(head[0] + rng.bytes(n * 28 * 28))
        (tmp_path / f"{name}-labels-idx1-ubyte").write_bytes(head[1] + rng.integers(0, 10, n, np.uint8).tobytes())
    monkeypatch.setenv("MNIST", str(tmp_path))
    monkeypatch.setenv("LENET_STEPS", "8")
    done = weave(ROOT / "tutorials" / "12_lenet.py", ranks=2)
    assert done.returncode == 0, done.stderr
    text = printed(tmp_path / "12_lenet.md")
    gaps = [float(gap) for gap in re.findall(r"differs by at most (\S+)", text)]
    assert len(gaps) == 10 and max(gaps) < 1e-10
    assert re.search(r"% of 20 unseen images are read right(.|\n)*FAILED(.|\n)*kernel=2,", text)


def test_chapter_30_walks_downhill_and_finds_its_planted_bug(weave, tmp_path, monkeypatch):
    monkeypatch.setenv("INVERSION", "11 2 1 2")  # cells along a side, runs, steps of training, iterations
    done = weave(ROOT / "tutorials" / "30_inversion.py", ranks=1)  # on two it takes thrice as long
    assert done.returncode == 0, done.stderr
    text = printed(tmp_path / "30_inversion.md")
    first, last = map(float, re.search(r"by the simulator: misfit (\S+) % -> (\S+) %", text).groups())
    floor = float(re.search(r"truth: misfit (\S+) %", text).group(1))
    assert floor < last < 0.6 * first and "by the network: misfit" in text
    assert re.search(r"rank 0: AssertionError(.|\n)*frames=2,", text)


def test_no_chapter_is_long():
    for chapter in (ROOT / "tutorials").glob("[0-9]*.py"):
        assert len(chapter.read_text().splitlines()) < 150, f"{chapter.name} has 150 lines or more"
