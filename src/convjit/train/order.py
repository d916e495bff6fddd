"""Which minibatch comes when: an epoch's steps, and where in it a step lies.

With data batches (`parts`, their numbers of images) minibatches hold consecutive images of one data batch, of which the
last may be short; without, the whole training set counts as one.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

__all__ = ["Order", "Place"]


@dataclass(frozen=True)
class Place:
    """Where a run stands: whole epochs, whole data batches of the present one, steps in the present data batch."""

    epoch: int
    part: int
    step: int


@dataclass(frozen=True)
class Order:
    """Minibatches of up to `batch` images from data batches of so many."""

    parts: tuple[int, ...]
    batch: int

    @cached_property
    def _ends(self) -> list[int]:
        """Steps of an epoch that are done when a data batch ends."""
        return list(accumulate(-(-size // self.batch) for size in self.parts))

    @property
    def steps_per_epoch(self) -> int:
        """Minibatches of an epoch."""
        return self._ends[-1]

    def place(self, step: int) -> Place:
        """Where a run is that has done `step` steps."""
        epoch, rest = divmod(step, self.steps_per_epoch)
        part = bisect_right(self._ends, rest)
        return Place(epoch, part, rest - (self._ends[part - 1] if part else 0))

    def step(self, place: Place) -> int:
        """The steps done at a place; a data batch that is not there lies at the epoch's end."""
        ends = [0, *self._ends]
        part = min(place.part, len(self.parts))
        inside = place.step if part == place.part < len(self.parts) else 0
        most = ends[min(part + 1, len(self.parts))]
        return place.epoch * self.steps_per_epoch + min(ends[part] + inside, most)

    def epoch(self, step: int) -> float:
        """Epochs that are done, in whole data batches."""
        place = self.place(step)
        return (place.epoch * len(self.parts) + place.part) / len(self.parts)
