"""What conv and local share: the geometry of filters that are moved over images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from convjit.layers.given import Each
from convjit.layers.images import ImageLayer
from convjit.layers.options import integer, integers
from convjit.layers.weights import WeightLayer
from convjit.ops.base import Maps
from convjit.ops.conv import ConvShape, modules

__all__ = ["WindowLayer"]


@dataclass(frozen=True, kw_only=True)
class WindowLayer(WeightLayer, ImageLayer):
    """Filters moved over each input, their sums added up. `filters` counts one group's."""

    filters: Each[int] = integers("filters", least=1)
    filter_size: Each[int] = integers("filterSize", least=1)
    padding: Each[int] = integers("padding", default=0, least=0)
    stride: Each[int] = integers("stride", default=1, least=1)
    groups: Each[int] = integers("groups", default=1, least=1)
    modules_x: int = integer("modulesX", default=0, least=0)

    def group_count(self, index: int) -> int:
        """Groups of one input."""
        return self.groups[index]

    def conv_shape(self, index: int, maps: Maps) -> ConvShape:
        """Geometry for one input; ConfigError if it does not fit."""
        size, groups = self.filter_size[index], self.groups[index]
        padding, stride = self.padding[index], self.stride[index]
        if maps.channels % groups:
            raise self.error(f"channels={maps.channels} is not divisible by groups={groups}", "groups")
        for side in (maps.height, maps.width):
            if size > 2 * padding + side:
                found = f"filterSize={size} is larger than the padded image of {2 * padding + side} pixels"
                raise self.error(found, "filterSize")
        rows = self.modules_x or modules(maps.height, size, padding, stride)
        columns = self.modules_x or modules(maps.width, size, padding, stride)
        for count, side in ((rows, maps.height), (columns, maps.width)):
            if -padding + stride * (count - 1) + size < side:
                raise self.error(f"modulesX={count} does not cover the input of {side} pixels", "modulesX")
        filters = self.filters[index] * groups
        return ConvShape(maps.channels, maps.height, maps.width, filters, size, padding, stride, groups, rows, columns)

    def shape(self, inputs: Sequence[Maps]) -> Maps:
        outputs = [self.conv_shape(i, maps).output for i, maps in enumerate(inputs)]
        if len(set(outputs)) > 1:
            raise self.error(f"inputs give different outputs: {', '.join(map(str, outputs))}", "inputs")
        return outputs[0]
