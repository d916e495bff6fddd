"""Maps on another grid of pixels: sampled, blurred, resized, mirrored.

    Nailbed    y[n,c,i,j] = x[n,c,top + i*S, left + j*S]
               rows = ceil(H/S), top = (H - S*(rows - 1)) // 2; so columns
    Blur       y[n,c] = x[n,c] filtered with g across and down, zeros around the image
               g[d] = exp(-d**2 / (2 deviation**2)) / sum, d = -(K//2) ... K//2; symmetric, and so its own gradient
    Mirror     y[n,c,i,j] = x[n,c,i,W-1-j]
    Resize     bilinear: y[n,c,i,j] = x[n,c] at row at(i, h, H), column at(j, w, W)
               at(i, h, H) = i*scale + (H - h*scale) / 2, but at least 0 and at most H - 1.01
    Rescale    a random part of the image resized by a random factor. side is the smaller side of the image, `smallest`
               the least size of that side; R = smallest + s is drawn with s = 0 ... side - smallest in proportion to
               (s + 1)**2, scale = side / R, h' = H*R // side. The part begins at random at row 0 ... h' - h, or at 0:
               y = x[n,c] at row at(begin + i, h', H); so columns. With R = side the last row is H - 1: a plain cut.

The numbers u of Rescale are the first three of random.uniform(key): s is how many s' have P(s <= s') <= u; a place
among k is floor(u * k); for rows the second number, for columns the third.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from convjit import random
from convjit.ops.base import Array, Arrays, Maps, NdArray, Op, Operand

__all__ = ["Blur", "Mirror", "Nailbed", "NailbedBackward", "Rescale", "Resize"]

EDGE = 1.01
"""How far before the end of a side the last place lies that is sampled."""


@dataclass(frozen=True)
class Nailbed(Op):
    """y, every `stride`-th pixel of x in both directions."""

    reads: ClassVar = ("x",)
    writes: ClassVar = ("y",)

    source: Maps
    stride: int

    @property
    def maps(self) -> Maps:
        """Shape of y."""
        return Maps(self.source.channels, -(-self.source.height // self.stride), -(-self.source.width // self.stride))

    @property
    def start(self) -> tuple[int, int]:
        """(top, left)."""
        source, maps = self.source, self.maps
        sides = ((source.height, maps.height), (source.width, maps.width))
        top, left = ((side - self.stride * (count - 1)) // 2 for side, count in sides)
        return top, left

    def operands(self) -> dict[str, Operand]:
        return {"x": self.source, "y": self.maps}

    def touched(self, operand: str) -> Operand:
        return self.operands()["y"]

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        top, left = self.start
        return {"y": arrays["x"][:, :, top :: self.stride, left :: self.stride].copy()}


@dataclass(frozen=True)
class NailbedBackward(Op):
    """dx from dy: 0 beside the sampled pixels."""

    reads: ClassVar = ("dy",)
    writes: ClassVar = ("dx",)

    source: Maps
    stride: int
    accumulate: bool = False

    @property
    def forward(self) -> Nailbed:
        """What it is the gradient of."""
        return Nailbed(self.source, self.stride)

    def operands(self) -> dict[str, Operand]:
        return {"dy": self.forward.maps, "dx": self.source}

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        (top, left), dy = self.forward.start, arrays["dy"]
        dx = np.zeros(self.source.logical(len(dy)))
        dx[:, :, top :: self.stride, left :: self.stride] = dy
        return {"dx": dx}


@dataclass(frozen=True)
class Blur(Op):
    """y from x, or dx as y from dy as x; `size` is odd."""

    reads: ClassVar = ("x",)
    writes: ClassVar = ("y",)

    maps: Maps
    size: int
    deviation: float
    accumulate: bool = False

    @property
    def weights(self) -> list[float]:
        """g."""
        far = self.size // 2
        found = [math.exp(-(d**2) / (2 * self.deviation**2)) for d in range(-far, far + 1)]
        return [one / sum(found) for one in found]

    def operands(self) -> dict[str, Operand]:
        return {"x": self.maps, "y": self.maps}

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        far, y = self.size // 2, arrays["x"]
        for axis, side in ((2, self.maps.height), (3, self.maps.width)):
            around = np.pad(y, [(far, far) if i == axis else (0, 0) for i in range(4)])
            y = np.sum([g * np.take(around, range(i, i + side), axis) for i, g in enumerate(self.weights)], axis=0)
        return {"y": y}


@dataclass(frozen=True)
class Mirror(Op):
    """y, x with left and right exchanged."""

    reads: ClassVar = ("x",)
    writes: ClassVar = ("y",)

    maps: Maps

    def operands(self) -> dict[str, Operand]:
        return {"x": self.maps, "y": self.maps}

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        return {"y": arrays["x"][:, :, :, ::-1].copy()}


def _bilinear(x: NdArray, axis: int, places: NdArray) -> NdArray:
    """x at fractional places along an axis."""
    low = places.astype(np.int64)
    high = np.minimum(low + 1, x.shape[axis] - 1)
    share = (places - low).reshape([-1 if i == axis else 1 for i in range(4)])
    between: NdArray = np.take(x, low, axis) * (1 - share) + np.take(x, high, axis) * share
    return between


def _places(count: int, begin: int, size: int, side: int, scale: float, edge: float = EDGE) -> NdArray:
    """Where `count` pixels from number `begin` of a side resized to `size` lie on the side."""
    middle = (side - size * scale) / 2
    found: NdArray = np.arange(begin, begin + count) * scale + middle
    return np.clip(found, 0, max(side - edge, 0))


@dataclass(frozen=True)
class Resize(Op):
    """y, x with `scale` pixels to one of y."""

    reads: ClassVar = ("x",)
    writes: ClassVar = ("y",)

    source: Maps
    maps: Maps
    scale: float

    def operands(self) -> dict[str, Operand]:
        return {"x": self.source, "y": self.maps}

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        y = arrays["x"]
        sides = (2, self.maps.height, self.source.height), (3, self.maps.width, self.source.width)
        for axis, count, side in sides:
            y = _bilinear(y, axis, _places(count, 0, count, side, self.scale))
        return {"y": y}


@dataclass(frozen=True)
class Rescale(Op):
    """y, a part of x in a size; `key` holds the two words of the step's key."""

    reads: ClassVar = ("x", "key")
    writes: ClassVar = ("y",)

    source: Maps
    maps: Maps
    smallest: int

    @property
    def side(self) -> int:
        """The smaller side of the image."""
        return min(self.source.height, self.source.width)

    def thresholds(self) -> list[int]:
        """2**24 times P(s <= 0), P(s <= 1), ..., but for the last, rounded up: what u * 2**24 is compared to."""
        squares = [(s + 1) ** 2 for s in range(self.side - self.smallest + 1)]
        sums = np.cumsum(squares)
        return [-(-int(one) * 2**24 // int(sums[-1])) for one in sums[:-1]]

    def operands(self) -> dict[str, Operand]:
        return {"x": self.source, "key": Array((2,), "int32"), "y": self.maps}

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        y, (first, second) = arrays["x"], (int(word) for word in arrays["key"].astype(np.int32).view(np.uint32))
        drawn = [int(u * 2**24) for u in random.uniform((first, second), 3)]
        size = self.smallest + sum(drawn[0] >= one for one in self.thresholds())
        scale, edge = self.side / size, EDGE if size < self.side else 1.0
        sides = (2, self.maps.height, self.source.height), (3, self.maps.width, self.source.width)
        for axis, count, side in sides:
            whole = side * size // self.side
            begin = drawn[axis - 1] * (max(whole - count, 0) + 1) >> 24
            y = _bilinear(y, axis, _places(count, begin, whole, side, scale, edge))
        return {"y": y}
