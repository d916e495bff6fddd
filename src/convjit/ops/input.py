"""Input: stored pixels to the net's first maps, cropped, mirrored, the mean taken off.

    x[n,c,i,j] = p[n,c,i,j'] - mean[c,i,j']             top, left, mirror = crops[n]
    p[n,c,i,j] = pixels[n,c,top+i,left+j]               j' = w-1-j if mirror, else j

`mean` is the centre crop of the mean image; it is mirrored with the image. Source C x H x W, crop C x h x w. What is
drawn for training images comes on top, each where it is asked for:

    warp      p[n,c,i,j] = pixels[n,c] at the point (y0 + yi i + yj j, x0 + xi i + xj j), interpolated between the four
              pixels around it, the image's edge going on beyond it;  y0, yi, yj, x0, xi, xj = places[n]
    recolour  p'[n,c] = sum over d of colours[n,c,d] p[n,d], + colours[n,c,C]
    factor    x' = factor * (x + tints[n,c]): colour noise, which makes all numbers smaller again
    cutout    x' = 0 where top <= i < bottom and left <= j < right;  top, left, bottom, right = cuts[n]
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

    `factor` is 0 where there is no colour noise. With `warp` only the mirror of `crops` counts.
    """

    reads: ClassVar = ("pixels", "crops", "mean", "tints", "places", "colours", "cuts")
    writes: ClassVar = ("x",)

    source: Maps
    maps: Maps
    factor: float = 0.0
    warp: bool = False
    recolour: bool = False
    cutout: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        asked = {"tints": self.factor, "places": self.warp, "colours": self.recolour, "cuts": self.cutout}
        return (*(name for name in self.reads if asked.get(name, True)), "x")

    def operands(self) -> dict[str, Operand]:
        source, maps = self.source, self.maps
        found: dict[str, Operand] = {
            "pixels": PerImage((source.channels, source.height, source.width), "uint8"),
            "crops": PerImage((3,), "int32"),
            "mean": Array((maps.channels, maps.height, maps.width)),
            "tints": PerImage((maps.channels,)),
            "places": PerImage((6,)),
            "colours": PerImage((maps.channels, maps.channels + 1)),
            "cuts": PerImage((4,), "int32"),
            "x": maps,
        }
        return {name: found[name] for name in self.names}

    def touched(self, operand: str) -> Operand:
        crop = PerImage((self.maps.channels, self.maps.height, self.maps.width), "uint8")
        return crop if operand == "pixels" else self.operands()[operand]

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        h, w = self.maps.height, self.maps.width
        images = []
        for n, (pixels, (top, left, mirror)) in enumerate(zip(arrays["pixels"], arrays["crops"], strict=True)):
            image = pixels[:, top : top + h, left : left + w].astype(np.float64)
            if self.warp:
                image = _sampled(pixels.astype(np.float64), arrays["places"][n], h, w)
            if self.recolour:
                matrix, offset = arrays["colours"][n, :, :-1], arrays["colours"][n, :, -1]
                image = np.tensordot(matrix, image, 1) + offset[:, None, None]
            image = image - arrays["mean"]
            image = image[:, :, ::-1] if mirror else image
            if self.factor:
                image = self.factor * (image + arrays["tints"][n][:, None, None])
            if self.cutout:
                top, left, bottom, right = arrays["cuts"][n].clip(0)
                image = image.copy()
                image[:, top:bottom, left:right] = 0
            images.append(image)
        return {"x": np.stack(images)}


def _sampled(image: NdArray, place: NdArray, h: int, w: int) -> NdArray:
    """h x w points of an image [C,H,W]."""
    (_, height, width), (y0, yi, yj, x0, xi, xj) = image.shape, place
    i, j = np.mgrid[:h, :w]
    y = (y0 + yi * i + yj * j).clip(0, height - 1)
    x = (x0 + xi * i + xj * j).clip(0, width - 1)
    up, left = np.floor(y).astype(int), np.floor(x).astype(int)
    down, right = np.minimum(up + 1, height - 1), np.minimum(left + 1, width - 1)
    upper = image[:, up, left] * (1 - (x - left)) + image[:, up, right] * (x - left)
    lower = image[:, down, left] * (1 - (x - left)) + image[:, down, right] * (x - left)
    found: NdArray = upper * (1 - (y - up)) + lower * (y - up)
    return found
