"""Softmax over all numbers of an image.

y[n,i] = exp(x[n,i] - m[n]) / sum over j of exp(x[n,j] - m[n])          m[n] = largest of x[n]; i, j run over (C, H, W)
dx[n,i] = y[n,i] * (dy[n,i] - sum over j of dy[n,j] * y[n,j])
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from convjit.ops.base import Arrays, Maps, NdArray, Op, Operand

__all__ = ["SoftmaxBackward", "SoftmaxForward"]

FEATURES = (1, 2, 3)
"""The axes of C, H, W."""


@dataclass(frozen=True)
class SoftmaxForward(Op):
    """y from x."""

    reads: ClassVar = ("x",)
    writes: ClassVar = ("y",)
    in_place: ClassVar = (("x", "y"),)
    exact: ClassVar = ("x", "y")

    maps: Maps

    def operands(self) -> dict[str, Operand]:
        return {"x": self.maps, "y": self.maps}

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        x = arrays["x"]
        e = np.exp(x - x.max(FEATURES, keepdims=True))
        return {"y": e / e.sum(FEATURES, keepdims=True)}


@dataclass(frozen=True)
class SoftmaxBackward(Op):
    """dx from dy and y."""

    reads: ClassVar = ("dy", "y")
    writes: ClassVar = ("dx",)
    in_place: ClassVar = (("dy", "dx"),)
    exact: ClassVar = ("dy", "y", "dx")

    maps: Maps
    accumulate: bool = False

    def operands(self) -> dict[str, Operand]:
        return {"dy": self.maps, "y": self.maps, "dx": self.maps}

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        dy, y = arrays["dy"], arrays["y"]
        return {"dx": y * (dy - (dy * y).sum(FEATURES, keepdims=True))}
