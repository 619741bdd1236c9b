"""A convolution on any partition is that of the whole tensor, and its adjoint is the transposed convolution."""

from dataclasses import dataclass, replace
from math import prod

import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.signal
import strategies
from theorems import GRIDS, Planted, assert_close, assert_derivative_is_honest, same_text, whole

import refimpl as ri
from refimpl import layers, verify, wire
from refimpl.arrays import namespace, to_host
from refimpl.layers.windows import TILE, Window
from refimpl.verify import spmd


@dataclass(frozen=True, repr=False)
class WindowCase(strategies.TensorCase):
    """A tensor (batch, channels, 1 to 3 space axes) and the arguments of a convolution."""

    out: int = 1
    kernel: strategies.Ints = ()
    stride: strategies.Ints = ()
    dilation: strategies.Ints = ()
    padding: tuple[tuple[int, int], ...] = ()
    groups: int = 1
    bias: bool = True
    boundary: str = "zero"
    channels: str = "whole"
    p_out: int = 1
    w_ranks: strategies.Ints | None = None
    y_ranks: strategies.Ints | None = None

    def form(self, team):
        """The argument ``channels``: the case's grid, with p_out for the channels of y, where it is of three partitions."""
        if self.channels != "general":
            return self.channels
        batch, p_in, *space = self.grid
        P_w = ri.Partition(team, (batch, self.p_out, p_in, *space)[batch == 1 :], self.w_ranks)
        return P_w, ri.Partition(team, (batch, self.p_out, *space), self.y_ranks)


@st.composite
def windows(draw, size, forms=("whole",), most=3):
    """Any blocks of all axes that the form may cut, and any window that fits at least once."""
    d, form = draw(st.integers(1, most)), draw(st.sampled_from(forms))
    groups = draw(st.integers(1, 2))
    per_axis = lambda strategy: tuple(draw(strategy) for _ in range(d))
    kernel, stride, dilation = per_axis(st.integers(1, 3)), per_axis(st.integers(1, 3)), per_axis(st.integers(1, 2))
    padding = per_axis(st.tuples(st.integers(0, 3), st.integers(0, 3)))
    least = [max(dl * (k - 1) + 1 - sum(p), 1) for k, dl, p in zip(kernel, dilation, padding, strict=True)]
    boundary = draw(st.sampled_from(["zero", "periodic", "reflect"]))
    if boundary == "reflect":
        least = [max(n, *(w + 1 for w in p)) for n, p in zip(least, padding, strict=True)]
    shape = (draw(st.integers(0, 2)), groups * draw(st.integers(1, 3)), *(n + draw(st.integers(0, 5)) for n in least))
    batch, *space = draw(strategies.grids(size, d + 1 + {"whole": 0, "general": 2}.get(form, 1)))
    p_out = space.pop() if form == "general" else 1
    grid = (batch, *([1] if form == "whole" else []), *space)
    blocks = tuple(draw(strategies.cut_row(n, p)) for n, p in zip(shape, grid, strict=True))
    return WindowCase(
        shape,
        grid,
        draw(strategies.some_ranks(size, prod(grid))),
        None,
        draw(st.none() | st.just(blocks)),
        draw(strategies.REAL),
        draw(strategies.seeds),
        groups * draw(st.integers(1, 3)),
        kernel,
        stride,
        dilation,
        padding,
        groups,
        draw(st.booleans()),
        boundary,
        form,
        p_out,
        draw(strategies.some_ranks(size, prod(grid) * p_out)),
        draw(strategies.some_ranks(size, prod(grid) // grid[1] * p_out)),
    )


def convolution(team, case):
    return layers.Convolution(
        case.space(team),
        case.out,
        case.kernel,
        case.stride,
        case.padding,
        case.dilation,
        case.groups,
        case.bias,
        case.boundary,
        channels=case.form(team),
    )


def narrow(case):
    """Padding that leaves something of the output of one window."""
    most = [d * (k - 1) // 2 for k, d in zip(case.kernel, case.dilation, strict=True)]
    return tuple((min(l, m), min(r, m)) for (l, r), m in zip(case.padding, most, strict=True))


def transposed(team, case):
    extra = tuple(s - 1 for s in case.stride)
    padding = narrow(case)
    X = case.space(team)
    return layers.TransposedConvolution(
        X,
        case.out,
        case.kernel,
        case.stride,
        padding,
        extra,
        case.dilation,
        case.groups,
        case.bias,
        channels=case.form(team),
    )


FORMS = ("all-gather", "reduce-scatter", "general")
PAD_MODES = {"zero": "constant", "periodic": "wrap", "reflect": "reflect"}  # NumPy's names


def with_bias(F, seed=7):
    F.parameters = {name: space.random(seed + i) for i, (name, space) in enumerate(F.parameter_spaces.items())}
    return F


def state(team, F):
    return {name: a.astype("float64") for name, a in wire.share(team, F.state()).items()}


def sequential(x, W, b, stride, dilation, padding, groups, boundary):
    """The definition, window position by window position."""
    x = np.pad(x, [(0, 0), (0, 0), *padding], mode=PAD_MODES[boundary])
    kernel, channels, outs = W.shape[2:], W.shape[1], len(W) // groups
    axes = list(zip(x.shape[2:], kernel, stride, dilation, strict=True))
    y = np.zeros((len(x), len(W), *((n - d * (k - 1) - 1) // s + 1 for n, k, s, d in axes)))
    for j in np.ndindex(*y.shape[2:]):
        at = tuple(slice(s * i, s * i + d * (k - 1) + 1, d) for i, (_, k, s, d) in zip(j, axes, strict=True))
        for g in range(groups):
            seen = x[(slice(None), slice(g * channels, (g + 1) * channels), *at)]
            y[(slice(None), slice(g * outs, (g + 1) * outs), *j)] = np.tensordot(
                seen, W[g * outs : (g + 1) * outs], [range(1, seen.ndim)] * 2
            )
    return y + b.reshape(-1, *[1] * len(kernel))


def sequential_transposed(x, W, b, sizes, stride, dilation, padding, groups):
    """The definition of the transposed convolution: every input adds its window to the output."""
    kernel, outs, channels = W.shape[2:], W.shape[1], len(W) // groups
    y = np.zeros((len(x), groups * outs, *(n + l + r for n, (l, r) in zip(sizes, padding, strict=True))))
    for j in np.ndindex(*x.shape[2:]):
        at = tuple(
            slice(s * i, s * i + d * (k - 1) + 1, d) for i, k, s, d in zip(j, kernel, stride, dilation, strict=True)
        )
        for g in range(groups):
            part = x[(slice(None), slice(g * channels, (g + 1) * channels), *j)]
            y[(slice(None), slice(g * outs, (g + 1) * outs), *at)] += np.tensordot(
                part, W[g * channels : (g + 1) * channels], 1
            )
    inner = tuple(slice(l, l + n) for n, (l, _) in zip(sizes, padding, strict=True))
    return y[(slice(None), slice(None), *inner)] + b.reshape(-1, *[1] * len(kernel))


def assert_is_the_convolution(team, case):
    F = with_bias(convolution(team, case))
    x, w = F.domain.random(case.seed), state(team, F)
    expected = sequential(
        whole(F.domain, x).astype("float64"),
        w["W"],
        w.get("b", np.zeros(case.out)),
        case.stride,
        case.dilation,
        case.padding,
        case.groups,
        case.boundary,
    )
    assert F.range.shape == expected.shape
    assert_close(F.range, F(x), expected)
    assert_derivative_is_honest(F, case.seed)


def assert_is_the_transposed_convolution(team, case):
    F = with_bias(transposed(team, case))
    x, w = F.domain.random(case.seed), state(team, F)
    padding = narrow(case)
    sizes = F.range.shape[2:]
    expected = sequential_transposed(
        whole(F.domain, x).astype("float64"),
        w["W"],
        w.get("b", np.zeros(case.out)),
        sizes,
        case.stride,
        case.dilation,
        padding,
        case.groups,
    )
    assert_close(F.range, F(x), expected)
    assert_derivative_is_honest(F, case.seed)


@spmd.property_test(case=windows)
def test_convolution_is_that_of_the_whole_tensor_and_its_jacobian_has_its_adjoint(team, case):
    assert_is_the_convolution(team, case)


@spmd.property_test(case=windows)
def test_transposed_convolution_has_the_right_size_and_its_jacobian_its_adjoint(team, case):
    assert_is_the_transposed_convolution(team, case)


@spmd.property_test(case=lambda size: windows(size, FORMS, most=2), transposed=st.booleans())
def test_convolutions_of_cut_channels_are_those_of_the_whole_tensor(team, case, transposed):
    (assert_is_the_transposed_convolution if transposed else assert_is_the_convolution)(team, case)


@spmd.property_test(case=windows)
def test_a_transposed_convolution_is_the_adjoint_of_the_convolution_with_its_weights(team, case):
    T = layers.TransposedConvolution(
        case.space(team), case.out, case.kernel, case.stride, 0, 0, case.dilation, bias=False
    )
    C = layers.Convolution(T.range, T.domain.shape[1], case.kernel, case.stride, 0, case.dilation, bias=False)
    C.load_state(T.state())
    if C.range != T.domain:  # blocks of a size that a stride changes are balanced, whatever they were
        return
    x = T.domain.random(case.seed)
    _, J = C.linearize(T.range.zeros())
    assert_close(T.range, T(x), whole(T.range, J.adjoint(x)[0]))


def test_a_window_is_scipys_correlation():
    rng = np.random.default_rng(0)
    for sizes, kernel in (((9,), (3,)), ((7, 8), (2, 3)), ((5, 6, 4), (3, 1, 2))):
        x, w = rng.standard_normal((2, 3, *sizes)), rng.standard_normal((4, 3, *kernel))
        y = Window(kernel, (1,) * len(kernel), (1,) * len(kernel)).apply(x, w)
        for b, o in np.ndindex(2, 4):
            assert np.allclose(y[b, o], scipy.signal.correlate(x[b], w[o], "valid")[0], rtol=1e-12)


def test_tiles_do_not_change_the_result():
    rng, one = np.random.default_rng(1), Window((3, 3), (2, 1), (1, 2))
    x, w = rng.standard_normal((2, 8, 301, 67)), rng.standard_normal((3, 8, 3, 3))
    assert 8 * 9 * 150 * 63 > TILE
    y = one.apply(x, w)
    assert np.allclose(y[:, :, 140:150], one.apply(x[:, :, 280:], w)[:, :, :10], rtol=1e-13)
    dy = rng.standard_normal(y.shape)
    assert np.isclose(np.vdot(y, dy), np.vdot(x, one.adjoint_x(dy, w, x.shape)), rtol=1e-11)
    assert np.isclose(np.vdot(y, dy), np.vdot(w, one.adjoint_w(x, dy)), rtol=1e-11)


def with_cut_channels(team, layer, form, dtype="float64", **options):
    """A layer whose channels are cut where there are ranks for it; in the general form both ways on 4 ranks."""
    grids = {1: (1, 1), 2: (1, 2), 3: (3, 1), 4: (2, 2), 5: (5, 1), 6: (2, 3), 7: (7, 1), 8: (4, 2)}
    p_out, p_in = grids[team.size]
    if form != "general":
        X = ri.Space(ri.Partition(team, (1, team.size, 1)), (2, 4, 9), dtype)
        return layer(X, 6, 3, 2, channels=form, **options)
    X = ri.Space(ri.Partition(team, (1, p_in, 1)), (2, 4, 9), dtype)
    P_w, P_y = ri.Partition(team, (p_out, p_in, 1)), ri.Partition(team, (1, p_out, 1))
    return layer(X, 6, 3, 2, channels=(P_w, P_y), **options)


LAYERS = pytest.mark.parametrize("layer", [layers.Convolution, layers.TransposedConvolution])


@LAYERS
@pytest.mark.parametrize("form", FORMS)
def test_cut_channels_agree_with_the_complex_step_and_their_weights_have_one_owner(team, layer, form):
    F, C = (with_cut_channels(team, layer, form, dtype, seed=5) for dtype in ("float64", "complex128"))
    assert_derivative_is_honest(with_bias(C))
    assert verify.complex_step_gap(F, C, F.domain.random(4)) < 1e-14
    alone = layer(ri.Space(ri.Partition(team, (1, 1, 1)), (2, 4, 9)), 6, 3, 2, seed=5)
    assert np.array_equal(state(team, F)["W"], state(team, alone)["W"])
    for name, space in F.parameter_spaces.items():
        assert sum(wire.pool(team, prod(F.parameters[name].shape))) == prod(space.shape)


@LAYERS
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.mpi(min_size=2)
def test_a_movement_whose_adjoint_knows_one_rank_alone_is_rejected(team, layer, form):
    mine = float(team.rank == 0)
    for name in ("G", "S", "R"):
        F = with_bias(with_cut_channels(team, layer, form))
        A = getattr(F, name)
        setattr(F, name, Planted(A, lambda y, A=A: mine * A.adjoint(mine * y)))
        assert not verify.dot_test(F.linearize(F.domain.random(1))[1])


@LAYERS
def test_complex_spaces_and_the_complex_step(team, layer):
    P = ri.Partition(team, (1, 1, *GRIDS[team.size]))
    X, C = (ri.Space(P, (2, 2, 7, 6), dtype) for dtype in ("float64", "complex128"))
    assert_derivative_is_honest(with_bias(layer(C, 3, 3, 2)))
    assert verify.complex_step_gap(layer(X, 3, 3, 2), layer(C, 3, 3, 2), X.random(4)) < 1e-14


def test_weights_do_not_depend_on_the_partition(team):
    X = ri.Space(ri.Partition(team, (1, 1, team.size)), (2, 2, 9))
    alone = ri.Space(ri.Partition(team, (1, 1, 1)), (2, 2, 9))
    mine, theirs = (wire.share(team, layers.Convolution(S, 3, 3, seed=5).state()) for S in (X, alone))
    assert np.array_equal(mine["W"], theirs["W"]) and np.abs(mine["W"]).max() <= 1 / np.sqrt(6)
    assert mine["W"].shape == (3, 2, 3) and mine["b"].tolist() == [0, 0, 0]


def test_same_padding_keeps_the_size_and_the_blocks(team):
    cuts = [(0, 1)] + [(1 + 2 * i, 3 + 2 * i) for i in range(team.size - 1)]
    X = ri.Space(ri.Partition(team, (1, 1, team.size)), (1, 1, cuts[-1][1]), blocks={2: cuts})
    for kernel in (1, 2, 3, 4):
        assert layers.Convolution(X, 1, kernel, padding="same").range == X
    even = layers.Convolution(X, 1, 1)
    assert even.G.traffic() == ri.Traffic()


@spmd.property_test(case=lambda size: windows(size, most=2))
def test_nothing_travels_but_what_the_windows_of_a_rank_span_and_others_own(team, case):
    reach = [d * (k - 1) + 1 for k, d in zip(case.kernel, case.dilation, strict=True)]
    stride = tuple(min(s, r) for s, r in zip(case.stride, reach, strict=True))  # so that there are no holes
    F = convolution(team, replace(case, boundary="zero", stride=stride))
    X, Y, missing = F.domain, F.range, 0
    for rank in X.partition.ranks:
        batch, channels, *space = Y.boxes[rank]
        spans = [range(*batch), range(X.shape[1])]
        for (first, last), s, r, (left, _), n in zip(space, stride, reach, case.padding, X.shape[2:], strict=True):
            spans.append({s * j - left + i for j in range(first, last) for i in range(r)} & set(range(n)))
        own = prod(len(set(span) & set(range(*row))) for span, row in zip(spans, X.boxes[rank], strict=True))
        missing += prod(map(len, spans)) - own
    assert sum(wire.pool(team, F.G.traffic().forward.bytes)) == missing * X.dtype.itemsize


@pytest.mark.mpi(min_size=2)
def test_a_halo_of_one_fixed_width_is_rejected_where_a_stride_needs_others(team):
    """What comes of reading [start - 1, stop + 1) on every rank, for blocks that are no multiples of the stride."""
    n = 3 * team.size
    X = ri.Space(ri.Partition(team, (1, 1, team.size)), (1, 1, n))
    F, x = layers.Convolution(X, 1, 3, stride=2, padding=1, bias=False), X.random(1)
    fixed = ri.HaloExchange(X, [(0, 0), (0, 0), (1, 1)]).forward(x)
    W = wire.share(team, F.state())["W"]
    wrong = F.K.apply(to_host(fixed), W)[..., : F.range.local_shape[2]]
    same_shape = wire.pool(team, wrong.shape == F.range.local_shape)
    gaps = wire.pool(team, float(np.max(np.abs(wrong - to_host(F(x))[..., : wrong.shape[2]]))))
    assert max(gaps) > 0.01 and any(same_shape)


@LAYERS
def test_wrong_adjoints_are_rejected(team, layer):
    X = ri.Space(ri.Partition(team, (1, 1, *GRIDS[team.size])), (2, 2, 7, 6))
    F = with_bias(layer(X, 3, 3, padding=1))
    _, J = F.linearize(X.random(1))

    def scaled(dy):
        dx, gradients = J.adjoint(dy)
        return dx, gradients | {"W": 1.1 * gradients["W"]}

    def forgotten(dy):
        dx, gradients = J.adjoint(dy)
        return dx, gradients | {"b": 0 * gradients["b"]}

    def correlated(dy):  # correlation instead of its adjoint
        return X.zeros() + namespace(dy).sum(dy, axis=1, keepdims=True), J.adjoint(dy)[1]

    for wrong in (scaled, forgotten, correlated):
        assert not verify.dot_test(Planted(J, wrong))


def test_arguments_that_do_not_fit_are_refused_by_all_ranks_alike(team):
    X = ri.Space(ri.Partition(team, (1, 1, team.size)), (2, 4, 9))
    for text, make in {
        "1 to 3 space axes": lambda: layers.Convolution(X.replace(shape=(2, 4), cuts=(0, 1)), 1, 3),
        "a window that spans (10,) does not fit into (9,)": lambda: layers.Convolution(X, 1, 10),
        "groups that divide 4 channels and 6 outputs, got 4": lambda: layers.Convolution(X, 6, 3, groups=4),
        "got 0": lambda: layers.Convolution(X, 6, 3, groups=0),
        "expected kernel >= 1 for each of 1 axes, got (3, 3)": lambda: layers.Convolution(X, 1, (3, 3)),
        "Convolution: blocks [(-1,": lambda: layers.Convolution(
            ri.HaloExchange(X, [(0, 0), (0, 0), (1, 0)]).range, 1, 3
        ),
        "expected stride >= 1": lambda: layers.Convolution(X, 1, 3, stride=0),
        "whole numbers": lambda: layers.Convolution(X, 1, 2.5),
        'padding="same" needs a stride of 1': lambda: layers.Convolution(X, 1, 3, 2, "same"),
        "expected padding >= 0": lambda: layers.Convolution(X, 1, 3, padding=[-1]),
        'padding of "same", a number': lambda: layers.Convolution(X, 1, 3, padding="valid"),
        "expected boundary=": lambda: layers.Convolution(X, 1, 3, boundary="mirror"),
        'boundary="reflect" needs padding of at most n - 1': lambda: layers.Convolution(
            X, 1, 3, 1, 9, boundary="reflect"
        ),
        "expected channels=": lambda: layers.Convolution(X, 1, 3, channels="gather"),
        "extra must be below the stride": lambda: layers.TransposedConvolution(X, 1, 3, 2, extra=2),
        "sizes would be (-7,)": lambda: layers.TransposedConvolution(X, 1, 3, padding=9),
        "sizes would be (0, 3)": lambda: layers.TransposedConvolution(
            X.replace(shape=(2, 4, 1, 1), cuts=(0, 1, 2, None)), 1, (2, 3), padding=(1, 0)
        ),
    }.items():
        assert text in same_text(team, make)
    if team.size > 1:
        Y = ri.Space(ri.Partition(team, (1, team.size, 1)), (2, 2 * team.size, 9))
        Convolution, one, Z = layers.Convolution, ri.Partition(team, (1, 1, 1)), Y.replace(cuts=(2, 1, 0), blocks={})
        assert f"got (1, {team.size}, 1), (1, 1, 1, 1)" in same_text(
            team, lambda: Convolution(Y, 1, 3, channels=(one, one))
        )
        P_w = ri.Partition(team, (1, team.size, 1))
        assert "grid axis i to cut" in same_text(team, lambda: Convolution(Z, 1, 3, channels=(P_w, one)))
        assert "whole channels" in same_text(team, lambda: layers.Convolution(Y, 1, 3))
