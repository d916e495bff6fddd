"""Class folders: <class>/1.jpg, or train/<class>/1.jpg and val/<class>/ or test/<class>/; perhaps all in one folder."""

from __future__ import annotations

import numpy as np

from convjit.data.index import Index
from convjit.data.layouts.contents import Contents, class_name, role_of, rows_by_folder, some
from convjit.data.stream import shown
from convjit.errors import DataError

__all__ = ["LAYOUT", "read_class_folders", "read_split_folders"]

LAYOUT = "<class>/*.jpg (or .png, .bmp, .ppm, .webp), or train/<class>/* with val/<class>/* or test/<class>/*"


def read_split_folders(index: Index, name: str) -> Contents | None:
    """A set with a folder to train on, which may have one to test on: val is taken before test. None if it has none."""
    top = _top_of_splits(index)
    if top is None:
        return None
    parts: dict[str, dict[int, str]] = {}
    for number, path in enumerate(index.folders):
        rest = _below(path, top)
        if rest is None or not rest or (role := role_of(rest[0])) is None:
            continue
        if len(rest) > 2:
            raise DataError(f"{index.where}: '{shown(path)}' lies deeper than the classes; allowed is {LAYOUT}")
        folders = parts.setdefault(role, {})
        if len(rest) == 2:
            folders[number] = class_name(rest[1])
    if not parts.get("train"):
        raise DataError(f"{index.where}: no images in 'train'; allowed is {LAYOUT}")
    tested = next((parts[role] for role in ("val", "test") if parts.get(role)), None)
    classes = tuple(sorted(set(parts["train"].values())))
    labels = {name: label for label, name in enumerate(classes)}
    if tested is not None and (unknown := sorted(set(tested.values()) - set(classes))):
        where = next(index.folders[number] for number, one in tested.items() if one == unknown[0])
        raise DataError(
            f"{index.where}: class '{shown(unknown[0])}' is in '{shown(where)}' only; allowed are those of train: "
            f"{some(classes)}"
        )
    check_filled(index, list(parts["train"]) + list(tested or ()))
    train, test = (
        rows_by_folder(index, {number: labels[one] for number, one in folders.items()}) if folders else None
        for folders in (parts["train"], tested)
    )
    assert train is not None
    return Contents(name, index, classes, train, test)


def read_class_folders(index: Index, name: str) -> Contents | None:
    """A set of class folders; None if there are none."""
    children: dict[str, list[int]] = {}
    for number, path in enumerate(index.folders):
        if path:
            children.setdefault(path.rpartition("/")[0], []).append(number)
    filled = set(np.unique(index.parents).tolist())
    numbers = {path: number for number, path in enumerate(index.folders)}
    top = ""
    while len(inner := children.get(top, [])) == 1 and numbers[top] not in filled:
        top = index.folders[inner[0]]
    folders = children.get(top, [])
    if len(folders) < 2:
        return None
    for number in folders:
        if deeper := children.get(index.folders[number]):
            path = shown(index.folders[deeper[0]])
            raise DataError(f"{index.where}: '{path}' lies deeper than the classes; allowed is {LAYOUT}")
    check_filled(index, folders)
    found = {number: class_name(index.folders[number].rpartition("/")[2]) for number in folders}
    classes = tuple(sorted(set(found.values())))
    train = rows_by_folder(index, {number: classes.index(one) for number, one in found.items()})
    return Contents(name, index, classes, train, None)


def check_filled(index: Index, folders: list[int]) -> None:
    """DataError if one of these class folders is empty."""
    filled = set(np.unique(index.parents).tolist())
    if empty := sorted(index.folders[number] for number in folders if number not in filled):
        more = f", as have {len(empty) - 1} others" if len(empty) > 1 else ""
        raise DataError(f"{index.where}: class folder '{shown(empty[0])}' has no images{more}; fill it or remove it")


def _below(path: str, top: str) -> list[str] | None:
    """The parts of a path below `top`; None if it is elsewhere."""
    if not top:
        return path.split("/") if path else []
    return path[len(top) + 1 :].split("/") if path.startswith(f"{top}/") else None


def _top_of_splits(index: Index) -> str | None:
    """The folder in which train and the like lie; None if there are no such."""
    tops: dict[str, list[str]] = {}
    others: dict[str, bool] = {}
    for path in index.folders:
        above, _, last = path.rpartition("/")
        if not path or path.count("/") > 1:
            continue
        if role := role_of(last):
            tops.setdefault(above, []).append(role)
        else:
            others[above] = True
    # A class may be called "test"; there is a set with splits where there is "train", or nothing else.
    found = [top for top, roles in tops.items() if "train" in roles or not others.get(top)]
    if len(found) > 1:
        one, two = (next(p for p in index.folders if _is_split(p, top)) for top in found[:2])
        raise DataError(
            f"{index.where}: images in '{shown(one)}' and '{shown(two)}'; there must be one 'train' and one 'test' "
            "folder: give the path of one set"
        )
    return found[0] if found else None


def _is_split(path: str, top: str) -> bool:
    above, _, last = path.rpartition("/")
    return above == top and role_of(last) is not None
