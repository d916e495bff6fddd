"""Points of V images, interpolated: the part of `convjit.kernels.input` for images that are turned or scaled.

A lane is an image here too, and has its own map from pixels to points. The places of the four neighbours are worked out
for V images at once, then bytes are fetched one by one: V x 4 x C loads of a byte for C vectors, which share the
places.
"""

from __future__ import annotations

from collections.abc import Sequence

from convjit.codegen.kernel import Kernel
from convjit.codegen.values import Index, Value
from convjit.ops.input import Input

__all__ = ["Sampler"]


class Sampler:
    """Pixels of the images with these numbers, one to a lane; `flipped` are those that are mirrored."""

    def __init__(self, k: Kernel, op: Input, images: Sequence[Value], flipped: Value) -> None:
        self._k, self._op, self._flipped = k, op, flipped
        places = k.scalars("places")
        self._places = [k.pack([places.load(image * 6 + i) for image in images]) for i in range(6)]
        self._starts = [k.bytes("pixels") + image * op.source.features for image in images]

    def pixel(self, y: Value, column: Index) -> list[Value]:
        """The values of a pixel of the crop, one vector for each channel."""
        k, source = self._k, self._op.source
        y0, yi, yj, x0, xi, xj = self._places
        i = k.to_float(k.broadcast(k.to_word(y)))
        there, back = (
            k.broadcast(k.to_word(k.index(at))) for at in (column, self._op.maps.width - 1 - k.index(column))
        )
        j = k.to_float(k.select(self._flipped, back, there))
        up, down, low = self._neighbours(k.fma(yj, j, k.fma(yi, i, y0)), source.height)
        left, right, near = self._neighbours(k.fma(xj, j, k.fma(xi, i, x0)), source.width)
        corners = [row * source.width + place for row in (up, down) for place in (left, right)]
        offsets = [[k.to_index(k.lane(corner, lane)) for lane in range(k.lanes)] for corner in corners]
        found = []
        for channel in range(source.channels):
            plane = channel * source.height * source.width
            a, b, c, d = (self._fetched(lanes, plane) for lanes in offsets)
            upper, lower = k.fma(near, b - a, a), k.fma(near, d - c, c)
            found.append(k.fma(low, lower - upper, upper))
        return found

    def _neighbours(self, at: Value, size: int) -> tuple[Value, Value, Value]:
        """The pixels before and after a place on an axis, and how far behind the first it lies."""
        k = self._k
        at = k.maximum(k.minimum(at, float(size - 1)), 0.0)
        before = k.truncate(at)
        return before, k.minimum(before + 1, size - 1), at - k.to_float(before)

    def _fetched(self, offsets: Sequence[Value], plane: int) -> Value:
        k = self._k
        pairs = zip(self._starts, offsets, strict=True)
        return k.byte_to_float(k.pack([start.load(offset + plane) for start, offset in pairs]))
