"""How good is a prediction? Global numbers, the same on every rank.

Relative L2  |p - t| / |t| over all entries.
Plume MAE    The mean of |p - t| over the entries where the target exceeds 0.01: the brine that nothing reached says little.
Reference    Grady et al., arXiv 2204.01205, use the relative L2 error for CO2 saturation.
"""

from __future__ import annotations

from ..arrays import Array, namespace
from ..space import Space

PLUME = 0.01  # saturation from which a cell counts as reached


def relative_l2(X: Space, prediction: Array, target: Array) -> float:
    """|p - t| / |t|. ZeroDivisionError on all ranks where the target is zero."""
    size = X.norm(target)
    if not size:
        raise ZeroDivisionError("relative_l2: the target is zero everywhere")
    return X.norm(prediction - target) / size


def plume_mae(X: Space, prediction: Array, target: Array) -> float:
    """The mean of |p - t| where t > 0.01; nan where nothing was reached."""
    xp = namespace(target)
    plume = xp.astype(target > PLUME, target.dtype)
    cells = X.inner(plume, plume)
    return X.inner(plume, xp.abs(prediction - target)) / cells if cells else float("nan")
