"""Which layout a path leads to. A set is told by what is there, never by what a file inside says of it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from convjit.data.archive_index import archive_folders, index_archives
from convjit.data.folder_index import index_folder
from convjit.data.index import Index
from convjit.data.layouts.contents import Contents, role_of
from convjit.data.layouts.folders import LAYOUT, read_class_folders, read_split_folders
from convjit.data.layouts.ilsvrc import is_ilsvrc, read_ilsvrc
from convjit.data.layouts.lists import LIST, lists_in, read_lists
from convjit.data.layouts.shards import TAR, declared_classes, has_labels, read_samples, role_of_shard, shards_in
from convjit.data.source import Progress, Tar, open_source
from convjit.data.stream import shown
from convjit.data.tar_headers import hidden
from convjit.errors import DataError

__all__ = ["UNDERSTOOD", "read_contents", "shards_of"]

UNDERSTOOD = (
    f"understood are {LAYOUT}, in a folder or a .tar[.gz|.xz|.bz2|.zst], tar shards, lists in .csv, .json or .jsonl, "
    "and ILSVRC, CIFAR, IDX and cuda-convnet's batches as they come (docs/data.md)"
)
_BRACES = re.compile(r"\{([^{}]*)\}")
_NUMBERS = re.compile(r"(\d{1,9})\.\.(\d{1,9})")
_MOST_SHARDS = 100_000
# A folder with more than these in it is one of images.
_LOOK_AT = 1000


def read_contents(path: Path, progress: Progress | None = None) -> Contents:
    """The images of a set and their labels; DataError, on one line, if they cannot be told."""
    if shards := shards_of(path):
        return _archives(shards, path.parent.name or "shards", shown(path), progress)
    source = open_source(path)
    if isinstance(source, Tar):
        return _archives([path], source.name, source.where, progress)
    if source is None:
        if LIST.fullmatch(path.name):
            return read_lists([path], path.stem, progress)
        raise DataError(f"{shown(path)}: neither a folder, a tar archive nor a list; {UNDERSTOOD}")
    try:
        return _folder(path, source.name, progress)
    except OSError as error:
        raise DataError(f"{source.where}: cannot be read: {error.strerror}") from None


def shards_of(path: Path) -> list[Path]:
    """The archives that a pattern such as train-{0000..0146}.tar or val-*.tar stands for; [] if it is none."""
    text = str(path)
    if not re.search(r"[*?\[{]", text) or path.exists():
        return []
    found: list[Path] = []
    for one in _expanded(text, shown(path)):
        parts = Path(one).parts
        plain = next((i for i, part in enumerate(parts) if re.search(r"[*?\[]", part)), len(parts) - 1)
        root, pattern = Path(*parts[:plain]), str(Path(*parts[plain:]))
        there = sorted(root.glob(pattern)) if plain < len(parts) - 1 or re.search(r"[*?\[]", pattern) else [Path(one)]
        found += [child for child in there if not hidden(child.name)]
        if len(found) > _MOST_SHARDS:
            raise DataError(f"{shown(path)}: more than {_MOST_SHARDS:,} archives")
    if missing := [child for child in found if not child.is_file()]:
        raise DataError(f"{shown(path)}: {shown(missing[0])} is missing; give a pattern of archives that are there")
    if not found:
        raise DataError(f"{shown(path)}: no such file or folder, and no archive fits this pattern")
    if odd := [child for child in found if not TAR.fullmatch(child.name)]:
        raise DataError(
            f"{shown(path)}: {shown(odd[0])} is no tar archive; allowed are patterns of .tar[.gz|.xz|.bz2|.zst]"
        )
    return found


def _expanded(text: str, where: str) -> list[str]:
    """A text with {a,b} and {000..146}, written out."""
    texts = [text]
    while any(_BRACES.search(one) for one in texts):
        texts = [made for one in texts for made in _expand_first(one, where)]
        if len(texts) > _MOST_SHARDS:
            raise DataError(f"{where}: stands for more than {_MOST_SHARDS:,} archives")
    # {a-{1,2},b} makes b twice, this way.
    return list(dict.fromkeys(texts))


def _expand_first(text: str, where: str) -> Iterator[str]:
    match = _BRACES.search(text)
    if not match:
        yield text
        return
    if span := _NUMBERS.fullmatch(match[1]):
        first, last = int(span[1]), int(span[2])
        if last - first >= _MOST_SHARDS:
            raise DataError(f"{where}: stands for more than {_MOST_SHARDS:,} archives")
        words = [str(number).zfill(len(span[1])) for number in range(first, last + 1)]
    else:
        words = match[1].split(",")
    for word in words:
        yield text[: match.start()] + word + text[match.end() :]


def _folder(path: Path, name: str, progress: Progress | None) -> Contents:
    if is_ilsvrc(path):
        return read_ilsvrc(path, name, progress)
    if _only_shards(path) and (shards := shards_in(path)):
        return _archives(shards, name, shown(path), progress)
    if (lists := lists_in(path)) and not _has_splits(path):
        return read_lists(lists, name, progress)
    index = index_folder(path, progress)
    return read_split_folders(index, name) or read_class_folders(index, name) or _unknown(index)


def _has_splits(path: Path) -> bool:
    """Whether a folder, or one in it, has class folders to train on: a list beside them is there for something else."""
    inner = [child for child in path.iterdir() if not hidden(child.name) and child.is_dir()]
    for top in (path, *inner):
        with os.scandir(top) as listing:
            some = islice(listing, _LOOK_AT)
            trained = [child.path for child in some if role_of(child.name) == "train" and child.is_dir()]
        for train in trained:
            with os.scandir(train) as listing:
                if any(child.is_dir() and not hidden(child.name) for child in listing):
                    return True
    return False


def _only_shards(path: Path) -> bool:
    """Whether a folder has no folders but those of shards."""
    inner = [child for child in path.iterdir() if not child.name.startswith(".") and child.is_dir()]
    return all(role_of(child.name) for child in inner) and not any(
        one.is_dir() for child in inner for one in child.iterdir()
    )


def _archives(paths: Sequence[Path], name: str, where: str, progress: Progress | None) -> Contents:
    index = index_archives(paths, where, progress)
    if has_labels(index):
        return read_samples(index, name, declared_classes(paths[0]))
    if len(paths) > 1:
        index = _by_role(index)
    return read_split_folders(index, name) or read_class_folders(index, name) or _unknown(index)


def _by_role(index: Index) -> Index:
    """The same, the folder of every archive called by what the archive is for."""
    roles = [role_of_shard(path) or "train" for path in index.archives]
    names = list(zip(archive_folders(index.archives), roles, strict=True))
    folders = []
    for path in index.folders:
        found = next((one for one in names if path == one[0] or path.startswith(f"{one[0]}/")), None)
        folders.append(path if found is None else found[1] + path[len(found[0]) :])
    return replace(index, folders=tuple(folders))


def _unknown(index: Index) -> Contents:
    tops = (path.partition("/")[0] for path in map(index.name, range(len(index))))
    found = list(dict.fromkeys([path.partition("/")[0] for path in index.folders if path] + list(islice(tops, 1000))))
    if not found:
        raise DataError(f"{index.where}: empty; {UNDERSTOOD}")
    raise DataError(f"{index.where}: holds {shown(', '.join(found[:5]))}; {UNDERSTOOD}")
