"""The files of tar archives, walked and read."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from pathlib import Path

from convjit.data.archives import Archive, Room, open_archive
from convjit.data.index import Collector, Index, Reader
from convjit.data.source import Progress
from convjit.data.stream import shown
from convjit.data.tar_headers import Window, members
from convjit.errors import DataError

__all__ = ["archive_folders", "index_archives"]


class _ArchiveFiles:
    """Files of archives one behind the other: archive i has those up to the number `ends[i]`."""

    def __init__(self, archives: list[Archive]) -> None:
        self._archives = archives

    @property
    def place(self) -> str:
        return "\0".join(str(archive.path.resolve()) for archive in self._archives)

    def read(self, index: Index, number: int, start: int, size: int) -> bytes:
        archive = self._archives[bisect.bisect_right(index.archive_ends, number)]
        return archive.read(int(index.stamps[number]) + start, size)

    def reader(self, index: Index) -> Reader:
        return _ArchivesReader(self._archives, index)


class _ArchivesReader:
    """Goes through one archive after the other."""

    def __init__(self, archives: list[Archive], index: Index) -> None:
        self._archives, self._index = archives, index
        self._current, self._end = -1, 0
        self._window: Window | None = None

    def read(self, number: int, start: int, size: int) -> bytes:
        if number >= self._end or self._window is None:
            self.close()
            self._current = bisect.bisect_right(self._index.archive_ends, number)
            self._end = self._index.archive_ends[self._current]
            self._window = self._archives[self._current].again()
        data = self._window.at(int(self._index.stamps[number]) + start, size)
        if len(data) < size:
            raise OSError(0, "the archive has become shorter")
        return data

    def close(self) -> None:
        if self._window is not None:
            self._archives[self._current].close()
        self._window = None


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
