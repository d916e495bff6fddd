"""Hashes of the contents of many files, which are remembered from one start to the next.

    <cache>/digests/<key>       SHA-256 of the rest, then for each file device, inode, size, time of change and hash

A file is known again by all of these but the last. To hash a million files of a disk takes minutes, to list them
seconds. For files of archives, device and inode are made of the archive's name, size and time of change, and of their
offset. What changed in the last seconds is not remembered, since it may change once more in the same instant.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from convjit import settings
from convjit.data.cache import private_folder
from convjit.data.index import Index, Reader
from convjit.data.source import Progress

__all__ = ["digests"]

# Large files are hashed by their size, start, middle and end: two that agree in these stand on one side, no more.
_WHOLE = 16 << 10
_PIECE = 4 << 10
_CHUNK = 2048

_KNOWN_BY = ("inode", "device", "size", "stamp")
_FORM = np.dtype([*((name, "<i8") for name in _KNOWN_BY), ("digest", "<u8")])
_LEAST = 1000
"""Files from which they are remembered; fewer are hashed at once."""
_MOST_SETS = 20
_RECENT = 2 * 10**9


def digests(index: Index, rows: NDArray[np.int64], progress: Progress | None = None) -> NDArray[np.uint64]:
    """64 bits of a hash of every file's contents; of one that cannot be read, of its name.

    Threads would not help: of the 10 us that a file takes, half are Python's.
    """
    # Each once, however many links lead to it, in the order in which they lie.
    files, places = np.unique(rows if index.originals is None else index.originals[rows], return_inverse=True)
    found = _files(index, files)
    known = _recall(index, found) if len(files) >= _LEAST else np.zeros(len(files), bool)
    new = np.flatnonzero(~known)
    unread: list[int] = []
    with index.reading() as reader:
        for start in range(0, len(new), _CHUNK):
            chunk = new[start : start + _CHUNK]
            pairs = zip(files[chunk].tolist(), index.sizes[files[chunk]].tolist(), strict=True)
            found["digest"][chunk] = [_digest(index, reader, row, size, unread) for row, size in pairs]
            if progress:
                progress((start + len(chunk)) * len(rows) // len(new), len(rows))
    if len(new) and len(files) >= _LEAST:
        _remember(index, found[~np.isin(files, unread)])
    hashes: NDArray[np.uint64] = found["digest"][places].astype(np.uint64)
    return hashes


def _digest(index: Index, reader: Reader, row: int, size: int, unread: list[int]) -> int:
    length = size.to_bytes(8, "little")
    try:
        if size <= _WHOLE:
            data = reader.read(row, 0, size)
        else:
            data = b"".join([reader.read(row, at, _PIECE) for at in (0, (size - _PIECE) // 2, size - _PIECE)])
    except OSError:
        unread.append(row)
        data = os.fsencode(index.name(row))
    return int.from_bytes(hashlib.blake2b(length + data, digest_size=8).digest(), "little")


def _files(index: Index, files: NDArray[np.int64]) -> NDArray[np.void]:
    """What files are known by, their hashes 0."""
    found = np.zeros(len(files), _FORM)
    found["size"], found["stamp"] = index.sizes[files], index.stamps[files]
    found["inode"], found["device"] = index.inodes[files], index.devices[files]
    start = 0
    for path, end in zip(index.archives, np.searchsorted(files, index.archive_ends).tolist(), strict=True):
        status = path.stat()
        name = f"{path.resolve()} {status.st_size} {status.st_mtime_ns}"
        first, device = np.frombuffer(hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest(), "<i8")[:2]
        # From a number of its own on, since archives have files at the same offsets.
        found["inode"][start:end] = found["stamp"][start:end] + first
        found["device"][start:end] = device
        found["stamp"][start:end] = status.st_mtime_ns
        start = end
    return found


def _path(index: Index) -> Path:
    place = index.files.place.encode("utf-8", "surrogateescape")
    return settings.cache_folder() / "digests" / hashlib.sha256(place).hexdigest()[:32]


def _recall(index: Index, found: NDArray[np.void]) -> NDArray[np.bool_]:
    """Fill in the hashes that are remembered; which ones those are."""
    try:
        data = _path(index).read_bytes()
    except OSError:
        data = b""
    if len(data) <= 32 or data[:32] != hashlib.sha256(data[32:]).digest() or (len(data) - 32) % _FORM.itemsize:
        return np.zeros(len(found), bool)
    kept = np.frombuffer(data, _FORM, offset=32)
    place = np.minimum(np.searchsorted(kept["inode"], found["inode"]), len(kept) - 1)
    known = np.ones(len(found), bool)
    for name in _KNOWN_BY:
        known &= kept[name][place] == found[name]
    found["digest"][known] = kept["digest"][place[known]]
    return known


def _remember(index: Index, found: NDArray[np.void]) -> None:
    """Keep hashes; a cache that cannot be written is done without."""
    # A file that is only linked to from here may have no inode that is known.
    found = found[(found["device"] != -1) & (found["stamp"] < time.time_ns() - _RECENT)]
    data = found[np.argsort(found["inode"], kind="stable")].tobytes()
    path = _path(index)
    with contextlib.suppress(OSError):
        folder = private_folder(path.parent)
        handle, name = tempfile.mkstemp(prefix="new-", dir=folder)
        with os.fdopen(handle, "wb") as file:
            file.write(hashlib.sha256(data).digest() + data)
        Path(name).replace(path)
        newest = sorted(folder.iterdir(), key=lambda one: -one.stat().st_mtime)
        for old in newest[_MOST_SETS:]:
            old.unlink()
