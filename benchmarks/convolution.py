"""Time convolution and pooling against torch's CPU layers: value and adjoint, one thread, one process.

Ours is ``layer.linearize(x)`` and ``J.adjoint(dy)``, torch's is the layer and its autograd, each with the gradients of input,
kernel and bias; the numbers are compared first. Target: torch / ours >= 0.5, that is, at most twice torch's time; above 1 ours
is the faster, below 1 torch is. "memory" is the most that our value and adjoint allocate, their results included.

example:
    python benchmarks/convolution.py
    python benchmarks/convolution.py --only pool --rounds 31
"""

from __future__ import annotations

import argparse
import tracemalloc
from collections.abc import Callable, Iterator

import numpy as np
import torch
from harness import Case, Work, circumstances, header, measure
from mpi4py import MPI
from threadpoolctl import threadpool_limits

import refimpl as ri
from refimpl import layers

TARGET = 0.5
CONVOLUTIONS = (  # batch, channels in and out, sides, kernel, stride
    (8, 1, 6, (28, 28), 5, 1),
    (4, 3, 16, (64, 64), 3, 1),
    (4, 16, 16, (64, 64), 3, 1),
    (4, 32, 32, (64, 64), 3, 1),
    (1, 64, 64, (64, 64), 3, 1),
    (1, 128, 128, (32, 32), 3, 1),
    (1, 16, 16, (256, 256), 3, 1),
    (4, 32, 64, (64, 64), 3, 2),
    (4, 16, 16, (4096,), 3, 1),
    (1, 16, 16, (32, 32, 32), 3, 1),
)
POOLS = (((4, 16, 64, 64), 2, 2), ((4, 16, 256, 256), 2, 2), ((4, 16, 64, 64), 3, 1), ((1, 8, 32, 32, 32), 2, 2))


def convolutions(comm: MPI.Comm) -> Iterator[Case]:
    for dtype in ("float32", "float64"):
        for batch, channels, out, sides, kernel, stride in CONVOLUTIONS:
            X = ri.Space(ri.Partition(comm, (1,) * (2 + len(sides))), (batch, channels, *sides), dtype)
            F = layers.Convolution(X, out, kernel, stride=stride, padding=kernel // 2)
            theirs = getattr(torch.nn, f"Conv{len(sides)}d")(channels, out, kernel, stride=stride, padding=kernel // 2)
            theirs = theirs.to(getattr(torch, dtype))
            with torch.no_grad():
                theirs.weight.copy_(torch.from_numpy(F.parameters["W"]))
                theirs.bias.copy_(torch.from_numpy(F.parameters["b"]))
            name = (
                f"Convolution {batch}x{channels}->{out}, {'x'.join(map(str, sides))}, k {kernel}, s {stride}, {dtype}"
            )
            yield case(name, F, theirs)


def pools(comm: MPI.Comm) -> Iterator[Case]:
    for dtype in ("float32", "float64"):
        for kind in ("Avg", "Max"):
            for shape, kernel, stride in POOLS:
                X = ri.Space(ri.Partition(comm, (1,) * len(shape)), shape, dtype)
                F = getattr(layers, f"{kind}Pool")(X, kernel, stride)
                theirs = getattr(torch.nn, f"{kind}Pool{len(shape) - 2}d")(kernel, stride)
                yield case(f"{kind}Pool {'x'.join(map(str, shape))}, k {kernel}, s {stride}, {dtype}", F, theirs)


def case(name: str, F: layers.Layer, theirs: torch.nn.Module) -> Case:
    x, dy = F.domain.random(1), F.range.random(2)
    tx, ty = torch.from_numpy(x).requires_grad_(True), torch.from_numpy(dy)
    wanted = [tx, *theirs.parameters()]

    def ours() -> list[np.ndarray]:
        y, J = F.linearize(x)
        dx, gradients = J.adjoint(dy)
        return [y, dx, *gradients.values()]

    def torchs() -> list[torch.Tensor]:
        y = theirs(tx)
        return [y, *torch.autograd.grad(y, wanted, ty)]

    tolerance = 1e-4 if F.domain.dtype == "float32" else 1e-10
    for mine, other in zip(ours(), torchs(), strict=True):
        if not np.allclose(mine, other.detach().numpy(), rtol=tolerance, atol=tolerance * np.abs(mine).max()):
            raise SystemExit(f"{name}: torch computes other numbers than refimpl")
    note = f"memory {peak(ours) / 2**20:.1f} MiB, input {x.nbytes / 2**20:.1f}, output {dy.nbytes / 2**20:.1f}"
    return Case(name, {"refimpl": ours, "torch": torchs}, {"torch": TARGET}, note=note)


def peak(work: Work) -> int:
    """The most bytes that ``work`` has allocated at one time."""
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    work()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most - before


GROUPS: dict[str, Callable] = {"convolution": convolutions, "pool": pools}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=GROUPS, help="one of the groups (default: both)")
    parser.add_argument("--rounds", type=int, default=15, help="turns of each contender (default: 15)")
    parser.add_argument("--seconds", type=float, default=0.1, help="length of a turn (default: 0.1)")
    args = parser.parse_args()
    comm = MPI.COMM_WORLD
    torch.set_num_threads(1)
    told = ["## Convolution and pooling, one thread", "", circumstances(1, ("refimpl", "numpy", "torch"))]
    with threadpool_limits(1):
        for name in [args.only] if args.only else GROUPS:
            cases = list(GROUPS[name](comm))
            told += ["", *header(cases[0]), *measure(comm, cases, args.rounds, args.seconds)]
    print("\n".join(told))


if __name__ == "__main__":
    main()
