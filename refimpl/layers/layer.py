"""Layer: a differentiable map of one distributed tensor, with parameters that have one owner each.

Definition   F : X x W -> Y. At (x, w) it has a value y and a Jacobian J : X x W -> Y, a linear operator:
             J.forward is the tangent (dx, dw) -> dy, J.adjoint the map dy -> (dx, dw) that others call backward.
Spaces       X and Y: any; W: the product of the parameters' spaces. X and W have one field.
Parameters   ``parameters`` is a dict of this rank's blocks, ``parameter_spaces`` of their spaces. A small weight lives on one
             rank and is broadcast in the forward, so its gradient arrives summed; a large one is partitioned.
Statistics   What a layer learns without a gradient (running means) is owned like parameters. A layer never changes itself:
             what its statistics become comes back as ``J.new_state``, and whoever trains stores it, ``layer.statistics = ..``.
Frozen       ``layer.frozen()`` is the layer as it is used after training: running statistics in place of the batch's own.
Subclass     gives ``value(x)`` and ``derivative(x)`` -> (y, tangent, adjoint), three things to be read on one screen; with
             statistics, their new values come fourth.
             Neither checks its argument: the public entries ``layer(x)`` and ``layer.linearize(x)`` vote once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from math import prod

from .. import wire
from ..arrays import Array, HostArray
from ..operator import Operator, Traffic, details
from ..space import Product, Space

Blocks = dict[str, Array]


class Layer:
    """A map ``domain`` -> ``range`` with ``parameters``."""

    told: tuple[str, ...] = ()  # the attributes that make it what it is, and that its spaces do not show

    def __init__(self, X: Space, Y: Space) -> None:
        self.domain, self.range = X, Y
        self.parameters: Blocks = {}
        self.parameter_spaces: dict[str, Space] = {}
        self.statistics: Blocks = {}
        self.statistics_spaces: dict[str, Space] = {}

    def __call__(self, x: Array) -> Array:
        """The value alone; nothing is kept.

        ValueError on all ranks where a rank's block is not of the domain, or one of its parameters not of its space.
        """
        self._check(x, "value")
        with wire.unchecked():
            return self.value(x)

    def linearize(self, x: Array) -> tuple[Array, Jacobian]:
        """The value at ``x`` and the Jacobian there, with the present parameters.

        The Jacobian keeps a reference to ``x``, no copy: do not change ``x`` in place while it is in use.
        """
        self._check(x, "linearization")
        with wire.unchecked():
            y, tangent, adjoint, *state = self.derivative(x)
        return y, Jacobian(self, tangent, adjoint, *state)

    def frozen(self) -> Layer:
        """The layer as it is used after training, with the present parameters and statistics."""
        return self

    def _check(self, x: Array, what: str) -> None:
        """One vote on what is called, on this rank's block and on its parameters, which anybody may have set."""
        if wire.checking():
            who, problem = type(self).__name__, None
            if self.parameter_spaces:
                problem = Product(self.parameter_spaces).problem(self.parameters, f"{who}.parameters")
            if self.statistics_spaces and not problem:
                problem = Product(self.statistics_spaces).problem(self.statistics, f"{who}.statistics")
            wire.vote(self.domain.comm, self.domain.problem(x, who) or problem, f"{what} of {self.signature}")

    @property
    def leaves(self) -> list[Layer]:
        """The layers of which this one is made: itself, where it is made of none."""
        return [self]

    @cached_property
    def signature(self) -> str:
        """All that the ranks must agree on, as text: the spaces, and what the subclass has ``told``."""
        owned = ", ".join(f"{name}: {space.signature}" for name, space in self._owned().items())
        spaces = f"{self.domain.signature} to {self.range.signature} with {owned or 'no parameters'}"
        return f"{type(self).__name__} from {spaces}{details(self)}"

    def value(self, x: Array) -> Array:
        raise NotImplementedError

    def derivative(self, x: Array) -> tuple:
        """The value, tangent(dx, dparameters) -> dy, and adjoint(dy) -> (dx, gradients); then new statistics, if any."""
        raise NotImplementedError

    def traffic(self) -> Traffic:
        """What this rank sends in J.forward and in J.adjoint."""
        return Traffic()

    def state(self) -> dict[str, HostArray | None]:
        """All parameters and statistics as global arrays on rank 0 (None elsewhere), whatever the partition."""
        blocks = self.parameters | self.statistics
        return {name: space.gather(blocks[name]) for name, space in self._owned().items()}

    def load_state(self, arrays: Mapping[str, HostArray] | None) -> None:
        """Take global arrays given on rank 0. ValueError on all ranks where a name or a shape does not fit."""
        root, given, owned = self.domain.comm.rank == 0, {} if arrays is None else arrays, self._owned()
        who, problem = f"{type(self).__name__}.load_state", None
        if root and (not isinstance(given, Mapping) or set(given) != set(owned)):
            got = sorted(map(str, given)) if isinstance(given, Mapping) else type(given).__name__
            problem = ValueError(f"{who}: expected parameters {sorted(owned)}, got {got}")
        wire.vote(self.domain.comm, problem, f"load_state of {self.signature}")
        blocks = {name: X.scatter(given[name] if root else None, f"{who}: {name}") for name, X in owned.items()}
        self.parameters = {name: blocks[name] for name in self.parameter_spaces}
        self.statistics = {name: blocks[name] for name in self.statistics_spaces}

    def _owned(self) -> dict[str, Space]:
        return self.parameter_spaces | self.statistics_spaces

    @property
    def parameter_count(self) -> int:
        """How many numbers are learned; a complex one counts as two where the field is real."""
        return sum(map(real_numbers, self.parameter_spaces.values()))


def real_numbers(X: Space) -> int:
    """The numbers of a tensor; where the field is real, a complex one counts as two."""
    return prod(X.shape) * (2 if X.dtype.kind == "c" and X.field == "real" else 1)


class Jacobian(Operator):
    """The derivative of a layer at one point, from Product(x=..., **parameters) to the layer's range.

    ``new_state``: what the layer's statistics become after this point, {} for a layer without.
    """

    def __init__(self, layer: Layer, tangent: Callable, adjoint: Callable, new_state: Blocks | None = None) -> None:
        self.domain, self.range, self.layer = Product({"x": layer.domain} | layer.parameter_spaces), layer.range, layer
        self.tangent, self.cotangent, self.new_state = tangent, adjoint, new_state or {}

    def forward(self, dx: Array | Blocks | tuple[Array, Blocks], dparameters: Blocks | None = None) -> Array:
        """dy for dx and dparameters (default: zero), or for both in one: a dict {"x": dx, **dparameters} or a pair."""
        both = dx if isinstance(dx, dict | tuple) else (dx, dparameters or self._no_change())
        self.domain.check(both, self)
        with wire.unchecked():
            changes = dict(self.domain.element(both))
            return self.tangent(changes.pop("x"), changes)

    def adjoint(self, dy: Array) -> tuple[Array, Blocks]:
        """(dx, gradients) for dy."""
        self.range.check(dy, self, "adjoint")
        with wire.unchecked():
            return self.cotangent(dy)

    def traffic(self) -> Traffic:
        return self.layer.traffic()

    @property
    def name(self) -> str:
        return f"Jacobian of {type(self.layer).__name__}"

    @cached_property
    def signature(self) -> str:
        return f"Jacobian of {self.layer.signature}"

    def _no_change(self) -> Blocks:
        return {name: space.zeros() for name, space in self.domain.spaces.items() if name != "x"}
