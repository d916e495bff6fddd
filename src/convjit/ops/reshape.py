"""Reshape: y[n] = x[n] with the same numbers, in the order of (C, H, W), as maps of another shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from convjit.ops.base import Arrays, Maps, NdArray, Op, Operand

__all__ = ["Reshape"]


@dataclass(frozen=True)
class Reshape(Op):
    """y from x; both have as many features."""

    reads: ClassVar = ("x",)
    writes: ClassVar = ("y",)

    source: Maps
    maps: Maps
    accumulate: bool = False

    def operands(self) -> dict[str, Operand]:
        return {"x": self.source, "y": self.maps}

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        x = arrays["x"]
        return {"y": x.reshape(self.maps.logical(len(x)))}
