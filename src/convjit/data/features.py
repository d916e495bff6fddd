"""Features of one net as the data of another: what `convjit features` writes, or arrays of the same form.

    features.npz, features-2.npz ...   `data` [N, numbers] of floats, `labels` [N]; or the same in .safetensors
    features.json                      beside them: `classes`, and `shape` [C,H,W] of the numbers of an image

One file, or a folder of them; or folders train and test (or val, valid, validation). Files that are numbered are data
batches, in order.
"""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from convjit.data.dataset import Dataset, Images, build, check_bytes, check_labels
from convjit.data.split import split
from convjit.data.stream import shown
from convjit.errors import DataError

__all__ = ["is_features", "load_features"]

_FILE = re.compile(r"features(?:-(\d{1,6}))?\.(npz|safetensors)")
_TRAIN, _TESTS = "train", ("test", "val", "valid", "validation")
_ABOUT = "features.json"
_MOST_ABOUT = 1 << 24
_MOST_CLASSES = 100_000
_WRITTEN = "write them with: convjit features RUN LAYER --split train --out DIR/train, and --split test --out DIR/test"


def is_features(path: Path) -> bool:
    """Whether features are there, told by the names of the files."""
    if path.is_file():
        return path.suffix in (".npz", ".safetensors")
    return bool(_files(path)) or bool(_files(path / _TRAIN))


def load_features(path: Path, validation: float | None) -> Dataset:
    """The set at `path`; where it has none to test on, the share `validation` of every class, with None all."""
    tests: list[Path] = []
    if path.is_file():
        folder, files = path.parent, [path]
    elif files := _files(path):
        folder = path
    else:
        folder, files = path / _TRAIN, _files(path / _TRAIN)
        tests = next((found for name in _TESTS if (found := _files(path / name))), [])
        if not tests:
            raise DataError(f"{shown(path)}: features in train, and none in {' or '.join(_TESTS)}; {_WRITTEN}")
    classes, shape = _about(folder / _ABOUT)
    train, skipped = _images(files, shape)
    test, more = _images(tests, shape) if tests else (train, [])
    top = int(max(train.labels.max(), test.labels.max()))
    if not classes and top >= _MOST_CLASSES:
        raise DataError(f"{shown(path)}: a label of {top}; without names of classes, allowed is up to {_MOST_CLASSES}")
    classes = classes or tuple(map(str, range(top + 1)))
    check_labels(top, classes)
    if not tests:
        train, test = _divided(train, validation, shown(path))
    return build(path.stem, train, test, classes, (*skipped, *more))


def _files(folder: Path) -> list[Path]:
    """The features in a folder, in the order of their numbers; each once, whatever its form."""
    try:
        found = {child.name: match for child in folder.iterdir() if (match := _FILE.fullmatch(child.name))}
    except OSError:
        return []
    numbered = {int(match[1] or 0): name for name, match in sorted(found.items(), reverse=True)}
    return [folder / numbered[number] for number in sorted(numbered)]


def _about(path: Path) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Names of the classes and the shape of the features; () for what is not said."""
    try:
        with path.open("rb") as file:
            about = json.loads(file.read(_MOST_ABOUT))
        classes, shape = about.get("classes", []), about.get("shape", [])
    except FileNotFoundError:
        return (), ()
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise DataError(f"{shown(path)}: cannot be read: {shown(error)}; write it again, or remove it") from None
    fits = isinstance(shape, list) and len(shape) in (0, 3) and all(type(side) is int and side > 0 for side in shape)
    if not (isinstance(classes, list) and all(isinstance(name, str) for name in classes) and fits):
        raise DataError(f"{shown(path)}: allowed are 'classes', a list of names, and 'shape', [C, H, W]")
    return tuple(classes), tuple(shape)


def _images(files: list[Path], shape: tuple[int, ...]) -> tuple[Images, list[str]]:
    """The features of some files, and lines about those that are left out: they were never computed."""
    pairs = [_checked(*_read(path), shape, shown(path)) for path in files]
    widths = {data.shape[1:] for data, _ in pairs}
    if len(widths) > 1:
        raise DataError(f"{shown(files[0].parent)}: files of {' and '.join(map(str, widths))}; they must agree")
    skipped: list[str] = []
    kept: list[tuple[NDArray[np.float32], NDArray[np.int32]]] = []
    for path, (data, labels) in zip(files, pairs, strict=True):
        flat = data.reshape(len(data), -1)
        # What `convjit features` writes of an image that cannot be decoded.
        missing = np.isnan(flat).all(1)
        if not np.isfinite(flat[~missing]).all():
            raise DataError(f"{shown(path)}: some of its numbers are not finite; allowed are finite ones")
        skipped += [f"{shown(path)}: row {row} has no numbers" for row in np.flatnonzero(missing).tolist()]
        if not missing.all():
            kept.append((data[~missing], labels[~missing]))
    if not kept:
        raise DataError(f"{shown(files[0])}: holds no features; {_WRITTEN}")
    parts = tuple(len(labels) for _, labels in kept)
    pixels, labels = (np.concatenate(arrays) for arrays in zip(*kept, strict=True))
    return Images(pixels, labels, parts if len(parts) > 1 else ()), skipped


def _checked(
    data: NDArray[Any], labels: NDArray[Any], shape: tuple[int, ...], where: str
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Arrays of a file as float32 [N,C,H,W] and int32 [N]."""
    if data.ndim != 2 or data.dtype.kind != "f" or 0 in data.shape:
        raise DataError(f"{where}: 'data' is {data.dtype} {list(data.shape)}; allowed are floats [N, numbers]")
    if labels.shape != data.shape[:1] or labels.dtype.kind not in "iu":
        found = f"'labels' are {labels.dtype} {list(labels.shape)}"
        raise DataError(f"{where}: {found}; allowed are integers [{len(data)}], one for each row of 'data'")
    if int(labels.min()) < 0 or int(labels.max()) >= 2**31:
        raise DataError(f"{where}: labels go from {labels.min()} to {labels.max()}; they count from 0")
    maps = shape or (data.shape[1], 1, 1)
    if np.prod(maps, dtype=object) != data.shape[1]:
        raise DataError(f"{where}: {data.shape[1]} numbers for each image; {_ABOUT} says {list(maps)}")
    return data.astype(np.float32).reshape(-1, *maps), labels.astype(np.int32)


def _read(path: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    """The two arrays of a file; nothing in it is executed."""
    where = shown(path)
    with _damage(where):
        if path.suffix == ".npz":
            with zipfile.ZipFile(path) as archive:
                data, labels = (_member(archive, f"{name}.npy", where) for name in ("data", "labels"))
                return data, labels
        check_bytes(where, path.stat().st_size)
        arrays = load_file(path)
        return arrays["data"], arrays["labels"]


def _member(archive: zipfile.ZipFile, name: str, where: str) -> NDArray[Any]:
    """One array of an .npz, whose size is checked before there is memory for it."""
    size = archive.getinfo(name).file_size
    check_bytes(where, size)
    with archive.open(name) as file:
        shape, _, dtype = _header(file)
        if dtype.kind not in "iuf" or dtype.itemsize * int(np.prod(shape, dtype=object)) > size:
            raise DataError(f"{where}: '{name}' is {dtype} {list(shape)}; allowed are numbers, all of them in the file")
    with archive.open(name) as file:
        array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
        return array


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """(shape, order, type) of a .npy."""
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"a .npy of version {version}")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    found: tuple[tuple[int, ...], bool, np.dtype[Any]] = read(file)
    return found


@contextmanager
def _damage(where: str) -> Iterator[None]:
    """One line for what the readers raise over a file that is damaged, or of another form."""
    try:
        yield
    except KeyError as error:
        raise DataError(f"{where}: has no {shown(error)}; allowed are 'data' and 'labels'; {_WRITTEN}") from None
    except (OSError, ValueError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile, SafetensorError,
            MemoryError) as error:  # fmt: skip
        raise DataError(f"{where}: damaged, or no file of features: {shown(error)}; {_WRITTEN}") from None


def _divided(images: Images, share: float | None, where: str) -> tuple[Images, Images]:
    """Those to train and those to test on, equal ones on one side."""
    if share is None:
        return images, images
    rows = (row.tobytes() for row in images.pixels)
    digests = [int.from_bytes(hashlib.blake2b(row, digest_size=8).digest(), "little") for row in rows]
    chosen = split(np.array(digests, np.uint64), images.labels, share)
    if not chosen.any():
        raise DataError(f"{where}: {len(images)} rows are too few to set some apart to test on; give a folder test")
    train, test = (Images(images.pixels[some], images.labels[some]) for some in (~chosen, chosen))
    return train, test
