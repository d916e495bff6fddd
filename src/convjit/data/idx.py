"""IDX files, the format of MNIST and Fashion-MNIST: a big-endian header and bytes, plain or gzipped."""

from __future__ import annotations

import math
import re
import struct

import numpy as np
from numpy.typing import NDArray

from convjit.data.dataset import MAX_BYTES, Dataset, Images, build, check_bytes
from convjit.data.source import Progress, Source
from convjit.data.stream import GZIP, gunzip
from convjit.errors import DataError

__all__ = ["NAMES", "load_idx", "parse_idx"]

NAMES = re.compile(r"(train|t10k)-(images|labels)[.-]idx[13]-ubyte(\.gz)?")

# Two zero bytes, 8 for unsigned bytes, the number of dimensions.
_MAGIC = {"images": 0x0803, "labels": 0x0801}


def load_idx(source: Source, progress: Progress | None) -> Dataset:
    """The four files of an IDX set; classes are "0", "1", ..."""
    arrays: dict[str, NDArray[np.uint8]] = {}
    for entry in source.entries():
        match = NAMES.fullmatch(entry.parts[-1])
        if entry.is_folder or len(entry.parts) > 2 or not match:
            continue
        where = f"{source.where}: {entry.name}"
        check_bytes(where, entry.size)
        try:
            data = entry.read()
        except OSError as error:
            raise DataError(f"{where} cannot be read: {error.strerror}") from None
        arrays[f"{match[1]}-{match[2]}"] = parse_idx(data, where, match[2])
        if progress:
            progress(*source.position)
    missing = [name for split in ("train", "t10k") for kind in _MAGIC if (name := f"{split}-{kind}") not in arrays]
    if missing:
        raise DataError(
            f"{source.where}: {', '.join(missing)} (-idx?-ubyte or .gz) is missing; an IDX set has four files"
        )
    train, test = (
        _images(arrays[f"{split}-images"], arrays[f"{split}-labels"], f"{source.where}: {split}")
        for split in ("train", "t10k")
    )
    count = int(max(train.labels.max(), test.labels.max())) + 1
    return build(source.name, train, test, tuple(str(label) for label in range(count)))


def parse_idx(data: bytes, where: str, kind: str) -> NDArray[np.uint8]:
    """The array of an IDX file of "images" [N,H,W] or "labels" [N]; DataError that begins with `where` otherwise."""
    rank = 3 if kind == "images" else 1
    zipped, start = data.startswith(GZIP), 4 + 4 * rank
    header = gunzip(data, where, 0, start) if zipped else data[:start]
    magic = int.from_bytes(header[:4])
    if len(header) < start or magic != _MAGIC[kind]:
        raise DataError(
            f"{where} begins with 0x{header[:4].hex()}; an IDX file of {kind} begins with 0x{_MAGIC[kind]:08x} "
            "and its sizes: fetch it again"
        )
    shape = struct.unpack(f">{rank}I", header[4:])
    size = math.prod(shape)
    check_bytes(where, size)
    # One byte more than announced, to see whether there is one.
    body = gunzip(data, where, start, min(size, MAX_BYTES) + 1) if zipped else data[start:]
    if len(body) != size:
        found = "more" if len(body) > size else f"{len(body):,}"
        raise DataError(f"{where} announces {size:,} bytes of {kind} and holds {found}; it is damaged: fetch it again")
    return np.frombuffer(body, np.uint8).reshape(shape)


def _images(pixels: NDArray[np.uint8], labels: NDArray[np.uint8], where: str) -> Images:
    if len(pixels) != len(labels):
        raise DataError(f"{where} has {len(pixels)} images and {len(labels)} labels; there must be one for each")
    return Images(pixels[:, None], labels.astype(np.int32))
