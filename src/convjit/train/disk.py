"""Files that a crash cannot spoil, and the lock of a run's folder."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import socket
import sys
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from convjit.errors import RunError

__all__ = ["Lock", "need_space", "remove_litter", "write_file"]

_LITTER = re.compile(r"\.(?:step-\d{8,}\.safetensors|run\.json|metrics\.jsonl|[\w.-]+\.cfg)\.[0-9a-f]{16}\.tmp")
# A checkpoint is written beside its predecessors, two of which are kept.
_SPACE = 2.2
_MOST_LOCK_BYTES = 4096


def write_file(path: Path, parts: Iterable[bytes | memoryview]) -> None:
    """Make or replace a file as a whole: after a crash at any time there is the old one or the new one.

    It is written under another name in the same folder, brought to the disk and renamed. RunError names the path.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        try:
            with temporary.open("xb") as file:
                for part in parts:
                    file.write(part)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        _sync_folder(path.parent)
    except OSError as error:
        raise RunError(f"{path}: cannot be written: {error.strerror or error}") from None


def _sync_folder(folder: Path) -> None:
    """Bring the folder's entries to the disk; Windows does that by itself and has no call for it."""
    if sys.platform == "win32":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_litter(folder: Path) -> None:
    """Remove the unfinished files of runs that died; call it only while holding the folder's lock."""
    for path in folder.iterdir():
        if _LITTER.fullmatch(path.name) and path.is_file() and not path.is_symlink():
            with contextlib.suppress(OSError):
                path.unlink()


def need_space(folder: Path, checkpoint_bytes: int) -> None:
    """RunError if the disk has no room for the checkpoints of a run."""
    free, needed = shutil.disk_usage(folder).free, int(checkpoint_bytes * _SPACE)
    if free < needed:
        raise RunError(f"{folder}: {free / 1e6:.0f} MB are free, and checkpoints need {needed / 1e6:.0f} MB; make room")


class Lock:
    """Held by the one process that works on a folder; RunError in every other.

    The lock is the kernel's, on an open file, so that a process that dies leaves none behind. The file says who holds
    it, because the kernel's lock may not reach from host to host: an entry of another host that nobody has taken
    back is respected.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file = path.open("r+b" if path.exists() else "x+b")
        except OSError as error:
            raise RunError(f"{path}: cannot be opened: {error.strerror or error}") from None
        holder = self._read()
        if not _lock(self._file.fileno()):
            self._file.close()
            raise RunError(f"{path.parent}: in use by {holder or 'another process'}; wait until that has ended")
        own = f"on host {socket.gethostname()}"
        if holder and not holder.endswith(own):
            self._file.close()
            raise RunError(f"{path.parent}: in use by {holder}; if that has ended, remove {path}")
        self._write(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode() + b"\n")

    def _read(self) -> str:
        """Who holds the lock; empty if nobody has written it."""
        text = self._file.read(_MOST_LOCK_BYTES)
        try:
            found = json.loads(text)
            return f"process {int(found['pid'])} on host {ascii(str(found['host']))[1:-1]}"
        except (ValueError, TypeError, LookupError, RecursionError):
            return ""

    def _write(self, text: bytes) -> None:
        with contextlib.suppress(OSError):
            self._file.seek(0)
            self._file.truncate()
            self._file.write(text)
            self._file.flush()

    def release(self) -> None:
        """Let others in. The file stays, empty: to remove it would take away a lock that another has just got."""
        if not self._file.closed:
            self._write(b"")
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


if sys.platform == "win32":
    import msvcrt

    def _lock(handle: int) -> bool:
        os.lseek(handle, _MOST_LOCK_BYTES, os.SEEK_SET)
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _lock(handle: int) -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            # A file system without locks: what the file says has to do.
            return True
        return True
