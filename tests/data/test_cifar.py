"""CIFAR as published, in miniature: Python batches, binary batches, CIFAR-100."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from image_sets import write_folder, write_tar
from numpy.typing import NDArray

from convjit.data import open_dataset
from convjit.data.dataset import in_memory
from convjit.errors import DataError

NAMES = ["airplane", "automobile", "bird"]


def batch(seed: int, count: int = 4) -> tuple[NDArray[np.uint8], list[int]]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, 3072), dtype=np.uint8), [(seed + i) % 3 for i in range(count)]


def python_files() -> dict[str, bytes]:
    files = {"batches.meta": pickle.dumps({"label_names": NAMES, "num_vis": 3072}, 2), "readme.html": b"<html>"}
    for index, name in enumerate(["data_batch_1", "data_batch_2", "data_batch_10", "test_batch"]):
        if name == "data_batch_10":
            continue
        pixels, labels = batch(index)
        value = {"batch_label": name, "data": pixels, "labels": labels, "filenames": ["x.png"] * 4}
        files[name] = pickle.dumps(value, 2)
    return {f"cifar-10-batches-py/{name}": data for name, data in files.items()}


def binary_files() -> dict[str, bytes]:
    files = {"batches.meta.txt": "\n".join([*NAMES, ""]).encode()}
    for index, name in ((0, "data_batch_1"), (1, "data_batch_2"), (3, "test_batch")):
        pixels, labels = batch(index)
        files[f"{name}.bin"] = np.concatenate([np.array(labels, np.uint8)[:, None], pixels], axis=1).tobytes()
    return {f"cifar-10-batches-bin/{name}": data for name, data in files.items()}


def refused(path: Path, says: str) -> None:
    with pytest.raises(DataError, match=says) as caught:
        open_dataset(path)
    assert "\n" not in str(caught.value) and str(caught.value).startswith(str(path))


def test_every_form_is_the_same_set(tmp_path: Path) -> None:
    prints = set()
    for kind, files in (("py", python_files()), ("bin", binary_files())):
        folder = write_folder(tmp_path / kind, files)
        inner = next(path for path in folder.iterdir())
        for path in (folder, inner, write_tar(tmp_path / f"{kind}.tar.gz", files, "w:gz")):
            dataset = open_dataset(path)
            assert dataset.classes == tuple(NAMES) and dataset.shape == (3, 32, 32)
            assert len(dataset.train) == 8 and len(dataset.test) == 4
            prints.add(dataset.fingerprint)
    assert len(prints) == 1
    assert np.array_equal(in_memory(dataset.train).pixels[4], batch(1)[0][0].reshape(3, 32, 32))
    assert dataset.train.labels.tolist() == batch(0)[1] + batch(1)[1] and dataset.test.labels.tolist() == batch(3)[1]


def test_batches_as_python_2_wrote_them(tmp_path: Path) -> None:
    def text(value: str) -> bytes:
        return b"U" + bytes([len(value)]) + value.encode()

    files = {}
    for name in ("data_batch_1", "test_batch"):
        pixels, labels = batch(0)
        array = b"cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00\x85U\x01b\x87Rq\x03"
        array += b"(K\x01K\x04M\x00\x0c\x86"
        array += b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        array += b"T" + struct.pack("<i", pixels.nbytes) + pixels.tobytes() + b"tb"
        numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
        files[name] = b"\x80\x02}q\x00(" + text("data") + array + text("labels") + numbers + b"u."
    files["batches.meta"] = b"\x80\x02}" + text("label_names") + b"](" + b"".join(map(text, NAMES)) + b"es."
    dataset = open_dataset(write_folder(tmp_path / "x", files))
    assert dataset.classes == tuple(NAMES) and dataset.train.labels.tolist() == batch(0)[1]
    assert np.array_equal(in_memory(dataset.test).pixels.reshape(4, 3072), batch(0)[0])


def test_cifar_100(tmp_path: Path) -> None:
    files = {"meta": pickle.dumps({"fine_label_names": NAMES, "coarse_label_names": ["x"]}, 2)}
    for index, name in enumerate(("train", "test")):
        pixels, labels = batch(index)
        files[name] = pickle.dumps({"data": pixels, "fine_labels": labels, "coarse_labels": [0] * 4}, 2)
    dataset = open_dataset(
        write_tar(tmp_path / "c.tar.gz", {f"cifar-100-python/{n}": d for n, d in files.items()}, "w:gz")
    )
    assert dataset.classes == tuple(NAMES) and dataset.name == "c"
    assert np.array_equal(in_memory(dataset.test).pixels[0].reshape(-1), batch(1)[0][0])


def test_python_batches_refused(tmp_path: Path) -> None:
    pixels, labels = batch(0)
    top = "cifar-10-batches-py"
    for number, (name, value, says) in enumerate(
        [
            ("data_batch_1", {"data": pixels[:, :3071], "labels": labels}, r"uint8 \[4, 3071\]; allowed is 'data'"),
            ("data_batch_1", {"data": pixels.astype(np.float32), "labels": labels}, "float32"),
            ("data_batch_1", {"labels": labels}, r"found keys \['labels'\]"),
            ("data_batch_1", {"data": pixels, "labels": labels[1:]}, "list of 4 integers"),
            ("data_batch_1", {"data": pixels, "labels": ["a"] * 4}, "list of 4 integers"),
            ("data_batch_1", {"data": pixels, "labels": [-1] * 4}, "count from 0"),
            ("data_batch_1", {"data": pixels, "labels": [3] * 4}, "highest label is 3; 3 classes"),
            ("data_batch_1", {"data": print, "labels": labels}, "asks for '(builtins|__builtin__).print'"),
            ("data_batch_4", {"data": pixels, "labels": labels}, "data_batch_3 is missing"),
        ]
    ):
        files = python_files() | {f"{top}/{name}": pickle.dumps(value, 2)}
        refused(write_folder(tmp_path / str(number), files), says)
    for name in ("test_batch", "data_batch_1"):
        files = python_files()
        del files[f"{top}/{name}"]
        refused(write_folder(tmp_path / f"without {name}", files), f"{name} is missing")
    files = python_files()
    files[f"{top}/test_batch"] = files[f"{top}/test_batch"][:5000]
    refused(write_folder(tmp_path / "cut", files), "test_batch: not a whole pickle")


def test_binary_batches_refused(tmp_path: Path) -> None:
    name = "cifar-10-batches-bin/data_batch_2.bin"
    for number, data in enumerate([b"", binary_files()[name][:-1]]):
        refused(write_folder(tmp_path / str(number), binary_files() | {name: data}), "whole records of 3073")
    files = binary_files() | {"cifar-10-batches-bin/batches.meta.txt": b"one\n"}
    refused(write_folder(tmp_path / "classes", files), "highest label is 2; 1 classes")
