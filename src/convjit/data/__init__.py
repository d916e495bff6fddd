"""Data sets: opening, decoding, keeping, downloading them, and feeding their images in minibatches."""

from __future__ import annotations

from convjit.data.dataset import Dataset, Images, from_arrays
from convjit.data.download import cifar10, fetch
from convjit.data.feeder import Batch, Feeder, centre_batches
from convjit.data.sample import sample
from convjit.data.source import Progress
from convjit.data.sources import open_dataset

__all__ = [
    "Batch",
    "Dataset",
    "Feeder",
    "Images",
    "Progress",
    "centre_batches",
    "cifar10",
    "fetch",
    "from_arrays",
    "open_dataset",
    "sample",
]
