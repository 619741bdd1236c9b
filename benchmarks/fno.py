"""Time the Fourier neural operator against its peers as shipped: forward, forward + adjoint, a whole training step.

block   one layer g(A h + S h) against neuralop's FNOBlocks (linear skip, no channel MLP), forward and forward + adjoint.
        Targets: forward 1.0, 1.5, 2.0 and forward + adjoint 1.5, 2.0, 2.5 times as fast in 2, 3 and 4 dimensions.
network  the whole NeuralOperator against neuralop's FNO as it comes, forward and forward + adjoint; the same targets.
step    a relative L2 loss, its gradients and Adam: NeuralOperator against neuralop's FNO as it comes, target 2 in 3 and 4
        dimensions; and our FNO against the same network of torch.fft and autograd, without a target.
memory  the most memory of a step, in a process of its own: what it has above what it had before the first step.

The weights of both sides are the same, and so are the results up to float32's round-off: they are compared first.
"limit / ours" is the share of the machine's limit: square products of as many flops, and one pass over input and output.

example:
    python benchmarks/fno.py
    python benchmarks/fno.py --only network --threads 2 --rounds 31
    MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=100000000000 python benchmarks/fno.py     without page faults
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from harness import Case, Work, circumstances, header, measure, version_of
from mpi4py import MPI
from threadpoolctl import threadpool_limits

import refimpl as ri
from refimpl.layers import FourierBlock, RelativeL2
from refimpl.models import FNO, NeuralOperator, load_neural_operator
from refimpl.training.loop import loss_and_gradients
from refimpl.training.optimizers import AdamW

try:
    import torch
    from fno_in_torch import Network, weights_of
except ImportError as error:
    raise SystemExit(f"{error}: pip install -r benchmarks/requirements.txt") from None

BLOCKS = (  # batch, width, sides, modes, targets of forward and of forward + adjoint
    (8, 32, (128, 128), (16, 16), 1.0, 1.5),
    (1, 20, (64, 64, 64), (8, 8, 8), 1.5, 2.0),
    (1, 20, (32, 32, 32, 16), (4, 4, 4, 4), 2.0, 2.5),
)
STEPS = (  # width, sides, modes; four blocks, one sample, the last axis is time
    (20, (64, 64, 64), (8, 8, 8)),
    (20, (32, 32, 32, 16), (4, 4, 4, 4)),
)
ALL_KEPT = "refimpl, recompute=False"  # see layers/recomputed.py
TOLERANCE = 2e-5  # relative to the largest entry, in float32


def blocks(comm: MPI.Comm) -> Iterator[Case]:
    for batch, width, sides, modes, *targets in BLOCKS:
        X = space(comm, (batch, width, *sides))
        F, x = FourierBlock(X, modes, 1, 2), X.random(1)
        peer, theirs = neuralop(lambda F=F, modes=modes: neuralop_block(F, modes))
        name = f"{len(sides)}-D block, {batch} x {width} x {' x '.join(map(str, sides))}, modes {modes}"
        flops = flops_of_block(X.shape, modes)
        least = limit(flops, 2 * x.nbytes), limit(3 * flops, 4 * x.nbytes)
        for case, limits in zip(passes(name, F, x, peer, theirs, targets), least, strict=True):
            yield replace(case, floor=limits, limit="limit")


def networks(comm: MPI.Comm) -> Iterator[Case]:
    for batch, width, sides, modes, *targets in BLOCKS:
        F, x, _ = neural_operator(comm, width, sides, modes, batch)
        peer, theirs = neuralop(lambda F=F, width=width, modes=modes: neuralop_network(F, width, modes))
        name = f"{len(sides)}-D NeuralOperator, width {width}, {batch} x {' x '.join(map(str, sides))}, modes {modes}, 4 blocks"
        yield from passes(name, F, x, peer, theirs, targets)


def passes(
    name: str, F: Any, x: np.ndarray, peer: str, theirs: torch.nn.Module | None, targets: Sequence[float]
) -> Iterator[Case]:
    """F(x), and that with the gradients by x and all weights, of both sides."""
    dy = F.range.random(2)
    tx, ty = torch.from_numpy(x).requires_grad_(True), torch.from_numpy(dy)

    def ours() -> list[np.ndarray]:
        y, J = F.linearize(x)
        return [y, J.adjoint(dy)[0]]

    def torchs() -> list[np.ndarray]:
        y = theirs(tx)
        dx, *_ = torch.autograd.grad(y, [tx, *theirs.parameters()], ty)
        return [y.detach().numpy(), dx.numpy()]

    @torch.no_grad()
    def value() -> torch.Tensor:
        return theirs(tx)

    if theirs:
        compare(name, ours(), torchs())
    pairs = {"forward": (lambda: F(x), value), "forward + adjoint": (ours, torchs)}
    for (what, (our, their)), target in zip(pairs.items(), targets, strict=True):
        yield Case(f"{name}, {what}", {"refimpl": our, peer: their if theirs else None}, {peer: target})


def steps(comm: MPI.Comm) -> Iterator[Case]:
    for width, sides, modes in STEPS:
        setting = f"{len(sides)}-D, width {width}, {' x '.join(map(str, sides))}, modes {modes}, 4 blocks"
        F, x, target = neural_operator(comm, width, sides, modes)
        peer, theirs = neuralop(lambda F=F, width=width, modes=modes: neuralop_network(F, width, modes))
        pair = our_step(F, x, target), torch_step(theirs, x, target) if theirs else None
        if theirs:
            compare(setting, *([np.array(step()) for _ in range(3)] for step in pair))
        yield Case(f"step, NeuralOperator, {setting}", {"refimpl": pair[0], peer: pair[1]}, {peer: 2.0})
        works = {who: dfno_step(comm, who, width, sides, modes) for who in ("refimpl", "torch.fft", ALL_KEPT)}
        compare(setting, *([np.array(works[who]()) for _ in range(3)] for who in ("refimpl", "torch.fft")))
        yield Case(f"step, FNO, {setting}", works)


def dfno_step(comm: MPI.Comm, who: str, width: int, sides: tuple, modes: tuple, blocks: int = 4) -> Work:
    """A step of our FNO, or of the same network of torch.fft."""
    X = space(comm, (1, 1, *sides[:-1], 1))
    F = FNO(X, width, modes, blocks, out_timesteps=sides[-1], recompute=who != ALL_KEPT)
    x, target = X.random(1), F.range.random(2)
    if who in ("refimpl", ALL_KEPT):
        return our_step(F, x, target)
    return torch_step(Network(weights_of(F), sides, modes), x, target)


def neural_operator(
    comm: MPI.Comm, width: int, sides: tuple, modes: tuple, batch: int = 1
) -> tuple[NeuralOperator, np.ndarray, np.ndarray]:
    X = space(comm, (batch, 3, *sides))
    F = NeuralOperator(X, theirs_of(modes), width)
    return F, X.random(1), F.range.random(2)


def neuralop_network(F: NeuralOperator, width: int, modes: tuple) -> torch.nn.Module:
    """Their network, whose weights ours gets."""
    from neuralop.models import FNO as Theirs

    theirs = Theirs(theirs_of(modes), F.domain.shape[1], F.range.shape[1], width)
    load_neural_operator(F, theirs.state_dict())
    return theirs


def theirs_of(modes: tuple[int, ...]) -> tuple[int, ...]:
    """As neuralop counts modes."""
    return (*(2 * m for m in modes[:-1]), 2 * (modes[-1] - 1))


def our_step(F: Any, x: np.ndarray, target: np.ndarray) -> Work:
    """One step of Adam: the loss."""
    loss, adam, t = RelativeL2(F.range), AdamW(), 0
    moments = adam.start(F.parameters)

    def step() -> float:
        nonlocal moments, t
        value, gradients, _ = loss_and_gradients(F, loss, x, target)
        t += 1
        F.parameters, moments = adam.step(F.parameters, gradients, moments, t, 1e-3)
        return value

    return step


def torch_step(theirs: torch.nn.Module, x: np.ndarray, target: np.ndarray) -> Work:
    adam = torch.optim.Adam(theirs.parameters(), lr=1e-3)
    tx, t = torch.from_numpy(x), torch.from_numpy(target)

    def step() -> float:
        adam.zero_grad()
        value = torch.linalg.vector_norm(theirs(tx) - t) / torch.linalg.vector_norm(t)
        value.backward()
        adam.step()
        return value.item()

    return step


def neuralop(make: Callable[[], torch.nn.Module]) -> tuple[str, torch.nn.Module | None]:
    """The peer's name, and what ``make`` gives where it is installed."""
    try:
        return f"neuralop {version_of('neuraloperator')}", make()
    except ImportError as error:
        print(f"neuralop: {error}", file=sys.stderr)
        return "neuralop", None


def neuralop_block(F: FourierBlock, modes: tuple[int, ...]) -> torch.nn.Module:
    """Their layer with our weights: the last, which has no GELU, and one behind it (without MLP, theirs has two)."""
    from neuralop.layers.fno_block import FNOBlocks

    width = F.domain.shape[1]
    theirs = FNOBlocks(width, width, theirs_of(modes), n_layers=1, use_channel_mlp=False, fno_skip="linear")
    R = np.moveaxis(F.parameters["spectral.R"], (-2, -1), (0, 1))
    for axis, m in enumerate(modes[:-1], start=2):
        R = np.roll(R, m, axis)  # theirs begin at the lowest negative frequency
    with torch.no_grad():
        theirs.convs[0].weight.tensor.copy_(torch.from_numpy(np.ascontiguousarray(R)))
        theirs.convs[0].bias.zero_()
        theirs.fno_skips[0].conv.weight.copy_(torch.from_numpy(F.parameters["linear.W"])[:, :, None])

    class Block(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.skip = theirs.convs[0].weight.tensor, theirs.fno_skips[0].conv.weight

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.gelu(theirs(x, 0))

    return Block()


def flops_of_block(shape: tuple[int, ...], modes: tuple[int, ...]) -> int:
    """Of a value: two transforms, axis by axis from the last, the products of the modes, and A h."""
    batch, width, *sides = shape
    kept = [2 * m for m in modes[:-1]] + [modes[-1]]
    transform, rest = 0, batch * width * prod(sides)
    for n, k in reversed(list(zip(sides, kept, strict=True))):
        transform += (4 if n is sides[-1] else 8) * rest * k  # the first is real
        rest = rest // n * k
    return 2 * transform + 8 * batch * width * width * prod(kept) + 2 * batch * width * width * prod(sides)


def limit(flops: int, nbytes: int) -> Work:
    """So many flops in square products, and a copy that reads and writes so many bytes."""
    n = 512
    a, b, c = (np.ones((n, n), np.float32) for _ in range(3))
    source, target = (np.ones(max(nbytes // 8, 1), np.float32) for _ in range(2))

    def work() -> None:
        for _ in range(max(round(flops / (2 * n**3)), 1)):
            np.matmul(a, b, out=c)
        np.copyto(target, source)

    return work


def space(comm: MPI.Comm, shape: tuple[int, ...]) -> ri.Space:
    return ri.Space(ri.Partition(comm, (1,) * len(shape)), shape, "float32")


def compare(what: str, ours: list, theirs: list) -> None:
    for a, b in zip(ours, theirs, strict=True):
        gap = float(np.max(np.abs(a - b))) / float(np.max(np.abs(b)))
        if not gap <= TOLERANCE:
            raise SystemExit(f"{what}: the peer computes other numbers than refimpl, by {gap:.1e}")


# ---- memory --------------------------------------------------------------------------------------------------------------


def memory() -> list[str]:
    """Rows of a table: what three steps need at most, above what there was before, for one and for four blocks.

    The weights of a block, their gradients and Adam's moments alone are 0.63 activations here.
    """
    rows = ["| step, 4-D, MiB | 1 block | 4 blocks | a block, in activations |", "|---|---|---|---|"]
    activation = 4 * 20 * prod(STEPS[1][1]) / 2**20
    for who in ("refimpl", ALL_KEPT, "torch.fft"):
        one, four = (peak_of(who, blocks) for blocks in (1, 4))
        rows.append(f"| {who} | {one:.0f} | {four:.0f} | {(four - one) / 3 / activation:.2f} |")
    return rows


def peak_of(who: str, blocks: int) -> float:
    command = [sys.executable, __file__, "--peak", who, str(blocks)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def peak(who: str, blocks: int) -> float:
    """MiB, in this process."""
    width, sides, modes = STEPS[1]
    dfno_step(MPI.COMM_WORLD, who, 2, (4, 4, 4, 4), (2, 2, 2, 2), 1)()  # what is loaded late is not counted
    before = most_memory()
    step = dfno_step(MPI.COMM_WORLD, who, width, sides, modes, blocks)
    for _ in range(3):
        step()
    return (most_memory() - before) / 1024


def most_memory() -> int:
    """KiB that this process has held at most; getrusage would count what its parent held (Linux)."""
    status = Path("/proc/self/status").read_text().split()
    return int(status[status.index("VmHWM:") + 1])


GROUPS: dict[str, Callable] = {"block": blocks, "network": networks, "step": steps}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=[*GROUPS, "memory"], help="one of the groups (default: all)")
    parser.add_argument("--threads", type=int, default=1, help="of BLAS and of torch (default: 1)")
    parser.add_argument("--rounds", type=int, default=11, help="turns of each contender (default: 11)")
    parser.add_argument("--seconds", type=float, default=0.5, help="length of a turn (default: 0.5)")
    parser.add_argument("--peak", nargs=2, metavar=("WHO", "BLOCKS"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with threadpool_limits(args.threads):
        if args.peak:
            return print(peak(args.peak[0], int(args.peak[1])))
        told = [f"## Fourier neural operator, float32, {args.threads} thread{'s' * (args.threads > 1)}", ""]
        told += [circumstances(1, ("refimpl", "numpy", "torch", "neuraloperator"))]
        for name in [args.only] if args.only in GROUPS else [] if args.only else GROUPS:
            cases = list(GROUPS[name](MPI.COMM_WORLD))
            told += ["", *header(cases[0]), *measure(MPI.COMM_WORLD, cases, args.rounds, args.seconds)]
        if args.only in (None, "memory"):
            told += ["", *memory()]
    print("\n".join(told))


if __name__ == "__main__":
    main()
