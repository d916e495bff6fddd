"""Where a run stands, and the time that it has taken."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from convjit.train.sums import NO_SUMS, Sums

__all__ = ["Clock", "Position"]


@dataclass
class Position:
    """Where a run stands; part of its checkpoints."""

    step: int = 0
    reported: int = 0
    interval: Sums = NO_SUMS
    epoch: Sums = NO_SUMS
    train_loss: float = 0.0
    train_error: float = 0.0


@dataclass
class Clock:
    """Time spent on minibatches by this process."""

    began: float = field(default_factory=time.perf_counter)
    seconds: float = 0.0
    images: int = 0
    waited: float = 0.0
    """Seconds of them spent waiting for data."""
    _reported: tuple[float, int, float] = (0.0, 0, 0.0)

    def add(self, seconds: float, images: int, waited: float) -> None:
        self.seconds += seconds
        self.images += images
        self.waited += waited

    def rate(self) -> tuple[float, float]:
        """Images per second since this was asked for last, and the share of the time that was spent waiting."""
        then, before, waited = self._reported
        seconds = self.seconds - then
        self._reported = (self.seconds, self.images, self.waited)
        return ((self.images - before) / seconds, (self.waited - waited) / seconds) if seconds else (0.0, 0.0)
