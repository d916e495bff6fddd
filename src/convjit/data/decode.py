"""One image file's bytes to an array, with its header checked before anything is decoded."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin, UnidentifiedImageError

from convjit.data.stream import shown

__all__ = [
    "FORMATS",
    "MAX_FILE",
    "BrokenImageError",
    "Least",
    "Picture",
    "WrongSizeError",
    "decode",
    "decode_picture",
    "quiet",
]

FORMATS = ("JPEG", "PNG", "BMP", "PPM", "WEBP")
MAX_FILE = 32 << 20
_MAX_PIXELS = 4096 * 4096
# A JPEG that is decoded at less than its size may have more: a phone's 48 megapixels.
_MAX_REDUCED = 8192 * 8192
# A progressive JPEG has about ten scans, each of which goes over all of its pixels; one of thousands takes minutes.
_MAX_SCANS = 100
_MAX_SCANNED = 16 * _MAX_PIXELS

_GREY = {"1", "L", "LA", "La"}
_DEEP = {"I", "I;16", "I;16L", "I;16B", "I;16N"}
_COLOUR = {"RGB", "RGBA", "RGBX", "RGBa", "P", "PA", "CMYK", "YCbCr"}

# What people have besides; of what begins with "ftyp", the four letters that follow.
_OTHERS = {
    b"GIF8": "GIF",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"hei": "HEIC, as phones write it",
    b"hev": "HEIC, as phones write it",
    b"mif1": "HEIC, as phones write it",
    b"avi": "AVIF",
    b"mp4": "a video",
    b"qt": "a video",
    b"isom": "a video",
    b"%PDF": "PDF",
}

_SCAN = b"\xff\xda"

# How a camera's note on orientation is undone.
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class BrokenImageError(Exception):
    """An image that cannot be used; the text says why."""


class WrongSizeError(Exception):
    """A good image of another size than the set's; `height` and `width` are its own."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__(f"{width}x{height}")
        self.height, self.width = height, width


@dataclass(frozen=True, eq=False)
class Picture:
    """A decoded image, upright, of 8-bit grey or RGB. `height` and `width` are those of the file, upright too; the
    pixels may be fewer, since a JPEG can be decoded at an eighth to a half of its size.
    """

    image: Image.Image
    height: int
    width: int

    @property
    def bytes(self) -> int:
        """Bytes of pixels, about; Pillow keeps four for a pixel of colour."""
        return self.image.width * self.image.height * (1 if self.image.mode == "L" else 4)


Least = Callable[[int, int], tuple[int, int]]
"""From an image's height and width to those that its pixels are needed for."""


def decode(data: bytes, size: tuple[int, int] | None) -> NDArray[np.uint8]:
    """Pixels uint8 [C,H,W], upright, C = 1 for grey images and 3 for all others; transparency is dropped.

    `size` is (H, W) of the set, None while unknown. Raises BrokenImageError and WrongSizeError, nothing else.
    """
    pixels = np.asarray(_decode(data, size, None).image)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def decode_picture(data: bytes, least: Least) -> Picture:
    """The image in a file, with no fewer pixels than `least` asks for, or all. BrokenImageError if it is none."""
    return _decode(data, None, least)


def quiet() -> None:
    """From now on Pillow's own warnings are not shown: they tell of what is checked here, or harmless damage."""
    warnings.filterwarnings("ignore", module=r"PIL\.")


def _decode(data: bytes, size: tuple[int, int] | None, least: Least | None) -> Picture:
    if len(data) > MAX_FILE:
        raise BrokenImageError(f"{len(data):,} bytes; allowed are {MAX_FILE:,}")
    try:
        file = io.BytesIO(data)
        with Image.open(file, formats=FORMATS) as image:
            turn = _turn(image)
            width, height = image.size if turn < 5 else image.size[::-1]
            scans = _scans(image, data, file.tell())
            # One of several scans is kept whole while it is decoded, however small it comes out.
            most = _MAX_REDUCED if least and image.format == "JPEG" and scans == 1 else _MAX_PIXELS
            if width * height > most:
                raise BrokenImageError(f"{width}x{height} pixels; allowed are {most:,} in all")
            if scans > _MAX_SCANS or width * height * scans > max(_MAX_SCANNED, most):
                raise BrokenImageError(f"more than {_MAX_SCANS} scans, or too many of {width}x{height} pixels")
            if size is not None and (height, width) != size:
                raise WrongSizeError(height, width)
            if least is not None:
                needed = least(height, width)
                image.draft(None, needed if turn >= 5 else needed[::-1])
                if image.width * image.height > _MAX_PIXELS:
                    raise BrokenImageError(f"{width}x{height} pixels, of which more are needed than {_MAX_PIXELS:,}")
            plain = _plain(image)
            if turn in _TURNS:
                plain = plain.transpose(_TURNS[turn])
            plain.load()
    except (BrokenImageError, WrongSizeError):
        raise
    except UnidentifiedImageError:
        raise BrokenImageError(f"is none of {', '.join(FORMATS)}{_said(data)}") from None
    except Exception as error:
        # Damaged files make Pillow raise almost any kind of exception.
        raise BrokenImageError(shown(error) or type(error).__name__) from None
    return Picture(plain, height, width)


def _said(data: bytes) -> str:
    """What a file is that is no image of ours, as far as its start tells."""
    if not data:
        return ", but empty"
    brand = data[8:12] if data[4:8] == b"ftyp" else data[:4]
    kind = next((name for start, name in _OTHERS.items() if brand.startswith(start)), "")
    return f", but {kind}: save it as one of these" if kind else ""


def _turn(image: Image.Image) -> int:
    """The orientation 1 to 8 that the file notes; 1 if there is no note or it cannot be read."""
    if "exif" not in image.info:
        return 1
    try:
        turn = image.getexif().get(_ORIENTATION, 1)
    except Exception:
        return 1
    return turn if isinstance(turn, int) and 1 <= turn <= 8 else 1


def _scans(image: Image.Image, data: bytes, end: int) -> int:
    """How many times an image's pixels are gone over; `end` is that of its header, which for a JPEG is a scan's."""
    if not isinstance(image, JpegImagePlugin.JpegImageFile):
        return 1
    # Nearly all have one scan, of all colours; looking for others takes a tenth of a millisecond.
    colours = image.layers
    start = end - 8 - 2 * colours
    if "progressive" not in image.info and data[start : start + 2] == _SCAN and data[start + 4] == colours:
        return 1
    return data.count(_SCAN)


def _plain(image: Image.Image) -> Image.Image:
    """The image as 8-bit grey or RGB."""
    if image.mode in ("L", "RGB"):
        return image
    if image.mode in _GREY:
        return image.convert("L")
    if image.mode in _DEEP:
        # 16 bits, whatever room they have; the upper 8 of them, without another wide copy.
        upper = np.empty((image.height, image.width), np.uint8)
        return Image.fromarray(np.right_shift(np.asarray(image), 8, out=upper, casting="unsafe"))
    if image.mode in _COLOUR:
        return image.convert("RGB")
    raise BrokenImageError(f"pixels of kind {image.mode}; allowed are grey and colour of 8 or 16 bits")
