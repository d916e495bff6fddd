"""Decoding a set as a whole, where all of its images have one size and fit into memory together.

N images, C channels, H x W pixels.
"""

from __future__ import annotations

import os
import warnings
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from convjit.data.dataset import MAX_BYTES, Dataset, Images, build
from convjit.data.decode import BrokenImageError, WrongSizeError, decode
from convjit.data.layouts import Contents
from convjit.data.layouts.contents import Part
from convjit.data.samples import Samples
from convjit.data.source import Progress
from convjit.data.stream import shown
from convjit.errors import DataError

__all__ = ["decode_all", "image_size"]

# Broken images are skipped up to these numbers.
_FEW = 10
_MANY_IN_A_ROW = 100

_PROBES = 64
# Larger images are photographs, which a net is not given as they are.
_LARGEST = 256 * 256
_AHEAD = 16
_CHUNK_IMAGES = 128
_CHUNK_BYTES = 16 << 20
# Decoding holds Python's lock for about 80 us an image, whatever its size: on two cores, threads lose a third at 32x32,
# break even near 100x100 and win 1.6 times at 224x224.
_THREADS_FROM = 100 * 100

_Result = NDArray[np.uint8] | BrokenImageError | WrongSizeError
Size = tuple[int, int]


def image_size(contents: Contents) -> Size | None:
    """(H, W) of the images, if they are small, fit into memory, and some from all over the set are equal; else None.

    Images that can have several classes are left as they are too.
    """
    if contents.train.targets is not None:
        return None
    size: Size | None = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for result in map(_decoded_one, _probes(contents)):
            if isinstance(result, BrokenImageError):
                continue
            assert not isinstance(result, WrongSizeError)
            found = result.shape[1], result.shape[2]
            size = size or found
            if found != size or size[0] * size[1] > _LARGEST or _count(contents) * size[0] * size[1] > MAX_BYTES:
                return None
    # Of a set of broken images alone, the first that is whole decides.
    return size or (0, 0)


def decode_all(contents: Contents, size: Size, progress: Progress | None = None) -> Dataset | None:
    """Every image, decoded; None if one has another size, or they need more memory than is allowed.

    Up to 1 % of broken images are skipped and named, up to ten in a set below 1,000; DataError for more, or for 100 in
    a row.
    """
    with warnings.catch_warnings():
        # Pillow warns of what is checked here or harmless: large images, damaged notes of cameras.
        warnings.simplefilter("ignore")
        return _Decoding(contents, size if size != (0, 0) else None, progress).run()


def _count(contents: Contents) -> int:
    return len(contents.train) + (len(contents.test) if contents.test is not None else 0)


def _probes(contents: Contents) -> Iterator[bytes | BrokenImageError]:
    """Files from all over the set."""
    for part in (contents.train, contents.test):
        if part is not None and len(part):
            samples = Samples(contents.index, part)
            for place in np.unique(np.linspace(0, len(part) - 1, _PROBES).astype(int)).tolist():
                yield _contents(samples, place)


def _contents(samples: Samples, place: int) -> bytes | BrokenImageError:
    try:
        return samples.read(place)
    except BrokenImageError as error:
        return error
    except OSError as error:
        return BrokenImageError(f"cannot be read: {error.strerror or error}")


def _decoded_one(data: bytes | BrokenImageError, size: Size | None = None) -> _Result:
    if isinstance(data, BrokenImageError):
        return data
    try:
        return decode(data, size)
    except (BrokenImageError, WrongSizeError) as error:
        return error


class _OtherSizeError(Exception):
    """The images are not all of one size, or too many."""


class _Decoding:
    """One pass over a set."""

    def __init__(self, contents: Contents, size: Size | None, progress: Progress | None) -> None:
        self.contents, self.size, self.progress = contents, size, progress
        self.where = contents.index.where
        self.broken: list[str] = []
        self.done = self.in_a_row = 0

    def run(self) -> Dataset | None:
        contents = self.contents
        assert contents.test is not None
        parts = contents.train, contents.test
        found: list[list[NDArray[np.uint8] | None]] = []
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1), "convjit-decode") as pool:
            try:
                for part in parts:
                    found.append([])
                    self._decode(Samples(contents.index, part), pool, found[-1])
            except _OtherSizeError:
                return None
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
        self._check_broken()
        self._check_classes(contents.train, found[0])
        channels = max(one.shape[0] for pixels in found for one in pixels if one is not None)
        assert self.size is not None
        if self.done * channels * self.size[0] * self.size[1] > MAX_BYTES:
            return None
        train, test = (self._images(part, pixels, channels) for part, pixels in zip(parts, found, strict=True))
        return build(contents.name, train, test, contents.classes, tuple(self.broken))

    def _decode(self, samples: Samples, pool: ThreadPoolExecutor, found: list[NDArray[np.uint8] | None]) -> None:
        """Pixels in order, None for broken images."""
        waiting: deque[Future[list[_Result]]] = deque()
        place = held = 0
        chunk: list[bytes | BrokenImageError] = []
        for place in range(len(samples)):
            data = _contents(samples, place)
            chunk.append(data)
            held += 0 if isinstance(data, BrokenImageError) else len(data)
            # The first good image says what size the others must have, so it is waited for.
            if self.size is None or len(chunk) == _CHUNK_IMAGES or held > _CHUNK_BYTES:
                if self.size is None or self.size[0] * self.size[1] < _THREADS_FROM:
                    self._take(samples, _decode_chunk(chunk, self.size), found)
                else:
                    waiting.append(pool.submit(_decode_chunk, chunk, self.size))
                chunk, held = [], 0
                while len(waiting) > _AHEAD:
                    self._take(samples, waiting.popleft().result(), found)
        while waiting:
            self._take(samples, waiting.popleft().result(), found)
        self._take(samples, _decode_chunk(chunk, self.size), found)

    def _take(self, samples: Samples, results: list[_Result], found: list[NDArray[np.uint8] | None]) -> None:
        for result in results:
            if isinstance(result, WrongSizeError):
                raise _OtherSizeError
            if isinstance(result, BrokenImageError):
                self._skip(f"{samples.name(len(found))}: {result}")
                found.append(None)
                continue
            self.in_a_row = 0
            self.size = self.size or (result.shape[1], result.shape[2])
            found.append(result)
        self.done += len(results)
        if self.progress:
            self.progress(self.done, _count(self.contents))

    def _skip(self, reason: str) -> None:
        self.broken.append(reason)
        self.in_a_row += 1
        if self.in_a_row >= _MANY_IN_A_ROW:
            raise DataError(f"{self.where}: {_MANY_IN_A_ROW} broken images in a row, the last: {reason}; mend the set")

    def _check_broken(self) -> None:
        count, seen = len(self.broken), self.done
        if count > (seen / 100 if seen >= 1000 else _FEW):
            allowed = "1 %" if seen >= 1000 else str(_FEW)
            raise DataError(
                f"{self.where}: {count} of {seen} images are broken, first {self.broken[0]}; allowed are {allowed}: "
                "mend or remove them"
            )

    def _check_classes(self, part: Part, pixels: list[NDArray[np.uint8] | None]) -> None:
        good = np.array([one is not None for one in pixels], bool)
        if len(empty := np.setdiff1d(part.labels, part.labels[good])):
            name = shown(self.contents.classes[int(empty[0])])
            raise DataError(f"{self.where}: class '{name}' has only broken images to train on; mend or remove it")

    def _images(self, part: Part, pixels: list[NDArray[np.uint8] | None], channels: int) -> Images:
        assert self.size is not None
        good = np.array([one is not None for one in pixels], bool)
        joined = np.empty((int(good.sum()), channels, *self.size), np.uint8)
        index = 0
        for place, one in enumerate(pixels):
            if one is not None:
                joined[index] = one
                index += 1
                # Two copies of a set would be one too many.
                pixels[place] = None
        return Images(joined, part.labels[good])


def _decode_chunk(chunk: list[bytes | BrokenImageError], size: Size | None) -> list[_Result]:
    return [_decoded_one(data, size) for data in chunk]
