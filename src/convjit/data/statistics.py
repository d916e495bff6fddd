"""What is known of a training set as a whole: its mean image and the axes of its colours.

Of encoded images a sample is looked at, evenly spread over a random order that is always the same one.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from convjit import random
from convjit.data.batch import chosen
from convjit.data.dataset import Dataset, Images, Pixels
from convjit.data.decoder import Decoder
from convjit.data.preprocessing import Preprocessing
from convjit.errors import UsageError

__all__ = ["SAMPLE", "colour_axes", "mean_image"]

SAMPLE = 1000
"""Encoded images looked at: the mean of so many has an error of 2 grey levels."""
_PIECE = 256


def mean_image(dataset: Dataset, preprocessing: Preprocessing | None = None) -> NDArray[np.float32]:
    """Mean of the training images, float32 [C,H,W], from exact integer sums; or the one that the set came with."""
    if dataset.mean is not None:
        return dataset.mean
    count, total = 0, np.zeros((), np.float64 if dataset.numbers else np.uint64)
    # 256 bytes of 255 still fit in 16 bits, and narrow sums are fast.
    exact = np.float64 if dataset.numbers else np.uint16
    for pixels in _pieces(dataset, preprocessing):
        count += len(pixels)
        total = total + pixels.sum(axis=0, dtype=exact)
    return (total / count).astype(np.float32)


def colour_axes(dataset: Dataset, preprocessing: Preprocessing | None = None) -> NDArray[np.float32]:
    """Principal axes of the training pixels' colours, float32 [C,C], one to a row, the shortest first.

    Each is as long as the standard deviation along it; or those that the set came with.
    """
    if dataset.colours is not None:
        return dataset.colours
    count, sums, products = 0, np.zeros(()), np.zeros(())
    for piece in _pieces(dataset, preprocessing):
        pixels = piece.transpose(1, 0, 2, 3).reshape(piece.shape[1], -1)
        wide = pixels.astype(np.float64)
        count += wide.shape[1]
        sums = sums + wide.sum(1)
        products = products + wide @ wide.T
    mean = sums / count
    variances, vectors = np.linalg.eigh(products / count - np.outer(mean, mean))
    # A vector's sign is the library's choice; this one is ours, so that every machine draws the same noise.
    vectors = vectors * np.where(vectors[np.abs(vectors).argmax(0), range(len(mean))] < 0, -1, 1)
    axes: NDArray[np.float32] = (np.sqrt(np.maximum(variances, 0))[:, None] * vectors.T).astype(np.float32)
    return axes


def _pieces(dataset: Dataset, preprocessing: Preprocessing | None) -> Iterator[Pixels]:
    """Training images [n,C,H,W], up to 256 at a time."""
    images = dataset.train
    if isinstance(images, Images):
        yield from (images.pixels[start : start + _PIECE] for start in range(0, len(images), _PIECE))
        return
    if preprocessing is None:
        raise UsageError("images of many sizes need a preprocessing that says how they come to one")
    order = np.sort(random.permutation(random.derive_key(0, "sample"), len(images))[:SAMPLE])
    choices = (chosen(order[s : s + 32], 32, 0, 0) for s in range(0, len(order), 32))
    decoder = Decoder(images, preprocessing)
    try:
        for batch in decoder.batches(choices):
            good = batch.pixels[: batch.count][batch.index[: batch.count] >= 0]
            if len(good):
                yield good
    finally:
        decoder.close()
