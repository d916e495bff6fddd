"""Directories of cuda-convnet: batches by number, arrays by columns, lists of JPEG files, and errors."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_sets import encoded, picture, write_folder
from numpy.typing import NDArray
from original_files import Old, old_pickle, write_batches

from convjit.data import Augmentation, Feeder, Preprocessing, open_dataset, open_place, ranges
from convjit.data.dataset import from_arrays, in_memory, parts_of
from convjit.data.decode import decode
from convjit.data.original_pickle import StandIn, plain, unpickle_original
from convjit.data.ranges import Range, join_place, split_place
from convjit.data.statistics import colour_axes, mean_image
from convjit.errors import DataError, UsageError

Batches = dict[int, tuple[NDArray[np.uint8], list[Any]]]


def batches(*numbers: int, count: int = 5, shape: tuple[int, ...] = (3, 4, 4)) -> Batches:
    rng = np.random.default_rng(0)
    return {n: (rng.integers(0, 256, (count, *shape), np.uint8), rng.integers(0, 3, count).tolist()) for n in numbers}


@pytest.mark.parametrize("protocol", [0, 2])
def test_the_last_batch_is_the_test(tmp_path: Path, protocol: int) -> None:
    made = batches(1, 2, 3)
    found = open_dataset(write_batches(tmp_path / "d", made, protocol=protocol))
    assert found.classes == ("a", "b", "c") and found.shape == (3, 4, 4) and in_memory(found.train).parts == (5, 5)
    assert np.array_equal(in_memory(found.train).pixels, np.concatenate([made[1][0], made[2][0]]))
    assert found.train.labels.tolist() == made[1][1] + made[2][1]
    assert np.array_equal(in_memory(found.test).pixels, made[3][0])
    # The mean is the one that the set came with.
    assert np.allclose(mean_image(found), np.concatenate([pixels for pixels, _ in made.values()]).mean(0))


def test_validation_batches_from_1000_on(tmp_path: Path) -> None:
    found = open_dataset(write_batches(tmp_path / "d", batches(0, 1, 1000, 1001)))
    assert in_memory(found.train).parts == (5, 5) == in_memory(found.test).parts


def test_ranges(tmp_path: Path) -> None:
    made = batches(1, 2, 3, 4)
    folder = write_batches(tmp_path / "d", made)
    found = open_place(f"{folder}#train=2-3,test=1")
    assert np.array_equal(in_memory(found.train).pixels[5:], made[3][0])
    assert np.array_equal(in_memory(found.test).pixels, made[1][0])
    with pytest.raises(DataError, match=r"data_batch_5 is missing; there are 1 to 4"):
        open_place(f"{folder}#train=1-5,test=1")


def test_a_label_that_makes_too_many_classes(tmp_path: Path) -> None:
    made = batches(1, 2)
    made[1][1][0] = 2**31 - 1
    folder = write_batches(tmp_path / "d", made, label_names=None)
    tracemalloc.start()
    with pytest.raises(DataError, match=r"a label is 2,147,483,647, and classes have no names; allowed are labels"):
        open_dataset(folder)
    assert tracemalloc.get_traced_memory()[1] < 50 << 20
    tracemalloc.stop()
    with pytest.raises(DataError, match=r"a label is 1,000,000, and classes have no names"):
        from_arrays(made[2][0], np.full(5, 10**6), made[2][0], np.zeros(5, int))


def test_ranges_of_any_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.arange(7 * 4, dtype=np.uint8).reshape(7, 1, 2, 2)
    whole = from_arrays(pixels[:5], np.array([0, 1, 0, 1, 1]), pixels[5:], np.ones(2, int))
    monkeypatch.setattr(ranges, "_CUT", 2)
    found = ranges.cut(whole, Range(1, 3), Range(4, 4), "x")
    assert found.fingerprint == whole.fingerprint and in_memory(found.train).parts == (2, 2, 1)
    assert np.array_equal(in_memory(ranges.cut(whole, Range(2, 2), Range(4, 4), "x").train).pixels, pixels[2:4])
    with pytest.raises(DataError, match="no batch 5; it has the batches 1 to 4"):
        ranges.cut(whole, Range(1, 3), Range(5, 5), "x")


def test_images_of_one_class_after_the_other_are_mixed() -> None:
    pixels = np.arange(200, dtype=np.uint8).reshape(200, 1, 1, 1)
    labels = np.arange(200) // 20
    found = ranges.cut(from_arrays(pixels, labels, pixels, labels), Range(1, 1), Range(2, 2), "x")
    assert len(set(found.train.labels[:40].tolist())) > 6
    assert sorted(in_memory(found.train).pixels.reshape(-1)) == list(range(200))
    assert np.array_equal(in_memory(found.train).pixels.reshape(-1) // 20, found.train.labels)


def test_ranges_of_encoded_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Image files of many sizes, class by class as folders have them: the same choice as of arrays."""
    files = [picture(i, (5 + i % 3, 5)) for i in range(40)]
    place = write_folder(tmp_path, {f"train/{i // 10}/{i:02}.png": data for i, data in enumerate(files)})
    write_folder(tmp_path, {f"test/{i}/0.png": picture(100 + i, (7, 9)) for i in range(4)})
    monkeypatch.setattr(ranges, "_CUT", 16)
    found = open_place(f"{place}#train=1-3,test=2-4")
    train, test = encoded(found.train), encoded(found.test)
    assert parts_of(train) == (16, 16, 8) and parts_of(test) == (16, 8, 4)
    assert sorted(files.index(train.read(i)) for i in range(40)) == list(range(40))
    assert all(files.index(train.read(i)) // 10 == label for i, label in enumerate(train.labels))
    assert len(set(train.labels[:10].tolist())) == 4, "mixed"
    assert [test.read(i) for i in range(24)] == [train.read(i) for i in range(16, 40)]
    assert sorted(map(test.name, range(24, 28))) == [f"test/{i}/0.png" for i in range(4)]
    again = open_place(f"{place}#train=1-3,test=2-3")
    assert found.fingerprint != again.fingerprint == open_place(f"{place}#train=1-3,test=2-3").fingerprint
    with pytest.raises(DataError, match="no batch 5; it has the batches 1 to 4"):
        open_place(f"{place}#train=1-3,test=5")


@pytest.mark.parametrize("text", ["", "a", "3-2", "1-2-3", "-1", "1-"])
def test_no_range(text: str) -> None:
    with pytest.raises(UsageError, match="no range of batches"):
        Range.parse(text)


def test_places() -> None:
    place = join_place("/a#b", Range.parse("1-5"), Range.parse("6"))
    assert place == "/a#b#train=1-5,test=6"
    assert split_place(place) == ("/a#b", Range(1, 5), Range(6, 6)) and split_place("/a#b") == ("/a#b", None, None)
    assert list(Range(2, 4).numbers()) == [2, 3, 4] and len(Range(2, 4)) == 3


def jpegs(folder: Path, files: list[bytes], labels: list[Any], **meta: Any) -> Path:
    """A directory of cuda-convnet2: one training batch as a folder of two parts, one test batch."""
    write_batches(folder, batches(0, 1000, shape=(3, 8, 8)), **meta)
    (folder / "data_batch_0").unlink()
    inner = folder / "data_batch_0"
    inner.mkdir()
    for part, (start, end) in enumerate([(0, 3), (3, len(files))]):
        value = {"data": files[start:end], "labels": labels[start:end]}
        (inner / f"data_batch_0.{part}").write_bytes(old_pickle(value))
    return folder


def test_jpegs_in_parts(tmp_path: Path) -> None:
    files = [picture(i, (8, 8), kind="JPEG") for i in range(4)]
    files.append(picture(9, (8, 8), mode="L", kind="JPEG"))
    found = open_dataset(jpegs(tmp_path / "d", files, [[1], [2], [0], [2], [1]], label_offset=0, img_size=8))
    assert found.train.labels.tolist() == [1, 2, 0, 2, 1] and found.shape == (3, 8, 8)
    assert np.array_equal(in_memory(found.train).pixels[1], decode(files[1], None))
    assert (in_memory(found.train).pixels[4][0] == in_memory(found.train).pixels[4][2]).all()


def test_wider_jpegs(tmp_path: Path) -> None:
    """Training crops from all of them, in data batches; a test takes their middle."""
    sizes = [(8, 8), (8, 20), (20, 8), (8, 8)]
    files = [picture(i, size, kind="JPEG") for i, size in enumerate(sizes)]
    folder = jpegs(tmp_path / "d", files, [[1], [2, 0], [0], []])
    place = f"{folder}#train=0,test=0"
    found = open_place(place)
    assert found.shape == (3, 8, 8) and len(found.train) == 4 and parts_of(found.train) == (4,)
    whole = [decode(file, None) for file in files]
    centres = in_memory(found.test)
    assert np.array_equal(centres.pixels[1], whole[1][:, :, 6:14])
    assert np.array_equal(centres.pixels[2], whole[2][:, 6:14])
    seen: list[set[tuple[int, int]]] = [set() for _ in files]
    labels = set()
    augmentation = Augmentation(crop=(6, 6))
    options: dict[str, Any] = {"seed": 1, "stop_step": 600, "shuffle": False, "augmentation": augmentation}
    with Feeder(found.train, 3, preprocessing=Preprocessing((3, 8, 8), (6, 6)), **options) as feeder:
        assert feeder.steps_per_epoch == 2
        for batch in feeder:
            for row in range(batch.count):
                image = int(batch.index[row])
                (down, right), crop = batch.crops[row, :2], batch.pixels[row]
                windows = np.lib.stride_tricks.sliding_window_view(whole[image], (3, 6, 6))[0]
                same = (windows == crop[:, down : down + 6, right : right + 6]).all((2, 3, 4))
                assert same.sum() == 1
                seen[image].add(tuple(np.argwhere(same)[0].tolist()))
                if image in (1, 3):
                    labels.add((image, int(batch.labels[row])))
    assert [len(places) for places in seen] == [9, 45, 45, 9]
    assert labels == {(1, 0), (1, 2), (3, -1)}
    # What lies beside the middle counts too.
    other = [files[0], picture(7, (8, 20), kind="JPEG"), *files[2:]]
    assert open_place(f"{jpegs(tmp_path / 'e', other, [[1], [2, 0], [0], []])}#train=0,test=1000").fingerprint != (
        open_place(f"{folder}#train=0,test=1000").fingerprint
    )


def test_images_without_use_are_named(tmp_path: Path) -> None:
    files = [picture(i, (8, 8), kind="JPEG") for i in range(5)]
    files[1], files[4] = b"\xff\xd8 no", picture(4, (9, 9), kind="JPEG")
    found = open_dataset(jpegs(tmp_path / "d", files, [[1], [1], [2], [0], [0]]))
    assert found.train.labels.tolist() == [1, 2, 0] and len(found.skipped) == 2
    assert "image 1: " in found.skipped[0] and "shorter side must be 8" in found.skipped[1]


def test_colours_where_there_should_be_none(tmp_path: Path) -> None:
    folder = write_batches(tmp_path / "d", batches(1, 2, shape=(1, 8, 8)))
    value = {"data": [picture(0, (8, 8), kind="JPEG"), picture(1, (8, 8), mode="L", kind="JPEG")], "labels": [0, 1]}
    (folder / "data_batch_1").write_bytes(old_pickle(value))
    found = open_dataset(folder)
    assert len(found.train) == 1 and "it has 3 channels; batches.meta says 1" in found.skipped[0]


def test_several_labels(tmp_path: Path) -> None:
    """A test takes the first of them; all of them are targets; an image without any counts for no class."""
    files = [picture(i, (8, 8), kind="JPEG") for i in range(5)]
    several = [[1], [2, 0], [], [2], [0, 1, 2]]
    found = open_dataset(jpegs(tmp_path / "d", files, several, label_offset=0))
    assert found.train.labels.tolist() == [1, 2, -1, 2, 0] and not found.skipped
    train, test = in_memory(found.train), in_memory(found.test)
    assert train.targets is not None and test.targets is not None
    assert [np.flatnonzero(row).tolist() for row in train.targets] == [sorted(one) for one in several]
    assert np.array_equal(test.targets.argmax(1), test.labels) and (test.targets.sum(1) == 1).all()
    other = open_dataset(jpegs(tmp_path / "e", files, [[1], [2, 1], [], [2], [0, 1, 2]]))
    assert other.train.labels.tolist() == found.train.labels.tolist() and other.fingerprint != found.fingerprint
    # Labels that count from 1.
    moved = open_dataset(jpegs(tmp_path / "f", files, [[2], [3, 1], [], [3], [1]], label_offset=-1, label_names=[]))
    assert moved.train.labels.tolist() == [1, 2, -1, 2, 0]


def test_colours(tmp_path: Path) -> None:
    vectors = np.array([[0.0, 1, 0], [1, 0, 0], [0, 0, 1]])
    pca = (np.array([[1.0], [2.0], [3.0]]), vectors)
    found = open_dataset(write_batches(tmp_path / "d", batches(1, 2), color_pca=pca))
    assert colour_axes(found).tolist() == [[0, 1, 0], [2, 0, 0], [0, 0, 3]]


def test_wrong_files(tmp_path: Path) -> None:
    folder = write_batches(tmp_path / "d", batches(1, 2))
    good = (folder / "data_batch_1").read_bytes()
    for value, says in [
        (
            {"data": np.zeros((47, 5), np.uint8), "labels": [0] * 5},
            r"data is \[47, 5\]; batches.meta says \(48, cases\)",
        ),
        ({"data": np.zeros((48, 5), np.float32), "labels": [0] * 5}, "float32"),
        ({"data": np.zeros((48, 5), np.uint8), "labels": [0] * 4}, "5 images have 4 labels"),
        ({"data": np.zeros((48, 5), np.uint8), "labels": [-1] * 5}, "count from 0"),
        ({"data": np.zeros((48, 5), np.uint8), "labels": [[1, -1]] * 5}, "count from 0"),
        ({"data": np.zeros((48, 5), np.uint8), "labels": [[1, 3]] * 5}, "highest label is 3; 3 classes"),
        ({"data": np.zeros((48, 5), np.uint8), "labels": [[1, 0.5]] * 5}, "'0.5' is no label"),
        ({"data": np.zeros((48, 5), np.uint8), "labels": ["x"] * 5}, "'x' is no label"),
        ({"data": np.zeros((48, 5), np.uint8), "labels": [3] * 5}, "highest label is 3; 3 classes"),
        ({"data": [b"x"] * 3, "labels": [0] * 3}, "no image in it can be used"),
    ]:
        (folder / "data_batch_1").write_bytes(old_pickle(value))
        with pytest.raises(DataError, match=says) as caught:
            open_dataset(folder)
        assert "\n" not in str(caught.value)
    for data in (good[:100], b"", b"PK\x03\x04 no zip", b"\x80\x02]."):
        (folder / "data_batch_1").write_bytes(data)
        with pytest.raises(DataError, match="data_batch_1"):
            open_dataset(folder)


def test_packed(tmp_path: Path) -> None:
    folder = write_batches(tmp_path / "d", batches(1, 2))
    before = open_dataset(folder).fingerprint
    for name in ("data_batch_1", "data_batch_2"):
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("data", (folder / name).read_bytes())
        (folder / name).write_bytes(packed.getvalue())
    assert open_dataset(folder).fingerprint == before


def test_classes_become_boxes() -> None:
    value = {"op": Old("options OptionsParser", {"options": {"x": 1.5}}), "n": np.float32(2.5), "t": (None, True)}
    for protocol in (0, 2):
        found = unpickle_original(old_pickle(value, protocol), "x")
        assert isinstance(found["op"], StandIn) and found["op"].name == "options OptionsParser"
        assert plain(plain(found["op"])["options"]) == {"x": 1.5} and found["n"] == 2.5 and found["t"] == (None, True)


def test_calls_become_boxes(tmp_path: Path) -> None:
    """Whatever is asked for, nothing is called."""
    mark = tmp_path / "mark"
    for call in (
        f"cos\nsystem\n(S'touch {mark}'\ntR",
        f"(S'touch {mark}'\nios\nsystem\n",
        f"c__builtin__\neval\n(S'open({str(mark)!r}, 1)'\ntR",
    ):
        data = b"(dS'op'\n" + call.encode() + b"s."
        assert isinstance(unpickle_original(data, "x")["op"], StandIn)
    assert not mark.exists()
