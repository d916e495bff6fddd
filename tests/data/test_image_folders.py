"""Folders of image files: layouts, colours, broken images, odd names."""

from __future__ import annotations

import io
import os
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_sets import encoded, picture, pictures, png, write_folder, write_tar
from numpy.typing import NDArray
from PIL import Image

from convjit.data import Images, open_dataset
from convjit.data.dataset import in_memory
from convjit.errors import DataError


def refused(path: Path, says: str) -> str:
    with pytest.raises(DataError, match=says) as caught:
        open_dataset(path)
    assert "\n" not in str(caught.value) and str(caught.value).startswith(str(path))
    return str(caught.value)


def array(data: bytes) -> NDArray[Any]:
    pixels = np.asarray(Image.open(io.BytesIO(data)))
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def test_a_folder(tmp_path: Path) -> None:
    files = pictures()
    calls: list[tuple[int, int]] = []
    dataset = open_dataset(
        write_folder(tmp_path / "pets", files), progress=lambda done, total: calls.append((done, total))
    )
    assert dataset.name == "pets" and dataset.classes == ("cat", "dog") and dataset.shape == (3, 6, 5)
    assert dataset.train.labels.tolist() == [0] * 4 + [1] * 4 and dataset.test.labels.tolist() == [0, 0, 1, 1]
    assert np.array_equal(in_memory(dataset.train).pixels[5], array(files["train/dog/0001.png"]))
    assert np.array_equal(in_memory(dataset.test).pixels[1], array(files["test/cat/0001.png"]))
    assert calls[-1][0] == calls[-1][1] > 0


def test_every_form_gives_the_same_fingerprint(tmp_path: Path) -> None:
    files = pictures()
    below = {f"pets/{name}": data for name, data in files.items()}
    backwards = dict(reversed(below.items()))
    paths = [write_folder(tmp_path / "a", files), write_folder(tmp_path / "b", below)]
    paths += [write_tar(tmp_path / f"c.tar{end}", backwards, f"w{mode}") for end, mode in (("", ""), (".gz", ":gz"))]
    paths += [write_tar(tmp_path / f"c.tar.{end}", files, f"w:{end}") for end in ("xz", "bz2")]
    paths.append(write_tar(tmp_path / "d.tar", {f"./{name}": data for name, data in files.items()}))
    assert len({open_dataset(path).fingerprint for path in paths}) == 1
    assert open_dataset(paths[3]).name == "c"


def test_large_images_are_decoded_in_threads(tmp_path: Path) -> None:
    files = {
        f"{split}/c/{i}.jpg": picture(i, (120, 110), kind="JPEG") for split in ("train", "test") for i in range(300)
    }
    dataset = open_dataset(write_folder(tmp_path / "x", files))
    names = sorted(name for name in files if name.startswith("train"))
    for index in (0, 1, 150, 299):
        assert np.array_equal(in_memory(dataset.train).pixels[index], array(files[names[index]]))


def test_kinds_of_images(tmp_path: Path) -> None:
    kinds = [("JPEG", "RGB"), ("JPEG", "L"), ("JPEG", "CMYK"), ("PNG", "RGBA"), ("PNG", "LA"), ("PNG", "L")]
    kinds += [("BMP", "RGB"), ("PPM", "RGB"), ("PPM", "L"), ("WEBP", "RGB")]
    files = {f"train/c/{i}.x": picture(i, kind=kind, mode=mode) for i, (kind, mode) in enumerate(kinds)}
    palette, deep, bits = io.BytesIO(), io.BytesIO(), io.BytesIO()
    Image.fromarray(np.zeros((6, 5), np.uint8)).convert("P").save(palette, "PNG", transparency=b"\0\1")
    Image.fromarray(np.full((6, 5), 0x8123, np.uint16)).save(deep, "PNG")
    Image.new("1", (5, 6), 1).save(bits, "PNG")
    files |= {f"train/c/x{i}": file.getvalue() for i, file in enumerate((palette, deep, bits))}
    files["test/c/1.png"] = picture(99)
    dataset = open_dataset(write_folder(tmp_path / "x", files))
    assert dataset.shape == (3, 6, 5) and len(dataset.train) == len(files) - 1 and not dataset.skipped
    grey = in_memory(dataset.train).pixels[1]
    assert np.array_equal(grey[0], grey[1]) and np.array_equal(grey[0], array(files["train/c/1.x"])[0])
    assert (in_memory(dataset.train).pixels[-2] == 0x81).all() and (in_memory(dataset.train).pixels[-1] == 255).all()


def test_a_grey_set_has_one_channel(tmp_path: Path) -> None:
    files = {f"{split}/c/{i}.png": picture(i, mode="L") for split in ("train", "test") for i in range(3)}
    assert open_dataset(write_folder(tmp_path / "x", files)).shape == (1, 6, 5)


def test_other_sizes_stay_encoded(tmp_path: Path) -> None:
    # One among the images that are looked at first, one that only shows when all are decoded.
    many = pictures(train=300)
    for name, files in (("few", pictures()), ("many", many)):
        odd = "train/dog/0002.png"
        dataset = open_dataset(write_folder(tmp_path / name, files | {odd: picture(0, (7, 5))}))
        assert not isinstance(dataset.train, Images) and dataset.classes == ("cat", "dog")
        names = [encoded(dataset.train).name(i) for i in range(len(dataset.train))]
        assert names == sorted(one for one in files if one.startswith("train"))
        assert encoded(dataset.train).read(names.index(odd)) == picture(0, (7, 5))
        assert (
            dataset.train.labels.tolist() == ["dog" in one for one in names] and encoded(dataset.train).targets is None
        )


def test_broken_images_are_named_and_skipped(tmp_path: Path) -> None:
    bad = {"train/cat/html.jpg": b"<html>", "test/dog/cut.png": picture(1)[:60], "train/dog/empty.jpg": b""}
    bad["train/cat/movie.gif"] = picture(0, kind="GIF", mode="L")
    path = write_folder(tmp_path / "x", pictures() | bad)
    (path / "train" / "dog" / "gone.jpg").symlink_to("nowhere")
    (path / "train" / "dog" / "circle.jpg").symlink_to("circle.jpg")
    for _ in range(2):
        dataset = open_dataset(path)
        assert len(dataset.train) == 8 and len(dataset.test) == 4
        assert sorted(line.split(":")[0] for line in dataset.skipped) == sorted(
            [*bad, "train/dog/gone.jpg", "train/dog/circle.jpg"]
        )
        assert "train/cat/html.jpg: is none of JPEG, PNG, BMP, PPM, WEBP" in dataset.skipped


@pytest.mark.parametrize(("good", "bad", "fine"), [(20, 10, True), (20, 11, False), (990, 10, True), (1089, 11, True)])
def test_how_many_may_be_broken(tmp_path: Path, good: int, bad: int, fine: bool) -> None:
    image = picture(0, (2, 2))
    files = {f"train/c/{i:05}": image for i in range(good)} | {f"train/c/x{i}": b"bad" for i in range(bad)}
    path = write_tar(tmp_path / "x.tar", files | {"test/c/1": image})
    if fine:
        assert len(open_dataset(path).skipped) == bad
    else:
        refused(path, f"{bad} of {good + bad + 1} images are broken, first train/c/x0: is none of")


def test_just_over_one_percent(tmp_path: Path) -> None:
    image = picture(0, (2, 2))
    files = {f"train/c/{i:05}": image for i in range(1187)} | {f"train/c/x{i}": b"bad" for i in range(12)}
    assert open_dataset(write_tar(tmp_path / "1.tar", files | {"test/c/1": image})).skipped
    files.pop("train/c/00000")
    refused(write_tar(tmp_path / "2.tar", files | {"test/c/1": image}), "12 of 1199 .* allowed are 1 %")


def test_a_hundred_in_a_row(tmp_path: Path) -> None:
    image = picture(0, (2, 2))
    for count, says in ((99, "99 of 102 images"), (100, "100 broken images in a row")):
        files = {"train/c/0": image, "test/c/0": image} | {f"train/c/x{i}": b"bad" for i in range(count)}
        refused(write_tar(tmp_path / f"{count}.tar", files | {"train/c/y": image}), says)


def test_hidden_files_and_others_are_ignored(tmp_path: Path) -> None:
    extra = [
        "train/cat/.DS_Store",
        "train/.ipynb_checkpoints/x.png",
        "train/cat/Thumbs.db",
        "__MACOSX/train/cat/x",
        ".git/x",
    ]
    extra += ["README.md", "train/labels.csv", "doc/licence.txt", "train/cat/._0001.png"]
    path = write_folder(tmp_path / "x", pictures() | dict.fromkeys(extra, b"x"))
    dataset = open_dataset(path)
    assert dataset.classes == ("cat", "dog") and not dataset.skipped and len(dataset.train) == 8


def test_layout_errors(tmp_path: Path) -> None:
    files = pictures()
    folder = write_folder(tmp_path / "empty class", files)
    (folder / "train" / "bird").mkdir()
    refused(folder, "class folder 'train/bird' has no images")
    refused(
        write_folder(tmp_path / "bad class", files | {"train/bird/x.png": b"x"}),
        "'bird' has only broken images",
    )
    refused(
        write_folder(tmp_path / "test only", files | {"test/bird/x.png": picture(0)}),
        "'bird' is in 'test/bird' only.*cat, dog",
    )
    refused(write_folder(tmp_path / "deep", files | {"train/cat/old/x.png": picture(0)}), "'train/cat/old' lies deeper")
    refused(
        write_folder(tmp_path / "two", files | {"old/train/cat/x.png": picture(0)}), "one 'train' and one 'test' folder"
    )
    no_test = {name: data for name, data in files.items() if name.startswith("train")}
    assert len(open_dataset(write_folder(tmp_path / "no test", no_test)).test) > 0
    refused(
        write_folder(tmp_path / "flat", {"train/1.png": picture(0), "test/1.png": picture(1)}),
        "no images in 'train'; allowed",
    )


def test_what_cannot_be_understood(tmp_path: Path) -> None:
    refused(tmp_path / "absent", "no such file or folder")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "empty; understood are <class>")
    refused(write_folder(tmp_path / "other", {"report.doc": b"x"}), "holds report.doc; understood are")
    for name, data in (("x.zip", b"PK\3\4"), ("x.png", picture(0)), ("none", b"")):
        (tmp_path / name).write_bytes(data)
        refused(tmp_path / name, "neither a folder, a tar archive nor a list; understood are")
    with pytest.raises(DataError, match="no such") as caught:
        open_dataset(tmp_path / "a\nb")
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match=r"no such|cannot be read"):
        open_dataset("/dev/null/x")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path: Path) -> None:
    path = write_folder(tmp_path / "x", pictures())
    (path / "train").chmod(0)
    try:
        refused(path, "cannot be read")
    finally:
        (path / "train").chmod(0o700)


def test_odd_names(tmp_path: Path) -> None:
    image, accent = picture(0), "café"
    files = {
        f"train/{unicodedata.normalize('NFD', accent)}/a b.png": image,
        f"test/{unicodedata.normalize('NFC', accent)}/new\nline.png": image,
        f"train/Cat/{'x' * 251}.png": image,
        "train/cat/\x1b[31m.png": b"broken",
        "train/cat/1": image,
        "train/<script>/1": image,
    }
    dataset = open_dataset(write_folder(tmp_path / "x", files))
    assert dataset.classes == ("<script>", "Cat", "café", "cat")
    assert dataset.test.labels.tolist() == [dataset.classes.index(accent)]
    assert dataset.skipped == ("train/cat/\\x1b[31m.png: is none of JPEG, PNG, BMP, PPM, WEBP",)


def test_folders_may_be_links(tmp_path: Path) -> None:
    path = write_folder(tmp_path / "real", pictures())
    (tmp_path / "x").mkdir()
    for split in ("train", "test"):
        (tmp_path / "x" / split).symlink_to(path / split)
    (tmp_path / "x" / "loop").symlink_to(tmp_path / "x")
    (tmp_path / "real" / "train" / "dog" / ".loop").symlink_to(tmp_path / "x")
    assert len(open_dataset(tmp_path / "x").train) == 8


def test_a_set_with_bombs_gives_no_warning(tmp_path: Path) -> None:
    files = pictures() | {"train/cat/a.png": png(50_000, 50_000), "train/cat/b.png": png(10_000, 10_000)}
    assert len(open_dataset(write_folder(tmp_path / "x", files)).skipped) == 2
