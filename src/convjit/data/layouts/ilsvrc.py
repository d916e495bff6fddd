"""ImageNet as its challenge hands it out, in a folder:

    ILSVRC2012_img_train.tar        of n01440764.tar and 999 more; or a folder train/ with a folder for each class
    ILSVRC2012_img_val.tar          of ILSVRC2012_val_00000001.JPEG and 49,999 more; or a folder val/ of these
    ILSVRC2012_devkit_t12.tar.gz    or unpacked: data/meta.mat, data/ILSVRC2012_validation_ground_truth.txt

Archives are read where they lie. Classes are called by their synset and its first word, such as "n01440764 tench".
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from convjit.data.archive_index import index_archives
from convjit.data.folder_index import index_folder
from convjit.data.index import Index
from convjit.data.layouts.contents import Contents, Part, rows_by_folder
from convjit.data.layouts.folders import check_filled
from convjit.data.matlab import read_structures
from convjit.data.source import Progress
from convjit.data.stream import shown
from convjit.errors import DataError

__all__ = ["is_ilsvrc", "read_ilsvrc"]

_TRAIN = re.compile(r"ILSVRC\d{4}_img_train\.tar|ILSVRC\d{4}_img_train|train", re.IGNORECASE)
_VAL = re.compile(r"ILSVRC\d{4}_img_val\.tar|ILSVRC\d{4}_img_val|val", re.IGNORECASE)
_DEVKIT = re.compile(r"ILSVRC\d{4}_devkit\w*(\.tar\.gz|\.tgz|\.tar)?", re.IGNORECASE)
_TRUTH = re.compile(r"ILSVRC\d{4}_validation_ground_truth\.txt")
_SYNSET = re.compile(r"n\d{8}")
_NUMBERED = re.compile(rb".*_(\d{8})\.jpe?g", re.IGNORECASE)
_MAX_FILE = 16 << 20


def is_ilsvrc(folder: Path) -> bool:
    """Whether a folder is one of the challenge's: it has a devkit, or the archive of training images."""
    names = [child.name for child in folder.iterdir()]
    return any(_DEVKIT.fullmatch(name) or (_TRAIN.fullmatch(name) and name.endswith(".tar")) for name in names)


def read_ilsvrc(folder: Path, name: str, progress: Progress | None = None) -> Contents:
    """The set in such a folder."""
    where = shown(folder)
    train, val, devkit = (_find(folder, pattern) for pattern in (_TRAIN, _VAL, _DEVKIT))
    if train is None:
        raise DataError(f"{where}: ILSVRC2012_img_train.tar is missing, and there is no folder train")
    if val is not None and devkit is None:
        raise DataError(
            f"{where}: {shown(val.name)} is there, but no devkit that says what its images show; put "
            "ILSVRC2012_devkit_t12.tar.gz next to it"
        )
    if train.is_dir() != (val or train).is_dir():
        raise DataError(f"{where}: training and validation images must be both archives or both folders")
    if train.is_dir():
        index = index_folder(folder, progress)
    else:
        index = index_archives([train, *([val] if val else [])], where, progress, nested=True)
    top = train.name if train.is_dir() or val else ""
    words, truth = _devkit(devkit) if devkit else ({}, [])
    synsets = {
        number: found[0]
        for number, path in enumerate(index.folders)
        if path.rpartition("/")[0] == top and (found := _SYNSET.match(path.rpartition("/")[2]))
    }
    if not synsets:
        raise DataError(f"{where}: {shown(train.name)} holds no classes; they are called n01440764 and so on")
    check_filled(index, list(synsets))
    order = sorted(set(synsets.values()))
    labels = {one: label for label, one in enumerate(order)}
    classes = tuple(f"{one} {words[one]}" if one in words else one for one in order)
    part = rows_by_folder(index, {number: labels[one] for number, one in synsets.items()})
    test = _validation(index, val.name, [labels.get(one, -1) for one in truth], where) if val else None
    return Contents(name, index, classes, part, test)


def _find(folder: Path, pattern: re.Pattern[str]) -> Path | None:
    """The entry of this name; of several, the one with the longest, which says most."""
    found = [child for child in folder.iterdir() if pattern.fullmatch(child.name)]
    return max(found, key=lambda child: (len(child.name), child.name), default=None)


def _validation(index: Index, folder: str, truth: list[int], where: str) -> Part:
    """The images of the validation set, by the numbers in their names."""
    number = index.folders.index(folder)
    rows, labels = [], []
    for row in np.flatnonzero(index.parents == number).tolist():
        match = _NUMBERED.fullmatch(index.base(row))
        place = int(match[1]) if match else 0
        if not 1 <= place <= len(truth):
            raise DataError(
                f"{where}: {shown(index.name(row))} has no number from 1 to {len(truth)} in its name; the devkit has "
                "that many labels"
            )
        rows.append(row)
        labels.append(truth[place - 1])
    order = sorted(range(len(rows)), key=lambda i: (labels[i], index.base(rows[i])))
    # Of a part of the classes, the images of the others are left out.
    kept = [i for i in order if labels[i] >= 0]
    if not kept:
        raise DataError(f"{where}: {shown(folder)} holds no images of these classes")
    return Part(np.array([rows[i] for i in kept], np.int64), np.array([labels[i] for i in kept], np.int32))


def _devkit(path: Path) -> tuple[dict[str, str], list[str]]:
    """First word by synset, and the synsets of the validation images in order."""
    where = shown(path)
    index = index_folder(path) if path.is_dir() else index_archives([path], where)
    meta = truth = None
    for row in range(len(index)):
        base = index.base(row).decode("utf-8", "replace")
        if index.sizes[row] > _MAX_FILE:
            continue
        try:
            if base == "meta.mat":
                meta = read_structures(index.read(row), f"{where}: {shown(index.name(row))}")
            elif _TRUTH.fullmatch(base):
                truth = index.read(row).decode("ascii", "replace").split()
        except OSError as error:
            raise DataError(f"{where}: {shown(index.name(row))} cannot be read: {error.strerror}") from None
    if meta is None or truth is None:
        raise DataError(f"{where}: meta.mat or ILSVRC2012_validation_ground_truth.txt is missing; fetch it again")
    synsets: dict[str, str] = {}
    words: dict[str, str] = {}
    for one in meta:
        number = next((value for key, value in one.items() if key.endswith("_ID")), None)
        synset, said = one.get("WNID"), one.get("words")
        if isinstance(number, float) and isinstance(synset, str) and isinstance(said, str):
            synsets[str(int(number))] = synset
            words[synset] = said.split(",")[0].strip()
    if unknown := next((one for one in truth if one not in synsets), None):
        raise DataError(f"{where}: label '{shown(unknown)}' of the validation list is not in meta.mat")
    return words, [synsets[one] for one in truth]
