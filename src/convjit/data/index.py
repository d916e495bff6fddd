"""Every file of a set in a few arrays: 50 bytes for each, so that a million of them are there in seconds.

N files. Names lie one behind the other in one piece of bytes; folders, of which there are few, are kept as they are.
"""

from __future__ import annotations

import bisect
import operator
import os
import stat
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from convjit.data.archives import Archive, Room, open_archive
from convjit.data.source import Progress
from convjit.data.stream import shown
from convjit.data.tar_headers import hidden, members
from convjit.errors import DataError

__all__ = ["Collector", "Files", "FolderFiles", "Index", "archive_folders", "index_archives", "index_folder"]

# The top, split, class, and the file.
_MAX_DEPTH = 4

_name = operator.attrgetter("name")


class Files(Protocol):
    """What reads files by their number."""

    def read(self, index: Index, number: int, start: int, size: int) -> bytes:
        """Up to `size` bytes from `start` on, from any thread; OSError if they cannot be read."""


@dataclass(frozen=True, eq=False)
class Index:
    """The visible files of a folder or of archives, by number.

    `where` is the path for messages. File i lies in `folders[parents[i]]`, which is "" at the top; `stamps` are times
    of change in ns, or offsets in an archive; archive a has the files up to `archive_ends[a]`. `sorted` says that the
    names of every folder come in order, each once.
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
    archives: tuple[Path, ...] = ()
    archive_ends: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.parents)

    def base(self, number: int) -> bytes:
        """A file's name without its folder."""
        return self.names[self.ends[number - 1] if number else 0 : self.ends[number]]

    def bases(self) -> Iterator[bytes]:
        """The names of all files in order."""
        start = 0
        for end in self.ends.tolist():
            yield self.names[start:end]
            start = end

    def name(self, number: int) -> str:
        """A file's path in its source."""
        folder, base = self.folders[self.parents[number]], self.base(number).decode("utf-8", "surrogateescape")
        return f"{folder}/{base}" if folder else base

    def read(self, number: int, start: int = 0, size: int | None = None) -> bytes:
        """A file, or `size` bytes of it. OSError if it cannot be read."""
        left = int(self.sizes[number]) - start
        return self.files.read(self, number, start, left if size is None else min(size, left))


class Collector:
    """Takes files one by one, and makes an index of them."""

    def __init__(self) -> None:
        self._folders: dict[str, int] = {}
        self._last: list[bytes] = []
        self._parents, self._ends = array("i"), array("q")
        self._sizes, self._stamps = array("q"), array("q")
        self._names = bytearray()
        self._sorted = True

    def __len__(self) -> int:
        return len(self._ends)

    def folder(self, path: str) -> int:
        """The number of a folder, which may be new; those above it are numbered too."""
        number = self._folders.get(path)
        if number is None:
            if path:
                self.folder(path.rpartition("/")[0])
            number = self._folders[path] = len(self._folders)
            self._last.append(b"")
        return number

    def add(self, folder: str, base: bytes, size: int, stamp: int) -> None:
        """A file; its number is how many came before it."""
        parent = self._folders.get(folder)
        if parent is None:
            parent = self.folder(folder)
        if base <= self._last[parent]:
            self._sorted = False
        self._last[parent] = base
        self._names += base
        self._ends.append(len(self._names))
        self._parents.append(parent)
        self._sizes.append(size)
        self._stamps.append(stamp)

    def finish(
        self,
        where: str,
        files: Files,
        archives: tuple[Path, ...] = (),
        archive_ends: tuple[int, ...] = (),
    ) -> Index:
        """The index, whose files are read by `files`."""
        return Index(
            where,
            tuple(self._folders),
            np.array(self._parents, np.int32),
            bytes(self._names),
            np.array(self._ends, np.int64),
            np.array(self._sizes, np.int64),
            np.array(self._stamps, np.int64),
            self._sorted,
            files,
            archives,
            archive_ends,
        )


class FolderFiles:
    """Files below a folder."""

    def __init__(self, root: Path) -> None:
        self._root = os.fspath(root)

    def read(self, index: Index, number: int, start: int, size: int) -> bytes:
        # A third of the time of Path.open, which shows when a million files are hashed.
        descriptor = os.open(f"{self._root}/{index.name(number)}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            data = os.pread(descriptor, size, start)
        finally:
            os.close(descriptor)
        if len(data) < size:
            raise OSError(0, "it has become shorter since it was listed")
        return data


class _ArchiveFiles:
    """Files of archives one behind the other: archive i has those up to the number `ends[i]`."""

    def __init__(self, archives: list[Archive]) -> None:
        self._archives = archives

    def read(self, index: Index, number: int, start: int, size: int) -> bytes:
        archive = self._archives[bisect.bisect_right(index.archive_ends, number)]
        return archive.read(int(index.stamps[number]) + start, size)


def index_folder(root: Path, progress: Progress | None = None) -> Index:
    """The files below a folder, a few levels deep, in sorted order; links are followed, but in no circle."""
    collector = Collector()
    collector.folder("")
    _walk(root, "", (), collector, progress)
    return collector.finish(shown(root), FolderFiles(root))


def _walk(
    path: Path, above: str, ancestors: tuple[tuple[int, int], ...], collector: Collector, progress: Progress | None
) -> None:
    folders: list[str] = []
    try:
        status = path.stat()
        if (status.st_dev, status.st_ino) in ancestors:
            return
        with os.scandir(path) as listing:
            for child in sorted(listing, key=_name):
                name = child.name
                if hidden(name):
                    continue
                try:
                    found = child.stat()
                except OSError:
                    # A link to nowhere or in a circle: reading it will say so, and it counts as a broken file.
                    collector.add(above, os.fsencode(name), 0, 0)
                    continue
                if stat.S_ISREG(found.st_mode):
                    collector.add(above, os.fsencode(name), found.st_size, found.st_mtime_ns)
                elif stat.S_ISDIR(found.st_mode):
                    folders.append(name)
    except OSError as error:
        raise DataError(f"{shown(path)}: the folder cannot be read: {error.strerror}") from None
    if progress:
        progress(len(collector), len(collector))
    for name in folders:
        inner = f"{above}/{name}" if above else name
        collector.folder(inner)
        if inner.count("/") < _MAX_DEPTH - 1:
            _walk(path / name, inner, (*ancestors, (status.st_dev, status.st_ino)), collector, progress)


def index_archives(
    paths: Sequence[Path], where: str, progress: Progress | None = None, *, nested: bool = False
) -> Index:
    """The files of some archives, one behind the other; of several, each one's name becomes a folder's.

    `nested` takes a plain archive in a plain archive for a folder. `progress` counts bytes.
    """
    collector, archives, ends, room = Collector(), list[Archive](), list[int](), Room()
    collector.folder("")
    try:
        sizes = [path.stat().st_size for path in paths]
        for done, (path, prefix) in enumerate(zip(paths, archive_folders(paths), strict=True)):
            archive = open_archive(path, sum(sizes), room)
            try:
                _take(archive, prefix, (0, sizes[done]), collector, nested)
            finally:
                archive.close()
            archives.append(archive)
            ends.append(len(collector))
            if progress:
                progress(sum(sizes[: done + 1]), sum(sizes))
    except OSError as error:
        raise DataError(f"{where}: cannot be read: {error.strerror or error}") from None
    return collector.finish(where, _ArchiveFiles(archives), tuple(paths), tuple(ends))


def archive_folders(paths: Sequence[Path]) -> list[str]:
    """What the folders of some archives are called in an index: "" for one alone."""
    if len(paths) == 1:
        return [""]
    unique = len({path.name for path in paths}) == len(paths)
    return [path.name if unique else f"{path.parent.name}/{path.name}" for path in paths]


def _take(archive: Archive, prefix: str, span: tuple[int, int], collector: Collector, nested: bool) -> None:
    """Every file of an archive, or of the part of it between two places."""
    start, end = span[0], span[1] if archive.plain else None
    nested = nested and archive.plain
    add, keep = collector.add, archive.keep
    for folder, base, offset, length in members(archive.window(), shown(archive.path), start, end):
        path = (f"{prefix}/{folder}" if folder else prefix) if prefix else folder
        if nested and base.endswith(b".tar"):
            inner = base.removesuffix(b".tar").decode("utf-8", "surrogateescape")
            place = f"{path}/{inner}" if path else inner
            collector.folder(place)
            _take(archive, place, (offset, offset + length), collector, False)
        elif base:
            add(path, base, length, keep(offset, length))
        else:
            collector.folder(path)
