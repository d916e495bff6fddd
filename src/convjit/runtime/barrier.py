"""How long threads take to meet: the cost of a launch that must wait, which tells how near their processors are."""

from __future__ import annotations

import ctypes
import time

import numpy as np

from convjit.codegen.driver import DRIVER, LINE, ROW, driver_text, state_stride
from convjit.codegen.jit import Loader, compile_object
from convjit.codegen.target import Target, host_target
from convjit.runtime.threads import Team, yield_address

__all__ = ["measure_barrier"]

_BARRIERS = 2_000
_TIMES = 9


def measure_barrier(threads: int, target: Target | None = None) -> float:
    """Nanoseconds from barrier to barrier of launches without tasks, the best of some walks.

    About 100 where processors share a cache, several hundred where they do not.
    """
    target = target or host_target()
    loader, team = Loader(), Team(threads)
    loader.add(compile_object(driver_text(target), target))
    driver = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 9)(loader.address(DRIVER))
    table = np.zeros((_BARRIERS, ROW), np.int64)
    table[:, 3] = 1
    state = np.zeros((_BARRIERS + 1) * state_stride(threads) + LINE, np.int64)
    place = -(-state.ctypes.data // 64) * 64

    def seconds(barriers: int) -> float:
        state[:] = 0
        where = table.ctypes.data, 0, barriers, place, threads
        start = time.perf_counter()
        team.run(lambda thread: driver(*where, thread, None, None, yield_address()))
        return time.perf_counter() - start

    try:
        best, started = (min(seconds(count) for _ in range(_TIMES)) for count in (_BARRIERS, 1))
    finally:
        team.close()
    return max(best - started, 0.0) / _BARRIERS * 1e9
