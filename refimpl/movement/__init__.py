"""Data movement between ranks, as linear operators: each page is one forward / adjoint pair."""

from . import memory
from .all_gather import AllGather
from .all_sum_reduce import AllSumReduce
from .broadcast import Broadcast
from .halo_exchange import HaloExchange
from .reduce_scatter import ReduceScatter
from .repartition import Repartition
from .sum_reduce import SumReduce

__all__ = [
    "AllGather",
    "AllSumReduce",
    "Broadcast",
    "HaloExchange",
    "ReduceScatter",
    "Repartition",
    "SumReduce",
    "memory",
]
