"""How fast a net trains here: whole steps on random data, and each launch against what this machine allows.

The roof of a launch is the longer of two times: that of its operations at the peak of multiply-adds, and that of its
bytes at the rate of the memory into which they all fit. What it takes beyond its roof is lost.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import numpy as np

from convjit.graph.lower import Dtype, lower
from convjit.graph.net import Net
from convjit.program import MOST_IMAGES, Role
from convjit.program.traffic import traffic
from convjit.runtime import Executor, LaunchTime, Store, Ways, host_target, thread_count
from convjit.runtime.bandwidth import Memory, measure_memory
from convjit.runtime.barrier import measure_barrier
from convjit.runtime.compiler import Progress
from convjit.runtime.fit import Fitted, fit
from convjit.runtime.machine import processor_name
from convjit.runtime.peak import Peak
from convjit.train.initial import initial_weights

__all__ = ["COMPUTE", "BenchResult", "LaunchResult", "benchmark"]


_MANY = 128
"""Images of a step, for which the algorithms are chosen that few images keep to."""
COMPUTE = "compute"
"""The roof of a launch whose operations take longer than its memory."""


@dataclass(frozen=True)
class LaunchResult:
    """One launch of the step; `flops` are those of direct convolution, `bytes` what it reads and writes."""

    name: str
    op: str
    ms: float
    flops: int
    bytes: int
    bound: str
    """Which roof it is under: COMPUTE, or the name of the memory level that its data fit into."""
    roof_ms: float

    @property
    def gflops(self) -> float:
        """GFLOP/s."""
        return self.flops / self.ms / 1e6

    @property
    def gbps(self) -> float:
        """GB/s, read and written."""
        return self.bytes / self.ms / 1e6

    @property
    def intensity(self) -> float:
        """FLOP per byte."""
        return self.flops / self.bytes if self.bytes else 0.0

    @property
    def share(self) -> float:
        """Share of the roof; Winograd's filtering needs fewer operations than are counted and may pass 1."""
        return self.roof_ms / self.ms

    @property
    def lost_ms(self) -> float:
        """Time beyond the roof."""
        return max(self.ms - self.roof_ms, 0.0)


@dataclass(frozen=True)
class BenchResult:
    """A training step's speed; times are medians, `gflops` counts the operations of direct convolution."""

    images_per_s: float
    ms: float
    gflops: float
    peak_gflops: float
    memory: Memory
    barrier_ns: float
    """From one launch to the next that waits for it, without tasks: before the steps or after, whichever was longer."""
    processor: str
    target: str
    threads: int
    batch: int
    dtype: Dtype
    launches: tuple[LaunchResult, ...]
    fitted: Fitted | None = None
    """What was done for a limit of memory."""

    @property
    def worst(self) -> list[LaunchResult]:
        """Launches by the time that they lose, most first."""
        return sorted(self.launches, key=lambda one: -one.lost_ms)


def benchmark(
    net: Net,
    batch: int,
    threads: int | None = None,
    *,
    dtype: Dtype = "fp32",
    seconds: float = 4.0,
    limit: int | None = None,
    forward: bool = False,
    progress: Progress | None = None,
) -> BenchResult:
    """Time training steps of `batch` images for about `seconds`, the machine before and after, and profiled steps.

    The data are random and the learning rates those of the first step, so that all work of a real step is done. It is
    done in at most `limit` bytes. `forward` takes predictions in the place of steps, from weights that stay the same.
    """
    store, program, ways, fitted = Store(), lower(net, batch, dtype=dtype), Ways(), None
    if limit is not None:
        fitted = fit(program, limit, ways, threads=thread_count(threads))
        program, ways = fitted.program, fitted.ways
    if forward:
        target = host_target()
        few = target.lanes if batch <= MOST_IMAGES and dtype == "fp32" else 0
        program = lower(net, batch, "predict", dtype=dtype, few=few)
        if few:
            # As predictions are made: with the bits of those of many images.
            ways = ways.pinned(lower(net, _MANY, "predict"), target)
    with Executor(program, store, threads=threads, ways=ways, constant=forward, progress=progress) as executor:
        _fill(executor, net, store)
        peak = Peak(executor.threads)
        try:
            for _ in range(3):
                executor.run()
            memory, barrier = measure_memory(executor.threads), measure_barrier(executor.walkers)
            peaks, end = [peak.measure()], time.perf_counter() + seconds
            steps: list[float] = []
            while len(steps) < 5 or time.perf_counter() < end:
                start = time.perf_counter()
                executor.run()
                steps.append(time.perf_counter() - start)
            peaks.append(peak.measure())
            memory = memory.best(measure_memory(executor.threads))
            barrier = max(barrier, measure_barrier(executor.walkers))
            profiled, end = [executor.profile()], time.perf_counter() + seconds / 2
            while len(profiled) < 3 or (len(profiled) < 15 and time.perf_counter() < end):
                profiled.append(executor.profile())
        finally:
            peak.close()
        best, median = max(peaks), statistics.median(steps)
        flops = executor.program.flops()
        launches = tuple(_launch(executor, times, best, memory) for times in zip(*profiled, strict=True))
    return BenchResult(
        batch / median,
        median * 1e3,
        flops / median / 1e9,
        best,
        memory,
        barrier,
        processor_name(),
        executor.target.name,
        executor.threads,
        batch,
        dtype,
        launches,
        fitted,
    )


def _launch(executor: Executor, times: tuple[LaunchTime, ...], peak: float, memory: Memory) -> LaunchResult:
    launch, batch = times[0].launch, executor.program.batch
    ms = max(statistics.median(t.seconds for t in times) * 1e3, 1e-6)
    flops, moved = launch.op.flops() * batch, traffic(launch, batch, executor.target.lanes)
    level = memory.holding(moved.touched)
    computing, moving = flops / peak / 1e6, level.seconds(moved.touched, moved.written) * 1e3
    bound = COMPUTE if computing >= moving else level.name
    return LaunchResult(
        launch.name, launch.op.kind(), ms, flops, moved.read + moved.written, bound, max(computing, moving)
    )


def _fill(executor: Executor, net: Net, store: Store) -> None:
    """Random images and labels, initial weights, the first step's rates."""
    random = np.random.default_rng(0)
    for name, array in initial_weights(net, seed=1).items():
        store[name][...] = array
    for name, array in executor.host.items():
        if name == "pixels":
            array[...] = random.integers(0, 256, array.shape)
        elif name == "labels":
            array[...] = random.integers(0, max(net.classes, 2), array.shape)
        elif name == "mean":
            array[...] = 120.0
    for name, learned in net.learned().items():
        if f"{name}.rates" in executor.host:
            executor.host[f"{name}.rates"][...] = learned.rates(0.0, 0.0, 1 / executor.program.batch, 0)
    assert all(b.role is not Role.INPUT or b.name in executor.host for b in executor.program.buffers().values())
