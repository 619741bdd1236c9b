"""Verification: dot tests, Taylor tests, explicit matrices, pictures, one rank of many alone, and property tests over MPI
(``verify.spmd``)."""

from . import draw
from .dot_test import DotTest, dot_test
from .lone_rank import LoneRank, SimulatedRank
from .matrix import matrix
from .taylor import TaylorTest, complex_step_gap, taylor_test

__all__ = [
    "DotTest",
    "LoneRank",
    "SimulatedRank",
    "TaylorTest",
    "complex_step_gap",
    "dot_test",
    "draw",
    "matrix",
    "taylor_test",
]
