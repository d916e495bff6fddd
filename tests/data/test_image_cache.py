"""Decoded sets on disk: used when whole, made again when not, done without when that is impossible."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import numpy as np
import pytest
from image_sets import picture, pictures, write_folder, write_tar

from convjit.data import Dataset, Progress, images, open_dataset, sources
from convjit.data.dataset import in_memory
from convjit.data.layouts import Contents


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the sets that were decoded, in order."""
    calls: list[str] = []
    decode = images.decode_all

    def spy(contents: Contents, size: tuple[int, int], progress: Progress | None) -> Dataset | None:
        calls.append(contents.name)
        return decode(contents, size, progress)

    monkeypatch.setattr(sources, "decode_all", spy)
    return calls


def entry(cache: Path) -> Path:
    (found,) = (path for path in (cache / "images").iterdir() if path.is_dir())
    return found


def test_the_second_open_maps_the_first(tmp_path: Path, cache: Path, decoded: list[str]) -> None:
    path = write_tar(tmp_path / "x.tar", pictures())
    first, second = open_dataset(path), open_dataset(path)
    assert decoded == ["x"]
    assert (
        np.array_equal(in_memory(first.train).pixels, in_memory(second.train).pixels)
        and first.fingerprint == second.fingerprint
    )
    assert first.classes == second.classes and first.skipped == second.skipped
    assert type(in_memory(second.train).pixels) is np.ndarray and not in_memory(second.train).pixels.flags.writeable
    assert isinstance(in_memory(second.train).pixels.base, np.memmap)
    for folder in (cache, cache / "images", entry(cache)):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not list(cache.rglob("new-*"))


def test_the_name_is_the_path_s_and_the_key_the_content_s(tmp_path: Path, decoded: list[str]) -> None:
    path = write_tar(tmp_path / "x.tar", pictures())
    open_dataset(path)
    other = path.rename(tmp_path / "y.tar")
    assert open_dataset(other).name == "y" and decoded == ["x"]


def test_changes_of_the_source_are_seen(tmp_path: Path, decoded: list[str]) -> None:
    folder, tar = write_folder(tmp_path / "x", pictures()), write_tar(tmp_path / "x.tar", pictures())
    for path in (folder, tar, folder, tar):
        before = open_dataset(path).fingerprint
    assert len(decoded) == 2
    (folder / "train/cat/0000.png").write_bytes(picture(5))
    write_tar(tar, pictures() | {"train/cat/0000.png": picture(5)})
    after = {open_dataset(path).fingerprint for path in (folder, tar)}
    assert len(after) == 1 and before not in after and len(decoded) == 4


def test_archives_are_hashed_once(tmp_path: Path, cache: Path, decoded: list[str]) -> None:
    path = write_tar(tmp_path / "x.tar", pictures())
    open_dataset(path)
    index = json.loads((cache / "images" / "index.json").read_text())
    assert list(index) == [str(path)] and index[str(path)][0] == path.stat().st_size
    for text in ("", "[]", "{", json.dumps({str(path): 3}), json.dumps({str(path): [path.stat().st_size, 1, "0"]})):
        (cache / "images" / "index.json").write_text(text)
        open_dataset(path)
    assert decoded == ["x"]


def damage(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    if how == "gone":
        path.unlink()
        return
    if how == "cut":
        del data[-1:]
    elif how == "empty":
        data.clear()
    elif how == "flipped":
        data[-3] ^= 1
    elif how == "header":
        data[8:60] = b"{'descr': '|O', 'fortran_order': False, 'shape': (3,)".ljust(52)[:52]
    os.truncate(path, 0)
    path.write_bytes(data)


@pytest.mark.parametrize("how", ["gone", "cut", "empty", "flipped", "header"])
@pytest.mark.parametrize("name", ["train-pixels.npy", "train-labels.npy", "test-pixels.npy", "about.json"])
def test_damaged_entries_are_made_again(tmp_path: Path, cache: Path, decoded: list[str], name: str, how: str) -> None:
    path = write_tar(tmp_path / "x.tar", pictures())
    good = open_dataset(path).fingerprint
    damage(entry(cache) / name, how)
    for _ in range(2):
        dataset = open_dataset(path)
        assert dataset.fingerprint == good and len(dataset.train) == 8
    assert decoded == ["x", "x"]


def test_classes_are_checked_too(tmp_path: Path, cache: Path, decoded: list[str]) -> None:
    path = write_tar(tmp_path / "x.tar", pictures())
    open_dataset(path)
    about = entry(cache) / "about.json"
    about.write_text(about.read_text().replace("cat", "cow"))
    assert open_dataset(path).classes == ("cat", "dog") and len(decoded) == 2


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decoded: list[str]) -> None:
    path = write_tar(tmp_path / "x.tar", pictures())
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/convjit")):
        monkeypatch.setenv("CONVJIT_CACHE", str(place))
        assert len(open_dataset(path).train) == 8
    assert decoded == ["x"] * 3


def test_a_full_disk(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, decoded: list[str]) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    path = write_tar(tmp_path / "x.tar", pictures())
    assert len(open_dataset(path).train) == 8 and len(open_dataset(path).train) == 8
    assert decoded == ["x", "x"] and not [path for path in (cache / "images").iterdir() if path.is_dir()]


def test_litter_of_killed_processes_is_swept(tmp_path: Path, cache: Path) -> None:
    old, young = cache / "images" / "new-old", cache / "images" / "new-young"
    for folder in (old, young):
        (folder / "key").mkdir(parents=True)
    os.utime(old, (1, 1))
    open_dataset(write_tar(tmp_path / "x.tar", pictures()))
    assert not old.exists() and young.exists()


def test_skipped_images_are_remembered(tmp_path: Path, decoded: list[str]) -> None:
    path = write_tar(tmp_path / "x.tar", pictures() | {"train/cat/bad.png": b"x"})
    assert open_dataset(path).skipped == open_dataset(path).skipped != ()
    assert len(decoded) == 1
