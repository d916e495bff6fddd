"""Every file of a set in a few arrays: 50 bytes for each, so that a million of them are there in seconds.

N files. Names lie one behind the other in one piece of bytes; folders, of which there are few, are kept as they are.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Collector", "Files", "Index", "Reader"]

# Files that are held in lists.
_AT_ONCE = 1 << 16


class Files(Protocol):
    """What reads files by their number; `place` is where they lie, the same whenever the same set is opened."""

    @property
    def place(self) -> str: ...

    def read(self, index: Index, number: int, start: int, size: int) -> bytes:
        """Up to `size` bytes from `start` on, from any thread; OSError if they cannot be read."""

    def reader(self, index: Index) -> Reader:
        """What reads many files in the order of their numbers, in one thread."""


class Reader(Protocol):
    """Reads files one after the other, in a shorter time than `Files`."""

    def read(self, number: int, start: int, size: int) -> bytes:
        """As `Files.read` does."""

    def close(self) -> None: ...


@dataclass(frozen=True, eq=False)
class Index:
    """The visible files of a folder or of archives, by number.

    `where` is the path for messages. File i lies in `folders[parents[i]]`, which is "" at the top; `stamps` are times
    of change in ns, or offsets in an archive; archive a has the files up to `archive_ends[a]`. `sorted` says that the
    names of every folder come in order, each once. `devices` and `inodes` are what the system knows files by, else -1;
    `originals[i]` is the first file that is the same one as file i, by a link, None where there are none.
    """

    where: str
    folders: tuple[str, ...]
    parents: NDArray[np.int32]
    names: bytes
    ends: NDArray[np.int64]
    sizes: NDArray[np.int64]
    stamps: NDArray[np.int64]
    sorted: bool
    files: Files
    devices: NDArray[np.int64]
    inodes: NDArray[np.int64]
    originals: NDArray[np.int64] | None
    archives: tuple[Path, ...] = ()
    archive_ends: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.parents)

    def base(self, number: int) -> bytes:
        """A file's name without its folder."""
        return self.names[self.ends[number - 1] if number else 0 : self.ends[number]]

    def bases(self, first: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The names of the files from one number up to another, in order."""
        start = int(self.ends[first - 1]) if first else 0
        for stop in self.ends[first:end].tolist():
            yield self.names[start:stop]
            start = stop

    def name(self, number: int) -> str:
        """A file's path in its source."""
        folder, base = self.folders[self.parents[number]], self.base(number).decode("utf-8", "surrogateescape")
        return f"{folder}/{base}" if folder else base

    def read(self, number: int, start: int = 0, size: int | None = None) -> bytes:
        """A file, or `size` bytes of it. OSError if it cannot be read."""
        left = int(self.sizes[number]) - start
        return self.files.read(self, number, start, left if size is None else min(size, left))

    @contextmanager
    def reading(self) -> Iterator[Reader]:
        """For reading many files, in the order of their numbers."""
        reader = self.files.reader(self)
        try:
            yield reader
        finally:
            reader.close()


class Collector:
    """Takes files one by one, and makes an index of them."""

    def __init__(self) -> None:
        self._folders: dict[str, int] = {}
        self._last: list[bytes] = []
        self._sorted = True
        self._names = bytearray()
        self._lengths = array("q")
        self._parents, self._sizes, self._stamps = array("i"), array("q"), array("q")
        self._devices, self._inodes = array("q"), array("q")
        # Lists take what comes in a third of an array's time; they are emptied before they take much memory.
        self._bases: list[bytes] = []
        self._numbers: tuple[list[int], ...] = tuple([] for _ in range(5))

    def __len__(self) -> int:
        return len(self._lengths) + len(self._bases)

    def folder(self, path: str) -> int:
        """The number of a folder, which may be new; those above it are numbered too."""
        number = self._folders.get(path)
        if number is None:
            if path:
                self.folder(path.rpartition("/")[0])
            number = self._folders[path] = len(self._folders)
            self._last.append(b"")
        return number

    def add(self, folder: str, base: bytes, size: int, stamp: int, device: int = -1, inode: int = -1) -> None:
        """A file; its number is how many came before it. Files of one device and inode are one file."""
        parent = self._folders.get(folder)
        if parent is None:
            parent = self.folder(folder)
        if self._sorted:
            self._sorted = base > self._last[parent]
            self._last[parent] = base
        parents, sizes, stamps, devices, inodes = self._numbers
        self._bases.append(base)
        parents.append(parent)
        sizes.append(size)
        stamps.append(stamp)
        devices.append(device)
        inodes.append(inode)
        if len(parents) == _AT_ONCE:
            self._pour()

    def _pour(self) -> None:
        """From the lists to the arrays."""
        self._names += b"".join(self._bases)
        self._lengths.extend(map(len, self._bases))
        self._bases.clear()
        arrays = self._parents, self._sizes, self._stamps, self._devices, self._inodes
        for numbers, found in zip(arrays, self._numbers, strict=True):
            numbers.extend(found)
            found.clear()

    def finish(
        self,
        where: str,
        files: Files,
        archives: tuple[Path, ...] = (),
        archive_ends: tuple[int, ...] = (),
    ) -> Index:
        """The index, whose files are read by `files`."""
        self._pour()
        devices, inodes = np.array(self._devices, np.int64), np.array(self._inodes, np.int64)
        return Index(
            where,
            tuple(self._folders),
            np.array(self._parents, np.int32),
            bytes(self._names),
            np.cumsum(np.array(self._lengths, np.int64)),
            np.array(self._sizes, np.int64),
            np.array(self._stamps, np.int64),
            self._sorted,
            files,
            devices,
            inodes,
            _originals(devices, inodes),
            archives,
            archive_ends,
        )


def _originals(devices: NDArray[np.int64], inodes: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """For each file the first that is the same one; None if all are different, as far as is known."""
    order = np.lexsort((devices, inodes))
    new = np.diff(devices[order], prepend=-2) != 0
    new |= np.diff(inodes[order], prepend=-2) != 0
    new |= inodes[order] < 0
    if new.all():
        return None
    found = np.empty(len(order), np.int64)
    found[order] = order[np.maximum.accumulate(np.where(new, np.arange(len(order)), 0))]
    return found
