"""Directories of cuda-convnet and cuda-convnet2: batches.meta, and numbered batches of images.

    batches.meta            pickle: data_mean (features, 1), label_names, num_vis, and perhaps img_size, label_offset,
                            color_pca = (deviations, vectors)
    data_batch_<n>          pickle: data, labels; or a folder of such files whose names end in .0, .1, ...

`data` is uint8 (features, cases), a feature being channel*H*W + y*W + x; or a list of JPEG files, one side of each
img_size long and the other no shorter: a test takes the centre, training crops from all of it. `labels` are numbers, or
a list of numbers for each image, none and several too: in training one of them is drawn in every epoch, a test takes
the first, and targets of the classes have them all. Images that cannot be decoded are skipped and named.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convjit.data.dataset import Dataset, Images, build, check_bytes, check_labels, numbered_classes
from convjit.data.decode import BrokenImageError, WrongSizeError, decode
from convjit.data.encoded import Encoded, HeldImages
from convjit.data.original_pickle import plain, unpickle_original
from convjit.data.source import Progress
from convjit.data.stream import shown
from convjit.errors import DataError

__all__ = ["OriginalSet", "is_original", "load_original", "read_original"]

_META = "batches.meta"
_BATCH = re.compile(r"data_batch_(\d{1,9})")
_PART = re.compile(r".*\.(\d{1,9})")
_MAX_FILE = 2 << 30
_THREADS = 4
# Validation batches of cuda-convnet2 are numbered from the next round thousand on.
_FIRST_TEST = 1000


@dataclass(frozen=True)
class _Meta:
    """What batches.meta says, with (C, H, W) of the images."""

    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    mean: NDArray[np.float32] | None
    colours: NDArray[np.float32] | None
    offset: int


@dataclass(frozen=True)
class _Batch:
    """Images [N,C,H,W] or the centres of wider ones, the labels of each, and the files if they come from such."""

    pixels: NDArray[np.uint8]
    labels: list[tuple[int, ...]]
    files: list[bytes]
    wider: bool

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class OriginalSet:
    """Some batches of a directory, by number; `skipped` names the images that could not be used."""

    where: str
    name: str
    meta: _Meta
    batches: dict[int, _Batch]
    skipped: tuple[str, ...]

    def dataset(self, train: Sequence[int], test: Sequence[int]) -> Dataset:
        """The batches of these numbers as training and test images."""
        wanted = [[self.batches[number] for number in numbers] for numbers in (train, test)]
        every = [labels for some in wanted for one in some for labels in one.labels]
        highest = max((label for labels in every for label in labels), default=-1)
        if highest < 0:
            raise DataError(f"{self.where}: no image of these batches has a label")
        classes = self.meta.classes or numbered_classes(highest, self.where)
        check_labels(highest, classes)
        columns = 0 if all(len(labels) == 1 for labels in every) else len(classes)
        chosen = [self._joined(some, columns) for some in wanted]
        found = build(self.name, chosen[0], chosen[1], classes, self.skipped)
        mean, colours = self.meta.mean, self.meta.colours
        train_images: Images | Encoded = chosen[0]
        fingerprint = found.fingerprint
        if any(one.wider for one in wanted[0]) and all(one.files for one in wanted[0]):
            # There is more of them than their centres.
            files = [file for one in wanted[0] for file in one.files]
            train_images = HeldImages(files, chosen[0].labels, chosen[0].targets, chosen[0].parts, self.where)
            digest = hashlib.sha256(fingerprint.encode())
            for file in files:
                digest.update(hashlib.sha256(file).digest())
            fingerprint = digest.hexdigest()
        return Dataset(self.name, train_images, found.test, classes, fingerprint, self.skipped, mean, colours)

    def _joined(self, some: Sequence[_Batch], columns: int) -> Images:
        """Batches as one, with so many columns of targets, or none."""
        check_bytes(self.where, sum(one.pixels.nbytes + len(one) * columns for one in some))
        every = [labels for one in some for labels in one.labels]
        firsts = np.array([labels[0] if labels else -1 for labels in every], np.int32)
        targets = np.zeros((len(every), columns), np.uint8) if columns else None
        if targets is not None:
            for row, labels in zip(targets, every, strict=True):
                row[list(labels)] = 1
        return Images(np.concatenate([one.pixels for one in some]), firsts, tuple(map(len, some)), targets)


def is_original(path: Path) -> bool:
    """Whether a folder is one of cuda-convnet's, and not the CIFAR batches as they are published."""
    if not (path / _META).is_file():
        return False
    if "data_mean" in unpickle_original(_bytes(path / _META), shown(path / _META)):
        return True
    numbers = _numbers(path)
    if not numbers or numbers[min(numbers)].is_dir():
        return bool(numbers)
    values = unpickle_original(_bytes(numbers[min(numbers)]), shown(numbers[min(numbers)]))
    data = plain(values.get("data"))
    return isinstance(data, np.ndarray) and data.ndim == 2 and data.shape[1] == len(_labels(values.get("labels")))


def load_original(path: Path, progress: Progress | None = None) -> Dataset:
    """All batches: those from 1000 on are the test images if there are any, else the last one."""
    numbers = sorted(_numbers(path))
    test = [n for n in numbers if n >= _FIRST_TEST] if min(numbers, default=0) < _FIRST_TEST else []
    test = test or numbers[-1:]
    train = [n for n in numbers if n not in test]
    if not train:
        raise DataError(f"{shown(path)}: {len(numbers)} data batches; to train and to test it takes two")
    return read_original(path, numbers, progress).dataset(train, test)


def read_original(path: Path, numbers: Sequence[int], progress: Progress | None = None) -> OriginalSet:
    """The batches of these numbers."""
    there = _numbers(path)
    if missing := [number for number in numbers if number not in there]:
        known = f"there are {min(there)} to {max(there)}" if there else "there are none"
        raise DataError(f"{shown(path)}: data_batch_{missing[0]} is missing; {known}")
    meta = _meta(unpickle_original(_bytes(path / _META), shown(path / _META)), shown(path / _META))
    batches: dict[int, _Batch] = {}
    skipped: list[str] = []
    wanted, total = list(dict.fromkeys(numbers)), 0
    for done, number in enumerate(wanted, 1):
        parts = [_images(file, meta, skipped) for file in _files(there[number])]
        pixels = np.concatenate([part.pixels for part in parts])
        total += pixels.nbytes
        check_bytes(shown(path), total)
        labels, files = ([one for part in parts for one in getattr(part, name)] for name in ("labels", "files"))
        files = files if all(part.files for part in parts) else []
        batches[number] = _Batch(pixels, labels, files, any(part.wider for part in parts))
        if progress:
            progress(done, len(wanted))
    seen = sum(map(len, batches.values())) + len(skipped)
    if len(skipped) > max(10, seen // 100):
        raise DataError(f"{shown(path)}: {len(skipped)} of {seen} images cannot be used, the first: {skipped[0]}")
    return OriginalSet(shown(path), path.resolve().name, meta, batches, tuple(skipped))


def _numbers(path: Path) -> dict[int, Path]:
    try:
        found = {child: _BATCH.fullmatch(child.name) for child in path.iterdir()}
    except OSError as error:
        raise DataError(f"{shown(path)}: cannot be read: {error.strerror}") from None
    return {int(match[1]): child for child, match in found.items() if match}


def _files(path: Path) -> list[Path]:
    """A batch's file, or the files of its sub-batches in order."""
    if not path.is_dir():
        return [path]
    found = {child: _PART.fullmatch(child.name) for child in path.iterdir()}
    files = sorted((int(match[1]), child) for child, match in found.items() if match)
    if not files:
        raise DataError(f"{shown(path)}: no sub-batches in this folder; their names end in .0, .1, ...")
    return [child for _, child in files]


def _bytes(path: Path) -> bytes:
    try:
        if (size := path.stat().st_size) > _MAX_FILE:
            raise DataError(f"{shown(path)}: {size:,} bytes; allowed are {_MAX_FILE:,}")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{shown(path)}: cannot be read: {error.strerror}") from None


def _meta(values: dict[str, Any], where: str) -> _Meta:
    mean = plain(values.get("data_mean"))
    features = plain(values.get("num_vis", mean.size if isinstance(mean, np.ndarray) else None))
    if type(features) is not int or not 0 < features < 1 << 28:
        raise DataError(f"{where}: num_vis, the numbers in an image, is {shown(features)}; it must be a whole number")
    side = math.isqrt(features // 3)
    shape = (3, side, side) if 3 * side * side == features else (1, math.isqrt(features), math.isqrt(features))
    if math.prod(shape) != features:
        shape = (features, 1, 1)
    names = tuple(shown(plain(name)) for name in plain(values.get("label_names", [])) or [])
    if isinstance(mean, np.ndarray):
        if mean.size != features:
            raise DataError(f"{where}: data_mean has {mean.size} numbers, num_vis says {features}")
        mean = mean.astype(np.float32).reshape(shape)
    offset = plain(values.get("label_offset", 0))
    colours = _colours(values.get("color_pca"), shape[0])
    return _Meta(
        shape, names, mean if isinstance(mean, np.ndarray) else None, colours, offset if type(offset) is int else 0
    )


def _colours(value: object, channels: int) -> NDArray[np.float32] | None:
    """Axes from (deviations, vectors), of which a column is a vector."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        return None
    deviations, vectors = (np.asarray(plain(part), np.float32) for part in value)
    if deviations.size != channels or vectors.shape != (channels, channels):
        return None
    found: NDArray[np.float32] = np.ascontiguousarray(deviations.reshape(-1, 1) * vectors.T)
    return found


def _images(path: Path, meta: _Meta, skipped: list[str]) -> _Batch:
    values, where = unpickle_original(_bytes(path), shown(path)), shown(path)
    data, labels = plain(values.get("data")), _labels(values.get("labels"))
    if isinstance(data, list):
        found, reasons, wider = _decoded(data, meta.shape)
    elif isinstance(data, np.ndarray) and data.dtype == np.uint8 and data.ndim == 2:
        if data.shape[0] != math.prod(meta.shape):
            raise DataError(f"{where}: data is {list(data.shape)}; batches.meta says ({math.prod(meta.shape)}, cases)")
        found = list(np.ascontiguousarray(data.T).reshape(-1, *meta.shape))
        reasons, wider = {}, False
    else:
        form = f"{data.dtype} {list(data.shape)}" if isinstance(data, np.ndarray) else type(data).__name__
        raise DataError(f"{where}: data is {form}; it must be uint8 (features, cases) or a list of JPEG files")
    if len(labels) != len(found):
        raise DataError(f"{where}: {len(found)} images have {len(labels)} labels; there must be one for each")
    skipped += [f"{where}: image {i}: {reason}" for i, reason in sorted(reasons.items())]
    good = [i for i in range(len(found)) if i not in reasons]
    if not good:
        raise DataError(f"{where}: no image in it can be used" + (f": {reasons[0]}" if reasons else ""))
    numbers = [tuple(label + meta.offset for label in labels[i]) for i in good]
    every = [label for some in numbers for label in some]
    if every and (min(every) < 0 or max(every) >= 1 << 31):
        raise DataError(f"{where}: labels go from {min(every)} to {max(every)}; they count from 0")
    files = [data[i] for i in good] if isinstance(data, list) else []
    return _Batch(np.stack([found[i] for i in good]), numbers, files, wider)


def _decoded(files: list[Any], shape: tuple[int, int, int]) -> tuple[list[NDArray[np.uint8]], dict[int, str], bool]:
    """Pixels of JPEG files, why some have none, and whether any is larger than `shape`."""
    larger: list[bool] = []

    def one(data: object) -> NDArray[np.uint8] | str:
        try:
            pixels = decode(data if isinstance(data, bytes) else b"", None)
        except (BrokenImageError, WrongSizeError) as error:
            return str(error)
        channels, height, width = pixels.shape
        if channels not in (1, shape[0]):
            return f"it has {channels} channels; batches.meta says {shape[0]}"
        if min(height, width) != shape[1]:
            return f"it is {width}x{height}; its shorter side must be {shape[1]}"
        larger.append(height != width)
        top, left = (height - shape[1]) // 2, (width - shape[2]) // 2
        pixels = pixels[:, top : top + shape[1], left : left + shape[2]]
        return np.ascontiguousarray(np.broadcast_to(pixels, shape))

    with ThreadPoolExecutor(_THREADS) as pool:
        found = list(pool.map(one, files))
    reasons = {i: result for i, result in enumerate(found) if isinstance(result, str)}
    return [np.zeros(shape, np.uint8) if isinstance(result, str) else result for result in found], reasons, any(larger)


def _labels(value: object) -> list[tuple[int, ...]]:
    """The labels of every image."""
    value = plain(value)
    items = value.reshape(-1).tolist() if isinstance(value, np.ndarray) else value
    if not isinstance(items, list | tuple):
        raise DataError("labels are neither a list nor an array")
    found: list[tuple[int, ...]] = []
    for item in items:
        item = plain(item)
        item = item.reshape(-1).tolist() if isinstance(item, np.ndarray) else item
        several = [plain(one) for one in item] if isinstance(item, list | tuple) else [item]
        for one in several:
            if not isinstance(one, int | float) or not float(one).is_integer():
                raise DataError(f"'{shown(one)}' is no label; labels are whole numbers")
        found.append(tuple(int(one) for one in several))
    return found
