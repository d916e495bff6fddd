"""A folder or tar of image files: train/<class>/* and test/<class>/*, with or without a folder above."""

from __future__ import annotations

import os
import unicodedata
import warnings
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from convjit.data.dataset import Dataset, Images, build, check_bytes
from convjit.data.decode import MAX_FILE, BrokenImageError, WrongSizeError, decode
from convjit.data.source import Entry, Progress, Source
from convjit.data.stream import shown
from convjit.errors import DataError

__all__ = ["LAYOUT", "SPLITS", "load_images"]

SPLITS = ("train", "test")
LAYOUT = "train/<class>/*.jpg (or .png, .bmp, .ppm, .webp) and test/<class>/*"

# Broken images are skipped up to these numbers.
_FEW = 10
_MANY_IN_A_ROW = 100

_CHUNK_IMAGES = 128
_CHUNK_BYTES = 16 << 20
# Decoding holds Python's lock for about 80 us an image, whatever its size: on two cores, threads lose a third at 32x32,
# break even near 100x100 and win 1.6 times at 224x224.
_THREADS_FROM = 100 * 100

_Key = tuple[str, str, str]  # split, class, file
_Result = NDArray[np.uint8] | BrokenImageError | WrongSizeError
_Chunk = list[tuple[_Key, bytes | BrokenImageError]]


def load_images(source: Source, progress: Progress | None) -> Dataset:
    """Every image of the set, decoded; classes sorted by name. Up to 1 % of broken ones are skipped and named."""
    with warnings.catch_warnings():
        # Pillow warns of what is checked here or harmless: large images, damaged notes of cameras.
        warnings.simplefilter("ignore")
        return _Loader(source, progress).run()


class _Loader:
    def __init__(self, source: Source, progress: Progress | None) -> None:
        self.source, self.progress = source, progress
        self.top: tuple[str, ...] | None = None
        self.folders: set[tuple[str, str]] = set()
        self.pixels: dict[_Key, NDArray[np.uint8]] = {}
        self.bytes = self.in_a_row = 0
        self.first = ""
        self.size: tuple[int, int] | None = None
        self.broken: dict[_Key, str] = {}

    def run(self) -> Dataset:
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1), "convjit-decode") as pool:
            try:
                self._read(pool)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        self._check_broken()
        return self._assemble()

    def _read(self, pool: ThreadPoolExecutor) -> None:
        waiting: deque[tuple[_Chunk, Future[list[_Result]]]] = deque()
        chunk: _Chunk = []
        held = 0
        for entry in self.source.entries():
            key = self._place(entry)
            if key is None:
                continue
            data = _contents(entry)
            chunk.append((key, data))
            held += 0 if isinstance(data, BrokenImageError) else len(data)
            # The first good image says what size the others must have, so it is waited for.
            if self.size is None or len(chunk) == _CHUNK_IMAGES or held > _CHUNK_BYTES:
                if self.size is None or self.size[0] * self.size[1] < _THREADS_FROM:
                    self._take(chunk, _decode_chunk(chunk, self.size))
                else:
                    waiting.append((chunk, pool.submit(_decode_chunk, chunk, self.size)))
                chunk, held = [], 0
                while len(waiting) > 16:
                    done, future = waiting.popleft()
                    self._take(done, future.result())
        for done, future in waiting:
            self._take(done, future.result())
        self._take(chunk, _decode_chunk(chunk, self.size))

    def _place(self, entry: Entry) -> _Key | None:
        """Where an entry belongs; None for folders and for files beside the classes."""
        parts, depth = entry.parts, 0 if entry.parts[0] in SPLITS else 1
        if len(parts) <= depth or parts[depth] not in SPLITS:
            return None
        if self.top is None:
            self.top = parts[:depth]
        if parts[:depth] != self.top:
            raise DataError(
                f"{self.source.where}: images in '{shown('/'.join((*self.top, 'train')))}' and '{entry.name}'; "
                "there must be one 'train' and one 'test' folder: give the path of one set"
            )
        rest = parts[depth:]
        if entry.is_folder and len(rest) == 2:
            self.folders.add((rest[0], _class(rest[1])))
        if len(rest) > 3 or (entry.is_folder and len(rest) == 3):
            raise DataError(f"{self.source.where}: '{entry.name}' lies deeper than the classes; allowed is {LAYOUT}")
        return None if entry.is_folder or len(rest) < 3 else (rest[0], rest[1], rest[2])

    def _take(self, chunk: _Chunk, results: list[_Result]) -> None:
        for (key, _), result in zip(chunk, results, strict=True):
            name = shown("/".join(key))
            if isinstance(result, WrongSizeError):
                assert self.size is not None
                raise DataError(
                    f"{self.source.where}: {name} is {result}; all images of a set must have one size, here "
                    f"{self.size[1]}x{self.size[0]} as in {self.first}: resize or remove it"
                )
            self.broken.pop(key, None)
            if isinstance(result, BrokenImageError):
                self._skip(key, f"{name}: {result}")
                continue
            self.in_a_row = 0
            if self.size is None:
                self.size, self.first = (result.shape[1], result.shape[2]), name
            # A tar may hold a file twice; as for tar itself, the last one counts.
            self.bytes += result.nbytes - (self.pixels[key].nbytes if key in self.pixels else 0)
            self.pixels[key] = result
        check_bytes(self.source.where, self.bytes)
        if self.progress:
            self.progress(*self.source.position)

    def _skip(self, key: _Key, reason: str) -> None:
        self.pixels.pop(key, None)
        self.broken[key] = reason
        self.in_a_row += 1
        if self.in_a_row >= _MANY_IN_A_ROW:
            raise DataError(
                f"{self.source.where}: {_MANY_IN_A_ROW} broken images in a row, the last: {reason}; mend the set"
            )

    def _check_broken(self) -> None:
        count, seen = len(self.broken), len(self.broken) + len(self.pixels)
        if count > (seen / 100 if seen >= 1000 else _FEW):
            allowed = "1 %" if seen >= 1000 else str(_FEW)
            raise DataError(
                f"{self.source.where}: {count} of {seen} images are broken, first {next(iter(self.broken.values()))}; "
                f"allowed are {allowed}: mend or remove them"
            )

    def _assemble(self) -> Dataset:
        found = self.folders | {(split, _class(name)) for split, name, _ in (*self.pixels, *self.broken)}
        filled = {(split, _class(name)) for split, name, _ in self.pixels}
        where = self.source.where
        if empty := sorted(found - filled):
            why = (
                "only broken images"
                if any((key[0], _class(key[1])) == empty[0] for key in self.broken)
                else "no images"
            )
            raise DataError(f"{where}: class folder '{shown('/'.join(empty[0]))}' has {why}; fill it or remove it")
        classes = sorted({name for split, name in filled if split == "train"})
        if unknown := sorted({name for _, name in filled} - set(classes)):
            raise DataError(
                f"{where}: class '{shown(unknown[0])}' is in test only; allowed are those of train: {_some(classes)}"
            )
        for split in SPLITS:
            if not any(split == one for one, _ in filled):
                raise DataError(f"{where}: no images in '{split}'; allowed is {LAYOUT}")
        channels = max(pixels.shape[0] for pixels in self.pixels.values())
        assert self.size is not None
        check_bytes(where, len(self.pixels) * channels * self.size[0] * self.size[1])
        train, test = (self._images(split, channels, classes) for split in SPLITS)
        return build(self.source.name, train, test, tuple(classes), tuple(self.broken.values()))

    def _images(self, split: str, channels: int, classes: list[str]) -> Images:
        assert self.size is not None
        label = {name: index for index, name in enumerate(classes)}
        keys = sorted((key for key in self.pixels if key[0] == split), key=lambda key: (_class(key[1]), key))
        pixels = np.empty((len(keys), channels, *self.size), np.uint8)
        for index, key in enumerate(keys):
            pixels[index] = self.pixels.pop(key)
        return Images(pixels, np.array([label[_class(key[1])] for key in keys], np.int32))


def _contents(entry: Entry) -> bytes | BrokenImageError:
    if entry.size > MAX_FILE:
        return BrokenImageError(f"{entry.size:,} bytes; allowed are {MAX_FILE:,}")
    try:
        return entry.read()
    except OSError as error:
        return BrokenImageError(f"cannot be read: {error.strerror}")


def _decode_chunk(chunk: _Chunk, size: tuple[int, int] | None) -> list[_Result]:
    results: list[_Result] = []
    for _, data in chunk:
        try:
            if isinstance(data, BrokenImageError):
                raise data
            results.append(decode(data, size))
        except (BrokenImageError, WrongSizeError) as error:
            results.append(error)
    return results


def _class(folder: str) -> str:
    """A class's name: the folder's, in one form of Unicode, since systems differ in how they write accents."""
    return unicodedata.normalize("NFC", folder)


def _some(names: list[str]) -> str:
    return shown(", ".join(names[:8]) + (", ..." if len(names) > 8 else ""))
