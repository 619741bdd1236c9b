"""Complex data through real layers: both parts through each of two layers, or each part through one of its own.

Definition   For x = a + i b and real layers f and g,
             ComplexValued: y = f(a) - g(b) + i (f(b) + g(a));      Separately: y = f(a) + i g(b).
             The first is (f + i g)(x), where f and g are matrices.
Spaces       X -> Y complex with field "real", any partition; f and g are layers between their real spaces.
Tangent      The same, of the tangents at a and b:   dy = f'(a) da - g'(b) db + i (f'(b) db + g'(a) da).
Adjoint      Of dy = c + i e:   da = f'(a)* c + g'(a)* e,   db = f'(b)* e - g'(b)* c;   a layer that is used at a and at b has
             the sum of two gradients.
Why          With field "real" a complex tensor is the pair (a, b), and this is a sum of real maps of it.
Cost         ComplexValued: twice that of f and of g.
Trap         A function of the parts, as their GELU, is not complex-linear nearby: it has no adjoint in field "complex".
Reference    Trabelsi et al., "Deep complex networks", arXiv 1705.09792.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property

from ..arrays import Array, contiguous, namespace
from ..operator import Traffic
from ..space import Space
from .compose import Composite, joined, part
from .layer import Blocks, Layer

RE, IM = 0, 1


class RealParts(Composite):
    """The base: a subclass gives ``terms``, each (layer's name, the part of x that it takes, the part of y, its sign).

    Raises ValueError where X is not complex with field "real", a layer is not on its real space, or one has statistics: it
    would be used twice a pass.
    """

    terms: tuple[tuple[str, int, int, int], ...]

    def __init__(self, X: Space, layers: Mapping[str, Layer]) -> None:
        who, names, real = type(self).__name__, list(dict.fromkeys(name for name, *_ in self.terms)), real_space(X)
        if X.dtype.kind != "c" or X.field != "real":
            raise ValueError(f'{who}: expected a complex space with field="real", got {X!r} with field="{X.field}"')
        if list(layers) != names:
            raise ValueError(f"{who}: expected the layers {names}, got {list(layers)}")
        ranges = [layer.range for layer in layers.values()]
        if any(layer.domain != real or layer.range != ranges[0] for layer in layers.values()):
            raise ValueError(f"{who}: expected layers from {real!r} to one space, got ones to {ranges}")
        if any(layer.statistics_spaces for layer in layers.values()):
            raise ValueError(f"{who}: expected layers without statistics")
        self.domain, self.range, self.layers = X, ranges[0].replace(dtype=X.dtype, field="real"), dict(layers)
        self.parameter_spaces, self.statistics_spaces = self._named("parameter_spaces"), {}

    def value(self, x: Array) -> Array:  # sum of sign f(part of x), into a part of y
        return self._sum(x, [self.layers[name].value for name, *_ in self.terms])

    def derivative(self, x: Array) -> tuple[Array, Callable, Callable]:
        at, names = parts_of(x), [name for name, *_ in self.terms]
        derivatives = [self.layers[f].derivative(at[source])[:3] for f, source, *_ in self.terms]
        ys, tangents, adjoints = zip(*derivatives, strict=True)

        def tangent(dx: Array, d: Blocks) -> Array:  # sum of sign (f'(part of x) (part of dx) + its change)
            own = [part(d, name) for name in names]
            return self._sum(dx, [lambda da, t=t, dw=dw: t(da, dw) for t, dw in zip(tangents, own, strict=True)])

        def adjoint(dy: Array) -> tuple[Array, Blocks]:  # part of dx = sum of f'(part of x)* sign (part of dy)
            c, dx = parts_of(dy), [0, 0]
            gradients: Blocks = {}
            for (name, source, target, sign), J in zip(self.terms, adjoints, strict=True):
                da, dw = J(sign * c[target])
                dx[source] = dx[source] + da
                gradients |= {k: gradients[k] + g if k in gradients else g for k, g in joined([(name, dw)]).items()}
            return dx[RE] + 1j * dx[IM], gradients

        return self._sum(x, [lambda _, y=y: y for y in ys]), tangent, adjoint

    def _sum(self, x: Array, maps: list[Callable]) -> Array:
        at, y = parts_of(x), [0, 0]
        for (_, source, target, sign), f in zip(self.terms, maps, strict=True):
            y[target] = y[target] + sign * f(at[source])
        return y[RE] + 1j * y[IM]

    def frozen(self) -> RealParts:
        return type(self)(self.domain, {name: layer.frozen() for name, layer in self.layers.items()})

    def traffic(self) -> Traffic:
        return sum((self.layers[name].traffic() for name, *_ in self.terms), Traffic())

    @cached_property
    def signature(self) -> str:
        return f"{type(self).__name__} of {', '.join(f'{k}: {layer.signature}' for k, layer in self.layers.items())}"


class ComplexValued(RealParts):
    """f(a) - g(b) + i (f(b) + g(a)), for f = layers["fr"] and g = layers["fi"]."""

    terms = (("fr", RE, RE, 1), ("fi", IM, RE, -1), ("fr", IM, IM, 1), ("fi", RE, IM, 1))


class Separately(RealParts):
    """f(a) + i g(b), for f = layers["re"] and g = layers["im"]."""

    terms = (("re", RE, RE, 1), ("im", IM, IM, 1))


def real_space(X: Space) -> Space:
    """The space of the real part of X."""
    return X.replace(dtype=X.dtype.type(0).real.dtype)


def parts_of(x: Array) -> tuple[Array, Array]:
    """The real and the imaginary part."""
    xp = namespace(x)
    return contiguous(xp.real(x)), contiguous(xp.imag(x))
