"""What the ops of conv, local and fc have in common: a product of inputs and weights, and its two gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Generic, Protocol, TypeVar

from convjit.ops.base import Array, Maps, Op, Operand
from convjit.ops.neuron import Neuron

__all__ = [
    "BiasedShape",
    "ProductBackwardData",
    "ProductBackwardWeights",
    "ProductForward",
    "ProductShape",
    "check_added",
]


class ProductShape(Protocol):
    """The geometry of a product."""

    @property
    def input(self) -> Maps:
        """Shape of x."""

    @property
    def output(self) -> Maps:
        """Shape of y."""

    @property
    def weights(self) -> Array:
        """Shape of w."""

    def flops(self) -> int:
        """Of one image, one direction."""


class BiasedShape(ProductShape, Protocol):
    """One of a product with one kind of biases."""

    def biases(self) -> Array:
        """Shape of b."""


S = TypeVar("S", bound=ProductShape)
B = TypeVar("B", bound=BiasedShape)


def check_added(accumulate: bool, *ends: object) -> None:
    """ValueError if a forward op that adds to its output has something that only the first of several may do."""
    if accumulate and any(ends):
        raise ValueError("what is added to an output has no biases and no neuron: the first input's launch has them")


@dataclass(frozen=True)
class ProductForward(Op, Generic[B]):
    """y from x, w and b; `neuron` is applied at the end."""

    reads: ClassVar = ("x", "w", "b")
    writes: ClassVar = ("y",)

    shape: B
    biases: bool = True
    neuron: Neuron | None = None
    accumulate: bool = False

    def __post_init__(self) -> None:
        check_added(self.accumulate, self.biases, self.neuron)

    @property
    def names(self) -> tuple[str, ...]:
        return ("x", "w", "b", "y") if self.biases else ("x", "w", "y")

    def operands(self) -> dict[str, Operand]:
        found: dict[str, Operand] = {"x": self.shape.input, "w": self.shape.weights, "y": self.shape.output}
        if self.biases:
            found["b"] = self.shape.biases()
        return found

    def flops(self) -> int:
        return self.shape.flops()


@dataclass(frozen=True)
class ProductBackwardData(Op, Generic[S]):
    """dx from dy and w."""

    reads: ClassVar = ("dy", "w")
    writes: ClassVar = ("dx",)

    shape: S
    accumulate: bool = False

    def operands(self) -> dict[str, Operand]:
        return {"dy": self.shape.output, "w": self.shape.weights, "dx": self.shape.input}

    def flops(self) -> int:
        return self.shape.flops()


@dataclass(frozen=True)
class ProductBackwardWeights(Op, Generic[S]):
    """dw from x and dy, summed over the images."""

    reads: ClassVar = ("x", "dy")
    writes: ClassVar = ("dw",)

    shape: S
    accumulate: bool = False

    def operands(self) -> dict[str, Operand]:
        return {"x": self.shape.input, "dy": self.shape.output, "dw": self.shape.weights}

    def flops(self) -> int:
        return self.shape.flops()
