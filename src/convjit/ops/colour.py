"""Colours: red, green and blue as other three numbers, pixel by pixel.

YUV    Y = .2126 R + .7152 G + .0722 B    U = -.09991 R - .33609 G + .436 B    V = .615 R - .55861 G - .05639 B
Lab    X = .49 R + .31 G + .2 B           Y = .17697 R + .8124 G + .01063 B    Z = .01 G + .99 B
       f(t) = t**.3333 where t > .0088564517, else 7.787037 t + .13793103
       L = 116 f(Y) - 16, less 50 if `centred`    a = 500 (f(X) - f(Y))    b = 200 (f(Y) - f(Z))
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from convjit.ops.base import Arrays, Maps, NdArray, Op, Operand

__all__ = ["RgbToLab", "RgbToYuv"]

YUV = ((0.2126, 0.7152, 0.0722), (-0.09991, -0.33609, 0.436), (0.615, -0.55861, -0.05639))
XYZ = ((0.49, 0.31, 0.2), (0.17697, 0.8124, 0.01063), (0.0, 0.01, 0.99))
POWER, SMALL, SLOPE, BASE = 0.3333, 0.0088564517, 7.787037, 0.13793103


@dataclass(frozen=True)
class RgbToYuv(Op):
    """y from x, of three channels."""

    reads: ClassVar = ("x",)
    writes: ClassVar = ("y",)
    in_place: ClassVar = (("x", "y"),)

    maps: Maps

    def operands(self) -> dict[str, Operand]:
        return {"x": self.maps, "y": self.maps}

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        return {"y": np.einsum("oc,nchw->nohw", np.array(YUV), arrays["x"])}


@dataclass(frozen=True)
class RgbToLab(Op):
    """y from x, of three channels."""

    reads: ClassVar = ("x",)
    writes: ClassVar = ("y",)
    in_place: ClassVar = (("x", "y"),)

    maps: Maps
    centred: bool = False

    def operands(self) -> dict[str, Operand]:
        return {"x": self.maps, "y": self.maps}

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        t = np.einsum("oc,nchw->nohw", np.array(XYZ), arrays["x"])
        f = np.where(t > SMALL, np.maximum(t, SMALL) ** POWER, SLOPE * t + BASE)
        lightness = 116 * f[:, 1] - (66 if self.centred else 16)
        return {"y": np.stack([lightness, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)}
