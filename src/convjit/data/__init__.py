"""Data sets: opening, decoding, keeping, downloading them, and feeding their images in minibatches."""

from __future__ import annotations

from convjit.data.augment import Augmentation
from convjit.data.batch import Batch, minibatches
from convjit.data.dataset import Dataset, Images, from_arrays
from convjit.data.download import cifar10, fetch
from convjit.data.encoded import Encoded, FileImages
from convjit.data.feeder import Feeder, batches_in_order, views
from convjit.data.kept import Kept
from convjit.data.preprocessing import Preprocessing
from convjit.data.ranges import Range, join_place, open_place, split_place
from convjit.data.sample import sample
from convjit.data.source import Progress
from convjit.data.sources import open_dataset

__all__ = [
    "Augmentation",
    "Batch",
    "Dataset",
    "Encoded",
    "Feeder",
    "FileImages",
    "Images",
    "Kept",
    "Preprocessing",
    "Progress",
    "Range",
    "batches_in_order",
    "cifar10",
    "fetch",
    "from_arrays",
    "join_place",
    "minibatches",
    "open_dataset",
    "open_place",
    "sample",
    "split_place",
    "views",
]
