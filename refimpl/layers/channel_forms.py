"""Channel forms: how the channels of a convolution are cut, and what G, S and R follow from it.

Definition   The products z[b, o, j] = sum over c, k of W[o, c, k] x[b, c, ..] of a convolution are shared out over a grid of
             ranks: those of one rank have some outputs o, and some channels c are summed. A form says which:
             "whole"           all outputs and all channels on every rank: only batch and space are cut
             "all-gather"      some outputs, all channels: x is gathered along the grid axes that cut its channels, y stays cut
             "reduce-scatter"  all outputs, some channels: x stays cut, the products are added up and scattered
             (P_w, P_y)        general: some outputs and some channels. x is on P_x (batch, p_in, space..), the products on
                               P_w (batch, p_out, p_in, space..), where ones in front may be left out, and y on
                               P_y (batch, p_out, space..). Their ranks may be the same, overlap or be disjoint.
Spaces       U: the inputs as a rank uses them, in the box that its windows reach.   W: the kernel as it is used.   Z: the
             products.   G : X -> U and R* : Y -> Z are copies of boxes from whoever owns them (BoxCopy); so R adds up the
             products of all ranks that share an output. S is that of bilinear.py, from one owner of each block.
Groups       With several groups of channels no sum crosses a group, so groups are not cut: each rank has whole groups, their
             inputs and their outputs, and R has nothing to add.
Transposed   The adjoint of a convolution from Y to X: to gather its x, that convolution scatters, and the other way round.
Why          y_o = sum over c of W_oc x_c in blocks, for every cut of the rows and of the columns of W.
Cost         One packed message to each rank that uses a part of the own block, both ways.
Trap         ``groups`` given as it is to the local convolution of a rank that has a part of the channels: another meaning.
Reference    Hewett and Grady, arXiv 2006.03108 (the general convolution, on three partitions).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

from ..movement.boxes import BoxCopy
from ..operator import Operator
from ..partition import Partition, blocks
from ..space import Space
from .bilinear import Kernel, Unmoved
from .owners import from_owners
from .windows import Window

Channels = str | tuple[Partition, Partition]
Row = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Work:
    """A grid of ranks, and which of its axes cut batch and space, and the rows and columns of W: its outputs and inputs."""

    partition: Partition
    cuts: tuple[tuple[int, ...], ...]
    rows: tuple[int, ...] = ()
    columns: tuple[int, ...] = ()

    @property
    def transposed(self) -> Work:
        """The same for the convolution whose adjoint is wanted."""
        return replace(self, rows=self.columns, columns=self.rows)


def read_channels(who: object, X: Space, channels: Channels) -> tuple[Work, Partition]:
    """The work of a form, and the partition of y. ValueError where there is no such form, or X does not fit."""
    name, P = type(who).__name__, X.partition
    if isinstance(channels, tuple) and len(channels) == 2 and all(isinstance(P, Partition) for P in channels):
        return read_partitions(name, X, *channels), channels[1]
    if channels not in ("whole", "all-gather", "reduce-scatter"):
        forms = '"whole", "all-gather", "reduce-scatter" or two partitions (P_w, P_y)'
        raise ValueError(f"{name}: expected channels={forms}, got {channels!r}")
    if channels == "whole" and not X.is_whole(1):
        raise ValueError(
            f"{name}: expected whole channels, got {X!r}; or say with channels= how cut ones are worked on"
        )
    gathers, cut = channels == "all-gather", X.cuts[1]
    return Work(P, X.cuts, rows=cut if gathers else (), columns=() if gathers else cut), P


def read_partitions(name: str, X: Space, P_w: Partition, P_y: Partition) -> Work:
    """The work on P_w. ValueError where the grids do not fit together, or X is not cut as its grid says."""
    P_x = X.partition
    P_w = P_w.reshape((1,) * (X.ndim + 1 - len(P_w.shape)) + P_w.shape)
    batch, p_out, p_in, *space = P_w.shape
    expected = [(batch, p_in, *space), (batch, p_out, *space)]
    if [P_x.shape, P_y.shape] != expected or not P_x.comm == P_w.comm == P_y.comm:
        raise ValueError(
            f"{name}: expected grids (batch, p_in, space..), (batch, p_out, p_in, space..) and (batch, p_out, space..) for x, "
            f"W and y on one communicator, got {P_x.shape}, {P_w.shape} and {P_y.shape}"
        )
    if X.cuts != tuple((i,) for i in range(X.ndim)):
        raise ValueError(f"{name}: expected grid axis i to cut tensor axis i of {X!r}, got cuts {X.cuts}")
    return Work(P_w, ((0,), (), *((3 + i,) for i in range(len(space)))), rows=(1,), columns=(2,))


def around(
    inputs: Space, outputs: Space, work: Work, window: Window, reads: Mapping[int, Row], boundary: str
) -> tuple[Kernel, Operator, Operator, Operator]:
    """K, G, S and R of the convolution from ``inputs`` to ``outputs``, whose windows reach ``reads`` on each space axis."""
    W, U, Z = used(inputs, outputs, work, window, reads)
    own_groups = Z.local_shape[1] * window.groups // outputs.shape[1]  # where there are several, on this rank
    K = replace(window, groups=max(own_groups, 1)) if window.groups > 1 else window
    return K, copied(inputs, U, boundary), from_owners(W, 0, sharded=False), copied(outputs, Z, "zero").H


def used(
    inputs: Space, outputs: Space, work: Work, window: Window, reads: Mapping[int, Row]
) -> tuple[Space, Space, Space]:
    """W, U and Z: the kernel and the inputs as the ranks use them, and the products that they make."""
    P, groups, (batch, _, *space) = work.partition, window.groups, work.cuts
    rows, columns, sizes = work.rows, work.columns, (outputs.shape[1] // groups, inputs.shape[1] // groups)
    o = outputs.blocks[1] if rows else [(0, outputs.shape[1])]
    c = inputs.blocks[1] if columns else [(0, inputs.shape[1])]
    cuts, ends = (rows, columns), {0: o, 1: c}
    if groups > 1:  # whole groups, over all the ranks that share them
        rows = columns = rows + columns
        own = blocks(groups, prod(P.shape[g] for g in rows))
        o, c = ([(a * size, b * size) for a, b in own] for size in sizes)
        cuts, ends = (rows, ()), {0: o}
    shape = (outputs.shape[1], sizes[1], *window.kernel)
    W = inputs.replace(partition=P, shape=shape, cuts=(*cuts, *[None] * len(space)), blocks=ends)
    U = inputs.replace(partition=P, cuts=(batch, columns, *space), blocks={0: inputs.blocks[0], 1: c, **reads})
    Z = outputs.replace(partition=P, cuts=(batch, rows, *space), blocks=dict(enumerate(outputs.blocks)) | {1: o})
    return W, U, Z


def copied(X: Space, Y: Space, boundary: str) -> Operator:
    """From the blocks of X to those of Y."""
    return Unmoved(X) if X == Y else BoxCopy(X, Y, boundary)
