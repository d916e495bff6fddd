"""Every layout that a path can lead to: what is found, and what is said of what cannot be used."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_sets import encoded, picture, pictures, write_folder, write_tar
from matlab_files import structures

from convjit.data import Dataset, open_dataset
from convjit.errors import DataError


def refused(path: Path, says: str) -> None:
    with pytest.raises(DataError, match=says) as caught:
        open_dataset(path)
    assert "\n" not in str(caught.value) and str(caught.value).startswith(str(path).split("{")[0].split("*")[0])


def found(dataset: Dataset) -> dict[str, list[tuple[str, int]]]:
    """Classes of the images by split, each with its number of images."""
    both = (("train", dataset.train.labels), ("test", dataset.test.labels))
    return {use: [(dataset.classes[i], int((labels == i).sum())) for i in np.unique(labels)] for use, labels in both}


def sizes() -> dict[str, bytes]:
    """The set of `pictures`, one of them larger, so that it stays encoded."""
    return pictures() | {"train/cat/0000.png": picture(5, (9, 9))}


@pytest.mark.parametrize("words", [("train", "val"), ("train", "valid"), ("train", "validation"), ("Training", "TEST")])
def test_names_of_splits(tmp_path: Path, words: tuple[str, str]) -> None:
    files = {name.replace("train", words[0]).replace("test", words[1]): data for name, data in pictures().items()}
    folder, tar = write_folder(tmp_path / "x", files), write_tar(tmp_path / "x.tar", files)
    assert open_dataset(folder).fingerprint == open_dataset(tar).fingerprint
    assert found(open_dataset(folder)) == {"train": [("cat", 4), ("dog", 4)], "test": [("cat", 2), ("dog", 2)]}


def test_val_goes_before_test(tmp_path: Path) -> None:
    files = pictures() | {"val/cat/1.png": picture(1), "val/dog/1.png": picture(2)}
    assert found(open_dataset(write_folder(tmp_path / "x", files)))["test"] == [("cat", 1), ("dog", 1)]


@pytest.mark.parametrize("top", ["", "pets/", "data/pets/"])
def test_class_folders(tmp_path: Path, top: str) -> None:
    files = {top + name.removeprefix("train/"): data for name, data in pictures(train=40, test=0).items()}
    folder = write_folder(tmp_path / "x", files | {"README.md": b""} if not top else files)
    tar = write_tar(tmp_path / "x.tar.gz", dict(reversed(files.items())), "w:gz")
    assert open_dataset(folder).fingerprint == open_dataset(tar).fingerprint
    counts = found(open_dataset(folder))
    for name, (train, test) in zip(("cat", "dog"), zip(counts["train"], counts["test"], strict=True), strict=True):
        assert (train[0], test[0]) == (name, name) and train[1] + test[1] == 40 and 1 <= test[1] <= 12


def test_class_folders_that_cannot_be_used(tmp_path: Path) -> None:
    files = {"cat/1.png": picture(1), "dog/1.png": picture(2)}
    refused(write_folder(tmp_path / "deep", files | {"dog/old/1.png": picture(3)}), "'dog/old' lies deeper")
    (write_folder(tmp_path / "empty", files) / "bird").mkdir()
    refused(tmp_path / "empty", "class folder 'bird' has no images")
    refused(write_folder(tmp_path / "one", {"cat/1.png": picture(1)}), "holds cat; understood are")
    refused(write_folder(tmp_path / "flat", {"1.png": picture(1), "2.png": picture(1)}), "holds 1.png, 2.png; under")
    refused(write_folder(tmp_path / "few", files), "2 images are too few to set some apart to test on")


def shard(kind: str, count: int = 6, start: int = 0) -> dict[str, bytes]:
    """Members of a shard, with labels of one kind."""
    files = {}
    for i in range(start, start + count):
        files[f"{i:04}.png"] = picture(i, (6, 5 + i % 2))
        names = ("cat", "dog")
        label: dict[str, tuple[str, Any]] = {
            "number": ("cls", str(i % 2)),
            "name": ("cls", f"{names[i % 2]}\n"),
            "json": ("json", json.dumps({"label": names[i % 2], "caption": "x"})),
            "list": ("json", json.dumps({"labels": [names[i % 2]]})),
        }
        end, text = label[kind]
        files[f"{i:04}.{end}"] = text.encode()
    return files


@pytest.mark.parametrize("kind", ["number", "name", "json", "list"])
@pytest.mark.parametrize("end", ["", ".gz", ".xz"])
def test_shards(tmp_path: Path, kind: str, end: str) -> None:
    for i in range(3):
        name = f"{('train', 'train', 'val')[i]}-{i:03}.tar{end}"
        write_tar(tmp_path / name, shard(kind, start=10 * i), f"w:{end[1:]}" if end else "w")
    names = ("0", "1") if kind == "number" else ("cat", "dog")
    one = f"train-000.tar{end}"
    for path in (tmp_path, tmp_path / f"*.tar{end}", tmp_path / f"{{train-{{000..001}},val-002}}.tar{end}"):
        dataset = open_dataset(path)
        assert dataset.classes == names
        assert found(dataset) == {"train": [(names[0], 6), (names[1], 6)], "test": [(names[0], 3), (names[1], 3)]}
        assert (
            encoded(dataset.train).read(7) == picture(11, (6, 6))
            and encoded(dataset.train).name(7) == f"train-001.tar{end}/0011.png"
        )
    assert found(open_dataset(tmp_path / one))["train"][0][0] == names[0]
    assert len(open_dataset(tmp_path / one).train) + len(open_dataset(tmp_path / one).test) == 6


def test_shards_in_folders_and_names_of_classes(tmp_path: Path) -> None:
    folder = tmp_path / "x"
    folder.mkdir()
    for use, start in (("train", 0), ("val", 20)):
        (folder / use).mkdir()
        write_tar(folder / use / "0.tar", shard("number", start=start))
    (folder / "classes.json").write_text(json.dumps(["zebra", "ape"]))
    dataset = open_dataset(folder)
    assert dataset.classes == ("zebra", "ape") and dataset.train.labels.tolist() == [0, 1] * 3
    assert found(open_dataset(folder / "train" / "0.tar"))["train"][0][0] == "zebra"
    (folder / "classes.json").write_text(json.dumps(["zebra", "ape", "gnu"]))
    refused(folder, "class 'gnu' has no images to train on")
    (folder / "classes.json").write_text(json.dumps(["zebra"]))
    refused(folder, r"a label is '1'; classes.json has 1 classes: zebra")


def test_archives_of_class_folders(tmp_path: Path) -> None:
    """train.tar and val.tar of folders, as many sets are packed."""
    for use in ("train", "test"):
        files = {name.removeprefix(f"{use}/"): data for name, data in pictures().items() if name.startswith(use)}
        write_tar(tmp_path / f"{use}.tar", files)
    assert open_dataset(tmp_path).fingerprint == open_dataset(write_folder(tmp_path / "other", pictures())).fingerprint


def test_shards_that_cannot_be_used(tmp_path: Path) -> None:
    good = shard("name")
    cases = {
        "no label": (
            {"0000.png": good["0000.png"], **{k: v for k, v in good.items() if k > "0001"}},
            "0000.png has no",
        ),
        "empty": (good | {"0000.cls": b""}, "0000.cls holds ''; a label is"),
        "not text": (good | {"0000.cls": b"\xff\xfe"}, "neither text nor JSON"),
        "json": ({**shard("json"), "0000.json": b"{"}, "neither text nor JSON"),
        "key": ({**shard("json"), "0000.json": b'{"caption": "x"}'}, "has caption; one of label, labels"),
        "value": ({**shard("json"), "0000.json": b'{"label": {"a": 1}}'}, "a label is a class's number or name"),
        "deep json": ({**shard("json"), "0000.json": b"[" * 100_000}, "neither text nor JSON"),
    }
    for name, (files, says) in cases.items():
        refused(write_tar(tmp_path / f"{name}.tar", files), says)
    refused(tmp_path / "{a,b}.tar", "a.tar is missing")
    refused(tmp_path / "nothing-*.tar", "no archive fits this pattern")
    refused(tmp_path / "{0..999999999}.tar", "more than 100,000 archives")
    refused(tmp_path / "{0..9}{0..9}{0..9}{0..9}{0..9}{0..9}.tar", "more than 100,000 archives")


def test_a_list_beside_folders(tmp_path: Path) -> None:
    """It counts where the folders say nothing of classes, and where they do they count."""
    files = {f"{i}.png": picture(i, (6, 5 + i % 2)) for i in range(8)}
    rows = ["path,label", *(f"train/{i}.png,{'ab'[i % 2]}" for i in range(8))]
    flat = write_folder(tmp_path / "flat", {f"train/{name}": data for name, data in files.items()})
    (flat / "train.csv").write_text("\n".join(rows))
    assert open_dataset(flat).classes == ("a", "b"), "a folder of images and a list of them, as competitions have it"
    for top in ("", "around/"):
        classes = {
            f"{top}{('train', 'val')[i // 6]}/{'cd'[i % 2]}/{name}": data
            for i, (name, data) in enumerate(files.items())
        }
        folder = write_folder(tmp_path / f"folders{len(top)}", classes)
        (folder / "metadata.json").write_text('{"title": "some photographs"}')
        assert open_dataset(folder).classes == ("c", "d")


def test_lists_name_files_in_many_ways(tmp_path: Path) -> None:
    """The same folder, however it is written, and none outside."""
    write_folder(tmp_path / "x", {f"a/b/{i}.png": picture(i, (6, 5 + i % 2)) for i in range(4)} | {"c.png": picture(9)})
    ways = ["a/b/0.png", "a//b/./1.png", f"{tmp_path}/x/a/b/2.png", "./a/b/3.png", "c.png", f"{tmp_path}/x/c.png"]
    ways += ["a/b/0.png/.", "a/b/1.png/", "a/b/.", "a/b/2.png"]
    (tmp_path / "x" / "l.csv").write_text("path,label\n" + "".join(f"{way},{i % 2}\n" for i, way in enumerate(ways)))
    dataset = open_dataset(tmp_path / "x" / "l.csv", validation=None)
    names = [
        "a/b/0.png",
        "a/b/1.png",
        "a/b/2.png",
        "a/b/3.png",
        "c.png",
        "c.png",
        "a/b/0.png",
        "a/b/1.png",
        "a/b/2.png",
    ]
    train = encoded(dataset.train)
    assert [train.name(i) for i in range(10)] == [*names[:8], "a/b", names[8]]
    for bad in ("a/b/..", "a/../../y.png", "..", "/etc/passwd", "a/b/./..", "a/\0.png"):
        (tmp_path / "x" / "l.csv").write_text(f"path,label\na/b/0.png,0\n{bad},1\n")
        refused(tmp_path / "x" / "l.csv", "is not below the list's folder|is no path|damaged: line contains NUL")


def test_several_labels(tmp_path: Path) -> None:
    files = {f"{i}.png": picture(i) for i in range(4)}
    labels = [["sky"], ["sky", "sea"], [], ["sea", "sky"]]
    write_folder(tmp_path / "x", files)
    rows = [{"file_name": f"{i}.png", "labels": labels[i], "split": ("train", "val")[i == 3]} for i in range(4)]
    (tmp_path / "x" / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "x" / "b.json").write_text(json.dumps({"images": rows}))
    lines = [f"{i}.png,{'|'.join(labels[i])},{row['split']}" for i, row in enumerate(rows)]
    (tmp_path / "x" / "c.csv").write_text("\n".join(["path,labels,split", *lines]))
    hot = [f"{i}.png;{int('sea' in labels[i])};{int('sky' in labels[i])};{row['split']}" for i, row in enumerate(rows)]
    (tmp_path / "x" / "d.csv").write_text("\n".join(["path;sea;sky;split", *hot]))
    for name in ("a.jsonl", "b.json", "c.csv", "d.csv"):
        dataset = open_dataset(tmp_path / "x" / name)
        assert dataset.classes == ("sea", "sky")
        train, test = encoded(dataset.train), encoded(dataset.test)
        assert train.targets is not None and train.targets.tolist() == [[0, 1], [1, 1], [0, 0]]
        assert test.targets is not None and test.targets.tolist() == [[1, 1]]
        assert dataset.train.labels.tolist() == [1, 0 if name == "d.csv" else 1, -1]
        assert encoded(dataset.train).read(1) == files["1.png"] and encoded(dataset.train).name(1) == "1.png"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.csv", "{0},cat\n{1},dog\n{2},cat\n{3},dog\n"),
        ("labels.csv", "path,label\n{0},cat\n{1},dog\n{2},cat\n{3},dog\n"),
        ("labels.csv", "\ufeffimage,id,class\n{0},7,cat\n{1},8,dog\n{2},9,cat\n{3},9,dog\n"),
        ("labels.csv", 'breed,file\ncat,"{0}"\ndog,{1}\ncat,{2}\ndog,{3}\n'),
        ("labels.tsv", "{0}\tcat\r\n{1}\tdog\r\n{2}\tcat\r\n{3}\tdog\r\n"),
        ("labels.json", '[{{"path":"{0}","label":"cat"}},{{"path":"{1}","label":"dog"}},'
         '{{"path":"{2}","label":"cat"}},{{"path":"{3}","label":"dog"}}]'),
        ("metadata.json", '{{"{0}":"cat","{1}":"dog","{2}":"cat","{3}":["dog"]}}'),
        ("train.txt", "{0} cat\n{1} dog\n\n{2} cat\n{3} dog\n"),
    ],
)  # fmt: skip
def test_lists(tmp_path: Path, name: str, text: str) -> None:
    places = ["a b/1.png", "./2.png", str(tmp_path / "x" / "3.png"), "a b/x/../4.png".replace("x/../", "")]
    files = {"a b/1.png": picture(1), "2.png": picture(2), "3.png": picture(3), "a b/4.png": picture(4)}
    folder = write_folder(tmp_path / "x", files)
    (folder / name).write_text(text.format(*places))
    for path in (folder, folder / name):
        dataset = open_dataset(path)
        assert dataset.classes == ("cat", "dog") and len(dataset.train) + len(dataset.test) == 4
    folder.joinpath("val.csv").write_text("2.png,cat\n3.png,dog\n")
    if name.startswith("train"):
        assert found(open_dataset(folder))["test"] == [("cat", 1), ("dog", 1)]


def test_lists_that_cannot_be_used(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "x", {f"{i}.png": picture(i) for i in range(4)})
    (tmp_path / "secret.png").write_bytes(picture(9))
    cases: dict[str, tuple[str | bytes, str]] = {
        "outside.csv": ("0.png,a\n../secret.png,b", "is not below the list's folder"),
        "absolute.csv": ("0.png,a\n/etc/passwd,b", "'/etc/passwd' is not below"),
        "short.csv": ("path,label\n0.png,a\n1.png", "short.csv:3: 1 columns; there must be 2"),
        "one.csv": ("0.png\n1.png", "one column only"),
        "marks.csv": ("path,cat,dog\n0.png,1,0\n1.png,maybe,0", "marks.csv:3: 'maybe' in column 'cat'"),
        "latin.csv": (b"0.png,caf\xe9", "not UTF-8"),
        "split.csv": ("path,label,split\n0.png,a,now", "split 'now' is not known"),
        "empty.csv": ("", "one column only|lists no images"),
        "head.csv": ("path,label\n", "lists no images"),
        "new.csv": ("path,label,split\n0.png,a,train\n1.png,b,val", "class 'b' has no images to train on"),
        "bad.json": ("{", "damaged"),
        "deep.json": ("[" * 100_000, "damaged"),
        "odd.json": ('[{"a": 1}]', "has a; path and label must be there"),
        "odd.jsonl": ("[1]", "odd.jsonl:1: '\\[1\\]'; must be an object"),
        "none.jsonl": ('{"path": "0.png", "label": 1.5}', "label '1.5'"),
        "zero.csv": ("0.png,a\n1\0.png,b", "is no path|damaged"),
        "long.csv": ("0.png,a\n" + "x" * (2 << 20), "long.csv:2: a line of more than"),
        "word.txt": ("0.png\n", "a line is a path and a label"),
    }
    for name, (text, says) in cases.items():
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        refused(folder / name, says)
    (folder / "gone.csv").write_text("".join(f"{i}.png,{i % 2}\n" for i in (*range(4), 4)))
    assert open_dataset(folder / "gone.csv").skipped == ("4.png: cannot be read: No such file or directory",)


SYNSETS = {"n01440764": "tench, Tinca tinca", "n01443537": "goldfish", "n01484850": "great white shark, man-eater"}


def ilsvrc(folder: Path, *, packed: bool = True) -> Path:
    """The challenge's files, with three classes of four images, and three to validate."""
    folder.mkdir()
    order = ["n01443537", "n01484850", "n01440764"]
    rows: list[dict[str, str | float]] = [
        {"ILSVRC2012_ID": float(i + 1), "WNID": one, "words": SYNSETS[one], "gloss": "a fish"}
        for i, one in enumerate(order)
    ]
    devkit = {
        "ILSVRC2012_devkit_t12/data/meta.mat": structures(rows, packed=packed),
        "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt": b"3\n1\n2\n",
        "ILSVRC2012_devkit_t12/readme.txt": b"x",
    }
    write_tar(folder / "ILSVRC2012_devkit_t12.tar.gz", devkit, "w:gz")
    inner = {}
    for c, one in enumerate(SYNSETS):
        files = {f"{one}_{i}.JPEG": picture(10 * c + i, (20, 20 + i), kind="JPEG") for i in range(4)}
        inner[f"{one}.tar"] = write_tar(folder / "one.tar", files).read_bytes()
    (folder / "one.tar").unlink()
    write_tar(folder / "ILSVRC2012_img_train.tar", inner)
    valid = {f"ILSVRC2012_val_{i + 1:08}.JPEG": picture(90 + i, (20, 25), kind="JPEG") for i in range(3)}
    write_tar(folder / "ILSVRC2012_img_val.tar", valid)
    return folder


@pytest.mark.parametrize("packed", [True, False])
def test_ilsvrc(tmp_path: Path, packed: bool) -> None:
    folder = ilsvrc(tmp_path / "x", packed=packed)
    dataset = open_dataset(folder)
    assert dataset.classes == ("n01440764 tench", "n01443537 goldfish", "n01484850 great white shark")
    assert dataset.train.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert dataset.test.labels.tolist() == [0, 1, 2]
    assert encoded(dataset.train).read(6) == picture(12, (20, 22), kind="JPEG")
    assert encoded(dataset.train).name(6) == "ILSVRC2012_img_train.tar/n01443537/n01443537_2.JPEG"
    assert [encoded(dataset.test).read(i) for i in range(3)] == [
        picture(90 + i, (20, 25), kind="JPEG") for i in range(3)
    ]
    # The same, unpacked by hand.
    other = tmp_path / "y"
    for one in SYNSETS:
        with (
            tarfile.open(folder / "ILSVRC2012_img_train.tar") as outer,
            tarfile.open(fileobj=outer.extractfile(f"{one}.tar")) as tar,
        ):
            tar.extractall(other / "train" / one, filter="data")
    for name, place in (("img_val.tar", "val"), ("devkit_t12.tar.gz", ".")):
        with tarfile.open(folder / f"ILSVRC2012_{name}") as tar:
            tar.extractall(other / place, filter="data")
    again = open_dataset(other)
    assert again.classes == dataset.classes and again.fingerprint == dataset.fingerprint
    (folder / "ILSVRC2012_img_val.tar").unlink()
    assert len(open_dataset(folder).train) + len(open_dataset(folder).test) == 12


def test_ilsvrc_that_cannot_be_used(tmp_path: Path) -> None:
    folder = ilsvrc(tmp_path / "x")
    devkit = folder / "ILSVRC2012_devkit_t12.tar.gz"
    files = {"meta.mat": b"x" * 300, "ILSVRC2012_validation_ground_truth.txt": b"1\n"}
    write_tar(devkit, files, "w:gz")
    refused(folder, "meta.mat: cannot be understood")
    write_tar(devkit, {"meta.mat": structures([{"ILSVRC2012_ID": 1.0, "WNID": "n1", "words": "x"}])}, "w:gz")
    refused(folder, "validation_ground_truth.txt is missing")
    write_tar(devkit, files | {"meta.mat": structures([{"ILSVRC2012_ID": 2.0, "WNID": "n1", "words": "x"}])}, "w:gz")
    refused(folder, "label '1' of the validation list is not in meta.mat")
    devkit.unlink()
    refused(folder, "no devkit that says what its images show")
