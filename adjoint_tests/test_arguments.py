"""What an argument of a layer is when it is left out, and how far it may go."""

import inspect

import pytest
from theorems import same_text

import refimpl as ri
from refimpl import layers

LINEAR = dict(bias=True, sharded=False, seed=0)
WINDOW = dict(stride=1, padding=0, dilation=1, groups=1, bias=True, seed=0, channels="whole")
MEAN = dict(reduction="mean")
DEFAULTS = {
    "AllGatherLinear": LINEAR | dict(experts=False),
    "AvgPool": dict(stride=None, padding=0, dilation=1),
    "AxisSum": dict(who="AxisSum"),
    "BCE": MEAN,
    "BCEWithLogits": MEAN,
    "BatchNorm": dict(eps=1e-5, momentum=0.1),
    "ChannelAffine": dict(weight=True, bias=True),
    "ChannelMLP": dict(activated=False, seed=0),
    "Convolution": WINDOW | dict(boundary="zero"),
    "CrossEntropy": MEAN | dict(axis=1),
    "Dropout": dict(p=0.5, seed=0),
    "Embedding": dict(cuts=(None, None), sharded=False, seed=0),
    "Flatten": dict(start=1),
    "FourierBlock": dict(seed=0, spectral_seed=0, form=None),
    "GeneralLinear": LINEAR,
    "Graph": dict(outputs=()),
    "GridEmbedding": dict(bounds=None),
    "GroupNorm": dict(eps=1e-5),
    "Huber": MEAN | dict(delta=1.0),
    "InstanceNorm": dict(eps=1e-5, affine=True),
    "Interpolation": dict(mode="nearest", align_corners=False),
    "Jacobian": dict(new_state=None),
    "KLDivergence": MEAN,
    "L1": MEAN,
    "LayerNorm": dict(axes=-1, eps=1e-5, sharded=False),
    "Linear": dict(axis=1, bias=True, seed=0),
    "LogSoftmax": dict(axis=1),
    "MSE": MEAN,
    "MaxPool": dict(stride=None, padding=0, dilation=1),
    "PlumeL2": MEAN | dict(weight=10.0, threshold=0.01),
    "PoissonNLL": MEAN,
    "RMSNorm": dict(axes=-1, eps=1e-5, sharded=False),
    "Recomputed": dict(recompute=True),
    "ReduceScatterLinear": LINEAR | dict(onto=-1, experts=False),
    "RelativeH1": MEAN | dict(spacing=None, boundary="open"),
    "RelativeL2": MEAN,
    "RelativeLp": MEAN | dict(p=2.0),
    "Resampling": dict(mode="nearest", align_corners=False),
    "Softmax": dict(axis=1),
    "SpectralConvolution": dict(out=None, seed=0, onto=None, sides=None, form=None),
    "Tiled": dict(outputs=()),
    "TransposedConvolution": WINDOW | dict(extra=0),
    "TruncatedFourier": dict(form=None),
    "Upsample": dict(mode="nearest", align_corners=False),
}


def defaults(layer):
    parameters = inspect.signature(layer).parameters
    return {name: p.default for name, p in parameters.items() if p.default is not inspect.Parameter.empty}


def test_what_is_left_out_is_what_the_table_says():
    classes = {name: getattr(layers, name) for name in layers.__all__ if inspect.isclass(getattr(layers, name))}
    assert {name: d for name, layer in classes.items() if (d := defaults(layer))} == DEFAULTS


def image(team, *sides):
    return ri.Space(ri.Partition(team, (1,)), (2, 4, *sides))


# of each argument: the layer, the last values that are accepted, and the first that are refused
LIMITS = {
    "Linear, out": (lambda team, v: layers.Linear(image(team, 5), v), [1], [0]),
    "Linear, axis": (lambda team, v: layers.Linear(image(team, 5), 1, axis=v), [-3, 2], [-4, 3]),
    "AllGatherLinear, out": (lambda team, v: layers.AllGatherLinear(image(team), v, 0), [1], [0]),
    "ReduceScatterLinear, onto": (
        lambda team, v: layers.ReduceScatterLinear(
            ri.Space(ri.Partition(team, (1,)), (2, 4), cuts=(None, 0)), 3, 0, onto=v
        ),
        [-2, 1],
        [-3, 2],
    ),
    "Convolution, axes": (
        lambda team, v: layers.Convolution(image(team, *[3] * v), 1, 1),
        [1, 3],
        [0, 4],
    ),
    "Convolution, kernel": (lambda team, v: layers.Convolution(image(team, 5), 1, v), [1, 5], [0, 6]),
    "Convolution, one axis too short": (lambda team, v: layers.Convolution(image(team, 5, v), 1, 3), [3], [2]),
    "Convolution, stride": (lambda team, v: layers.Convolution(image(team, 5), 1, 3, stride=v), [1, 9], [0]),
    "Convolution, dilation": (lambda team, v: layers.Convolution(image(team, 5), 1, 3, dilation=v), [1, 2], [0, 3]),
    "Convolution, padding": (lambda team, v: layers.Convolution(image(team, 5), 1, 3, padding=v), [0, 9], [-1]),
    "Convolution, groups": (lambda team, v: layers.Convolution(image(team, 5), 4, 1, groups=v), [1, 2, 4], [0, 3, 8]),
    "Convolution, reflected padding": (
        lambda team, v: layers.Convolution(image(team, 5), 1, 3, padding=[(0, v)], boundary="reflect"),
        [4],
        [5],
    ),
    "Convolution, stride with padding same": (
        lambda team, v: layers.Convolution(image(team, 5), 1, 3, stride=v, padding="same"),
        [1],
        [2],
    ),
    "TransposedConvolution, extra": (
        lambda team, v: layers.TransposedConvolution(image(team, 5), 1, 3, stride=3, extra=v),
        [0, 2],
        [-1, 3],
    ),
    "TransposedConvolution, padding": (
        lambda team, v: layers.TransposedConvolution(image(team, 5), 1, 3, padding=v),
        [0, 3],
        [-1, 4],
    ),
    "MaxPool, padding": (lambda team, v: layers.MaxPool(image(team, 5), 4, padding=v), [0, 2], [-1, 3]),
    "MaxPool, axes": (lambda team, v: layers.MaxPool(image(team, *[3] * v), 1), [1, 3], [0, 4]),
    "AvgPool, kernel": (lambda team, v: layers.AvgPool(image(team, 5), v), [1, 5], [0, 6]),
    "Interpolation, sizes": (lambda team, v: layers.Interpolation(image(team, 5), v), [1], [0]),
    "Interpolation, points": (lambda team, v: layers.Interpolation(image(team, v), 3), [1], [0]),
    "Interpolation, axes": (lambda team, v: layers.Interpolation(image(team, *[3] * v), 2), [1, 3], [0, 4]),
    "Upsample, factor": (lambda team, v: layers.Upsample(image(team, 5), v), [1], [0]),
    "Embedding, count": (lambda team, v: layers.Embedding(image(team), v, 2), [1], [0]),
    "Embedding, width": (lambda team, v: layers.Embedding(image(team), 2, v), [1], [0]),
    "Softmax, axis": (lambda team, v: layers.Softmax(image(team, 5), v), [-3, 2], [-4, 3]),
    "Softmax, points": (lambda team, v: layers.Softmax(image(team, v), 2), [1], [0]),
    "LayerNorm, axis": (lambda team, v: layers.LayerNorm(image(team, 5), v), [-3, 2], [-4, 3, (), (1, 1), (0, -3)]),
    "LayerNorm, points": (lambda team, v: layers.LayerNorm(image(team, v)), [1], [0]),
    "LayerNorm, eps": (lambda team, v: layers.LayerNorm(image(team, 5), eps=v), [0, 1e-5], [-1e-9, float("nan"), "a"]),
    "BatchNorm, momentum": (lambda team, v: layers.BatchNorm(image(team, 5), momentum=v), [0, 1], [-0.1, 1.1, "a"]),
    "Residual, layer": (lambda team, v: layers.Residual(v(image(team, 5))), [layers.GELU], [lambda X: X]),
    "Dropout, p": (lambda team, v: layers.Dropout(image(team), v), [0, 0.999], [-1e-9, 1]),
    "Huber, delta": (lambda team, v: layers.Huber(image(team), delta=v), [1e-9], [0]),
    "RelativeLp, p": (lambda team, v: layers.RelativeLp(image(team), p=v), [1], [0.99]),
    "RelativeH1, spacing": (lambda team, v: layers.RelativeH1(image(team, 5), spacing=[v]), [1e-9], [0]),
    "CrossEntropy, axis": (lambda team, v: layers.CrossEntropy(image(team, 5), axis=v), [-3, 2], [-4, 3]),
    "SpectralConvolution, modes": (
        lambda team, v: layers.SpectralConvolution(image(team, 6, 6), v),
        [(1, 1), (3, 4)],
        [(0, 1), (1, 0), (4, 4), (3, 5)],
    ),
    "SpectralConvolution, out": (lambda team, v: layers.SpectralConvolution(image(team, 6), (2,), v), [1], []),
    "ChannelMLP, width": (lambda team, v: layers.ChannelMLP(image(team, 6), {"out": v}), [1], [0]),
    "Flatten, start": (lambda team, v: layers.Flatten(image(team, 6), v), [-3, 2], [-4, 3]),
}


# whom a layer asks, and who speaks in its place
ASKED = {"CrossEntropy": "LogSoftmax", "SpectralConvolution": "TruncatedFourier", "ChannelMLP": "Linear"}


@pytest.mark.parametrize("name", LIMITS)
def test_an_argument_may_go_so_far_and_no_further(team, name):
    make, accepted, refused = LIMITS[name]
    for value in accepted:
        make(team, value)
    for value in refused:
        who = name.partition(",")[0]
        assert ASKED.get(who, who) in same_text(team, lambda value=value: make(team, value)), f"{name} = {value}"
