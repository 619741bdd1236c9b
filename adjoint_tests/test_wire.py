"""The verbs, the cached groups of ranks, and agreement on errors."""

import numpy as np
import pytest
from theorems import GRIDS, same_text

import refimpl as ri
from refimpl import layers, wire
from refimpl.models import FNO


def everyone(team):
    return wire.everyone(team)


def test_a_group_of_ranks_is_made_once_and_keeps_its_order(team):
    ranks = everyone(team)[::-1]
    assert wire.group(team, ranks) is wire.group(team, list(ranks))
    assert wire.group(team, ranks).rank == team.size - 1 - team.rank
    assert (wire.group(team, ranks) is wire.group(team, everyone(team))) == (team.size == 1)


def test_hundreds_of_operators_make_no_communicator_but_one_for_each_set_of_ranks(team):
    fresh, made = team.Dup(), []
    create = fresh.Create_group
    fresh.Create_group = lambda group, tag=0: made.append(group.size) or create(group, tag)
    P, one = ri.Partition(fresh, GRIDS[team.size]), ri.Partition(fresh, (1, 1))
    for _ in range(50):
        X = ri.Space(P, (4, 4))
        operators = [ri.HaloExchange(X, [(1, 1)] * 2), ri.AllGather(X, 0), ri.Repartition(X, one)]
        operators += [ri.Broadcast(ri.Space(one, (4, 4)), P)]
    assert made == []
    for A in 3 * operators:
        A.forward(A.domain.zeros())
    assert len(made) <= 2 + len(set(GRIDS[team.size]))


def test_messages_arrive_and_empty_ones_do_not_travel(team):
    me, n = team.rank, team.size
    sends = {r: np.full(r, 10.0 * me + r) for r in range(n) if r != me}
    with ri.counting() as count:
        received = wire.exchange(team, sends, {r: me for r in range(n) if r != me}, np.dtype("float64"))
    assert set(received) == ({r for r in range(n) if r != me} if me else set())
    assert all(np.array_equal(a, np.full(me, 10.0 * r + me)) for r, a in received.items())
    sizes = [r for r in range(1, n) if r != me]
    assert count.point_to_point == wire.Sent(len(sizes), 8 * sum(sizes))


@pytest.mark.parametrize("dtype", ["float32", "complex128"])
def test_the_collective_verbs(team, dtype):
    me, n, ranks = team.rank, team.size, everyone(team)
    a = np.full(3, me + 1).astype(dtype)
    total = n * (n + 1) // 2
    assert np.array_equal(wire.finish(wire.start_all_reduce(team, ranks, a)), np.full(3, total))
    reduced = wire.finish(wire.start_reduce(team, ranks, n - 1, a))
    assert np.array_equal(reduced, np.full(3, total)) if me == n - 1 else reduced is None
    root = a.copy() if me == n - 1 else np.zeros(3, dtype)
    assert np.array_equal(wire.finish(wire.start_broadcast(team, ranks, n - 1, root)), np.full(3, n))
    sizes = [r % 3 for r in ranks]
    gathered = wire.finish(wire.start_all_gather(team, ranks, a[: me % 3], sizes))
    assert gathered.tolist() == [r + 1 for r in ranks for _ in range(r % 3)]
    whole = np.full(sum(sizes), me + 1).astype(dtype)
    assert np.array_equal(wire.finish(wire.start_reduce_scatter(team, ranks, whole, sizes)), np.full(me % 3, total))


def test_small_objects_are_shared_and_pooled(team):
    item = {"rank": team.rank, "array": np.arange(team.rank)}
    assert wire.share(team, item)["rank"] == 0
    assert wire.share(team, item, root=team.size - 1)["array"].size == team.size - 1
    assert [other["rank"] for other in wire.pool(team, item)] == list(range(team.size))


KINDS = {OSError: OSError, FileNotFoundError: OSError, ZeroDivisionError: ArithmeticError, KeyError: RuntimeError}


class TwoArguments(ValueError):
    """An exception that pickle cannot make again."""

    def __init__(self, a, b):
        super().__init__(f"{a} and {b}")
        self.function = lambda: a


@pytest.mark.parametrize("kind", [ValueError, TypeError, *KINDS])
def test_the_problem_of_one_rank_is_raised_by_all(team, kind):
    problem = kind("too hot") if team.rank == team.size - 1 else None
    assert "too hot" in same_text(team, lambda: wire.vote(team, problem), KINDS.get(kind, kind))


def test_a_problem_that_cannot_be_pickled_hangs_nobody(team):
    problem = TwoArguments(1, 2) if team.rank == team.size - 1 else None
    assert same_text(team, lambda: wire.vote(team, problem)) == "1 and 2"


@pytest.mark.mpi(min_size=2)
def test_ranks_that_make_different_calls_are_all_told_so(team):
    X = ri.Space(ri.Partition(team, (team.size,)), (2 * team.size,))
    last = team.size - 1
    odd = team.rank == last

    def in_another_order():
        for A in (ri.HaloExchange(X, [(1, 1)]), ri.Identity(X))[:: -1 if odd else 1]:
            A.forward(X.zeros())

    calls = {
        "HaloExchange from": lambda: ri.HaloExchange(X, [(1, 2 if odd else 1)]).forward(X.zeros()),
        "boundary periodic": lambda: ri.Shift(X, (1,), "periodic" if odd else "zero").forward(X.zeros()),
        "forward of Shift": lambda: getattr(ri.Shift(X, (1,)), "adjoint" if odd else "forward")(X.zeros()),
        "float32": lambda: X.replace(dtype="float32" if odd else "float64").norm(np.zeros(2, "f4" if odd else "f8")),
        "AllSumReduce": lambda: ri.AllSumReduce(X, () if odd else 0).forward(X.zeros()),
        "2.0 *": lambda: ((2.0 if odd else 3.0) * ri.Identity(X)).forward(X.zeros()),
        "forward of Identity": in_another_order,
        "Space.gather": lambda: X.gather(X.zeros()) if odd else X.norm(X.zeros()),
        "Space.scatter": lambda: X.scatter(None) if odd else X.norm(X.zeros()),
        "linearization of GELU": lambda: layers.GELU(X).linearize(X.zeros()) if odd else layers.GELU(X)(X.zeros()),
        "value of Dropout": lambda: (layers.ReLU if odd else layers.Dropout)(X)(X.zeros()),
    }
    for text, call in calls.items():
        told = same_text(team, call)
        assert told.startswith("the ranks do not make the same call: rank") and f"rank {last}: " in told, text
        assert text in told
        assert X.norm(X.zeros()) == 0  # the communicator goes on


@pytest.mark.mpi(min_size=2)
def test_of_a_large_network_the_ranks_are_told_where_it_differs(team):
    X, odd = ri.Space(ri.Partition(team, (1, 1, team.size)), (1, 1, 8, 6)), team.rank == team.size - 1
    told = same_text(team, lambda: FNO(X, 3, (2, 3 if odd else 2))(X.zeros()))
    assert "value of FNO of lift" in told and "modes (2, 2)" in told and "modes (2, 3)" in told and len(told) < 1500


TWINS = {  # of one domain, one range and the same parameters; they differ in an argument that no space shows
    "Convolution": lambda X: (layers.Convolution(X, 2, 3, 1, p, d) for p, d in ((1, 1), (2, 2))),
    "MaxPool": lambda X: (layers.MaxPool(X, k, 1, k // 2) for k in (3, 5)),
    "AvgPool": lambda X: (layers.AvgPool(X, 3, 1, p, d) for p, d in ((1, 1), (2, 2))),
    "Softmax": lambda X: (layers.Softmax(X, axis) for axis in (1, 2)),
    "LogSoftmax": lambda X: (layers.LogSoftmax(X, axis) for axis in (1, 2)),
    "LayerNorm": lambda X: (layers.LayerNorm(X, eps=eps) for eps in (1e-5, 1e-3)),
    "BatchNorm": lambda X: (layers.BatchNorm(X, momentum=m) for m in (0.1, 0.9)),
    "AllGatherLinear": lambda X: (layers.AllGatherLinear(X, X.shape[-1], 2, seed=seed) for seed in (0, 1)),
    "Dropout": lambda X: (layers.Dropout(X, p) for p in (0.1, 0.2)),
    "Linear": lambda X: (layers.Linear(X, 2, axis) for axis in (0, 1)),
    "Interpolation": lambda X: (layers.Interpolation(X, X.shape[2:], mode) for mode in ("nearest", "linear")),
    "Sequential": lambda X: (layers.Sequential({"a": F(X)}) for F in (layers.ReLU, layers.GELU)),
}


@pytest.mark.mpi(min_size=2)
@pytest.mark.parametrize("name", TWINS)
def test_layers_and_jacobians_that_differ_from_rank_to_rank_in_one_argument_are_told(team, name):
    X = ri.Space(ri.Partition(team, (1, 1, team.size)), (2, 2, 3 * team.size))
    F, G = TWINS[name](X)
    assert (F.domain, F.range) == (G.domain, G.range)
    x, odd = X.random(1), team.rank == team.size - 1
    jacobians = [F.linearize(x)[1], G.linearize(x)[1]]
    for call in (lambda: (G if odd else F)(x), lambda: jacobians[odd].adjoint(x), lambda: jacobians[odd].forward(x)):
        assert f"{name} " in same_text(team, call)


@pytest.mark.mpi(min_size=2)
def test_losses_and_memory_that_differ_from_rank_to_rank_are_told(team):
    X = ri.Space(ri.Partition(team, (1, team.size)), (3, 2 * team.size))
    x, odd = X.random(1), team.rank == team.size - 1
    M = ri.Product(a=X, b=X.replace())
    for one, other in (
        (layers.CrossEntropy(X, axis=0), layers.CrossEntropy(X, axis=1)),
        (layers.Huber(X, delta=1.0), layers.Huber(X, delta=2.0)),
        (layers.RelativeLp(X, p=2), layers.RelativeLp(X, p=3)),
        (layers.MSE(X, "mean"), layers.MSE(X, "sum")),
    ):
        same_text(team, lambda one=one, other=other: (other if odd else one)(x, x))
    pieces = {"a": x, "b": x}
    there, back = ri.movement.memory.Copy(M, "a", "b"), ri.movement.memory.Copy(M, "b", "a")
    same_text(team, lambda: (back if odd else there).forward(pieces))
    same_text(team, lambda: there.adjoint(pieces) if odd else there.forward(pieces))


def test_no_problem_raises_nothing(team):
    assert wire.vote(team, None) is None
    assert wire.together(team, lambda: team.rank) == team.rank
    assert wire.vote(team, None, "the same") is None


def test_together_raises_the_failure_of_one_rank_on_all(team):
    def action():
        return {}["temperature"] if team.rank == 0 else 1

    assert same_text(team, lambda: wire.together(team, action)) == "temperature is missing"


def test_unchecked_and_counting_end_where_their_block_ends(team):
    with pytest.raises(KeyError), ri.unchecked(), ri.counting() as count:
        assert not wire.checking()
        raise KeyError
    assert wire.checking()
    wire.vote(team, None)
    assert count.votes == 0
