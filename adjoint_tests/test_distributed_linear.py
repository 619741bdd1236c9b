"""Linear layers whose features, weights and outputs are cut are the sequential layer, whatever the partitions."""

from dataclasses import dataclass
from math import prod

import hypothesis.strategies as st
import numpy as np
import pytest
import strategies
from theorems import GRIDS, Planted, assert_close, assert_derivative_is_honest, same_text, whole

import refimpl as ri
from refimpl import layers, verify, wire
from refimpl.arrays import namespace, to_host
from refimpl.verify import spmd


def with_random_parameters(F, seed=7):
    F.parameters = {name: space.random(seed + i) for i, (name, space) in enumerate(F.parameter_spaces.items())}
    return F


def sequential(x, W, b):
    """W x + b along the last axis of a whole array; with experts, the first axes go together."""
    if W.ndim == 2:
        return x @ W.T + b
    return np.einsum("e...i,eoi->e...o", x, W) + np.expand_dims(b, tuple(range(1, x.ndim - 1)))


def assert_is_the_sequential_layer(F, seed):
    """Value, dx and gradients of F are those of the whole arrays (each copy counts), and its Jacobian has its adjoint."""
    F = with_random_parameters(F)
    x, dy = F.domain.random(seed), F.range.random(seed + 1)
    y, J = F.linearize(x)
    dx, gradients = J.adjoint(dy)
    h, g = whole(F.domain, x), whole(F.range, dy)
    copies = prod(F.domain.partition.shape[axis] for axis in F.domain.copy_axes)
    p = {name: whole(space, F.parameters[name]) for name, space in F.parameter_spaces.items()}
    W, b = p["W"], p.get("b", np.zeros(p["W"].shape[:-1]))
    assert_close(F.range, y, sequential(h, W, b))
    assert_close(F.domain, dx, sequential(g, np.conj(np.swapaxes(W, -1, -2)), 0 * W[..., 0, :]))
    letters = "eto,eti->eoi" if W.ndim == 3 else "to,ti->oi"
    rows = lambda a: a.reshape(*a.shape[: W.ndim - 2], prod(a.shape[W.ndim - 2 : -1]), a.shape[-1])
    assert_close(F.parameter_spaces["W"], gradients["W"], copies * np.einsum(letters, rows(g), rows(h).conj()))
    if "b" in gradients:
        assert_close(F.parameter_spaces["b"], gradients["b"], copies * rows(g).sum(-2))
    assert_derivative_is_honest(F, seed)


@dataclass(frozen=True, repr=False)
class GeneralCase(strategies.TensorCase):
    """x on P_x (batch.., p_in), and what the general linear layer makes of it on p_out parts."""

    out: int = 1
    p_out: int = 1
    w_ranks: strategies.Ints | None = None
    y_ranks: strategies.Ints | None = None
    short: bool = False
    bias: bool = True
    sharded: bool = False

    def layer(self, team):
        X, batch = self.space(team), self.grid[:-1]
        some = tuple(p for p in batch if p > 1 or not self.short) if max(batch, default=1) == 1 else batch
        P_w = ri.Partition(team, (*some, self.p_out, self.grid[-1]), self.w_ranks)
        P_y = ri.Partition(team, (*some, self.p_out), self.y_ranks)
        return layers.GeneralLinear(X, self.out, P_w, P_y, self.bias, self.sharded, self.seed)


@st.composite
def three_partitions(draw, size, dtypes=strategies.dtypes):
    d = draw(st.integers(1, 3))
    *batch, p_out, p_in = draw(strategies.grids(size, d + 1))
    shape, grid = draw(strategies.shapes(d)), (*batch, p_in)
    blocks = tuple(draw(strategies.cut_row(n, p)) for n, p in zip(shape, grid, strict=True))
    ranks = [draw(strategies.some_ranks(size, prod(g) * prod(batch))) for g in ((p_in,), (p_out, p_in), (p_out,))]
    return GeneralCase(
        shape,
        grid,
        ranks[0],
        None,
        draw(st.none() | st.just(blocks)),
        draw(dtypes),
        draw(strategies.seeds),
        draw(st.integers(1, 4)),
        p_out,
        *ranks[1:],
        *(draw(st.booleans()) for _ in range(3)),
    )


@dataclass(frozen=True, repr=False)
class ParallelCase(strategies.TensorCase):
    """x whose grid axis ``axis`` cuts the features or another axis, and where the output is to be cut by it."""

    out: int = 1
    axis: int = 0
    onto: int = -1
    bias: bool = True
    sharded: bool = False
    experts: bool = False

    def gathers(self, team):
        return layers.AllGatherLinear(self.space(team), self.out, self.axis, *self.options)

    def scatters(self, team):
        return layers.ReduceScatterLinear(self.space(team), self.out, self.axis, self.onto, *self.options)

    @property
    def options(self):
        return self.bias, self.sharded, self.experts, self.seed


@st.composite
def parallel(draw, size, along=None):
    """Grid axes that cut any axis but the features, or hold copies, and one that cuts the features or another axis."""
    experts, d, g = draw(st.booleans()), draw(st.integers(2, 3)), draw(st.integers(1, 3))
    grid, axis = draw(strategies.grids(size, g)), draw(st.integers(0, g - 1))
    assigned = [draw(st.integers(0, d - 1)) for _ in grid]  # d - 1: copies
    cuts = [tuple(h for h, to in enumerate(assigned) if to == i and h != axis) for i in range(d - 1)] + [()]
    cuts[draw(st.integers(0, d - 1)) if along is None else along] += (axis,)
    shape = draw(strategies.shapes(d))
    blocks = tuple(draw(strategies.cut_row(n, prod(grid[h] for h in cut))) for n, cut in zip(shape, cuts, strict=True))
    return ParallelCase(
        shape,
        grid,
        draw(strategies.some_ranks(size, prod(grid))),
        tuple(cuts),
        draw(st.none() | st.just(blocks)),
        draw(strategies.dtypes),
        draw(strategies.seeds),
        draw(st.integers(1, 4)),
        axis,
        draw(st.integers(-d, d - 1)),
        draw(st.booleans()),
        draw(st.booleans()),
        experts,
    )


@spmd.property_test(case=three_partitions)
def test_the_general_layer_on_any_three_partitions_is_the_sequential_layer(team, case):
    assert_is_the_sequential_layer(case.layer(team), case.seed)


@spmd.property_test(gathered=parallel, scattered=lambda size: parallel(size, along=-1), gathers=st.booleans())
def test_the_parallel_layers_are_the_sequential_layer_and_cut_the_axis_that_they_are_told(
    team, gathered, scattered, gathers
):
    F = gathered.gathers(team) if gathers else scattered.scatters(team)
    assert_is_the_sequential_layer(F, gathered.seed)
    cut, axis = (F.range.cuts[-1], gathered.axis) if gathers else (F.range.cuts[scattered.onto], scattered.axis)
    assert cut[-1] == axis


def general(team, dtype="float64", **options):
    """A layer on a grid of weights that is cut both ways, or has several batch ranks, where there are ranks for it."""
    grids = {
        1: (1, 1, 1),
        2: (1, 1, 2),
        3: (3, 1, 1),
        4: (1, 2, 2),
        5: (5, 1, 1),
        6: (3, 1, 2),
        7: (1, 1, 7),
        8: (2, 2, 2),
    }
    batch, p_out, p_in = grids[team.size]
    X = ri.Space(ri.Partition(team, (batch, p_in)), (5, 7), dtype)
    P_w, P_y = ri.Partition(team, (batch, p_out, p_in)), ri.Partition(team, (batch, p_out))
    return layers.GeneralLinear(X, 4, P_w, P_y, **options)


def gathers(team, dtype="float64", **options):
    X = ri.Space(ri.Partition(team, GRIDS[team.size]), (5, 7), dtype)
    return layers.AllGatherLinear(X, 4, 1 if GRIDS[team.size][1] > 1 else 0, **options)


def scatters(team, dtype="float64", **options):
    p, q = GRIDS[team.size]
    X = ri.Space(ri.Partition(team, (q, p)), (5, 7), dtype)
    return layers.ReduceScatterLinear(X, 4, 1, onto=0, **options)


MAKERS = [general, gathers, scatters]


@pytest.mark.parametrize("make", MAKERS)
def test_the_derivative_agrees_with_the_complex_step(team, make):
    F, C = with_random_parameters(make(team)), make(team, "complex128")
    assert verify.complex_step_gap(F, C, F.domain.random(4)) < 1e-14


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("sharded", [False, True])
def test_weights_depend_on_the_seed_alone_and_have_one_owner(team, make, sharded):
    F = make(team, seed=3, sharded=sharded)
    default, zero = make(team), make(team, seed=0)
    assert all(np.array_equal(w, zero.parameters[name]) for name, w in default.parameters.items())
    alone = ri.Space(ri.Partition(team, ()), (1, F.domain.shape[-1]), cuts=(None, None))
    W, expected = (wire.share(team, layer.state()["W"]) for layer in (F, layers.Linear(alone, 4, axis=-1, seed=3)))
    assert np.array_equal(W, expected) and not np.any(to_host(F.parameters["b"]))
    for name, space in F.parameter_spaces.items():
        assert sum(wire.pool(team, prod(F.parameters[name].shape))) == prod(space.shape)


@pytest.mark.parametrize("make", MAKERS)
def test_a_state_moves_to_another_partition(team, make):
    F, G = with_random_parameters(make(team)), make(team, sharded=True)
    G.load_state(F.state())
    x = F.domain.random(1)
    assert_close(F.range, G(x), whole(F.range, F(x)))


@pytest.mark.mpi(min_size=2)
@pytest.mark.parametrize("make", MAKERS)
def test_wrong_adjoints_are_rejected(team, make):
    """One of the data movements has an adjoint that knows one rank alone; or a conjugate or the bias is left out."""
    mine = float(team.rank == 0)
    for name, fault in {
        "G": lambda A: Planted(A, lambda y: A.adjoint(mine * y)),
        "S": lambda A: Planted(A, lambda y: A.adjoint(mine * y)),
        "R": lambda A: Planted(A, lambda y: mine * A.adjoint(y)),
    }.items():
        F = with_random_parameters(make(team))
        x = F.domain.random(1)
        assert verify.dot_test(F.linearize(x)[1], chain=8)
        setattr(F, name, fault(getattr(F, name)))
        assert not verify.dot_test(F.linearize(x)[1])
    F = with_random_parameters(make(team, "complex128"))
    _, J = F.linearize(F.domain.random(1))

    def conjugated(dy):
        conj = namespace(dy).conj
        return conj(J.adjoint(conj(dy))[0]), J.adjoint(dy)[1]

    def without_bias(dy):
        dx, gradients = J.adjoint(dy)
        return dx, gradients | {"b": 0 * gradients["b"]}

    assert verify.dot_test(J, chain=8)
    for wrong in (conjugated, without_bias):
        assert not verify.dot_test(Planted(J, wrong))


def test_grids_that_do_not_fit_are_refused_by_all_ranks_alike(team):
    p = team.size
    P, one = ri.Partition(team, (1, p)), ri.Partition(team, (1, 1))
    X = ri.Space(P, (3, 8))
    ghosts = ri.HaloExchange(X, [(0, 0), (0, 1)]).range
    general, gathers, scatters = layers.GeneralLinear, layers.AllGatherLinear, layers.ReduceScatterLinear
    for text, make in {
        "expected out >= 1": lambda: general(X, 0, P, one),
        "GeneralLinear: blocks [(0, ": lambda: general(ghosts, 2, P, one),
        "(batch.., p_out, p_in) and (batch.., p_out)": lambda: general(X, 2, P, ri.Partition(team, (1, 1, 1))),
        "must cut the features": lambda: general(X.replace(cuts=(1, None), blocks={}), 2, P, one),
        "AllGatherLinear: expected out >= 1": lambda: gathers(X, 0, 1),
        "AllGatherLinear: axes 2 must name": lambda: gathers(X, 2, 2),
        "axis 1 of Space": lambda: gathers(ghosts, 2, 1),
        "(experts, .., features), got out = 2": lambda: gathers(ri.Space(one, (3,), cuts=(1,)), 2, 1, experts=True),
        "ReduceScatterLinear: axes -1 must name": lambda: scatters(X, 2, -1),
        "and onto = 2": lambda: scatters(X, 2, 1, onto=2),
        "features cut by grid axis 0": lambda: scatters(X, 2, 0),
    }.items():
        assert text in same_text(team, make)
    if p > 1:
        assert "features of Space(float64[3, 8]" in same_text(team, lambda: gathers(X, 2, 0))
        copies = X.replace(cuts=(0, None), blocks={})
        assert "hold copies" in same_text(team, lambda: gathers(copies, 2, 1))
        assert f"got (1, {p}), (1, 1, 1) and (1, 1)" in same_text(team, lambda: general(X, 2, one, one))
