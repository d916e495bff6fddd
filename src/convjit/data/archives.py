"""Tar archives as places that files are read from at random; nothing is unpacked to disk.

A plain archive is read where it lies. A compressed one is read once from its start: up to HELD bytes of its files are
then kept in memory, as they are, since images are compressed themselves. Of a gzip archive that may need more, states
of the unpacker are kept instead (`unpacking.py`).
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import BinaryIO, Protocol

from convjit.data.decode import MAX_FILE
from convjit.data.stream import Limited, compression, shown
from convjit.data.tar_headers import FileWindow, Window
from convjit.data.unpacking import SeekableGzip
from convjit.errors import DataError

__all__ = ["HELD", "Archive", "Room", "open_archive"]

HELD = 2 << 30
_NO_LIMIT = 1 << 62
_STEP = 1 << 16
# JPEGs hardly shrink: archives of more than this together may well unpack to more than HELD.
_SEEKABLE_FROM = HELD // 2


class Archive(Protocol):
    """Where files lie by offset. `window` begins the one walk over the headers, `close` ends it."""

    path: Path
    plain: bool

    def window(self) -> Window: ...

    def keep(self, offset: int, size: int) -> int:
        """Told of every file during the walk; the place from which `read` will take it."""

    def again(self) -> Window:
        """Begin another walk, over the files in their order by their places; OSError if the archive has changed."""

    def close(self) -> None: ...

    def read(self, place: int, size: int) -> bytes:
        """Bytes of a file, from any thread; OSError if they cannot be read."""


class Room:
    """The memory that the compressed archives of a set may still take."""

    def __init__(self) -> None:
        self.left = HELD


def open_archive(path: Path, together: int, room: Room) -> Archive:
    """The archive at `path`, one of some that have `together` bytes."""
    with path.open("rb") as file:
        packing = compression(file.read(8))
    if packing is None:
        return _PlainTar(path)
    if packing == "gz" and together > _SEEKABLE_FROM:
        return SeekableGzip(path)
    return _HeldTar(path, room)


class _Descriptor:
    """An open file, closed when nobody holds it any more."""

    def __init__(self, path: Path) -> None:
        self.number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        status = os.fstat(self.number)
        self.stamp = status.st_size, status.st_mtime_ns

    def __del__(self) -> None:
        if hasattr(self, "number"):
            os.close(self.number)


class _PlainTar:
    """An archive that is not compressed."""

    plain = True

    def __init__(self, path: Path) -> None:
        self.path = path
        self._open: _Descriptor | None = _Descriptor(path)
        self._stamp = self._open.stamp

    def window(self) -> Window:
        self._open = self._open or _Descriptor(self.path)
        return FileWindow(self._open.number)

    def keep(self, offset: int, size: int) -> int:
        return offset

    def again(self) -> Window:
        return FileWindow(self._opened().number)

    def close(self) -> None:
        # Threads that read at this moment hold the file until they are done.
        self._open = None

    def read(self, place: int, size: int) -> bytes:
        opened = self._opened()
        data = os.pread(opened.number, size, place)
        if len(data) < size:
            raise OSError(0, "the archive has become shorter")
        return data

    def _opened(self) -> _Descriptor:
        opened = self._open
        if opened is None:
            opened = _Descriptor(self.path)
            if opened.stamp != self._stamp:
                raise OSError(0, "the archive has changed since it was opened")
            self._open = opened
            _OPEN.add(self)
        return opened


class _OpenTars:
    """Which archives are open: a process may have 1,000 files, a set more shards."""

    _MOST = 256

    def __init__(self) -> None:
        self._tars: dict[_PlainTar, None] = {}
        self._lock = threading.Lock()

    def add(self, tar: _PlainTar) -> None:
        """This one is open now; if there are too many, the one that was opened first is closed."""
        with self._lock:
            self._tars.pop(tar, None)
            self._tars[tar] = None
            if len(self._tars) > self._MOST:
                oldest = next(iter(self._tars))
                del self._tars[oldest]
                oldest.close()


_OPEN = _OpenTars()


class _HeldTar:
    """A compressed archive whose files are kept in memory."""

    plain = False

    def __init__(self, path: Path, room: Room) -> None:
        self.path, self._room = path, room
        self._raw: BinaryIO | None = None
        self._window: _StreamWindow | None = None
        self._held = bytearray()

    def window(self) -> Window:
        self._raw = self.path.open("rb")
        self._window = _StreamWindow(Limited(shown(self.path), self._raw, self.path.stat().st_size))
        return self._window

    def keep(self, offset: int, size: int) -> int:
        assert self._window is not None
        place = len(self._held)
        if size > MAX_FILE:
            # Too large for an image: it will be refused by its size.
            return place
        data = self._window.at(offset, size)
        if len(data) < size:
            raise DataError(f"{shown(self.path)}: damaged or cut short; fetch it again")
        self._room.left -= size
        if self._room.left < 0:
            raise DataError(
                f"{shown(self.path)}: unpacks to more than {HELD >> 30} GB, which are kept in memory as this kind of "
                "archive can only be read from its start: unpack it to a plain .tar, which is read where it lies"
            )
        self._held += data
        return place

    def close(self) -> None:
        self._window = None
        if self._raw is not None:
            self._raw.close()

    def again(self) -> Window:
        return self

    def at(self, offset: int, size: int) -> bytes:
        return bytes(memoryview(self._held)[offset : offset + size])

    def read(self, place: int, size: int) -> bytes:
        return self.at(place, size)


class _StreamWindow:
    """A stream's bytes, of which what was passed over is gone."""

    def __init__(self, stream: Limited) -> None:
        stream.allow(_NO_LIMIT)
        self._stream = stream
        self._start, self._data = 0, b""

    def at(self, offset: int, size: int) -> bytes:
        while (end := self._start + len(self._data)) < offset + size:
            if end <= offset:
                self._start, self._data = end, b""
            blocks = [self._data]
            while end < offset + size and (block := self._stream.read(_STEP)):
                blocks.append(block)
                end += len(block)
                if end <= offset:
                    break
            before, self._data = len(self._data), b"".join(blocks)
            if len(self._data) == before:
                break
        low = offset - self._start
        found = self._data[low : low + size]
        if low > _STEP:
            self._start, self._data = offset, self._data[low:]
        return found
