"""Features as data: where they lie, what is allowed, and that a damaged file is one line."""

from __future__ import annotations

import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from convjit.data import open_dataset, open_place
from convjit.data.dataset import in_memory
from convjit.errors import DataError

NdArray = np.ndarray[Any, np.dtype[Any]]


def rows(count: int, numbers: int = 4, seed: int = 0) -> tuple[NdArray, NdArray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, numbers)).astype(np.float32), (np.arange(count) % 3).astype(np.int32)


def write(path: Path, data: NdArray, labels: NdArray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npz":
        np.savez(path, data=data, labels=labels)
    else:
        save_file({"data": data, "labels": labels}, path)
    return path


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_train_and_test_folders(tmp_path: Path, suffix: str) -> None:
    data, labels = rows(20, 6)
    write(tmp_path / "train" / f"features-2.{suffix}", data[8:16], labels[8:16])
    write(tmp_path / "train" / f"features-10.{suffix}", data[16:], labels[16:])
    write(tmp_path / "train" / f"features-1.{suffix}", data[:8], labels[:8])
    write(tmp_path / "test" / f"features.{suffix}", data[:5], labels[:5])
    about = {"classes": ["a", "b", "c", "d"], "shape": [3, 2, 1]}
    (tmp_path / "train" / "features.json").write_text(json.dumps(about))
    found = open_dataset(tmp_path)
    train, test = in_memory(found.train), in_memory(found.test)
    assert found.numbers and found.classes == ("a", "b", "c", "d") and found.shape == (3, 2, 1)
    assert np.array_equal(train.pixels, data.reshape(20, 3, 2, 1)) and train.parts == (8, 8, 4)
    assert np.array_equal(test.pixels.reshape(5, 6), data[:5]) and np.array_equal(test.labels, labels[:5])


def test_ranges_are_of_the_files(tmp_path: Path) -> None:
    data, labels = rows(12)
    for number, start in enumerate(range(0, 12, 3), 1):
        write(tmp_path / f"features-{number}.npz", data[start : start + 3], labels[start : start + 3])
    found = open_place(f"{tmp_path}#train=1-2,test=4")
    assert np.array_equal(in_memory(found.train).pixels.reshape(6, 4), data[:6])
    assert np.array_equal(in_memory(found.test).pixels.reshape(3, 4), data[9:])


def test_one_file_is_divided_by_contents(tmp_path: Path) -> None:
    data, labels = rows(300)
    data[7] = data[0]
    labels[7] = labels[0]
    path = write(tmp_path / "mine.npz", data.astype(np.float64), labels.astype(np.uint8))
    found = open_dataset(path)
    train, test = (in_memory(one).pixels.reshape(-1, 4) for one in (found.train, found.test))
    assert len(train) + len(test) == 300 and 10 < len(test) < 60 and found.classes == ("0", "1", "2")
    assert not {row.tobytes() for row in train} & {row.tobytes() for row in test}
    longer = write(tmp_path / "longer.npz", np.concatenate([data, rows(50, seed=1)[0]]), np.resize(labels, 350))
    again = {row.tobytes() for row in in_memory(open_dataset(longer).test).pixels}
    assert {row.tobytes() for row in test} <= again
    whole = open_dataset(path, validation=None)
    assert len(whole.train) == len(whole.test) == 300


def test_images_that_were_never_decoded_are_left_out(tmp_path: Path) -> None:
    data, labels = rows(30)
    data[4] = np.nan
    found = open_dataset(write(tmp_path / "features.npz", data, labels), validation=None)
    assert len(found.train) == 29 and found.skipped[0].endswith("row 4 has no numbers")
    data[5, 1] = np.inf
    with pytest.raises(DataError, match="some of its numbers are not finite"):
        open_dataset(write(tmp_path / "features.npz", data, labels))


def hostile(folder: Path, header: bytes, body: bytes = b"") -> Path:
    """An .npz whose `data` has this header."""
    path = folder / "features.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + body)
        labels = io.BytesIO()
        np.save(labels, np.zeros(1, np.int32))
        archive.writestr("labels.npy", labels.getvalue())
    return path


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000, 1000000), }\n", "all of them in the file"),
        (b"{'descr': '|O', 'fortran_order': False, 'shape': (1, 1), }\n", "allowed are numbers"),
        (b"{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 1), }\n", "allowed are|damaged"),
        (b"__import__('os').system('touch /tmp/never')\n", "damaged"),
    ],
)
def test_hostile_headers(tmp_path: Path, header: bytes, said: str) -> None:
    with pytest.raises(DataError, match=said) as caught:
        open_dataset(hostile(tmp_path, header, b"\x80\x04N."))
    assert "\n" not in str(caught.value)


def test_what_is_no_features(tmp_path: Path) -> None:
    data, labels = rows(9)
    good = write(tmp_path / "features.npz", data, labels)
    cut = good.read_bytes()[:-40]
    label = np.full(9, 2**31 - 1, np.int32)
    table: list[tuple[str, bytes | tuple[NdArray, NdArray], str]] = [
        ("a.npz", cut, "damaged, or no file of features"),
        ("b.npz", b"", "damaged, or no file of features"),
        ("c.safetensors", b"\xff" * 100, "damaged, or no file of features"),
        ("d.npz", (data[:, :, None], labels), r"'data' is float32 \[9, 4, 1\]; allowed are floats \[N, numbers\]"),
        ("e.npz", (data.astype(int), labels), "'data' is int64"),
        ("f.npz", (data, labels[:8]), r"'labels' are int32 \[8\]; allowed are integers \[9\]"),
        ("g.npz", (data, labels - 1), "labels go from -1"),
        ("h.npz", (data, label), "a label of 2147483647; without names of classes, allowed is up to 100000"),
    ]
    for name, contents, said in table:
        path = tmp_path / "one" / name
        path.parent.mkdir(exist_ok=True)
        if isinstance(contents, bytes):
            path.write_bytes(contents)
        else:
            write(path, *contents)
        with pytest.raises(DataError, match=said) as caught:
            open_dataset(path)
        assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)
    with zipfile.ZipFile(tmp_path / "one" / "i.npz", "w") as archive:
        archive.writestr("other.npy", b"")
    with pytest.raises(DataError, match=re.escape("allowed are 'data' and 'labels'")):
        open_dataset(tmp_path / "one" / "i.npz")
    (tmp_path / "features.json").write_text('{"classes": [1]}')
    with pytest.raises(DataError, match="'classes', a list of names"):
        open_dataset(tmp_path)
    (tmp_path / "features.json").write_text('{"shape": [3, 1, 1]}')
    with pytest.raises(DataError, match=re.escape("4 numbers for each image; features.json says [3, 1, 1]")):
        open_dataset(tmp_path)


def test_train_without_test(tmp_path: Path) -> None:
    write(tmp_path / "train" / "features.npz", *rows(9))
    with pytest.raises(DataError, match="features in train, and none in test or val"):
        open_dataset(tmp_path)
