"""The Fourier neural operator is the same map on any number of ranks."""

import numpy as np
import pytest
import strategies
from hypothesis import strategies as st
from theorems import GRIDS, Planted, assert_derivative_is_honest, relative, same_text, whole

import refimpl as ri
from refimpl import verify, wire
from refimpl.arrays import namespace, to_host
from refimpl.layers import RelativeL2
from refimpl.layers.fourier_forms import FORMS
from refimpl.models import FNO
from refimpl.training.loop import loss_and_gradients
from refimpl.training.optimizers import AdamW
from refimpl.verify import spmd


def results(space, modes, weights=None, **options):
    """The output, the gradients for a fixed cotangent, and the weights: global arrays by name, on rank 0."""
    F = FNO(space, 3, modes, hidden=4, seed=3, **options)
    if weights is not None:
        F.load_state(weights)
    y, J = F.linearize(space.random(1))
    dx, gradients = J.adjoint(F.range.random(2))
    found = {"y": F.range.gather(y), "dx": space.gather(dx)}
    found |= {f"d {name}": F.parameter_spaces[name].gather(g) for name, g in gradients.items()}
    return found, F.state()


def assert_agree(mine, serial, tolerance):
    gaps = {name: relative(mine[name], serial[name]) for name in serial}
    assert max(gaps.values()) <= tolerance and set(mine) == set(serial), gaps


def assert_as_on_one_rank(team, X, **options):
    """Output, gradients and weights are those of the same network on rank 0 alone."""
    with ri.unchecked():
        mine, weights = results(X, **options)
    if team.rank == 0:
        alone = ri.Space(ri.Partition(wire.mpi().COMM_SELF, (1,)), X.shape, X.dtype)
        serial, others = results(alone, **options)
        assert_agree(weights, others, 0)
        assert_agree(mine, serial, 1e-12 if X.dtype == np.float64 else 1e-5)


def grids_with_and_without_time(size):
    """The last axis whole, as time must be, or cut."""
    return strategies.spectra(size, whole_last=True) | strategies.spectra(size)


@spmd.property_test(
    case=grids_with_and_without_time, timesteps=st.none() | st.integers(4, 6), form=st.sampled_from((None, *FORMS))
)
def test_on_any_grid_it_is_the_network_of_one_rank(team, case, timesteps, form):
    options = dict(modes=case.modes, out_channels=2, blocks=1, form=form)
    if timesteps and case.grid[-1] == 1:
        options |= dict(modes=(*case.modes[:-1], min(case.modes[-1], timesteps // 2 + 1)), out_timesteps=timesteps)
    assert_as_on_one_rank(team, case.space(team), **options)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_where_only_the_batch_is_cut_a_rank_has_the_bits_that_its_samples_have_alone(team, dtype):
    """Cut axes need sums over ranks, whose order tells in the last digits; samples do not know of each other."""
    X = ri.Space(ri.Partition(team, (team.size, 1, 1, 1)), (2 * team.size + 1, 2, 6, 5), dtype)
    alone = ri.Space(ri.Partition(wire.mpi().COMM_SELF, (1,)), X.local_shape, dtype)
    F, G = (FNO(space, 3, (2, 2), blocks=2, hidden=4) for space in (X, alone))
    G.load_state(wire.share(team, F.state()))
    x = X.random(1)
    (y, J), (z, K) = F.linearize(x), G.linearize(x)
    dx, dz = J.adjoint(y)[0], K.adjoint(y)[0]
    assert namespace(x).all(y == z) and namespace(x).all(dx == dz)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("timesteps", [None, 5])
def test_its_jacobian_is_adjoint_and_sends_what_it_predicts(team, dtype, timesteps):
    X = ri.Space(ri.Partition(team, (GRIDS[team.size][0], 1, GRIDS[team.size][1], 1)), (2, 2, 6, 4), dtype)
    F = FNO(X, 3, (2, 2), blocks=1, hidden=4, out_timesteps=timesteps)
    assert F.range.shape == (2, 1, 6, timesteps or 4)
    assert_derivative_is_honest(F)


def test_taylor_remainders_fall_with_slope_2(team):
    X = ri.Space(ri.Partition(team, (1, 1, *GRIDS[team.size])), (2, 1, 6, 6))
    F = FNO(X, 3, (2, 2), blocks=2, hidden=4)
    assert verify.taylor_test(F, X.random(1), first=0.02)


def test_inputs_that_are_made_again_change_no_bit_and_no_message(team):
    X, found = ri.Space(ri.Partition(team, (1, 1, *GRIDS[team.size], 1)), (2, 1, 6, 5, 4)), []
    for recompute in (False, True):
        F = FNO(X, 3, (2, 2, 2), blocks=5, hidden=4, recompute=recompute)
        assert list(F.recomputed) == (["block1", "block3"] if recompute else [])
        with ri.counting() as count:
            y, J = F.linearize(X.random(1))
            dx, gradients = J.adjoint(y)
            dy = J.forward(dx, gradients)
        found.append(([y, dx, dy, *gradients.values()], count.total))
    (kept, messages), (made_again, others) = found
    assert all(map(np.array_equal, kept, made_again)) and messages == others


def test_weights_move_from_one_partition_to_another(team):
    shape, grids = (2, 1, 6, 5, 4), ((team.size, 1, 1, 1, 1), (1, 1, *GRIDS[team.size], 1))
    spaces = [ri.Space(ri.Partition(team, grid), shape) for grid in grids]
    options = dict(modes=(2, 2, 2), blocks=2, out_timesteps=4)
    first, weights = results(spaces[0], **options)
    if team.rank == 0:
        weights = {name: w + 0.1 for name, w in weights.items()}
    moved, same = results(spaces[1], weights=weights, **options)
    again, _ = results(spaces[0], weights=weights, **options)
    if team.rank == 0:
        assert_agree(same, weights, 0)
        assert_agree(moved, again, 1e-12)
        assert relative(moved["y"], first["y"]) > 1e-3


# ---- the same function on a finer grid -------------------------------------------------------------------------------


def waves(n, functions=1):
    """Smooth functions of two channels and two periods, sampled at n points along each axis."""
    a, b = np.meshgrid(*[2 * np.pi * np.arange(n) / n] * 2, indexing="ij")
    shift = np.arange(functions)[:, None, None]
    return np.stack([np.sin(a + shift) * np.cos(2 * b) + 0.3 * np.cos(b - shift), np.cos(2 * a + b + shift)], axis=1)


def on_grid(comm, n, functions=1, **options):
    """The network on n x n points, and the samples there as a block."""
    X = ri.Space(ri.Partition(comm, (1, 1, *GRIDS[comm.size])), (functions, 2, n, n))
    return FNO(X, 4, (3, 3), hidden=8, **options), X.scatter(waves(n, functions) if comm.rank == 0 else None)


def test_the_same_weights_give_the_same_function_on_every_fine_enough_grid(team):
    """What is not linear makes waves shorter than the grid's; from one grid to the next they vanish, exponentially."""
    values, weights = {}, None
    for n in (8, 16, 32, 64):
        F, x = on_grid(team, n, blocks=2)
        weights = weights or F.state()
        F.load_state(weights)
        values[n] = whole(F.range, F(x))
    gaps = [
        np.max(np.abs(values[n] - values[64][:, :, :: 64 // n, :: 64 // n])) / np.std(values[64]) for n in (8, 16, 32)
    ]
    assert 1e-4 < gaps[0] < 1e-2 and gaps[1] < 1e-5 and gaps[2] < 1e-12, gaps


def test_trained_on_n_points_it_is_as_good_on_2n():
    """It learns the product of the two channels, from 12 x 12 samples of three functions."""
    models = {n: on_grid(wire.mpi().COMM_SELF, n, functions=3, blocks=1) for n in (12, 24)}
    products = {n: np.prod(waves(n, 3), axis=1, keepdims=True) for n in models}
    targets = {n: F.range.scatter(products[n]) for n, (F, _) in models.items()}
    F, x = models[12]
    optimizer, loss = AdamW(), RelativeL2(F.range)
    moments, first = optimizer.start(F.parameters), loss(F(x), targets[12])
    for step in range(1, 41):
        _, gradients, _ = loss_and_gradients(F, loss, x, targets[12])
        F.parameters, moments = optimizer.step(F.parameters, gradients, moments, step, rate=1e-2)
    G, fine = models[24]
    G.load_state(F.state())
    errors = loss(F(x), targets[12]), RelativeL2(G.range)(G(fine), targets[24])
    assert errors[0] < 0.5 * first and errors[1] == pytest.approx(errors[0], rel=0.05), (first, errors)


def test_more_ranks_than_cells_and_several_blocks(team):
    X = ri.Space(ri.Partition(team, (1, 1, team.size, 1)), (1, 1, 2, 3))
    assert_as_on_one_rank(team, X, modes=(1, 2), blocks=4, out_timesteps=3)


def test_what_cannot_be_is_refused_by_all_ranks_alike(team):
    P = ri.Partition(team, (1, 1, 1, team.size))
    X = ri.Space(ri.Partition(team, (1,)), (2, 1, 6, 5))
    for text, make in {
        "2 entries of modes need": lambda: FNO(ri.Space(P, (2, 1, 6, 5, 4)), 3, (2, 2)),
        "a real tensor": lambda: FNO(ri.Space(P, (2, 1, 6, 5), "complex64"), 3, (2, 2)),
        "at least 1": lambda: FNO(X, 0, (2, 2)),
        "at least 1, got (3, 4, 1, 128, 0) and 1": lambda: FNO(X, 3, (2, 2), out_timesteps=0),
        "at least 1, got (3, 4, 1, 128, 1) and 0": lambda: FNO(X.replace(shape=(2, 0, 6, 5)), 3, (2, 2)),
        "expected whole numbers, got (2.5, 2)": lambda: FNO(X, 3, (2.5, 2)),
        "expected whole numbers, got 2": lambda: FNO(X, 3, 2),
        "got (3, 1.5, 1, 128, 1, 0)": lambda: FNO(X, 3, (2, 2), blocks=1.5),
        "holds 1 to 3 modes, got 4": lambda: FNO(X, 3, (4, 2)),
        "holds 1 to 2 modes, got 3": lambda: FNO(X, 3, (2, 3), out_timesteps=3),
    }.items():
        assert text in same_text(team, make)
    if team.size > 1:
        assert "it must be whole" in same_text(team, lambda: FNO(ri.Space(P, (2, 1, 6, 5)), 3, (2, 2), out_timesteps=4))
        channels = ri.Space(ri.Partition(team, (1, team.size)), (2, team.size, 6, 5))
        assert "it must be whole" in same_text(team, lambda: FNO(channels, 3, (2, 2)))


def test_a_network_that_forgets_one_adjoint_among_many_is_rejected(team):
    X = ri.Space(ri.Partition(team, (team.size, 1, 1)), (team.size, 1, 6))
    _, J = FNO(X, 2, (2,), blocks=1, hidden=3).linearize(X.random(1))
    for name in J.domain.spaces:
        if name != "x":
            wrong = lambda dy, name=name: (J.adjoint(dy)[0], {**J.adjoint(dy)[1], name: J.domain[name].zeros()})
            assert not verify.dot_test(Planted(J, wrong), chain=9), name
    assert not verify.dot_test(Planted(J, lambda dy: (X.zeros(), J.adjoint(dy)[1])), chain=9)


def test_the_number_of_weights_is_that_of_the_formula():
    X = ri.Space(ri.Partition(wire.mpi().COMM_SELF, (1,)), (1, 1, 32, 32, 32, 1), "float32")
    F = FNO(X, 20, (4, 4, 4, 4), blocks=4, out_timesteps=16)
    spectral = 2 * 20 * 20 * 8**3 * 4  # dfno counts 160 more: biases and batch norms that it never uses
    assert F.parameter_count == (16 + 16) + (20 + 20) + 4 * (20 * 20 + spectral) + (128 * 20 + 128) + (128 + 1)


WRONG = {
    "another dtype": lambda w, rank: namespace(w).astype(abs(w), namespace(w).float32),
    "another shape": lambda w, rank: namespace(w).zeros((5, 5)),
    "on the owner alone": lambda w, rank: w[..., :1] if rank == 0 else w,
    "on another rank alone": lambda w, rank: namespace(w).zeros((5, 5)) if rank == 1 else w,
    "no array": lambda w, rank: to_host(w).tolist(),
}


@pytest.mark.parametrize("how", WRONG)
def test_weights_that_are_not_of_their_space_are_refused_by_all_ranks_alike(team, how):
    X = ri.Space(ri.Partition(team, (1, 1, team.size)), (1, 2, 8))
    for name in ("lift.linear.W", "block0.spectral.R"):
        F = FNO(X, 3, (2,), blocks=1, hidden=4)
        F.parameters = F.parameters | {name: WRONG[how](F.parameters[name], team.rank)}
        if how == "on another rank alone" and team.size == 1:
            continue
        for call in (F, F.linearize):
            assert f"FNO.parameters, block {name} on rank" in same_text(team, lambda call=call, X=X: call(X.random(0)))


def test_missing_weights_are_refused_by_all_ranks_alike(team):
    X = ri.Space(ri.Partition(team, (1, 1, team.size)), (1, 2, 8))
    F = FNO(X, 3, (2,), blocks=1, hidden=4)
    F.parameters = {name: w for name, w in F.parameters.items() if name != "head.out.b"}
    assert "FNO.parameters on rank 0: expected blocks" in same_text(team, lambda: F(X.random(0)))
