"""Fully connected layers: every output sees every number of the input maps.

y[n,f] = b[f] + sum over i of x[n,i] * w[f,i]         i runs over (C, H, W) of x
dx[n,i] = sum over f of dy[n,f] * w[f,i]
dw[f,i] = sum over n of dy[n,f] * x[n,i]
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from convjit.ops.base import Array, Arrays, Maps, NdArray, Op, Operand
from convjit.ops.neuron import Neuron

__all__ = ["FcBackwardData", "FcBackwardWeights", "FcForward", "FcShape"]


@dataclass(frozen=True)
class FcShape:
    """Input maps and the number of outputs."""

    input: Maps
    outputs: int

    @property
    def output(self) -> Maps:
        """Shape of y: maps of one pixel."""
        return Maps(self.outputs)

    @property
    def weights(self) -> Array:
        """Shape of w: (F, C*H*W)."""
        return Array((self.outputs, self.input.features))

    def flops(self) -> int:
        """Of one image, one direction."""
        return 2 * self.outputs * self.input.features

    def __str__(self) -> str:
        return f"{self.input} to {self.outputs}"


@dataclass(frozen=True)
class FcForward(Op):
    """y from x, w and b; `neuron` is applied at the end."""

    reads: ClassVar = ("x", "w", "b")
    writes: ClassVar = ("y",)

    shape: FcShape
    biases: bool = True
    neuron: Neuron | None = None
    accumulate: bool = False

    def __post_init__(self) -> None:
        if self.accumulate and (self.biases or self.neuron):
            raise ValueError(
                "what is added to an output has no biases and no neuron: the first input's launch has them"
            )

    @property
    def names(self) -> tuple[str, ...]:
        return ("x", "w", "b", "y") if self.biases else ("x", "w", "y")

    def operands(self) -> dict[str, Operand]:
        found: dict[str, Operand] = {"x": self.shape.input, "w": self.shape.weights, "y": self.shape.output}
        if self.biases:
            found["b"] = Array((self.shape.outputs,))
        return found

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        x = arrays["x"]
        y = x.reshape(len(x), -1) @ arrays["w"].T
        if self.biases:
            y = y + arrays["b"]
        y = y[:, :, None, None]
        return {"y": self.neuron.forward(y) if self.neuron else y}

    def flops(self) -> int:
        return self.shape.flops()


@dataclass(frozen=True)
class FcBackwardData(Op):
    """dx from dy and w."""

    reads: ClassVar = ("dy", "w")
    writes: ClassVar = ("dx",)

    shape: FcShape
    accumulate: bool = False

    def operands(self) -> dict[str, Operand]:
        return {"dy": self.shape.output, "w": self.shape.weights, "dx": self.shape.input}

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        dy = arrays["dy"]
        dx = dy.reshape(len(dy), -1) @ arrays["w"]
        return {"dx": dx.reshape(self.shape.input.logical(len(dy)))}

    def flops(self) -> int:
        return self.shape.flops()


@dataclass(frozen=True)
class FcBackwardWeights(Op):
    """dw from x and dy, summed over the images."""

    reads: ClassVar = ("x", "dy")
    writes: ClassVar = ("dw",)

    shape: FcShape
    accumulate: bool = False

    def operands(self) -> dict[str, Operand]:
        return {"x": self.shape.input, "dy": self.shape.output, "dw": self.shape.weights}

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        x, dy = arrays["x"], arrays["dy"]
        return {"dw": dy.reshape(len(dy), -1).T @ x.reshape(len(x), -1)}

    def flops(self) -> int:
        return self.shape.flops()
