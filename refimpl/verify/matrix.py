"""The explicit matrix of an operator, and the plainest proof of its adjoint.

Definition   M = (A e_1, A e_2, ..) and M* = (A* e_1, A* e_2, ..) by unit vectors.  A* is the adjoint iff M* = conj(M)^T.
Cost         As many forwards and adjoints as the spaces have entries: for small spaces.
"""

from __future__ import annotations

import numpy as np

from .. import wire
from ..operator import Operator


def matrix(A: Operator, tolerance: float = 0.0) -> np.ndarray | None:
    """``A.matrix()`` on rank 0 (None elsewhere), checked against that of the adjoint.

    Raises ArithmeticError on all ranks where an entry differs from the conjugate transpose by more than ``tolerance``.
    """
    M, adjoint = A.matrix(), A.H.matrix()
    problem = None
    if M is not None:
        gap = np.abs(M.conj().T - adjoint)
        if gap.max(initial=0) > tolerance:
            i, j = np.unravel_index(np.argmax(gap), gap.shape)
            problem = ArithmeticError(
                f"{type(A).__name__}: the matrix of the adjoint has {adjoint[i, j]:.6g} in row {i}, column {j}, "
                f"the conjugate transpose has {M[j, i].conj():.6g}"
            )
    wire.vote(A.domain.comm, problem)
    return M
