"""Pooling across channels: the largest number of every window of channels, at each pixel.

window o = channels [start + o*S, start + o*S + size), clipped
y[n,o,i,j] = largest x[n,c,i,j] in the window       dx[n,c,i,j] = sum of dy[n,o,i,j] over the windows that contain c
                                                                  and whose y equals x[n,c,i,j]
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from convjit.ops.base import Arrays, Maps, NdArray, Op, Operand

__all__ = ["CrossPoolBackward", "CrossPoolForward", "CrossPoolShape"]


@dataclass(frozen=True)
class CrossPoolShape:
    """The maps and the windows; none of them lies outside the channels."""

    maps: Maps
    size: int
    stride: int
    start: int
    outputs: int

    def __str__(self) -> str:
        return f"{self.maps} size={self.size} stride={self.stride} start={self.start} outputs={self.outputs}"

    @property
    def output(self) -> Maps:
        """Shape of y."""
        return Maps(self.outputs, self.maps.height, self.maps.width)

    def spans(self) -> list[tuple[int, int]]:
        """(first, end) channel of every window."""
        starts = [self.start + o * self.stride for o in range(self.outputs)]
        return [(max(first, 0), min(first + self.size, self.maps.channels)) for first in starts]


@dataclass(frozen=True)
class CrossPoolForward(Op):
    """y from x."""

    reads: ClassVar = ("x",)
    writes: ClassVar = ("y",)

    shape: CrossPoolShape

    def operands(self) -> dict[str, Operand]:
        return {"x": self.shape.maps, "y": self.shape.output}

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        x = arrays["x"]
        return {"y": np.stack([x[:, first:end].max(1) for first, end in self.shape.spans()], axis=1)}


@dataclass(frozen=True)
class CrossPoolBackward(Op):
    """dx from dy and what the forward pass has read and written."""

    reads: ClassVar = ("x", "y", "dy")
    writes: ClassVar = ("dx",)
    compared: ClassVar = (("x", "y"),)

    shape: CrossPoolShape
    accumulate: bool = False

    def operands(self) -> dict[str, Operand]:
        return {"x": self.shape.maps, "y": self.shape.output, "dy": self.shape.output, "dx": self.shape.maps}

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        x, y, dy = arrays["x"], arrays["y"], arrays["dy"]
        dx = np.zeros_like(x)
        for o, (first, end) in enumerate(self.shape.spans()):
            largest = x[:, first:end] == y[:, o : o + 1]
            dx[:, first:end] += np.where(largest, dy[:, o : o + 1], 0)
        return {"dx": dx}
