"""Response and contrast normalisation: every number is divided by a power of what its neighbours' squares add up to.

    window(i) = [i - n//2, i - n//2 + n), clipped to the valid range     so that an even n leans to the low side
    N(i)      = the pixels of window(row) x window(column) in the same map, or with `CrossMap` the channels of window(i)
                at the same pixel (`blocked`: those of the block [i//n*n, i//n*n + n) that i lies in)

    response norm   d[i] = constant + alpha * sum of x[j]**2 over j in N(i)
    contrast norm   d[i] = constant + alpha * sum of m[j]**2 over j in N(i)    m[j] = x[j] - mean of x over N(j)
    y[i] = x[i] * d[i]**-power                                                 of x, not of m, in both

alpha is `scale` divided by the n numbers of a window over channels, or the n*n of a window over pixels. Backward, with
t[i] = dy[i] * y[i] / d[i]:

    response norm   dx[k] = dy[k] * d[k]**-power - 2*alpha*power * x[k] * sum of t[i] over the i with k in N(i)
    contrast norm   q[j] = -2*alpha*power * m[j] * sum of t[i] over the i with j in N(i)
                    dx[k] = dy[k] * d[k]**-power + q[k] - sum of q[j] / |N(j)| over the j with k in N(j)
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from convjit.ops.base import Arrays, Maps, NdArray, Op, Operand
from convjit.ops.neuron import ThroughNeuron

__all__ = [
    "ContrastNormBackward",
    "ContrastNormForward",
    "CrossMapNormBackward",
    "CrossMapNormForward",
    "NormShape",
    "ResponseNormBackward",
    "ResponseNormForward",
    "windows",
]


def windows(count: int, size: int, blocked: bool = False) -> list[tuple[int, int]]:
    """(first, end) of the window of each of `count` numbers in a row."""
    starts = [i // size * size if blocked else i - size // 2 for i in range(count)]
    return [(max(start, 0), min(start + size, count)) for start in starts]


@dataclass(frozen=True)
class NormShape:
    """The maps, the side n of a window, and the three numbers of the formula; `scale` is not divided yet."""

    maps: Maps
    size: int
    scale: float
    power: float
    constant: float = 1.0

    def __str__(self) -> str:
        return f"{self.maps} n{self.size} scale={self.scale:g} power={self.power:g} constant={self.constant:g}"

    def inverse(self, d: NdArray) -> NdArray:
        """d ** -power."""
        return d**-self.power

    def pixels(self) -> Iterator[tuple[int, int, tuple[slice, slice]]]:
        """(row, column, window) of every pixel."""
        rows, columns = windows(self.maps.height, self.size), windows(self.maps.width, self.size)
        for (i, (top, bottom)), (j, (left, right)) in itertools.product(enumerate(rows), enumerate(columns)):
            yield i, j, (slice(top, bottom), slice(left, right))


@dataclass(frozen=True)
class _Forward(Op):
    """y from x."""

    reads: ClassVar = ("x",)
    writes: ClassVar = ("y",)

    shape: NormShape

    def operands(self) -> dict[str, Operand]:
        return {"x": self.shape.maps, "y": self.shape.maps}


@dataclass(frozen=True)
class _Backward(ThroughNeuron):
    """dx from dy and the input of the forward pass, whose d is formed again."""

    reads: ClassVar = ("x", "dy", "z")
    writes: ClassVar = ("dx",)
    in_place: ClassVar = (("dy", "dx"),)

    shape: NormShape

    def operands(self) -> dict[str, Operand]:
        return dict.fromkeys(self.names, self.shape.maps)


@dataclass(frozen=True)
class ResponseNormForward(_Forward):
    """Windows over the pixels of a map."""

    @property
    def alpha(self) -> float:
        """Factor of the sum of squares."""
        return self.shape.scale / self.shape.size**2

    def denominator(self, x: NdArray) -> NdArray:
        """d."""
        d = np.empty_like(x)
        for i, j, (rows, columns) in self.shape.pixels():
            d[:, :, i, j] = self.shape.constant + self.alpha * (x[:, :, rows, columns] ** 2).sum((2, 3))
        return d

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        x = arrays["x"]
        return {"y": x * self.shape.inverse(self.denominator(x))}


@dataclass(frozen=True)
class ResponseNormBackward(_Backward):
    """The gradient of `ResponseNormForward`."""

    accumulate: bool = False

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        x, dy, shape = arrays["x"], arrays["dy"], self.shape
        forward = ResponseNormForward(shape)
        d = forward.denominator(x)
        r = shape.inverse(d)
        t, dx = dy * x * r / d, dy * r
        for i, j, (rows, columns) in shape.pixels():
            factor = 2 * forward.alpha * shape.power * t[:, :, i : i + 1, j : j + 1]
            dx[:, :, rows, columns] -= factor * x[:, :, rows, columns]
        return self.through(dx, arrays)


@dataclass(frozen=True)
class ContrastNormForward(ResponseNormForward):
    """Windows over the pixels of a map, of which the mean is taken off first."""

    def centred(self, x: NdArray) -> NdArray:
        """m."""
        m = np.empty_like(x)
        for i, j, (rows, columns) in self.shape.pixels():
            m[:, :, i, j] = x[:, :, i, j] - x[:, :, rows, columns].mean((2, 3))
        return m

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        x = arrays["x"]
        return {"y": x * self.shape.inverse(self.denominator(self.centred(x)))}


@dataclass(frozen=True)
class ContrastNormBackward(_Backward):
    """The exact gradient of `ContrastNormForward`; the original ignores that the means depend on x."""

    accumulate: bool = False

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        x, dy, shape = arrays["x"], arrays["dy"], self.shape
        forward = ContrastNormForward(shape)
        m = forward.centred(x)
        d = forward.denominator(m)
        r = shape.inverse(d)
        t, dx, q = dy * x * r / d, dy * r, np.zeros_like(x)
        for i, j, (rows, columns) in shape.pixels():
            factor = 2 * forward.alpha * shape.power * t[:, :, i : i + 1, j : j + 1]
            q[:, :, rows, columns] -= factor * m[:, :, rows, columns]
        dx += q
        for i, j, (rows, columns) in shape.pixels():
            window = dx[:, :, rows, columns]
            window -= q[:, :, i : i + 1, j : j + 1] / window[0, 0].size
        return self.through(dx, arrays)


@dataclass(frozen=True)
class CrossMapNormForward(_Forward):
    """Windows, or blocks, over the channels at a pixel."""

    blocked: bool = False

    @property
    def alpha(self) -> float:
        """Factor of the sum of squares."""
        return self.shape.scale / self.shape.size

    def spans(self) -> list[tuple[int, int]]:
        """(first, end) of the window of every channel."""
        return windows(self.shape.maps.channels, self.shape.size, self.blocked)

    def denominator(self, x: NdArray) -> NdArray:
        """d."""
        d = np.empty_like(x)
        for channel, (first, end) in enumerate(self.spans()):
            d[:, channel] = self.shape.constant + self.alpha * (x[:, first:end] ** 2).sum(1)
        return d

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        x = arrays["x"]
        return {"y": x * self.shape.inverse(self.denominator(x))}


@dataclass(frozen=True)
class CrossMapNormBackward(_Backward):
    """The gradient of `CrossMapNormForward`."""

    blocked: bool = False
    accumulate: bool = False

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        x, dy, shape = arrays["x"], arrays["dy"], self.shape
        forward = CrossMapNormForward(shape, self.blocked)
        d = forward.denominator(x)
        r = shape.inverse(d)
        t, dx = dy * x * r / d, dy * r
        for channel, (first, end) in enumerate(forward.spans()):
            dx[:, first:end] -= 2 * forward.alpha * shape.power * x[:, first:end] * t[:, channel : channel + 1]
        return self.through(dx, arrays)
