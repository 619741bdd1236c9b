"""Composition of layers: one after the other, or side by side and added.

Definition   Sequential: y = F_n(..F_1(x));   Parallel: y = F_1(x) + .. + F_n(x).
Spaces       Sequential: the range of each layer is the domain of the next;   Parallel: all have one domain and one range.
Jacobian     Sequential: J = J_n .. J_1, so J* = J_1* .. J_n*;   Parallel: J = sum of J_i, so J* = sum of J_i*.
Why          The chain rule, and the adjoint of a product and of a sum: <A B x, y> = <B x, A* y> = <x, B* A* y>.
Parameters   Those of layer F named f are called "f.W", "f.b", ..; each layer keeps its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from copy import copy
from functools import reduce
from operator import add
from typing import Any

from ..arrays import Array
from ..operator import Traffic
from ..space import Space
from .layer import Blocks, Layer


class Composite(Layer):
    """The base: named layers whose parameters are seen as one dict."""

    def __init__(self, layers: Mapping[str, Layer]) -> None:
        if not layers:
            raise ValueError(f"{type(self).__name__}: expected at least one layer, got none")
        self.layers = dict(layers)
        every = list(self.layers.values())
        self.domain, self.range = every[0].domain, every[-1].range
        self.parameter_spaces = joined((name, layer.parameter_spaces) for name, layer in layers.items())
        self.statistics_spaces = joined((name, layer.statistics_spaces) for name, layer in layers.items())

    @property
    def parameters(self) -> Blocks:
        return joined((name, layer.parameters) for name, layer in self.layers.items())

    @parameters.setter
    def parameters(self, blocks: Blocks) -> None:
        for name, layer in self.layers.items():
            layer.parameters = part(blocks, name)

    @property
    def statistics(self) -> Blocks:
        return joined((name, layer.statistics) for name, layer in self.layers.items())

    @statistics.setter
    def statistics(self, blocks: Blocks) -> None:
        for name, layer in self.layers.items():
            layer.statistics = part(blocks, name)

    def frozen(self) -> Composite:
        same = copy(self)
        Composite.__init__(same, {name: layer.frozen() for name, layer in self.layers.items()})
        return same

    def traffic(self) -> Traffic:
        return sum((layer.traffic() for layer in self.layers.values()), Traffic())


class Sequential(Composite):
    """One layer after the other. ValueError where the range of one is not the domain of the next."""

    def __init__(self, layers: Mapping[str, Layer]) -> None:
        super().__init__(layers)
        pairs = zip(list(layers.items())[:-1], list(layers.items())[1:], strict=True)
        for (name, layer), (after, following) in pairs:
            if layer.range != following.domain:
                raise ValueError(f"Sequential: {name} gives {layer.range!r}, but {after} expects {following.domain!r}")

    def value(self, x: Array) -> Array:  # y = F_n(..F_1(x))
        for layer in self.layers.values():
            x = layer.value(x)
        return x

    def derivative(self, x: Array) -> tuple[Array, Callable, Callable, Blocks]:
        steps, states = [], []
        for name, layer in self.layers.items():
            x, tangent_of, adjoint_of, *state = layer.derivative(x)
            steps.append((name, tangent_of, adjoint_of))
            states += [(name, new) for new in state]

        def tangent(dx: Array, d: Blocks) -> Array:  # dy = J_n .. J_1 dx
            for name, tangent_of, _ in steps:
                dx = tangent_of(dx, part(d, name))
            return dx

        def adjoint(dy: Array) -> tuple[Array, Blocks]:  # dx = J_1* .. J_n* dy
            gradients: Blocks = {}
            for name, _, adjoint_of in reversed(steps):
                dy, own = adjoint_of(dy)
                gradients |= joined([(name, own)])
            return dy, gradients

        return x, tangent, adjoint, joined(states)


class Parallel(Composite):
    """The sum of layers with one domain and one range. ValueError where they differ."""

    def __init__(self, layers: Mapping[str, Layer]) -> None:
        super().__init__(layers)
        for name, layer in layers.items():
            if layer.domain != self.domain or layer.range != self.range:
                raise ValueError(f"Parallel: {name} maps {layer.domain!r} to {layer.range!r}, unlike the others")

    def value(self, x: Array) -> Array:  # y = sum of F_i(x)
        return reduce(add, (layer.value(x) for layer in self.layers.values()))

    def derivative(self, x: Array) -> tuple[Array, Callable, Callable, Blocks]:
        branches = {name: layer.derivative(x) for name, layer in self.layers.items()}

        def tangent(dx: Array, d: Blocks) -> Array:  # dy = sum of J_i dx
            return reduce(add, (tangent_of(dx, part(d, name)) for name, (_, tangent_of, *_) in branches.items()))

        def adjoint(dy: Array) -> tuple[Array, Blocks]:  # dx = sum of J_i* dy
            parts = {name: adjoint_of(dy) for name, (_, _, adjoint_of, *_) in branches.items()}
            return reduce(add, (dx for dx, _ in parts.values())), joined(
                (name, own) for name, (_, own) in parts.items()
            )

        states = joined((name, new) for name, (_, _, _, *state) in branches.items() for new in state)
        return reduce(add, (y for y, *_ in branches.values())), tangent, adjoint, states


def chain(X: Space, makers: Mapping[str, Callable[[Space], Layer]]) -> dict[str, Layer]:
    """Layers for Sequential: each is made on the range of the one before, the first on ``X``."""
    layers: dict[str, Layer] = {}
    for name, make in makers.items():
        layers[name] = make(X)
        X = layers[name].range
    return layers


def joined(named: Iterable[tuple[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """One dict of several: the entry ``key`` of the one called ``name`` becomes "name.key"."""
    return {f"{name}.{key}": value for name, entries in named for key, value in entries.items()}


def part(blocks: Blocks, name: str) -> Blocks:
    """The blocks called ``name.*``, without the prefix."""
    return {key[len(name) + 1 :]: block for key, block in blocks.items() if key.startswith(f"{name}.")}
