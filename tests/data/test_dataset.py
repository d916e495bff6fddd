"""The data set's own rules, the public names, and the sample."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import convjit.data
from convjit.data import Dataset, Images, from_arrays, sample
from convjit.data.dataset import MAX_BYTES, check_bytes
from convjit.data.statistics import mean_image
from convjit.errors import DataError


def small(n: int = 6) -> Dataset:
    pixels = np.random.default_rng(0).integers(0, 256, (n, 3, 4, 5), dtype=np.uint8)
    return from_arrays(pixels, np.arange(n) % 3, pixels[:2], np.array([0, 1]))


def test_public_names_exist() -> None:
    assert convjit.data.__all__ == sorted(convjit.data.__all__)
    for name in convjit.data.__all__:
        assert getattr(convjit.data, name)


def test_from_arrays() -> None:
    dataset = small()
    assert dataset.shape == (3, 4, 5)
    assert dataset.classes == ("0", "1", "2")
    assert len(dataset.train) == 6 and len(dataset.test) == 2
    assert dataset.train.labels.dtype == np.int32
    assert dataset.fingerprint == small().fingerprint
    with pytest.raises(dataclasses.FrozenInstanceError):
        dataset.name = "other"  # type: ignore[misc]


def test_grey_images_get_a_channel() -> None:
    grey = np.zeros((2, 4, 5), np.uint8)
    assert from_arrays(grey, np.array([0, 1], np.uint8), grey, np.array([0, 1])).shape == (1, 4, 5)


def test_the_fingerprint_tells_any_change() -> None:
    pixels, labels = np.zeros((2, 1, 2, 2), np.uint8), np.array([0, 1])
    prints = {from_arrays(pixels, labels, pixels, labels).fingerprint}
    prints.add(from_arrays(pixels, labels, pixels, labels[::-1]).fingerprint)
    prints.add(from_arrays(pixels, labels, pixels, labels, ["a", "b"]).fingerprint)
    prints.add(from_arrays(pixels.reshape(2, 1, 1, 4), labels, pixels.reshape(2, 1, 1, 4), labels).fingerprint)
    changed = pixels.copy()
    changed[1, 0, 1, 1] = 1
    prints.add(from_arrays(changed, labels, pixels, labels).fingerprint)
    assert len(prints) == 5


@pytest.mark.parametrize(
    ("images", "labels", "says"),
    [
        (np.zeros((2, 4, 4), np.float32), [0, 1], "float32"),
        (np.zeros((2, 4), np.uint8), [0, 1], r"\[N,C,H,W\]"),
        (np.zeros((2, 32, 32, 3), np.uint8), [0, 1], "transpose"),
        (np.zeros((2, 4, 4), np.uint8), [0.0, 1.0], "integers"),
        (np.zeros((2, 4, 4), np.uint8), [[0], [1]], "integers"),
        (np.zeros((2, 4, 4), np.uint8), [0, -1], "count from 0"),
        (np.zeros((2, 4, 4), np.uint8), [0, 2**31], "count from 0"),
        (np.zeros((2, 4, 4), np.uint8), [0], "one for each"),
        (np.zeros((0, 4, 4), np.uint8), np.zeros(0, int), "at least 1"),
        (np.zeros((2, 0, 4), np.uint8), [0, 1], "at least 1"),
        (np.zeros((2, 5, 4), np.uint8), [0, 1], "agree"),
    ],
)
def test_arrays_refused(images: NDArray[Any], labels: object, says: str) -> None:
    good = np.zeros((2, 4, 4), np.uint8)
    with pytest.raises(DataError, match=says) as caught:
        from_arrays(images, np.array(labels), good, np.array([0, 1]))
    assert "\n" not in str(caught.value)


def test_a_label_without_a_class_is_refused() -> None:
    good = np.zeros((2, 4, 4), np.uint8)
    with pytest.raises(DataError, match="highest label is 1"):
        from_arrays(good, np.array([0, 1]), good, np.array([0, 0]), ["only"])


def test_images_validate() -> None:
    pixels, labels = np.zeros((2, 3, 4, 4), np.uint8), np.zeros(2, np.int32)
    Images(pixels, labels)
    for bad in (pixels[:, :, ::2], pixels[0], pixels.astype(np.int8)):
        with pytest.raises(DataError, match="pixels"):
            Images(bad, labels)
    for wrong in (labels[:1], labels.astype(np.int64)):
        with pytest.raises(DataError, match="labels"):
            Images(pixels, wrong)  # type: ignore[arg-type]


def test_mean_image_is_exact() -> None:
    pixels = np.random.default_rng(1).integers(250, 256, (1000, 2, 3, 3), dtype=np.uint8)
    dataset = from_arrays(pixels, np.zeros(1000, int), pixels[:1], np.zeros(1, int))
    mean = mean_image(dataset)
    assert mean.dtype == np.float32
    assert np.array_equal(mean, (pixels.sum(axis=0, dtype=np.int64) / 1000).astype(np.float32))


def test_sets_too_large_are_refused() -> None:
    check_bytes("x", MAX_BYTES)
    with pytest.raises(DataError, match=r"x: 2\.1 GB of pixels; .*not supported yet"):
        check_bytes("x", MAX_BYTES + 1)


def test_the_sample() -> None:
    dataset = sample()
    assert dataset.shape == (1, 28, 28)
    assert np.bincount(dataset.train.labels).tolist() == [1000] * 10
    assert np.bincount(dataset.test.labels).tolist() == [200] * 10
    assert dataset.classes[0] == "T-shirt/top" and dataset.classes[9] == "Ankle boot"
    assert dataset.train.labels[:10].tolist() == [9, 0, 0, 3, 0, 2, 7, 2, 5, 5]
    assert dataset.fingerprint == sample().fingerprint
