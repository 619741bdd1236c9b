"""ChannelMLP: linear maps along the channels with a GELU between them, worked on tile by tile.

Definition   u_1 = W_1 ._c x + b_1,   u_k = W_k ._c g(u_{k-1}) + b_k,   y = u_n, or g(u_n) where ``activated``; g the GELU.
Spaces       X (batch, channels, ..), the channels whole, to the same with other channels; W_k and b_k as in linear.py.
Tangent      du_k = W_k da_{k-1} + dW_k a_{k-1} + db_k,   da_k = g'(u_k) du_k,   from da_0 = dx.
Adjoint      du_k = g'(u_k) da_k;   dW_k = B* (du_k a_{k-1}*),   db_k = B* (sum of du_k),   da_{k-1} = W_k* du_k;   dx = da_0.
Tiles        See tiled.py: the hidden channels, which may be many more than those of x and y, are never there as a whole.
Reference    Li et al., arXiv 2010.08895 (lifting and projection).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from ..space import Space
from .compose import chain, in_turn
from .layer import Layer
from .linear import Linear
from .pointwise import GELU
from .tiled import Tiled


class ChannelMLP(Tiled):
    """``widths``: name -> channels after each linear map, the k-th with weights by seed + k; ``activated``: a GELU at the end.

    Raises ValueError where X is not real or there is no map, and as Linear does.
    """

    def __init__(self, X: Space, widths: Mapping[str, int], activated: bool = False, seed: int = 0) -> None:
        if X.dtype.kind != "f" or not widths:
            raise ValueError(f"ChannelMLP: expected a real tensor and at least one width, got {X!r} and {widths}")
        makers: dict[str, Callable[[Space], Layer]] = {}
        for k, (name, width) in enumerate(widths.items()):
            makers |= {name: partial(Linear, out=width, seed=seed + k), f"{name}_gelu": GELU}
        if not activated:
            makers.popitem()
        super().__init__(in_turn(chain(X, makers)))
        self.linears = [layer for layer in self.layers.values() if isinstance(layer, Linear)]
        self.activated = activated
