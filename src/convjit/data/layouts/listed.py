"""The files that a list names, as an index: paths start from the list's folder, and stay in it."""

from __future__ import annotations

import os
from pathlib import Path

from convjit.data.folder_index import FolderFiles
from convjit.data.index import Collector, Index
from convjit.data.stream import shown
from convjit.errors import DataError

__all__ = ["ListedFiles"]

_MOST_FOLDERS = 100_000


class ListedFiles:
    """Takes files below the folder `root`, one by one."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._collector = Collector()
        self._collector.folder("")
        # Folders as lists write them, and what they are.
        self._folders: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._collector)

    def add(self, place: str, path: Path) -> None:
        """A file that the list at `path` names; one that is missing counts as a broken image."""
        base = place.rpartition("/")[2]
        above = place[: len(place) - len(base)]
        folder = self._folders.get(above)
        if folder is None or base in ("", ".", "..") or "\0" in base:
            folder, _, inner = _inside(place, self._root, path).rpartition("/")
            if inner == base and len(self._folders) < _MOST_FOLDERS:
                self._folders[above] = folder
            base = inner
        try:
            status = os.stat(f"{self._root}/{folder}/{base}")  # noqa: PTH116 - a third of the time
            found = status.st_size, status.st_mtime_ns, status.st_dev, status.st_ino
        except OSError:
            found = 0, 0, -1, -1
        self._collector.add(folder, base.encode("utf-8", "surrogateescape"), *found)

    def finish(self, where: str) -> Index:
        """All of them; `where` is the list, for messages."""
        return self._collector.finish(where, FolderFiles(self._root))


def _inside(place: str, root: Path, path: Path) -> str:
    """A path relative to the list's folder; DataError if it leads out of it."""
    if "\0" in place:
        raise DataError(f"{shown(path)}: '{shown(place)}' is no path")
    place = place.replace("\\", "/") if os.sep == "\\" else place
    if place.startswith("/"):
        base = f"{root.absolute()}/"
        if not place.startswith(base):
            raise _outside(place, path)
        place = place[len(base) :]
    parts = [part for part in place.split("/") if part not in ("", ".")]
    if ".." in parts or not parts:
        raise _outside(place, path)
    return "/".join(parts)


def _outside(place: str, path: Path) -> DataError:
    return DataError(
        f"{shown(path)}: '{shown(place)}' is not below the list's folder; allowed are paths in it: put the list above "
        "its images"
    )
