"""Compiled kernels on disk: object files that can be made again at any time.

An entry is code that will be executed, so the folder must belong to the user and be writable by nobody else, every
entry carries a checksum, and an entry that is not exactly what was asked for is compiled again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from convjit import settings

__all__ = ["Compiled", "KernelCache"]

_MAGIC = b"convjit kernel 1\n"


@dataclass(frozen=True)
class Compiled:
    """One kernel as an object file, and what a launch must know of it."""

    symbol: str
    tasks: int
    scratch_bytes: int
    code: bytes


class KernelCache:
    """A folder of compiled kernels; quietly of no effect where it cannot be written, or is not private to the user."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or settings.cache_folder() / "kernels"
        self.usable = self._prepare()

    def _prepare(self) -> bool:
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            state = self.folder.lstat()
        except OSError:
            return False
        if not stat.S_ISDIR(state.st_mode):
            return False
        return not hasattr(os, "getuid") or (state.st_uid == os.getuid() and not state.st_mode & 0o022)

    def get(self, key: str) -> Compiled | None:
        """The entry of a key (a hexadecimal digest), if it is there and whole."""
        if not self.usable:
            return None
        try:
            data = (self.folder / key).read_bytes()
        except OSError:
            return None
        try:
            magic, digest, rest = data[: len(_MAGIC)], data[len(_MAGIC) :][:64], data[len(_MAGIC) + 64 :]
            if magic != _MAGIC or hashlib.sha256(rest).hexdigest().encode() != digest:
                return None
            line, code = rest.split(b"\n", 1)
            head = json.loads(line)
            if head["key"] != key:
                return None
            return Compiled(head["symbol"], head["tasks"], head["scratch_bytes"], code)
        except (ValueError, KeyError, TypeError):
            return None

    def put(self, key: str, entry: Compiled) -> None:
        """Keep an entry; another process may do the same at the same time."""
        if not self.usable:
            return
        head = {"key": key, "symbol": entry.symbol, "tasks": entry.tasks, "scratch_bytes": entry.scratch_bytes}
        rest = json.dumps(head).encode() + b"\n" + entry.code
        name = ""
        try:
            with tempfile.NamedTemporaryFile(dir=self.folder, prefix=".part-", delete=False) as file:
                name = file.name
                file.write(_MAGIC + hashlib.sha256(rest).hexdigest().encode() + rest)
            Path(name).replace(self.folder / key)
        except OSError:
            if name:
                with contextlib.suppress(OSError):
                    Path(name).unlink()
