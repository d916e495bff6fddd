"""Odd names and places (gate D5): a defined result, or one clear line, for every form of a set."""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from image_sets import encoded, picture, write_folder, write_tar

from convjit.data import Dataset, open_dataset
from convjit.data.pack import Form, pack
from convjit.data.scan import scan
from convjit.errors import DataError

COMPOSED, APART = (unicodedata.normalize(form, "Übergröße é") for form in ("NFC", "NFD"))
NAMES = {
    "spaces": " two  spaces .png",
    "newline": "new\nline.png",
    "escape": "\x1b[31mred\x07.png",
    "composed": f"{COMPOSED}.png",
    "apart": f"{APART}.png",
    "long": "n" * 251 + ".png",
    "quotes": 'it\'s "so" & <b>.png',
    "comma": "a,b;c|d.png",
    "percent": "%s %(x)s {0} $HOME `id`.png",
    "dash": "-rf.png",
    "dots": "a..b...png",
    "right to left": "\u202egnp.exe.png",
    "no suffix": "0",
    "emoji": "\U0001f408\u200d\u2b1b.png",
    "backslash": "a\\..\\b.png",
    "bytes": os.fsdecode(b"caf\xe9.png"),
}


def a_set(name: str) -> dict[str, bytes]:
    """A set whose images and classes have this name."""
    stem = name.removesuffix(".png")
    return {
        f"train/cat/{name}": picture(1),
        f"train/{stem}/{name}": picture(2),
        "train/cat/x.png": picture(3, (7, 7)),
        f"val/{stem}/{name}": picture(4),
    }


def as_folder(folder: Path, files: dict[str, bytes]) -> Path:
    return write_folder(folder / "set", files)


def as_tar(folder: Path, files: dict[str, bytes]) -> Path:
    return write_tar(folder / "set.tar", files)


def as_list(folder: Path, files: dict[str, bytes]) -> Path:
    write_folder(folder / "set", files)
    rows = [{"path": name, "label": name.split("/")[1], "split": name.split("/")[0]} for name in files]
    (folder / "set" / "list.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    return folder / "set" / "list.jsonl"


def names(dataset: Dataset) -> list[str]:
    return [encoded(dataset.train).name(i) for i in range(len(dataset.train))]


@pytest.mark.parametrize("form", [as_folder, as_tar, as_list])
@pytest.mark.parametrize("kind", NAMES)
def test_names(tmp_path: Path, kind: str, form: Callable[[Path, dict[str, bytes]], Path]) -> None:
    files = a_set(NAMES[kind])
    dataset = open_dataset(form(tmp_path, files))
    assert len(dataset.train) == 3 and len(dataset.test) == 1 and len(dataset.classes) == 2
    stem = unicodedata.normalize("NFC", NAMES[kind].removesuffix(".png"))
    assert stem.strip() in [name.strip() for name in dataset.classes]
    contents = {encoded(dataset.train).read(i) for i in range(3)}
    assert contents == {data for name, data in files.items() if name.startswith("train")}
    for name in names(dataset):
        assert name.isprintable() and "\n" not in name


@pytest.mark.parametrize("kind", NAMES)
def test_names_are_scanned_and_packed(tmp_path: Path, kind: str) -> None:
    path = as_folder(tmp_path, a_set(NAMES[kind]) | {f"train/cat/bad {NAMES[kind]}"[:240]: b""})
    found = scan(path, pictures=True)
    assert len(found.broken) == 1 and found.broken[0].isprintable()
    packed = pack(path, tmp_path / "packed", Form())
    assert packed.images == 4 and open_dataset(packed.folder).classes == open_dataset(path).classes


def test_accents_are_one_class_in_any_form(tmp_path: Path) -> None:
    files = {f"train/{APART}/1": picture(1), f"train/{COMPOSED}/2": picture(2), f"val/{COMPOSED}/1": picture(3)}
    for form in (as_folder, as_tar, as_list):
        assert open_dataset(form(tmp_path, files)).classes == (COMPOSED,)


def test_names_that_differ_by_case_are_two_classes(tmp_path: Path) -> None:
    files = {f"train/{name}/1": picture(i) for i, name in enumerate(("cat", "Cat", "CAT"))} | {"val/Cat/1": picture(5)}
    for form in (as_folder, as_tar, as_list):
        dataset = open_dataset(form(tmp_path, files))
        assert dataset.classes == ("CAT", "Cat", "cat") and dataset.test.labels.tolist() == [1]


def test_hidden_things_are_left_out(tmp_path: Path) -> None:
    files = {f"{name}/{i}.png": picture(i) for i in range(4) for name in ("cat", "dog")}
    extra = [".ipynb_checkpoints/1.png", "cat/.ipynb_checkpoints/1.png", ".git/objects/x", "cat/.DS_Store"]
    extra += ["cat/Thumbs.db", "__MACOSX/cat/1.png", "cat/._1.png", ".cat/1.png"]
    for form in (as_folder, as_tar):
        dataset = open_dataset(form(tmp_path, files | dict.fromkeys(extra, b"x")))
        assert dataset.classes == ("cat", "dog") and len(dataset.train) + len(dataset.test) == 8
        assert not dataset.skipped


def test_links_in_a_circle(tmp_path: Path) -> None:
    path = write_folder(tmp_path / "x", {f"{name}/{i}.png": picture(i) for i in range(4) for name in ("cat", "dog")})
    (path / "cat" / "self.png").symlink_to("self.png")
    (path / "cat" / "lost.png").symlink_to("nowhere.png")
    dataset = open_dataset(path)
    assert len(dataset.train) + len(dataset.test) == 8 and len(dataset.skipped) == 2
    # A folder in itself, many times: not walked again and again.
    for i in range(100):
        (path / f"loop{i}").symlink_to(path)
    with pytest.raises(DataError, match="class folder 'loop0' has no images, as have 99 others"):
        open_dataset(path)


def test_what_is_wrong_with_classes_is_named(tmp_path: Path) -> None:
    files = {f"{use}/{name}/1.png": picture(i) for i, name in enumerate(("cat", "dog")) for use in ("train", "val")}
    cases = {
        "only to validate": (files | {"val/ape/1.png": picture(9)}, "class 'ape' is in 'val/ape' only"),
        "deeper": (files | {"train/cat/old/1.png": picture(9)}, "'train/cat/old' lies deeper than the classes"),
        "no classes": ({"train/1.png": picture(1), "val/1.png": picture(2)}, "no images in 'train'"),
    }
    for name, (some, says) in cases.items():
        for form in (as_folder, as_tar):
            (tmp_path / name).mkdir(exist_ok=True)
            with pytest.raises(DataError, match=says) as caught:
                open_dataset(form(tmp_path / name, some))
            assert "\n" not in str(caught.value)
    folder = as_folder(tmp_path, files)
    for use in ("train", "val"):
        (folder / use / "ape").mkdir()
        says = "class folder 'train/ape' has no images" if use == "train" else "class 'ape' is in 'val/ape' only"
        with pytest.raises(DataError, match=says):
            open_dataset(folder)
        (folder / use / "ape" / ".DS_Store").touch()
        with pytest.raises(DataError, match=says):
            open_dataset(folder)
        (folder / use / "ape" / ".DS_Store").unlink()
        (folder / use / "ape").rmdir()


def test_no_file_outside_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list may name what it likes: only files below it are looked at."""
    secret = tmp_path / "secret.png"
    secret.write_bytes(picture(1))
    folder = write_folder(tmp_path / "x", {f"{i}.png": picture(i) for i in range(4)})
    for place in ("../secret.png", str(secret), "a/../../secret.png", "/etc/passwd", "/dev/zero", "~/x", "file:///x"):
        (folder / "list.csv").write_text(f"0.png,a\n1.png,b\n2.png,a\n3.png,b\n{place},a\n")
        if place.startswith(("~", "file")):
            assert len(open_dataset(folder / "list.csv").skipped) == 1
            continue
        with pytest.raises(DataError, match="is not below the list's folder"):
            open_dataset(folder / "list.csv")
