"""Export: y[n,i] = x[n,i], i over (C, H, W): maps as one plain row per image, for the host to read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from convjit.ops.base import Arrays, Maps, NdArray, Op, Operand, PerImage

__all__ = ["Export"]


@dataclass(frozen=True)
class Export(Op):
    """y (N, C*H*W) from x."""

    reads: ClassVar = ("x",)
    writes: ClassVar = ("y",)

    maps: Maps

    def operands(self) -> dict[str, Operand]:
        return {"x": self.maps, "y": PerImage((self.maps.features,))}

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        x = arrays["x"]
        return {"y": x.reshape(len(x), -1)}
