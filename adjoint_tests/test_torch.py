"""Every layer and loss, on any number of ranks, is torch's on the whole tensor: its value and its derivative by autograd.

A row of a table is a layer, and the same layer in torch as a function of the input and a dict of the layer's own weights.
Where torch means something else by a name, the row says so. Without torch, the file is skipped.
"""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from theorems import GRIDS, library_or_skip, relative, whole

import refimpl as ri
from refimpl import layers
from refimpl.arrays import to_host

torch = library_or_skip(ri.wire.world(), "torch")
f = torch.nn.functional
torch.set_num_threads(1)
pytestmark = pytest.mark.filterwarnings("ignore:reduction. 'mean':UserWarning", "ignore:Using padding='same'")

TOLERANCE = 1e-12  # relative to the largest entry, in float64


@dataclass(frozen=True)
class Row:
    """A layer of a tensor of this shape, ``theirs(x, w)`` in torch, the two axes that the grid cuts, and an input."""

    shape: tuple[int, ...]
    ours: Callable
    theirs: Callable
    cut: tuple[int, int] = (0, 2)
    x: Callable = lambda X: X.random(1)

    def space(self, team):
        cuts = [self.cut.index(i) if i in self.cut else None for i in range(len(self.shape))]
        return ri.Space(ri.Partition(team, GRIDS[team.size]), self.shape, cuts=cuts)


def tensor(space, block):
    """The whole tensor in torch, on every rank, and as a leaf of its graph."""
    return torch.tensor(whole(space, block), requires_grad=True)


def assert_equal(space, block, theirs, what):
    assert tuple(theirs.shape) == space.shape, what
    gap = relative(whole(space, block), theirs.detach())
    assert gap <= TOLERANCE, f"{what}: {gap:.1e}"


def with_random_weights(F, seed=10):
    F.parameters = {name: space.random(seed + i) for i, (name, space) in enumerate(F.parameter_spaces.items())}
    return F


# ---- layers ----------------------------------------------------------------------------------------------------------


def along(axis):
    return lambda x, w: f.linear(x.movedim(axis, -1), w["W"], w.get("b")).movedim(-1, axis)


def convolution(sizes, kernel, out=6, bias=True, boundary="zero", **options):
    """A convolution of 1 to 3 space axes; torch's options have the same names."""
    convolve = getattr(f, f"conv{len(sizes)}d")

    def theirs(x, w):
        pads, others = options.get("padding", 0), {k: v for k, v in options.items() if k != "padding"}
        if boundary == "zero":
            return convolve(x, w["W"], w.get("b"), padding=pads, **others)
        around = [n for p in reversed(pads) for n in (p, p)]  # torch's pad begins at the last axis
        mode = {"periodic": "circular"}.get(boundary, boundary)
        return convolve(f.pad(x, around, mode=mode), w["W"], w.get("b"), **others)

    ours = lambda X: layers.Convolution(X, out, kernel, bias=bias, boundary=boundary, **options)
    return Row((3, 4, *sizes), ours, theirs)


def transposed(sizes, kernel, out=6, extra=0, **options):
    """``extra`` is torch's output_padding."""
    convolve = getattr(f, f"conv_transpose{len(sizes)}d")
    theirs = lambda x, w: convolve(x, w["W"], w.get("b"), output_padding=extra, **options)
    return Row((3, 4, *sizes), lambda X: layers.TransposedConvolution(X, out, kernel, extra=extra, **options), theirs)


def cut_channels(form, groups=1, transposed=False):
    """Channels that the second grid axis cuts, with the form that works on them."""
    layer, theirs = (layers.TransposedConvolution, f.conv_transpose2d) if transposed else (layers.Convolution, f.conv2d)

    def ours(X):
        a, b = X.partition.shape
        P = ri.Partition(X.comm, (a, b, 1, 1))
        Z = ri.Space(P, X.shape)
        general = ri.Partition(X.comm, (a, 1, b, 1, 1)), ri.Partition(X.comm, (a, 1, 1, 1))
        channels = general if form == "general" else form
        return layer(Z, 6, 3, stride=2, padding=1, groups=groups, channels=channels)

    return Row((3, 4, 9, 7), ours, lambda x, w: theirs(x, w["W"], w["b"], 2, 1, groups=groups), cut=(0, 1))


def pool(layer, sizes, *arguments):
    """Average: padding counts as zeros (torch: count_include_pad=True, its default)."""
    name = {layers.MaxPool: "max_pool", layers.AvgPool: "avg_pool"}[layer]
    theirs = getattr(f, f"{name}{len(sizes)}d")
    return Row((3, 4, *sizes), lambda X: layer(X, *arguments), lambda x, w: theirs(x, *arguments), cut=(1, 2))


def pointwise(layer, theirs):
    return Row((3, 4, 7), layer, lambda x, w: theirs(x))


def frozen(F):
    """A batch norm that has seen a batch, as it is used after training."""
    F.statistics = F.linearize(F.domain.random(7))[1].new_state
    return F.frozen()


def frozen_in_torch(x, w):
    mean, variance = torch.zeros(4, dtype=x.dtype), torch.ones(4, dtype=x.dtype)
    seen = ri.Space(ri.Partition(ri.wire.mpi().COMM_SELF, (1,)), tuple(x.shape)).random(7)
    f.batch_norm(torch.tensor(seen), mean, variance, training=True)
    return f.batch_norm(x, mean, variance, w["w"], w["b"])


def resampled(sizes, to, mode, **options):
    """torch has a name of "linear" for each number of axes."""
    name = {("linear", 2): "bilinear", ("linear", 3): "trilinear", ("cubic", 2): "bicubic"}.get(
        (mode, len(sizes)), mode
    )
    theirs = lambda x, w: f.interpolate(x, to, mode=name, **options)
    return Row((3, 4, *sizes), lambda X: layers.Interpolation(X, to, mode, **options), theirs)


def tokens(X, count):
    return X.adopt(to_host(X.uniform(1) * count).astype(int).astype(X.dtype))


def general_linear(X):
    a, b = X.partition.shape
    return layers.GeneralLinear(X, 5, ri.Partition(X.comm, (a, 1, b)), ri.Partition(X.comm, (a, 1)))


FORMS = ("all-gather", "reduce-scatter", "general")
LAYERS = {
    "Linear": Row((3, 4, 7), lambda X: layers.Linear(X, 5), along(1)),
    "Linear along the last axis": Row((3, 4, 7), lambda X: layers.Linear(X, 5, axis=-1), along(-1), cut=(0, 1)),
    "Linear without a bias": Row((3, 4, 7), lambda X: layers.Linear(X, 5, bias=False), along(1)),
    "GeneralLinear": Row((4, 7), general_linear, along(-1), cut=(0, 1)),
    "AllGatherLinear": Row((4, 7), lambda X: layers.AllGatherLinear(X, 5, 1), along(-1), cut=(0, 1)),
    "ReduceScatterLinear": Row((4, 7), lambda X: layers.ReduceScatterLinear(X, 5, 1), along(-1), cut=(0, 1)),
    "AllGatherLinear, sharded": Row(
        (4, 7), lambda X: layers.AllGatherLinear(X, 5, 1, sharded=True), along(-1), cut=(0, 1)
    ),
    "ReduceScatterLinear, sharded": Row(
        (4, 7), lambda X: layers.ReduceScatterLinear(X, 5, 1, sharded=True), along(-1), cut=(0, 1)
    ),
    "AllGatherLinear, experts": Row(
        (4, 3, 7), lambda X: layers.AllGatherLinear(X, 5, 1, experts=True), lambda x, w: x @ w["W"].mT + w["b"][:, None]
    ),
    "Embedding": Row(
        (5, 7),
        lambda X: layers.Embedding(X, 6, 3),
        lambda x, w: f.embedding(x.long(), w["W"]),
        (0, 1),
        lambda X: tokens(X, 6),
    ),
    "Flatten": Row((3, 4, 7), layers.Flatten, lambda x, w: x.flatten(1), cut=(0, 1)),
    "Interpolation, 1-d, nearest": resampled((7,), 11, "nearest"),
    "Interpolation, 2-d, nearest": resampled((7, 6), (5, 13), "nearest"),
    "Interpolation, 3-d, nearest": resampled((7, 4, 3), (9, 5, 2), "nearest"),
    "Interpolation, 1-d, linear": resampled((7,), 11, "linear"),
    "Interpolation, 2-d, linear": resampled((7, 6), (5, 13), "linear"),
    "Interpolation, 3-d, linear": resampled((7, 4, 3), (9, 5, 2), "linear"),
    "Interpolation, 2-d, linear, corners": resampled((7, 6), (5, 13), "linear", align_corners=True),
    "Interpolation, 2-d, cubic": resampled((7, 6), (5, 13), "cubic"),
    "Interpolation, 2-d, cubic, corners": resampled((7, 2), (5, 13), "cubic", align_corners=True),
    "ChannelAffine": Row(
        (3, 4, 7), layers.ChannelAffine, lambda x, w: x * w["w"][:, None] + w["b"][:, None], cut=(1, 2)
    ),
    "GridEmbedding": Row(
        (3, 4, 7),
        layers.GridEmbedding,
        lambda x, w: torch.cat([x, (torch.arange(7).double() / 7).expand(3, 1, 7)], 1),
    ),
    "Convolution, 1-d": convolution((11,), 3),
    "Convolution, 1-d, wide and even kernel, no bias": convolution((13,), 6, padding=2, bias=False),
    "Convolution, 1-d, stride, dilation, padding": convolution((17,), 3, stride=2, dilation=2, padding=2),
    "Convolution, 1-d, stride beyond the kernel": convolution((17,), 2, stride=4),
    "Convolution, 2-d": convolution((9, 7), 3, padding=1),
    "Convolution, 2-d, same": convolution((9, 7), (4, 3), padding="same"),
    "Convolution, 2-d, unlike axes": convolution((11, 9), (3, 2), stride=(2, 1), dilation=(1, 2), padding=(1, 0)),
    "Convolution, 2-d, groups": convolution((9, 7), 3, groups=2, padding=1),
    "Convolution, 2-d, a group a channel": convolution((9, 7), 3, out=8, groups=4, stride=2),
    "Convolution, 2-d, periodic": convolution((9, 7), 3, padding=(1, 1), boundary="periodic"),
    "Convolution, 3-d": convolution((7, 5, 6), (3, 2, 3), stride=(2, 1, 2), padding=(1, 0, 1), groups=2),
    "Convolution, 1-d, reflect": convolution((13,), 4, padding=(3,), boundary="reflect", stride=2),
    "Convolution, 2-d, reflect": convolution((9, 7), 3, padding=(2, 1), boundary="reflect"),
    **{f"Convolution, {form}": cut_channels(form) for form in FORMS},
    **{f"Convolution, {form}, groups": cut_channels(form, groups=2) for form in FORMS},
    **{f"TransposedConvolution, {form}": cut_channels(form, transposed=True) for form in FORMS},
    "TransposedConvolution, 1-d": transposed((8,), 3),
    "TransposedConvolution, 1-d, stride, extra": transposed((8,), 3, stride=3, padding=1, extra=2),
    "TransposedConvolution, 2-d": transposed((5, 6), (3, 4), stride=(2, 3), padding=(1, 2), extra=(1, 0)),
    "TransposedConvolution, 2-d, dilation, groups": transposed((5, 6), 3, dilation=2, groups=2, stride=2),
    "TransposedConvolution, 3-d": transposed((4, 3, 5), 2, stride=2, padding=1),
    "MaxPool, 1-d": pool(layers.MaxPool, (11,), 2),
    "MaxPool, 2-d": pool(layers.MaxPool, (11, 8), (3, 2), (2, 1), (1, 0), (1, 2)),
    "MaxPool, 3-d": pool(layers.MaxPool, (7, 5, 6), 3, 2, 1),
    "AvgPool, 1-d": pool(layers.AvgPool, (11,), 2),
    "AvgPool, 2-d": pool(layers.AvgPool, (11, 8), (3, 2), (2, 1), (1, 0)),
    "AvgPool, 3-d": pool(layers.AvgPool, (7, 5, 6), 3, 2, 1),
    "BatchNorm": Row((3, 4, 7), layers.BatchNorm, lambda x, w: f.batch_norm(x, None, None, w["w"], w["b"], True)),
    "BatchNorm, after training": Row((3, 4, 7), lambda X: frozen(layers.BatchNorm(X)), frozen_in_torch, cut=(1, 2)),
    "InstanceNorm": Row((3, 4, 7, 5), layers.InstanceNorm, lambda x, w: f.instance_norm(x, weight=w["w"], bias=w["b"])),
    "InstanceNorm, no weights": Row(
        (3, 4, 7, 5), lambda X: layers.InstanceNorm(X, affine=False), lambda x, w: f.instance_norm(x), cut=(0, 2)
    ),
    "GroupNorm": Row(
        (3, 4, 7, 5), layers.GroupNorm, lambda x, w: f.group_norm(x, 1, weight=w["w"], bias=w["b"]), cut=(1, 2)
    ),
    "LayerNorm": Row((3, 4, 7), layers.LayerNorm, lambda x, w: f.layer_norm(x, x.shape[-1:], w["w"], w["b"])),
    "LayerNorm, two axes": Row(
        (3, 4, 7),
        lambda X: layers.LayerNorm(X, (1, 2)),
        lambda x, w: f.layer_norm(x, x.shape[1:], w["w"], w["b"]),
        cut=(1, 2),
    ),
    "LayerNorm, sharded": Row(
        (3, 4, 7),
        lambda X: layers.LayerNorm(X, sharded=True),
        lambda x, w: f.layer_norm(x, x.shape[-1:], w["w"], w["b"]),
    ),
    # torch's eps is the dtype's round-off unless it is given
    "RMSNorm": Row((3, 4, 7), layers.RMSNorm, lambda x, w: f.rms_norm(x, x.shape[-1:], w["w"], eps=1e-5)),
    "GELU": pointwise(layers.GELU, f.gelu),
    "TanhGELU": pointwise(layers.TanhGELU, lambda x: f.gelu(x, approximate="tanh")),
    "Identity": pointwise(layers.Identity, lambda x: x + 0),
    "ReLU": pointwise(layers.ReLU, f.relu),
    "SiLU": pointwise(layers.SiLU, f.silu),
    "Sigmoid": pointwise(layers.Sigmoid, torch.sigmoid),
    # torch's is x itself from 20 on, where log(1 + e^x) is so within 2e-9; the row's numbers lie below
    "Softplus": pointwise(layers.Softplus, f.softplus),
    "Tanh": pointwise(layers.Tanh, torch.tanh),
    "Softmax": Row((3, 4, 7), layers.Softmax, lambda x, w: f.softmax(x, 1), cut=(1, 2)),
    "Softmax of the last axis": Row((3, 4, 7), lambda X: layers.Softmax(X, -1), lambda x, w: f.softmax(x, -1)),
    "LogSoftmax": Row((3, 4, 7), layers.LogSoftmax, lambda x, w: f.log_softmax(x, 1), cut=(1, 2)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_and_its_derivative_are_those_of_torch(team, name):
    compare(team, LAYERS[name])


def compare(team, row):
    """The value, and the gradients with respect to the input and every weight."""
    X = row.space(team)
    F = with_random_weights(row.ours(X))
    x, dy = row.x(X), F.range.random(2)
    (y, J), leaf = F.linearize(x), tensor(X, x)
    weights = {name: tensor(space, F.parameters[name]) for name, space in F.parameter_spaces.items()}
    value = row.theirs(leaf, weights)
    assert_equal(F.range, y, value, "value")
    dx, gradients = J.adjoint(dy)
    exact = torch.autograd.grad(value, [leaf, *weights.values()], tensor(F.range, dy), materialize_grads=True)
    assert_equal(X, dx, exact[0], "gradient of the input")
    for (name, space), gradient in zip(F.parameter_spaces.items(), exact[1:], strict=True):
        assert_equal(space, gradients[name], gradient, f"gradient of {name}")


OTHER_MEANINGS = {
    "padding that does not count": Row(
        (3, 4, 7),
        lambda X: layers.AvgPool(X, 3, 2, 1),
        lambda x, w: f.avg_pool1d(x, 3, 2, 1, count_include_pad=False),
    ),
    "another eps": Row((3, 4, 7), layers.RMSNorm, lambda x, w: f.rms_norm(x, x.shape[-1:], w["w"])),
    "the approximate GELU": pointwise(layers.GELU, lambda x: f.gelu(x, approximate="tanh")),
    "convolution instead of correlation": Row(
        (3, 4, 7), lambda X: layers.Convolution(X, 6, 3), lambda x, w: f.conv1d(x, w["W"].flip(2), w["b"])
    ),
}


@pytest.mark.parametrize("name", OTHER_MEANINGS)
def test_what_torch_means_by_another_setting_is_told_apart(team, name):
    with pytest.raises(AssertionError, match="value: "):
        compare(team, OTHER_MEANINGS[name])


def test_running_statistics_are_those_of_torch(team):
    X = LAYERS["BatchNorm"].space(team)
    F, mean, variance = layers.BatchNorm(X, momentum=0.3), torch.zeros(4).double(), torch.ones(4).double()
    for seed in (1, 2):
        F.statistics = F.linearize(X.random(seed))[1].new_state
        f.batch_norm(tensor(X, X.random(seed)), mean, variance, training=True, momentum=0.3)
    for name, theirs in {"mean": mean, "variance": variance}.items():
        assert_equal(F.statistics_spaces[name], F.statistics[name], theirs, name)


def test_dropout_has_the_values_of_torchs_and_is_the_identity_after_training(team):
    """Which numbers are dropped differs: by (seed, step, index) here, by the state of a generator in torch."""
    X = ri.Space(ri.Partition(team, GRIDS[team.size]), (40, 30))
    F, ones = layers.Dropout(X, 0.3, seed=1), X.zeros() + 1
    mine, theirs = torch.tensor(whole(X, F(ones))), f.dropout(torch.ones(40, 30).double(), 0.3)
    assert torch.equal(torch.unique(mine), torch.unique(theirs))
    assert abs(float((mine == 0).double().mean()) - 0.3) < 0.05
    x = tensor(X, X.random(1))
    assert_equal(X, F.frozen()(X.random(1)), f.dropout(x, 0.3, training=False), "after training")


# ---- losses: ours(X, reduction), theirs(p, t, reduction), and how targets are made of normal numbers ---------------------


def relative_lp(power):
    def theirs(p, t, reduction):
        size = lambda e: torch.linalg.vector_norm(e.flatten(1), power, dim=1)
        return getattr(torch, reduction)(size(p - t) / size(t))

    return theirs


def relative_h1(p, t, reduction):
    size = lambda e: (e**2).flatten(1).sum(1) + (torch.diff(e, dim=2) ** 2).flatten(1).sum(1)
    return getattr(torch, reduction)(torch.sqrt(size(p - t) / size(t)))


normal = lambda t: t
positive = torch.abs
probability = torch.sigmoid
distribution = lambda t: torch.softmax(t, 1)

LOSSES = {
    "MSE": (layers.MSE, lambda p, t, r: f.mse_loss(p, t, reduction=r), normal, normal),
    "L1": (layers.L1, lambda p, t, r: f.l1_loss(p, t, reduction=r), normal, normal),
    "Huber": (layers.Huber, lambda p, t, r: f.huber_loss(p, t, reduction=r), normal, normal),
    "Huber, 0.3": (
        lambda X, r: layers.Huber(X, r, delta=0.3),
        lambda p, t, r: f.huber_loss(p, t, reduction=r, delta=0.3),
        normal,
        normal,
    ),
    "BCE": (layers.BCE, lambda p, t, r: f.binary_cross_entropy(p, t, reduction=r), probability, probability),
    "BCEWithLogits": (
        layers.BCEWithLogits,
        lambda p, t, r: f.binary_cross_entropy_with_logits(p, t, reduction=r),
        normal,
        probability,
    ),
    # "mean" over all entries, as torch's; the divergence of distributions is its "batchmean"
    "KLDivergence": (layers.KLDivergence, lambda p, t, r: f.kl_div(p, t, reduction=r), normal, distribution),
    # torch's with log_input=True and full=False, its defaults: without log t!
    "PoissonNLL": (layers.PoissonNLL, lambda p, t, r: f.poisson_nll_loss(p, t, reduction=r), normal, positive),
    "CrossEntropy": (layers.CrossEntropy, lambda p, t, r: f.cross_entropy(p, t, reduction=r), normal, distribution),
    # torch has none: its norms and autograd
    "RelativeL2": (layers.RelativeL2, relative_lp(2), normal, normal),
    "RelativeLp, 3": (lambda X, r: layers.RelativeLp(X, r, p=3), relative_lp(3), normal, normal),
    "RelativeH1": (layers.RelativeH1, relative_h1, normal, normal),
}


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_and_its_gradient_are_those_of_torch(team, name, reduction):
    ours, theirs, of_prediction, of_target = LOSSES[name]
    X = Row((3, 4, 7), None, None).space(team)
    p, t = (make(torch.tensor(whole(X, X.random(i)))) for i, make in ((1, of_prediction), (2, of_target)))
    leaf = p.clone().requires_grad_()
    expected = theirs(leaf, t, reduction)
    root = lambda a: to_host(a) if team.rank == 0 else None
    value, J = ours(X, reduction).linearize(X.scatter(root(p)), X.scatter(root(t)))
    assert value == pytest.approx(expected.item(), rel=TOLERANCE)
    assert_equal(X, J.adjoint(1.0), torch.autograd.grad(expected, leaf)[0], "gradient")
