"""Looking at every image of a set: how many, how large, broken ones, equal ones, and a few to show.

N images. Each is decoded to its end, at an eighth of its size where it is a large JPEG.
"""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from array import array
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from convjit.data.decode import BrokenImageError, decode_picture
from convjit.data.layouts import Contents, Part, read_contents
from convjit.data.samples import Samples
from convjit.data.source import Progress
from convjit.data.stream import shown

__all__ = ["ClassCount", "Copies", "Scan", "scan"]

_CHUNK = 64
_DIGEST = 16
# In the place of a broken file's digest.
_NOTHING = bytes(_DIGEST)
_MOST_GROUPS, _MOST_NAMES = 1000, 8
# Sample pictures of all classes together.
_PICTURES = 3000
_MOST_OF_CLASS = 8
_THUMBNAIL = 96
_KINDS = {b"\xff\xd8": "JPEG", b"\x89P": "PNG", b"RI": "WebP", b"BM": "BMP"}


@dataclass
class ClassCount:
    """Images of a class; an image of several classes counts in each. `pictures` are small JPEG files."""

    name: str
    train: int = 0
    test: int = 0
    pictures: list[bytes] = field(default_factory=list)


@dataclass(frozen=True)
class Copies:
    """Images with the same contents, and the first of their names.

    `leak` says that one is to train and another to test on, `conflict` that their labels differ.
    """

    names: tuple[str, ...]
    count: int
    leak: bool
    conflict: bool


@dataclass(frozen=True, eq=False)
class Scan:
    """What was found. `sizes` are (height, width) of the whole images, int32 [N,2]; `kinds` their formats.

    `copies` are the groups of equal files (the first 1,000), `copied` is how many files are there again.
    """

    name: str
    where: str
    classes: tuple[ClassCount, ...]
    train: int
    test: int
    bytes: int
    sizes: NDArray[np.int32]
    kinds: dict[str, int]
    grey: int
    copies: tuple[Copies, ...]
    copied: int
    broken: tuple[str, ...]

    def spread(self) -> dict[str, tuple[int, int]]:
        """The smallest, median and largest image by its pixels, as (width, height)."""
        if not len(self.sizes):
            return {}
        order = np.argsort(self.sizes.astype(np.int64).prod(1), kind="stable")
        places = {"smallest": 0, "median": len(order) // 2, "largest": len(order) - 1}
        return {word: (int(self.sizes[order[i], 1]), int(self.sizes[order[i], 0])) for word, i in places.items()}

    def record(self) -> dict[str, object]:
        """For machines: everything but the pictures."""
        return {
            "name": self.name,
            "path": self.where,
            "train": self.train,
            "test": self.test,
            "bytes": self.bytes,
            "classes": {one.name: {"train": one.train, "test": one.test} for one in self.classes},
            "formats": self.kinds,
            "grey": self.grey,
            **{word: list(size) for word, size in self.spread().items()},
            "copied": self.copied,
            "copies": [list(one.names) for one in self.copies],
            "broken": list(self.broken),
        }


@dataclass(frozen=True)
class _Seen:
    """What one file turned out to be; `reason` says why it is broken."""

    digest: bytes
    length: int = 0
    kind: str = ""
    size: tuple[int, int] = (0, 0)
    grey: bool = False
    picture: bytes = b""
    reason: str = ""


def scan(path: Path, *, pictures: bool = False, progress: Progress | None = None) -> Scan:
    """Look at a set; with `pictures`, keep some of every class. Nothing is written. DataError if it cannot be told."""
    contents = read_contents(path, progress)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _Scanning(contents, pictures, progress).run(path)


class _Scanning:
    """One pass over a set; 30 bytes are kept of every image."""

    def __init__(self, contents: Contents, pictures: bool, progress: Progress | None) -> None:
        self.contents, self.pictures, self.progress = contents, pictures, progress
        self.parts = [part for part in (contents.train, contents.test) if part is not None]
        self.samples = [Samples(contents.index, part) for part in self.parts]
        self.counts = [ClassCount(name) for name in contents.classes]
        self.digests, self.sizes = bytearray(), array("i")
        self.kinds: Counter[str] = Counter()
        self.broken: list[str] = []
        self.bytes = self.grey = 0

    def run(self, path: Path) -> Scan:
        total = sum(map(len, self.parts))
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1), "convjit-scan") as pool:
            try:
                for use, (part, samples) in enumerate(zip(self.parts, self.samples, strict=True)):
                    chosen = _chosen(part, len(self.counts)) if self.pictures else set()
                    chunks = (range(start, min(start + _CHUNK, len(part))) for start in range(0, len(part), _CHUNK))
                    place = 0
                    for results in pool.map(partial(_look_at, samples, chosen), chunks):
                        for result in results:
                            self._take(use, place, result)
                            place += 1
                        if self.progress:
                            self.progress(len(self.digests) // _DIGEST, total)
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
        copies, copied = self._copies()
        lengths = [len(part) for part in self.parts]
        return Scan(
            self.contents.name,
            shown(path),
            tuple(self.counts),
            lengths[0],
            lengths[1] if len(lengths) > 1 else 0,
            self.bytes,
            np.array(self.sizes, np.int32).reshape(-1, 2),
            dict(self.kinds.most_common()),
            self.grey,
            copies,
            copied,
            tuple(self.broken),
        )

    def _take(self, use: int, place: int, seen: _Seen) -> None:
        part = self.parts[use]
        self.digests += seen.digest
        self.bytes += seen.length
        label = int(part.labels[place])
        for one in [label] if part.targets is None else np.flatnonzero(part.targets[place]).tolist():
            count = self.counts[one]
            if use:
                count.test += 1
            else:
                count.train += 1
        if seen.reason:
            self.broken.append(f"{self.samples[use].name(place)}: {seen.reason}")
            return
        self.kinds[seen.kind] += 1
        self.grey += seen.grey
        self.sizes.extend(seen.size)
        if seen.picture and label >= 0 and len(self.counts[label].pictures) < _MOST_OF_CLASS:
            self.counts[label].pictures.append(seen.picture)

    def _copies(self) -> tuple[tuple[Copies, ...], int]:
        """Groups of equal files, those that matter most first, and how many files could go."""
        digests = np.frombuffer(bytes(self.digests), f"V{_DIGEST}")
        _, group, counts = np.unique(digests, return_inverse=True, return_counts=True)
        several = np.flatnonzero((counts[group] > 1) & (digests != np.void(_NOTHING)))
        found: dict[int, list[int]] = defaultdict(list)
        for number in several.tolist():
            found[int(group[number])].append(number)
        groups = [self._group(numbers) for numbers in found.values()]
        groups.sort(key=lambda one: (not one.conflict, not one.leak))
        return tuple(groups[:_MOST_GROUPS]), len(several) - len(groups)

    def _group(self, numbers: list[int]) -> Copies:
        first = len(self.parts[0])
        places = [(0, number) if number < first else (1, number - first) for number in numbers]
        labels = {int(self.parts[use].labels[place]) for use, place in places}
        names = tuple(self.samples[use].name(place) for use, place in places[:_MOST_NAMES])
        return Copies(names, len(numbers), len({use for use, _ in places}) > 1, len(labels) > 1)


def _chosen(part: Part, classes: int) -> set[int]:
    """Places of some samples of every class, from all over it."""
    most = max(1, min(_MOST_OF_CLASS, _PICTURES // max(1, classes)))
    chosen: set[int] = set()
    order = np.argsort(part.labels, kind="stable")
    for places in np.split(order, np.flatnonzero(np.diff(part.labels[order])) + 1):
        chosen.update(places[np.linspace(0, len(places) - 1, most).astype(int)].tolist())
    return chosen


def _look_at(samples: Samples, chosen: set[int], places: range) -> list[_Seen]:
    return [_look(samples, place, place in chosen) for place in places]


def _look(samples: Samples, place: int, is_chosen: bool) -> _Seen:
    try:
        data = samples.read(place)
        picture = decode_picture(data, lambda height, width: (min(height, _THUMBNAIL), min(width, _THUMBNAIL)))
    except OSError as error:
        return _Seen(_NOTHING, reason=f"cannot be read: {error.strerror or error}")
    except BrokenImageError as error:
        return _Seen(_NOTHING, reason=str(error))
    digest = hashlib.sha256(data).digest()[:_DIGEST]
    kind = next((name for magic, name in _KINDS.items() if data.startswith(magic)), "PPM")
    small = _thumbnail(picture.image) if is_chosen else b""
    return _Seen(digest, len(data), kind, (picture.height, picture.width), picture.image.mode == "L", small)


def _thumbnail(image: Image.Image) -> bytes:
    """The middle of an image as a small JPEG file; tiny ones are enlarged so that their pixels show."""
    filtered = Image.Resampling.NEAREST if min(image.size) < _THUMBNAIL else Image.Resampling.BICUBIC
    file = io.BytesIO()
    ImageOps.fit(image, (_THUMBNAIL, _THUMBNAIL), filtered).save(file, "JPEG", quality=85)
    return file.getvalue()
