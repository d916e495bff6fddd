"""Images that stay encoded until they are needed: what every source of files gives where a set is not small."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from convjit.data.decode import MAX_FILE
from convjit.data.stream import shown

__all__ = ["ChosenImages", "Encoded", "FileImages", "HeldImages", "JoinedImages"]


class Encoded(Protocol):
    """N images as the contents of their files. Each may have its own size; `convjit.data.canvas` brings them to one.

    `labels` are int32 [N], -1 where an image has none; `targets` uint8 [N,K], 1 for each of its classes, where images
    may have several: the label is then the first, and in training one of them is drawn.
    """

    @property
    def labels(self) -> NDArray[np.int32]: ...

    @property
    def targets(self) -> NDArray[np.uint8] | None: ...

    def __len__(self) -> int: ...

    def read(self, index: int) -> bytes:
        """An image file's contents; called from several threads at once. OSError if it cannot be read."""
        ...

    def name(self, index: int) -> str:
        """What messages call the image, such as train/cat/1.jpg."""
        ...


@dataclass(frozen=True, eq=False)
class FileImages:
    """Image files at these paths."""

    paths: Sequence[Path]
    labels: NDArray[np.int32]
    targets: NDArray[np.uint8] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, index: int) -> bytes:
        # One byte more than is allowed shows a file that is too large.
        with self.paths[index].open("rb") as file:
            return file.read(MAX_FILE + 1)

    def name(self, index: int) -> str:
        return shown(self.paths[index])


@dataclass(frozen=True, eq=False)
class HeldImages:
    """Image files whose contents are in memory, in data batches of `parts` images; `where` they came from."""

    files: Sequence[bytes]
    labels: NDArray[np.int32]
    targets: NDArray[np.uint8] | None
    parts: tuple[int, ...]
    where: str

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def nbytes(self) -> int:
        """Bytes of the files."""
        return sum(map(len, self.files))

    def read(self, index: int) -> bytes:
        return self.files[index]

    def name(self, index: int) -> str:
        return f"{self.where}: image {index}"


@dataclass(frozen=True, eq=False)
class JoinedImages:
    """Those of one set and then those of another."""

    first: Encoded
    second: Encoded

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    @property
    def labels(self) -> NDArray[np.int32]:
        return np.concatenate([self.first.labels, self.second.labels])

    @property
    def targets(self) -> NDArray[np.uint8] | None:
        first, second = self.first.targets, self.second.targets
        return None if first is None or second is None else np.concatenate([first, second])

    def read(self, index: int) -> bytes:
        first = len(self.first)
        return self.first.read(index) if index < first else self.second.read(index - first)

    def name(self, index: int) -> str:
        first = len(self.first)
        return self.first.name(index) if index < first else self.second.name(index - first)


@dataclass(frozen=True, eq=False)
class ChosenImages:
    """Some images of a set by their numbers int64 [N], in data batches of `parts`, with labels of their own."""

    images: Encoded
    numbers: NDArray[np.int64]
    labels: NDArray[np.int32]
    targets: NDArray[np.uint8] | None = None
    parts: tuple[int, ...] = ()

    @classmethod
    def of(cls, images: Encoded, numbers: NDArray[np.int64], parts: tuple[int, ...] = ()) -> Self:
        """These images with the labels that they have."""
        targets = None if images.targets is None else images.targets[numbers]
        return cls(images, numbers, images.labels[numbers], targets, parts)

    def __len__(self) -> int:
        return len(self.numbers)

    def read(self, index: int) -> bytes:
        return self.images.read(int(self.numbers[index]))

    def name(self, index: int) -> str:
        return self.images.name(int(self.numbers[index]))
