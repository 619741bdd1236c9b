"""The truncated transform and the spectral convolution, against scipy.fft on whole arrays."""

import array_api_strict as strict
import numpy as np
import pytest
import scipy.fft
import scipy.linalg
import strategies
from hypothesis import strategies as st
from theorems import (
    GRIDS,
    Planted,
    assert_adjoint,
    assert_close,
    assert_derivative_is_honest,
    assert_honest,
    same_text,
    whole,
)

import refimpl as ri
from refimpl import verify, wire
from refimpl.arrays import namespace, to_host
from refimpl.layers import SpectralConvolution, TruncatedFourier, axis_transform
from refimpl.layers.axis_transform import AxisTransform
from refimpl.layers.fourier_forms import FORMS
from refimpl.verify import spmd


def kept(n, m, real):
    return np.arange(m) if real else np.r_[:m, n - m : n]


def transform(x, modes):
    """The kept frequencies of the unscaled transform of a whole array, by FFTs; frequencies first, (batch, channels) last."""
    axes = range(2, x.ndim)
    z = scipy.fft.rfftn(x, axes=tuple(axes))
    for axis, m in zip(axes, modes, strict=True):
        z = np.take(z, kept(x.shape[axis], m, axis == x.ndim - 1), axis)
    return np.moveaxis(z, (0, 1), (-2, -1))


def inverse(z, modes, sides):
    """The inverse transform of a spectrum that is zero outside the kept frequencies: ifft along full axes, then irfft."""
    z = np.moveaxis(z, (-2, -1), (0, 1))
    for axis, (m, n) in enumerate(zip(modes, sides, strict=True), start=2):
        real, shape = axis == z.ndim - 1, list(z.shape)
        shape[axis] = n // 2 + 1 if real else n
        full = np.zeros(shape, z.dtype)
        full[(slice(None),) * axis + (kept(n, m, real),)] = z
        z = scipy.fft.irfft(full, n, axis) if real else scipy.fft.ifft(full, axis=axis)
    return z


def weights(modes, sides):
    """How often each kept frequency of the real axis stands in the full spectrum, over the number of points."""
    times = np.where(np.isin(2 * np.arange(modes[-1]), (0, sides[-1])), 1, 2)
    return (times / np.prod(sides))[:, None, None]


forms = st.sampled_from(tuple(FORMS))


@spmd.property_test(case=strategies.spectra, form=forms)
def test_the_kept_modes_are_those_of_the_fft(team, case, form):
    X = case.space(team)
    T = TruncatedFourier(X, case.modes, form)
    x = X.random(case.seed)
    z = T.forward(x)
    assert_close(T.range, z, transform(whole(X, x).astype("float64"), case.modes))
    back = inverse(whole(T.range, z).astype("complex128"), case.modes, case.shape[2:])
    assert_close(X, T.adjoint(z * T.range.adopt(T.inverse_weights)), back)
    assert_adjoint(T, case.seed, chain=len(case.modes))


@pytest.mark.parametrize("form", FORMS)
def test_the_transform_sends_what_it_predicts_and_leaves_its_argument_alone(team, form):
    p, q = GRIDS[team.size]
    for grid in ((1, 1, team.size, 1), (1, 1, 1, team.size), (1, p, q, 1), (1, 1, p, q)):
        assert_honest(TruncatedFourier(ri.Space(ri.Partition(team, grid), (2, 6, 9, 8), "float32"), (4, 3), form))


@spmd.property_test(case=strategies.spectra)
def test_in_sums_only_kept_modes_travel_however_the_axes_are_split(team, case):
    X = case.space(team)
    T = TruncatedFourier(X, case.modes, "sums")
    p, batch = int(np.prod(case.grid[2:])), X.local_shape[0]
    modes = int(np.prod(T.range.shape[:-2])) * batch * X.shape[1] * T.range.dtype.itemsize
    active = X.partition.active and p > 1 and batch > 0
    assert T.traffic().forward.bytes == (modes * (p - 1) // p if active else 0)


@spmd.property_test(case=strategies.spectra)
def test_the_form_that_sends_less_is_chosen_by_what_all_ranks_send(team, case):
    X = case.space(team)
    forms, chosen = {form: TruncatedFourier(X, case.modes, form) for form in FORMS}, TruncatedFourier(X, case.modes)
    for form, T in forms.items():
        assert T.form == form and T.range == chosen.range and T.volumes == chosen.volumes
        for direction in ("forward", "adjoint"):  # in sums, the ranks of a group round n (P - 1) / P down
            everyone = sum(wire.pool(team, getattr(T.traffic(), direction).bytes))
            assert 0 <= T.volumes[form] - everyone < (team.size if form == "sums" else 1)
    assert chosen.volumes[chosen.form] == min(chosen.volumes.values())


@pytest.mark.mpi(min_size=4)
def test_sums_win_where_few_modes_are_kept_and_a_repartition_where_they_fill_the_grid(team):
    X = ri.Space(ri.Partition(team, (1, 1, team.size, 1)), (1, 4, 16, 16))
    assert TruncatedFourier(X, (1, 8)).form == "sums" and TruncatedFourier(X, (8, 8)).form == "repartition"


@pytest.mark.parametrize("form", FORMS)
def test_unequal_and_empty_blocks_copies_and_a_tensor_without_other_axes(team, form):
    p, q = GRIDS[team.size]
    ends = [0, 4, *[5] * 6][: team.size] + [7]
    unequal = {2: list(zip(ends[:-1], ends[1:], strict=True))}
    spaces = {
        "blocks": ri.Space(ri.Partition(team, (1, 1, team.size, 1)), (3, 2, 7, 6), blocks=unequal),
        "copies": ri.Space(ri.Partition(team, (p, q)), (2, 1, 7, 6), cuts=(None, None, 1, None)),
        "two grid axes on one": ri.Space(ri.Partition(team, (p, q)), (2, 3, 7, 6), cuts=(None, None, (1, 0), None)),
        "no other axes": ri.Space(ri.Partition(team, (p, q)), (7, 6)),
    }
    for how, X in spaces.items():
        T, x = TruncatedFourier(X, (3, 4), form), X.random(1)
        z = transform(whole(X, x).reshape(-1, 1, 7, 6), (3, 4)).reshape(T.range.shape)
        assert_close(T.range, T.forward(x), z)
        assert_honest(T)
        assert verify.dot_test(T, chain=2), how


def test_with_ghosts_on_other_axes_there_are_sums_alone(team):
    p, q = GRIDS[team.size]
    X = ri.HaloExchange(ri.Space(ri.Partition(team, (p, q)), (6, 8)), [(1, 1), (0, 0)]).range
    T = TruncatedFourier(X, (5,))
    assert T.form == "sums" and verify.dot_test(T)
    if q > 1:
        assert T.volumes["sums"] > T.volumes["repartition"]
        assert "must hold each of 0..5 once" in same_text(team, lambda: TruncatedFourier(X, (5,), "repartition"))


@pytest.mark.parametrize("n", [1, 2, 7, 8])
def test_all_modes_of_the_real_axis_give_the_tensor_back(team, n):
    X = ri.Space(ri.Partition(team, (1, 1, team.size)), (1, 1, n))
    T = TruncatedFourier(X, (n // 2 + 1,))
    x = X.random(1)
    assert_close(X, T.adjoint(T.forward(x) * T.range.adopt(T.inverse_weights)), whole(X, x))
    with ri.unchecked():
        M = verify.matrix(T, tolerance=1e-14)
    assert M is None or np.linalg.norm(M, 2) <= T.norm_bound * (1 + 1e-14)


@spmd.property_test(case=strategies.spectra, form=forms)
def test_the_convolution_and_its_gradients_are_those_of_the_serial_fft(team, case, form):
    X = case.space(team)
    S = SpectralConvolution(X, case.modes, out=2, seed=case.seed, form=form)
    x, dy = X.random(case.seed), S.range.random(case.seed + 1)
    y, J = S.linearize(x)
    dx, gradients = J.adjoint(dy)
    assert_adjoint(J, case.seed, chain=8)
    h, g = whole(X, x).astype("float64"), whole(S.range, dy).astype("float64")
    R = whole(S.parameter_spaces["R"], S.parameters["R"]).astype("complex128")
    sides, D = case.shape[2:], weights(case.modes, case.shape[2:])
    z, dz = transform(h, case.modes), transform(g, case.modes) * D
    assert_close(S.range, y, inverse(z @ R, case.modes, sides))
    assert_close(S.parameter_spaces["R"], gradients["R"], z.conj().swapaxes(-1, -2) @ dz)
    assert_close(X, dx, inverse(dz @ R.conj().swapaxes(-1, -2) / D, case.modes, sides))  # T* = T^-1 / D


def test_an_axis_may_be_given_its_frequencies_in_any_order(team):
    X = ri.Space(ri.Partition(team, (1, 1, *GRIDS[team.size])), (2, 2, 7, 8))
    S, T = TruncatedFourier(X, (2, 5)), TruncatedFourier(X, ([-1, 5, 1, -7], [4, 3, 2, 1, 0]))
    x = X.random(1)
    assert_close(T.range, T.forward(x), whole(S.range, S.forward(x))[::-1, ::-1])
    assert_adjoint(T, chain=2)
    inverse_weights = [whole(U.range, U.range.zeros() + U.range.adopt(U.inverse_weights)) for U in (S, T)]
    assert np.array_equal(inverse_weights[0][..., ::-1, :, :], inverse_weights[1])


@pytest.mark.parametrize("sides, modes", [((8,), (4,)), ((6, 5), (3, 2)), ((4, 7, 4), (2, 3, 1))])
def test_of_complex_data_no_axis_is_the_real_one(team, sides, modes):
    a, b = GRIDS[team.size]
    X = ri.Space(ri.Partition(team, (a, 1, b)), (3, 2, *sides), "complex128", field="real" if len(sides) == 2 else None)
    S = SpectralConvolution(X, modes, out=3, seed=1)
    T, x = S.down, X.random(1)
    z = scipy.fft.fftn(whole(X, x), axes=range(2, X.ndim))
    for axis, (n, m) in enumerate(zip(sides, modes, strict=True), start=2):
        z = np.take(z, kept(n, m, real=False), axis)
    assert_close(T.range, T.forward(x), np.moveaxis(z, (0, 1), (-2, -1)))
    assert_derivative_is_honest(S)
    if sides == (8,):  # all of them
        assert_close(X, T.adjoint(T.forward(x) * T.range.adopt(T.inverse_weights)), whole(X, x))


def test_what_comes_from_one_frequency_can_be_put_at_another(team):
    X = ri.Space(ri.Partition(team, (1, 1, *GRIDS[team.size])), (1, 1, 6, 8))
    S = SpectralConvolution(X, ([1, -1], [0, 2]), onto=([2, 0], [3, 1]))
    S.parameters = {"R": S.parameter_spaces["R"].zeros() + 1}
    a, b = np.meshgrid(2 * np.pi * np.arange(6) / 6, 2 * np.pi * np.arange(8) / 8, indexing="ij")
    wave = lambda k, l: np.cos(k * a + l * b)[None, None]
    x = X.scatter(wave(1, 2) + 0.5 * wave(-1, 2) if team.rank == 0 else None)
    assert_close(X, S(x), wave(2, 1) + 0.5 * wave(0, 1))
    assert_derivative_is_honest(S)


@pytest.mark.parametrize(("dtype", "form"), [("float32", "sums"), ("float64", "sums"), ("float64", "repartition")])
def test_the_convolution_sends_what_it_predicts_and_changes_nothing(team, dtype, form):
    a, b = GRIDS[team.size]
    for grid in ((a, 1, b, 1), (1, 1, a, b), (1, 1, 1, 1)):
        assert_derivative_is_honest(
            SpectralConvolution(ri.Space(ri.Partition(team, grid), (3, 2, 5, 6), dtype), (2, 4), form=form)
        )


def test_it_is_linear_in_its_input_so_the_tangent_is_the_layer(team):
    S = SpectralConvolution(ri.Space(ri.Partition(team, (1, 1, team.size)), (2, 2, 8)), (4,))
    x, dx = S.domain.random(1), S.domain.random(2)
    y, J = S.linearize(x)
    assert np.array_equal(J.forward(dx), S(dx)) or np.allclose(J.forward(dx), S(dx), rtol=1e-14, atol=1e-15)
    assert np.allclose(S(3 * x + dx), 3 * y + S(dx), rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize(("n", "m"), [(5, 2), (6, 4), (7, 4)])
def test_the_matrix_of_a_convolution_is_circulant_and_its_adjoint_the_transpose(team, n, m):
    """Its first column is the inverse transform of R; each further one is the one before, a point later."""
    S = SpectralConvolution(ri.Space(ri.Partition(team, (1, 1, team.size)), (1, 1, n)), (m,), seed=3)
    R, (_, J) = whole(S.parameter_spaces["R"], S.parameters["R"]), S.linearize(S.domain.zeros())
    of_x = Planted(J, lambda dy: J.adjoint(dy)[0])
    of_x.domain, of_x.forward = S.domain, J.forward
    with ri.unchecked():
        M = verify.matrix(of_x, tolerance=1e-14)
    kernel = scipy.fft.irfft(R[:, 0, 0], n)
    assert M is None or np.allclose(M, scipy.linalg.circulant(kernel), rtol=0, atol=1e-14)
    transposed = Planted(of_x, S)  # a convolution is not symmetric
    transposed.domain, transposed.forward = S.domain, J.forward
    with pytest.raises(ArithmeticError, match="the conjugate transpose has"):
        verify.matrix(transposed, tolerance=1e-14)


def test_the_weight_is_cut_as_the_modes_are_and_shared_by_the_batch_ranks(team):
    grid = GRIDS[team.size]
    X = ri.Space(ri.Partition(team, (grid[0], 1, grid[1], 1)), (4, 2, 9, 8))
    S = SpectralConvolution(X, (3, 5), out=3, seed=2)
    sizes = wire.pool(team, S.parameter_spaces["R"].local_size // 2)
    assert sum(sizes) == 6 * 5 * 2 * 3 and sum(n > 0 for n in sizes) == min(grid[1], 6)
    serial = SpectralConvolution(ri.Space(ri.Partition(team, (1,)), (4, 2, 9, 8)), (3, 5), out=3, seed=2)
    mine, alone = S.state()["R"], serial.state()["R"]
    assert mine is None if team.rank else np.array_equal(mine, alone)
    assert S.parameter_count == 2 * 6 * 5 * 2 * 3
    assert team.rank or (
        0 <= mine.real.min() and mine.real.max() <= 1 / 6 and mine.imag.mean() == pytest.approx(1 / 12, rel=0.2)
    )


def test_what_cannot_be_transformed_is_refused_by_all_ranks_alike(team):
    P, cut = ri.Partition(team, (1, 1, team.size)), ri.Partition(team, (1, team.size, 1))
    X = ri.Space(P, (2, 2, 7))
    for text, make in {
        "of 7 points holds 1 to 4 modes, got 5": lambda: SpectralConvolution(X, (5,)),
        "a full axis of 2 points holds 1 to 1 modes, got 2": lambda: TruncatedFourier(X, (2, 3)),
        "got 0": lambda: TruncatedFourier(X, (0,)),
        "expected whole numbers, got (2.5,)": lambda: TruncatedFourier(X, (2.5,)),
        "expected whole numbers, got 3": lambda: SpectralConvolution(X, 3),
        "of 0 points holds no modes": lambda: TruncatedFourier(ri.Space(P, (2, 2, 0)), (1,)),
        "a full axis of 7 points holds 1 to 3 modes, got 4": lambda: TruncatedFourier(
            ri.Space(P, (2, 2, 7), "complex64"), (4,)
        ),
        "expected a tensor of at least 4 axes": lambda: TruncatedFourier(X, (1, 1, 1, 1)),
        "expected a tensor of at least 1 axes": lambda: TruncatedFourier(X, ()),
        "whole channels": lambda: SpectralConvolution(X, (1, 3)),
        "whole channels, 1": lambda: SpectralConvolution(ri.HaloExchange(X, [(0, 0), (1, 0), (0, 0)]).range, (3,)),
        "at least one channel, got 2 to 0": lambda: SpectralConvolution(X, (3,), out=0),
        "differ modulo 2, got (1, -1)": lambda: TruncatedFourier(X, ([1, -1], 3)),
        "frequencies 0 to 3, got (0, 4)": lambda: TruncatedFourier(X, (1, [0, 4])),
        "frequencies 0 to 3, got ()": lambda: SpectralConvolution(X, ([],)),
        "expected whole numbers, got [1.5]": lambda: SpectralConvolution(X, ([1.5],)),
        "as many modes of the result": lambda: SpectralConvolution(X, (2,), onto=(3,)),
        "expected form='sums' or 'repartition' or None, got 'fft'": lambda: SpectralConvolution(X, (3,), form="fft"),
        "leave gaps or overlap": lambda: TruncatedFourier(ri.HaloExchange(X, [(0, 0), (0, 0), (1, 0)]).range, (3,)),
    }.items():
        assert text in same_text(team, make)
    if team.size > 1:
        assert "whole channels" in same_text(team, lambda: SpectralConvolution(ri.Space(cut, (2, 6, 7)), (3,)))


def test_adjoints_with_the_usual_mistakes_are_rejected(team):
    S = SpectralConvolution(ri.Space(ri.Partition(team, (1, 1, team.size)), (2, 2, 12)), (7,))
    _, J = S.linearize(S.domain.random(1))
    conj = namespace(S.D).conj
    T, D = S.down, S.D
    mistakes = {
        "the weights of the conjugate frequencies left out": lambda dy: (
            J.adjoint(dy)[0],
            {"R": J.adjoint(dy)[1]["R"] / D},
        ),
        "the weight not conjugated": lambda dy: (J.adjoint(dy)[0], {"R": conj(J.adjoint(dy)[1]["R"])}),
        "the inverse for the adjoint": lambda dy: (T.adjoint(T.forward(dy) * D), J.adjoint(dy)[1]),
    }
    for mistake, adjoint in mistakes.items():
        assert not verify.dot_test(Planted(J, adjoint), chain=8), mistake
    assert not verify.dot_test(Planted(T, lambda z: T.adjoint(z * D * 12)), chain=8)


@pytest.mark.parametrize("form", FORMS)
def test_an_adjoint_that_turns_one_axis_the_wrong_way_is_rejected(team, form):
    for grid in ((1, 1, team.size, 1), (1, 1, 1, team.size)):
        X, k = ri.Space(ri.Partition(team, grid), (2, 2, 7, 6)), [0, 1, 2, -1]
        T, wrong = (TruncatedFourier(X, ([sign * f for f in k], 3), form) for sign in (1, -1))
        assert not verify.dot_test(Planted(T, wrong.adjoint), chain=8)


def test_whole_rows_of_a_good_length_are_transformed_by_scipy_from_64_frequencies_on_in_single_from_128(team):
    def fast(n, count, grid=(1,), xp=np, dtype="float64"):
        return AxisTransform(ri.Space(ri.Partition(team, grid), (2, n), dtype, xp=xp), 1, np.arange(count)).fast

    for dtype in ("float32", "complex64"):
        assert not fast(128, 127, dtype=dtype) and fast(128, 128, dtype=dtype) == (team.rank == 0)

    assert fast(64, 64) == (team.rank == 0) and fast(88, 64, (team.size, 1))  # not on ranks without a block
    assert not fast(64, 63) and not fast(2 * 67, 64)
    assert not fast(64, 64, xp=strict) and fast(64, 64, (1, team.size)) == (team.size == 1)


@spmd.property_test(case=strategies.spectra, form=forms)
def test_scipy_and_the_matrices_give_the_same(team, case, form):
    X, results = case.space(team), []
    for first in (1, 10**9):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(axis_transform, "FAST", dict.fromkeys(axis_transform.FAST, first))
            T = TruncatedFourier(X, case.modes, form)
            whole_axes = X.partition.active and any(p == 1 for p in case.grid[2:])
            assert any(F.fast for F in T.own) == (bool(T.own) and whole_axes and first == 1 and X.xp is np)
            z = T.forward(X.random(case.seed))
            results.append((z, T.adjoint(T.range.random(case.seed))))
            assert_adjoint(T, case.seed, chain=len(case.modes))
    (z, x), (z_products, x_products) = results
    assert_close(T.range, z, whole(T.range, z_products))
    assert_close(X, x, whole(X, x_products))


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_scipy_takes_any_frequencies_in_any_order(team, dtype, monkeypatch):
    monkeypatch.setattr(axis_transform, "FAST", {"complex128": 1})
    X = ri.Space(ri.Partition(team, (team.size, 1)), (5, 8), dtype, field="real", xp=np)
    for k in ([0], [4], [3, 0, 4, 1], [-1, 5, 1, -8], [7, -7]):
        F, x = AxisTransform(X, 1, np.array(k)), X.random(1)
        assert F.half == (dtype == "float64" and min(k) >= 0 and max(k) <= 4)
        assert_close(F.range, F.forward(x), scipy.fft.fft(whole(X, x))[:, np.array(k)].T)
        assert_honest(F)
        assert_adjoint(F)


def test_along_one_axis_the_transform_of_a_rank_is_its_part_of_the_sum(team):
    X = ri.Space(ri.Partition(team, (1, team.size)), (3, 7), xp=np)
    F = AxisTransform(X, 1, np.array([0, 3, -2]))
    x = X.random(1)
    parts = [to_host(y) for y in wire.pool(team, F.forward(x))]
    assert np.allclose(sum(parts), scipy.fft.fft(whole(X, x))[:, [0, 3, -2]].T, atol=1e-13)
    assert_honest(F)
    assert_adjoint(F)
    assert not verify.dot_test(Planted(F, lambda y: F.adjoint(namespace(y).conj(y))))


@pytest.mark.mpi(min_size=2)
def test_a_gradient_of_the_shared_weight_that_forgets_the_other_batches_is_rejected(team):
    S = SpectralConvolution(ri.Space(ri.Partition(team, (team.size,)), (team.size, 1, 4)), (2,))
    _, J = S.linearize(S.domain.random(1))
    mine = float(team.rank == 0)
    assert not verify.dot_test(Planted(J, lambda dy: (J.adjoint(dy)[0], J.adjoint(mine * dy)[1])), chain=8)
