"""A list of image files and their labels: CSV, TSV, JSON, JSON lines, or plain lines of a path and a label.

    path,label                      the first line may name the columns: path, file, filename, file_name, image ...;
    cats/1.jpg,cat                  label, labels, class ...; and split, which says train, val or test
    cats/2.jpg,cat|indoors          several labels of one image stand between | or ;
    path,cat,indoors                or in a column for each class, of 0 and 1
    {"path": "cats/1.jpg", "label": "cat"}      JSON: a list of these, or one to a line; or {"cats/1.jpg": "cat", ...}

Paths start from the list's folder, and stay in it. A folder may hold train.csv and val.csv (or of another kind), or one
labels.csv or metadata.csv.
"""

from __future__ import annotations

import csv
import json
import re
from array import array
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from convjit.data.layouts.contents import Contents, Part, class_name, label_part, order_classes, role_of, some
from convjit.data.layouts.listed import ListedFiles
from convjit.data.source import Progress
from convjit.data.stream import shown
from convjit.errors import DataError

__all__ = ["LIST", "lists_in", "read_lists"]

LIST = re.compile(r".+\.(csv|tsv|json|jsonl|ndjson|txt)", re.IGNORECASE)
_PATHS = ("path", "file", "filename", "file_name", "filepath", "file_path", "image", "image_path", "img", "name")
_LABELS = ("label", "labels", "class", "classes", "category", "target", "tags", "class_name")
_SPLITS = ("split", "set", "subset", "fold")
_MANY = re.compile(r"[|;]")
_MAX_BYTES = 2 << 30
_MAX_LINE = 1 << 20

_Row = tuple[str, tuple[str, ...], str]
"""Path, labels, and what it is for ("" if that is not said)."""


def lists_in(folder: Path) -> list[Path]:
    """The lists at the top of a folder that describe a set: train and val or test, or one of all images; [] if none."""
    names = sorted(child.name for child in folder.iterdir() if LIST.fullmatch(child.name) and child.is_file())
    by_role: dict[str, list[Path]] = {}
    for name in names:
        stem = name.rpartition(".")[0].lower()
        role = "all" if stem in ("labels", "metadata") else role_of(stem)
        # Plain text of such a name may be anything.
        if role and not (role == "all" and name.lower().endswith(".txt")):
            by_role.setdefault(role, []).append(folder / name)
    if "train" not in by_role:
        return by_role.get("all", [])[:1]
    return by_role["train"][:1] + (by_role.get("val") or by_role.get("test") or [])[:1]


def read_lists(paths: Sequence[Path], name: str, progress: Progress | None = None) -> Contents:
    """The set that one list describes, or two, of which the second is of the images to test on."""
    where, root = shown(paths[0]), paths[0].parent
    listed = ListedFiles(root)
    rows: dict[str, array[int]] = {role: array("q") for role in ("train", "val", "test")}
    labels: dict[str, array[int]] = {role: array("i") for role in rows}
    known: dict[tuple[str, ...], int] = {}
    multiple = False
    for path, given in zip(paths, ("train", "val"), strict=False):
        total = _size(path)
        for place, found, split in _rows(path):
            role = (role_of(split) or "train") if given == "train" else given
            if split and not role_of(split):
                raise DataError(f"{shown(path)}: split '{shown(split)}' is not known; allowed are train, val and test")
            rows[role].append(len(listed))
            labels[role].append(known.setdefault(found, len(known)))
            multiple = multiple or len(found) != 1
            listed.add(place, path)
            if progress and len(listed) % 10_000 == 0:
                progress(len(listed), max(len(listed), total // 64))
    tested = next((role for role in ("val", "test") if rows[role]), None)
    if not rows["train"]:
        raise DataError(f"{where}: lists no images to train on")
    # Without a list of classes, those are all that training images have.
    spelled = list(known)
    classes = order_classes(one for number in set(labels["train"]) for one in spelled[number])
    places = {one: place for place, one in enumerate(classes)}
    if unknown := sorted({one for found in spelled for one in found} - set(classes)):
        raise DataError(
            f"{where}: class '{shown(unknown[0])}' has no images to train on; those that have are {some(classes)}"
        )
    numbers = [tuple(places[one] for one in found) for found in spelled]

    def part(role: str) -> Part:
        return label_part(rows[role], [numbers[n] for n in labels[role]], len(classes), where, multiple)

    index = listed.finish(where)
    return Contents(name, index, classes, part("train"), part(tested) if tested else None)


def _size(path: Path) -> int:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise DataError(f"{shown(path)}: cannot be read: {error.strerror}") from None
    if size > _MAX_BYTES:
        raise DataError(f"{shown(path)}: {size:,} bytes; lists have up to {_MAX_BYTES >> 30} GB")
    return size


def _rows(path: Path) -> Iterator[_Row]:
    """The rows of a list, whatever its kind."""
    kind = path.suffix.lower()
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            if kind in (".jsonl", ".ndjson"):
                yield from _json_lines(file, path)
            elif kind == ".json":
                yield from _json_rows(json.load(file), path)
            elif kind == ".txt":
                yield from _plain_lines(file, path)
            else:
                yield from _table(file, path)
    except UnicodeDecodeError as error:
        raise DataError(f"{shown(path)}: not UTF-8 ({shown(error.reason)}); save it as UTF-8") from None
    except (ValueError, RecursionError, csv.Error) as error:
        raise DataError(f"{shown(path)}: damaged: {shown(error)}") from None
    except OSError as error:
        raise DataError(f"{shown(path)}: cannot be read: {error.strerror}") from None


def _lines(file: Any, path: Path) -> Iterator[str]:
    number = 0
    while line := file.readline(_MAX_LINE):
        number += 1
        if len(line) == _MAX_LINE:
            raise DataError(f"{shown(path)}:{number}: a line of more than {_MAX_LINE:,} characters")
        yield line


def _plain_lines(file: Any, path: Path) -> Iterator[_Row]:
    """Path, blank, label, as Caffe's lists have it."""
    for number, line in enumerate(_lines(file, path), 1):
        place, _, label = line.strip().rpartition(" " if "\t" not in line else "\t")
        if not line.strip():
            continue
        if not place.strip():
            raise DataError(f"{shown(path)}:{number}: '{shown(line.strip())}'; a line is a path and a label")
        yield place.strip(), _split(label), ""


def _table(file: Any, path: Path) -> Iterator[_Row]:
    lines = _lines(file, path)
    first = next(lines, "")
    delimiter = "\t" if path.suffix.lower() == ".tsv" else max(",;\t", key=first.count)
    header = next(csv.reader([first], delimiter=delimiter), [])
    names = [name.strip().lower() for name in header]
    # A file of this name says that the first line is one of the list.
    has_header = bool(header) and not (path.parent / header[0].strip()[:4096]).is_file()
    columns = _columns(names if has_header else [], len(header), path)
    if not has_header:
        yield _table_row(header, columns, header, path, 1)
    reader = csv.reader(lines, delimiter=delimiter)
    for row in reader:
        if row:
            yield _table_row(row, columns, header, path, reader.line_num + 1)


def _columns(names: Sequence[str], count: int, path: Path) -> tuple[int, list[int], int | None, bool]:
    """Which columns hold the path, the labels and the split, and whether the labels' columns are classes."""
    place = next((names.index(one) for one in _PATHS if one in names), 0)
    split = next((names.index(one) for one in _SPLITS if one in names), None)
    rest = [column for column in range(count) if column not in (place, split)]
    named = [column for column in rest if column < len(names) and names[column] in _LABELS]
    if named:
        return place, named[:1], split, False
    if not rest:
        raise DataError(f"{shown(path)}: one column only; there must be a path and a label, as in path,label")
    if len(rest) == 1 or not names:
        return place, rest[:1], split, False
    return place, rest, split, True


def _table_row(
    row: Sequence[str],
    columns: tuple[int, list[int], int | None, bool],
    header: Sequence[str],
    path: Path,
    number: int,
) -> _Row:
    place, labels, split, is_class = columns
    if len(row) <= max(place, *labels, split or 0):
        raise DataError(f"{shown(path)}:{number}: {len(row)} columns; there must be {len(header)}")
    role = row[split].strip() if split is not None else ""
    if not is_class:
        return row[place].strip(), _split(row[labels[0]]), role
    found = []
    for column in labels:
        if (mark := row[column].strip()) not in ("0", "1", "0.0", "1.0"):
            raise DataError(
                f"{shown(path)}:{number}: '{shown(mark)}' in column '{shown(header[column])}'; with more than two "
                "columns either one is called label, or each is a class and holds 0 or 1"
            )
        if mark.startswith("1"):
            found.append(class_name(header[column].strip()))
    return row[place].strip(), tuple(found), role


@lru_cache(1 << 12)
def _split(text: str) -> tuple[str, ...]:
    """The labels in a field."""
    return tuple(dict.fromkeys(class_name(one.strip()) for one in _MANY.split(text) if one.strip()))


def _json_lines(file: Any, path: Path) -> Iterator[_Row]:
    for number, line in enumerate(_lines(file, path), 1):
        if line.strip():
            yield _json_row(json.loads(line), f"{shown(path)}:{number}")


def _json_rows(value: object, path: Path) -> Iterator[_Row]:
    if isinstance(value, dict) and not any(isinstance(one, dict) for one in value.values()):
        lists = [one for one in value.values() if isinstance(one, list) and one and isinstance(one[0], dict)]
        if not lists:
            for place, label in value.items():
                yield place, _json_labels(label, shown(path)), ""
            return
        value = lists[0]
    if not isinstance(value, list):
        raise DataError(f"{shown(path)}: must be a list of objects with path and label, or one object path: label")
    for number, one in enumerate(value):
        yield _json_row(one, f"{shown(path)}: item {number}")


def _json_row(value: object, where: str) -> _Row:
    if not isinstance(value, Mapping):
        raise DataError(f"{where}: '{shown(value)[:60]}'; must be an object with path and label")
    lowered = {str(key).lower(): one for key, one in value.items()}
    place = next((lowered[key] for key in _PATHS if key in lowered), None)
    label = next((key for key in _LABELS if key in lowered), None)
    if not isinstance(place, str) or label is None:
        raise DataError(f"{where}: has {some(sorted(lowered))}; path and label must be there")
    split = next((lowered[key] for key in _SPLITS if key in lowered), "")
    return place, _json_labels(lowered[label], where), str(split)


def _json_labels(value: object, where: str) -> tuple[str, ...]:
    items = value if isinstance(value, list) else [] if value is None else [value]
    if not all((isinstance(one, str) and one.strip()) or type(one) is int for one in items):
        raise DataError(f"{where}: label '{shown(value)[:60]}'; it must be a name, a number, or a list of them")
    return tuple(dict.fromkeys(class_name(str(one).strip()) for one in items))
