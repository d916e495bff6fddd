"""nailbed, blur, resize, rscale, crop, href: images on another grid of pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from convjit.layers.base import Pass
from convjit.layers.images import ImageLayer
from convjit.layers.options import integer, number
from convjit.ops.base import Array, Maps, Op
from convjit.ops.combine import Cut
from convjit.ops.resample import Blur, Mirror, Nailbed, NailbedBackward, Rescale, Resize

__all__ = ["BlurLayer", "Crop", "Href", "ImageOnly", "NailbedLayer", "ResizeLayer", "Rscale"]


@dataclass(frozen=True, kw_only=True)
class NailbedLayer(ImageLayer):
    """Every `stride`-th pixel in both directions; the grid is centred."""

    kind: ClassVar[str] = "nailbed"
    formula: ClassVar[str] = "y[c,i,j] = x[c, start+iS, start+jS]; ceil(H/S) rows, start = floor((H - S(rows-1)) / 2)"

    stride: int = integer("stride", least=1)

    def shape(self, inputs: Sequence[Maps]) -> Maps:
        return Nailbed(inputs[0], self.stride).maps

    def forward(self, step: Pass) -> None:
        step.launch("forward", Nailbed(step.views[0], self.stride), x=step.inputs[0], y=step.output)

    def backward(self, step: Pass) -> None:
        if dx := step.input_gradient(0):
            op = NailbedBackward(step.views[0], self.stride, dx.accumulate)
            step.launch("backward", op, dy=step.gradient(), dx=dx.buffer)


@dataclass(frozen=True, kw_only=True)
class BlurLayer(ImageLayer):
    """A Gaussian filter, with zeros around the image."""

    kind: ClassVar[str] = "blur"
    formula: ClassVar[str] = "y[c] = x[c] * g g^T, g[d] = exp(-d^2 / (2 stdev^2)) / sum"

    filter_size: int = integer("filterSize", least=3, most=9)
    stdev: float = number("stdev", least=1e-3)

    def shape(self, inputs: Sequence[Maps]) -> Maps:
        if self.filter_size % 2 == 0:
            raise self.error(f"filterSize={self.filter_size}: must be 3, 5, 7 or 9", "filterSize")
        return inputs[0]

    def forward(self, step: Pass) -> None:
        op = Blur(step.shape, self.filter_size, self.stdev)
        step.launch("forward", op, x=step.inputs[0], y=step.output)

    def backward(self, step: Pass) -> None:
        if dx := step.input_gradient(0):
            op = Blur(step.shape, self.filter_size, self.stdev, dx.accumulate)
            step.launch("backward", op, x=step.gradient(), y=dx.buffer)


@dataclass(frozen=True, kw_only=True)
class ImageOnly(ImageLayer):
    """Base of layers that work on images before anything is learned: they have no gradient."""

    passes_gradient: ClassVar = False

    def forward(self, step: Pass) -> None:
        step.launch("forward", self.op(step.views[0]), x=step.inputs[0], y=step.output)

    def backward(self, step: Pass) -> None:
        """Nothing below learns."""

    def op(self, maps: Maps) -> Op:
        """y from x of this shape."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class ResizeLayer(ImageOnly):
    """The image made smaller by the factor `scale`, by interpolation between four pixels."""

    kind: ClassVar[str] = "resize"
    formula: ClassVar[str] = "y[i] = x[i scale + (H - h scale)/2], bilinear; h = floor(H/scale)"

    scale: float = number("scale", least=0.5, most=2)

    def shape(self, inputs: Sequence[Maps]) -> Maps:
        maps = inputs[0]
        height, width = (math.floor(side / self.scale) for side in (maps.height, maps.width))
        if not height or not width:
            raise self.error(f"scale={self.scale:g} leaves nothing of the {maps} input", "scale")
        return Maps(maps.channels, height, width)

    def op(self, maps: Maps) -> Op:
        return Resize(maps, self.shape([maps]), self.scale)


@dataclass(frozen=True, kw_only=True)
class Rscale(ImageOnly):
    """While training a random part of the image in a random size, of one minibatch the same; else all, resized.

    `tgtSize` is the smaller side of the output; 0 stands for floor(side / maxScale), which it is in cuda-convnet 1.
    """

    kind: ClassVar[str] = "rscale"
    formula: ClassVar[str] = (
        "training: resized to side R, drawn from floor(side/maxScale) ... side, and cropped at random"
    )

    max_scale: float = number("maxScale", least=1, most=2)
    tgt_size: int = integer("tgtSize", default=0, least=0)

    def shape(self, inputs: Sequence[Maps]) -> Maps:
        maps = inputs[0]
        side = min(maps.height, maps.width)
        target = self.tgt_size or self.smallest(side)
        if not self.smallest(side) <= target <= side or not target:
            found = (
                f"tgtSize={target}: must be {max(self.smallest(side), 1)} to {side}, from side / maxScale to the side"
            )
            raise self.error(found, "tgtSize")
        return Maps(maps.channels, maps.height * target // side, maps.width * target // side)

    def smallest(self, side: int) -> int:
        """The least size that an image of this side is given."""
        return math.floor(side / self.max_scale)

    def forward(self, step: Pass) -> None:
        if not step.training:
            super().forward(step)
            return
        maps = step.views[0]
        op = Rescale(maps, step.shape, self.smallest(min(maps.height, maps.width)))
        key = step.host(f"{self.name}.key", Array((2,), "int32"))
        step.launch("forward", op, x=step.inputs[0], key=key, y=step.output)

    def op(self, maps: Maps) -> Op:
        output = self.shape([maps])
        return Resize(maps, output, min(maps.height, maps.width) / min(output.height, output.width))


@dataclass(frozen=True, kw_only=True)
class Crop(ImageOnly):
    """A square of `sizeX` pixels from (startY, startX)."""

    kind: ClassVar[str] = "crop"
    formula: ClassVar[str] = "y[c,i,j] = x[c, startY+i, startX+j]"

    size_x: int = integer("sizeX", least=1)
    start_x: int = integer("startX", default=0, least=0, required=True)
    start_y: int = integer("startY", default=-1, least=-1)
    """-1 stands for startX."""

    @property
    def corner(self) -> tuple[int, int]:
        """(top, left)."""
        return (self.start_x if self.start_y < 0 else self.start_y), self.start_x

    def shape(self, inputs: Sequence[Maps]) -> Maps:
        maps, (top, left) = inputs[0], self.corner
        for key, start, side in (("startX", left, maps.width), ("startY", top, maps.height)):
            if start + self.size_x > side:
                found = f"{key}={start}, sizeX={self.size_x}: must be inside the image of {side} pixels"
                raise self.error(found, "sizeX")
        return Maps(maps.channels, self.size_x, self.size_x)

    def op(self, maps: Maps) -> Op:
        return Cut(maps, self.shape([maps]), 0, *self.corner)


@dataclass(frozen=True, kw_only=True)
class Href(ImageOnly):
    """The image with left and right exchanged."""

    kind: ClassVar[str] = "href"
    formula: ClassVar[str] = "y[c,i,j] = x[c,i,W-1-j]"

    def shape(self, inputs: Sequence[Maps]) -> Maps:
        return inputs[0]

    def op(self, maps: Maps) -> Op:
        return Mirror(maps)
