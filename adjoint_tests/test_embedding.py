"""An embedding is a look-up in the whole table, however that is cut."""

from dataclasses import dataclass

import hypothesis.strategies as st
import numpy as np
import pytest
import strategies
from theorems import GRIDS, Planted, assert_derivative_is_honest, same_text, whole

import refimpl as ri
from refimpl import layers, verify, wire
from refimpl.arrays import to_host
from refimpl.verify import spmd


@dataclass(frozen=True, repr=False)
class TableCase(strategies.TensorCase):
    """Tokens of any shape with any cuts and copies, and a table cut by the grid axes that hold copies."""

    count: int = 1
    width: int = 1
    table_cuts: tuple[strategies.Ints, strategies.Ints] = ((), ())
    sharded: bool = False

    def embedding(self, team):
        return layers.Embedding(self.space(team), self.count, self.width, self.table_cuts, self.sharded, self.seed)


@st.composite
def tables(draw, size):
    case = draw(strategies.copied(size, strategies.REAL) | strategies.unbalanced(size, strategies.REAL))
    copy_axes = () if case.cuts is None else set(range(len(case.grid))) - set(sum(case.cuts, ()))
    assigned = {g: draw(st.integers(0, 2)) for g in copy_axes}  # rows, columns, or copies of the table
    cuts = tuple(tuple(g for g in assigned if assigned[g] == i) for i in (0, 1))
    given = case.shape, case.grid, case.ranks, case.cuts, case.blocks, case.dtype, case.seed
    return TableCase(*given, draw(st.integers(1, 7)), draw(st.integers(1, 4)), cuts, draw(st.booleans()))


def tokens(X, count, seed):
    """Whole numbers below ``count``, equal in copies."""
    return X.adopt(np.floor(count * to_host(X.uniform(seed))).astype(X.dtype))


@spmd.property_test(case=tables)
def test_an_embedding_is_a_look_up_in_the_whole_table_and_its_jacobian_has_its_adjoint(team, case):
    F = case.embedding(team)
    x, W = tokens(F.domain, case.count, case.seed), wire.share(team, F.state())["W"]
    assert W.shape == (case.count, case.width)
    y, J = F.linearize(x)
    assert np.array_equal(whole(F.range, y), W[whole(F.domain, x).astype(int)])
    assert np.array_equal(whole(F.range, J.forward(x, F.parameters)), whole(F.range, y))  # linear in the table
    assert_derivative_is_honest(F, case.seed, x)


@pytest.mark.parametrize("sharded", [False, True])
def test_the_gradient_of_a_row_adds_up_the_cotangents_of_its_tokens(team, sharded):
    X = ri.Space(ri.Partition(team, GRIDS[team.size]), (9,), cuts=(0,))
    F, x = layers.Embedding(X, 5, 3, (None, 1), sharded), tokens(X, 5, 1)
    dy = F.range.random(2)
    dx, gradients = F.linearize(x)[1].adjoint(dy)
    sums = np.zeros((5, 3))
    np.add.at(sums, whole(X, x).astype(int), whole(F.range, dy))
    assert np.allclose(whole(F.parameter_spaces["W"], gradients["W"]), sums, rtol=1e-13, atol=1e-14)
    assert X.norm(dx) == 0


def test_a_table_does_not_depend_on_the_partition(team):
    X = ri.Space(ri.Partition(team, (team.size,)), (5,), cuts=(None,))
    states = [
        wire.share(team, layers.Embedding(X, 7, 4, cuts, sharded, seed=3).state())["W"]
        for cuts, sharded in (((None, None), False), ((0, None), False), ((None, 0), False), ((None, None), True))
    ]
    assert all(np.array_equal(W, states[0]) for W in states)


def test_each_form_puts_the_table_where_it_says(team):
    """Of a table of 6 x 4 for tokens with copies along the second grid axis."""
    P = ri.Partition(team, GRIDS[team.size])
    X, q = ri.Space(P, (8,), cuts=(0,)), P.shape[1]
    one, rows, columns, shared = (
        layers.Embedding(X, 6, 4, cuts, sharded)
        for cuts, sharded in (((None, None), False), ((1, None), False), ((None, 1), False), ((None, None), True))
    )
    sizes = lambda F: [int(np.prod(s)) for s in wire.pool(team, F.parameter_spaces["W"].local_shape)]
    assert sizes(one) == [24] + [0] * (team.size - 1)
    assert sizes(rows) == [4 * (b - a) for a, b in ri.blocks(6, q)] + [0] * (team.size - q)
    assert sizes(columns) == [6 * (b - a) for a, b in ri.blocks(4, q)] + [0] * (team.size - q)
    assert sizes(shared) == [4 * (b - a) for a, b in ri.blocks(6, team.size)]
    assert columns.range.cuts == ((0,), (1,)) and rows.range.cuts == ((0,), ())


def test_a_taylor_series_in_the_table_ends_after_its_first_term(team):
    X = ri.Space(ri.Partition(team, GRIDS[team.size]), (6,), cuts=(0,))
    F, x = layers.Embedding(X, 7, 4, (1, None)), tokens(X, 7, 1)
    y, J = F.linearize(x)
    dW = F.parameter_spaces["W"].random(2)
    dy = J.forward(X.random(3), {"W": dW})
    F.parameters = {"W": F.parameters["W"] + dW}
    assert F.range.norm(F(x) - y - dy) <= 1e-14 * F.range.norm(y)


@pytest.mark.parametrize("wrong", [7, -1, 2.5, np.nan, np.inf])
def test_a_wrong_token_on_one_rank_is_named_on_all(team, wrong):
    X = ri.Space(ri.Partition(team, (team.size,)), (2, 3 * team.size), cuts=(None, 0))
    F, x, last = layers.Embedding(X, 7, 4), tokens(X, 7, 1), team.size - 1
    if team.rank == last:
        x[1, 2] = wrong
    network = layers.Sequential({"embed": F, "tanh": layers.Tanh(F.range)})
    for use in (F, F.linearize, network):
        text = same_text(team, lambda use=use: use(x))
        assert (
            f"Embedding on rank {last}: expected whole numbers 0..6, got {float(wrong)} at (1, {3 * last + 2})" in text
        )


def test_adjoints_that_assign_or_that_forget_the_other_ranks_are_rejected(team):
    X = ri.Space(ri.Partition(team, (team.size,)), (5,), cuts=(None,))
    F, x = layers.Embedding(X, 3, 4, (0, None)), tokens(X, 3, 1)
    _, J = F.linearize(x)
    W = F.parameter_spaces["W"]
    rows = W.local_box[0]

    def assigned(dy):
        gradients, dz = to_host(W.zeros()), to_host(F.R.adjoint(dy))
        for token, c in zip(to_host(x).astype(int), dz, strict=True):
            if rows[0] <= token < rows[1]:
                gradients[token - rows[0]] = c
        return X.zeros(), {"W": W.adopt(gradients)}

    assert not verify.dot_test(Planted(J, assigned))
    if team.size > 1:
        own = lambda dy: (X.zeros(), {"W": W.adopt(F.selection(x).T @ to_host(dy))})  # without R*
        assert not verify.dot_test(Planted(J, own))


def test_arguments_that_do_not_fit_are_refused_by_all_ranks_alike(team):
    X = ri.Space(ri.Partition(team, (team.size, 1)), (5, 2), cuts=(0, None))
    for text, make in {
        "Embedding: expected count and width >= 1": lambda: layers.Embedding(X, 0, 4),
        "got 4, 0 and": lambda: layers.Embedding(X, 4, 0),
        "a real space": lambda: layers.Embedding(X.replace(dtype="complex64"), 4, 3),
        "that holds all whole numbers below count": lambda: layers.Embedding(X.replace(dtype="float32"), 2**24 + 1, 1),
        "whole numbers": lambda: layers.Embedding(X, 4.5, 3),
        "can be cut by grid axes (1,)": lambda: layers.Embedding(X, 4, 3, (0, None)),
        "at most once": lambda: layers.Embedding(X, 4, 3, (1, 1)),
    }.items():
        assert text in same_text(team, make)
