"""Layers: sands of high permeability between thin, nearly impermeable seals that feeders pierce.

Definition   From the caprock down: sand, seal, sand, ..., seal, sand. A sand has at least two cells, the lowest three;
             a seal is one cell thick. With z a Gaussian random field of mean 0, variance 1 and correlation length L,
             sand    k = k_sand exp(0.35 z),   k_sand of each sand log-uniform in 1100..5000 mD,   L = 300 m
             seal    k = 1e-3 mD exp(0.35 z)
             feeder  k log-uniform in 10..1000 mD: one to three square patches of 150 m in each seal, isotropic
             k_z = 0.1 k_x outside the feeders; porosity 0.34.
Why feeders  CO2 that rises from the well collects under the lowest seal, spreads up the dip, and climbs to the next
             sand only where a feeder lets it through: what a surrogate has to learn is where.
Reference    Chadwick and Noy (2010): the layered plume at Sleipner; Sleipner 2019 Benchmark Model: the feeders.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MILLIDARCY = 9.869233e-16  # m2
SAND_PERMEABILITY = (1100.0, 5000.0)  # mD
SEAL_PERMEABILITY = 1e-3  # mD
FEEDER_PERMEABILITY = (10.0, 1000.0)  # mD
FEEDER_SIZE = 150.0  # m
MOST_FEEDERS = 3  # in a seal
LOG_DEVIATION = 0.35
CORRELATION_LENGTH = 300.0  # m
VERTICAL_RATIO = 0.1
POROSITY = 0.34
THINNEST_SAND, THINNEST_LOWEST_SAND = 2, 3  # cells
FEWEST_LAYERS = THINNEST_SAND + 1 + THINNEST_LOWEST_SAND


@dataclass(frozen=True)
class Layers:
    """Rock arrays (nx, ny, nz), permeabilities in m2; ``seals``: their k; ``feeders``: where a seal is pierced."""

    permeability_x: np.ndarray
    permeability_z: np.ndarray
    porosity: np.ndarray
    seals: tuple[int, ...]
    feeders: np.ndarray


def draw_layers(rng: np.random.Generator, shape: Sequence[int], spacing: Sequence[float]) -> Layers:
    """A random layered model on ``shape`` = (nx, ny, nz) cells of ``spacing`` = (dx, dy, dz) metres.

    Raises ValueError below 6 layers: less cannot hold a sand, a seal and a sand to inject into.
    """
    nx, ny, nz = shape
    if nz < FEWEST_LAYERS:
        raise ValueError(f"draw_layers: a sand, a seal and a sand need nz >= {FEWEST_LAYERS} layers, got {nz}")
    seals = _draw_seals(rng, nz)
    lengths = [CORRELATION_LENGTH / d for d in spacing[:2]]
    variation = np.stack([correlated_field(rng, (nx, ny), lengths) for _ in range(nz)], axis=-1)
    permeability = _draw_medians(rng, nz, seals) * np.exp(LOG_DEVIATION * variation) * MILLIDARCY
    feeders, feeder_permeability = _draw_feeders(rng, shape, spacing, seals)
    return Layers(
        permeability_x=np.where(feeders, feeder_permeability, permeability),
        permeability_z=np.where(feeders, feeder_permeability, VERTICAL_RATIO * permeability),
        porosity=np.full(shape, POROSITY),
        seals=seals,
        feeders=feeders,
    )


def correlated_field(rng: np.random.Generator, shape: Sequence[int], length: Sequence[float]) -> np.ndarray:
    """A stationary Gaussian random field of mean 0, variance 1 and correlation exp(-d^2 / length^2), lengths in cells.

    White noise smoothed by a Gaussian of width length / 2. The noise reaches beyond the field by the kernel's radius,
    so that the variance at the edges is the one inside.
    """
    from scipy.ndimage import correlate1d

    kernels = [_unit_kernel(w / 2.0) for w in length]
    margins = [w.size // 2 for w in kernels]
    field = rng.standard_normal([n + 2 * m for n, m in zip(shape, margins, strict=True)])
    for axis, kernel in enumerate(kernels):
        field = correlate1d(field, kernel, axis=axis)
    return field[tuple(slice(m, m + n) for m, n in zip(margins, shape, strict=True))]


def _unit_kernel(width: float) -> np.ndarray:
    """A Gaussian of ``width`` cells, cut at four widths; its sum of squares is 1: noise keeps its variance."""
    radius = int(np.ceil(4.0 * width))
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / max(width, 1e-9)) ** 2)
    return kernel / np.linalg.norm(kernel)


def _draw_seals(rng: np.random.Generator, nz: int) -> tuple[int, ...]:
    """The layer index of each seal: their number by nz, the spare layers shared out among the sands at random."""
    n_seals = int(rng.integers(max(1, nz // 8), nz // 5 + 1))
    spare = nz - THINNEST_LOWEST_SAND - n_seals * (THINNEST_SAND + 1)
    extra = rng.multinomial(spare, np.full(n_seals + 1, 1.0 / (n_seals + 1)))
    return tuple(int(k) for k in np.cumsum(extra[:-1] + THINNEST_SAND + 1) - 1)


def _draw_medians(rng: np.random.Generator, nz: int, seals: Sequence[int]) -> np.ndarray:
    """The median permeability of each layer, (nz,), mD: one value in each sand."""
    is_seal = np.isin(np.arange(nz), seals)
    sand = np.array([_log_uniform(rng, SAND_PERMEABILITY) for _ in range(len(seals) + 1)])
    return np.where(is_seal, SEAL_PERMEABILITY, sand[np.cumsum(is_seal)])


def _log_uniform(rng: np.random.Generator, bounds: tuple[float, float]) -> float:
    return float(np.exp(rng.uniform(*np.log(bounds))))


def _draw_feeders(
    rng: np.random.Generator, shape: Sequence[int], spacing: Sequence[float], seals: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Where the feeders are, and their permeability in m2 (0 elsewhere): one to three inner patches of each seal."""
    permeability = np.zeros(shape)
    size = [max(1, min(round(FEEDER_SIZE / d), n // 3)) for n, d in zip(shape[:2], spacing[:2], strict=True)]
    for k in seals:
        for _ in range(rng.integers(1, MOST_FEEDERS + 1)):
            i, j = (int(rng.integers(n // 6, n - n // 6 - s + 1)) for n, s in zip(shape[:2], size, strict=True))
            value = _log_uniform(rng, FEEDER_PERMEABILITY) * MILLIDARCY
            permeability[i : i + size[0], j : j + size[1], k] = value
    return permeability > 0.0, permeability
