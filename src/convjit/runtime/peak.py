"""The machine's peak: multiply-adds on registers alone, on all threads at once."""

from __future__ import annotations

import ctypes
import statistics
import time

from convjit.codegen.jit import Loader, compile_object
from convjit.codegen.kernel import Kernel
from convjit.codegen.target import Target, host_target
from convjit.runtime.threads import Team

__all__ = ["Peak"]

_CHAINS = 12
"""Independent sums: latency times multipliers of every processor that we know, in 16 registers."""
_ROUNDS = 1_000_000


class Peak:
    """Measures the float32 peak again and again, since a shared machine's changes; close it at the end."""

    def __init__(self, threads: int, target: Target | None = None) -> None:
        self.target = target or host_target()
        self._loader = Loader()
        self._loader.add(compile_object(_text(self.target), self.target))
        self._run = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p)(
            self._loader.address("peak")
        )
        self._sinks = [(ctypes.c_float * 64)() for _ in range(threads)]
        self._tables = [(ctypes.c_void_p * 1)(ctypes.addressof(sink)) for sink in self._sinks]
        self._team = Team(threads)

    def measure(self, times: int = 5) -> float:
        """GFLOP/s: the median of some runs of a few milliseconds."""
        flops = 2.0 * _CHAINS * _ROUNDS * self.target.lanes * self._team.size
        found = []
        for _ in range(times):
            start = time.perf_counter()
            self._team.run(lambda thread: self._run(0, ctypes.addressof(self._tables[thread]), None))
            found.append(flops / (time.perf_counter() - start) / 1e9)
        return statistics.median(found)

    def close(self) -> None:
        """End the threads."""
        self._team.close()


def _text(target: Target) -> str:
    k = Kernel("peak", ("sink",), target)
    sums = k.variables(_CHAINS)
    factor = k.broadcast(k.scalars("sink").load(0))
    for place in sums:
        place.store(factor)
    with k.loop(0, _ROUNDS, name="round"):
        for place in sums:
            place.store(k.fma(factor, factor, place.load()))
    total = k.number(0)
    for place in sums:
        total = total + place.load()
    k.scalars("sink").store(k.lane_sum(total), 1)
    return k.finish()
