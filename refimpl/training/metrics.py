"""How good is a prediction? Numbers of every sample and frame, the same on every rank.

Sums         For every sample (axis 0) and frame (the last axis), with e = p - t: n, sum t, sum t^2, sum |e| and sum e^2 over
             all cells; n and sum |e| over the plume, the cells where t > 0.01: brine that nothing has reached says little.
             They are in float64, and add up: a metric of many frames and samples is its formula for the sum of their sums.
MSE          sum e^2 / n
MAE          sum |e| / n
Relative L2  sqrt(sum e^2 / sum t^2)
R^2          1 - sum e^2 / (sum t^2 - (sum t)^2 / n): 1 is perfect, 0 no better than the mean of the target
Plume MAE    sum |e| / n over the plume
Undefined    nan, where the denominator is zero; for R^2, where the target is constant to 1e-12.
Cost         One pool of seven numbers a sample and frame. Copies are counted once.
Reference    Grady et al., arXiv 2204.01205, use the relative L2 error for CO2 saturation.
"""

from __future__ import annotations

from functools import partial
from math import nan, sqrt

import numpy as np

from .. import wire
from ..arrays import Array, to_host
from ..space import Space

PLUME = 0.01  # saturation from which a cell counts as reached
METRICS = ("mse", "mae", "relative_l2", "r2", "plume_mae")


def frame_sums(Y: Space, prediction: Array, target: Array) -> np.ndarray:
    """The sums (samples, frames, 7). ValueError on all ranks where a block is not of Y."""
    Y.check(prediction, "frame_sums", "the prediction")
    Y.check(target, "frame_sums", "the target")
    sums = np.zeros((Y.shape[0], Y.shape[-1], 7))
    if Y.owns:
        p, t = (to_host(a).astype(np.float64) for a in (prediction, target))
        e, plume = np.abs(p - t), to_host(target) > PLUME
        over = partial(np.sum, axis=tuple(range(1, Y.ndim - 1)))
        columns = over(np.ones_like(t)), over(t), over(t * t), over(e), over(e * e), over(plume), over(e * plume)
        sums[Y.local_slice[0], Y.local_slice[-1]] = np.stack(columns, axis=-1)
    return np.sum(wire.pool(Y.comm, sums), axis=0)


def errors_of(sums: np.ndarray) -> dict[str, float]:
    """All metrics of sums (7,)."""
    n, t, tt, e, ee, plume, inside = map(float, sums)
    variance = tt - t * t / n if n else 0.0
    return {
        "mse": ee / n if n else nan,
        "mae": e / n if n else nan,
        "relative_l2": sqrt(ee / tt) if tt else nan,
        "r2": 1 - ee / variance if variance > 1e-12 * tt else nan,
        "plume_mae": inside / plume if plume else nan,
    }
