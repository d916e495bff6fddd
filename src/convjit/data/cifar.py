"""CIFAR-10 and CIFAR-100 as published: the Python batches (pickles) and the binary version of CIFAR-10."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convjit.data.dataset import Dataset, Images, build, check_bytes, numbered_classes
from convjit.data.source import Entry, Progress, Source
from convjit.data.stream import shown
from convjit.data.unpickle import unpickle
from convjit.errors import DataError

__all__ = ["BINARY", "HUNDRED", "PYTHON", "load_binary", "load_python"]

# File names in the folder or archive.
PYTHON = re.compile(r"data_batch_\d+|test_batch|batches\.meta")
HUNDRED = re.compile(r"train|test|meta")
BINARY = re.compile(r"(data_batch_\d+|test_batch)\.bin|batches\.meta\.txt")

_PIXELS = 3 * 32 * 32
_MAX_FILE = 512 << 20

_Part = tuple[NDArray[np.uint8], list[int]]


def load_python(source: Source, progress: Progress | None) -> Dataset:
    """CIFAR-10 (`data_batch_1` ..., `test_batch`, `batches.meta`) or CIFAR-100 (`train`, `test`, `meta`)."""
    parts: dict[str, _Part] = {}
    classes: tuple[str, ...] = ()
    for name, entry in _files(source, re.compile(f"{PYTHON.pattern}|{HUNDRED.pattern}"), progress):
        where = f"{source.where}: {entry.name}"
        values = unpickle(entry.read(), where)
        if name in ("batches.meta", "meta"):
            names = values.get("label_names", values.get("fine_label_names", []))
            classes = tuple(shown(_text(one)) for one in names)
        else:
            parts[name] = _batch(values, where)
    return _assemble(source, parts, classes)


def load_binary(source: Source, progress: Progress | None) -> Dataset:
    """The binary version of CIFAR-10: records of one byte of label and 3072 of pixels."""
    parts: dict[str, _Part] = {}
    classes: tuple[str, ...] = ()
    for name, entry in _files(source, BINARY, progress):
        data = entry.read()
        if name == "batches.meta.txt":
            classes = tuple(shown(line.strip()) for line in data.decode("latin-1").splitlines() if line.strip())
            continue
        if not data or len(data) % (1 + _PIXELS):
            raise DataError(
                f"{source.where}: {entry.name} has {len(data):,} bytes; allowed are whole records of {1 + _PIXELS}, "
                "one of label and 3072 of pixels: fetch it again"
            )
        records = np.frombuffer(data, np.uint8).reshape(-1, 1 + _PIXELS)
        parts[name.removesuffix(".bin")] = records[:, 1:], records[:, 0].tolist()
    return _assemble(source, parts, classes)


def _files(source: Source, pattern: re.Pattern[str], progress: Progress | None) -> Iterable[tuple[str, Entry]]:
    for entry in source.entries():
        name = entry.parts[-1]
        if entry.is_folder or len(entry.parts) > 2 or not pattern.fullmatch(name):
            continue
        if entry.size > _MAX_FILE:
            raise DataError(f"{source.where}: {entry.name} has {entry.size:,} bytes; allowed are {_MAX_FILE:,}")
        try:
            yield name, entry
        except OSError as error:
            raise DataError(f"{source.where}: {entry.name} cannot be read: {error.strerror}") from None
        if progress:
            progress(*source.position)


def _batch(values: dict[str, Any], where: str) -> _Part:
    data, labels = values.get("data"), values.get("labels", values.get("fine_labels"))
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != _PIXELS:
        found = f"{data.dtype} {list(data.shape)}" if isinstance(data, np.ndarray) else f"keys {shown(sorted(values))}"
        raise DataError(
            f"{where}: found {found}; allowed is 'data' of uint8 [N,{_PIXELS}], as the official batches have it"
        )
    if not isinstance(labels, list) or len(labels) != len(data) or not all(type(one) is int for one in labels):
        raise DataError(f"{where}: 'labels' are not a list of {len(data)} integers, one for each image; fetch it again")
    return data, labels


def _assemble(source: Source, parts: dict[str, _Part], classes: tuple[str, ...]) -> Dataset:
    numbers = sorted(int(name.rpartition("_")[2]) for name in parts if name.startswith("data_batch_"))
    training = [f"data_batch_{number}" for number in numbers] or ["train"]
    test = "test_batch" if numbers else "test"
    missing = [f"data_batch_{n}" for n in range(1, len(numbers) + 1) if n not in numbers]
    missing += [name for name in (training[0], test) if name not in parts]
    if missing:
        raise DataError(f"{source.where}: {', '.join(missing)} is missing; fetch the set again")
    check_bytes(source.where, sum(part[0].nbytes for part in parts.values()))
    train_images, test_images = _images([parts[name] for name in training]), _images([parts[test]])
    if not classes:
        classes = numbered_classes(int(train_images.labels.max()), source.where)
    return build(source.name, train_images, test_images, classes)


def _images(parts: list[_Part]) -> Images:
    pixels = np.concatenate([pixels for pixels, _ in parts]).reshape(-1, 3, 32, 32)
    labels = [label for _, labels in parts for label in labels]
    if labels and not 0 <= min(labels) <= max(labels) < 1 << 31:
        raise DataError(f"labels go from {min(labels)} to {max(labels)}; they count from 0")
    return Images(pixels, np.array(labels, np.int32))


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
