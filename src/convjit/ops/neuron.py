"""Neurons: a function applied to every number on its own.

Gradients are computed from the output where that is possible, so that the output may take the place of the input.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from convjit.ops.base import Arrays, Maps, NdArray, Op, Operand

__all__ = ["NEURONS", "RELU", "Neuron", "NeuronBackward", "NeuronForward", "NeuronKind"]


@dataclass(frozen=True)
class NeuronKind:
    """One function: `forward(x, a, b)`; `slope(z, a, b)` is df/dx from the output, or from the input if
    `from_input`.
    """

    parameters: int
    forward: Callable[[NdArray, float, float], NdArray]
    slope: Callable[[NdArray, float, float], NdArray]
    from_input: bool = False


def _softrelu(x: NdArray, a: float, b: float) -> NdArray:
    return np.where(x > 4, x, np.log1p(np.exp(np.minimum(x, 4))))


NEURONS: dict[str, NeuronKind] = {
    "ident": NeuronKind(0, lambda x, a, b: x, lambda y, a, b: np.ones_like(y)),
    "logistic": NeuronKind(0, lambda x, a, b: 1 / (1 + np.exp(-x)), lambda y, a, b: y * (1 - y)),
    "abs": NeuronKind(0, lambda x, a, b: np.abs(x), lambda x, a, b: np.where(x > 0, 1.0, -1.0), from_input=True),
    "relu": NeuronKind(0, lambda x, a, b: np.maximum(x, 0), lambda y, a, b: np.where(y > 0, 1.0, 0.0)),
    "softrelu": NeuronKind(0, _softrelu, lambda y, a, b: np.where(y > 4, 1.0, 1 - np.exp(-y))),
    "square": NeuronKind(0, lambda x, a, b: x * x, lambda x, a, b: 2 * x, from_input=True),
    "sqrt": NeuronKind(0, lambda x, a, b: np.sqrt(x), lambda y, a, b: 1 / (2 * y)),
    "tanh": NeuronKind(2, lambda x, a, b: a * np.tanh(b * x), lambda y, a, b: b * (a - y * y / a)),
    "brelu": NeuronKind(
        1, lambda x, a, b: np.minimum(a, np.maximum(x, 0)), lambda y, a, b: np.where((y > 0) & (y < a), 1.0, 0.0)
    ),
    "linear": NeuronKind(2, lambda x, a, b: a * x + b, lambda y, a, b: np.full_like(y, a)),
    "log": NeuronKind(1, lambda x, a, b: np.log(a + x), lambda x, a, b: 1 / (a + x), from_input=True),
    "drelu": NeuronKind(
        1, lambda x, a, b: x - a * np.tanh(x / a), lambda x, a, b: np.tanh(x / a) ** 2, from_input=True
    ),
}
"""Every neuron by its name in .cfg files."""


@dataclass(frozen=True)
class Neuron:
    """A neuron and its parameters, e.g. tanh[1.7159,0.6667]."""

    name: str
    a: float = 0.0
    b: float = 0.0

    @property
    def kind(self) -> NeuronKind:
        """Its functions."""
        return NEURONS[self.name]

    def forward(self, x: NdArray) -> NdArray:
        """f(x), element by element."""
        return self.kind.forward(x, self.a, self.b)

    def slope(self, z: NdArray) -> NdArray:
        """df/dx from the output (or the input, where the kind says so)."""
        return self.kind.slope(z, self.a, self.b)

    def __str__(self) -> str:
        values = ",".join(f"{v:g}" for v in (self.a, self.b)[: self.kind.parameters])
        return f"{self.name}[{values}]" if values else self.name


RELU = Neuron("relu")


@dataclass(frozen=True)
class NeuronForward(Op):
    """y = f(x)."""

    reads: ClassVar = ("x",)
    writes: ClassVar = ("y",)
    in_place: ClassVar = (("x", "y"),)

    maps: Maps
    neuron: Neuron

    def operands(self) -> dict[str, Operand]:
        return {"x": self.maps, "y": self.maps}

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        return {"y": self.neuron.forward(arrays["x"])}


@dataclass(frozen=True)
class NeuronBackward(Op):
    """dx = dy * f'; z is the neuron's output, or its input for the kinds whose slope needs it."""

    reads: ClassVar = ("dy", "z")
    writes: ClassVar = ("dx",)
    in_place: ClassVar = (("dy", "dx"),)

    maps: Maps
    neuron: Neuron
    accumulate: bool = False

    def operands(self) -> dict[str, Operand]:
        return {"dy": self.maps, "z": self.maps, "dx": self.maps}

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        return {"dx": arrays["dy"] * self.neuron.slope(arrays["z"])}


@dataclass(frozen=True)
class ThroughNeuron(Op):
    """Base of gradients that may go on through the neuron before their layer: dx is then multiplied by its f'.

    The neuron's output (or input), from which its slope is formed, is the operand `z`; there is none without a neuron.
    What is multiplied cannot be added to a gradient that is there already.
    """

    neuron: Neuron | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if self.neuron and getattr(self, "accumulate", False):
            raise ValueError("a gradient through a neuron is not added to another: the neuron's own launch is")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for name in super().names if self.neuron or name != "z")

    def through(self, dx: NdArray, arrays: Arrays) -> dict[str, NdArray]:
        """The written operand, from the layer's own gradient."""
        return {"dx": dx * self.neuron.slope(arrays["z"]) if self.neuron else dx}
