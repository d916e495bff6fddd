"""The key `channels`: how a layer that works on images reads its inputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from convjit.layers.base import Inner, Layer
from convjit.layers.given import Each
from convjit.layers.options import integers
from convjit.ops.base import Maps

__all__ = ["ImageLayer"]


@dataclass(frozen=True, kw_only=True)
class ImageLayer(Inner):
    """A layer whose inputs are images. A flat input, such as fc makes, is taken as `channels` square maps."""

    channels: Each[int] = integers("channels", default=0, least=0, required=True)
    """Of each input; 0 stands for as many as it has."""

    def fitted(self, inputs: Sequence[Maps]) -> Layer:
        return replace(self, channels=tuple(c or maps.channels for c, maps in zip(self.channels, inputs, strict=True)))

    def views(self, inputs: Sequence[Maps]) -> tuple[Maps, ...]:
        each = zip(self.inputs, self.channels, inputs, strict=True)
        return tuple(self._view(name, channels, maps) for name, channels, maps in each)

    def _view(self, name: str, channels: int, maps: Maps) -> Maps:
        if channels == maps.channels:
            return maps
        if (maps.height, maps.width) != (1, 1):
            raise self.error(f"channels={channels}, but input '{name}' has {maps.channels} ({maps})", "channels")
        side = math.isqrt(maps.channels // channels)
        if channels * side * side != maps.channels:
            found = f"the {maps.channels} outputs of input '{name}' are no square images of {channels} channels"
            raise self.error(f"channels={channels}: {found}", "channels")
        return Maps(channels, side, side)
