"""Numbers: images that are numbers instead of bytes, such as the features of another net; the mean is taken off.

x[n,c,i,j] = pixels[n,c,i,j] - mean[c,i,j]
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from convjit.ops.base import Array, Arrays, Maps, NdArray, Op, Operand, PerImage

__all__ = ["Numbers"]


@dataclass(frozen=True)
class Numbers(Op):
    """x from float32 images, each seen as a whole."""

    reads: ClassVar = ("pixels", "mean")
    writes: ClassVar = ("x",)

    maps: Maps

    def operands(self) -> dict[str, Operand]:
        shape = (self.maps.channels, self.maps.height, self.maps.width)
        return {"pixels": PerImage(shape), "mean": Array(shape), "x": self.maps}

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        return {"x": arrays["pixels"] - arrays["mean"]}
