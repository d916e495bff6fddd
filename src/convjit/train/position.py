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
    _reported: tuple[float, int] = (0.0, 0)

    def add(self, seconds: float, images: int) -> None:
        self.seconds += seconds
        self.images += images

    def rate(self) -> float:
        """Images per second since this was asked for last."""
        seconds, images = self.seconds - self._reported[0], self.images - self._reported[1]
        self._reported = (self.seconds, self.images)
        return images / seconds if seconds else 0.0
