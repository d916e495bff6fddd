"""ClearHalo: zeros around the maps of a buffer whose place in memory was used by another one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from convjit.ops.base import Arrays, Maps, NdArray, Op, Operand

__all__ = ["ClearHalo"]


@dataclass(frozen=True)
class ClearHalo(Op):
    """The halo of x becomes zero; the maps inside keep what they hold."""

    reads: ClassVar = ()
    writes: ClassVar = ("x",)

    maps: Maps

    def operands(self) -> dict[str, Operand]:
        return {"x": self.maps}

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        """Nothing: a halo is no part of the maps as NumPy sees them."""
        return {}
