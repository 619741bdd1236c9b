"""What one rank of a network needs: memory, messages, work and time, from sizes alone.

A model      is made on a communicator that only knows a rank and how many there are (verify/lone_rank.py): blocks, owned
             weights and traffic are the model's own; what is kept and computed follows from its layers, as listed here.
Memory       data: input and target; weights, as many gradients, and twice as many moments; kept: what a linearisation holds
             until its adjoint has run; working: the most that the adjoint of one layer has beside it; update: the gradients,
             and what clipping or a step of the optimizer makes beside them, when all kept is gone. A training step needs
             ``step``, a forward pass alone ``forward``. Python and its libraries come on top.
Work         flops of matrix products, also where scipy.fft is in their place; numbers that go through a GELU or its slope, each
             as one.
Time         flops / rate + numbers x time of a GELU + messages. A tree of p ranks has ceil(log2 p) rounds of the whole message;
             an all-gather or a reduce-scatter as many latencies, and the bytes of the reduce-scatter: what a rank passes on, on
             average, however unequal the owned blocks are. A repartition has a latency for each message, and the bytes that the
             rank sends or receives, whichever are more. Nothing overlaps.
Trap         A new layer needs its entry here. One that has none is refused, not taken for nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, log2, prod
from typing import Any

from ..layers import ChannelMLP, FourierBlock, Layer, Linear
from ..layers.axis_transform import AxisTransform
from ..layers.compose import Graph
from ..layers.fourier import SpectralConvolution, TruncatedFourier
from ..layers.fourier_forms import FORMS
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
    forward, adjoint = (w.flops / rate + w.numbers * gelu + sending for w in both)
    return Prediction(memory(model), model.traffic(), spectral, forms, chosen, both, forward, adjoint)


# ---- messages --------------------------------------------------------------------------------------------------------


def movements(layer: Layer) -> Iterator[Operator]:
    """The data movements of a layer: its forward and its adjoint do each once, this way or as its adjoint."""
    if isinstance(layer, Linear):
        yield from layer.broadcasts.values()
    elif isinstance(layer, SpectralConvolution):
        all_maps = (*maps(layer.down), layer.share, *maps(layer.up))
        yield from (A for A in all_maps if not isinstance(A, AxisTransform))
    elif isinstance(layer, Graph):
        for inner in layer.layers.values():
            yield from movements(inner)
    elif not isinstance(layer, Pointwise):
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
    if isinstance(layer, ChannelMLP):  # the adjoint makes everything again, then W* du and du a*
        products = sum((work(linear)[0] for linear in layer.linears), Work())
        activated = layer.linears if layer.activated else layer.linears[:-1]
        gelus = Work(0, sum(numbers(linear.range) for linear in activated))
        return products + gelus, 3 * products + 2 * gelus
    if (
        isinstance(layer, FourierBlock) and layer.in_tiles
    ):  # the adjoint makes u again, then A* du, du h* and those of S
        A, (S, S_adjoint), gelu = work(layer.linear)[0], work(layer.spectral), Work(0, n)
        return A + S + gelu, 3 * A + transform(layer.spectral.up) + S_adjoint + gelu
    if isinstance(layer, SpectralConvolution):
        transforms = transform(layer.down) + transform(layer.up)
        mix = Work(8 * layer.range.shape[1] * numbers(layer.down.range))
        return transforms + mix, transforms + 2 * mix
    if isinstance(layer, Graph):
        parts = [work(inner) for inner in layer.layers.values()]
        return sum((a for a, _ in parts), Work()), sum((b for _, b in parts), Work())
    raise unknown(layer)


def transform(T: TruncatedFourier) -> Work:
    """The products with the matrix of each axis: the first is with real numbers where the domain is real."""
    products = [A for A in maps(T) if isinstance(A, AxisTransform)]
    return Work(sum((4 if F.real else 8) * len(F.k) * numbers(F.domain) for F in products))


# ---- memory ----------------------------------------------------------------------------------------------------------


def memory(model: Layer) -> Memory:
    """A training step's and a forward pass's memory on this rank, with the input, and a target like the output."""
    weights = size_of(model.parameters.values())
    x, y, parts = nbytes(model.domain), nbytes(model.range), list(flattened(model))
    kept = sum(kept_by(layer) for layer in parts) - (kept_by(parts[0]) and x)  # x is counted as data
    loss = 3 * y  # y, y - target and the cotangent
    return Memory(
        weights=weights,
        kept=kept + loss,
        working=max(working(layer)[1] for layer in parts),
        update=2 * weights,  # clipped gradients beside the old ones, or new weights beside gradients
        forward=weights + x + max(working(layer)[0] for layer in parts),
        data=x + y,
    )


def flattened(layer: Layer) -> Iterator[Layer]:
    """The layers that keep something of their own, in order."""
    in_tiles = isinstance(layer, ChannelMLP) or (isinstance(layer, FourierBlock) and layer.in_tiles)
    if isinstance(layer, Graph) and not in_tiles:
        for inner in layer.layers.values():
            yield from flattened(inner)
    else:
        yield layer


def kept_by(layer: Layer) -> int:
    """What a linearisation holds: the input of a layer is the output of the one before, and is counted here alone."""
    if isinstance(layer, Linear | ChannelMLP):
        return nbytes(layer.domain)
    if isinstance(layer, Pointwise):
        return nbytes(layer.range)  # its slope
    if isinstance(layer, SpectralConvolution):
        return nbytes(layer.share.range) + nbytes(layer.down.range)
    if isinstance(layer, FourierBlock):
        S = layer.spectral
        return nbytes(layer.domain) + weight_copy(S) + nbytes(S.down.range) + nbytes(S.up.collect.domain)
    raise unknown(layer)


def working(layer: Layer) -> tuple[int, int]:
    """The most that value and adjoint have at a time: arguments and results, and what they make on the way."""
    x, y = nbytes(layer.domain), nbytes(layer.range)
    if isinstance(layer, Pointwise):
        return x + 2 * y, 2 * y
    if isinstance(layer, Linear):
        return x + y, x + y
    if isinstance(layer, ChannelMLP):
        tile = tiles(layer.domain, max(linear.range.shape[1] for linear in layer.linears))
        return x + y + tile, x + y + tile
    if isinstance(layer, FourierBlock):
        S, (last, *others) = layer.spectral, [nbytes(F.range) for F in layer.spectral.up.own]
        inner = max([passing(parts(S.up.collect)), *(a + b for a, b in zip(others, [*others[1:], 0], strict=False))])
        modes, R, tile = nbytes(S.down.range) + nbytes(S.up.collect.domain), weight_copy(S), tiles(layer.domain)
        value = max(3 * last, last + max(others, default=0), y + last + tile, inner + 2 * modes + R)
        adjoint = 2 * y + max(2 * last + tile, last + inner + 2 * modes + R, 2 * last + max(others, default=0))
        return x + value, adjoint
    if isinstance(layer, SpectralConvolution):  # beside a Linear, whose result waits
        most = x + 2 * y + nbytes(layer.share.range) + max(passing(maps(T)) for T in (layer.down, layer.up))
        return most, most
    raise unknown(layer)


def passing(maps: Sequence[Operator]) -> int:
    """The most that maps have in hand, one after the other: argument and result, and both once more as messages."""
    return max((nbytes(A.domain) + nbytes(A.range)) * (1 + isinstance(A, Repartition)) for A in maps)


def weight_copy(S: SpectralConvolution) -> int:
    """The bytes of R on a rank that does not own it, or that others own with it."""
    return nbytes(S.share.range) if S.shared else 0


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
