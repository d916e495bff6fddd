"""Threads that decode images beside the threads that compute, a few batches ahead.

What a batch holds depends on its images' numbers and on (seed, epoch) alone, whichever thread decodes what and when.
An image that cannot be decoded is replaced by the next one of the set that can; it is named once, and too many of them
end the run: more than 1 % (10 in a set below 1,000), or 100 in a row.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from convjit import settings
from convjit.data.augment import Augmentation, Draws, draw
from convjit.data.batch import Batch, Choice, augmented, drawn_labels
from convjit.data.decode import BrokenImageError, Picture, decode_picture, quiet
from convjit.data.encoded import Encoded
from convjit.data.kept import Kept
from convjit.data.preprocessing import Preprocessing, Window, cover
from convjit.errors import DataError, UsageError

__all__ = ["FEW", "MANY_IN_A_ROW", "Decoder", "allowed", "decoders", "image_memory"]

Pixels = NDArray[np.uint8]
_Region = tuple[float, float, float, float]  # top, left, height, width

FEW = 10
"""Broken images that a set below 1,000 may have."""
MANY_IN_A_ROW = 100

_AHEAD = 2
_MEGABYTES = 1000
_NICE = 5
"""Compute threads go first, and decoding fills the time that they wait for one another."""


def allowed(images: int) -> int:
    """How many images of a set may be broken."""
    return images // 100 if images >= 1000 else FEW


def decoders() -> int:
    """How many threads decode: CONVJIT_DECODERS, else one for each core that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return _whole("CONVJIT_DECODERS", settings.decoders(), cores, 1, 1024)


def image_memory() -> int:
    """Bytes of decoded images that are kept for the next time: CONVJIT_IMAGE_MEMORY, in megabytes."""
    return _whole("CONVJIT_IMAGE_MEMORY", settings.image_memory(), _MEGABYTES, 0, 10**9) * 10**6


def _whole(name: str, text: str | None, default: int, least: int, most: int) -> int:
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) < 12 and least <= int(text) <= most):
        raise UsageError(f"{name}={text}: a whole number from {least} to {most} is needed")
    return int(text)


@dataclass(frozen=True, eq=False)
class _Decoded:
    """One image in its place: which one it is, where its crop lies, and the broken ones that were passed over."""

    index: int
    region: _Region
    broken: tuple[tuple[int, str], ...]


class Decoder:
    """Decodes the images of a set for one use of them: training if there is an augmentation, else testing.

    Decoding ends when `stop` is set. What is decoded is kept in `kept`, if that is given: for training as it was
    decoded, for tests as the net is given it. Close it, so that its threads end.
    """

    def __init__(
        self,
        images: Encoded,
        preprocessing: Preprocessing,
        augmentation: Augmentation | None = None,
        seed: int = 0,
        stop: threading.Event | None = None,
        kept: Kept | None = None,
    ) -> None:
        if why := preprocessing.check():
            raise DataError(f"the net wants images of {why}")
        self.images, self.preprocessing, self._seed = images, preprocessing, seed
        self._augmentation = augmentation
        detail = augmentation.detail if augmentation else 1.0
        self._least = preprocessing.least(detail)
        self._kept = kept or Kept(0)
        self._pictures: dict[int, Picture] = self._kept.shelf(images, (preprocessing, detail))
        self._windows: dict[int, Pixels] = self._kept.shelf(images, preprocessing)
        # Two reasons to end: the caller has no more use for batches, and the owner says so.
        self._closed, self._stop = threading.Event(), stop or threading.Event()
        self._broken: dict[int, str] = {}
        self._in_a_row, self._first = 0, ""
        quiet()
        self._pool = ThreadPoolExecutor(decoders(), "convjit-decode", initializer=_step_back)

    def batches(self, choices: Iterable[Choice]) -> Iterator[Batch]:
        """The batches of these choices, in order, decoded a few ahead. DataError when too many images are broken."""
        waiting: deque[Callable[[], Batch]] = deque()
        for choice in choices:
            waiting.append(self._begin(choice))
            if len(waiting) > _AHEAD:
                yield waiting.popleft()()
        while waiting:
            yield waiting.popleft()()

    def _begin(self, choice: Choice) -> Callable[[], Batch]:
        """Hand a batch's images to the threads; what is returned waits for them."""
        pixels = np.empty((len(choice.index), *self.preprocessing.image), np.uint8)
        draws = draw(self._augmentation, self._seed, choice.epoch, choice.index) if self._augmentation else None
        futures: list[Future[_Decoded]] = [
            self._pool.submit(self._decode, int(choice.index[i]), pixels[i], draws, i) for i in range(choice.count)
        ]
        return lambda: self._finish(choice, pixels, draws, list(self._results(futures)))

    def _results(self, futures: Iterable[Future[_Decoded]]) -> Iterator[_Decoded]:
        for future in futures:
            if self._stop.is_set():
                # Nobody waits for this batch any more; what is left of it is cancelled.
                raise DataError("decoding was stopped")
            yield future.result()

    def _decode(self, index: int, out: Pixels, draws: Draws | None, row: int) -> _Decoded:
        broken: list[tuple[int, str]] = []
        for one in chain(range(index, len(self.images)), range(index)):
            if self._closed.is_set() or self._stop.is_set() or len(broken) == MANY_IN_A_ROW:
                break
            try:
                return _Decoded(one, self._fill(one, out, draws, row), tuple(broken))
            except BrokenImageError as error:
                broken.append((one, str(error)))
        return _Decoded(-1, (0, 0, 0, 0), tuple(broken))

    def _fill(self, index: int, out: Pixels, draws: Draws | None, row: int) -> _Region:
        """Fill `out` with an image; the region of it that the crop is to show."""
        if draws is not None:
            if (picture := self._pictures.get(index)) is None:
                picture = self._picture(index)
                self._kept.add(self._pictures, index, picture, picture.bytes)
            return self._place(picture, out, draws.row(row))
        if (window := self._windows.get(index)) is not None:
            np.copyto(out, window)
        else:
            self.preprocessing.centre(self._picture(index), out)
            if self._kept.fits(out.nbytes):
                self._kept.add(self._windows, index, out.copy(), out.nbytes)
        return 0, 0, *self.preprocessing.size

    def _picture(self, index: int) -> Picture:
        if index in self._broken:
            raise BrokenImageError(self._broken[index])
        try:
            data = self.images.read(index)
        except OSError as error:
            raise BrokenImageError(f"cannot be read: {error.strerror or error}") from None
        return decode_picture(data, self._least)

    def _place(self, picture: Picture, out: Pixels, drawn: Draws) -> _Region:
        """Fill `out` with the part of an image that was drawn, and what else is looked at."""
        (height, width), seen = self.preprocessing.size, self.preprocessing.seen
        rows, columns = cover(picture.height, picture.width, (height, width))
        region = drawn.regions((rows, columns), seen)[0].tolist()
        if not drawn.augmentation.warps:
            # Nothing beyond the crop is looked at.
            self.preprocessing.take(picture, Window(rows, columns, region[0], region[1], *seen), out)
            return 0, 0, *seen
        # Scaled so that the region is as large as the crop, with as much around it as there is room for.
        down, across = seen[0] / region[2], seen[1] / region[3]
        above, high = _around(rows * down, region[0] * down, seen[0], height)
        before, wide = _around(columns * across, region[1] * across, seen[1], width)
        window = Window(
            rows * down, columns * across, region[0] * down - above, region[1] * across - before, high, wide
        )
        self.preprocessing.take(picture, window, out)
        out[:, high:, :wide] = out[:, high - 1 : high, :wide]
        out[:, :, wide:] = out[:, :, wide - 1 : wide]
        return above, before, *seen

    def _finish(self, choice: Choice, pixels: Pixels, draws: Draws | None, decoded: list[_Decoded]) -> Batch:
        news = tuple(line for one in decoded for line in self._note(one))
        count, more = choice.count, len(pixels) - choice.count
        pixels[count:] = pixels[0]
        decoded += decoded[:1] * more
        index = np.array([one.index for one in decoded], np.int64)
        labels = self.images.labels[index]
        targets = None if self.images.targets is None else self.images.targets[index]
        if draws is not None and targets is not None:
            labels = drawn_labels(targets, self._seed, choice.epoch, index)
        labels[count:] = -1
        crops = np.zeros((len(pixels), 3), np.int32)
        if draws is None:
            # Nothing is tested on an image that stands in for another.
            stand_ins = index != choice.index
            index[stand_ins] = labels[stand_ins] = -1
        batch = Batch(pixels, labels, crops, count, choice.step, choice.epoch, index, targets=targets, broken=news)
        if draws is None:
            return batch
        return augmented(batch, draws, np.array([one.region for one in decoded], np.float64), self.preprocessing.seen)

    def _note(self, one: _Decoded) -> Iterator[str]:
        """Lines about the images found broken now; DataError past the limit. Called in the order of the images."""
        for index, reason in one.broken:
            self._in_a_row += 1
            line = f"{self.images.name(index)}: {reason}"
            if index not in self._broken:
                self._broken[index] = reason
                self._first = self._first or line
                yield line
            if self._in_a_row >= MANY_IN_A_ROW:
                raise DataError(f"{MANY_IN_A_ROW} broken images in a row, the last: {line}; mend the set")
            if len(self._broken) > allowed(len(self.images)):
                limit = "1 %" if len(self.images) >= 1000 else str(FEW)
                raise DataError(
                    f"{len(self._broken)} of {len(self.images)} images are broken, first {self._first}; "
                    f"allowed are {limit}: mend or remove them"
                )
        if one.index < 0:
            raise DataError(f"no image of the set can be decoded, first {self._first}")
        self._in_a_row = 0

    def close(self) -> None:
        """End the threads; images that wait are dropped."""
        self._closed.set()
        self._pool.shutdown(wait=False, cancel_futures=True)


def _around(total: float, start: float, size: int, most: int) -> tuple[int, int]:
    """(before, length) of up to `most` whole pixels around `size` that begin at `start` of `total`."""
    room, before, after = most - size, math.floor(start), math.floor(total - start - size + 1e-6)
    before = min(before, max(room // 2, room - after))
    return before, size + before + min(after, room - before)


def _step_back() -> None:
    """Give way to the threads that compute, where the system knows priorities of threads."""
    if hasattr(os, "setpriority"):
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), os.getpriority(os.PRIO_PROCESS, 0) + _NICE)
