"""The Fourier neural operator, on any number of ranks, is the network of torch.fft and autograd with the same weights.

``network`` below is dfno's, written plainly: whole transforms, the kept modes taken out of them and put back into zeros, and
torch's derivative of it. Without torch, the file is skipped.
"""

import numpy as np
import pytest
from theorems import GRIDS, library_or_skip, relative, whole

import refimpl as ri
from refimpl import layers
from refimpl.models import FNO
from refimpl.training.loop import loss_and_gradients
from refimpl.training.optimizers import AdamW

torch = library_or_skip(ri.wire.world(), "torch")
f = torch.nn.functional
torch.set_num_threads(1)

TOLERANCE = 1e-10  # relative to the largest entry, in float64; what is seen is below 1e-14


def kept(n, m, real):
    return torch.tensor(np.arange(m) if real else np.r_[:m, n - m : n])


def spectral(h, R, modes):
    """irfftn(R rfftn(h)) with zeros where no mode is kept."""
    axes, sides = tuple(range(2, h.ndim)), h.shape[2:]
    z = torch.fft.rfftn(h, dim=axes)
    rows = [kept(n, m, real=axis == axes[-1]) for axis, n, m in zip(axes, sides, modes, strict=True)]
    box = (slice(None), slice(None), *torch.meshgrid(*rows, indexing="ij"))
    spectrum = torch.zeros_like(z)
    spectrum[box] = torch.einsum("bi...,...io->bo...", z[box], R)
    return torch.fft.irfftn(spectrum, s=sides, dim=axes)


def along(h, w, name, axis=1):
    return f.linear(h.movedim(axis, -1), w[f"{name}.W"], w.get(f"{name}.b")).movedim(-1, axis)


def network(h, w, modes):
    if "time.W" in w:
        h = f.gelu(along(h, w, "time", -1))
    h = f.gelu(along(h, w, "lift.linear"))
    for k in range(sum(name.endswith("spectral.R") for name in w)):
        h = f.gelu(along(h, w, f"block{k}.linear") + spectral(h, w[f"block{k}.spectral.R"], modes))
    return along(f.gelu(along(h, w, "head.project")), w, "head.out")


def leaf(space, block):
    """The whole tensor in torch, on every rank, and as a leaf of its graph."""
    return torch.tensor(whole(space, block), requires_grad=True)


def ours(team, shape, modes, cut, timesteps=None, blocks=2):
    """The network on the grid of the team, which cuts the two axes ``cut``, with weights that are normal numbers."""
    cuts = [cut.index(i) if i in cut else None for i in range(len(shape))]
    X = ri.Space(ri.Partition(team, GRIDS[team.size]), shape, cuts=cuts)
    F = FNO(X, 3, modes, blocks=blocks, out_channels=2, out_timesteps=timesteps, hidden=5)
    F.parameters = {
        name: space.random(10 + i) / np.sqrt(space.shape[-1 if "R" not in name else -2])
        for i, (name, space) in enumerate(F.parameter_spaces.items())
    }
    return F


CASES = {  # shape, modes, the two axes that are cut, time steps
    "1-d, odd": ((3, 2, 9), (3,), (0, 2), None),
    "1-d, all modes": ((3, 2, 8), (5,), (0, 2), None),
    "2-d, even and odd, all modes": ((2, 2, 8, 7), (4, 4), (2, 3), None),
    "2-d, odd and even, all modes": ((2, 1, 7, 8), (3, 5), (2, 3), None),
    "2-d, one mode": ((1, 2, 6, 6), (1, 1), (2, 3), None),
    "2-d and time": ((3, 2, 7, 8, 3), (2, 3, 2), (0, 2), 5),
    "2-d and time, all modes": ((1, 1, 6, 4, 1), (3, 2, 4), (2, 3), 6),
    "2-d and time, cut like space": ((1, 2, 4, 5, 6), (2, 1, 3), (2, 4), None),
    "3-d": ((2, 1, 5, 4, 6), (1, 2, 3), (0, 4), None),
    "3-d and time": ((2, 2, 5, 4, 6, 2), (2, 1, 3, 2), (0, 3), 4),
    "3-d and time, all modes": ((1, 1, 4, 5, 4, 3), (2, 2, 2, 3), (2, 4), 5),
}


@pytest.mark.parametrize("name", CASES)
def test_value_and_gradients_are_those_of_autograd(team, name):
    shape, modes, cut, timesteps = CASES[name]
    F = ours(team, shape, modes, cut, timesteps)
    x, dy = F.domain.random(1), F.range.random(2)
    (y, J), h = F.linearize(x), leaf(F.domain, x)
    w = {name: leaf(space, F.parameters[name]) for name, space in F.parameter_spaces.items()}
    value = network(h, w, modes)
    exact = torch.autograd.grad(value, [h, *w.values()], torch.tensor(whole(F.range, dy)))
    dx, gradients = J.adjoint(dy)
    gaps = {"value": relative(whole(F.range, y), value.detach()), "x": relative(whole(F.domain, dx), exact[0])}
    for (name, space), gradient in zip(F.parameter_spaces.items(), exact[1:], strict=True):
        gaps[name] = relative(whole(space, gradients[name]), gradient)
    assert max(gaps.values()) <= TOLERANCE, gaps


@pytest.mark.parametrize("other", [lambda h: h.flip(2), lambda h: h.roll(1, 3), lambda h: h * (1 + 1e-8)])
def test_another_network_is_told_apart(team, other):
    shape, modes, cut, timesteps = CASES["2-d and time"]
    F = ours(team, shape, modes, cut, timesteps)
    x = F.domain.random(1)
    w = {name: leaf(space, F.parameters[name]) for name, space in F.parameter_spaces.items()}
    assert relative(whole(F.range, F(x)), network(other(leaf(F.domain, x)), w, modes).detach()) > TOLERANCE


def test_the_loss_falls_as_with_torchs_adam(team):
    """50 steps from the same weights: the same curve."""
    shape, modes, cut, timesteps = (2, 1, 6, 5, 2), (2, 2, 2), (0, 2), 4
    F = ours(team, shape, modes, cut, timesteps, blocks=1)
    x, target = F.domain.random(1), F.range.random(2)
    h, t = (torch.tensor(whole(space, block)) for space, block in ((F.domain, x), (F.range, target)))
    w = {name: leaf(space, F.parameters[name]) for name, space in F.parameter_spaces.items()}
    theirs, mine = torch.optim.Adam(w.values(), lr=1e-2), AdamW()
    moments, loss, curves = mine.start(F.parameters), layers.MSE(F.range), ([], [])
    for step in range(1, 51):
        value, gradients, _ = loss_and_gradients(F, loss, x, target)
        F.parameters, moments = mine.step(F.parameters, gradients, moments, step, rate=1e-2)
        error = f.mse_loss(network(h, w, modes), t)
        theirs.zero_grad()
        error.backward()
        theirs.step()
        curves[0].append(value)
        curves[1].append(error.item())
    assert curves[0] == pytest.approx(curves[1], rel=1e-8) and curves[0][-1] < 0.9 * curves[0][0]
