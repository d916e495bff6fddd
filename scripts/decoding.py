"""What it takes to decode, scale and cut a photograph, beside the ways of other programs that are installed.

    python scripts/decoding.py FOLDER [--rounds 5]

FOLDER holds JPEG files, searched below it too. Each is scaled until its shorter side has 256 pixels, and 224x224 are
cut out at random. The others: Pillow scaling the whole image, simplejpeg (decoding at less than full size, with its
fast options) and OpenCV's resizing. All take turns image by image, and the time is that of this thread alone, so that
a machine that is not quiet measures as well.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import random
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from convjit.data.decode import Picture
from convjit.data.preprocessing import Preprocessing, Window, cover

SIDE, CROP = 256, 224
TO = Preprocessing((3, SIDE, SIDE), (CROP, CROP))


def place(rows: int, columns: int) -> tuple[int, int]:
    """Where a crop begins."""
    return random.randint(0, rows - CROP), random.randint(0, columns - CROP)


def cut(picture: Picture, out: Any) -> None:
    """As the trainer does it: scaled and cut in one step."""
    rows, columns = cover(picture.height, picture.width, TO.size)
    TO.take(picture, Window(rows, columns, *place(rows, columns), CROP, CROP), out)


def pillow(data: bytes) -> Any:
    image = Image.open(io.BytesIO(data))
    rows, columns = cover(image.height, image.width, TO.size)
    image.draft("RGB", (columns, rows))
    scaled = image.convert("RGB").resize((columns, rows), Image.Resampling.BILINEAR)
    top, left = place(rows, columns)
    return np.asarray(scaled.crop((left, top, left + CROP, top + CROP)))


def ways() -> Iterator[tuple[str, Callable[[bytes], Any]]]:
    """Names and functions, ours first."""
    out = np.empty(TO.image, np.uint8)
    yield "convjit", lambda data: cut(TO.picture(data), out)
    yield "Pillow", pillow
    if not importlib.util.find_spec("simplejpeg"):
        return
    import simplejpeg

    def decoded(data: bytes) -> tuple[Any, int, int]:
        height, width = simplejpeg.decode_jpeg_header(data)[:2]
        rows, columns = cover(height, width, TO.size)
        sides = {"min_height": rows, "min_width": columns, "min_factor": 1}
        return simplejpeg.decode_jpeg(data, "RGB", fastdct=True, fastupsample=True, **sides), height, width

    def inside(data: bytes) -> None:
        pixels, height, width = decoded(data)
        cut(Picture(Image.fromarray(pixels), height, width), out)

    yield "simplejpeg in convjit", inside
    if not importlib.util.find_spec("cv2"):
        return
    import cv2

    cv2.setNumThreads(1)

    def resized(data: bytes) -> Any:
        pixels, height, width = decoded(data)
        rows, columns = cover(height, width, TO.size)
        smaller = cv2.INTER_AREA if columns < pixels.shape[1] else cv2.INTER_LINEAR
        scaled = cv2.resize(pixels, (columns, rows), interpolation=smaller)
        top, left = place(rows, columns)
        return np.ascontiguousarray(scaled[top : top + CROP, left : left + CROP])

    yield "simplejpeg and OpenCV", resized


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    paths = sorted(path for path in options.folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    files = [path.read_bytes() for path in paths]
    chosen = dict(ways())
    seconds: dict[str, list[float]] = {name: [] for name in chosen}
    for _ in range(options.rounds):
        spent = dict.fromkeys(chosen, 0.0)
        for data in files:
            for name, way in chosen.items():
                start = time.thread_time()
                way(data)
                spent[name] += time.thread_time() - start
        for name, total in spent.items():
            seconds[name].append(total / len(files))
    for name, found in seconds.items():
        pairs = sorted(theirs / ours for theirs, ours in zip(found, seconds["convjit"], strict=True))
        ratio = f"; convjit is {statistics.median(pairs):.3f} times as fast" if name != "convjit" else ""
        print(f"{name}: {1e3 * statistics.median(found):.3f} ms an image{ratio}")


if __name__ == "__main__":
    main()
