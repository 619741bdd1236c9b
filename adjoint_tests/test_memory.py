"""Every data movement is a composition of allocating, clearing, adding, copying and moving pieces of memory."""

import numpy as np
import pytest
from theorems import Planted, assert_exact_adjoint, assert_rejected, same_text

import refimpl as ri
from refimpl.arrays import fresh
from refimpl.movement.memory import Add, Allocate, Clear, Copy, Move


def piece(team, rank, n=2):
    """``n`` numbers on one rank."""
    return ri.Space(ri.Partition(team, (1,), ranks=[rank]), (n,))


def pieces(team, where):
    """Named pieces: name -> (rank, size)."""
    return ri.Product({name: piece(team, rank, n) for name, (rank, n) in where.items()})


class Program:
    """Primitives one after the other, each on the memory that the one before left."""

    def __init__(self, memory):
        self.operator = ri.Identity(memory)

    def then(self, primitive, *arguments):
        self.operator = primitive(self.operator.range, *arguments) @ self.operator

    def forget(self, *names):
        for name in names:
            kept = {key: space for key, space in self.operator.range.spaces.items() if key != name}
            forget = Allocate(ri.Product(kept), name, self.operator.range[name]).H
            self.operator = forget @ self.operator


def assert_same_matrix(team, composed, operator):
    mine, theirs = composed.matrix(), operator.matrix()
    assert team.rank or (mine.shape == theirs.shape and np.array_equal(mine, theirs))


def copied_cells(team, operator):
    """The box copy ``operator`` between one-dimensional spaces: each number of a new block is copied from its owner."""
    X, Y = operator.domain, operator.range
    owner = {i: r for r, ((a, b),) in X.boxes.items() for i in range(a, b)}
    program = Program(pieces(team, {f"old {i}": (owner[i], 1) for i in range(X.shape[0])}))
    for r, ((a, b),) in Y.boxes.items():
        for j in range(a, b):
            program.then(Allocate, f"{r} has {j}", piece(team, r, 1))
            if j in owner:
                program.then(Copy, f"old {j}", f"{r} has {j}")
    program.forget(*(f"old {i}" for i in range(X.shape[0])))
    return program.operator


# ---- the primitives ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("primitive", [Add, Copy, Move])
def test_adjoints_of_primitives_are_exact_on_one_rank_and_between_two(team, primitive):
    for b in range(team.size):
        assert_exact_adjoint(primitive(pieces(team, {"a": (0, 3), "b": (b, 3), "c": (0, 2)}), "a", "b"))
    M = pieces(team, {"a": (0, 3), "b": (team.size - 1, 0)})
    assert_exact_adjoint(Clear(M, "a"))
    assert_exact_adjoint(Allocate(M, "c", piece(team, 0)))


def test_primitives_are_these_matrices(team):
    M = pieces(team, {"a": (0, 1), "b": (0, 1)})
    cases = {
        Clear(M, "a"): [[0, 0], [0, 1]],
        Add(M, "a", "b"): [[1, 0], [1, 1]],
        Copy(M, "a", "b"): [[1, 0], [1, 0]],
        Move(M, "a", "b"): [[0, 0], [1, 0]],
        Allocate(M, "c", piece(team, 0, 1)): [[1, 0], [0, 1], [0, 0]],
    }
    for operator, expected in cases.items():
        matrix, adjoint = operator.matrix(), operator.H.matrix()
        assert team.rank or (np.array_equal(matrix, expected) and np.array_equal(adjoint, np.transpose(expected)))
        if team.rank == 0:
            assert np.linalg.norm(matrix, 2) <= operator.norm_bound * (1 + 1e-15)


@pytest.mark.parametrize("primitive", [Add, Clear, Copy, Move])
@pytest.mark.parametrize("side", ["forward", "adjoint"])
def test_a_wrong_piece_on_one_rank_is_the_same_error_on_all(team, primitive, side):
    M = pieces(team, {"a": (0, 3), "b": (0, 3)})
    A, x = primitive(M, *("ab" if primitive is not Clear else "a")), M.zeros()
    if team.rank == 0:
        x |= {"a": M["a"].adopt(np.zeros(4))}
    text = same_text(team, lambda: getattr(A, side)(x))
    assert f"{primitive.__name__}, block a on rank 0: expected float64[3], got float64[4]" in text


def test_the_bound_of_add_is_its_norm_also_where_the_target_has_copies(team):
    copies = ri.Space(ri.Partition(team, (team.size,)), (2,), cuts=(None,))
    for M in (pieces(team, {"a": (0, 1), "b": (0, 1)}), ri.Product({"a": piece(team, 0), "b": copies})):
        A = Add(M, "a", "b")
        matrix = A.matrix()
        assert team.rank or np.linalg.norm(matrix, 2) == pytest.approx(A.norm_bound, rel=1e-14)


def test_the_adjoint_of_a_move_moves_back(team):
    M = pieces(team, {"a": (0, 2), "b": (team.size - 1, 2)})
    assert_same_matrix(team, Move(M, "a", "b").H, Move(M, "b", "a"))


@pytest.mark.mpi(min_size=2)
def test_only_add_sends_and_what_it_sends_is_predicted(team):
    M = pieces(team, {"a": (0, 3), "b": (1, 3)})
    x = M.random(1)
    for operator in (Add(M, "a", "b"), Copy(M, "a", "b"), Move(M, "a", "b"), Clear(M, "a")):
        for apply, predicted in (
            (operator.forward, operator.traffic().forward),
            (operator.adjoint, operator.traffic().adjoint),
        ):
            before = {name: fresh(block) for name, block in x.items()}
            with ri.counting() as count:
                y = apply(x)
            assert count.total == predicted
            assert all(np.array_equal(x[name], before[name]) for name in x)
            assert not any(np.shares_memory(y[name], x[name]) for name in x)
    assert Add(M, "a", "b").traffic().forward.bytes == (24 if team.rank == 0 else 0)
    assert Add(M, "a", "b").traffic().adjoint.bytes == (24 if team.rank == 1 else 0)


def test_pieces_that_are_missing_or_one_are_refused(team):
    M = pieces(team, {"a": (0, 2), "b": (0, 3)})
    assert "expected 1 of the pieces ['a', 'b'], got ('c',)" in same_text(team, lambda: Clear(M, "c"))
    assert "expected 2 of the pieces" in same_text(team, lambda: Add(M, "a", "a"))
    assert "expected one tensor" in same_text(team, lambda: Add(M, "a", "b"))
    assert "expected a new name" in same_text(team, lambda: Allocate(M, "a", piece(team, 0)))


@pytest.mark.mpi(min_size=2)
def test_receiving_into_the_source_instead_of_adding_to_it_is_rejected(team):
    C = Copy(pieces(team, {"a": (0, 2), "b": (1, 2)}), "a", "b")
    assert_rejected(Planted(C, lambda y: C.adjoint(y | {"a": 0 * y["a"]})))


# ---- the collectives, composed -------------------------------------------------------------------------------------------


def broadcast_along_a_tree(team):
    program = Program(pieces(team, {"0": (0, 2)}))
    for q in range(1, team.size):
        program.then(Allocate, f"{q}", piece(team, q))
        program.then(Copy, f"{(q - 1) // 2}", f"{q}")
    return program.operator


def sum_up_a_tree(team):
    program = Program(pieces(team, {f"{q}": (q, 2) for q in range(team.size)}))
    for q in reversed(range(1, team.size)):
        program.then(Add, f"{q}", f"{(q - 1) // 2}")
        program.forget(f"{q}")
    return program.operator


def gather_round_a_ring(team, sizes):
    """Piece "p has q" is rank p's copy of block q; in each round every rank passes on the block that came last."""
    p = team.size
    program = Program(pieces(team, {f"own {q}": (q, n) for q, n in enumerate(sizes)}))
    for q, n in enumerate(sizes):
        for r in range(p):
            program.then(Allocate, f"{r} has {q}", piece(team, r, n))
        program.then(Move, f"own {q}", f"{q} has {q}")
        program.forget(f"own {q}")
    for step in range(p - 1):
        for r in range(p):
            q = (r - step) % p
            program.then(Copy, f"{r} has {q}", f"{(r + 1) % p} has {q}")
    return program.operator


def test_broadcast_is_allocate_and_copy_along_a_tree(team):
    X = piece(team, 0)
    assert_same_matrix(team, broadcast_along_a_tree(team), ri.Broadcast(X, ri.Partition(team, (team.size,))))


def test_sum_reduce_is_add_and_deallocate_up_a_tree(team):
    Y = ri.Space(ri.Partition(team, (team.size,)), (2,), cuts=(None,))
    assert_same_matrix(team, sum_up_a_tree(team), ri.SumReduce(Y, ri.Partition(team, (1,))))
    assert_same_matrix(team, sum_up_a_tree(team), broadcast_along_a_tree(team).H)


def test_all_sum_reduce_is_a_sum_then_a_broadcast(team):
    Y = ri.Space(ri.Partition(team, (team.size,)), (2,), cuts=(None,))
    composed = broadcast_along_a_tree(team) @ sum_up_a_tree(team)
    assert_same_matrix(team, composed, ri.AllSumReduce(Y, 0))


def test_all_gather_is_copies_round_a_ring_and_reduce_scatter_its_adjoint(team):
    X = ri.Space(ri.Partition(team, (team.size,)), (team.size + 1,))
    composed = gather_round_a_ring(team, [b - a for a, b in X.blocks[0]])
    G = ri.AllGather(X, 0)
    assert_same_matrix(team, composed, G)
    assert_same_matrix(team, composed.H, ri.ReduceScatter(G.range, 0, range=X))


def test_repartition_is_copies_of_what_the_new_blocks_hold(team):
    X = ri.Space(ri.Partition(team, (team.size,)), (5,))
    back = ri.Partition(team, (team.size,), ranks=list(reversed(range(team.size))))
    for P_y in (back, ri.Partition(team, (1,), ranks=[team.size - 1])):
        T = ri.Repartition(X, P_y)
        assert_same_matrix(team, copied_cells(team, T), T)


def test_halo_exchange_is_copies_and_ghosts_outside_are_only_allocated(team):
    X = ri.Space(ri.Partition(team, (team.size,)), (5,))
    H = ri.HaloExchange(X, [(2, 1)])
    assert_same_matrix(team, copied_cells(team, H), H)


def test_adjoints_of_composed_programs_are_exact(team):
    for A in (broadcast_along_a_tree(team), sum_up_a_tree(team), gather_round_a_ring(team, range(team.size))):
        assert_exact_adjoint(A)
