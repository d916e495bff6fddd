"""The headers of a tar archive, walked at 3 us a member, so that files are read at random where they lie.

Python's tarfile takes ten times as long, and keeps half a kilobyte of every member. What is checked is the same: every
header's sum, and that every member is a plain file or a folder with a name inside the archive.
"""

from __future__ import annotations

import itertools
import os
import zlib
from collections.abc import Iterator
from typing import Protocol

from convjit.data.stream import shown
from convjit.errors import DataError

__all__ = ["FileWindow", "Member", "Window", "hidden", "members"]

_BLOCK = 512
_ZEROS = bytes(_BLOCK)
_MAX_MEMBERS = 16_000_000
_MOST_BYTES = 1 << 30
# Long names and attributes stand in headers of their own, of which a member has two or three.
_MAX_HEADER_BYTES = 1 << 18
_MAX_HEADERS = 8
_MAX_DEPTH = 32
_MAX_REST = 64 << 20
_LITTER = {"Thumbs.db", "desktop.ini", "__MACOSX"}
_LITTER_BYTES = {name.encode() for name in _LITTER}

_DOT, _BLANK, _SLASH = ord("."), ord(" "), ord("/")
# Where a header says what kind of member it is of, and what stands before its name.
_KIND, _PREFIX = 156, 345
_FILE, _FOLDER, _PAX, _GLOBAL, _LONG_NAME, _LONG_LINK = b"0\0007", b"5", b"xX", b"g", b"L", b"K"


class Window(Protocol):
    """Bytes that are looked at from the start to the end."""

    def at(self, offset: int, size: int) -> bytes:
        """`size` bytes from `offset` on, fewer at the end; offsets never go back by more than was just read."""


Member = tuple[str, bytes, int, int]
"""Folder, name in it, offset and size of the contents; the name is empty for the folder itself."""


class FileWindow:
    """The bytes of an open file."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._start, self._data = 0, b""

    def at(self, offset: int, size: int) -> bytes:
        low = offset - self._start
        if low < 0 or low + size > len(self._data):
            # Headers of small files lie close together, those of large ones do not.
            near = 0 <= low <= len(self._data) + (8 << 10)
            self._start, low = offset, 0
            self._data = os.pread(self._descriptor, max(size, (64 if near else 4) << 10), offset)
        return self._data[low : low + size]


def members(window: Window, where: str, start: int = 0, end: int | None = None) -> Iterator[Member]:
    """The visible members of the archive between `start` and `end`; DataError that begins with `where` for damage."""
    walk = _Walk(window, where, end)
    at, check, folders = window.at, walk.check, walk.folders
    last = end if end is not None else 1 << 62
    offset, headers = start, 0
    for count in itertools.count():
        if count == _MAX_MEMBERS:
            raise DataError(f"{where}: more than {_MAX_MEMBERS:,} members; this version reads no more than that")
        header = at(offset, _BLOCK)
        if header == _ZEROS:
            walk.finish(offset + _BLOCK)
            return
        size, body = check(header, offset), offset + _BLOCK
        offset = body + (size + _BLOCK - 1) // _BLOCK * _BLOCK
        if not headers and header[_KIND] in _FILE and not header[_PREFIX] and header[0] != _SLASH:
            # As nearly all are: a file whose name says it all, in a folder that is known already.
            folder, _, base = _name(header).rpartition(b"/")
            place, most = folders.get(folder), min(_MOST_BYTES, last - body)
            if place is not None and base and base[0] != _DOT and base not in _LITTER_BYTES and size <= most:
                yield place, base, body, size
                continue
        kind = header[_KIND]
        if kind in _FILE or kind in _FOLDER:
            headers = 0
            if walk.long_size is not None:
                size = walk.long_size
            name = walk.long_name if walk.long_name is not None else _name(header)
            walk.long_name = walk.long_size = None
            found = walk.member(name, kind in _FOLDER, size, body)
            if found is not None:
                yield found
            offset = body if kind in _FOLDER else body + (size + _BLOCK - 1) // _BLOCK * _BLOCK
            continue
        headers += 1
        walk.extend(header, header[156:157], size, body, headers)


class _Walk:
    """What is known between one header and the next."""

    def __init__(self, window: Window, where: str, end: int | None) -> None:
        self.window, self.where, self.end = window, where, end
        self.folders: dict[bytes, str | None] = {}
        self.long_name: bytes | None = None
        self.long_size: int | None = None

    def check(self, header: bytes, offset: int) -> int:
        """The size that a header announces, if it is whole."""
        if len(header) < _BLOCK or (self.end is not None and offset + _BLOCK > self.end):
            raise self.damaged("cut short, the end mark is missing", offset)
        # Adler's lower half is 1 + the sum of the bytes modulo 65521: a tenth of the time that sum() takes.
        found = (zlib.adler32(header) & 0xFFFF) - (zlib.adler32(header[148:156]) & 0xFFFF) + 256
        try:
            # As nearly all archives have them.
            size, sums = int(header[124:135], 8), int(header[148:154], 8)
            if size >= 0 and header[135] <= _BLANK and not (found - sums) % 65521:
                return size
        except ValueError:
            pass
        told, length = _number(header[148:156]), _number(header[124:136])
        if told is None or ((found - told) % 65521 and told != _signed_sum(header)):
            raise self.damaged("not a tar archive" if offset == 0 else "damaged", offset)
        if length is None or length < 0:
            raise self.damaged("damaged", offset)
        return length

    def member(self, name: bytes, is_folder: bool, size: int, body: int) -> Member | None:
        """A file or folder; None for a hidden one."""
        is_folder = is_folder or name.endswith(b"/")
        folder, _, base = (name.rstrip(b"/") if is_folder else name).rpartition(b"/")
        if base == b".." or name.startswith(b"/"):
            raise self.outside(name)
        if size > _MOST_BYTES:
            raise DataError(f"{self.said(name)} has {size:,} bytes; allowed is up to 1 GB")
        if self.end is not None and not is_folder and body + size > self.end:
            raise self.damaged("cut short", body)
        try:
            place = self.folders[folder]
        except KeyError:
            place = self.folders[folder] = self.place(folder, name)
        if place is None or not base or base[0] == _DOT or base in _LITTER_BYTES:
            return None
        if is_folder:
            text = base.decode("utf-8", "surrogateescape")
            return f"{place}/{text}" if place else text, b"", 0, 0
        return place, base, body, size

    def place(self, folder: bytes, name: bytes) -> str | None:
        """A folder's path in one form; None if it is hidden."""
        parts = [part for part in folder.decode("utf-8", "surrogateescape").split("/") if part not in ("", ".")]
        if ".." in parts:
            raise self.outside(name)
        if len(parts) > _MAX_DEPTH:
            raise DataError(f"{self.said(name)} lies {len(parts)} folders deep; allowed are {_MAX_DEPTH}")
        return None if any(map(hidden, parts)) else "/".join(parts)

    def extend(self, header: bytes, kind: bytes, size: int, body: int, count: int) -> None:
        """A header that says more of the next member."""
        if kind not in _PAX and kind not in (_GLOBAL, _LONG_NAME, _LONG_LINK):
            raise self.foreign(self.long_name or _name(header))
        if size > _MAX_HEADER_BYTES or count > _MAX_HEADERS:
            raise DataError(
                f"{self.where}: a header in this archive is longer than any real one; it is damaged or hostile"
            )
        data = self.window.at(body, size)
        if len(data) < size:
            raise self.damaged("cut short", body)
        if kind == _LONG_NAME:
            self.long_name = data.split(b"\0", 1)[0]
        elif kind in _PAX:
            self.attributes(data, body)

    def attributes(self, data: bytes, offset: int) -> None:
        """Lines of "length key=value"."""
        while data.strip(b"\0"):
            length, blank, _ = data.partition(b" ")
            if not length.isdigit() or len(length) > 8 or not blank or int(length) > len(data):
                raise self.damaged("damaged", offset)
            line, data = data[len(length) + 1 : int(length)], data[int(length) :]
            if not line.endswith(b"\n") or b"=" not in line:
                raise self.damaged("damaged", offset)
            key, _, value = line[:-1].partition(b"=")
            if key == b"path":
                self.long_name = value
            elif key == b"size":
                if not value.isdigit() or len(value) > 20:
                    raise self.damaged("damaged", offset)
                self.long_size = int(value)
            elif key.startswith(b"GNU.sparse"):
                raise self.foreign(self.long_name or b"?")

    def finish(self, offset: int) -> None:
        """What follows the end mark must be zeros."""
        for start in range(offset, offset + _MAX_REST, 1 << 16):
            rest = self.window.at(start, 1 << 16 if self.end is None else max(0, min(self.end - start, 1 << 16)))
            if rest.strip(b"\0"):
                raise DataError(f"{self.where}: data follow the archive's end mark; pack all images into one archive")
            if len(rest) < 1 << 16:
                return
        raise DataError(f"{self.where}: more than {_MAX_REST >> 20} MB follow the archive's end mark; pack it anew")

    def damaged(self, how: str, offset: int) -> DataError:
        return DataError(f"{self.where}: {how} at byte {offset:,}; fetch it again")

    def said(self, name: bytes) -> str:
        return f"{self.where}: member '{shown(name.decode('utf-8', 'replace'))}'"

    def outside(self, name: bytes) -> DataError:
        return DataError(f"{self.said(name)} points outside of the archive; pack it with relative names")

    def foreign(self, name: bytes) -> DataError:
        return DataError(
            f"{self.said(name)} is a link, a device or a sparse file; allowed are files and folders: "
            "pack it with tar --dereference"
        )


def hidden(name: str) -> bool:
    """Whether a file or folder is there for a program, not for people."""
    return name.startswith(".") or name in _LITTER


def _name(header: bytes) -> bytes:
    name = header[:100].partition(b"\0")[0]
    if header[_PREFIX] and header[257:263] == b"ustar\0":
        return header[345:500].split(b"\0", 1)[0] + b"/" + name
    return name


def _number(field: bytes) -> int | None:
    """Octal digits, or the 256-based form of large numbers; None if it is neither."""
    try:
        return int(field.rstrip(b" \0"), 8)
    except ValueError:
        if field[0] == 0x80:
            return int.from_bytes(field[1:])
        return None if field.strip(b" \0") else 0


def _signed_sum(header: bytes) -> int:
    """The sum of bytes that some old programs wrote, taking them for -128 to 127."""
    rest = header[:148] + b" " * 8 + header[156:]
    return sum(rest) - 256 * sum(byte > 127 for byte in rest)
