"""Spaces: blocks, the one inner product, random fields, whole arrays."""

from math import prod

import numpy as np
import pytest
import strategies
from hypothesis import strategies as st
from theorems import GRIDS, assert_block_of, cut, same_text, whole

import refimpl as ri
from refimpl import wire
from refimpl.arrays import dtype_name, to_host
from refimpl.verify import spmd


def any_case(size):
    return strategies.tensors(size) | strategies.unbalanced(size) | strategies.copied(size)


@spmd.property_test(case=any_case)
def test_a_random_tensor_does_not_depend_on_the_partition(team, case):
    X = case.space(team)
    serial = ri.Space(ri.Partition(team, (1,) * len(case.shape)), case.shape, case.dtype)
    x, one = X.random(case.seed), serial.random(case.seed)
    gathered, alone = X.gather(x), serial.gather(one)
    if team.rank == 0:
        assert np.array_equal(gathered, alone) and np.array_equal(alone, one)
    else:
        assert gathered is None


@spmd.property_test(case=any_case)
def test_gather_after_scatter_is_the_identity_and_blocks_are_slices(team, case):
    X = case.space(team)
    array = np.arange(prod(case.shape)).reshape(case.shape).astype(case.dtype)
    x = X.scatter(array if team.rank == 0 else None)
    assert_block_of(X, x)
    assert np.array_equal(x, array[X.local_slice]) or not X.partition.active
    assert np.array_equal(whole(X, x), array)


@spmd.property_test(case=any_case)
def test_the_inner_product_counts_every_copy(team, case):
    X = case.space(team)
    x, y = X.random(case.seed, copies="independent"), X.random(case.seed + 1, copies="independent")
    by_hand = sum(wire.pool(team, np.vdot(x, y) if X.partition.active else 0))
    assert abs(X.inner(x, y) - by_hand) <= 1e-6 * (1 + X.norm(x) * X.norm(y))
    ones = X.zeros() + 1
    copies = prod(X.partition.shape[g] for g in X.copy_axes)
    assert round(X.norm(ones) ** 2) == copies * prod(case.shape)


def test_inner_conjugates_the_left_and_a_real_field_takes_the_real_part(team):
    P = ri.Partition(team, (team.size,))
    X, R = ri.Space(P, (6,), "complex128"), ri.Space(P, (6,), "complex128", field="real")
    i, one = X.zeros() + 1j, X.zeros() + 1
    assert X.inner(i, one) == -6j and X.inner(one, i) == 6j
    assert R.inner(i, one) == 0 and isinstance(R.inner(one, one), float)


def test_inner_is_summed_in_float64_and_the_same_bits_on_all_ranks(team):
    X = ri.Space(ri.Partition(team, (team.size,)), (4000,), "float32")
    ones = X.zeros() + 0.1
    assert X.inner(ones, ones) == pytest.approx(4000 * float(np.float32(0.1)) ** 2, rel=1e-14)
    x = X.random(1)
    assert len(set(wire.pool(team, X.inner(x, x)))) == 1


def test_copies_are_equal_or_independent_as_asked(team):
    X = ri.Space(ri.Partition(team, (team.size,)), (40,), cuts=(None,))
    equal = wire.pool(team, to_host(X.random(3)))
    assert all(np.array_equal(equal[0], other) for other in equal)
    independent = wire.pool(team, to_host(X.random(3, copies="independent")))
    for a in range(team.size):
        for b in range(a):
            assert not np.any(independent[a] == independent[b])
    assert not np.any(to_host(X.random(3)) == to_host(X.random(4)))
    assert "copies=" in same_text(team, lambda: X.random(0, copies="same"))


def test_ghosts_outside_the_tensor_are_zero_and_those_inside_are_the_neighbours_values(team):
    rows = [(start - 2, stop + 3) for start, stop in ri.blocks(9, team.size)]
    X = ri.Space(ri.Partition(team, (team.size,)), (9,), blocks={0: rows})
    serial = ri.Space(ri.Partition(team, (1,)), (9,))
    array = whole(serial, serial.random(5))
    assert np.array_equal(X.random(5), cut(array, X.local_box))
    assert np.array_equal(X.scatter(array if team.rank == 0 else None), cut(array, X.local_box))
    assert np.array_equal(whole(X, X.random(5)), array)
    assert np.all(to_host(X.random(5, copies="independent")) != 0)


def test_random_numbers_are_standard_normal():
    X = ri.Space(ri.Partition(wire.mpi().COMM_SELF, (1,)), (40000,), "complex128")
    z = to_host(X.random(11))
    for x in (
        z.real,
        z.imag,
        to_host(X.replace(dtype="float64").random(2)),
        to_host(X.random(7, copies="independent")).real,
    ):
        assert abs(x.mean()) < 0.02 and abs(x.var() - 1) < 0.03
        assert abs((x**3).mean()) < 0.06 and abs((x**4).mean() - 3) < 0.2
        assert abs((x[1:] * x[:-1]).mean()) < 0.02
    assert abs((z.real * z.imag).mean()) < 0.02
    u = to_host(X.replace(dtype="float32").uniform(3))
    assert u.dtype == np.float32 and 0 <= u.min() and u.max() <= 1 and abs(u.mean() - 0.5) < 0.01


def test_a_scalar_lives_on_rank_0_or_on_any_other(team):
    for rank in (0, team.size - 1):
        X = ri.Space(ri.Partition(team, (), ranks=[rank]), ())
        x = X.scatter(np.array(3.0) if team.rank == 0 else None)
        assert whole(X, x) == 3
        assert X.inner(X.zeros() + 2, X.zeros() + 3) == 6


def test_a_python_number_is_no_block(team):
    X = ri.Space(ri.Partition(team, ()), ())
    B = ri.Broadcast(X, ri.Partition(team, (team.size,)))
    for number in (1, 1.0, np.float32(1)):
        assert "expected float64[], got " in same_text(team, lambda number=number: B.forward(number))
    assert B.forward(X.adopt(np.float64(1))) == 1


def test_gather_sends_only_the_first_copy_of_a_block(team):
    X = ri.Space(ri.Partition(team, (team.size,)), (5,), cuts=(None,))
    with ri.counting() as count:
        array = X.gather(X.zeros() + team.rank)
    assert count.point_to_point == wire.Sent() and (array is None or not np.any(array))


def test_an_inactive_rank_holds_an_empty_block(team):
    X = ri.Space(ri.Partition(team, (1, 1)), (3, 4), "float32")
    x = X.random(0)
    assert dtype_name(x) == "float32" and x.shape == ((3, 4) if team.rank == 0 else (0, 0))
    assert X.local_slice == ((slice(0, 3), slice(0, 4)) if team.rank == 0 else (slice(0, 0), slice(0, 0)))


def test_replace_keeps_the_blocks_of_axes_that_stay(team):
    p = team.size
    rows = [(i, i + 1) for i in range(p - 1)] + [(p - 1, 12)]
    X = ri.Space(ri.Partition(team, (1, p)), (2, 12), "complex64", blocks={1: rows}, field="real")
    assert X.replace(shape=(5, 12)).blocks[1] == tuple(rows)
    assert X.replace(shape=(2, 13)).blocks[1] == tuple(ri.blocks(13, p))
    assert X.replace(cuts=(None, (1,))).blocks[1] == tuple(rows)
    assert X.replace(shape=(2, 12)).field == "real" and X.replace(dtype="complex128").field == "complex"
    assert X.replace(dtype="float64").dtype == np.float64
    assert X.replace(cuts=(1, None)).copy_axes == (0,)
    assert X.replace(blocks={}).blocks[1] == tuple(ri.blocks(12, p))
    assert X.replace(partition=ri.Partition(team, (1, p), range(p)[::-1])).blocks[1] == tuple(rows)
    elsewhere = X.replace(partition=ri.Partition(team, (1,)), cuts=None)
    assert elsewhere == ri.Space(ri.Partition(team, (1,)), (2, 12), "complex64", field="real")


def test_equal_spaces_are_equal_however_they_were_said(team):
    P = ri.Partition(team, (team.size, 1))
    X = ri.Space(P, (5, 4))
    assert X == ri.Space(P, (5, 4), cuts=(0, None)) == ri.Space(P, (5, 4), blocks={0: ri.blocks(5, team.size)})
    assert X != ri.Space(P, (5, 4), "float32") and X != ri.Space(P, (5, 5)) and X != 3
    assert (X == ri.Space(P, (5, 4), cuts=(1, 0))) == (team.size == 1)
    assert X == ri.Space(P, (5, 4), ">f8") == ri.Space(P, np.array([5, 4]), cuts=np.arange(2))


def test_spaces_that_make_no_sense_are_refused_by_all_ranks_alike(team):
    P = ri.Partition(team, (1, 1))
    for text, make in {
        "more axes than the tensor": lambda: ri.Space(P, (3,)),
        "one entry of cuts for each of 3": lambda: ri.Space(P, (3, 3, 3), cuts=(0, 1)),
        "at most once": lambda: ri.Space(P, (3, 3), cuts=(0, 0)),
        "must name each axis": lambda: ri.Space(P, (3, 3), cuts=(0, 2)),
        "expected 1 blocks": lambda: ri.Space(P, (3, 3), blocks={0: [(0, 1), (1, 3)]}),
        "start <= stop": lambda: ri.Space(P, (3, 3), blocks={0: [(2, 1)]}),
        "blocks name axes [5]": lambda: ri.Space(P, (3, 3), blocks={5: [(0, 3)]}),
        "complex128, got 'banana'": lambda: ri.Space(P, (3, 3), "banana"),
        "a dtype of float32": lambda: ri.Space(P, (3, 3), "int64"),
        "sizes >= 0": lambda: ri.Space(P, (3, -3)),
        "expected whole numbers, got (3, 2.5)": lambda: ri.Space(P, (3, 2.5)),
        "expected whole numbers, got (0, 1.5)": lambda: ri.Space(P, (3, 3), blocks={0: [(0, 1.5)]}),
        "expected 1 blocks (start": lambda: ri.Space(P, (3, 3), blocks={0: [(0, 1, 2)]}),
        "expected whole numbers, got 0.5": lambda: ri.Space(P, (3, 3), cuts=(0.5, 1)),
        "a field of real or complex": lambda: ri.Space(P, (3, 3), field="rational"),
    }.items():
        assert text in same_text(team, make)


WRONG = {
    "shape": lambda x: x[..., :0],
    "dtype": lambda x: x * 1j,
    "byte order": lambda x: to_host(x).astype(">f8"),
    "list": lambda x: to_host(x).tolist(),
    "None": lambda x: None,
}


@pytest.mark.parametrize("fault", WRONG)
def test_a_wrong_block_on_one_rank_is_the_same_error_on_all(team, fault):
    X, last = ri.Space(ri.Partition(team, GRIDS[team.size]), (7, 8)), team.size - 1
    x = X.zeros()
    bad = WRONG[fault](x) if team.rank == last else x
    expected = f"on rank {last}: expected float64{wire.pool(team, list(X.local_shape))[last]}, got "
    for call in (lambda: X.check(bad, "mine"), lambda: X.gather(bad), lambda: X.inner(x, bad), lambda: X.norm(bad)):
        assert expected in same_text(team, call)


def test_several_wrong_ranks_are_all_named(team):
    X = ri.Space(ri.Partition(team, (team.size,)), (7,))
    text = same_text(team, lambda: X.check([], "mine"))
    assert text.startswith("mine on rank 0: expected float64[") and ", got list" in text
    assert team.size == 1 or f"also rank {', '.join(map(str, range(1, team.size)))} " in text


def test_scatter_refuses_what_is_not_the_tensor(team):
    X = ri.Space(ri.Partition(team, (team.size,)), (7,))
    for array in (np.zeros(6), np.zeros(7, "float32"), [0.0] * 7, None):
        text = same_text(team, lambda array=array: X.scatter(array if team.rank == 0 else None))
        assert text.startswith("Space.scatter: expected float64[7] on rank 0, got ")


@spmd.property_test(case=any_case, real=st.booleans())
def test_memory_and_vector_are_one_to_one(team, case, real):
    X = case.space(team).replace(field="real") if real else case.space(team)
    x = X.random(case.seed, copies="independent")
    v = X.to_vector(x)
    stacked = 2 if real and X.dtype.kind == "c" else 1
    assert v.size == X.local_size == stacked * (prod(x.shape) if X.partition.active else 0)
    assert np.array_equal(X.from_vector(v), x)
    assert X.norm(x) == pytest.approx(np.sqrt(sum(wire.pool(team, float(np.vdot(v, v).real)))), rel=1e-5, abs=1e-300)


def test_a_product_space_is_a_dict_of_blocks_with_the_sum_of_inner_products(team):
    P = ri.Partition(team, (team.size,))
    V = ri.Product({"x": ri.Space(P, (5,)), "w": ri.Space(P, (3,), "complex128", field="real")})
    x, y = V.random(1), V.random(2)
    assert V.field == "real" and set(V.zeros()) == {"x", "w"}
    assert V.inner(x, y) == pytest.approx(V["x"].inner(x["x"], y["x"]) + V["w"].inner(x["w"], y["w"]), rel=1e-14)
    assert V.inner((x["x"], {"w": x["w"]}), y) == V.inner(x, y)
    back = V.from_vector(V.to_vector(x))
    assert all(np.array_equal(back[name], x[name]) for name in x)
    for bad in ({"x": x["x"]}, x["x"], (x["x"], x["x"]), (x["x"], None)):
        text = same_text(team, lambda bad=bad: V.check(bad if team.rank == team.size - 1 else x, "mine"))
        assert f"mine on rank {team.size - 1}: expected blocks ['w', 'x'], got " in text


@pytest.mark.parametrize("kind", [np.asmatrix, np.ma.masked_array])
def test_arrays_that_multiply_or_sum_otherwise_are_refused(team, kind):
    X = ri.Space(ri.Partition(team, (team.size,)), (2 * team.size, 2))
    text = same_text(
        team, lambda: ri.AllSumReduce(X, 0).forward(kind(X.zeros()) if team.rank == team.size - 1 else X.zeros())
    )
    assert "expected float64[2, 2], got float64[2, 2] of " in text
