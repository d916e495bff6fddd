"""How long threads take to meet: the cost of a launch that must wait, which tells how near their processors are."""

from __future__ import annotations

import time

import numpy as np

from convjit.codegen.driver import ROW
from convjit.runtime.walk import Walkers

__all__ = ["measure_barrier"]

_BARRIERS = 2_000
_TIMES = 9


def measure_barrier(walkers: Walkers) -> float:
    """Nanoseconds from barrier to barrier of launches without tasks, the best of some walks.

    Below 100 where processors share a cache, several hundred where they do not.
    """
    table = np.zeros((_BARRIERS, ROW), np.int64)
    table[:, 3] = 1

    def seconds(barriers: int) -> float:
        start = time.perf_counter()
        walkers.walk(table, 0, barriers)
        return time.perf_counter() - start

    best, started = (min(seconds(count) for _ in range(_TIMES)) for count in (_BARRIERS, 1))
    return max(best - started, 0.0) / _BARRIERS * 1e9
