"""pool: the largest number, or the mean, of each window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from convjit.layers.base import Pass
from convjit.layers.images import ImageLayer
from convjit.layers.options import choice, flag, integer
from convjit.ops.base import Maps
from convjit.ops.pool import AvgPoolBackward, AvgPoolForward, MaxPoolBackward, MaxPoolForward, PoolShape

__all__ = ["Pool"]


@dataclass(frozen=True, kw_only=True)
class Pool(ImageLayer):
    """Windows of `size_x` pixels, `stride` apart, the first at `start`; they are clipped to the image."""

    kind: ClassVar[str] = "pool"
    formula: ClassVar[str] = "y[c,i,j] = max (or mean) of x[c] in rows start+iS ... start+iS+K-1, columns likewise"

    pool: str = choice("pool", ("max", "avg"), required=True)
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
        op = MaxPoolForward(shape) if self.pool == "max" else AvgPoolForward(shape, self.sum)
        step.launch("forward", op, x=step.inputs[0], y=step.output)

    def backward(self, step: Pass) -> None:
        if not (dx := step.input_gradient(0)):
            return
        shape, dy = self.pool_shape(step.views[0]), step.gradient()
        if self.pool == "max":
            op = MaxPoolBackward(shape, dx.accumulate)
            step.launch("backward", op, x=step.inputs[0], y=step.output, dy=dy, dx=dx.buffer)
        else:
            step.launch("backward", AvgPoolBackward(shape, self.sum, dx.accumulate), dy=dy, dx=dx.buffer)
