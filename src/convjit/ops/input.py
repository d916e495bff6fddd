"""Input: stored pixels to the net's first maps, cropped, mirrored, the mean taken off.

    x[n,c,i,j] = pixels[n, c, top+i, left+j'] - mean[c,i,j']          top, left, mirror = crops[n]
                                                                     j' = w-1-j if mirror, else j

`mean` is the centre crop of the mean image; it is mirrored with the image. Source C x H x W, crop C x h x w. With
colour noise (`factor` is not 0) every image gets an offset per channel, and all are made smaller again by `factor`:

    x[n,c,i,j] = factor * (pixels[...] - mean[...] + tints[n,c])
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from convjit.ops.base import Array, Arrays, Maps, NdArray, Op, Operand, PerImage

__all__ = ["Input"]


@dataclass(frozen=True)
class Input(Op):
    """x from uint8 images; each row of `crops` is (top, left, mirror), with the crop inside the image.

    `factor` is 0 where there is no colour noise.
    """

    reads: ClassVar = ("pixels", "crops", "mean", "tints")
    writes: ClassVar = ("x",)

    source: Maps
    maps: Maps
    factor: float = 0.0

    @property
    def names(self) -> tuple[str, ...]:
        return ("pixels", "crops", "mean", "tints", "x") if self.factor else ("pixels", "crops", "mean", "x")

    def operands(self) -> dict[str, Operand]:
        source, maps = self.source, self.maps
        found: dict[str, Operand] = {
            "pixels": PerImage((source.channels, source.height, source.width), "uint8"),
            "crops": PerImage((3,), "int32"),
            "mean": Array((maps.channels, maps.height, maps.width)),
            "x": maps,
        }
        return found | ({"tints": PerImage((maps.channels,))} if self.factor else {})

    def touched(self, operand: str) -> Operand:
        crop = PerImage((self.maps.channels, self.maps.height, self.maps.width), "uint8")
        return crop if operand == "pixels" else self.operands()[operand]

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        h, w = self.maps.height, self.maps.width
        images = []
        for pixels, (top, left, mirror) in zip(arrays["pixels"], arrays["crops"], strict=True):
            image = pixels[:, top : top + h, left : left + w] - arrays["mean"]
            images.append(image[:, :, ::-1] if mirror else image)
        x = np.stack(images)
        return {"x": self.factor * (x + arrays["tints"][:, :, None, None]) if self.factor else x}
