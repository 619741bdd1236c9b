"""A wrong call is the same clear error on all ranks, at once, and the communicator goes on."""

import time

import misuse_cases
import pytest
from misuse_cases import CASES, GROUPS, RIGHT
from theorems import same_text

LIMIT = 5.0  # s for one call


@pytest.mark.mpi(min_size=2)
@pytest.mark.parametrize("group", GROUPS)
def test_a_wrong_call_is_the_same_clear_error_on_all_ranks(team, group):
    for case in GROUPS[group]:
        begin = time.monotonic()
        assert case.says in same_text(team, lambda case=case: case.call(team)), case.name
        assert misuse_cases.usable(team), case.name
        assert time.monotonic() - begin < LIMIT, case.name


def test_memory_that_is_not_contiguous_or_empty_is_no_misuse(team):
    for name, is_right in RIGHT.items():
        assert is_right(team), name


def test_there_are_forty_wrong_calls_and_each_has_its_own_name():
    assert len({case.name for case in CASES}) == len(CASES) >= 40


@pytest.mark.mpi(min_size=2)
def test_a_right_call_is_not_taken_for_a_wrong_one(team):
    with pytest.raises(pytest.fail.Exception):
        same_text(team, lambda: misuse_cases.halo(team).forward(misuse_cases.vector(2)))
