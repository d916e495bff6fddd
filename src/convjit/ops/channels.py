"""Channels in another order, some more than once: what a convolution with sparse connections reads.

y[n,k] = x[n, order[k]]
dx[n,c] = sum of dy[n,k] over the k with order[k] = c
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from convjit.ops.base import Arrays, Maps, NdArray, Op, Operand

__all__ = ["SelectChannels", "SelectChannelsBackward"]


@dataclass(frozen=True)
class SelectChannels(Op):
    """y from x: channel `order[k]` becomes channel k."""

    reads: ClassVar = ("x",)
    writes: ClassVar = ("y",)

    maps: Maps
    order: tuple[int, ...]

    def operands(self) -> dict[str, Operand]:
        return {"x": self.maps, "y": Maps(len(self.order), self.maps.height, self.maps.width)}

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        return {"y": arrays["x"][:, list(self.order)]}


@dataclass(frozen=True)
class SelectChannelsBackward(Op):
    """dx from dy; every channel is in the order equally often."""

    reads: ClassVar = ("dy",)
    writes: ClassVar = ("dx",)

    maps: Maps
    order: tuple[int, ...]
    accumulate: bool = False

    def operands(self) -> dict[str, Operand]:
        return {"dy": Maps(len(self.order), self.maps.height, self.maps.width), "dx": self.maps}

    def places(self) -> list[list[int]]:
        """Where each channel is in the order."""
        return [[k for k, channel in enumerate(self.order) if channel == c] for c in range(self.maps.channels)]

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        return {"dx": np.stack([arrays["dy"][:, places].sum(1) for places in self.places()], axis=1)}
