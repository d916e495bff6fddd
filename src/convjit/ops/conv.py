"""Convolution (cross-correlation, no flip): forward, and the gradients of its input, weights and biases.

    y[n,f,i,j] = b[f] + sum over c, ky, kx of x[n, c, i*S-P+ky, j*S-P+kx] * w[f,c,ky,kx]     x is 0 outside the image
    dx[n,c,y,x] = sum of dy[n,f,i,j] * w[f,c,ky,kx] over the f, i, j, ky, kx that meet in the pixel
    dw[f,c,ky,kx] = sum over n, i, j of dy[n,f,i,j] * x[n, c, i*S-P+ky, j*S-P+kx]
    db[f] = sum over n, i, j of dy[n,f,i,j]                                       (unshared biases: sum over n alone)

Group g sees channels [g*C/G, (g+1)*C/G) and makes filters [g*F/G, (g+1)*F/G); c above counts inside the group.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from convjit.ops.base import NO_HALO, Array, Arrays, Halo, Maps, NdArray, Op, Operand
from convjit.ops.neuron import Neuron
from convjit.ops.product import ProductBackwardData, ProductBackwardWeights, check_added

__all__ = ["BiasBackward", "ConvBackwardData", "ConvBackwardWeights", "ConvForward", "ConvShape", "modules"]


def modules(size: int, filter_size: int, padding: int, stride: int) -> int:
    """Output side of cuda-convnet's rule, which rounds up: the last window may hang over the edge."""
    return 1 + -(-(2 * padding + size - filter_size) // stride)


@dataclass(frozen=True)
class ConvShape:
    """The geometry of a convolution; `filters` is the total over all groups, `rows` x `columns` the output."""

    channels: int
    height: int
    width: int
    filters: int
    size: int
    padding: int = 0
    stride: int = 1
    groups: int = 1
    rows: int = 0
    columns: int = 0

    def __post_init__(self) -> None:
        if not self.rows:
            object.__setattr__(self, "rows", modules(self.height, self.size, self.padding, self.stride))
        if not self.columns:
            object.__setattr__(self, "columns", modules(self.width, self.size, self.padding, self.stride))

    @classmethod
    def parse(cls, text: str) -> ConvShape:
        """From words such as "c96 h27 f256 k5 p2 g2"; w defaults to h."""
        letters = {"c": "channels", "h": "height", "w": "width", "f": "filters", "k": "size", "p": "padding"}
        letters |= {"s": "stride", "g": "groups"}
        found = {letters[letter]: int(number) for letter, number in re.findall(r"\b([chwfkpsg])(\d+)\b", text)}
        found.setdefault("width", found["height"])
        return cls(**found)

    def __str__(self) -> str:
        text = f"c{self.channels} h{self.height} w{self.width} f{self.filters} k{self.size}"
        extra = (("p", self.padding, 0), ("s", self.stride, 1), ("g", self.groups, 1))
        return text + "".join(f" {letter}{value}" for letter, value, usual in extra if value != usual)

    @property
    def group_channels(self) -> int:
        """Channels that one filter sees."""
        return self.channels // self.groups

    @property
    def group_filters(self) -> int:
        """Filters of one group."""
        return self.filters // self.groups

    @property
    def input(self) -> Maps:
        """Shape of x."""
        return Maps(self.channels, self.height, self.width)

    @property
    def output(self) -> Maps:
        """Shape of y."""
        return Maps(self.filters, self.rows, self.columns)

    @property
    def weights(self) -> Array:
        """Shape of w: (F, C/G, K, K)."""
        return Array((self.filters, self.group_channels, self.size, self.size))

    def biases(self, shared: bool) -> Array:
        """Shape of b: one per filter, or one per filter and output pixel."""
        return Array((self.filters,) if shared else (self.filters, self.rows, self.columns))

    def flops(self) -> int:
        """Of one image, one direction."""
        return 2 * self.filters * self.rows * self.columns * self.group_channels * self.size**2

    def input_halo(self) -> Halo:
        """Zeros that a window needs around x; the rule that rounds up may ask for more below and right than P."""
        below = (self.rows - 1) * self.stride + self.size - self.padding - self.height
        right = (self.columns - 1) * self.stride + self.size - self.padding - self.width
        return Halo(self.padding, self.padding, max(below, 0), max(right, 0))

    def output_halo(self) -> Halo:
        """Zeros that the gradient of x needs around dy: where a pixel would meet windows that do not exist."""
        top, bottom = self._overhang(self.height, self.rows)
        left, right = self._overhang(self.width, self.columns)
        return Halo(top, left, bottom, right)

    def _overhang(self, pixels: int, outputs: int) -> tuple[int, int]:
        met = [
            (pixel + self.padding - tap) // self.stride
            for pixel in range(pixels)
            for tap in range((pixel + self.padding) % self.stride, self.size, self.stride)
        ]
        return max(0, -min(met, default=0)), max(0, max(met, default=0) - (outputs - 1))

    def padded(self, x: NdArray) -> NdArray:
        """x with its halo."""
        halo = self.input_halo()
        return np.pad(x, ((0, 0), (0, 0), (halo.top, halo.bottom), (halo.left, halo.right)))

    def windows(self, padded: NdArray) -> NdArray:
        """View of padded x as (N, C, rows, columns, K, K)."""
        views = sliding_window_view(padded, (self.size, self.size), axis=(2, 3))[:, :, :: self.stride, :: self.stride]
        return views[:, :, : self.rows, : self.columns]

    def grouped(self) -> list[tuple[slice, slice]]:
        """(channels, filters) of every group."""
        c, f = self.group_channels, self.group_filters
        return [(slice(g * c, (g + 1) * c), slice(g * f, (g + 1) * f)) for g in range(self.groups)]


@dataclass(frozen=True)
class ConvForward(Op):
    """y from x, w and b; `neuron` is applied at the end. `biases` is "shared", "unshared" or "none"."""

    reads: ClassVar = ("x", "w", "b")
    writes: ClassVar = ("y",)

    shape: ConvShape
    biases: str = "shared"
    neuron: Neuron | None = None
    accumulate: bool = False

    def __post_init__(self) -> None:
        check_added(self.accumulate, self.biases != "none", self.neuron)

    @property
    def names(self) -> tuple[str, ...]:
        return ("x", "w", "y") if self.biases == "none" else ("x", "w", "b", "y")

    def operands(self) -> dict[str, Operand]:
        found: dict[str, Operand] = {"x": self.shape.input, "w": self.shape.weights, "y": self.shape.output}
        if self.biases != "none":
            found["b"] = self.shape.biases(self.biases == "shared")
        return found

    def reach(self, operand: str) -> Halo:
        return self.shape.input_halo() if operand == "x" else NO_HALO

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        windows = self.shape.windows(self.shape.padded(arrays["x"]))
        parts = [
            np.einsum("ncijuv,fcuv->nfij", windows[:, c], arrays["w"][f], optimize=True)
            for c, f in self.shape.grouped()
        ]
        y = np.concatenate(parts, axis=1)
        if self.biases != "none":
            b = arrays["b"]
            y = y + (b[:, None, None] if self.biases == "shared" else b)
        return {"y": self.neuron.forward(y) if self.neuron else y}

    def flops(self) -> int:
        return self.shape.flops()


@dataclass(frozen=True)
class ConvBackwardData(ProductBackwardData[ConvShape]):
    """dx from dy and w."""

    def reach(self, operand: str) -> Halo:
        return self.shape.output_halo() if operand == "dy" else NO_HALO

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        s, dy = self.shape, arrays["dy"]
        halo = s.input_halo()
        n = dy.shape[0]
        sides = (halo.top + s.height + halo.bottom, halo.left + s.width + halo.right)
        padded = np.zeros((n, s.channels, *sides), dy.dtype)
        for ky in range(s.size):
            for kx in range(s.size):
                for c, f in s.grouped():
                    met = padded[
                        :, c, ky : ky + s.rows * s.stride : s.stride, kx : kx + s.columns * s.stride : s.stride
                    ]
                    met += np.einsum("nfij,fc->ncij", dy[:, f], arrays["w"][f, :, ky, kx], optimize=True)
        return {"dx": padded[:, :, halo.top : halo.top + s.height, halo.left : halo.left + s.width]}


@dataclass(frozen=True)
class ConvBackwardWeights(ProductBackwardWeights[ConvShape]):
    """dw from x and dy, summed over the images."""

    def reach(self, operand: str) -> Halo:
        return self.shape.input_halo() if operand == "x" else NO_HALO

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        windows = self.shape.windows(self.shape.padded(arrays["x"]))
        parts = [
            np.einsum("nfij,ncijuv->fcuv", arrays["dy"][:, f], windows[:, c], optimize=True)
            for c, f in self.shape.grouped()
        ]
        return {"dw": np.concatenate(parts)}


@dataclass(frozen=True)
class BiasBackward(Op):
    """db from dy, for convolutions and fully connected layers."""

    reads: ClassVar = ("dy",)
    writes: ClassVar = ("db",)

    maps: Maps
    shared: bool = True
    accumulate: bool = False

    def operands(self) -> dict[str, Operand]:
        m = self.maps
        return {"dy": m, "db": Array((m.channels,) if self.shared else (m.channels, m.height, m.width))}

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        return {"db": arrays["dy"].sum((0, 2, 3) if self.shared else 0)}
