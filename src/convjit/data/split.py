"""A validation set for sets that have none: some of the images of every class, chosen by their contents.

An image is chosen if the hash of its contents is below a share of all hashes. So equal files stand on one side, and
files that are added later, or renamed, move no other one. Of a class of which no image is below, the one with the
lowest hash is chosen; of one of which all are, the one with the highest stays behind.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from convjit.data.index import Index, Reader
from convjit.data.layouts.contents import Contents
from convjit.data.source import Progress

__all__ = ["VALIDATION", "split", "with_test"]

VALIDATION = 0.1

# Large files are hashed by their size, start, middle and end: two that agree in these stand on one side, no more.
_WHOLE = 16 << 10
_PIECE = 4 << 10
_CHUNK = 2048


def with_test(contents: Contents, share: float | None, progress: Progress | None = None) -> Contents:
    """The set with images to test on: its own, else a share of the others, or with None all of them."""
    if contents.test is not None:
        return contents
    if share is None:
        return replace(contents, test=contents.train)
    part = contents.train
    chosen = split(digests(contents.index, part.rows, progress), part.labels, share)
    return replace(contents, train=part.take(~chosen), test=part.take(chosen))


def split(digests: NDArray[np.uint64], labels: NDArray[np.int32], share: float) -> NDArray[np.bool_]:
    """Which samples to test on, bool [N], from the hashes of their contents and their labels."""
    chosen = digests < np.uint64(min(int(share * 2**64), 2**64 - 1))
    order = np.lexsort((digests, labels))
    starts = np.flatnonzero(np.diff(labels[order], prepend=np.int32(-2)))
    lowest, highest = digests[order[starts]], digests[order[[*(starts[1:] - 1), len(order) - 1]]]
    # Hashes, not samples, so that equal files stay together.
    chosen |= np.isin(digests, lowest[lowest != highest])
    left = np.bincount(labels[~chosen] + 1, minlength=int(labels.max()) + 2)
    missing = left[labels[order[starts]] + 1] == 0
    return chosen & ~np.isin(digests, highest[missing])


def digests(index: Index, rows: NDArray[np.int64], progress: Progress | None = None) -> NDArray[np.uint64]:
    """64 bits of a hash of every file's contents; of one that cannot be read, of its name.

    Threads would not help: of the 10 us that a file takes, half are Python's.
    """
    # Each once, however many links lead to it, in the order in which they lie.
    files, places = np.unique(rows if index.originals is None else index.originals[rows], return_inverse=True)
    found = np.empty(len(files), np.uint64)
    with index.reading() as reader:
        for start in range(0, len(files), _CHUNK):
            chunk = files[start : start + _CHUNK]
            pairs = zip(chunk.tolist(), index.sizes[chunk].tolist(), strict=True)
            found[start : start + len(chunk)] = [_digest(index, reader, row, size) for row, size in pairs]
            if progress:
                progress((start + len(chunk)) * len(rows) // len(files), len(rows))
    return found[places]


def _digest(index: Index, reader: Reader, row: int, size: int) -> int:
    length = size.to_bytes(8, "little")
    try:
        if size <= _WHOLE:
            data = reader.read(row, 0, size)
        else:
            data = b"".join([reader.read(row, at, _PIECE) for at in (0, (size - _PIECE) // 2, size - _PIECE)])
    except OSError:
        data = os.fsencode(index.name(row))
    return int.from_bytes(hashlib.blake2b(length + data, digest_size=8).digest(), "little")
