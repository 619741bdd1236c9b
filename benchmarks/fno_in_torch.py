"""The network of refimpl.models.FNO in torch: torch.fft, one product of the kept modes, autograd.

As a user of torch would write it: whole transforms along one axis after the other, each cut to the kept modes at once.
"""

from __future__ import annotations

import numpy as np
import torch

from refimpl.models import FNO


def weights_of(F: FNO) -> dict[str, torch.Tensor]:
    """The weights by name, with the modes of the spectral ones behind."""
    behind = lambda name, w: np.moveaxis(w, (-2, -1), (0, 1)) if name.endswith(".R") else w
    state = F.state()
    return {name: torch.from_numpy(np.ascontiguousarray(behind(name, w))) for name, w in state.items()}


class Network(torch.nn.Module):
    """On tensors (batch, channels, N_1, .., N_s, T_in), with the ``weights`` of a time axis too."""

    def __init__(self, weights: dict[str, torch.Tensor], sides: tuple[int, ...], modes: tuple[int, ...]) -> None:
        super().__init__()
        self.w = torch.nn.ParameterDict({name.replace(".", "_"): torch.nn.Parameter(w) for name, w in weights.items()})
        self.sides, self.modes = sides, modes
        self.blocks = sum(name.endswith(".R") for name in weights)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        g, w = torch.nn.functional.gelu, self.w
        h = g(torch.nn.functional.linear(x, w["time_W"], w["time_b"]))
        h = g(self.channels(h, "lift_linear"))
        for k in range(self.blocks):
            h = g(self.channels(h, f"block{k}_linear") + self.spectral(h, w[f"block{k}_spectral_R"]))
        return self.channels(g(self.channels(h, "head_project")), "head_out")

    def channels(self, h: torch.Tensor, name: str) -> torch.Tensor:
        """W ._c h + b, as a convolution of width 1 over flattened points."""
        W, b = self.w[f"{name}_W"], self.w[f"{name}_b"] if f"{name}_b" in self.w else None
        return torch.nn.functional.conv1d(h.flatten(2), W[:, :, None], b).reshape(len(h), len(W), *h.shape[2:])

    def spectral(self, h: torch.Tensor, R: torch.Tensor) -> torch.Tensor:
        last = h.ndim - 1
        z = torch.fft.rfft(h).narrow(last, 0, self.modes[-1])
        for axis in range(last - 1, 1, -1):
            z, m = torch.fft.fft(z, dim=axis), self.modes[axis - 2]
            z = torch.cat([z.narrow(axis, 0, m), z.narrow(axis, z.shape[axis] - m, m)], axis)
        axes = "xyzt"[-len(self.modes) :]
        z = torch.einsum(f"bi{axes},io{axes}->bo{axes}", z, R)
        for axis in range(2, last):
            n, m = self.sides[axis - 2], self.modes[axis - 2]
            zeros = z.new_zeros(*z.shape[:axis], n - 2 * m, *z.shape[axis + 1 :])
            z = torch.fft.ifft(torch.cat([z.narrow(axis, 0, m), zeros, z.narrow(axis, m, m)], axis), dim=axis)
        return torch.fft.irfft(z, n=self.sides[-1])
