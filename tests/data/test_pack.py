"""Packing a set: what is in the shards, that it can be killed, and that the source stays as it is."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
from image_sets import encoded, picture, write_folder
from PIL import Image

import convjit
from convjit.data import open_dataset
from convjit.data.pack import Form, pack
from convjit.errors import DataError


def photographs(count: int = 30) -> dict[str, bytes]:
    """Images of three kinds: small ones, large ones, and one that lies on its side."""
    files = {}
    for i in range(count):
        size = (20, 30) if i % 3 == 0 else (60, 90 + i)
        files[f"train/{('cat', 'dog')[i % 2]}/{i:03}.jpg"] = picture(i, size, kind="JPEG")
    for i in range(6):
        files[f"val/{('cat', 'dog')[i % 2]}/{i:03}.png"] = picture(100 + i, (50, 40))
    exif = Image.Exif()
    exif[0x0112] = 6
    files["train/cat/turned.jpg"] = picture(50, (64, 128), kind="JPEG", exif=exif)
    return files


def state(folder: Path) -> dict[str, tuple[str, int]]:
    """Contents and times of change of everything in a folder."""
    return {
        str(path.relative_to(folder)): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def shards(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.tar"))}


FORM = Form(side=32, per_shard=8)


def test_what_is_in_the_shards(tmp_path: Path) -> None:
    files = photographs()
    source = write_folder(tmp_path / "x", files)
    before = state(source)
    packed = pack(source, tmp_path / "packed", FORM, workers=2)
    assert state(source) == before
    assert (packed.images, packed.fresh, packed.shards, packed.skipped) == (37, 37, 5, ())
    dataset = open_dataset(tmp_path / "packed")
    assert dataset.classes == ("cat", "dog") and len(dataset.train) == 31 and len(dataset.test) == 6
    assert not hasattr(dataset.train, "pixels")
    small = {data for name, data in files.items() if "jpg" in name and min(Image.open(io.BytesIO(data)).size) <= 32}
    kept, sizes = set(), []
    for i in range(31):
        data = encoded(dataset.train).read(i)
        kept.add(data)
        sizes.append(Image.open(io.BytesIO(data)).size)
        assert "exif" not in Image.open(io.BytesIO(data)).info
    assert small <= kept
    # 128 wide and 64 high, turned by a quarter.
    assert (32, 64) in sizes and all(min(size) == 32 for size in sizes if size != (30, 20))
    by_class = np.bincount(np.asarray(dataset.train.labels))
    assert by_class.tolist() == [16, 15]
    with tarfile.open(tmp_path / "packed" / "train-000001.tar") as tar:
        assert tar.getnames()[:2] == ["00000008.jpg", "00000008.cls"]
        assert {(member.mtime, member.uid, member.mode) for member in tar} == {(0, 0, 0o644)}


def test_the_same_bytes_for_any_workers_and_again(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "x", photographs())
    pack(source, tmp_path / "a", FORM, workers=1)
    pack(source, tmp_path / "b", FORM, workers=4)
    assert shards(tmp_path / "a") == shards(tmp_path / "b")
    before = state(tmp_path / "a")
    again = pack(source, tmp_path / "a", FORM)
    assert again.fresh == 0 and again.images == 37
    assert {n: s for n, s in state(tmp_path / "a").items() if n.endswith(".tar")} == {
        n: s for n, s in before.items() if n.endswith(".tar")
    }


def test_a_killed_pack_goes_on(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "x", photographs(200))
    pack(source, tmp_path / "whole", FORM, workers=1)
    command = [sys.executable, "-m", "convjit", "data", "pack", str(source), str(tmp_path / "killed"), "--size", "32"]
    command += ["--per-shard", "8", "--workers", "2"]
    environment = {**os.environ, "PYTHONPATH": str(Path(convjit.__file__).parents[1])}
    for _ in range(3):
        before = len(shards(tmp_path / "killed"))
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while process.poll() is None and len(shards(tmp_path / "killed")) <= before and time.monotonic() < deadline:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert len(shards(tmp_path / "killed")) > 0
    pack(source, tmp_path / "killed", FORM)
    assert shards(tmp_path / "killed") == shards(tmp_path / "whole")
    assert [path.name for path in (tmp_path / "killed" / ".pack").iterdir()] == ["lock"]


def test_broken_images_are_named(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "x", photographs() | {"train/cat/bad <1>.jpg": b"<html>"})
    packed = pack(source, tmp_path / "a", FORM)
    assert packed.skipped == ("train/cat/bad <1>.jpg: is none of JPEG, PNG, BMP, PPM, WEBP",)
    assert (tmp_path / "a" / "skipped.txt").read_text() == packed.skipped[0] + "\n"
    assert pack(source, tmp_path / "a", FORM).skipped == packed.skipped and packed.images == 37
    write_folder(source, {f"train/cat/bad {i}.jpg": b"" for i in range(20)})
    with pytest.raises(DataError, match="images are broken; allowed are 1 %"):
        pack(source, tmp_path / "b", FORM)


def test_several_labels(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "x", {f"{i}.png": picture(i, (40, 50)) for i in range(4)})
    (source / "labels.csv").write_text("path,labels,split\n0.png,a|b,\n1.png,a,\n2.png,,\n3.png,b,val\n")
    pack(source / "labels.csv", tmp_path / "a", FORM)
    dataset = open_dataset(tmp_path / "a")
    targets = encoded(dataset.train).targets
    assert targets is not None and sorted(targets.tolist()) == [[0, 0], [1, 0], [1, 1]]


def test_places_that_are_refused(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "x", photographs())
    full = write_folder(tmp_path / "full", {"letter.txt": b"x"})
    for place, says in (
        (source, "lies in the set"),
        (source / "inner" / "packed", "lies in the set"),
        (full, "is not empty, and nothing was packed"),
        (full / "letter.txt", "is no folder"),
        (full / "letter.txt" / "below", "cannot be written|is no folder"),
    ):
        with pytest.raises(DataError, match=says):
            pack(source, place, FORM)
    assert (full / "letter.txt").read_bytes() == b"x" and not (source / "inner").exists()
    pack(source, tmp_path / "a", FORM)
    for form, says in ((Form(side=40, per_shard=8), "begun with side 32, now 40"), (Form(32, 80, 8), "quality 90")):
        with pytest.raises(DataError, match=says):
            pack(source, tmp_path / "a", form)
    write_folder(source, {"train/dog/new.jpg": picture(3)})
    with pytest.raises(DataError, match="begun with other images"):
        pack(source, tmp_path / "a", FORM)
    (tmp_path / "a" / "pack.json").write_text("[]")
    with pytest.raises(DataError, match="damaged, or not from packing"):
        pack(source, tmp_path / "a", FORM)


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_folder(tmp_path / "x", photographs())

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(tarfile.TarFile, "addfile", full)
        with pytest.raises(DataError, match="cannot be written: No space left on device; make room"):
            pack(source, tmp_path / "a", FORM)
    assert not shards(tmp_path / "a") and not list((tmp_path / "a" / ".pack").glob("new-*"))
    assert pack(source, tmp_path / "a", FORM).images == 37
    assert json.loads((tmp_path / "a" / "classes.json").read_text()) == ["cat", "dog"]
