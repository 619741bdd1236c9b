"""The harness is proved by planted faults: each becomes one clear, shrunken failure, and none becomes a hang.

Every fault is a small test file in a real ``mpiexec -n ... python -m pytest``; those that leave a report share one run.
"""

import os
import re
import subprocess
import sys
import textwrap
import time
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

import pytest

from refimpl import wire

ROOT = Path(__file__).resolve().parents[1]
MPIEXEC = Path(sys.executable).with_name("mpiexec")  # the environment's own: the system may have another MPI
TIME = 60  # s for one run; far more than it needs

HEAD = """
import numpy as np
import pytest
from hypothesis import assume, strategies as st
from refimpl import wire
from refimpl.verify import spmd

def total(comm, n):
    return wire.finish(wire.start_all_reduce(comm, wire.everyone(comm), np.ones(n)))
"""


@dataclass(frozen=True)
class Run:
    """What a run of pytest left."""

    code: int
    text: str
    seconds: float
    cases: dict[str, dict[str, str]]  # JUnit: file -> test case -> "passed", or what became of it, and the report

    def outcomes(self, file: str = "planted") -> dict[str, str]:
        """Test case -> "passed", "failure", "error" or "skipped"."""
        return {case: report.partition("\n")[0] for case, report in self.cases.get(f"test_{file}", {}).items()}

    def report(self, file: str = "planted") -> str:
        """The reports of all cases of one file."""
        return "\n".join(self.cases[f"test_{file}"].values())


def clean_environment() -> dict[str, str]:
    """This process's environment without what would tie a new mpiexec to this one's."""
    foreign = ("PMI_", "PMIX_", "HYDRA_", "HYDI_", "MPIR_", "SPMD_")
    whole_summaries = ("CI", "BUILD_NUMBER")  # pytest no longer shortens its summary lines where these are set
    environment = {n: v for n, v in os.environ.items() if not n.startswith(foreign) and n not in whole_summaries}
    few_cores = {"MPIR_CVAR_POLLS_BEFORE_YIELD": "1", "MPIR_CVAR_ENABLE_HEAVY_YIELD": "1"}
    return environment | few_cores | {"PYTHONPATH": str(ROOT), "SPMD_GRACE": "0.2", "SPMD_EXAMPLES": "20"}


def run_pytest(directory: Path, sources: dict[str, str], ranks: int, **environment: str) -> Run:
    """The tests in ``sources``, file -> text, on ``ranks`` ranks; 0 ranks: without mpiexec."""
    for file, source in sources.items():
        (directory / f"test_{file}.py").write_text(HEAD + textwrap.dedent(source))
    launcher = [str(MPIEXEC), "-n", str(ranks)] if ranks else []
    plugins = ["-p", "refimpl.verify.pytest_spmd", "-p", "no:cacheprovider", "--with-mpi"]
    began = time.monotonic()
    done = subprocess.run(
        [*launcher, sys.executable, "-m", "pytest", *plugins, "--junitxml=junit.xml"],
        cwd=directory,
        env=clean_environment() | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIME,
    )
    return Run(done.returncode, done.stdout, time.monotonic() - began, junit(directory / "junit.xml"))


def junit(file: Path) -> dict[str, dict[str, str]]:
    cases: dict[str, dict[str, str]] = {}
    for case in ElementTree.parse(file).getroot().iter("testcase") if file.exists() else ():
        report = "\n".join(f"{part.tag}\n{part.text}" for part in case if part.tag in ("failure", "error", "skipped"))
        cases.setdefault(case.get("classname"), {})[case.get("name")] = report or "passed"
    return cases


@pytest.fixture
def run(tmp_path):
    """``run(source, ranks)``: the tests in ``source`` on ``ranks`` ranks."""
    return lambda source, ranks, **environment: run_pytest(tmp_path, {"planted": source}, ranks, **environment)


# ---- faults that end in a report: all of them in one run ---------------------------------------------------------------

ON_THREE = {
    "wrong_number": """
        @spmd.property_test(n=st.integers(1, 99), seed=st.integers(0, 99))
        def test_sum(team, n, seed):
            wrong = n >= 3 and team.size > 1 and team.rank == team.size - 1
            assert total(team, n)[0] + wrong == team.size
        """,
    "raises_early": """
        @spmd.property_test(n=st.integers(1, 99))
        def test_sum(team, n):
            if team.rank == 1 and n >= 3:
                raise OSError("no such file")
            total(team, n)
        """,
    "forgotten": """
        @pytest.mark.mpi(min_size=3)
        @spmd.property_test(n=st.integers(1, 99))
        def test_sum(team, n):
            if team.rank != 1 or n < 3:
                total(team, n)
        """,
    "plain": """
        three = pytest.mark.mpi(min_size=3)
        @three
        def test_last(team):
            assert team.rank < team.size - 1
        @three
        def test_all(team):
            assert team.size == 0
        @three
        def test_some(team):
            if team.rank != 1:
                raise OSError("no such file")
        def test_serial():
            assert 1 == 2
        @three
        def test_good(team):
            assert total(team, 2).sum() == 2 * team.size
        """,
    "sizes": """
        @spmd.property_test(n=st.integers(1, 9))
        def test_sum(team, n):
            assert np.all(total(team, n) == team.size)
        @pytest.mark.mpi(min_size=2)
        def test_pair(team, shared_tmp_path):
            (shared_tmp_path / str(team.rank)).touch()
            team.Barrier()
            assert len(list(shared_tmp_path.iterdir())) == team.size
        def test_serial(tmp_path):
            assert not (tmp_path / "once").exists()
        """,
}


@pytest.fixture(scope="module")
def on_three(tmp_path_factory):
    return run_pytest(tmp_path_factory.mktemp("three"), ON_THREE, 3)


def test_a_wrong_number_on_the_last_rank_alone_shrinks_to_the_smallest_case(on_three):
    assert on_three.code == 1, on_three.text
    outcomes, report = on_three.outcomes("wrong_number"), on_three.report("wrong_number")
    assert outcomes == {"test_sum[np1]": "passed", "test_sum[np2]": "failure", "test_sum[np3]": "failure"}
    assert "RankFailure: rank 2: AssertionError" in report
    assert len(re.findall(r"n=3,\s+seed=0,", report)) == 2


def test_a_rank_that_raises_before_the_collective_is_named_and_shrunk(on_three):
    report = on_three.report("raises_early")
    assert list(on_three.outcomes("raises_early").values()) == ["passed", "failure", "failure"]
    assert re.search(r"RankFailure: rank 1: OSError: no such file  \[test_raises_early.py:\d+\]", report)
    assert re.search(r"test_sum\(\s+n=3,", report)


def test_a_forgotten_collective_is_a_deadlock_with_the_state_of_all_ranks_and_shrinks(on_three):
    report = on_three.report("forgotten")
    # the sum's first use of a fresh communicator makes its group of ranks: one may have it, and wait for the sum
    waits = r"Deadlock: ranks? 0(, 2)? waiting in (all_reduce|Create_group) \(call 1\); rank 1 returned"
    assert re.search(waits, report)
    assert re.search(r"test_sum\(\s+n=3,", report)


def test_plain_tests_report_each_failure_once_with_its_ranks(on_three):
    report = on_three.report("plain")
    assert on_three.outcomes("plain") == {
        "test_last[np3]": "failure",
        "test_all[np3]": "failure",
        "test_some[np3]": "failure",
        "test_serial": "failure",
        "test_good[np3]": "passed",
    }
    for failure in (
        "rank 2: AssertionError: assert 2 < (3 - 1)",
        "all 3 ranks: AssertionError: assert 3 == 0",
        "ranks 0, 2: OSError: no such file",
    ):
        assert report.count(f"RankFailure: {failure}") == on_three.text.count(f"RankFailure: {failure}") == 1


def test_every_size_is_one_case_of_one_report(on_three):
    names = [f"test_sum[np{p}]" for p in (1, 2, 3)] + ["test_pair[np2]", "test_pair[np3]", "test_serial"]
    assert on_three.outcomes("sizes") == dict.fromkeys(names, "passed")
    assert list(on_three.outcomes("sizes")) == names
    assert on_three.text.count("9 failed, 9 passed") == 1


TRIED = """
        def note(team, n):
            if team.rank == 0:
                with open("tried", "a") as log:
                    print(team.size, n, file=log)
"""

ON_TWO = {
    "communicators": """
        MAKE = {
            "split": lambda team: team.Split(0),
            "group": lambda team: team.Create_group(team.Get_group()),
            "cart": lambda team: team.Create_cart([team.size]),
            "dup": lambda team: team.Dup(),
            "type": lambda team: team.Split_type(wire.mpi().COMM_TYPE_SHARED),
            "sub": lambda team: team.cart.Sub([True]),
        }
        pytestmark = pytest.mark.mpi(min_size=2)
        @pytest.fixture(autouse=True)
        def cart(team):
            team.cart = team.Create_cart([team.size])
        @pytest.mark.parametrize("how", MAKE)
        def test_forgotten(team, how):
            part = MAKE[how](team)
            if part.rank == 0:
                part.Barrier()
        @pytest.mark.parametrize("how", MAKE)
        def test_forgotten_making(team, how):
            if team.rank == 0:
                MAKE[how](team)
        """,
    "skips": """
        pytestmark = pytest.mark.mpi(min_size=2)
        @spmd.property_test(n=st.integers(1, 9))
        def test_odd(team, n):
            assume(team.rank != 1 or n % 2)
            total(team, n)
            assert n % 2
        def test_skip(team):
            pytest.skip("all")
        def test_skip_one(team):
            if team.rank == 1:
                pytest.skip("one")
            total(team, 1)
        @pytest.fixture
        def broken(team):
            if team.rank == 1:
                raise OSError("no such file")
            total(team, 1)
        def test_broken(broken):
            pass
        """,
    "explicit": TRIED
    + """
        @spmd.example(n=77)
        @spmd.example(n=lambda size: 1000 * size)
        @spmd.property_test(n=st.integers(0, 9))
        def test_small(team, n):
            note(team, n)
            assert n != 2000
        """,
}


@pytest.fixture(scope="module")
def on_two(tmp_path_factory):
    directory = tmp_path_factory.mktemp("two")
    return run_pytest(directory, ON_TWO, 2), (directory / "tried").read_text().splitlines()


def test_sub_communicators_are_guarded_too(on_two):
    result, _ = on_two
    assert result.code == 1, result.text
    assert list(result.outcomes("communicators").values()) == ["failure"] * 12
    report = result.report("communicators")
    assert report.count("RankFailure: Deadlock: rank 0 waiting in Barrier (call 2); rank 1 returned") == 6
    making = r"Deadlock: rank 0 waiting in (Split|Create_group|Create_cart|Dup|Split_type|Sub) \(call 1\)"
    assert len(set(re.findall(making, report))) == len(re.findall(making, report)) == 6


def test_an_assumption_on_one_rank_rejects_on_all_and_skips_are_collective(on_two):
    result, _ = on_two
    assert list(result.outcomes("skips").values()) == ["passed", "skipped", "failure", "error"]
    report = result.report("skips")
    assert "the other ranks did not skip" in report
    assert "RankFailure: rank 1: OSError: no such file" in report


def test_explicit_examples_are_tried_first_in_every_run(on_two):
    result, tried = on_two
    assert result.outcomes("explicit") == {"test_small[np1]": "passed", "test_small[np2]": "failure"}
    assert re.search(r"test_small\(\s+n=2000", result.report("explicit"))
    assert tried[:2] == ["1 77", "1 1000"] and tried[-2:] == ["2 77", "2 2000"]


# ---- faults that end a run, or need one of their own --------------------------------------------------------------------


def test_an_endless_loop_ends_the_job_and_names_its_line(run):
    result = run(
        """
        @spmd.property_test(n=st.integers(1, 9))
        def test_sum(team, n):
            while team.rank == 1:
                pass
            total(team, n)
        """,
        2,
        SPMD_LIMIT="1",
    )
    assert result.code == 70
    assert "[rank 1] no end after 1 s: test_sum(n=1)" in result.text
    assert re.search(r'test_planted.py", line 1[45] in test_sum', result.text)
    assert result.seconds < 20


def test_without_mpiexec_one_rank_runs(run):
    result = run("def test_sum(team):\n    assert total(team, 3)[0] == 1", 0)
    assert result.code == 0, result.text
    assert result.outcomes() == {"test_sum[np1]": "passed"}


def test_a_saved_counterexample_is_tried_first_on_its_own_number_of_ranks(run, tmp_path):
    source = """
        @spmd.property_test(n=st.integers(0, 10**6))
        def test_small(team, n):
            note(team, n)
            assert team.size == 1 or total(team, n % 3).size + n < 1000
    """
    first = run(TRIED + source, 2, SPMD_PROFILE="nightly")
    (tmp_path / "tried").unlink()
    again = run(TRIED + source, 2, SPMD_PROFILE="nightly")
    for result in (first, again):
        assert result.outcomes() == {"test_small[np1]": "passed", "test_small[np2]": "failure"}
    (smallest,) = set(re.findall(r"test_small\(\s+n=(\d+)", first.text))
    tried = [line.split() for line in (tmp_path / "tried").read_text().splitlines()]
    assert next(n for size, n in tried if size == "2") == smallest


def test_ranks_that_share_no_memory_fall_back_to_time_outs(run):
    result = run(
        """
        pytestmark = pytest.mark.mpi(min_size=2)
        def test_forgotten(team):
            if team.rank == 0:
                total(team, 1)
        def test_afterwards(team):
            assert total(team, 1)[0] == 2
        """,
        2,
        SPMD_ALONE="0.5",
        MPIR_CVAR_NUM_CLIQUES="2",  # MPICH: as if on two nodes
    )
    assert result.outcomes() == {"test_forgotten[np2]": "failure", "test_afterwards[np2]": "passed"}, result.text
    assert "no answer in Create_group for 0.5 s" in result.text


ALONE = """
    import os, time
    @pytest.fixture(scope="module")
    def once(tmp_path_factory):
        return tmp_path_factory.mktemp("once")
    @pytest.mark.parametrize("n", range(3))
    def test_fine(n, once):
        (once / str(n)).touch()
        assert len(list(once.iterdir())) == n + 1
        with open("ran", "a") as log:
            print(__name__, os.getpid(), file=log)
        time.sleep(0.3)
    def test_broken():
        raise OSError(f"no such file in {__name__}")
    def test_skipped():
        pytest.skip("not today")
"""


def test_tests_of_one_rank_are_dealt_by_files_and_reported_once(tmp_path):
    """Each file on one rank, the ranks in turn; JUnit and the summary as of one rank."""
    files = ("a", "b", "c", "d")
    result = run_pytest(tmp_path, dict.fromkeys(files, ALONE) | {"team": "def test_team(team):\n    pass"}, 2)
    outcomes = dict.fromkeys(["test_fine[0]", "test_fine[1]", "test_fine[2]"], "passed")
    for file in files:
        assert result.outcomes(file) == outcomes | {"test_broken": "failure", "test_skipped": "skipped"}
        assert result.report(file).count(f"OSError: no such file in test_{file}") >= 1
    assert result.text.count("4 failed, 14 passed, 4 skipped") == 1 and result.code == 1
    ran = {tuple(line.split()) for line in (tmp_path / "ran").read_text().splitlines()}
    assert len(ran) == len(files)
    assert len({process for _, process in ran}) == min(2, wire.available_cores())


def test_a_failure_of_one_rank_ends_the_run_where_the_first_shall(tmp_path):
    result = run_pytest(tmp_path, dict.fromkeys(("a", "b", "c", "d", "e"), ALONE), 2, PYTEST_ADDOPTS="-x")
    assert result.code == 1 and "stopping after" in result.text, result.text
    assert len(set((tmp_path / "ran").read_text().split())) < 2 * 5


def test_an_error_in_collection_on_one_rank_stops_all(run):
    result = run(
        """
        if wire.world().rank == 1:
            raise OSError("only here")
        def test_sum(team):
            pass
        """,
        2,
    )
    assert result.code == 2
    assert "rank 1" in result.text and "OSError: only here" in result.text
