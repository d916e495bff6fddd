"""What is drawn for every training image: where it is cropped, whether mirrored, turned, in which colours, what is cut.

Every number is a function of (seed, epoch, index of the image) alone: neither threads nor the size of a minibatch nor
a resumed run change it, and turning one thing on does not move the others. All of it is carried out by one kernel, from
uint8; `ops/input.py` has the formulas.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convjit import random

__all__ = ["LUMA", "Augmentation", "Draws", "draw"]

# Places in the row of numbers drawn for an image.
_Y, _X, _MIRROR, _AREA, _RATIO, _ANGLE, _ZOOM, _BRIGHT, _CONTRAST, _SATURATE, _CUT_Y, _CUT_X, _COUNT = range(13)

LUMA = (0.299, 0.587, 0.114)
"""Brightness of red, green and blue (ITU-R BT.601)."""


@dataclass(frozen=True)
class Augmentation:
    """What is done to training images at random; by default nothing.

    crop        (h, w) at a random place of the image scaled to its size; None for whole images
    mirror      every second image on average
    area        at least this share of an image, up to all of it, is cut out and scaled to the crop; 1 for plain crops
    ratio       the widest ratio of sides of what is cut out, from 1/ratio to ratio
    rotate      turned by up to so many degrees, either way
    zoom        made larger or smaller by up to 1 + zoom
    brightness  pixels times 1 - b to 1 + b
    contrast    distances from the mean grey times 1 - c to 1 + c
    saturation  distances of the colours from their grey times 1 - s to 1 + s
    cutout      a square of so many pixels is made mean
    grey        the mean grey of the training set, 0 to 255
    """

    crop: tuple[int, int] | None = None
    mirror: bool = False
    area: float = 1.0
    ratio: float = 4 / 3
    rotate: float = 0.0
    zoom: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    cutout: int = 0
    grey: float = 127.5

    @property
    def warps(self) -> bool:
        """Whether crops are not just whole pixels."""
        return self.area < 1 or self.rotate > 0 or self.zoom > 0

    @property
    def recolours(self) -> bool:
        """Whether colours are mixed."""
        return max(self.brightness, self.contrast, self.saturation) > 0

    @property
    def detail(self) -> float:
        """How many times more pixels to a side a decoded image needs, so that the smallest part is not enlarged."""
        return 1 / math.sqrt(self.area)


@dataclass(frozen=True, eq=False)
class Draws:
    """The numbers drawn for some images, and what follows from them."""

    augmentation: Augmentation
    numbers: NDArray[np.float64]  # [N,slots]

    @property
    def mirrors(self) -> NDArray[np.bool_]:
        """Which are mirrored, [N]."""
        flipped: NDArray[np.bool_] = self.numbers[:, _MIRROR] < (0.5 if self.augmentation.mirror else 0)
        return flipped

    def row(self, index: int) -> Draws:
        """Those of one image."""
        return Draws(self.augmentation, self.numbers[index : index + 1])

    def regions(self, size: tuple[int, int], crop: tuple[int, int]) -> NDArray[np.float64]:
        """(top, left, height, width) of what is shown of images of `size`, (rows, columns), as crops of (h, w), [N,4].

        Without a random area these are whole numbers, and height and width are the crop's.
        """
        (rows, columns), (h, w), one, drawn = size, crop, self.augmentation, self.numbers
        if one.area >= 1:
            places = np.floor(drawn[:, [_Y, _X]] * (rows - h + 1, columns - w + 1))
            return np.concatenate([places, np.tile((float(h), float(w)), (len(drawn), 1))], axis=1)
        share = (one.area + (1 - one.area) * drawn[:, _AREA]) * rows * columns
        ratio = np.exp((2 * drawn[:, _RATIO] - 1) * math.log(one.ratio)) * w / h
        height, width = np.minimum(np.sqrt(share / ratio), rows), np.minimum(np.sqrt(share * ratio), columns)
        top, left = drawn[:, _Y] * (rows - height), drawn[:, _X] * (columns - width)
        return np.stack([top, left, height, width], axis=1)

    def places(self, regions: NDArray[np.float64], crop: tuple[int, int]) -> NDArray[np.float32]:
        """[N,6] of (y0, yi, yj, x0, xi, xj): pixel (i, j) of a crop shows (y0 + yi i + yj j, x0 + xi i + xj j)."""
        (top, left, height, width), (h, w), one = regions.T, crop, self.augmentation
        angle = math.radians(one.rotate) * (2 * self.numbers[:, _ANGLE] - 1)
        smaller = np.exp((2 * self.numbers[:, _ZOOM] - 1) * math.log1p(one.zoom))
        down, across = smaller * height / h, smaller * width / w
        yi, yj = np.cos(angle) * down, np.sin(angle) * down
        xi, xj = -np.sin(angle) * across, np.cos(angle) * across
        # The centre of the crop stays the centre of the region.
        i, j = (h - 1) / 2, (w - 1) / 2
        y, x = top + (height - 1) / 2, left + (width - 1) / 2
        return np.stack([y - yi * i - yj * j, yi, yj, x - xi * i - xj * j, xi, xj], axis=1).astype(np.float32)

    def colours(self, channels: int) -> NDArray[np.float32]:
        """[N,C,C+1]: new colours as sums of the old ones, and of what stands in the last column."""
        one, row = self.augmentation, self.numbers
        bright, contrast, saturate = (
            1 + most * (2 * row[:, slot] - 1)
            for most, slot in ((one.brightness, _BRIGHT), (one.contrast, _CONTRAST), (one.saturation, _SATURATE))
        )
        found = np.zeros((len(row), channels, channels + 1))
        luma = np.array(LUMA) if channels == 3 else np.zeros(channels)
        keep = saturate if channels == 3 else np.ones(len(row))
        found[:, :, :channels] = keep[:, None, None] * np.eye(channels) + (1 - keep)[:, None, None] * luma
        found[:, :, :channels] *= (bright * contrast)[:, None, None]
        found[:, :, channels] = ((1 - contrast) * one.grey)[:, None]
        return found.astype(np.float32)

    def cuts(self, crop: tuple[int, int]) -> NDArray[np.int32]:
        """[N,4]: (top, left, bottom, right) of the squares cut out; their centres are anywhere in the crop."""
        side, row = self.augmentation.cutout, self.numbers
        centres = (row[:, [_CUT_Y, _CUT_X]] * crop).astype(np.int32)
        corners = centres - side // 2
        return np.concatenate([corners, corners + side], axis=1)


def draw(augmentation: Augmentation, seed: int, epoch: int, indices: NDArray[np.int64]) -> Draws:
    """What is drawn for some images of the training set, by their numbers in it."""
    return Draws(augmentation, random.uniforms(random.derive_key(seed, "augment", epoch), indices, _COUNT))
