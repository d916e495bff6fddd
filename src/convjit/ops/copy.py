"""Copy: y = x; with `accumulate` y = y + x, by which a gradient that reaches a layer unchanged is added."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from convjit.ops.base import Arrays, Maps, NdArray, Op, Operand

__all__ = ["Copy"]


@dataclass(frozen=True)
class Copy(Op):
    """y from x."""

    reads: ClassVar = ("x",)
    writes: ClassVar = ("y",)

    maps: Maps
    accumulate: bool = False

    def operands(self) -> dict[str, Operand]:
        return {"x": self.maps, "y": self.maps}

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        return {"y": arrays["x"].copy()}
