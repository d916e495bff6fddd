"""Minibatches, prepared in a thread while the step before is computed.

B images to a batch. Everything is a function of (seed, epoch, image), so a feeder that starts at any step hands out
what one that ran there would have.
"""

from __future__ import annotations

import queue
import threading
import weakref
from collections.abc import Generator, Iterator
from types import TracebackType
from typing import Self

import numpy as np

from convjit.data.augment import Augmentation, draw
from convjit.data.batch import Batch, Choice, augmented, chosen, drawn_labels, in_order, minibatches
from convjit.data.dataset import Images, parts_of
from convjit.data.decoder import Decoder, image_memory
from convjit.data.encoded import Encoded
from convjit.data.kept import Kept
from convjit.data.preprocessing import Preprocessing
from convjit.errors import DataError, UsageError

__all__ = ["Feeder", "batches_in_order", "views"]

_AHEAD = 2
_WHOLE = Augmentation()


class Feeder:
    """Iterator over the batches of steps `start_step` .. `stop_step - 1`.

    `augmentation` says what is drawn for each image; `shuffle` draws a new order for every epoch; without it batches
    hold consecutive images of one data batch. The last batch of an epoch or part may be short. Encoded
    images need a `preprocessing`. What goes wrong in the thread is raised by `next`. Close it, or use it in a `with`
    statement. Decoded images are kept in `kept`, by default as many as the settings allow. Raises DataError for a crop
    larger than the images or an empty batch.
    """

    def __init__(
        self,
        images: Images | Encoded,
        batch: int,
        *,
        seed: int,
        start_step: int = 0,
        stop_step: int,
        shuffle: bool,
        augmentation: Augmentation = _WHOLE,
        preprocessing: Preprocessing | None = None,
        kept: Kept | None = None,
    ) -> None:
        _check(images, batch, augmentation.crop)
        parts = parts_of(images) if not shuffle else ()
        self.steps_per_epoch = len(minibatches(len(images), batch, parts))
        self._queue: queue.Queue[Batch | BaseException | None] = queue.Queue(_AHEAD)
        self._stop = threading.Event()
        self._done = False
        choices = in_order(len(images), batch, parts, seed=seed, start=start_step, stop=stop_step, shuffle=shuffle)
        kept = kept or Kept(image_memory())
        batches = _prepared(images, choices, preprocessing, kept, augmentation, seed, self._stop)
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


def batches_in_order(
    images: Images | Encoded, batch: int, preprocessing: Preprocessing | None = None, kept: Kept | None = None
) -> Generator[Batch, None, None]:
    """All images once, in order, as a whole: the middle of those that are encoded, which may be in `kept`."""
    order = np.arange(len(images))
    choices = (chosen(order[s:e], batch, step, 0) for step, (s, e) in enumerate(minibatches(len(images), batch)))
    return _prepared(images, choices, preprocessing, kept)


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


def _size(images: Images | Encoded, preprocessing: Preprocessing | None) -> tuple[int, int]:
    """(H, W) of every image, as batches hold them."""
    if isinstance(images, Images):
        return images.pixels.shape[2], images.pixels.shape[3]
    if preprocessing is None:
        raise UsageError("images of many sizes need a preprocessing that says how they come to one")
    return preprocessing.size


def _check(images: Images | Encoded, batch: int, crop: tuple[int, int] | None) -> None:
    if batch < 1:
        raise DataError(f"a minibatch of {batch} images; it needs at least 1")
    if crop is None:
        return
    height, width = images.pixels.shape[2:] if isinstance(images, Images) else crop
    if not (1 <= crop[0] <= height and 1 <= crop[1] <= width):
        raise DataError(f"a crop of {crop[0]}x{crop[1]} from images of {height}x{width} (H x W); it must fit in them")


def _prepared(
    images: Images | Encoded,
    choices: Iterator[Choice],
    preprocessing: Preprocessing | None,
    kept: Kept | None,
    augmentation: Augmentation | None = None,
    seed: int = 0,
    stop: threading.Event | None = None,
) -> Generator[Batch, None, None]:
    """The batches of these choices; without an augmentation images as a whole."""
    if isinstance(images, Images):
        for choice in choices:
            yield _gather(images, choice, augmentation, seed)
        return
    _size(images, preprocessing)
    assert preprocessing is not None
    decoder = Decoder(images, preprocessing, augmentation, seed, stop, kept)
    try:
        yield from decoder.batches(choices)
    finally:
        decoder.close()


def _gather(images: Images, choice: Choice, augmentation: Augmentation | None, seed: int) -> Batch:
    targets = None if images.targets is None else images.targets[choice.index]
    if targets is None or augmentation is None:
        labels = images.labels[choice.index]
    else:
        labels = drawn_labels(targets, seed, choice.epoch, choice.index)
    labels[choice.count :] = -1
    pixels = images.pixels.take(choice.index, axis=0)
    crops = np.zeros((len(pixels), 3), np.int32)
    batch = Batch(pixels, labels, crops, choice.count, choice.step, choice.epoch, choice.index, targets=targets)
    if augmentation is None:
        return batch
    size = pixels.shape[2], pixels.shape[3]
    crop = augmentation.crop or size
    draws = draw(augmentation, seed, choice.epoch, choice.index)
    return augmented(batch, draws, draws.regions(size, crop), crop)


def _run(
    batches: Generator[Batch, None, None], out: queue.Queue[Batch | BaseException | None], stop: threading.Event
) -> None:
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
    finally:
        batches.close()
