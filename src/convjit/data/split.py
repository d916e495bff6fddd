"""A validation set for sets that have none: some of the images of every class, chosen by their contents.

An image is chosen if the hash of its contents is below a share of all hashes. So equal files stand on one side, and
files that are added later, or renamed, move no other one. Of a class of which no image is below, the one with the
lowest hash is chosen; of one of which all are, the one with the highest stays behind.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from convjit.data.digests import digests
from convjit.data.layouts.contents import Contents
from convjit.data.source import Progress

__all__ = ["VALIDATION", "split", "with_test"]

VALIDATION = 0.1


def with_test(contents: Contents, share: float | None, progress: Progress | None = None) -> Contents:
    """The set with images to test on: its own, else a share of the others, or with None all of them."""
    if contents.test is not None:
        return contents
    if share is None:
        return replace(contents, test=contents.train)
    part = contents.train
    chosen = split(digests(contents.index, part.rows, progress), part.labels, share)
    return replace(contents, train=part.take(~chosen), test=part.take(chosen))


def split(digests: NDArray[np.uint64], labels: NDArray[np.int32], share: float) -> NDArray[np.bool_]:
    """Which samples to test on, bool [N], from the hashes of their contents and their labels."""
    chosen = digests < np.uint64(min(int(share * 2**64), 2**64 - 1))
    order = np.lexsort((digests, labels))
    starts = np.flatnonzero(np.diff(labels[order], prepend=np.int32(-2)))
    lowest, highest = digests[order[starts]], digests[order[[*(starts[1:] - 1), len(order) - 1]]]
    # Hashes, not samples, so that equal files stay together.
    chosen |= np.isin(digests, lowest[lowest != highest])
    left = np.bincount(labels[~chosen] + 1, minlength=int(labels.max()) + 2)
    missing = left[labels[order[starts]] + 1] == 0
    return chosen & ~np.isin(digests, highest[missing])
