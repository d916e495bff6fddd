"""How an image file becomes the pixels that a net is given: one record, kept with the checkpoint, for every use of it.

An image is turned upright, scaled until it just covers H x W, and a window of H x W is taken from it: the middle, or
while training what `convjit.data.augment` draws. Scaling and cutting are one step, from the image as it was decoded.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from convjit.data.decode import Least, Picture, decode_picture

__all__ = ["NUMBERS", "Preprocessing", "Window", "cover"]

Pixels = NDArray[np.uint8]

_FILTERS = {"bilinear": Image.Resampling.BILINEAR}
_COLOURS = {1: "grey", 3: "RGB"}
NUMBERS = "numbers"
"""Stands for the colours of what is no image but numbers, such as the features of another net."""


@dataclass(frozen=True)
class Window:
    """A part of an image that has been scaled to `rows` x `columns`: `height` x `width` pixels from (top, left) on."""

    rows: float
    columns: float
    top: float
    left: float
    height: int
    width: int


@dataclass(frozen=True)
class Preprocessing:
    """What is done to an image file.

    image         (C, H, W) of what the net's first layer cuts its crops from
    crop          (h, w) that the net sees; (0, 0) for all
    mean          what is taken off: "image", the mean image kept in the checkpoint, "none", or a number
    colours       "RGB" or "grey", by the number of channels; NUMBERS if they are no bytes
    filter        how images are scaled: "bilinear", over all pixels that an output pixel stands for
    orientation   "upright": what a camera notes of how it was held is undone
    """

    image: tuple[int, int, int]
    crop: tuple[int, int] = (0, 0)
    mean: str = "image"
    colours: str = ""
    filter: str = "bilinear"
    orientation: str = "upright"

    def __post_init__(self) -> None:
        if not self.colours:
            object.__setattr__(self, "colours", _COLOURS.get(self.image[0], "none"))

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.image[1], self.image[2]

    @property
    def seen(self) -> tuple[int, int]:
        """(h, w) that the net sees."""
        return self.crop if self.crop != (0, 0) else self.size

    @property
    def numbers(self) -> bool:
        """Whether it is about numbers, which are taken as they are, and not about image files."""
        return self.colours == NUMBERS

    def record(self) -> dict[str, Any]:
        """As JSON has it."""
        return {**dataclasses.asdict(self), "shortest_side": max(self.size)}

    @classmethod
    def parse(cls, record: Any) -> Preprocessing:
        """From such a record; ValueError if it is none, or asks for what this version cannot do."""
        known = {field.name for field in dataclasses.fields(cls)}
        if not isinstance(record, Mapping) or set(record) != known | {"shortest_side"}:
            raise ValueError("the record of the preprocessing has other fields than this version's")
        values: dict[str, Any] = {name: tuple(v) if isinstance(v := record[name], list) else v for name in known}
        found = cls(**values)
        for sides, count in ((found.image, 3), (found.crop, 2)):
            if not isinstance(sides, tuple) or len(sides) != count or not all(type(n) is int and n >= 0 for n in sides):
                raise ValueError("the record of the preprocessing has sides that are none")
        if not isinstance(found.mean, str) or found.record() != Preprocessing(*_given(found)).record():
            raise ValueError("images were prepared in a way that this version does not know")
        return found

    def check(self) -> str:
        """Why image files cannot be prepared so; "" if they can."""
        if self.numbers:
            return "are features of another net, and no image files"
        return "" if self.image[0] in _COLOURS else f"have {self.image[0]} channels; image files have 1 or 3"

    def least(self, detail: float = 1.0) -> Least:
        """The pixels that are needed of an image; `detail` times as many to a side where small parts are enlarged."""

        def needed(height: int, width: int) -> tuple[int, int]:
            rows, columns = cover(height, width, self.size)
            return round(rows * detail), round(columns * detail)

        return needed

    def picture(self, data: bytes) -> Picture:
        """An image file decoded, with the pixels that `centre` needs. BrokenImageError if it is none."""
        return decode_picture(data, self.least())

    def centre(self, picture: Picture, out: Pixels | None = None) -> Pixels:
        """The middle window, uint8 [C,H,W], in `out` if that is given."""
        height, width = self.size
        rows, columns = cover(picture.height, picture.width, self.size)
        out = np.empty(self.image, np.uint8) if out is None else out
        self.take(picture, Window(rows, columns, (rows - height) // 2, (columns - width) // 2, height, width), out)
        return out

    def take(self, picture: Picture, window: Window, out: Pixels) -> None:
        """Put a window into the upper left corner of `out` [C,H,W]; what is right of and below it repeats its edge."""
        image = picture.image
        mode = "L" if self.image[0] == 1 else "RGB"
        top, left, size = window.top, window.left, (window.width, window.height)
        same = image.width == window.columns and image.height == window.rows
        if same and top == int(top) and left == int(left):
            # Nothing to scale: what the filter would give as well.
            image = image.crop((int(left), int(top), int(left) + window.width, int(top) + window.height))
        else:
            across, down = image.width / window.columns, image.height / window.rows
            right = min((left + window.width) * across, image.width)
            bottom = min((top + window.height) * down, image.height)
            image = image.resize(size, _FILTERS[self.filter], (left * across, top * down, right, bottom))
        # Grey after scaling: there are fewer pixels then.
        pixels = np.asarray(image if image.mode == mode else image.convert(mode))
        corner = out[:, : window.height, : window.width]
        if mode == "L":
            corner[0] = pixels
        else:
            for channel in range(3):
                corner[channel] = pixels[:, :, channel]


def cover(height: int, width: int, size: tuple[int, int]) -> tuple[int, int]:
    """(rows, columns) of an image of height x width once it is scaled until it just covers `size`."""
    scale = max(size[0] / height, size[1] / width)
    return max(size[0], round(height * scale)), max(size[1], round(width * scale))


def _given(found: Preprocessing) -> tuple[Any, ...]:
    return found.image, found.crop, found.mean, found.colours if found.numbers else ""
