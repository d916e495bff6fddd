"""Tar shards in the WebDataset convention: files that share a name up to its first dot are one sample.

    0001.jpg 0001.cls               a class's number or name
    0001.png 0001.json              {"label": 3}, {"label": "cat"} or {"labels": ["cat", "dog"]}; "cls" and "class" too

One archive, or several. What they are for is told by their names, train-0001.tar and val-0001.tar, or by their folders.
A file classes.json beside them, a list of names, says what numbers mean; without it they are names themselves.
"""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from convjit.data.index import Index
from convjit.data.layouts.contents import Contents, Part, class_name, label_part, order_classes, role_of, some
from convjit.data.stream import shown
from convjit.errors import DataError

__all__ = ["CLASSES", "TAR", "declared_classes", "has_labels", "read_samples", "role_of_shard", "shards_in"]

CLASSES = "classes.json"
TAR = re.compile(r".+\.(tar|tar\.gz|tgz|tar\.xz|txz|tar\.bz2|tbz2|tar\.zst|tzst)", re.IGNORECASE)
_IMAGES = {b"jpg", b"jpeg", b"png", b"webp", b"bmp", b"ppm", b"pgm"}
_LABELS = {b"cls", b"json"}
_KEYS = ("label", "labels", "cls", "class", "classes")
_MAX_LABEL = 1 << 20
_MAX_CLASSES_FILE = 64 << 20
# Whether there are labels shows in the first files.
_LOOK_AT = 1000

_Labels = tuple[str | int, ...]


def shards_in(folder: Path) -> list[Path]:
    """The archives in a folder, and in its folders named train, val and so on, in order."""
    found = []
    try:
        for child in sorted(folder.iterdir()):
            if child.name.startswith("."):
                continue
            if child.is_file() and TAR.fullmatch(child.name):
                found.append(child)
            elif child.is_dir() and role_of(child.name):
                found += sorted(one for one in child.iterdir() if TAR.fullmatch(one.name) and one.is_file())
    except OSError as error:
        raise DataError(f"{shown(folder)}: cannot be read: {error.strerror}") from None
    return found


def role_of_shard(path: Path) -> str | None:
    """What an archive is for, by its name or its folder's."""
    words = re.split(r"[^A-Za-z]+", path.name)
    return next((role for word in [*words, path.parent.name] if (role := role_of(word))), None)


def has_labels(index: Index) -> bool:
    """Whether there are files of labels beside those of images."""
    ends = {index.base(row).lower().partition(b".")[2] for row in range(min(len(index), _LOOK_AT))}
    return not _LABELS.isdisjoint(ends) and not _IMAGES.isdisjoint(ends)


@dataclass
class _Found:
    """Samples of one role: numbers of image files, and a number of the labels that they have."""

    rows: array[int] = field(default_factory=lambda: array("q"))
    labels: array[int] = field(default_factory=lambda: array("i"))


def read_samples(index: Index, name: str, declared: tuple[str, ...] | None = None) -> Contents:
    """The samples of an index; `declared` are the names of the classes, if they are said."""
    roles = [role_of_shard(path) for path in index.archives]
    parts = {role: _Found() for role in ("train", "val", "test")}
    known: dict[_Labels, int] = {}
    texts: dict[tuple[bool, bytes], int] = {}
    archive, end, rows, labels = -1, 0, array("q"), array("i")
    sizes = index.sizes
    with index.reading() as reader:
        for image, label, is_class in _pairs(index):
            while image >= end:
                archive, end = archive + 1, index.archive_ends[archive + 1]
                # One archive alone is to train on, whatever its name.
                found = parts[(roles[archive] if len(roles) > 1 else None) or "train"]
                rows, labels = found.rows, found.labels
            size = int(sizes[label])
            data = reader.read(label, 0, size) if size <= _MAX_LABEL else b""
            number = texts.get((is_class, data))
            if number is None:
                meant = _labels(data, is_class, f"{index.where}: {shown(index.name(label))}")
                number = known.setdefault(meant, len(known))
                if len(data) < 64:
                    texts[is_class, data] = number
            rows.append(image)
            labels.append(number)
    return _contents(index, name, parts, list(known), declared)


def _contents(
    index: Index, name: str, parts: dict[str, _Found], known: list[_Labels], declared: tuple[str, ...] | None
) -> Contents:
    tested = next((parts[role] for role in ("val", "test") if parts[role].rows), None)
    if not parts["train"].rows:
        raise DataError(f"{index.where}: no archive to train on; their names must say train, or nothing")
    used = set(parts["train"].labels) | set(tested.labels if tested else ())
    spelled = {number: _spelled(known[number], declared, index.where) for number in used}
    classes = declared or order_classes(one for names in spelled.values() for one in names)
    places = {one: place for place, one in enumerate(classes)}
    trained = {one for number in set(parts["train"].labels) for one in spelled[number]}
    if empty := [one for one in classes if one not in trained]:
        raise DataError(
            f"{index.where}: class '{shown(empty[0])}' has no images to train on"
            + (f", as have {len(empty) - 1} others" if len(empty) > 1 else "")
            + "; add some, or remove it"
        )
    numbers = {number: tuple(places[one] for one in names) for number, names in spelled.items()}
    multiple = any(len(one) != 1 for one in numbers.values())

    def part(found: _Found) -> Part:
        return label_part(found.rows, [numbers[n] for n in found.labels], len(classes), index.where, multiple)

    return Contents(name, index, classes, part(parts["train"]), part(tested) if tested else None)


def _pairs(index: Index) -> Iterator[tuple[int, int, bool]]:
    """Numbers of the image and of the label of every sample, and whether that is a .cls; DataError without a label."""
    before, of = b"", -1
    image = label = -1
    is_class = False
    for row, (base, parent) in enumerate(zip(index.bases(), index.parents.tolist(), strict=True)):
        stem, _, end = base.partition(b".")
        if stem != before or parent != of:
            if image >= 0:
                yield image, _labelled(index, image, label), is_class
            before, of, image, label = stem, parent, -1, -1
        end = end.lower()
        if end in _IMAGES:
            image = row
        elif end in _LABELS and (label < 0 or end == b"cls"):
            label, is_class = row, end == b"cls"
    if image >= 0:
        yield image, _labelled(index, image, label), is_class


def _labelled(index: Index, image: int, label: int) -> int:
    if label < 0:
        raise DataError(
            f"{index.where}: {shown(index.name(image))} has no label; a .cls or .json of the same name must stand "
            "next to it"
        )
    return label


def _labels(data: bytes, is_class: bool, where: str) -> _Labels:
    """The labels that a file holds: numbers or names."""
    try:
        text = data.decode("utf-8").strip()
        value = text if is_class else json.loads(text)
    except (ValueError, RecursionError):
        raise DataError(f"{where} is neither text nor JSON; it must hold a label") from None
    if isinstance(value, dict):
        key = next((key for key in _KEYS if key in value), None)
        if key is None:
            raise DataError(f"{where} has {some(sorted(value))}; one of {', '.join(_KEYS)} must be there")
        value = value[key]
    items = value if isinstance(value, list) else [value]
    if not all((isinstance(one, str) and one) or type(one) is int for one in items) or (is_class and not text):
        raise DataError(f"{where} holds '{shown(value)[:60]}'; a label is a class's number or name, or a list of them")
    # A number in text is one in JSON.
    plain = [int(one) if isinstance(one, str) and one.isascii() and one.isdigit() else one for one in items]
    return tuple(dict.fromkeys(class_name(one) if isinstance(one, str) else one for one in plain))


def _spelled(labels: _Labels, declared: tuple[str, ...] | None, where: str) -> tuple[str, ...]:
    """Labels as names of classes."""
    if declared is None:
        return tuple(str(one) for one in labels)
    for one in labels:
        if one not in declared and not (isinstance(one, int) and 0 <= one < len(declared)):
            raise DataError(
                f"{where}: a label is '{shown(one)}'; {CLASSES} has {len(declared)} classes: {some(declared)}"
            )
    return tuple(one if isinstance(one, str) else declared[one] for one in labels)


def declared_classes(archive: Path) -> tuple[str, ...] | None:
    """The names in the classes.json beside an archive, or beside its folder; None if there is no such file."""
    folders = [archive.parent, *([archive.parent.parent] if role_of(archive.parent.name) else [])]
    path = next((one for folder in folders if (one := folder / CLASSES).is_file()), folders[0] / CLASSES)
    try:
        with path.open("rb") as file:
            names = json.loads(file.read(_MAX_CLASSES_FILE))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{shown(path)}: cannot be read: {shown(error)}") from None
    if not isinstance(names, list) or not names or not all(isinstance(one, str) and one for one in names):
        raise DataError(f"{shown(path)}: must be a list of names")
    classes = tuple(map(class_name, names))
    if len(set(classes)) < len(classes):
        raise DataError(f"{shown(path)}: a name stands there twice")
    return classes
