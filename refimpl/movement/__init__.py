"""Data movement between ranks, as linear operators: each page is one forward / adjoint pair."""

from . import memory
from .all_gather import AllGather
from .all_sum_reduce import AllSumReduce
from .broadcast import Broadcast
from .halo_exchange import HaloExchange
from .padding import Padding, Restriction
from .reduce_scatter import ReduceScatter
from .repartition import Repartition
from .scatter_gather import Gather, Scatter
from .shift import Shift
from .sum_reduce import SumReduce
from .transpose import Transpose

__all__ = [
    "AllGather",
    "AllSumReduce",
    "Broadcast",
    "Gather",
    "HaloExchange",
    "Padding",
    "ReduceScatter",
    "Repartition",
    "Restriction",
    "Scatter",
    "Shift",
    "SumReduce",
    "Transpose",
    "memory",
]
