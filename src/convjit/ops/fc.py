"""Fully connected layers: every output sees every number of the input maps.

y[n,f] = b[f] + sum over i of x[n,i] * w[f,i]         i runs over (C, H, W) of x
dx[n,i] = sum over f of dy[n,f] * w[f,i]
dw[f,i] = sum over n of dy[n,f] * x[n,i]
"""

from __future__ import annotations

from dataclasses import dataclass

from convjit.ops.base import Array, Arrays, Maps, NdArray
from convjit.ops.product import ProductBackwardData, ProductBackwardWeights, ProductForward

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

    def biases(self) -> Array:
        """Shape of b: one per output."""
        return Array((self.outputs,))

    def flops(self) -> int:
        """Of one image, one direction."""
        return 2 * self.outputs * self.input.features

    def __str__(self) -> str:
        return f"{self.input} to {self.outputs}"


@dataclass(frozen=True)
class FcForward(ProductForward[FcShape]):
    """y from x, w and b; `neuron` is applied at the end."""

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        x = arrays["x"]
        y = x.reshape(len(x), -1) @ arrays["w"].T
        if self.biases:
            y = y + arrays["b"]
        y = y[:, :, None, None]
        return {"y": self.neuron.forward(y) if self.neuron else y}


@dataclass(frozen=True)
class FcBackwardData(ProductBackwardData[FcShape]):
    """dx from dy and w."""

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        dy = arrays["dy"]
        dx = dy.reshape(len(dy), -1) @ arrays["w"]
        return {"dx": dx.reshape(self.shape.input.logical(len(dy)))}


@dataclass(frozen=True)
class FcBackwardWeights(ProductBackwardWeights[FcShape]):
    """dw from x and dy, summed over the images."""

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        x, dy = arrays["x"], arrays["dy"]
        return {"dw": dy.reshape(len(dy), -1).T @ x.reshape(len(x), -1)}
