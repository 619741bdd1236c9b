"""Composition of layers: a graph; and its special cases, one after the other, side by side, and around.

Definition   A graph has nodes in order. A node applies its layer F_n to the *sum* of its inputs, which are nodes before it, or
             the input x of the graph:   y_n = F_n(sum of y_i over the inputs i of n),   y_x = x;   y = sum of y_o over the
             outputs o.   Sequential: y = F_n(..F_1(x));   Parallel: y = F_1(x) + .. + F_n(x);   Residual: y = x + F(x).
Spaces       What is added has one space, which is the domain of the layer that is applied to it.
Tangent      The same graph of tangents:   dy_n = J_n (sum of dy_i, dw_n).
Adjoint      The graph from its end to its start:   c_n = sum of J_m* c_m over the nodes m that read n, and dy for an output n;
             dx = c_x. A value that is read twice gets the sum of two cotangents.
Why          The chain rule: J is made of products, sums and copies, and the adjoint of a product is that of its factors in the
             other order, that of a sum is copies, and that of copies is a sum.
Parameters   Those of the node f are called "f.W", "f.b", ..; each layer keeps its own. ``parameters`` makes a new dict of them:
             set it as a whole, ``graph.parameters = ..``.
Memory       A value is forgotten after its last use; a linearisation keeps what its layers keep.
Trap         A skip connection whose cotangent replaces the one that has come by the other way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property, reduce
from operator import add
from typing import Any

from ..arrays import Array
from ..operator import Traffic
from ..space import Space
from .layer import Blocks, Layer

Names = str | Sequence[str]


class Composite(Layer):
    """The base of what is made of named ``layers``: the parameter "W" of the layer "f" is "f.W"; each keeps its own."""

    layers: dict[str, Layer]

    def _named(self, what: str) -> dict[str, Any]:
        """The dicts called ``what`` of all layers as one."""
        return joined((name, getattr(layer, what)) for name, layer in self.layers.items())

    @property
    def parameters(self) -> Blocks:
        return self._named("parameters")

    @parameters.setter
    def parameters(self, blocks: Blocks) -> None:
        for name, layer in self.layers.items():
            layer.parameters = part(blocks, name)

    @property
    def statistics(self) -> Blocks:
        return self._named("statistics")

    @statistics.setter
    def statistics(self, blocks: Blocks) -> None:
        for name, layer in self.layers.items():
            layer.statistics = part(blocks, name)

    @property
    def leaves(self) -> list[Layer]:
        return [leaf for layer in self.layers.values() for leaf in layer.leaves]


class Graph(Composite):
    """``nodes``: name -> (layer, its inputs), in order, "x" for the graph's own; ``outputs``: by default the last node.

    Raises ValueError where a node reads what does not come before it (so there are no cycles), nothing reads a node, what is
    added has different spaces, or these are not the domain of the layer.
    """

    def __init__(self, nodes: Mapping[str, tuple[Layer, Names]], outputs: Names = ()) -> None:
        others = [layer for layer, _ in nodes.values() if not isinstance(layer, Layer)]
        if others or not nodes:
            raise ValueError(
                f"{type(self).__name__}: expected at least one layer, got {others[0] if others else 'none'}"
            )
        self.layers = {name: layer for name, (layer, _) in nodes.items()}
        self.inputs = {name: several(inputs) for name, (_, inputs) in nodes.items()}
        self.outputs = several(outputs) or (list(nodes)[-1],)
        self.domain = next(iter(self.layers.values())).domain
        self.range = self._check_nodes()
        last = {i: name for name, inputs in self.inputs.items() for i in inputs if i not in self.outputs}
        self.spent = {name: [i for i, reader in last.items() if reader == name] for name in nodes}
        self.parameter_spaces = self._named("parameter_spaces")
        self.statistics_spaces = self._named("statistics_spaces")

    # ---- value, tangent, adjoint -------------------------------------------------------------------------------------

    def value(self, x: Array) -> Array:  # y_n = F_n(sum of y_i)
        return self._run(x, lambda name, x: self.layers[name].value(x))

    def derivative(self, x: Array) -> tuple[Array, Callable, Callable, Blocks]:
        tangents, adjoints, states, derivative = {}, {}, {}, self.derivatives()

        def linearize(name: str, x: Array) -> Array:
            y, tangents[name], adjoints[name], *state = derivative(name, x)
            states[name] = state[0] if state else {}
            return y

        def tangent(dx: Array, d: Blocks) -> Array:  # dy_n = J_n (sum of dy_i, dw_n)
            return self._run(dx, lambda name, dx: tangents[name](dx, part(d, name)))

        def adjoint(dy: Array) -> tuple[Array, Blocks]:  # c_i += dx_n,  (dx_n, dw_n) = J_n* c_n
            cotangents: Blocks = {}
            gradients: dict[str, Blocks] = {}
            give(dy, self.outputs, cotangents)
            for name, inputs in reversed(self.inputs.items()):
                dx, gradients[name] = adjoints[name](cotangents.pop(name))
                give(dx, inputs, cotangents)
            return cotangents["x"], joined(gradients.items())

        return self._run(x, linearize), tangent, adjoint, joined(states.items())

    def derivatives(self) -> Callable[[str, Array], tuple]:
        """What gives value, tangent and adjoint of one node after the other at what it is applied to."""
        return lambda name, x: self.layers[name].derivative(x)

    def _run(self, x: Array, apply: Callable[[str, Array], Array]) -> Array:
        values = {"x": x}
        for name, inputs in self.inputs.items():
            values[name] = apply(name, reduce(add, (values[i] for i in inputs)))
            for i in self.spent[name]:
                del values[i]
        return reduce(add, (values[o] for o in self.outputs))

    # ---- what belongs to the nodes -----------------------------------------------------------------------------------

    def frozen(self) -> Graph:
        return Graph({name: (layer.frozen(), self.inputs[name]) for name, layer in self.layers.items()}, self.outputs)

    def traffic(self) -> Traffic:
        return sum((layer.traffic() for layer in self.layers.values()), Traffic())

    @cached_property
    def signature(self) -> str:
        nodes = ", ".join(f"{name}: {layer.signature} of {self.inputs[name]}" for name, layer in self.layers.items())
        return f"{type(self).__name__} of {nodes}, giving {self.outputs}"

    # ---- the arguments -----------------------------------------------------------------------------------------------

    def _check_nodes(self) -> Space:
        """The space of the output. ValueError where the graph makes no sense."""
        who, known = type(self).__name__, {"x": self.domain}
        for name, layer in self.layers.items():
            if name == "x" or "." in name:
                raise ValueError(f'{who}: {name!r} is no name for a node: "x" is the input, and dots part names')
            before = [id(leaf) for n in known if n != "x" for leaf in self.layers[n].leaves]
            if any(id(leaf) in before and leaf._owned() for leaf in layer.leaves):
                raise ValueError(f"{who}: a layer of {name} is that of another node; make one for each node")
            self._check_sum(name, self.inputs[name], known, layer.domain)
            known[name] = layer.range
        self._check_sum("the output", self.outputs, known, known.get(self.outputs[0]))
        unread = set(known) - {i for inputs in (*self.inputs.values(), self.outputs) for i in inputs}
        if unread:
            raise ValueError(f"{who}: nothing reads {sorted(unread)}; leave out such nodes, or add them to the outputs")
        return known[self.outputs[0]]

    def _check_sum(
        self, reader: str, inputs: Sequence[str], known: Mapping[str, Space], expected: Space | None
    ) -> None:
        who, given = type(self).__name__, list(inputs)
        if not inputs or not set(inputs) <= set(known):
            raise ValueError(f"{who}: {reader} reads {given}, expected some of {list(known)}, which come before it")
        for i in inputs:
            if known[i] != expected:
                raise ValueError(f"{who}: {i} gives {told(known[i])}, but {reader} expects {told(expected)}")


class Sequential(Graph):
    """One layer after the other. ValueError where the range of one is not the domain of the next."""

    def __init__(self, layers: Mapping[str, Layer]) -> None:
        super().__init__(in_turn(layers))


class Parallel(Graph):
    """The sum of layers with one domain and one range. ValueError where they differ."""

    def __init__(self, layers: Mapping[str, Layer]) -> None:
        super().__init__({name: (layer, "x") for name, layer in layers.items()}, outputs=list(layers))


class Residual(Graph):
    """x + F(x), for a ``layer`` F whose range is its domain, else ValueError."""

    def __init__(self, layer: Layer) -> None:
        super().__init__({"F": (layer, "x")}, outputs=("x", "F"))


def chain(X: Space, makers: Mapping[str, Callable[[Space], Layer]]) -> dict[str, Layer]:
    """Layers for Sequential: each is made on the range of the one before, the first on ``X``."""
    layers: dict[str, Layer] = {}
    for name, make in makers.items():
        layers[name] = make(X)
        X = layers[name].range
    return layers


def in_turn(layers: Mapping[str, Layer]) -> dict[str, tuple[Layer, Names]]:
    """The nodes of a graph of which each reads the one before."""
    before = zip(layers.items(), ("x", *layers), strict=False)
    return {name: (layer, one) for (name, layer), one in before}


def unfolded(
    graph: Graph, prefix: str = "", x: tuple[str, ...] = ("x",)
) -> tuple[dict[str, tuple[Layer, tuple[str, ...]]], tuple[str, ...]]:
    """The nodes of a graph, with those of the graphs in it in their places, and whose sum is its output."""
    nodes: dict[str, tuple[Layer, tuple[str, ...]]] = {}
    gives = {"x": x}
    for name, layer in graph.layers.items():
        inputs, full = tuple(o for i in graph.inputs[name] for o in gives[i]), f"{prefix}{name}"
        if isinstance(layer, Graph):
            inner, gives[name] = unfolded(layer, f"{full}.", inputs)
            nodes |= inner
        else:
            nodes[full], gives[name] = (layer, inputs), (full,)
    return nodes, tuple(o for i in graph.outputs for o in gives[i])


def give(c: Array, names: Iterable[str], cotangents: Blocks) -> None:
    """Add ``c`` to the cotangent of each of ``names``: the adjoint of their sum."""
    for name in names:
        cotangents[name] = cotangents[name] + c if name in cotangents else c


def several(names: Names) -> tuple[str, ...]:
    """One name or several as a tuple."""
    return (names,) if isinstance(names, str) else tuple(names)


def told(X: Any) -> str:
    """A space with its blocks, in which it may differ from another one of the same shape."""
    return f"{X!r} in blocks {list(map(list, X.blocks))}"


def joined(named: Iterable[tuple[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """One dict of several: the entry ``key`` of the one called ``name`` becomes "name.key"."""
    return {f"{name}.{key}": value for name, entries in named for key, value in entries.items()}


def part(blocks: Blocks, name: str) -> Blocks:
    """The blocks called ``name.*``, without the prefix."""
    return {key[len(name) + 1 :]: block for key, block in blocks.items() if key.startswith(f"{name}.")}
