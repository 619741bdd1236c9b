"""What holds for every data movement alike: matrices, norms, errors, votes. Each has a page of its own beside this one."""

import numpy as np
import pytest
from theorems import GRIDS, same_text

import refimpl as ri
from refimpl import verify, wire


def tensor(team, dtype, grid=None, **options):
    return ri.Space(ri.Partition(team, grid or GRIDS[team.size]), (3, 4), dtype, **options)


def halo(team, dtype, boundary):
    X = tensor(team, dtype)
    return ri.HaloExchange(X, [[(k % 3, max(2 - k, 0)) for k in range(len(X.blocks[0]))], (2, 1)], boundary)


OPERATORS = {
    "Broadcast": lambda team, dtype: ri.Broadcast(
        tensor(team, dtype, (1, GRIDS[team.size][1])), ri.Partition(team, GRIDS[team.size])
    ),
    "SumReduce": lambda team, dtype: ri.SumReduce(
        tensor(team, dtype, cuts=(None, 1)), ri.Partition(team, (1, GRIDS[team.size][1]))
    ),
    "AllSumReduce": lambda team, dtype: ri.AllSumReduce(tensor(team, dtype, cuts=(None, 1)), 0),
    "AllGather": lambda team, dtype: ri.AllGather(tensor(team, dtype), (0, 1)),
    "ReduceScatter": lambda team, dtype: ri.ReduceScatter(tensor(team, dtype, cuts=(None, None)), (0, 1)),
    "Repartition": lambda team, dtype: ri.Repartition(tensor(team, dtype), ri.Partition(team, GRIDS[team.size][::-1])),
    "HaloExchange": lambda team, dtype: halo(team, dtype, "zero"),
    "HaloExchange periodic": lambda team, dtype: halo(team, dtype, "periodic"),
    "HaloExchange reflected": lambda team, dtype: halo(team, dtype, "reflect"),
    "Identity": lambda team, dtype: ri.Identity(tensor(team, dtype)),
}
every_operator = pytest.mark.parametrize("name", OPERATORS)


@every_operator
def test_the_matrix_of_the_adjoint_is_the_transpose_and_norm_bound_is_above_all_singular_values(team, name):
    A = OPERATORS[name](team, "float64")
    with ri.unchecked():
        M = verify.matrix(A)
    if team.rank == 0:
        assert set(np.unique(M)) <= {0, 1}
        assert np.linalg.norm(M, 2) <= A.norm_bound * (1 + 1e-14)
        if "HaloExchange" not in name:
            assert np.linalg.norm(M, 2) == pytest.approx(A.norm_bound, rel=1e-14)
    else:
        assert M is None


@every_operator
def test_complex_matrices_are_those_of_the_real_ones(team, name):
    with ri.unchecked():
        real, complexes = (OPERATORS[name](team, dtype).matrix() for dtype in ("float64", "complex64"))
    assert np.array_equal(real, complexes)


@every_operator
@pytest.mark.parametrize("side", ["forward", "adjoint"])
def test_a_wrong_block_on_one_rank_is_the_same_error_on_all_and_names_the_operator(team, name, side):
    A, last = OPERATORS[name](team, "float64"), team.size - 1
    V = A.domain if side == "forward" else A.range
    shape = wire.pool(team, list(V.local_shape))[last]
    for bad, got in (
        (V.adopt(np.zeros((5, 9))), "float64[5, 9]"),
        (V.replace(dtype="float32").zeros(), f"float32{shape}"),
    ):
        block = bad if team.rank == last else V.zeros()
        text = same_text(team, lambda block=block: getattr(A, side)(block))
        assert text == f"{name.split()[0]} on rank {last}: expected float64{shape}, got {got}"


@every_operator
def test_each_entry_votes_once_and_never_inside_unchecked(team, name):
    A = OPERATORS[name](team, "float32")
    x, y = A.domain.zeros(), A.range.zeros()
    for B in (A, A.H, 2.0 * A, A + A, A.H @ A):
        with ri.counting() as count:
            B.forward(B.domain.zeros())
        assert count.votes == 1
    with ri.unchecked(), ri.counting() as count:
        A.forward(x), A.adjoint(y)
    assert count.votes == 0


@every_operator
def test_the_first_use_of_a_communicator_may_be_unchecked(team, name):
    fresh = team.Dup()
    A = OPERATORS[name](fresh, "float64")
    with ri.unchecked():
        assert A.adjoint(A.forward(A.domain.zeros())).shape == A.domain.local_shape


@every_operator
def test_what_is_started_waits_when_it_is_finished_and_not_before(team, name, monkeypatch):
    A, waits, wait = OPERATORS[name](team, "float64"), [], wire.wait
    monkeypatch.setattr(wire, "wait", lambda *arguments: (waits.append(1), wait(*arguments)))
    with ri.unchecked():
        for B in (A, A.H):
            pending = B.start(B.domain.zeros())
            assert not waits
            B.finish(pending)
            waited, sent = (sum(wire.pool(team, n)) for n in (len(waits), B.traffic().forward.messages))
            assert (waited > 0) == (sent > 0)
            waits.clear()


@pytest.mark.parametrize("name", ["Broadcast", "AllGather", "Repartition", "HaloExchange"])
def test_an_operator_on_one_rank_among_many_sends_nothing(team, name):
    P = ri.Partition(team, (1, 1), ranks=[team.size - 1])
    X = ri.Space(P, (3, 4))
    A = {
        "Broadcast": lambda: ri.Broadcast(X, P),
        "AllGather": lambda: ri.AllGather(X, (0, 1)),
        "Repartition": lambda: ri.Repartition(X, P),
        "HaloExchange": lambda: ri.HaloExchange(X, [(1, 1), (2, 2)], "periodic"),
    }[name]()
    with ri.counting() as count:
        A.adjoint(A.forward(X.random(0)))
    assert count.total == wire.Sent() == A.traffic().forward == A.traffic().adjoint


@pytest.mark.parametrize("operator", [ri.Broadcast, ri.SumReduce, ri.Repartition, ri.Scatter])
def test_what_is_no_partition_is_refused_in_the_name_of_the_operator(team, operator):
    text = same_text(team, lambda: operator(tensor(team, "float64", (1, 1)), (2, 1)))
    assert text == f"{operator.__name__}: expected a Partition, got (2, 1)"
