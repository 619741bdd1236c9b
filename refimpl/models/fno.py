"""FNO: the model-parallel Fourier neural operator.

Definition   With g the GELU, ._t a matrix along time and ._c along the channels, S_k a spectral convolution:
                 h = g(W1 ._t x + b1)                  T_in -> T time steps
                 h = g(W2 ._c h + b2)                  channels -> width
                 h = g(A_k ._c h + S_k h)              for each of the blocks; both terms inside g, also in the last
                 h = g(W3 ._c h + b3)                  width -> hidden
                 y = W4 ._c h + b4                     hidden -> out_channels
             Without a time axis (``out_timesteps=None``) the first line is left out.
Layers       The blocks are FourierBlocks, and the two maps of the head one ChannelMLP: they work tile by tile, so that neither
             the sum inside g nor the hidden channels are ever there as a whole.
Spaces       x (batch, channels, N_1, .., N_s, T_in) -> y (batch, out_channels, N_1, .., N_s, T), on one grid that may cut the
             batch and the space axes. The spectral weights are cut as the kept modes are; all others live on one rank.
Parallel     On P ranks the network is the same map as on one, with the same weights: a weight depends on (seed, index) alone.
Jacobian     That of the composition: see layers/compose.py. Nothing here is differentiated by hand twice.
Adjoint      J* = J_1* .. J_n*, layer by layer from the last to the first; in a block first g', then (A_k ._c)* + S_k*.
Cost         Words a block: the kept modes, twice; two trees for each small weight.
Memory       In a training step a block more needs 1.1 to 1.2 activations, of which 0.63 are its weights, gradients and Adam's
             moments; with ``recompute=False`` 1.7, and 6 % less time (4-D, width 20, 32^3 x 16, modes 4, four blocks, float32).
Reference    Grady et al., "Model-parallel Fourier neural operators as learned surrogates for large-scale parametric PDEs",
             arXiv 2204.01205; Li et al., arXiv 2010.08895.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import count

from ..layers import GELU, ChannelMLP, FourierBlock, Layer, Linear, Recomputed, chain
from ..partition import whole_numbers
from ..space import Space


class FNO(Recomputed):
    """The network on the real space ``X``: (batch, channels, N_1, .., N_s, T_in), or without the time axis.

    ``modes``: m kept low and m high on each transformed axis, m low on the last; space axes, then time where there is one.
    ``form``: how axes that are cut are transformed, "sums" or "repartition" (layers/fourier_forms.py); by default the one that
    sends less. The weights are the same.
    ``recompute``: every second block keeps no input for its adjoint, which makes it again (layers/recomputed.py): the same
    numbers with less memory, in more time.
    Raises ValueError where the grid cuts channels or time, or holds fewer modes than asked for.
    """

    def __init__(
        self,
        X: Space,
        width: int,
        modes: Sequence[int],
        blocks: int = 4,
        out_channels: int = 1,
        out_timesteps: int | None = None,
        hidden: int = 128,
        seed: int = 0,
        form: str | None = None,
        recompute: bool = True,
    ) -> None:
        modes = whole_numbers("FNO: modes", modes)
        sizes = whole_numbers(
            "FNO: width, blocks, out_channels, hidden, out_timesteps and seed",
            (width, blocks, out_channels, hidden, 1 if out_timesteps is None else out_timesteps, seed),
        )
        if X.ndim != len(modes) + 2 or X.dtype.kind != "f":
            raise ValueError(
                f"FNO: {len(modes)} entries of modes need a real tensor (batch, channels, {len(modes)} axes), got {X!r}"
            )
        if min(sizes[:-1]) < 1 or X.shape[1] < 1:
            raise ValueError(
                "FNO: width, blocks, out_channels, hidden, out_timesteps and the channels of the input must be at least 1, "
                f"got {sizes[:-1]} and {X.shape[1]}"
            )
        seeds = count(1000 * seed)
        makers: dict[str, Callable[[Space], Layer]] = {}
        if out_timesteps is not None:
            makers |= {"time": partial(Linear, out=out_timesteps, axis=-1, seed=next(seeds)), "time_gelu": GELU}
        makers["lift"] = partial(ChannelMLP, widths={"linear": width}, activated=True, seed=next(seeds))
        for k in range(blocks):
            makers[f"block{k}"] = partial(
                FourierBlock, modes=modes, seed=next(seeds), spectral_seed=next(seeds), form=form
            )
        makers["head"] = partial(ChannelMLP, widths={"project": hidden, "out": out_channels}, seed=next(seeds))
        super().__init__(chain(X, makers), recompute)
