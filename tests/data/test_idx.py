"""IDX files: names, packing, damage."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_sets import write_folder
from numpy.typing import NDArray

from convjit.data import open_dataset
from convjit.data.dataset import in_memory
from convjit.data.idx import parse_idx
from convjit.errors import DataError

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 4, 3), dtype=np.uint8)
LABELS = np.array([0, 3, 1, 2, 3], np.uint8)


def idx(array: NDArray[Any], magic: int | None = None) -> bytes:
    start = 0x0800 + array.ndim if magic is None else magic
    return struct.pack(f">{array.ndim + 1}I", start, *array.shape) + array.tobytes()


def files(separator: str = "-", end: str = "") -> dict[str, bytes]:
    parts = {"train-images{}idx3-ubyte": PIXELS, "train-labels{}idx1-ubyte": LABELS}
    parts |= {"t10k-images{}idx3-ubyte": PIXELS[:2], "t10k-labels{}idx1-ubyte": LABELS[:2]}
    return {
        name.format(separator) + end: gzip.compress(idx(array)) if end else idx(array) for name, array in parts.items()
    }


def refused(path: Path, says: str) -> None:
    with pytest.raises(DataError, match=says) as caught:
        open_dataset(path)
    assert "\n" not in str(caught.value) and str(caught.value).startswith(str(path))


@pytest.mark.parametrize("separator", ["-", "."])
@pytest.mark.parametrize("end", ["", ".gz"])
def test_a_set(tmp_path: Path, separator: str, end: str) -> None:
    dataset = open_dataset(write_folder(tmp_path / "mnist", files(separator, end) | {"readme": b""}))
    assert dataset.name == "mnist" and dataset.shape == (1, 4, 3) and dataset.classes == ("0", "1", "2", "3")
    assert np.array_equal(in_memory(dataset.train).pixels[:, 0], PIXELS)
    assert dataset.train.labels.tolist() == LABELS.tolist()
    assert len(dataset.test) == 2


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(
    ("data", "says"),
    [
        (idx(PIXELS, 0x0D03), "begins with 0x00000d03; an IDX file of images begins with 0x00000803"),
        (idx(LABELS), "begins with 0x00000801"),
        (b"", "begins with 0x;"),
        (idx(PIXELS)[:15], "begins with 0x00000803"),
        (idx(PIXELS)[:-1], "announces 60 bytes of images and holds 59"),
        (idx(PIXELS) + b"x", "announces 60 bytes of images and holds more"),
        (struct.pack(">4I", 0x0803, 1 << 20, 1 << 20, 1 << 20), "not supported yet"),
        (struct.pack(">4I", 0x0803, 70000, 28, 28), "announces 54,880,000 bytes of images and holds 0"),
        (idx(PIXELS[:4]), "train has 4 images and 5 labels"),
        (idx(PIXELS[:0]), "train has 0 images"),
        (b"<!doctype html>", "begins with 0x3c21646f"),
    ],
)
def test_damage(tmp_path: Path, data: bytes, says: str, zipped: bool) -> None:
    name = "train-images-idx3-ubyte"
    good = files()
    del good[name]
    path = write_folder(
        tmp_path / "x", good | {name + (".gz" if zipped else ""): gzip.compress(data) if zipped else data}
    )
    refused(path, says)


def test_damaged_gzip(tmp_path: Path) -> None:
    whole = gzip.compress(idx(PIXELS))
    name = "train-images-idx3-ubyte.gz"
    for number, data in enumerate((whole[:40], whole[:-1], whole[:-8] + bytes(8), whole[:20] + b"xxxx" + whole[24:])):
        refused(write_folder(tmp_path / str(number), files(end=".gz") | {name: data}), "damaged or cut short")


def test_a_bomb_stops_at_the_announced_size() -> None:
    bomb = gzip.compress(idx(PIXELS) + bytes(50 << 20))
    with pytest.raises(DataError, match="holds more"):
        parse_idx(bomb, "x", "images")


def test_gzip_in_pieces() -> None:
    whole = idx(PIXELS)
    data = b"".join(gzip.compress(whole[i : i + 20]) for i in range(0, len(whole), 20))
    assert np.array_equal(parse_idx(data, "x", "images"), PIXELS)


def test_missing_files(tmp_path: Path) -> None:
    for name in files():
        rest = {other: data for other, data in files().items() if other != name}
        refused(write_folder(tmp_path / name, rest), f"{name[:-11]} .* is missing; an IDX set has four files")
