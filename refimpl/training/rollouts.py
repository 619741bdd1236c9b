"""Rollout: a network that predicts a few frames from the one before them, applied again and again.

Definition   With c the static fields and s_k the state at frame k, a network F : (c, s_0) -> (s_1, .., s_w) gives
                 (s_1, .., s_w) = F(c, s_0),   (s_w+1, .., s_2w) = F(c, s_w),   and so on, cut off after the frames asked for.
Spaces       x (batch, channels of c and one for s, space, 1) -> y (batch, 1, space, w), on one grid that cuts neither channels
             nor time: so nothing travels between two applications.
Else         A network without a state among its inputs predicts all its frames at once, and none beyond them.
Trap         Its own errors are its inputs: the error of a rollout grows faster than that of one application. It is the one
             that counts, so held-out errors and evaluations are those of rollouts.
Reference    Li et al., arXiv 2010.08895, section 5.3 (the recurrent FNO in time).
"""

from __future__ import annotations

from ..arrays import Array, namespace
from ..layers import Layer
from ..space import Space
from .dataset import takes_state


def rolled_out(model: Layer, frames: int) -> Space:
    """The space of ``frames`` frames predicted by ``model``. ValueError where it cannot predict so many."""
    Y = model.range
    if frames < 1 or (frames > Y.shape[-1] and not takes_state(model.domain)):
        raise ValueError(
            f"rollout: expected 1 to {Y.shape[-1]} frames, which this network predicts at once, got {frames}; "
            "a network that is trained with a window goes on from its own predictions"
        )
    return Y.replace(shape=(*Y.shape[:-1], frames))


def rollout(model: Layer, x: Array, frames: int) -> Array:
    """The first ``frames`` frames after the state in ``x``, or after the beginning; collective."""
    rolled_out(model, frames)
    xp, parts = namespace(x), [model(x)]
    while len(parts) * model.range.shape[-1] < frames:  # s_0 <- s_w
        parts.append(model(xp.concat([x[:, :-1, ...], parts[-1][..., -1:]], axis=1)))
    return xp.concat(parts, axis=-1)[..., :frames]
