"""Members that no archive of images may have, and archives that hold them: for tests of both readers of archives."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import zstandard
from image_sets import pictures

__all__ = ["MEMBERS", "PACKERS", "member", "write_members"]

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": lambda data: data,
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".bz2": bz2.compress,
    ".zst": zstandard.compress,
}

MEMBERS: list[tuple[str, dict[str, Any], str]] = [
    ("../evil.png", {}, "points outside"),
    ("train/cat/../../../evil.png", {}, "points outside"),
    ("/tmp/evil.png", {}, "points outside"),
    ("..", {"type": tarfile.DIRTYPE}, "points outside"),
    ("a/..", {}, "points outside"),
    ("train/cat/a.png", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}, "link, a device"),
    ("train/cat/a.png", {"type": tarfile.LNKTYPE, "linkname": "train/cat/0000.png"}, "link, a device"),
    ("train/cat/a.png", {"type": tarfile.CHRTYPE}, "link, a device"),
    ("train/cat/a.png", {"type": tarfile.BLKTYPE}, "link, a device"),
    ("train/cat/a.png", {"type": tarfile.FIFOTYPE}, "link, a device"),
    ("train/cat/a.png", {"type": tarfile.GNUTYPE_SPARSE}, "link, a device or a sparse"),
    ("train/cat/a\n\x1b.png", {"type": tarfile.FIFOTYPE}, r"a\\n\\x1b.png"),
    ("x/" * 40 + "a.png", {}, "lies 40 folders deep; allowed are 32"),
    ("x/" * 60_000 + "a.png", {}, "lies 60000 folders deep"),
]
"""Name, fields of the header, and what the error says."""


def member(name: str, data: bytes = b"", **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    """A member and its contents, as `write_members` takes them."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, data


def write_members(path: Path, *extra: tuple[tarfile.TarInfo, bytes], mode: str = "w") -> Path:
    """An archive of a small set of images, and then these members."""
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for info, data in [member(name, data) for name, data in pictures().items()] + list(extra):
            tar.addfile(info, io.BytesIO(data) if info.isreg() else None)
    return path
