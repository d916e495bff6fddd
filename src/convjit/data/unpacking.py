"""Gzip archives read at random: states of the unpacker are kept, from which reading starts again.

A state takes 40 KB, mostly the last 32 KB of text, so a few thousand of them serve an archive of any size: the next one
before a file is 4 MB away, or a 1,300th part of the archive if that is more.
"""

from __future__ import annotations

import bisect
import os
import threading
import zlib
from pathlib import Path

from convjit.data.stream import GZIP, check_growth, shown
from convjit.data.tar_headers import Window
from convjit.errors import DataError

__all__ = ["SeekableGzip"]

_STATES = 4000
_LEAST_BETWEEN = 4 << 20
_STEP = 1 << 16
# How much JPEGs and labels may shrink in the mean, to guess the unpacked size.
_GROWTH = 3


class SeekableGzip:
    """The archive at `path`; the first walk keeps the states."""

    plain = False

    def __init__(self, path: Path) -> None:
        self.path = path
        self._place = _Place(path)
        status = path.stat()
        self._stamp = status.st_size, status.st_mtime_ns
        self._between = max(_LEAST_BETWEEN, _GROWTH * status.st_size // _STATES)
        self._states: list[_Place] = [self._place.copy()]
        self._offsets = [0]
        self._lock = threading.Lock()

    def window(self) -> Window:
        return self

    def at(self, offset: int, size: int) -> bytes:
        """Bytes of the unpacked archive during the walk; DataError if it is damaged."""
        try:
            found = self._place.at(offset, size)
        except (EOFError, OSError, zlib.error) as error:
            raise DataError(f"{shown(self.path)}: damaged or cut short ({shown(error)}); fetch it again") from None
        check_growth(shown(self.path), self._stamp[0], self._place.end)
        if self._place.end > self._offsets[-1] + self._between:
            self._states.append(self._place.copy())
            self._offsets.append(self._place.end)
        return found

    def keep(self, offset: int, size: int) -> int:
        """A file is found where it lies."""
        return offset

    def again(self) -> Window:
        """Another walk from the start, which needs no states."""
        self._place.close()
        self._place = _Place(self.path)
        if self._place.stamp() != self._stamp:
            raise OSError(0, "the archive has changed since it was opened")
        return self

    def close(self) -> None:
        """The walk is over."""
        self._place.close()

    def read(self, place: int, size: int) -> bytes:
        """Bytes of a file, from any thread; OSError if they cannot be read."""
        with self._lock:
            state = self._states[bisect.bisect_right(self._offsets, place) - 1].copy()
        try:
            if state.stamp() != self._stamp:
                raise OSError(0, "the archive has changed since it was opened")
            data = state.at(place, size)
        except (EOFError, zlib.error) as error:
            raise OSError(0, f"damaged ({shown(error)})") from None
        finally:
            state.close()
        if len(data) < size:
            raise OSError(0, "the archive has become shorter")
        return data


class _Place:
    """A place in a gzip stream, from which it is unpacked forward; `end` is how far that is in the unpacked bytes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None
        self._decoder = zlib.decompressobj(wbits=31)
        self._fed = 0
        self._data = b""
        self.end = 0

    def copy(self) -> _Place:
        """The same place; what is unpacked already does not go along."""
        made = _Place(self._path)
        made._decoder, made._fed, made.end = self._decoder.copy(), self._fed, self.end
        return made

    def at(self, offset: int, size: int) -> bytes:
        """`size` bytes, fewer at the end; what lies before `offset` is forgotten."""
        blocks = [self._data]
        while self.end < offset + size and (block := self._next()) is not None:
            blocks = [] if self.end <= offset else [*blocks, block]
        data = b"".join(blocks)
        self._data = data[offset - (self.end - len(data)) :]
        return self._data[:size]

    def _next(self) -> bytes | None:
        """What the next bytes of the file unpack to; None at the end."""
        packed = os.pread(self._opened(), _STEP, self._fed)
        if self._decoder.eof:
            # Streams may follow one another, with zeros in between.
            zeros = len(packed) - len(packed.lstrip(b"\0"))
            if zeros or not packed:
                self._fed += zeros
                return b"" if zeros else None
            if not packed.startswith(GZIP):
                raise EOFError("something else follows the stream")
            self._decoder = zlib.decompressobj(wbits=31)
        elif not packed:
            raise EOFError("the end of the stream is missing")
        block = self._decoder.decompress(packed)
        self._fed += len(packed) - len(self._decoder.unused_data)
        self.end += len(block)
        return block

    def stamp(self) -> tuple[int, int]:
        """Size and time of change of the file."""
        status = os.fstat(self._opened())
        return status.st_size, status.st_mtime_ns

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor, self._data = None, b""

    def _opened(self) -> int:
        if self._descriptor is None:
            self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        return self._descriptor
