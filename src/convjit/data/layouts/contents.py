"""What a layout makes of an index: which files are samples, of which classes, to train or to test on.

N samples, K classes. Labels are numbers of classes; classes are known by their names, in one form of Unicode, since
systems differ in how they write accents.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convjit.data.index import Index
from convjit.data.stream import shown
from convjit.errors import DataError

__all__ = ["Contents", "Part", "class_name", "label_part", "order_classes", "role_of", "rows_by_folder", "some"]

_ROLES = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val"}
_ROLES |= {"test": "test", "testing": "test"}
# Targets take a byte for each class of each image.
_MAX_TARGETS = 1 << 30


@dataclass(frozen=True, eq=False)
class Part:
    """Samples of one split: numbers of files int64 [N], labels int32 [N] (-1 for none), targets uint8 [N,K] or None."""

    rows: NDArray[np.int64]
    labels: NDArray[np.int32]
    targets: NDArray[np.uint8] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, which: NDArray[np.bool_]) -> Part:
        """Some of the samples."""
        return Part(self.rows[which], self.labels[which], None if self.targets is None else self.targets[which])


@dataclass(frozen=True, eq=False)
class Contents:
    """A set before anything is decoded; `test` is None where it has no images to test on."""

    name: str
    index: Index
    classes: tuple[str, ...]
    train: Part
    test: Part | None


def role_of(word: str) -> str | None:
    """What a folder or archive of this name is for: "train", "val" or "test"; None if it does not say."""
    return _ROLES.get(word.lower())


def class_name(text: str) -> str:
    """A class's name in its one form."""
    return unicodedata.normalize("NFC", text)


def some(names: Sequence[str]) -> str:
    """The first of some names, for a message."""
    return shown(", ".join(names[:8]) + (", ..." if len(names) > 8 else ""))


def order_classes(names: Iterable[str]) -> tuple[str, ...]:
    """Names in order; numbers by their value."""
    found = set(names)
    numeric = all(name.isascii() and name.isdigit() and len(name) < 19 for name in found)
    return tuple(sorted(found, key=lambda name: (int(name) if numeric else 0, name)))


def rows_by_folder(index: Index, labels: Mapping[int, int]) -> Part:
    """All files of some folders, whose labels are given; by class, folder and name, the last of equal ones.

    A tar may hold a file twice; as for tar itself, the last one counts.
    """
    ranks = np.full(len(index.folders), -1, np.int64)
    chosen = sorted(labels, key=lambda folder: (labels[folder], index.folders[folder]))
    ranks[chosen] = range(len(chosen))
    rank = ranks[index.parents]
    rows = np.flatnonzero(rank >= 0)
    rows = rows[np.argsort(rank[rows], kind="stable")]
    if not index.sorted and len(rows):
        groups = np.split(rows, np.flatnonzero(np.diff(rank[rows])) + 1)
        rows = np.concatenate([_by_name(index, group) for group in groups])
    of_folder = np.array([labels[folder] for folder in chosen], np.int32)
    return Part(rows, of_folder[rank[rows]] if len(rows) else np.zeros(0, np.int32))


def _by_name(index: Index, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Files of one folder in the order of their names, the last of those that share one."""
    by_name = dict(zip(map(index.base, rows.tolist()), rows.tolist(), strict=True))
    return np.array([by_name[name] for name in sorted(by_name)], np.int64)


def label_part(
    rows: Sequence[int], labels: Sequence[tuple[int, ...]], classes: int, where: str, multiple: bool
) -> Part:
    """Samples with the labels of each; `multiple` if any may have none or several, so that there are targets."""
    firsts = np.array([one[0] if one else -1 for one in labels], np.int32)
    if not multiple:
        return Part(np.asarray(rows, np.int64), firsts)
    if len(rows) * classes > _MAX_TARGETS:
        raise DataError(
            f"{where}: {len(rows):,} images of several among {classes:,} classes; allowed is up to {_MAX_TARGETS:,} of "
            "both multiplied: use fewer classes"
        )
    targets = np.zeros((len(rows), classes), np.uint8)
    for row, one in enumerate(labels):
        targets[row, list(one)] = 1
    return Part(np.asarray(rows, np.int64), firsts, targets)
