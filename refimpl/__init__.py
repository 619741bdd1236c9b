"""refimpl: the executable reference of model-parallel scientific machine learning.

Pure NumPy over MPI, no autodiff: every data movement and every layer is an explicit forward / adjoint pair.

    from mpi4py import MPI
    import refimpl as ri

    P = ri.Partition(MPI.COMM_WORLD, (2, 2))       # mpiexec -n 4 python ...
    X = ri.Space(P, (65, 33))
    H = ri.HaloExchange(X, [(1, 1), (1, 1)])
    x, y = X.random(seed=1), H.range.random(seed=2, copies="independent")
    H.range.inner(H.forward(x), y) == X.inner(x, H.adjoint(y))      # but for round-off
"""

from . import layers, models, movement, training, verify
from .movement import (
    AllGather,
    AllSumReduce,
    Broadcast,
    Gather,
    HaloExchange,
    Padding,
    ReduceScatter,
    Repartition,
    Restriction,
    Scatter,
    Shift,
    SumReduce,
    Transpose,
    memory,
)
from .operator import Identity, Operator, Traffic
from .partition import Partition, blocks
from .space import Product, Space
from .wire import counting, unchecked

__version__ = "0.1.0"

__all__ = [
    "AllGather",
    "AllSumReduce",
    "Broadcast",
    "Gather",
    "HaloExchange",
    "Identity",
    "Operator",
    "Padding",
    "Partition",
    "Product",
    "ReduceScatter",
    "Repartition",
    "Restriction",
    "Scatter",
    "Shift",
    "Space",
    "SumReduce",
    "Traffic",
    "Transpose",
    "blocks",
    "counting",
    "layers",
    "memory",
    "models",
    "movement",
    "training",
    "unchecked",
    "verify",
]
