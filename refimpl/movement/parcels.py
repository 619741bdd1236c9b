"""Parcels: boxes of one array that become boxes of another, in one message for each pair of ranks.

Definition   y = 0;  then y[target] += x[source] for each box that this rank keeps, and for each that another rank sends it.
Order        The boxes between two ranks are packed one behind the other, in an order that both know.
Overlap      ``start`` packs, posts all messages and places what stays here; ``finish`` waits, and places what has come.
Copies       A box that lies in one piece is sent from where it is, and received where it goes unless it is added up there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from .. import wire
from ..space import Space
from ..wire import Sent

Slices = tuple[slice, ...]


@dataclass(frozen=True)
class Place:
    """A box in an array: its slices, its shape, and how many numbers it holds."""

    where: tuple[Any, ...]
    shape: tuple[int, ...]
    size: int


def place(where: Slices) -> Place:
    shape = tuple(len(range(s.start, -1 if s.stop is None else s.stop, s.step or 1)) for s in where)
    return Place((*where, ...), shape, prod(shape))  # with the ellipsis it is a view even without axes


class Parcels:
    """From an array of any space to a block of ``Y``: ``outgoing`` and ``incoming`` boxes with the rank at their other end.

    ``once``: no number of the result is given twice, so that numbers can be put down instead of added.
    """

    def __init__(
        self, Y: Space, outgoing: Sequence[tuple[int, Slices]], incoming: Sequence[tuple[int, Slices]], once: bool
    ) -> None:
        self.comm, self.dtype, self.shape, self.once = Y.comm, Y.dtype, Y.local_shape, once
        self.sends, self.receives = _by_rank(outgoing), _by_rank(incoming)
        kept, placed = self.sends.pop(Y.comm.rank, []), self.receives.pop(Y.comm.rank, [])
        self.own = list(zip(kept, placed, strict=True))
        first_is_whole = bool(placed) and placed[0].shape == self.shape
        numbers = sum(place(where).size for _, where in incoming)
        self.filled = first_is_whole or (once and numbers == prod(self.shape))  # no number is left as it was

    def start(self, x: np.ndarray) -> tuple[wire.Pending, np.ndarray]:
        """Send what others need of ``x``, and place what stays."""
        y = (np.empty if self.filled else np.zeros)(self.shape, self.dtype, like=x)
        sends = {rank: packed(x, places) for rank, places in self.sends.items()}
        receives = {rank: self._room(y, places) for rank, places in self.receives.items()}
        pending = wire.start_exchange(self.comm, sends, receives)
        for number, (source, target) in enumerate(self.own):
            self._put(y, target, x[source.where], self.once or (self.filled and number == 0))
        return pending, y

    def finish(self, started: tuple[wire.Pending, np.ndarray]) -> np.ndarray:
        """The result, when everything has come."""
        pending, y = started
        received = wire.finish(pending)
        for rank, places in self.receives.items():
            if received[rank].base is not y:
                for target, part in unpacked(received[rank], places):
                    self._put(y, target, part, self.once)
        return y

    def sent(self) -> Sent:
        """What this rank sends."""
        numbers = sum(p.size for places in self.sends.values() for p in places)
        return Sent(len(self.sends), self.dtype.itemsize * numbers)

    @staticmethod
    def _put(y: np.ndarray, target: Place, part: np.ndarray, first: bool) -> None:
        if first:
            y[target.where] = part
        else:
            y[target.where] += part

    def _room(self, y: np.ndarray, places: list[Place]) -> np.ndarray:
        """Where to receive: in ``y`` itself where that is in one piece."""
        if self.once and len(places) == 1 and y[places[0].where].flags.c_contiguous:
            return y[places[0].where]
        return np.empty(sum(p.size for p in places), self.dtype, like=y)


def _by_rank(boxes: Sequence[tuple[int, Slices]]) -> dict[int, list[Place]]:
    ranks: dict[int, list[Place]] = {}
    for rank, where in boxes:
        ranks.setdefault(rank, []).append(place(where))
    return ranks


def packed(x: np.ndarray, places: Sequence[Place]) -> np.ndarray:
    """The boxes of ``x`` one behind the other; a view of ``x`` where that is in one piece."""
    if len(places) == 1:
        return x[places[0].where].ravel()
    flat = np.empty(sum(p.size for p in places), x.dtype, like=x)
    for p, part in unpacked(flat, places):
        part[...] = x[p.where]
    return flat


def unpacked(flat: np.ndarray, places: Sequence[Place]) -> Iterator[tuple[Place, np.ndarray]]:
    """Each box, and the part of ``flat`` that is in it."""
    begin = 0
    for p in places:
        yield p, flat[begin : begin + p.size].reshape(p.shape)
        begin += p.size
