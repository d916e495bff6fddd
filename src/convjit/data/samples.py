"""Samples of a set as the trainer takes them: read from their source when they are needed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convjit.data.decode import MAX_FILE, BrokenImageError
from convjit.data.index import Index
from convjit.data.layouts.contents import Contents, Part
from convjit.data.stream import shown

__all__ = ["Samples", "fingerprint"]


@dataclass(frozen=True, eq=False)
class Samples:
    """N images of an index, as `Encoded` says."""

    index: Index
    part: Part

    @property
    def labels(self) -> NDArray[np.int32]:
        return self.part.labels

    @property
    def targets(self) -> NDArray[np.uint8] | None:
        return self.part.targets

    def __len__(self) -> int:
        return len(self.part)

    def read(self, index: int) -> bytes:
        """A file's contents, from any thread. OSError if it cannot be read, BrokenImageError if it is too large."""
        row = int(self.part.rows[index])
        if (size := int(self.index.sizes[row])) > MAX_FILE:
            raise BrokenImageError(f"{size:,} bytes; allowed are {MAX_FILE:,}")
        return self.index.read(row)

    def name(self, index: int) -> str:
        """Its path in the source, fit for a message."""
        return shown(self.index.name(int(self.part.rows[index])))


def fingerprint(contents: Contents) -> str:
    """Of names, sizes, labels and classes: reading a million files to the end would take an hour."""
    digest = hashlib.sha256("\0".join(contents.classes).encode("utf-8", "surrogatepass"))
    for part in (contents.train, contents.test):
        if part is None:
            continue
        digest.update(len(part).to_bytes(8, "little"))
        for array in (part.labels, part.targets, contents.index.sizes[part.rows].astype("<i8")):
            if array is not None:
                digest.update(array.data)
        for start in range(0, len(part), 1 << 16):
            digest.update(b"\0".join(map(contents.index.base, part.rows[start : start + (1 << 16)].tolist())))
    return digest.hexdigest()
