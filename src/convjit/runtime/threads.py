"""How many threads to use, and the threads themselves."""

from __future__ import annotations

import contextlib
import ctypes
import os
import queue
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from convjit import settings
from convjit.errors import UsageError

__all__ = ["MOST_THREADS", "Team", "default_threads", "quota", "thread_count", "yield_address"]

MOST_THREADS = 1024


def quota(root: Path = Path("/sys/fs/cgroup"), processes: Path = Path("/proc/self/cgroup")) -> float | None:
    """Processors that the control group (version 2 or 1) grants to this process; None if it sets no limit."""
    limits: list[float] = []
    with contextlib.suppress(OSError, ValueError):
        for line in processes.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "":
                folders, read = [root], _quota_v2
            elif "cpu" in controllers.split(","):
                folders, read = [root / "cpu", root / "cpu,cpuacct"], _quota_v1
            else:
                continue
            for folder in folders:
                inner = folder / path.lstrip("/")
                for place in (inner, *inner.parents):
                    with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
                        limits += read(place)
                    if place == folder:
                        break
    return min(limits, default=None)


def _quota_v2(folder: Path) -> list[float]:
    most, period = (folder / "cpu.max").read_text().split()
    return [] if most == "max" else [int(most) / int(period)]


def _quota_v1(folder: Path) -> list[float]:
    most = int((folder / "cpu.cfs_quota_us").read_text())
    return [] if most <= 0 else [most / int((folder / "cpu.cfs_period_us").read_text())]


def default_threads() -> int:
    """What affinity, cores and quota allow, rounded down, at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limits = [float(cores)]
    if (granted := quota()) is not None:
        limits.append(granted)
    if (slurm := os.environ.get("SLURM_CPUS_PER_TASK", "")).isdecimal():
        limits.append(float(slurm))
    return max(1, int(min(limits)))


def thread_count(asked: int | None = None) -> int:
    """The number asked for by an option, else by CONVJIT_THREADS, else the default."""
    if asked is None:
        text = settings.thread_count()
        if text is None:
            return default_threads()
        if not (text.isascii() and text.isdecimal()):
            raise UsageError(f"CONVJIT_THREADS={text}: a whole number from 1 to {MOST_THREADS} is needed")
        asked = int(text)
    if not 1 <= asked <= MOST_THREADS:
        raise UsageError(f"{asked} threads: from 1 to {MOST_THREADS} are possible")
    return asked


def yield_address() -> int:
    """Address of the C function that yields the processor."""
    if sys.platform == "win32":
        function = ctypes.windll.kernel32.SwitchToThread
    else:
        function = ctypes.CDLL(None).sched_yield
    return ctypes.cast(function, ctypes.c_void_p).value or 0


class Team:
    """Threads that run one native function together; the caller is thread 0, the others wait between calls."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._calls: list[queue.SimpleQueue[Callable[[int], None] | None]] = [
            queue.SimpleQueue() for _ in range(size - 1)
        ]
        self._done = threading.Semaphore(0)
        self._threads = [
            threading.Thread(target=self._serve, args=(number,), name=f"convjit-{number}", daemon=True)
            for number in range(1, size)
        ]
        for thread in self._threads:
            thread.start()

    def _serve(self, number: int) -> None:
        calls = self._calls[number - 1]
        while (call := calls.get()) is not None:
            call(number)
            self._done.release()

    def run(self, call: Callable[[int], None]) -> None:
        """call(thread number) in every thread; returns when all have returned."""
        for calls in self._calls:
            calls.put(call)
        call(0)
        for _ in self._calls:
            self._done.acquire()

    def close(self) -> None:
        """End the threads."""
        for calls in self._calls:
            calls.put(None)
        for thread in self._threads:
            thread.join()
        self._calls, self._threads = [], []
