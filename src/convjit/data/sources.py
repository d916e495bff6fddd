"""Opening a data set, whatever its form: the form is told by what the folder or archive holds."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import islice
from pathlib import Path

from convjit.data import cache
from convjit.data.cifar import BINARY, HUNDRED, PYTHON, load_binary, load_python
from convjit.data.dataset import Dataset
from convjit.data.features import is_features, load_features
from convjit.data.idx import NAMES, load_idx
from convjit.data.images import decode_all, image_size
from convjit.data.layouts import read_contents
from convjit.data.layouts.recognise import shards_of
from convjit.data.original import is_original, load_original
from convjit.data.samples import Samples, fingerprint
from convjit.data.source import Entry, Folder, Progress, Source, Tar, open_source
from convjit.data.split import VALIDATION, with_test
from convjit.data.stream import shown
from convjit.errors import DataError

__all__ = ["open_dataset"]

_Loader = Callable[[Source, Progress | None], Dataset]

# CIFAR and IDX files show among the first.
_LOOK_AT = 1000


def open_dataset(
    path: str | os.PathLike[str],
    *,
    validation: float | None = VALIDATION,
    image: tuple[int, ...] | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """The data set in a folder, in archives, or of a list (docs/data.md has every layout).

    Where it has no images to test on, the share `validation` of every class is set apart; with None, all are to test
    on too. Images of one size, up to 256x256, that fit into memory are decoded once and then kept, as bytes, in
    convjit's cache folder; later calls map that into memory. Others stay `Encoded`, and are decoded when they are
    needed, as are all that have not the shape `image` (C, H, W), if that is given. `progress(done, total)` is called
    now and then, with images or with bytes of archives. Broken images are skipped and named in `Dataset.skipped`, up to
    1 % (up to ten in a set below 1,000); more raise DataError, as does any other fault: one line that names the path,
    what was found, what is allowed and the way out.
    """
    place = Path(path)
    if validation is not None and not 0 < validation < 1:
        raise DataError(f"{shown(place)}: a validation set of {validation}; it is a share between 0 and 1, such as 0.1")
    if is_features(place):
        return load_features(place, validation)
    source = None if shards_of(place) else open_source(place)
    if isinstance(source, Folder) and is_original(source.path):
        return load_original(source.path, progress)
    if source is not None and (load := _recognise(source)):
        return _arrays(source, load, progress)
    try:
        return _pictures(place, source, validation, image, progress)
    except DataError as error:
        raise _located(error, shown(place)) from None


def _arrays(source: Folder | Tar, load: _Loader, progress: Progress | None) -> Dataset:
    """A set whose files hold pixels."""
    key = cache.content_key(source)
    if key and (kept := cache.load(key, source.name)):
        return kept
    try:
        dataset = load(source, progress)
    except DataError as error:
        raise _located(error, source.where) from None
    # Not kept if the source changed while it was read.
    if key and cache.content_key(source) == key:
        return cache.store(key, dataset) or dataset
    return dataset


def _pictures(
    path: Path,
    source: Folder | Tar | None,
    validation: float | None,
    image: tuple[int, ...] | None,
    progress: Progress | None,
) -> Dataset:
    """A set of image files."""
    if isinstance(source, Tar):
        # Its contents are known by its hash, without unpacking it.
        key = cache.archives_key([path], validation)
        if key and (kept := cache.load(key, source.name)) and image in (None, kept.shape):
            return kept
    contents = read_contents(path, progress)
    size = image_size(contents)
    if image is not None and size not in ((0, 0), image[1:]):
        size = None
    key = None
    if size is not None:
        key = cache.contents_key(contents, validation)
        if key and (kept := cache.load(key, contents.name)) and image in (None, kept.shape):
            return kept
    divided = with_test(contents, validation, progress)
    assert divided.test is not None
    if not len(divided.test):
        found = f"{len(divided.train)} images are too few to set some apart to test on"
        raise DataError(f"{shown(path)}: {found}; give more, or a folder val")
    dataset = decode_all(divided, size, progress) if size is not None else None
    if dataset is not None and image in (None, dataset.shape):
        # Not kept if the source changed while it was read.
        now = contents if contents.index.archives else read_contents(path)
        if key and cache.contents_key(now, validation) == key:
            return cache.store(key, dataset) or dataset
        return dataset
    train, test = (Samples(divided.index, part) for part in (divided.train, divided.test))
    return Dataset(divided.name, train, test, divided.classes, fingerprint(divided))


def _located(error: DataError, where: str) -> DataError:
    """Checks of a finished set do not know where it came from."""
    text = str(error)
    return error if text.startswith(where) else DataError(f"{where}: {text}")


def _recognise(source: Folder | Tar) -> _Loader | None:
    """What reads a set whose files hold pixels; None if it is one of image files."""
    for entry in islice(source.walk(_LOOK_AT), _LOOK_AT):
        if loader := _loader(entry):
            return loader
    return None


def _loader(entry: Entry) -> _Loader | None:
    name = entry.parts[-1]
    if entry.is_folder or len(entry.parts) > 2:
        return None
    if PYTHON.fullmatch(name) or HUNDRED.fullmatch(name):
        return load_python
    if BINARY.fullmatch(name):
        return load_binary
    return load_idx if NAMES.fullmatch(name) else None
