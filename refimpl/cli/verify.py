"""Prove the adjoints: dot tests of every data movement, layer and model on the ranks at hand.

Data movement is tested on small integers, where <A x, y> and <x, A* y> must be *equal*; all else within a bound of
round-off. With --config, the trained network of that configuration is tested as well, as it was used.

example:
    mpiexec -n 4 refimpl verify
    mpiexec -n 2 refimpl verify --config report/train.toml --report report/adjoints.json
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .files import check_folder, write_whole


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, help="also test the network of this training")
    parser.add_argument("--report", type=Path, help="write the table to this file, as JSON")


def run(args: argparse.Namespace) -> int:
    from .. import wire

    comm = wire.world()
    wire.at_root(comm, lambda: check_report(args.report) if args.report else None)
    rows = [test(*case) for case in (*movements(comm), *layers(comm), *trained(comm, args.config))]
    failed = sum(not row["passed"] for row in rows)
    if comm.rank == 0:
        print(table(rows, comm.size))
    wire.together(comm, lambda: save(args.report, comm.size, rows) if args.report and comm.rank == 0 else None)
    return int(failed > 0)


def movements(comm: Any) -> Iterator[tuple]:
    """(name, spaces, operator, exact, chain) for each data movement, in blocks of unequal size."""
    from .. import Partition, Product, Space
    from .. import movement as m

    P = Partition(comm, (1, comm.size) if comm.size < 4 else (2, comm.size // 2))
    X = Space(P, (7, 11))
    one = Partition(comm, (1, 1), ranks=[comm.size - 1])
    B = m.Broadcast(Space(one, (7, 11)), P)
    G = m.AllGather(X, (0, 1))
    whole = m.Gather(X, root=comm.size - 1)
    edges = {boundary: m.HaloExchange(X, [(1, 1), (2, 2)], boundary) for boundary in ("periodic", "reflect")}
    memory = Product(a=X, b=Space(Partition(comm, P.shape[::-1]), (7, 11)))
    for operator in (
        B,
        m.SumReduce(B.range, one),
        m.AllSumReduce(B.range, (0, 1)),
        G,
        m.ReduceScatter(G.range, (0, 1)),
        whole,
        m.Scatter(whole.range, P, X.cuts),
        m.Repartition(X, Partition(comm, P.shape[::-1])),
        m.Transpose(X),
        m.Padding(X, [(1, 2), (0, 3)]),
        m.Restriction(X, [(2, 6), (1, 11)]),
        m.Shift(X, (2, -3)),
        m.HaloExchange(X, [(2, 1), (1, 3)]),
        *edges.values(),
        *(Primitive(memory, "a", "b") for Primitive in (m.memory.Add, m.memory.Copy, m.memory.Move)),
    ):
        name = operator.name + "".join(f", {boundary}" for boundary, H in edges.items() if H is operator)
        yield name, f"{operator.domain} to {operator.range}", operator, True, 1


def layers(comm: Any) -> Iterator[tuple]:
    """The Jacobian of each layer and of small models at a random point, with respect to input and parameters."""
    from .. import Partition, Shift, Space
    from .. import layers as F
    from ..arrays import namespace
    from ..models import FNO, LeNet5, NeuralOperator

    P = Partition(comm, (1, 1, comm.size, 1) if comm.size < 4 else (1, 1, 2, comm.size // 2))
    X = Space(P, (2, 3, 9, 8))
    rows, C = X.replace(cuts=(0, 1, 3, 2), blocks={}), X.replace(dtype="complex128", field="real")
    for form in ("sums", "repartition"):
        yield f"TruncatedFourier, {form}", repr(X), F.TruncatedFourier(X, (3, 4), form), False, 2
    yield "HermitianProjection", repr(X), F.HermitianProjection(F.TruncatedFourier(X, (3, 5))), False, 1
    yield "SpectralResampling", repr(X), F.SpectralResampling(X, (11, 9), (3, 4)), False, 4
    yield "AxisSum", repr(X), F.AxisSum(X, (1, 2)), False, 1
    for layer, chain in (
        *((layer(X), 1) for layer in (F.GELU, F.TanhGELU, F.ReLU, F.SiLU, F.Sigmoid, F.Softplus, F.Tanh)),
        (F.Linear(X, 5), 1),
        (F.AllGatherLinear(rows, 5, axis=2), 3),
        (F.ReduceScatterLinear(rows, 5, axis=2, onto=1), 3),
        (F.Convolution(X, 4, 3, stride=2, padding=1), 2),
        (F.TransposedConvolution(X, 4, 3, stride=2), 2),
        *((layer(X, 3, 2, 1), 2) for layer in (F.AvgPool, F.MaxPool)),
        *((layer(X), 4) for layer in (F.LayerNorm, F.RMSNorm, F.InstanceNorm, F.GroupNorm, F.BatchNorm)),
        *((layer(X, axis=2), 2) for layer in (F.Softmax, F.LogSoftmax)),
        (F.Dropout(X), 1),
        (F.ChannelAffine(X), 1),
        (F.GridEmbedding(X), 1),
        (F.ComplexValued(C, {"fr": F.Linear(X, 4), "fi": F.Linear(X, 4, seed=1)}), 2),
        (F.Separately(C, {"re": F.GELU(X), "im": F.GELU(X)}), 1),
        (F.Flatten(Space(Partition(comm, (1, comm.size)), (2, 5, 3, 4))), 1),
        (F.Apply(Shift(X, (0, 1, 2, -3))), 1),
        (F.Interpolation(X, (5, 11), "linear"), 2),
        (F.Residual(F.Linear(X, 3)), 2),
        (F.SpectralConvolution(X, (3, 4)), 5),
        (F.FourierBlock(X, (3, 4)), 6),
        (F.ChannelMLP(X, {"hidden": 7, "out": 2}), 4),
        (F.Tiled({"f": (F.Linear(X, 3), "x"), "g": (F.GELU(X), ["f", "x"])}, outputs=("g", "f")), 4),
        (FNO(X, 4, (3, 4), blocks=2), 20),
        (NeuralOperator(X, (4, 5), 4, n_layers=2, norm="group_norm", domain_padding=0.2), 40),
        (LeNet5(Space(Partition(comm, (1, 1, 1, 1)), (2, 1, 28, 28))), 15),
    ):
        yield type(layer).__name__, repr(layer.domain), layer.linearize(layer.domain.random(1))[1], False, chain
    tokens = Space(Partition(comm, (1, comm.size)), (6,), cuts=(0,))
    embedding, u = F.Embedding(tokens, 9, 4, cuts=(1, None)), tokens.uniform(1)
    yield "Embedding", repr(tokens), embedding.linearize(namespace(u).floor(9 * u))[1], False, 2
    cut = Space(P, (2, 4, 9, 8), cuts=(0, 2, 1, 3))
    linear, general = on_three_partitions(comm)
    for name, layer in {
        "GeneralLinear": linear,
        "AllGatherLinear, sharded": F.AllGatherLinear(rows, 5, axis=2, sharded=True),
        "ReduceScatterLinear, experts": F.ReduceScatterLinear(rows, 5, axis=2, onto=1, experts=True),
        "LayerNorm, sharded": F.LayerNorm(X, sharded=True),
        "Convolution, gathered": F.Convolution(cut, 4, 3, channels="all-gather"),
        "Convolution, scattered": F.Convolution(cut, 4, 3, channels="reduce-scatter"),
        "Convolution, scattered, groups": F.Convolution(cut, 4, 3, groups=2, channels="reduce-scatter"),
        "Convolution, general": general,
        "TransposedConvolution, gathered": F.TransposedConvolution(cut, 3, 3, 2, channels="all-gather"),
    }.items():
        yield name, repr(layer.domain), layer.linearize(layer.domain.random(1))[1], False, 3
    termwise = (F.MSE, F.L1, F.Huber, F.BCEWithLogits, F.PoissonNLL, F.KLDivergence)
    for loss in (*termwise, F.CrossEntropy, F.RelativeLp, F.RelativeL2, F.PlumeL2, F.RelativeH1):
        derivative = loss(X).linearize(X.random(1), abs(X.random(2)))[1]
        yield loss.__name__, repr(X), derivative, False, 1
    yield "BCE", repr(X), F.BCE(X).linearize(X.uniform(1), X.uniform(2))[1], False, 1


def on_three_partitions(comm: Any) -> tuple[Any, Any]:
    """A linear layer and a convolution whose inputs and outputs are on different ranks where there are."""
    from .. import Partition, Space
    from ..layers import Convolution, GeneralLinear

    p = max(d for d in (1, 2) if comm.size % d == 0)
    P_w, P_y = Partition(comm, (comm.size // p, p)), Partition(comm, (1, comm.size // p))
    P_x = Partition(comm, (1, p), ranks=range(comm.size - p, comm.size))
    image, weights = P_x.reshape((1, p, 1)), P_w.reshape((*P_w.shape, 1))
    convolution = Convolution(Space(image, (2, 3, 9)), 4, 3, channels=(weights, P_y.reshape((*P_y.shape, 1))))
    return GeneralLinear(Space(P_x, (4, 7)), 5, P_w, P_y), convolution


def trained(comm: Any, path: Path | None) -> Iterator[tuple]:
    """The Jacobian of the trained network at the first unseen case, in float64: the bound then sees a wrong 1e-9."""
    from .. import wire
    from ..training import Dataset, View, load_model
    from .config import read

    if path is None:
        return
    config = wire.together(comm, lambda: read(path))
    data = Dataset(comm, config.data, "test")
    trained = config.network(comm, data.cells, data.frames, batch=1)
    _, scaling = load_model(trained, config.out)
    precise = replace(config, model=replace(config.model, dtype="float64"))
    model = precise.network(comm, data.cells, data.frames, batch=1)
    weights = {name: None if w is None else w.astype(wide(w.dtype)) for name, w in trained.state().items()}
    model.load_state(weights)
    x = data.inputs([View(0)], model.domain, scaling)
    yield "the trained FNO", repr(model.domain), model.linearize(x)[1], False, 10 * config.model.blocks


def wide(dtype: np.dtype) -> np.dtype:
    """float64 or complex128."""
    return np.result_type(dtype, np.float64)


def test(name: str, where: str, operator: Any, exact: bool, chain: int) -> dict[str, Any]:
    from ..verify import dot_test

    found = dot_test(operator, exact=exact, chain=chain)
    return {
        "name": name,
        "where": where,
        "exact": exact,
        "left": float(found.left.real),
        "right": float(found.right.real),
        "gap": float(found.gap),
        "bound": float(found.bound),
        "passed": bool(found),
    }


def table(rows: list[dict], ranks: int) -> str:
    head = f"{'on ' + str(ranks) + ' ranks':32}{'<A x, y>':>22}{'<x, A* y>':>22}{'gap':>10}{'bound':>10}"
    lines = [
        f"{r['name']:32}{r['left']:22.14g}{r['right']:22.14g}{r['gap']:10.1e}"
        + (f"{'exact':>10}" if r["exact"] else f"{r['bound']:10.1e}")
        + ("  ok" if r["passed"] else "  FAILED")
        for r in rows
    ]
    return "\n".join([head, *lines])


def check_report(path: Path) -> None:
    """OSError where the report could not be written: before the tests, not after them."""
    if path.is_dir():
        raise IsADirectoryError(f"--report {path} is a folder, expected a file")
    check_folder(path.parent)


def save(path: Path, ranks: int, rows: list[dict]) -> None:
    write_whole(path, lambda partial: partial.write_text(json.dumps({"ranks": ranks, "rows": rows}, indent=1)))
