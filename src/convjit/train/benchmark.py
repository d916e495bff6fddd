"""How fast a net trains here: whole steps on random data, and each launch against the peak of this machine."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import numpy as np

from convjit.graph.lower import lower
from convjit.graph.net import Net
from convjit.program import Role
from convjit.runtime import Executor, LaunchTime, Store, thread_count
from convjit.runtime.compiler import Progress
from convjit.runtime.peak import Peak
from convjit.train.initial import initial_weights

__all__ = ["BenchResult", "LaunchResult", "benchmark"]


@dataclass(frozen=True)
class LaunchResult:
    """One launch of the step; `share` is that of the peak in floating-point operations, 0 for ops that only move
    data.
    """

    name: str
    op: str
    ms: float
    gflops: float
    gbps: float
    share: float


@dataclass(frozen=True)
class BenchResult:
    """A training step's speed; times are medians, `gflops` counts the operations of direct convolution."""

    images_per_s: float
    ms: float
    gflops: float
    peak_gflops: float
    threads: int
    batch: int
    launches: tuple[LaunchResult, ...]


def benchmark(
    net: Net,
    batch: int,
    threads: int | None = None,
    *,
    seconds: float = 4.0,
    progress: Progress | None = None,
) -> BenchResult:
    """Time training steps of `batch` images for about `seconds`, the peak before and after, and profiled steps.

    The data are random and the learning rates those of the first step, so that all work of a real step is done.
    """
    store = Store()
    with Executor(lower(net, batch, "train"), store, threads=threads, progress=progress) as executor:
        _fill(executor, net, store)
        peak = Peak(executor.threads)
        try:
            for _ in range(3):
                executor.run()
            peaks, end = [peak.measure()], time.perf_counter() + seconds
            steps: list[float] = []
            while len(steps) < 5 or time.perf_counter() < end:
                start = time.perf_counter()
                executor.run()
                steps.append(time.perf_counter() - start)
            peaks.append(peak.measure())
            profiled, end = [executor.profile()], time.perf_counter() + seconds / 2
            while len(profiled) < 3 or (len(profiled) < 15 and time.perf_counter() < end):
                profiled.append(executor.profile())
        finally:
            peak.close()
        best, median = max(peaks), statistics.median(steps)
        flops = executor.program.flops()
        launches = tuple(_launch(executor, times, best) for times in zip(*profiled, strict=True))
    return BenchResult(batch / median, median * 1e3, flops / median / 1e9, best, thread_count(threads), batch, launches)


def _launch(executor: Executor, times: tuple[LaunchTime, ...], peak: float) -> LaunchResult:
    launch, seconds = times[0].launch, max(statistics.median(t.seconds for t in times), 1e-9)
    gflops = launch.op.flops() * executor.program.batch / seconds / 1e9
    touched = {launch.buffers[o].name: launch.buffers[o] for o in launch.op.names}
    gbps = sum(executor.plan.bytes_of(b) for b in touched.values()) / seconds / 1e9
    return LaunchResult(launch.name, launch.op.kind(), seconds * 1e3, gflops, gbps, gflops / peak)


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
