"""Minibatches, prepared in a thread while the step before is computed.

B images to a batch. Everything is a function of (seed, purpose, epoch or step), so a feeder that starts at any step
hands out what one that ran there would have.
"""

from __future__ import annotations

import queue
import threading
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from convjit import random
from convjit.data.dataset import Images
from convjit.errors import DataError, UsageError

__all__ = ["Batch", "Feeder", "centre_batches", "minibatches", "view_batches", "views"]

_AHEAD = 2


@dataclass(frozen=True, eq=False)
class Batch:
    """One minibatch of whole images; the crop is cut where they are used.

    `crops` holds (y, x, mirror) of each image: the crop's upper left corner and 1 if it is to be mirrored. The first
    `count` images are real; the rest repeat the batch's first one, with label -1.
    """

    pixels: NDArray[np.uint8]  # [B,C,H,W]
    labels: NDArray[np.int32]  # [B]
    crops: NDArray[np.int32]  # [B,3]
    count: int
    step: int
    epoch: int


class Feeder:
    """Iterator over the batches of steps `start_step` .. `stop_step - 1`.

    `crop` is (h, w) for random crops of that size, None for whole images; `mirror` flips every second image on average;
    `shuffle` draws a new order for every epoch; without it batches hold consecutive images of one part of
    `images.parts`. The last batch of an epoch or part may be short. What goes wrong in the thread is raised by `next`.
    Close it, or use it in a `with` statement. Raises DataError for a crop larger than the images or an empty batch.
    """

    def __init__(
        self,
        images: Images,
        batch: int,
        *,
        seed: int,
        start_step: int = 0,
        stop_step: int,
        crop: tuple[int, int] | None,
        mirror: bool,
        shuffle: bool,
    ) -> None:
        _check(images, batch, crop)
        self.steps_per_epoch = len(minibatches(len(images), batch, () if shuffle else images.parts))
        self._queue: queue.Queue[Batch | BaseException | None] = queue.Queue(_AHEAD)
        self._stop = threading.Event()
        self._done = False
        batches = _batches(images, batch, seed, start_step, stop_step, crop, mirror, shuffle)
        self._thread = threading.Thread(
            target=_run, args=(batches, self._queue, self._stop), name="convjit-feeder", daemon=True
        )
        # The thread holds no reference to this object, so that one forgotten unclosed still ends its thread.
        weakref.finalize(self, self._stop.set)
        self._thread.start()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Batch:
        item = None if self._done else self._queue.get()
        if isinstance(item, Batch):
            return item
        self._done = True
        if item is None:
            raise StopIteration
        raise item

    def close(self) -> None:
        """End the thread; batches still in the queue are dropped. May be called more than once."""
        self._done = True
        self._stop.set()
        self._thread.join(0.5)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def centre_batches(images: Images, batch: int, crop: tuple[int, int] | None) -> Iterator[Batch]:
    """All images once, in order, with the crop (h, w) in the middle: at ((H-h)//2, (W-w)//2), never mirrored."""
    _, _, height, width = images.pixels.shape
    h, w = crop or (height, width)
    return view_batches(images, batch, crop, ((height - h) // 2, (width - w) // 2, 0))


def view_batches(
    images: Images, batch: int, crop: tuple[int, int] | None, view: tuple[int, int, int]
) -> Iterator[Batch]:
    """All images once, in order, each with the crop (h, w) at the same place: `view` is (y, x, mirror)."""
    _check(images, batch, crop)
    crops = np.tile(np.array(view, np.int32), (batch, 1))
    order = np.arange(len(images))
    parts = enumerate(minibatches(len(images), batch))
    return (_gather(images, order[start:end], batch, crops.copy(), step, 0) for step, (start, end) in parts)


def views(count: int, image: tuple[int, int], crop: tuple[int, int]) -> tuple[tuple[int, int, int], ...]:
    """Places (y, x, mirror) from which a net sees an image (H, W) through a crop (h, w).

    1     the centre
    9     a grid of 3 x 3 over the image, not mirrored (`cifar` of cuda-convnet2)
    10    upper left, upper right, centre, lower left, lower right; then the same mirrored (cuda-convnet, and `image`)
    """
    down, right = image[0] - crop[0], image[1] - crop[1]
    middle = (down // 2, right // 2)
    if count == 1:
        return ((*middle, 0),)
    if count == 9:
        return tuple((y, x, 0) for y in (0, middle[0], down) for x in (0, middle[1], right))
    if count == 10:
        places = ((0, 0), (0, right), middle, (down, 0), (down, right))
        return tuple((y, x, mirror) for mirror in (0, 1) for y, x in places)
    raise UsageError(f"{count} views: there are 1, 9 and 10")


def minibatches(images: int, batch: int, parts: Sequence[int] = ()) -> list[tuple[int, int]]:
    """(first, end) of every minibatch of an epoch: consecutive images, none of two parts."""
    found, start = [], 0
    for size in parts or (images,):
        found += [(first, min(first + batch, start + size)) for first in range(start, start + size, batch)]
        start += size
    return found


def _check(images: Images, batch: int, crop: tuple[int, int] | None) -> None:
    _, _, height, width = images.pixels.shape
    if batch < 1:
        raise DataError(f"a minibatch of {batch} images; it needs at least 1")
    if crop is not None and not (1 <= crop[0] <= height and 1 <= crop[1] <= width):
        raise DataError(f"a crop of {crop[0]}x{crop[1]} from images of {height}x{width} (H x W); it must fit in them")


def _batches(
    images: Images,
    batch: int,
    seed: int,
    start: int,
    stop: int,
    crop: tuple[int, int] | None,
    mirror: bool,
    shuffle: bool,
) -> Iterator[Batch]:
    parts = minibatches(len(images), batch, () if shuffle else images.parts)
    order, order_epoch = np.arange(len(images)), -1
    for step in range(start, stop):
        epoch, position = divmod(step, len(parts))
        if shuffle and epoch != order_epoch:
            order = random.permutation(random.derive_key(seed, "shuffle", epoch), len(images))
            order_epoch = epoch
        crops = _draw_crops(images, batch, random.derive_key(seed, "crop", step), crop, mirror)
        yield _gather(images, order[slice(*parts[position])], batch, crops, step, epoch)


def _draw_crops(
    images: Images, batch: int, key: tuple[int, int], crop: tuple[int, int] | None, mirror: bool
) -> NDArray[np.int32]:
    _, _, height, width = images.pixels.shape
    h, w = crop or (height, width)
    # Three numbers to an image, whether used or not: turning mirroring on does not move the crops.
    choices = np.array([height - h + 1, width - w + 1, 2 if mirror else 1])
    drawn: NDArray[np.int32] = (random.uniform(key, 3 * batch).reshape(batch, 3) * choices).astype(np.int32)
    return drawn


def _gather(
    images: Images, chosen: NDArray[np.int64], batch: int, crops: NDArray[np.int32], step: int, epoch: int
) -> Batch:
    count = len(chosen)
    # Real pixels as padding: whatever a net does with them, it meets nothing that it could not meet anyway.
    index = np.concatenate([chosen, np.repeat(chosen[:1], batch - count)])
    labels = images.labels[index]
    labels[count:] = -1
    return Batch(images.pixels.take(index, axis=0), labels, crops, count, step, epoch)


def _run(batches: Iterator[Batch], out: queue.Queue[Batch | BaseException | None], stop: threading.Event) -> None:
    """The thread: the batches, then the exception that ended them or None."""

    def put(item: Batch | BaseException | None) -> bool:
        while not stop.is_set():
            try:
                out.put(item, timeout=0.1)
                return True
            except queue.Full:
                pass
        return False

    try:
        for item in batches:
            if not put(item):
                return
        put(None)
    except BaseException as error:
        put(error)
