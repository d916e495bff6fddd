"""rgb2yuv and rgb2lab: images in other colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from convjit.layers.base import Inner, Pass
from convjit.layers.options import flag
from convjit.ops.base import Maps, Op
from convjit.ops.colour import RgbToLab, RgbToYuv

__all__ = ["RgbLayer", "RgbToLabLayer", "RgbToYuvLayer"]


@dataclass(frozen=True, kw_only=True)
class RgbLayer(Inner):
    """Base of layers that take three channels, red, green and blue, before anything is learned."""

    passes_gradient: ClassVar = False

    def shape(self, inputs: Sequence[Maps]) -> Maps:
        if inputs[0].channels != 3:
            raise self.error(f"input '{self.inputs[0]}' gives {inputs[0]}; needed are 3 channels", "inputs")
        return inputs[0]

    def forward(self, step: Pass) -> None:
        step.launch("forward", self.op(step.shape), x=step.inputs[0], y=step.output)

    def backward(self, step: Pass) -> None:
        """Nothing below learns."""

    def op(self, maps: Maps) -> Op:
        """y from x of this shape."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class RgbToYuvLayer(RgbLayer):
    """Brightness and two differences of colour."""

    kind: ClassVar[str] = "rgb2yuv"
    formula: ClassVar[str] = (
        "Y = .2126R + .7152G + .0722B; U = -.09991R - .33609G + .436B; V = .615R - .55861G - .05639B"
    )

    def op(self, maps: Maps) -> Op:
        return RgbToYuv(maps)


@dataclass(frozen=True, kw_only=True)
class RgbToLabLayer(RgbLayer):
    """CIE L*a*b*; with `center` L is shifted to -50 ... 50."""

    kind: ClassVar[str] = "rgb2lab"
    formula: ClassVar[str] = (
        "L = 116 f(Y) - 16; a = 500 (f(X) - f(Y)); b = 200 (f(Y) - f(Z)); f the cube root, or a line"
    )

    center: bool = flag("center", default=False)

    def op(self, maps: Maps) -> Op:
        return RgbToLab(maps, self.center)
