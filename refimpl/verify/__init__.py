"""Verification: dot tests, Taylor tests, explicit matrices, pictures, and property tests over MPI (``verify.spmd``)."""

from . import draw
from .dot_test import DotTest, dot_test
from .matrix import matrix
from .taylor import TaylorTest, complex_step_gap, taylor_test

__all__ = ["DotTest", "TaylorTest", "complex_step_gap", "dot_test", "draw", "matrix", "taylor_test"]
