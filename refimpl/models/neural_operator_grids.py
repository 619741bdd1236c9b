"""The grids of NeuralOperator: the frequencies that its blocks keep, the points that they give, and the padding.

Kept         Of n frequencies that a weight R has, an axis of N < n points holds N: then the middle of R is used, in the order
             of rising frequency, on a full axis, and its beginning on the real one. A block uses no others, so ours owns none.
Put          at the same frequencies, but for the shifts that neural_operator.py tells as a trap: f at the place of f - N % 2
             among N, and where the result has M < N points, those places from M on are cut off.
Resampled    linearly in 1-d, by cubics in 2-d, with the corners aligned; beyond, spectrally, with all the frequencies that both
             grids hold: of an odd number m of points the places 0 .. m // 2 - 1 and the m - m // 2 last ones.
Points       A factor s makes round(s N) of N; padding of p points becomes round(s p), with s the product of all factors.
Reference    Version 2.0.0 of neuraloperator: SpectralConv.forward, resample, DomainPadding.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from numbers import Integral, Real
from typing import NamedTuple

from ..layers import Resampling, SpectralResampling
from ..movement import Restriction
from ..operator import Operator
from ..partition import whole_numbers
from ..space import Space

Factors = float | Sequence[float] | Sequence[Sequence[float]] | None
Sides = tuple[int, ...]


class Kept(NamedTuple):
    """For each axis the rows of the whole R that are used, their frequencies, and those at which their products are put."""

    rows: list[list[int]]
    modes: list[list[int]]
    onto: list[list[int]]


def spectrum(Y: Space, n_modes: Sequence[int], sides: Sides) -> Kept:
    """What a spectral convolution from Y to ``sides`` keeps. ValueError where nothing comes through along an axis."""
    axes = list(zip(n_modes, Y.shape[2:], sides, strict=True))
    kept = [full_axis(*axis) for axis in axes[:-1]]
    kept.append(last_axis(*axes[-1], centred=len(axes) > 1) if Y.dtype.kind == "c" else real_axis(*axes[-1]))
    for (n, N, M), (rows, *_) in zip(axes, kept, strict=True):
        if not rows:
            raise ValueError(
                f"NeuralOperator: of {n} modes on {N} points, none is left on the {M} points of the result"
            )
    return Kept(*map(list, zip(*kept, strict=True)))


def full_axis(n: int, N: int, M: int) -> tuple[list[int], list[int], list[int]]:
    """n frequencies around 0, of an axis of N points, on one of M: f at the place of f - N % 2 among N."""
    few = min(n, N)
    shift = few // 2 + (n - few) // 2 - n // 2  # the middle rows of R are used, which need not have 0 in their middle
    places = {f: (f - N % 2) % N for f in [*range((few + 1) // 2), *range(-(few // 2), 0)]}
    kept = [f for f, place in places.items() if place < M]
    return [(f + shift) % n for f in kept], kept, [places[f] for f in kept]


def real_axis(n: int, N: int, M: int) -> tuple[list[int], list[int], list[int]]:
    """The lowest n // 2 + 1 frequencies, where both N and M points hold them."""
    kept = list(range(min(n, N, M) // 2 + 1))
    return kept, kept, kept


def last_axis(n: int, N: int, M: int, centred: bool) -> tuple[list[int], list[int], list[int]]:
    """n frequencies of complex data, from 0, or ``centred`` from the most negative one."""
    first, places = (n - min(n, N)) // 2, list(range(min(n, N, M)))
    return [first + p for p in places], [p - N // 2 * centred for p in places], places


def resampling(Y: Space, sides: Sides) -> Operator:
    """h at other points."""
    if len(sides) < 3:
        return Resampling(Y, sides, "linear" if len(sides) == 1 else "cubic", align_corners=True)
    few = [min(n, m) for n, m in zip(Y.shape[2:], sides, strict=True)]
    modes = [[*range(m // 2), *range(m // 2 - m, 0)] for m in few]
    if Y.dtype.kind == "f":
        modes[-1] = list(range(few[-1] // 2 + 1))
    return SpectralResampling(Y, sides, modes)


def scaled_sides(
    sides: Sequence[int], n_layers: int, factors: Factors, shapes: Sequence | None
) -> tuple[list[Sides], list[float]]:
    """The points that each block gives, and how many times as many the last one gives as there are ``sides``."""
    d, steps, scale = len(sides), [tuple(sides)], [1.0] * len(sides)
    for row, shape in zip(read_factors(factors, n_layers, d), read_shapes(shapes, n_layers, d), strict=True):
        before = steps[-1]
        steps.append(tuple(round(f * n) for f, n in zip(row, before, strict=True)) if shape is None else shape)
        if shape is not None:
            row = [m / max(n, 1) for m, n in zip(shape, before, strict=True)]
        scale = [s * f for s, f in zip(scale, row, strict=True)]
        if min(steps[-1]) < 1:
            raise ValueError(f"NeuralOperator: expected at least one point after each layer, got {steps[1:]}")
    return steps[1:], scale


def read_factors(given: Factors, n_layers: int, d: int) -> list[list[float]]:
    """A factor for each layer and axis. ValueError where they are others."""
    numbers = (float, Real)  # NumPy's too
    layers: list = [given] * n_layers if given is None or isinstance(given, numbers) else list(given)
    rows: list[list] = [[1.0 if f is None else f] * d if f is None or isinstance(f, numbers) else [*f] for f in layers]
    if len(rows) != n_layers or any(len(row) != d or not all(0 < f < inf for f in row) for row in rows):
        raise ValueError(
            f"NeuralOperator: expected a resolution_scaling_factor > 0, or one for each of {n_layers} layers, "
            f"or {d} for each, got {given}"
        )
    return rows


def read_shapes(given: Sequence | None, n_layers: int, d: int) -> list[Sides | None]:
    """The points after each layer, None where a factor says them. ValueError where they are not whole numbers, one an axis."""
    last_alone = given is None or not isinstance(given, Sequence) or all(isinstance(m, Integral) for m in given)
    shapes = [None] * (n_layers - 1) + [given] if last_alone else list(given or ())
    read = [None if shape is None else whole_numbers("NeuralOperator: output_shape", shape) for shape in shapes]
    if len(read) != n_layers or any(shape is not None and len(shape) != d for shape in read):
        raise ValueError(
            f"NeuralOperator: expected an output_shape of {d} sizes, or one (or None) for each of {n_layers} layers, "
            f"got {given}"
        )
    return read


def padding_widths(X: Space, domain_padding: float | Sequence[float] | None) -> list[int]:
    """How many zeros before and after each space axis of X."""
    sides = X.shape[2:]
    shares = domain_padding if isinstance(domain_padding, Sequence) else [domain_padding or 0.0] * len(sides)
    if len(shares) != len(sides) or not all(0 <= share < inf for share in shares):
        raise ValueError(
            f"NeuralOperator: expected a finite domain_padding >= 0, or one for each of {len(sides)} axes, got {domain_padding}"
        )
    return [round(share * n) for share, n in zip(shares, sides, strict=True)]


def around(widths: Sequence[int]) -> list[tuple[int, int]]:
    """The same before and after each space axis, nothing of batch and channels."""
    return [(0, 0), (0, 0), *((p, p) for p in widths)]


def unpadding(Y: Space, H: Space, widths: Sequence[int]) -> Operator:
    """Y without what is around it, in the blocks of H where it has its sizes."""
    inside = [(p, n - p) for n, (p, _) in zip(Y.shape, around(widths), strict=True)]
    if any(a >= b for a, b in inside[2:]):
        raise ValueError(
            f"NeuralOperator: nothing is left of {Y.shape[2:]} points without {tuple(widths)} on both sides"
        )
    return Restriction(Y, inside, dict(enumerate(H.replace(shape=[b - a for a, b in inside]).blocks)))
