"""Generated photographs of many sizes, as a phone writes them; each class has a colour and a pattern of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["ORIENTATION", "TURNS", "photograph", "write_photographs", "write_turned"]

Pixels = NDArray[np.uint8]

ORIENTATION = 0x0112
TURNS: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, -1),
}
"""What a camera stores of an upright picture [H,W,3], by the orientation that it notes."""


def photograph(rng: np.random.Generator, kind: int, height: int, width: int) -> NDArray[np.uint8]:
    """A picture [H,W,3] of a class: 0 a bright disc, 1 stripes, 2 a dark square, on a ground of some colour."""
    y, x = np.mgrid[:height, :width]
    y, x, size = y - height * rng.uniform(0.4, 0.6), x - width * rng.uniform(0.4, 0.6), min(height, width)
    ground = rng.uniform(60, 120, 3) + 30 * np.stack([x / width, y / height, x / width], axis=2)
    shape = (
        x**2 + y**2 < (0.3 * size) ** 2,
        (y // (size / 8)).astype(int) % 2 == 0,
        np.maximum(abs(x), abs(y)) < 0.25 * size,
    )[kind % 3]
    colour = np.array([[230, 200, 60], [60, 200, 230], [20, 20, 30]][kind % 3])
    picture = np.where(shape[:, :, None], colour + rng.uniform(-20, 20, 3), ground)
    return (picture + rng.normal(0, 6, picture.shape)).clip(0, 255).astype(np.uint8)


def write_turned(path: Path, upright: NDArray[np.uint8], turn: int, **options: Any) -> None:
    """Store an upright picture the way a camera does that was held otherwise."""
    exif = Image.Exif()
    exif[ORIENTATION] = turn
    Image.fromarray(np.ascontiguousarray(TURNS[turn](upright))).save(path, exif=exif, **options)


def write_photographs(
    folder: Path, classes: tuple[str, ...] = ("cup", "plant", "shoe"), *, train: int = 24, test: int = 8, seed: int = 0
) -> Path:
    """folder/{train,test}/<class>/*.jpg, of many sizes, each held in one of the four ways a phone can be."""
    rng = np.random.default_rng(seed)
    for split, count in (("train", train), ("test", test)):
        for kind, name in enumerate(classes):
            place = folder / split / name
            place.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                height, width = (int(side) for side in rng.integers(60, 200, 2))
                upright = photograph(rng, kind, height, width)
                turn = (1, 3, 6, 8)[number % 4]
                write_turned(place / f"IMG_{number:04}.jpg", upright, turn, quality=90)
    return folder
