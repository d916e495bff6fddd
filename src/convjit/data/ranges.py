"""Data batches by number, as cuda-convnet's --train-range and --test-range choose them.

A place may be written PATH#train=1-4,test=5: the batches of PATH that train and test. Sets that know no numbers count
as batches of 10,000 images: those of the training images from 1 on, then those of the test images. Where these lie
class by class, as in image folders, they are first brought into a mixed order, always the same one.

PATH#validation=0.2 sets apart a fifth of a set that has no images to test on.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from convjit import random
from convjit.data.dataset import Dataset, Images, build
from convjit.data.encoded import ChosenImages, JoinedImages
from convjit.data.features import is_features
from convjit.data.original import is_original, read_original
from convjit.data.source import Progress
from convjit.data.sources import open_dataset
from convjit.data.split import VALIDATION
from convjit.data.stream import shown
from convjit.errors import DataError, UsageError

__all__ = ["Range", "join_place", "open_place", "open_ranges", "split_place"]

_RANGE = re.compile(r"(\d{1,9})(?:-(\d{1,9}))?")
_PLACE = re.compile(r"(.*)#train=([\d-]+),test=([\d-]+)", re.DOTALL)
_CUT = 10_000

T = TypeVar("T")


@dataclass(frozen=True)
class Range:
    """Batches `first` to `last`, both included."""

    first: int
    last: int

    @classmethod
    def parse(cls, text: str) -> Range:
        """From "a" or "a-b"."""
        match = _RANGE.fullmatch(text.strip())
        if not match or int(match[2] or match[1]) < int(match[1]):
            raise UsageError(f"'{shown(text)}' is no range of batches; write a or a-b, such as 1-5")
        return cls(int(match[1]), int(match[2] or match[1]))

    def numbers(self) -> range:
        """The numbers of its batches."""
        return range(self.first, self.last + 1)

    def __len__(self) -> int:
        return self.last - self.first + 1

    def __str__(self) -> str:
        return f"{self.first}-{self.last}" if self.last != self.first else str(self.first)


def split_place(place: str) -> tuple[str, Range | None, Range | None]:
    """Path, training range and test range of a place; None for what it does not say."""
    match = _PLACE.fullmatch(place)
    return (match[1], Range.parse(match[2]), Range.parse(match[3])) if match else (place, None, None)


def join_place(path: str, train: Range, test: Range) -> str:
    """The text that `split_place` reads."""
    return f"{path}#train={train},test={test}"


def open_place(
    place: str | os.PathLike[str],
    *,
    whole: bool = False,
    image: tuple[int, ...] | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """The data set of a path, or of the batches of one.

    `whole` is to test on all images of a set that has none to test on; `image` is as in `open_dataset`.
    """
    path, train, test = split_place(os.fspath(place))
    if train is None or test is None:
        path, _, share = path.partition("#validation=")
        validation = _share(share) if share else None if whole else VALIDATION
        return open_dataset(path, validation=validation, image=image, progress=progress)
    return open_ranges(path, train, test, progress=progress)


def _share(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"#validation={shown(text)}: write a share between 0 and 1, such as 0.1") from None


def open_ranges(path: str, train: Range, test: Range, *, progress: Progress | None = None) -> Dataset:
    """The data set whose training and test images are those of the batches in these ranges."""
    if is_original(Path(path)):
        return read_original(Path(path), [*train.numbers(), *test.numbers()], progress).dataset(
            list(train.numbers()), list(test.numbers())
        )
    # Files of features are batches already, and none is set apart.
    validation = None if is_features(Path(path)) else VALIDATION
    return cut(open_dataset(path, validation=validation, progress=progress), train, test, shown(path))


def cut(dataset: Dataset, train: Range, test: Range, where: str) -> Dataset:
    """A set by ranges of its batches."""
    if not isinstance(dataset.train, Images) or not isinstance(dataset.test, Images):
        return _cut_encoded(dataset, train, test, where)
    train_images, test_images = _mixed(dataset.train), _mixed(dataset.test)
    tests = () if dataset.test is dataset.train else _pieces(test_images)
    batches = dict(enumerate((*_pieces(train_images), *tests), 1))
    chosen = [_join(batches, numbers.numbers(), where) for numbers in (train, test)]
    return build(dataset.name, chosen[0], chosen[1], dataset.classes, dataset.skipped)


def _cut_encoded(dataset: Dataset, train: Range, test: Range, where: str) -> Dataset:
    """The same of encoded images, of which numbers are moved and nothing else."""
    assert not isinstance(dataset.train, Images) and not isinstance(dataset.test, Images)
    both = JoinedImages(dataset.train, dataset.test)
    sides = dataset.train, dataset.test
    orders = [_mixed_order(len(one)) if _by_class(one.labels) else np.arange(len(one)) for one in sides]
    orders[1] += len(dataset.train)
    pieces = [order[start : start + _CUT] for order in orders for start in range(0, len(order), _CUT)]
    batches = dict(enumerate(pieces, 1))
    train_images, test_images = (
        ChosenImages.of(both, np.concatenate(chosen), tuple(map(len, chosen)))
        for chosen in (_pick(batches, numbers.numbers(), where) for numbers in (train, test))
    )
    fingerprint = hashlib.sha256(f"{dataset.fingerprint} {train} {test}".encode()).hexdigest()
    return replace(dataset, train=train_images, test=test_images, fingerprint=fingerprint)


def _mixed(images: Images) -> Images:
    """Images in an order of their own, not class by class: a net that saw one after the other would learn nothing."""
    if images.parts or not _by_class(images.labels):
        return images
    order = _mixed_order(len(images))
    return Images(images.pixels[order], images.labels[order])


def _by_class(labels: NDArray[np.int32]) -> bool:
    return not (np.diff(labels) < 0).any() and labels[0] != labels[-1]


def _mixed_order(count: int) -> NDArray[np.int64]:
    return random.permutation(random.derive_key(0, "data batches"), count)


def _pieces(images: Images) -> Sequence[Images]:
    """The data batches that they came in, or as many images to a batch as CIFAR-10 has."""
    ends = np.cumsum(images.parts).tolist() if images.parts else [*range(_CUT, len(images), _CUT), len(images)]
    return [images.some(start, end) for start, end in pairwise([0, *ends])]


def _pick(batches: Mapping[int, T], numbers: Iterable[int], where: str) -> list[T]:
    """The batches of these numbers; DataError if one is not there."""
    wanted = list(numbers)
    if missing := [number for number in wanted if number not in batches]:
        raise DataError(f"{where}: there is no batch {missing[0]}; it has the batches 1 to {len(batches)}")
    return [batches[number] for number in wanted]


def _join(batches: Mapping[int, Images], numbers: Iterable[int], where: str) -> Images:
    chosen = _pick(batches, numbers, where)
    parts = tuple(map(len, chosen))
    if len(chosen) == 1:
        return Images(chosen[0].pixels, chosen[0].labels, parts)
    pixels, labels = ([getattr(one, name) for one in chosen] for name in ("pixels", "labels"))
    return Images(np.concatenate(pixels), np.concatenate(labels), parts)
