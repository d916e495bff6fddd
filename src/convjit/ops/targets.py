"""Targets: what the host gives as rows becomes maps, one image per lane.

x[n,i] = rows[n,i]        lanes without an image get -1, which to costs means "no target"
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from convjit.ops.base import Arrays, Maps, NdArray, Op, Operand, PerImage

__all__ = ["Targets"]


@dataclass(frozen=True)
class Targets(Op):
    """x from rows of as many numbers."""

    reads: ClassVar = ("rows",)
    writes: ClassVar = ("x",)

    maps: Maps

    def operands(self) -> dict[str, Operand]:
        return {"rows": PerImage((self.maps.features,)), "x": self.maps}

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        rows = arrays["rows"]
        return {"x": rows.reshape(self.maps.logical(len(rows)))}
