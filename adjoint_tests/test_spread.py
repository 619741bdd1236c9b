"""A small tensor spread over the blocks of a large one is a broadcast: its adjoint adds the copies on the owners."""

import hypothesis.strategies as st
import numpy as np
import pytest
import strategies
from theorems import GRIDS, Planted, assert_exact_adjoint, assert_honest, assert_rejected, whole

import refimpl as ri
from refimpl.arrays import to_host
from refimpl.layers.spread import Spread
from refimpl.verify import spmd
from refimpl.verify.dot_test import small_integers


@st.composite
def tensors_and_axes(draw, size):
    case = draw(strategies.tensors(size) | strategies.unbalanced(size) | strategies.copied(size))
    return case, tuple(sorted(draw(st.sets(st.integers(0, len(case.shape) - 1), min_size=1))))


@spmd.property_test(given=tensors_and_axes, sharded=st.booleans())
def test_adjoint_of_a_spread_adds_the_copies_and_every_number_has_one_owner(team, given, sharded):
    case, axes = given
    X = case.space(team)
    B = Spread(X, axes, sharded)
    assert_exact_adjoint(B, case.seed)
    assert_honest(B, case.seed)
    assert B.domain.shape == tuple(X.shape[i] for i in axes)
    assert sum(ri.wire.pool(team, B.domain.local_size)) == np.prod(B.domain.shape)
    w, x = (small_integers(V, case.seed, copies="equal") for V in (B.domain, X))
    spread = B.forward(w)
    product = whole(X, spread * x)
    ones = [n if i in axes else 1 for i, n in enumerate(X.shape)]
    assert np.array_equal(product, whole(B.domain, w).reshape(ones) * whole(X, x))


@pytest.mark.mpi(min_size=2)
def test_keeping_the_owners_copy_is_rejected(team):
    X = ri.Space(ri.Partition(team, GRIDS[team.size]), (6, 6))
    axis = 0 if GRIDS[team.size][1] > 1 else 1
    B = Spread(X, (axis,))
    assert_rejected(Planted(B, lambda z: B.domain.adopt(to_host(z).ravel()[: B.domain.local_size])))
