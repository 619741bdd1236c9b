"""Inversion: the most likely input of a layer, given its noisy output, downhill by its adjoint.

Definition   z is standard normal; of m = B z the data d = F(m) + sigma e are seen, e standard normal. Most likely is the z
             at which
                 f(z) = |F(B z) - d|^2 / (2 sigma^2) + |z|^2 / 2
             is least. With J the derivative of F at B z, its gradient is  B* J* (F(B z) - d) / sigma^2 + z.
F            Any layer: a simulator, a network that stands in for it. B: an operator whose domain has one owner.
Ranks        z is short: every rank has all of it, and minimizes alike, the same numbers for the same numbers. What depends on
             cells is cut over the ranks as F and B cut it.
Cost         A value and an adjoint of F for each step downhill, and for some that L-BFGS does not take.
Trap         Where F is an approximation, sigma must hold its error too, or its faults are fitted and taken for the truth.
Reference    Tarantola, "Inverse problem theory", 2005; Byrd, Lu, Nocedal and Zhu (1995), A limited memory algorithm for bound
             constrained optimization (SciPy's L-BFGS-B).
"""

from __future__ import annotations

import numpy as np

from refimpl import wire
from refimpl.layers.layer import Layer
from refimpl.operator import Operator


def descend(F: Layer, B: Operator, data: np.ndarray, sigma: float, iterations: int) -> list[np.ndarray]:
    """This rank's blocks of m = B z at z = 0 and after each of at most so many ``iterations`` of L-BFGS; ``data``: its block
    of the range of F. Collective.

    Raises ValueError on all ranks where the parts do not fit, or sigma is not positive.
    """
    from scipy.optimize import minimize

    if B.range != F.domain or not sigma > 0.0:
        raise ValueError(f"descend: expected B into {F.domain!r} and sigma > 0, got B into {B.range!r} and {sigma}")
    Z, comm = B.domain, F.domain.comm

    def rock(z: np.ndarray) -> np.ndarray:
        return B.forward(Z.scatter(z.reshape(Z.shape)))

    def misfit(z: np.ndarray) -> tuple[float, np.ndarray]:
        """f and its gradient."""
        y, J = F.linearize(rock(z))
        r = (y - data) / sigma
        gradient = Z.gather(B.adjoint(J.adjoint(r / sigma)[0]))
        return 0.5 * (F.range.inner(r, r) + z @ z), wire.share(comm, gradient).ravel() + z

    path = [np.zeros(int(np.prod(Z.shape)))]
    minimize(misfit, path[0], jac=True, method="L-BFGS-B", callback=path.append, options={"maxiter": iterations})
    return [rock(z) for z in path]
