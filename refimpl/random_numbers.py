"""Random numbers by counter: the n-th number of a seed's sequence, without the ones before it.

Definition   splitmix64: z = seed + (n + 1) g, then two rounds of (z ^ z >> a) * b; all modulo 2^64.
Use          The counter is a global index, so a tensor's numbers do not depend on who holds them.
Reference    Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

GAMMA = np.uint64(0x9E3779B97F4A7C15)
MIX = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))


def splitmix64(seed: int, counter: np.ndarray) -> np.ndarray:
    """64 random bits for each number of ``counter`` (uint64)."""
    with np.errstate(over="ignore"):
        z = np.uint64(seed % 2**64) + (np.asarray(counter, np.uint64) + np.uint64(1)) * GAMMA
        for shift, factor in MIX:
            z = (z ^ (z >> np.uint64(shift))) * np.uint64(factor)
        return z ^ (z >> np.uint64(31))


def split(seed: int, n: int) -> int:
    """The seed of the n-th independent sequence."""
    return int(splitmix64(seed, np.asarray(n, np.uint64)))


def uniform_pairs(seed: int, box: Sequence[tuple[int, int]], shape: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Two uniforms on [0, 1) for every index of ``box`` (start, stop per axis) in a tensor of global ``shape``."""
    index = np.zeros([stop - start for start, stop in box], np.uint64)
    for axis, (start, stop) in enumerate(box):
        along = np.arange(start, stop).astype(np.uint64) * np.uint64(prod(shape[axis + 1 :]))
        index += along.reshape((-1,) + (1,) * (len(box) - 1 - axis))
    key, two = split(seed, 0), np.uint64(2)
    first, second = (splitmix64(key, two * index + np.uint64(k)) >> np.uint64(11) for k in (0, 1))
    return first * 2.0**-53, second * 2.0**-53
