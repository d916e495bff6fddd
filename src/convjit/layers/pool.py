"""pool and cmpool: the largest number, or the mean, of each window of pixels, or of channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from convjit.layers.base import Pass
from convjit.layers.images import ImageLayer
from convjit.layers.options import choice, flag, integer
from convjit.ops.base import Maps, Op
from convjit.ops.cross_pool import CrossPoolBackward, CrossPoolForward, CrossPoolShape
from convjit.ops.pool import (
    AvgPoolBackward,
    AvgPoolForward,
    MaxAbsPoolForward,
    MaxPoolBackward,
    MaxPoolForward,
    PoolShape,
)

__all__ = ["Cmpool", "Pool"]


@dataclass(frozen=True, kw_only=True)
class Pool(ImageLayer):
    """Windows of `size_x` pixels, `stride` apart, the first at `start`; they are clipped to the image."""

    kind: ClassVar[str] = "pool"
    formula: ClassVar[str] = (
        "y[c,i,j] = max (or mean, or x of largest |x|) of x[c] in rows start+iS ... start+iS+K-1, columns likewise"
    )

    pool: str = choice("pool", ("max", "avg", "maxabs"), required=True)
    size_x: int = integer("sizeX", least=1)
    stride: int = integer("stride", least=1)
    start: int = integer("start", default=0, most=0)
    outputs_x: int = integer("outputsX", default=0)
    sum: bool = flag("sum", default=False)

    def pool_shape(self, maps: Maps) -> PoolShape:
        """The geometry; ConfigError if it does not fit."""
        size, stride, start = self.size_x, self.stride, self.start
        side = min(maps.height, maps.width)
        if size > side:
            raise self.error(f"sizeX={size}: must be 1 to {side}, the side of the image", "sizeX")
        if stride > size:
            raise self.error(f"stride={stride}: must be 1 to sizeX={size}", "stride")
        if start <= -size:
            raise self.error(f"start={start}: must be {1 - size} to 0, or the first window misses the image", "start")
        if self.sum and self.pool != "avg":
            raise self.error("sum=true goes with pool=avg only", "sum")
        outputs = max(self.outputs_x, 0)
        if outputs and start + (outputs - 1) * stride >= side:
            raise self.error(f"outputsX={outputs}: the last window lies outside the image of {side} pixels", "outputsX")
        return PoolShape(maps.channels, maps.height, maps.width, size, stride, start, outputs, outputs)

    def shape(self, inputs: Sequence[Maps]) -> Maps:
        return self.pool_shape(inputs[0]).output

    def forward(self, step: Pass) -> None:
        shape = self.pool_shape(step.views[0])
        largest: Op = MaxPoolForward(shape) if self.pool == "max" else MaxAbsPoolForward(shape)
        op = AvgPoolForward(shape, self.sum) if self.pool == "avg" else largest
        step.launch("forward", op, x=step.inputs[0], y=step.output)

    def backward(self, step: Pass) -> None:
        if not (dx := step.input_gradient(0)):
            return
        shape, dy = self.pool_shape(step.views[0]), step.gradient()
        if self.pool != "avg":
            op = MaxPoolBackward(shape, dx.accumulate)
            step.launch("backward", op, x=step.inputs[0], y=step.output, dy=dy, dx=dx.buffer)
        else:
            step.launch("backward", AvgPoolBackward(shape, self.sum, dx.accumulate), dy=dy, dx=dx.buffer)


@dataclass(frozen=True, kw_only=True)
class Cmpool(ImageLayer):
    """Windows of `size` channels, `stride` apart, the first at `start`; they are clipped to the channels."""

    kind: ClassVar[str] = "cmpool"
    formula: ClassVar[str] = "y[o,i,j] = max of x[c,i,j] over channels c = start+oS ... start+oS+size-1"

    size: int = integer("size", least=1)
    stride: int = integer("stride", least=1)
    start: int = integer("start", default=0, most=0)
    outputs: int = integer("outputs", default=0)
    pool: str = choice("pool", ("max",), default="max", required=True)

    def cross_shape(self, maps: Maps) -> CrossPoolShape:
        """The geometry; ConfigError if it does not fit."""
        channels, size, stride, start = maps.channels, self.size, self.stride, self.start
        if size > channels:
            raise self.error(f"size={size}: must be 1 to {channels}, the number of channels", "size")
        if stride > size:
            raise self.error(f"stride={stride}: must be 1 to size={size}", "stride")
        if start <= -size:
            raise self.error(f"start={start}: must be {1 - size} to 0, or the first window misses the input", "start")
        fewest, most = (1 - (start + size - channels) // stride, (channels - 1 - start) // stride + 1)
        if not fewest <= self.outputs <= most:
            found = f"outputs={self.outputs}: must be {fewest} to {most}, to cover {channels} channels and no more"
            raise self.error(found, "outputs")
        return CrossPoolShape(maps, size, stride, start, self.outputs)

    def shape(self, inputs: Sequence[Maps]) -> Maps:
        return self.cross_shape(inputs[0]).output

    def forward(self, step: Pass) -> None:
        op = CrossPoolForward(self.cross_shape(step.views[0]))
        step.launch("forward", op, x=step.inputs[0], y=step.output)

    def backward(self, step: Pass) -> None:
        if dx := step.input_gradient(0):
            op = CrossPoolBackward(self.cross_shape(step.views[0]), dx.accumulate)
            step.launch("backward", op, x=step.inputs[0], y=step.output, dy=step.gradient(), dx=dx.buffer)
