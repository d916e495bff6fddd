"""How fast memory is read and copied: by level of cache and beyond, on all threads at once."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convjit.codegen.caches import COMMON, Cache, caches
from convjit.codegen.jit import Loader, compile_object
from convjit.codegen.kernel import Kernel
from convjit.codegen.target import Target, host_target
from convjit.runtime.memory import allocate
from convjit.runtime.threads import Team

__all__ = ["Level", "Memory", "measure_memory"]

_WIDTH = 8
"""Vectors of one turn of a loop; as many sums, so that no addition waits."""
_TIMES = 10
_SECONDS = 1.5e-3
"""Of one measurement, about: long beside waking a thread, and short, so that some are left alone by other processes."""
_FIRST = 100_000
"""Turns of the run that shows how many make up that time."""
_BEYOND = (64 << 20, 512 << 20)
"""Least and most bytes that stand for memory beyond all caches."""


@dataclass(frozen=True)
class Level:
    """Memory of one kind; rates in GB/s of all threads together, where a copied byte counts twice."""

    name: str
    size: int
    """Bytes that were measured, of all threads together: half of the caches, since other data want room too."""
    read: float
    copy: float

    def seconds(self, touched: int, written: int) -> float:
        """Least time to fetch `touched` bytes, those that are written over among them, and to write some back.

        A copy fetches two bytes for every one that it writes back; what it takes beyond two fetches is the way back.
        """
        back = max(2 / self.copy - 2 / self.read, 0)
        return (touched / self.read + written * back) / 1e9


@dataclass(frozen=True)
class Memory:
    """All levels, the nearest first; the last one has no end."""

    levels: tuple[Level, ...]

    def best(self, other: Memory) -> Memory:
        """The better rates of two measurements: what else runs on a machine only makes memory slower."""
        pairs = zip(self.levels, other.levels, strict=True)
        return Memory(tuple(Level(a.name, a.size, max(a.read, b.read), max(a.copy, b.copy)) for a, b in pairs))

    def holding(self, size: int) -> Level:
        """The nearest level into which `size` bytes fit."""
        return next((level for level in self.levels if size <= level.size), self.levels[-1])


def measure_memory(threads: int, target: Target | None = None, found: Sequence[Cache] | None = None) -> Memory:
    """Measure every level, in a fifth of a second or so."""
    target, found = target or host_target(), found or caches() or COMMON
    loader, team = Loader(), Team(threads)
    for copy in (False, True):
        loader.add(compile_object(_text(target, copy), target))
    sizes = [(f"L{cache.level}", cache.reach(threads) // 2) for cache in found]
    low, high = _BEYOND
    sizes.append(("DRAM", max(low, min(8 * sizes[-1][1], high))))
    spans = [size // threads for _, size in sizes]
    # Written by the thread that uses it, so that its pages are near.
    memory = [allocate(max(spans)) for _ in range(threads)]
    team.run(lambda thread: memory[thread].fill(0))
    try:
        levels = [
            Level(name, size, *(_rate(team, loader, target, memory, span, copy) for copy in (False, True)))
            for (name, size), span in zip(sizes, spans, strict=True)
        ]
    finally:
        team.close()
    return Memory(tuple(levels))


def _rate(team: Team, loader: Loader, target: Target, memory: list[NDArray[np.uint8]], span: int, copy: bool) -> float:
    """GB/s of the best of some runs, each thread over `span` bytes of its own, halves of which are copied."""
    run = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p)(loader.address(_name(copy)))
    vector = 4 * target.lanes
    turns = max(span // (2 if copy else 1) // (vector * _WIDTH), 1)
    used = turns * _WIDTH * vector * (2 if copy else 1)
    counts = np.array([turns, 1], np.int32)
    sinks = [np.zeros(64, np.float32) for _ in range(team.size)]
    tables = [
        np.array([own.ctypes.data, own.ctypes.data + used // 2, counts.ctypes.data, sink.ctypes.data], np.int64)
        for own, sink in zip(memory, sinks, strict=True)
    ]

    def seconds() -> float:
        start = time.perf_counter()
        team.run(lambda thread: run(0, tables[thread].ctypes.data, None))
        return time.perf_counter() - start

    counts[1] = -(-_FIRST // turns)
    counts[1] = max(int(counts[1] * _SECONDS / seconds()), 1)
    best = min(seconds() for _ in range(_TIMES))
    return float(used * counts[1] * team.size / best / 1e9)


def _name(copy: bool) -> str:
    return "copy_memory" if copy else "read_memory"


def _text(target: Target, copy: bool) -> str:
    k = Kernel(_name(copy), ("source", "target", "counts", "sink"), target)
    source, destination, counts = k.vectors("source"), k.vectors("target"), k.integers("counts")
    turns, rounds = (k.to_index(counts.load(i)) for i in range(2))
    sums = k.variables(_WIDTH)
    for place in sums:
        place.store(k.number(0))
    with k.loop(0, rounds, name="round"), k.loop(0, turns * _WIDTH, _WIDTH, name="vector") as i:
        for step, place in enumerate(sums):
            if copy:
                destination.store(source.load(i + step), i + step)
            else:
                place.store(place.load() + source.load(i + step))
    total = k.number(0)
    for place in sums:
        total = total + place.load()
    k.loose_vectors(k.scalars("sink")).store(total)
    return k.finish()
