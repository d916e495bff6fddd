"""Small image sets, made afresh."""

from __future__ import annotations

import io
import tarfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from convjit.data import Encoded, Images


def encoded(images: Images | Encoded) -> Encoded:
    """The images, if they are not decoded."""
    assert not isinstance(images, Images)
    return images


def picture(seed: int, size: tuple[int, int] = (6, 5), mode: str = "RGB", kind: str = "PNG", **options: Any) -> bytes:
    """An image file of random pixels, `size` being (height, width)."""
    shape = size if mode == "L" else (*size, len(mode))
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels, mode).save(file, kind, **options)
    return file.getvalue()


def pictures(train: int = 4, test: int = 2, classes: Iterable[str] = ("cat", "dog")) -> dict[str, bytes]:
    """The files of a small set: `train` and `test` images of each class."""
    files = {}
    for label, name in enumerate(classes):
        for split, count in (("train", train), ("test", test)):
            for index in range(count):
                files[f"{split}/{name}/{index:04}.png"] = picture(
                    1000 * label + index + (500 if split == "test" else 0)
                )
    return files


def write_folder(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def write_tar(path: Path, files: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def png(width: int, height: int, body: bytes = b"") -> bytes:
    """A PNG that announces any size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4)

    header = width.to_bytes(4) + height.to_bytes(4) + bytes([8, 2, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")
