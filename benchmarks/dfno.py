"""Time our Fourier neural operator against dfno on DistDL, forward + adjoint, on the ranks at hand.

network  32^3 cells, one time step in and 16 out, width 20, modes (4, 4, 4, 4), 4 blocks, one sample, float32, one thread a
         rank. 2 ranks cut the first space axis, 4 ranks the first two: dfno then moves the least.
adjoint  The cotangent of the input and the gradients of all weights, on both sides. Target: 3 times as fast.

Both sides have dfno's weights. Value, cotangent and gradients are compared before they are timed. Checkouts are named by
DFNO_SRC (github.com/slimgroup/dfno, version 0.2) and DISTDL_SRC (github.com/distdl/distdl); without them there is no peer.

example:
    DFNO_SRC=~/dfno DISTDL_SRC=~/distdl mpiexec -n 2 python benchmarks/dfno.py
"""

from __future__ import annotations

import argparse
import warnings
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

import numpy as np
import peers
from harness import Case, Work, circumstances, header, measure
from mpi4py import MPI
from threadpoolctl import threadpool_limits

from refimpl.cli.cases import Case as Network
from refimpl.models import FNO
from refimpl.models.dfno_state import dfno_weights, load_dfno

GRIDS = {1: (1, 1, 1), 2: (2, 1, 1), 4: (2, 2, 1)}
PEER, FASTER = "dfno on DistDL", 3.0
TOLERANCE = 2e-5  # relative to the largest entry, in float32


def case(comm: MPI.Comm) -> Case:
    network = Network("dfno", (32, 32, 32), 16, (4, 4, 4, 4), (GRIDS[comm.size],))
    model = network.model(comm, GRIDS[comm.size])
    x, dy = model.domain.random(1), model.range.random(2)

    def ours() -> tuple:
        y, J = model.linearize(x)
        return y, *J.adjoint(dy)

    theirs = peers.attempt(comm, lambda: dfno(model, network, x, dy))
    here = not isinstance(theirs, str)
    if here:
        compare(model, network.modes, ours(), theirs())
    name = f"grid {GRIDS[comm.size]}, forward + adjoint"
    note = "" if here else f"{PEER}: {theirs}"
    return Case(name, {"refimpl": ours, PEER: theirs if here else None}, {PEER: FASTER}, note=note)


def dfno(model: FNO, network: Network, x: np.ndarray, dy: np.ndarray) -> Work:
    """Value, cotangent and named gradients of dfno's network, whose weights ``model`` gets."""
    X = model.domain
    P = peers.distdl_grid(X.comm, X.partition.shape)
    peers.checkout("DFNO_SRC", "dfno")
    import torch
    from dfno.dfno import DistributedFNO

    torch.manual_seed(X.comm.rank)
    warnings.filterwarnings("ignore", module="dfno")  # it indexes with lists of slices
    with redirect_stdout(StringIO()):  # each of its blocks prints
        net = DistributedFNO(P, X.shape, network.timesteps, network.width, network.modes, network.blocks)
    for name, weight in net.named_parameters():
        if name.endswith(".b"):
            torch.nn.init.normal_(weight)  # by zero, as they are, activations vanish, and so does what is compared
    load_dfno(model, X.comm.gather(arrays(net.state_dict())), X.partition.shape)
    tx, ty = torch.from_numpy(x).requires_grad_(True), torch.from_numpy(dy)
    weights = dict(net.named_parameters())

    def work() -> tuple:
        y = net(tx)
        dx, *gradients = torch.autograd.grad(y, [tx, *weights.values()], ty, allow_unused=True)
        return y, dx, dict(zip(weights, gradients, strict=True))

    return work


def arrays(tensors: dict[str, Any]) -> dict[str, np.ndarray]:
    """Those that are there: a block's bias has no gradient."""
    return {name: t.detach().numpy() for name, t in tensors.items() if t is not None}


def compare(model: FNO, modes: tuple[int, ...], ours: tuple, theirs: tuple) -> None:
    """End the run on all ranks where the two sides differ by more than round-off."""
    comm = model.domain.comm
    pairs = [(a, b.detach().numpy()) for a, b in zip(ours[:2], theirs[:2], strict=True)]
    gradients = {name: model.parameter_spaces[name].gather(g) for name, g in ours[2].items()}
    states = comm.gather(arrays(theirs[2]))
    if comm.rank == 0:
        expected = dfno_weights(states, modes, model.domain.partition.shape)
        pairs += [(gradients[name], expected[name]) for name in gradients]
    gap = comm.allreduce(max(float(np.max(np.abs(a - b)) / np.max(np.abs(b))) for a, b in pairs), op=MPI.MAX)
    if not gap <= TOLERANCE:
        raise SystemExit(f"dfno computes other numbers than refimpl, by {gap:.1e}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="turns of each contender (default: 15)")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of a turn (default: 1)")
    args = parser.parse_args()
    comm = MPI.COMM_WORLD
    if comm.size not in GRIDS:
        raise SystemExit(f"dfno.py: expected 1, 2 or 4 ranks, got {comm.size}; start with mpiexec -n 2")
    told = [f"## Fourier neural operator against dfno, float32, {comm.size} ranks", ""]
    told += [circumstances(comm.size, ("refimpl", "numpy", "mpi4py", "mpich", "torch"))]
    with threadpool_limits(1):
        row = case(comm)
        told += ["", *header(row), *measure(comm, [row], args.rounds, args.seconds)]
    if comm.rank == 0:
        print("\n".join(told))


if __name__ == "__main__":
    main()
