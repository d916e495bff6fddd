"""Labels matched by the names of classes: data of some classes of a run, with the numbers that these have there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from convjit.data.dataset import Dataset, Images, parts_of
from convjit.data.encoded import ChosenImages, Encoded

__all__ = ["relabelled"]


def relabelled(dataset: Dataset, classes: tuple[str, ...]) -> Dataset:
    """The same images with labels for `classes`; as it is if it has classes that are not among them."""
    if dataset.classes == classes or not set(dataset.classes) <= set(classes):
        return dataset
    numbers = np.array([classes.index(name) for name in dataset.classes], np.int32)
    train, test = (_relabel(images, numbers, len(classes)) for images in (dataset.train, dataset.test))
    return replace(dataset, train=train, test=test, classes=classes)


def _relabel(images: Images | Encoded, numbers: NDArray[np.int32], count: int) -> Images | Encoded:
    labels = np.where(images.labels < 0, np.int32(-1), numbers[images.labels])
    targets = None
    if images.targets is not None:
        targets = np.zeros((len(images), count), np.uint8)
        targets[:, numbers] = images.targets
    if isinstance(images, Images):
        return Images(images.pixels, labels, images.parts, targets)
    return ChosenImages(images, np.arange(len(images)), labels, targets, parts_of(images))
