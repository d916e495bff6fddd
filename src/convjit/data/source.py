"""A folder or a tar archive as one stream of entries; nothing is ever unpacked to disk."""

from __future__ import annotations

import itertools
import os
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from convjit.data.stream import Limited, compression, shown
from convjit.errors import DataError

__all__ = ["Entry", "Folder", "Progress", "Source", "Tar", "open_source"]

# Called with (done, total): images of a folder, bytes of an archive.
Progress = Callable[[int, int], None]

# top folder, split, class, file
_MAX_DEPTH = 4
_MAX_MEMBERS = 2_000_000
_MAX_MEMBER_BYTES = 1 << 30
_MAX_HEADER_BYTES = 1 << 18
_SUFFIXES = (".tar", ".gz", ".xz", ".bz2", ".zst", ".tgz", ".txz", ".tbz2", ".tzst")
_LITTER = {"Thumbs.db", "desktop.ini", "__MACOSX"}


@dataclass(frozen=True)
class Entry:
    """One visible file or folder: its path in parts, bytes, time of change (ns) and how to read it."""

    parts: tuple[str, ...]
    size: int
    stamp: int
    is_folder: bool
    read: Callable[[], bytes]

    @property
    def name(self) -> str:
        """The path inside its source, fit for a message."""
        return shown("/".join(self.parts))


class Source(Protocol):
    """Where entries come from.

    `where` is the path for messages, `name` the data set's, `position` (done, total) of the reading under way.
    """

    path: Path
    where: str
    name: str
    position: tuple[int, int]

    def entries(self) -> Iterator[Entry]: ...


class Folder:
    """A folder's files in sorted order, a few levels deep; links are followed, hidden files left out."""

    def __init__(self, path: Path) -> None:
        self.path, self.where = path, shown(path)
        self.name = path.resolve().name or "folder"
        self.position = (0, 0)

    def walk(self, most: int | None = None) -> Iterator[Entry]:
        """Entries as they are found, without listing everything first; of each folder no more than `most`."""
        return self._walk(self.path, (), most)

    def entries(self) -> Iterator[Entry]:
        found = list(self.walk())
        for index, entry in enumerate(found):
            self.position = (index + 1, len(found))
            yield entry

    def _walk(self, folder: Path, above: tuple[str, ...], most: int | None) -> Iterator[Entry]:
        try:
            with os.scandir(folder) as listing:
                children = sorted(itertools.islice(listing, most), key=lambda child: child.name)
        except OSError as error:
            raise DataError(f"{shown(folder)}: the folder cannot be read: {error.strerror}") from None
        for child in children:
            parts = (*above, child.name)
            if _hidden(child.name):
                continue
            try:
                status, is_folder, is_file = child.stat(), child.is_dir(), child.is_file()
            except OSError:
                # A link to nowhere or in a circle: reading it will say so, and it counts as a broken file.
                yield Entry(parts, 0, 0, False, _reader(folder / child.name, 0))
                continue
            if is_folder or is_file:
                read = _reader(folder / child.name, status.st_size)
                yield Entry(parts, status.st_size, status.st_mtime_ns, is_folder, read)
            if is_folder and len(parts) < _MAX_DEPTH:
                yield from self._walk(folder / child.name, parts, most)


class _DamagedError(Exception):
    """A tar header that is neither a member's nor the end's."""


class _Member(tarfile.TarInfo):
    """tarfile takes a damaged header for the end of the archive; here it is an error."""

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(tar)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise _DamagedError(str(error)) from None


class Tar:
    """The members of a tar archive, plain or compressed, in their order."""

    def __init__(self, path: Path) -> None:
        self.path, self.where = path, shown(path)
        self.name = path.name
        while (cut := Path(self.name)).suffix.lower() in _SUFFIXES:
            self.name = cut.stem
        self.position = (0, 0)

    def walk(self, most: int | None = None) -> Iterator[Entry]:
        return self.entries()

    def entries(self) -> Iterator[Entry]:
        total = self.path.stat().st_size
        with self.path.open("rb") as raw:
            stream = Limited(self.where, raw, total)
            stream.allow(_MAX_HEADER_BYTES)
            # Opening reads the first header.
            with self._damage("not a tar archive, or damaged at its start (for IDX files, give their folder)"):
                tar = tarfile.open(fileobj=stream, mode="r|", tarinfo=_Member)  # type: ignore[call-overload]  # noqa: SIM115
            with tar:
                for entry in self._members(tar, stream):
                    self.position = (raw.tell(), total)
                    yield entry
                self._finish(tar, stream)

    def _members(self, tar: tarfile.TarFile, stream: Limited) -> Iterator[Entry]:
        for count in itertools.count():
            with self._damage():
                member = tar.next()
            if member is None:
                return
            # tarfile keeps every member for later; a stream has no later.
            tar.members.clear()  # type: ignore[attr-defined]
            if count == _MAX_MEMBERS:
                raise DataError(
                    f"{self.where}: more than {_MAX_MEMBERS:,} members; this version reads no more than that"
                )
            self._check(member)
            stream.allow(member.size + _MAX_HEADER_BYTES)
            parts = tuple(part for part in member.name.split("/") if part not in ("", "."))
            if not parts or any(_hidden(part) for part in parts):
                continue
            if not (member.isdir() or member.isreg()) or member.issparse():
                raise DataError(
                    f"{self.where}: member '{shown(member.name)}' is a link, a device or a sparse file; "
                    "allowed are files and folders: pack it with tar --dereference"
                )
            yield Entry(parts, member.size, 0, member.isdir(), self._reader(tar, member))

    def _check(self, member: tarfile.TarInfo) -> None:
        where = f"{self.where}: member '{shown(member.name)}'"
        if member.name.startswith("/") or ".." in member.name.split("/"):
            raise DataError(f"{where} points outside of the archive; pack it with relative names")
        if not 0 <= member.size <= _MAX_MEMBER_BYTES:
            raise DataError(f"{where} has {member.size:,} bytes; allowed is up to 1 GB")

    def _reader(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> Callable[[], bytes]:
        def read() -> bytes:
            with self._damage():
                file = tar.extractfile(member)
                return file.read() if file else b""

        return read

    def _finish(self, tar: tarfile.TarFile, stream: Limited) -> None:
        """Read what follows the end mark: it must be zeros, and the compressor's own checks must hold."""
        while tar.fileobj:
            stream.allow(_MAX_HEADER_BYTES)
            with self._damage():
                rest = tar.fileobj.read(1 << 16)
            if rest.strip(b"\0"):
                raise DataError(f"{self.where}: data follow the archive's end mark; pack all images into one archive")
            if not rest:
                return

    @contextmanager
    def _damage(self, what: str = "damaged or cut short") -> Iterator[None]:
        """Turn what tarfile raises over a damaged archive into one line."""
        try:
            yield
        except (
            _DamagedError,
            tarfile.TarError,
            ValueError,
            ArithmeticError,
            LookupError,
            RecursionError,
            OSError,
        ) as error:
            raise DataError(f"{self.where}: {what}: {shown(error)}; fetch it again") from None


def open_source(path: Path) -> Folder | Tar | None:
    """The folder or archive at `path`; None if it is a file of another kind. DataError if it cannot be read."""
    try:
        if path.is_dir():
            return Folder(path)
        with path.open("rb") as file:
            start = file.read(512)
    except FileNotFoundError:
        raise DataError(f"{shown(path)}: no such file or folder; give the path of an image set") from None
    except OSError as error:
        raise DataError(f"{shown(path)}: cannot be read: {error.strerror}") from None
    return Tar(path) if compression(start) or start[257:262] == b"ustar" else None


def _hidden(name: str) -> bool:
    return name.startswith(".") or name in _LITTER


def _reader(path: Path, size: int) -> Callable[[], bytes]:
    def read() -> bytes:
        with path.open("rb") as file:
            # One byte more than announced shows a file that grew; callers compare lengths.
            return file.read(size + 1)

    return read
