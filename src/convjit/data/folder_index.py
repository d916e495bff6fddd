"""The files below a folder, walked and read."""

from __future__ import annotations

import operator
import os
import stat
from pathlib import Path

from convjit.data.index import Collector, Index, Reader
from convjit.data.source import Progress
from convjit.data.stream import shown
from convjit.data.tar_headers import hidden
from convjit.errors import DataError

__all__ = ["FolderFiles", "index_folder"]

# The top, split, class, and the file.
_MAX_DEPTH = 4
# Files whose names are made ready for reading.
_AT_ONCE = 1024
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC

_name = operator.attrgetter("name")


class FolderFiles:
    """Files below a folder."""

    def __init__(self, root: Path) -> None:
        self._root = os.fspath(root)

    @property
    def place(self) -> str:
        return os.path.realpath(self._root)

    def read(self, index: Index, number: int, start: int, size: int) -> bytes:
        return _read(f"{self._root}/{index.name(number)}", start, size)

    def reader(self, index: Index) -> Reader:
        return _FolderReader(self._root, index)


class _FolderReader:
    """Keeps the last folder open, since the system takes longest to find its way to a file."""

    def __init__(self, root: str, index: Index) -> None:
        self._root, self._index = root, index
        self._parent, self._folder = -1, -1
        self._first, self._parents, self._bases = 0, list[int](), list[bytes]()

    def read(self, number: int, start: int, size: int) -> bytes:
        place = number - self._first
        if not 0 <= place < len(self._parents):
            self._first, place = number, 0
            self._parents = self._index.parents[number : number + _AT_ONCE].tolist()
            self._bases = list(self._index.bases(number, number + _AT_ONCE))
        if self._parents[place] != self._parent:
            self._enter(self._parents[place])
        return _read(self._bases[place], start, size, self._folder)

    def _enter(self, parent: int) -> None:
        self.close()
        self._folder = os.open(f"{self._root}/{self._index.folders[parent]}", _FOLDER)
        self._parent = parent

    def close(self) -> None:
        if self._folder >= 0:
            os.close(self._folder)
        self._parent = self._folder = -1


def _read(path: str | bytes, start: int, size: int, folder: int | None = None) -> bytes:
    # A third of the time of Path.open, which shows when a million files are hashed.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
    try:
        data = os.pread(descriptor, size, start)
    finally:
        os.close(descriptor)
    if len(data) < size:
        raise OSError(0, "it has become shorter since it was listed")
    return data


def index_folder(root: Path, progress: Progress | None = None) -> Index:
    """The files below a folder, a few levels deep, in sorted order; links are followed, but in no circle."""
    collector = Collector()
    collector.folder("")
    _walk(os.fspath(root), "", (), collector, progress)
    return collector.finish(shown(root), FolderFiles(root))


def _walk(
    path: str, above: str, ancestors: tuple[tuple[int, int], ...], collector: Collector, progress: Progress | None
) -> None:
    try:
        # Names are looked up from the open folder, not from the root each time.
        opened = os.open(path, _FOLDER)
        try:
            status = os.fstat(opened)
            if (status.st_dev, status.st_ino) in ancestors:
                return
            folders = _list(opened, above, collector)
        finally:
            os.close(opened)
    except OSError as error:
        raise DataError(f"{shown(path)}: the folder cannot be read: {error.strerror}") from None
    if progress:
        progress(len(collector), len(collector))
    for name in folders:
        inner = f"{above}/{name}" if above else name
        collector.folder(inner)
        if inner.count("/") < _MAX_DEPTH - 1:
            _walk(f"{path}/{name}", inner, (*ancestors, (status.st_dev, status.st_ino)), collector, progress)


def _list(opened: int, above: str, collector: Collector) -> list[str]:
    """Take the files of an open folder; the names of its folders."""
    folders: list[str] = []
    add, is_file, is_folder = collector.add, stat.S_ISREG, stat.S_ISDIR
    with os.scandir(opened) as listing:
        for child in sorted(listing, key=_name):
            name = child.name
            if hidden(name):
                continue
            base = name.encode("utf-8", "surrogateescape")
            try:
                found = child.stat()
            except OSError:
                # A link to nowhere or in a circle: reading it will say so, and it counts as a broken file.
                add(above, base, 0, 0)
                continue
            if is_file(found.st_mode):
                add(above, base, found.st_size, found.st_mtime_ns, found.st_dev, found.st_ino)
            elif is_folder(found.st_mode):
                folders.append(name)
    return folders
