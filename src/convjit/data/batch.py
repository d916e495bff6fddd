"""A minibatch, and the order in which images come to be in one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convjit import random
from convjit.data.augment import Draws
from convjit.data.dataset import Pixels

__all__ = ["Batch", "Choice", "augmented", "chosen", "drawn_labels", "in_order", "minibatches"]


@dataclass(frozen=True, eq=False)
class Batch:
    """One minibatch of B images; crops are cut, and colours changed, where they are used (see `convjit.ops.input`).

    `crops` holds (y, x, mirror) of each image: the crop's upper left corner and 1 if it is to be mirrored. The first
    `count` images are real; the rest repeat the batch's first one, with label -1. `index` are the images' numbers in
    their set, -1 for one that cannot be decoded, in a test. The rest is None where nothing of it is drawn: `places`
    say which point a pixel of the crop shows, `colours` are matrices, `cuts` are squares. `broken` are lines about
    images that could not be decoded, each told once.
    """

    pixels: Pixels  # [B,C,H,W]
    labels: NDArray[np.int32]  # [B]
    crops: NDArray[np.int32]  # [B,3]
    count: int
    step: int
    epoch: int
    index: NDArray[np.int64]  # [B]
    places: NDArray[np.float32] | None = None  # [B,6]
    colours: NDArray[np.float32] | None = None  # [B,C,C+1]
    cuts: NDArray[np.int32] | None = None  # [B,4]
    targets: NDArray[np.uint8] | None = None  # [B,K]
    broken: tuple[str, ...] = ()

    def part(self, first: int, end: int) -> Batch:
        """The images from `first` to before `end` as a minibatch; nothing is copied."""
        arrays: dict[str, Any] = {n: a[first:end] for n, a in vars(self).items() if isinstance(a, np.ndarray)}
        return replace(self, count=min(max(self.count - first, 0), end - first), **arrays)


@dataclass(frozen=True, eq=False)
class Choice:
    """Which images make a batch: B numbers, of which the first `count` are real."""

    index: NDArray[np.int64]
    count: int
    step: int
    epoch: int


def minibatches(images: int, batch: int, parts: Sequence[int] = ()) -> list[tuple[int, int]]:
    """(first, end) of every minibatch of an epoch: consecutive images, none of two parts."""
    found, start = [], 0
    for size in parts or (images,):
        found += [(first, min(first + batch, start + size)) for first in range(start, start + size, batch)]
        start += size
    return found


def chosen(some: NDArray[np.int64], batch: int, step: int, epoch: int) -> Choice:
    """Some images, filled up to a batch."""
    # Real pixels as padding: whatever a net does with them, it meets nothing that it could not meet anyway.
    return Choice(np.concatenate([some, np.repeat(some[:1], batch - len(some))]), len(some), step, epoch)


def in_order(
    images: int, batch: int, parts: Sequence[int], *, seed: int, start: int, stop: int, shuffle: bool
) -> Iterator[Choice]:
    """The images of steps `start` .. `stop - 1`; shuffled, every epoch has an order of its own."""
    cuts = minibatches(images, batch, parts)
    order, order_epoch = np.arange(images), -1
    for step in range(start, stop):
        epoch, position = divmod(step, len(cuts))
        if shuffle and epoch != order_epoch:
            order = random.permutation(random.derive_key(seed, "shuffle", epoch), images)
            order_epoch = epoch
        yield chosen(order[slice(*cuts[position])], batch, step, epoch)


def drawn_labels(targets: NDArray[np.uint8], seed: int, epoch: int, indices: NDArray[np.int64]) -> NDArray[np.int32]:
    """One label of each image, of which `targets` [B,K] has all, drawn anew in every epoch; -1 where it has none."""
    drawn = random.uniforms(random.derive_key(seed, "label", epoch), indices, 1)
    ranks = targets.cumsum(1, dtype=np.int64)
    count = ranks[:, -1:]
    found = (ranks > (drawn * count).astype(np.int64)).argmax(1)
    return np.where(count[:, 0] > 0, found, -1).astype(np.int32)


def augmented(batch: Batch, draws: Draws, regions: NDArray[np.float64], crop: tuple[int, int]) -> Batch:
    """The batch with all that was drawn for it; `regions` [B,4] of its pixels are what the crops show."""
    one = draws.augmentation
    batch.crops[:, 2] = draws.mirrors
    if not one.warps:
        batch.crops[:, :2] = regions[:, :2]
    return replace(
        batch,
        places=draws.places(regions, crop) if one.warps else None,
        colours=draws.colours(batch.pixels.shape[1]) if one.recolours else None,
        cuts=draws.cuts(crop) if one.cutout else None,
    )
