"""rnorm, cnorm and cmrnorm: numbers are divided by what is around them, in the same map or across maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from convjit.layers.base import Pass
from convjit.layers.images import ImageLayer
from convjit.layers.options import flag, integer, number
from convjit.ops.base import Maps, Op
from convjit.ops.norm import (
    ContrastNormBackward,
    ContrastNormForward,
    CrossMapNormBackward,
    CrossMapNormForward,
    NormShape,
    ResponseNormBackward,
    ResponseNormForward,
)

__all__ = ["Cmrnorm", "Cnorm", "Norm", "Rnorm"]


@dataclass(frozen=True, kw_only=True)
class Norm(ImageLayer):
    """Base of normalisations. As in the original, `scale` is divided by the numbers in a whole window."""

    needs_parameters: ClassVar = True

    size: int = integer("size", least=1)
    scale: float = number("scale", least=0, file="params")
    pow: float = number("pow", file="params")
    min_div: float = number("minDiv", default=1.0, least=1e-6, file="params")

    def shape(self, inputs: Sequence[Maps]) -> Maps:
        side = min(inputs[0].height, inputs[0].width)
        if self.size > side:
            raise self.error(f"size={self.size}: must be 1 to {side}, the side of the image", "size")
        return inputs[0]

    def forward(self, step: Pass) -> None:
        step.launch("forward", self.forward_op(self._norm_shape(step)), x=step.inputs[0], y=step.output)

    def backward(self, step: Pass) -> None:
        if dx := step.input_gradient(0):
            op = self.backward_op(self._norm_shape(step), dx.accumulate)
            step.launch("backward", op, x=step.inputs[0], dy=step.gradient(), dx=dx.buffer)

    def forward_op(self, shape: NormShape) -> Op:
        """y from x."""
        raise NotImplementedError

    def backward_op(self, shape: NormShape, accumulate: bool) -> Op:
        """dx from x and dy."""
        raise NotImplementedError

    def _norm_shape(self, step: Pass) -> NormShape:
        return NormShape(step.shape, self.size, self.scale, self.pow, self.min_div)


@dataclass(frozen=True, kw_only=True)
class Rnorm(Norm):
    """Response normalisation over `size` x `size` pixels of the same map; a window of even size leans up and left."""

    kind: ClassVar[str] = "rnorm"
    formula: ClassVar[str] = "y = x (minDiv + scale/size^2 sum of x^2 over the window)^-pow"

    def forward_op(self, shape: NormShape) -> Op:
        return ResponseNormForward(shape)

    def backward_op(self, shape: NormShape, accumulate: bool) -> Op:
        return ResponseNormBackward(shape, accumulate)


@dataclass(frozen=True, kw_only=True)
class Cnorm(Norm):
    """Contrast normalisation over `size` x `size` pixels of the same map.

    The gradient is exact; the original ignores that the means depend on x.
    """

    kind: ClassVar[str] = "cnorm"
    formula: ClassVar[str] = "y = x (minDiv + scale/size^2 sum of (x - mean of its window)^2 over the window)^-pow"

    def forward_op(self, shape: NormShape) -> Op:
        return ContrastNormForward(shape)

    def backward_op(self, shape: NormShape, accumulate: bool) -> Op:
        return ContrastNormBackward(shape, accumulate)


@dataclass(frozen=True, kw_only=True)
class Cmrnorm(Norm):
    """Response normalisation over `size` neighbouring channels at the same pixel, or over blocks of channels."""

    kind: ClassVar[str] = "cmrnorm"
    formula: ClassVar[str] = "y[c] = x[c] (minDiv + scale/size sum of x^2 over the channels around c)^-pow"

    size: int = integer("size", least=2)
    blocked: bool = flag("blocked", default=False)

    def shape(self, inputs: Sequence[Maps]) -> Maps:
        if self.size > inputs[0].channels:
            found = f"size={self.size}: must be 2 to {inputs[0].channels}, the number of channels"
            raise self.error(found, "size")
        return inputs[0]

    def forward_op(self, shape: NormShape) -> Op:
        return CrossMapNormForward(shape, self.blocked)

    def backward_op(self, shape: NormShape, accumulate: bool) -> Op:
        return CrossMapNormBackward(shape, self.blocked, accumulate)
