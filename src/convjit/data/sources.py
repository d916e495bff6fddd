"""Opening a data set, whatever its form: the form is told by what the folder or archive holds."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import islice
from pathlib import Path

from convjit.data import cache
from convjit.data.cifar import BINARY, HUNDRED, PYTHON, load_binary, load_python
from convjit.data.dataset import Dataset
from convjit.data.idx import NAMES, load_idx
from convjit.data.images import LAYOUT, SPLITS, load_images
from convjit.data.original import is_original, load_original
from convjit.data.source import Entry, Folder, Progress, Source, Tar, open_source
from convjit.data.stream import shown
from convjit.errors import DataError

__all__ = ["open_dataset"]

_Loader = Callable[[Source, Progress | None], Dataset]

_UNDERSTOOD = (
    f"understood are a folder or .tar[.gz|.xz|.bz2] of images as {LAYOUT}, of CIFAR's Python or binary batches, "
    "or of the four IDX files of MNIST, and folders of cuda-convnet's data batches"
)

# The form shows in the first files; a large folder given by mistake is not searched to its end.
_LOOK_AT = 1000


def open_dataset(path: str | os.PathLike[str], *, progress: Progress | None = None) -> Dataset:
    """The data set in a folder or archive.

    Decoded once and then kept, as bytes, in convjit's cache folder; later calls map that into memory.
    `progress(done, total)` is called while decoding, with images of a folder or bytes of an archive. Broken images
    are skipped and named in `Dataset.skipped`, up to 1 % (up to ten in a set below 1,000); more raise DataError, as
    does any other fault: one line that names the path, what was found, what is allowed and the way out.
    """
    source = open_source(Path(path))
    if source is None:
        raise DataError(f"{shown(path)}: neither a folder nor a tar archive; {_UNDERSTOOD}")
    if isinstance(source, Folder) and is_original(source.path):
        return load_original(source.path, progress)
    load = _recognise(source)
    key = cache.content_key(source)
    if key and (kept := cache.load(key, source.name)):
        return kept
    try:
        dataset = load(source, progress)
    except DataError as error:
        # Checks of the finished set do not know where it came from.
        text = str(error)
        raise DataError(text if text.startswith(source.where) else f"{source.where}: {text}") from None
    # Not kept if the source changed while it was read.
    if key and cache.content_key(source) == key:
        return cache.store(key, dataset) or dataset
    return dataset


def _recognise(source: Folder | Tar) -> _Loader:
    names = []
    for entry in islice(source.walk(), _LOOK_AT):
        if loader := _loader(entry):
            return loader
        names.append(entry.parts[0])
    if not names:
        raise DataError(f"{source.where}: empty; {_UNDERSTOOD}")
    found = ", ".join(list(dict.fromkeys(names))[:5])
    raise DataError(f"{source.where}: holds {shown(found)}; {_UNDERSTOOD}")


def _loader(entry: Entry) -> _Loader | None:
    parts, name = entry.parts, entry.parts[-1]
    if not entry.is_folder and len(parts) <= 2:
        if PYTHON.fullmatch(name) or HUNDRED.fullmatch(name):
            return load_python
        if BINARY.fullmatch(name):
            return load_binary
        if NAMES.fullmatch(name):
            return load_idx
    # A class folder, or a file in one.
    return load_images if any(len(parts) >= depth + 2 and parts[depth] in SPLITS for depth in (0, 1)) else None
