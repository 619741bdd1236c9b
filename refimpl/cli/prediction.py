"""What one rank of a network needs: memory, messages, work and time, from sizes alone.

A model      is made on a communicator that only knows a rank and how many there are (verify/lone_rank.py): blocks, owned
             weights and traffic are the model's own; what is kept and computed follows from its layers, as listed here.
Memory       data: input and target; weights, as many gradients, and twice as many moments; kept: what a linearisation holds
             until its adjoint has run; working: the most that the adjoint of one layer has beside it; update: the gradients,
             and what clipping or a step of the optimizer makes beside them, when all kept is gone. A training step needs
             ``step``, a forward pass alone ``forward``. Python, its libraries and the matrices of the transforms
             (axis_transform.py) come on top.
Work         flops of matrix products, also where scipy.fft is in their place; numbers that go through a GELU or its slope, each
             as one.
Time         flops / rate + numbers x time of a GELU + messages. A tree of p ranks has ceil(log2 p) rounds of the whole message;
             an all-gather or a reduce-scatter as many latencies, and the bytes of the reduce-scatter: what a rank passes on, on
             average, however unequal the owned blocks are. A repartition has a latency for each message, and the bytes that the
             rank sends or receives, whichever are more. Nothing overlaps. Ranks that share a core take turns, also
             with messages, which are copies there.
Trap         A new layer needs its entry here. One that has none is refused, not taken for nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, log2, prod
from typing import Any

from ..layers import ChannelAffine, GridEmbedding, Layer, Linear, Recomputed, Tiled
from ..layers.axis_transform import AxisTransform
from ..layers.compose import Graph
from ..layers.fourier import SpectralConvolution, TruncatedFourier
from ..layers.fourier_forms import FORMS
from ..layers.point_maps import PointMap
from ..layers.pointwise import Pointwise
from ..layers.tiles import TILE
from ..movement import Broadcast, Repartition
from ..operator import Composition, Operator, Traffic
from ..space import Space
from .machines import Machine

TILES = 6  # of TILE numbers: what a layer that works tile by tile has in hand at a time


@dataclass(frozen=True)
class Work:
    """What a rank computes in one pass."""

    flops: float = 0
    numbers: float = 0

    def __add__(self, other: Work) -> Work:
        return Work(self.flops + other.flops, self.numbers + other.numbers)

    def __rmul__(self, times: float) -> Work:
        return Work(times * self.flops, times * self.numbers)


@dataclass(frozen=True)
class Memory:
    """Bytes of one rank."""

    weights: int
    kept: int
    working: int
    update: int
    forward: int
    data: int

    @property
    def step(self) -> int:
        """The most at any moment of a training step: in the adjoint, or in the optimizer's update."""
        adjoint = self.kept + self.working + self.weights  # as many gradients
        return self.data + 3 * self.weights + max(adjoint, self.update)


@dataclass(frozen=True)
class Prediction:
    """One rank's linearization and adjoint: what it sends, computes, and how long that takes.

    ``spectral``: bytes that the truncated transforms send, each way, on average over the ranks; ``forms``: what they would send
    if all had this form (layers/fourier_forms.py); ``chosen``: the forms that they have.
    """

    memory: Memory
    traffic: Traffic
    spectral: float
    forms: dict[str, float]
    chosen: tuple[str, ...]
    work: tuple[Work, Work]
    forward: float
    adjoint: float


def predict(model: Layer, machine: Machine) -> Prediction:
    """What this rank of ``model`` needs on ``machine``. ValueError for a layer of which nothing is known."""
    both, dtype = work(model), model.domain.dtype
    found, ranks = list(transforms(model)), model.domain.partition.size
    spectral = sum(T.volumes[T.form] for T in found) / ranks
    forms = {form: sum(T.volumes[form] for T in found) / ranks for form in FORMS}
    chosen = tuple(form for form in FORMS if any(T.form == form for T in found))
    rate, gelu = machine.of(machine.flops, dtype), machine.of(machine.gelu, dtype)
    sending = sum(message_time(A, machine) for A in movements(model))
    turns = machine.turns(ranks)
    forward, adjoint = (turns * (w.flops / rate + w.numbers * gelu + sending) for w in both)
    return Prediction(memory(model), model.traffic(), spectral, forms, chosen, both, forward, adjoint)


# ---- messages --------------------------------------------------------------------------------------------------------


def movements(layer: Layer) -> Iterator[Operator]:
    """The data movements of a layer: its forward and its adjoint do each once, this way or as its adjoint."""
    if isinstance(layer, Linear):
        yield from layer.broadcasts.values()
    elif isinstance(layer, ChannelAffine):
        yield from len(layer.parameter_spaces) * parts(layer.spread.owned)
    elif isinstance(layer, SpectralConvolution):
        all_maps = (*maps(layer.down), layer.share, *maps(layer.up))
        yield from (A for A in all_maps if not isinstance(A, AxisTransform))
    elif isinstance(layer, Graph):
        for inner in layer.layers.values():
            yield from movements(inner)
    elif not isinstance(layer, Pointwise | GridEmbedding):
        raise unknown(layer)


def transforms(layer: Layer) -> Iterator[TruncatedFourier]:
    """The truncated transforms of a layer: of a convolution, there and back."""
    if isinstance(layer, SpectralConvolution):
        yield from (layer.down, layer.up)
    elif isinstance(layer, Graph):
        for inner in layer.layers.values():
            yield from transforms(inner)


def maps(T: TruncatedFourier) -> list[Operator]:
    """The transforms along one axis and the data movements of which T is made."""
    return [*T.own, *parts(T.collect)]


def parts(A: Operator) -> list[Operator]:
    """The maps of a composition, in the order in which they are done."""
    return [*parts(A.B), *parts(A.A)] if isinstance(A, Composition) else [A]


def message_time(A: Operator, machine: Machine) -> float:
    """The time of a movement, one way or the other, for the rank in the middle of it."""
    if isinstance(A, Repartition):  # what is sent one way is received the other: the larger counts
        there, back = A.traffic().forward, A.traffic().adjoint
        return max(there.messages, back.messages) * machine.latency + max(there.bytes, back.bytes) / machine.bandwidth
    if not isinstance(A, Broadcast):
        sent = A.traffic().forward
        return rounds(sent.messages + 1) * machine.latency + sent.bytes / machine.bandwidth
    word, boxes = A.domain.dtype.itemsize, A.domain.boxes
    trees = [(len({root, *copies}), word * prod(b - a for a, b in boxes[root])) for root, copies in A.mine]
    return sum(rounds(p) * (machine.latency + n / machine.bandwidth) for p, n in trees if n)


def rounds(p: int) -> int:
    """How often the ranks that know something can double until all p do."""
    return ceil(log2(p))


# ---- work ------------------------------------------------------------------------------------------------------------


def work(layer: Layer) -> tuple[Work, Work]:
    """What ``linearize`` and the Jacobian's adjoint compute on this rank."""
    n = numbers(layer.domain)
    if isinstance(layer, Linear):
        product = Work(2 * layer.domain.shape[layer.axis] * numbers(layer.range))
        return product, 2 * product
    if isinstance(layer, Pointwise):
        return Work(0, 2 * n), Work()
    if isinstance(layer, ChannelAffine):
        return Work(2 * n), Work(4 * n)
    if isinstance(layer, GridEmbedding):
        return Work(), Work()
    if isinstance(layer, SpectralConvolution):
        transforms = transform(layer.down) + transform(layer.up)
        mix = Work(8 * layer.range.shape[1] * numbers(layer.down.range))
        return transforms + mix, transforms + 2 * mix
    if isinstance(layer, Tiled) and layer.in_tiles:
        return work_in_tiles(layer)
    if isinstance(layer, Graph):
        parts = [work(inner) for inner in layer.layers.values()]
        again = [made_again(F) for F in before_recomputed(layer)]
        return sum((a for a, _ in parts), Work()), sum(again + [b for _, b in parts], Work())
    raise unknown(layer)


def work_in_tiles(F: Tiled) -> tuple[Work, Work]:
    """The adjoint makes again what its layers read: each S x of its modes, and the results of others."""
    maps = {name: work_at_points(m) for name, m in F.maps.items()}
    values = [value for value, _ in maps.values()] + [work(S)[0] for S in F.convolutions.values()]
    adjoints = [adjoint for _, adjoint in maps.values()] + [work(S)[1] for S in F.convolutions.values()]
    again = [maps[name][0] for name in maps if name in F.read] + list(map(transform, ups(F)))
    return sum(values, Work()), sum(adjoints + again, Work())


def work_at_points(m: PointMap) -> tuple[Work, Work]:
    """A function keeps no slope there: the adjoint makes it."""
    return 2 * (Work(0, numbers(m.layer.domain)),) if isinstance(m.layer, Pointwise) else work(m.layer)


def made_again(F: Tiled) -> Work:
    """A value of which the modes are kept."""
    return sum((work_at_points(m)[0] for m in F.maps.values()), sum(map(transform, ups(F)), Work()))


def ups(F: Tiled) -> list[TruncatedFourier]:
    """The transforms back to the points."""
    return [S.up for S in F.convolutions.values()]


def before_recomputed(layer: Layer) -> list[Tiled]:
    """The layers from which the next one's input is made again."""
    return list(layer.recomputed.values()) if isinstance(layer, Recomputed) else []


def transform(T: TruncatedFourier) -> Work:
    """The products with the matrix of each axis: the first is with real numbers where the domain is real."""
    products = [A for A in maps(T) if isinstance(A, AxisTransform)]
    return Work(sum((4 if F.real else 8) * len(F.k) * numbers(F.domain) for F in products))


# ---- memory ----------------------------------------------------------------------------------------------------------


def memory(model: Layer) -> Memory:
    """A training step's and a forward pass's memory on this rank, with the input, and a target like the output."""
    weights = size_of(model.parameters.values())
    x, y, parts = nbytes(model.domain), nbytes(model.range), list(flattened(model))
    kept, again = sum(kept_by(layer) for layer in parts), before_recomputed(model)
    loss = 3 * y  # y, y - target and the cotangent; x is counted as data
    return Memory(
        weights=weights,
        kept=kept - sum(nbytes(F.range) for F in again) - (x if isinstance(parts[0], Linear | Tiled) else 0) + loss,
        working=max(working(layer)[1] for layer in parts) + max(map(frequencies, again), default=0),
        update=2 * weights,  # clipped gradients beside the old ones, or new weights beside gradients
        forward=weights + x + max(working(layer)[0] for layer in parts),
        data=x + y,
    )


def flattened(layer: Layer) -> Iterator[Layer]:
    """The layers that keep something of their own, in order."""
    if isinstance(layer, Graph) and not (isinstance(layer, Tiled) and layer.in_tiles):
        for inner in layer.layers.values():
            yield from flattened(inner)
    else:
        yield layer


def kept_by(layer: Layer) -> int:
    """What a linearisation holds: the input of a layer is the output of the one before, and is counted here alone."""
    if isinstance(layer, Linear):
        return nbytes(layer.domain)
    if isinstance(layer, ChannelAffine):
        return nbytes(layer.domain) if "w" in layer.parameters else 0
    if isinstance(layer, Pointwise):
        return nbytes(layer.range)  # its slope
    if isinstance(layer, GridEmbedding):
        return nbytes(layer.range) - nbytes(layer.domain)  # the coordinates
    if isinstance(layer, SpectralConvolution):
        return nbytes(layer.share.range) + nbytes(layer.down.range)
    if isinstance(layer, Tiled):
        return nbytes(layer.domain) + sum(modes_of(S) for S in layer.convolutions.values())
    raise unknown(layer)


def modes_of(S: SpectralConvolution) -> int:
    """What a convolution in tiles keeps."""
    return weight_copy(S) + nbytes(S.down.range) + nbytes(S.up.collect.domain)


def working(layer: Layer) -> tuple[int, int]:
    """The most that value and adjoint have at a time: arguments and results, and what they make on the way."""
    x, y = nbytes(layer.domain), nbytes(layer.range)
    if isinstance(layer, Pointwise | ChannelAffine):
        return x + 2 * y, 2 * y
    if isinstance(layer, Linear | GridEmbedding):
        return x + y, x + y
    if isinstance(layer, SpectralConvolution):  # beside a Linear, whose result waits
        most = x + 2 * y + nbytes(layer.share.range) + max(passing(maps(T)) for T in (layer.down, layer.up))
        return most, most
    if isinstance(layer, Tiled):
        return working_in_tiles(layer)
    raise unknown(layer)


def working_in_tiles(F: Tiled) -> tuple[int, int]:
    """The value: all modes, then the result. The adjoint: the result and the modes, then without its argument the modes."""
    x, y, tile, found = nbytes(F.domain), nbytes(F.range), tiles(F.domain, F.channels), F.convolutions.values()
    last = frequencies(F)
    others = max((axes_but_the_last(S) for S in found), default=0)
    inner = max((passing(parts(S.up.collect)) + 2 * modes_of(S) for S in found), default=0)
    value = max(3 * last, last + others, y + last + tile, inner)
    return x + value, x + max(y + 2 * last + tile, y + last + others, last + max(inner, others))


def frequencies(F: Tiled) -> int:
    """The kept ones of the last axis, with all points of the others."""
    return sum(nbytes(T.own[0].range) for T in ups(F))


def axes_but_the_last(S: SpectralConvolution) -> int:
    """The most that these transforms have in hand: argument and result."""
    sizes = [nbytes(A.range) for A in S.up.own[1:]]
    return max((a + b for a, b in pairwise([*sizes, 0])), default=0)


def passing(maps: Sequence[Operator]) -> int:
    """The most that maps have in hand, one after the other: argument and result, and both once more as messages."""
    return max((nbytes(A.domain) + nbytes(A.range)) * (1 + isinstance(A, Repartition)) for A in maps)


def weight_copy(S: SpectralConvolution) -> int:
    """The bytes of R on a rank that does not own it, or that others own with it."""
    return nbytes(S.share.range) if isinstance(S.share, Broadcast) else 0


def tiles(X: Space, channels: int = 1) -> int:
    """The bytes in hand of a layer that works tile by tile on ``X``, or on as many points with more channels."""
    points = numbers(X) // max(X.shape[1], 1)
    return TILES * min(TILE, points * max(channels, X.shape[1])) * X.dtype.itemsize


def numbers(X: Space) -> int:
    return prod(X.local_shape) if X.partition.active else 0


def nbytes(X: Space) -> int:
    """The bytes of this rank's block."""
    return numbers(X) * X.dtype.itemsize


def size_of(blocks: Any) -> int:
    return sum(prod(block.shape) * block.dtype.itemsize for block in blocks)


def unknown(layer: Layer) -> ValueError:
    return ValueError(f"scaling: what a layer {type(layer).__name__} needs is not known; add it to cli/prediction.py")
