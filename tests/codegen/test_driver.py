"""Who runs which task: kernels that only note that they were called."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from convjit.codegen.driver import DRIVER, ROW, driver_text, state_stride
from convjit.codegen.jit import Loader, compile_object
from convjit.codegen.target import host_target
from convjit.codegen.waiting import LINE
from convjit.runtime.threads import Team

KERNEL = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p)
Noted = tuple[int, int, int]
"""Launch, thread and task."""


class Walk:
    """A table of launches with so many tasks each, of which the first is task 100 * launch."""

    def __init__(self, loader: Loader, counts: list[int], threads: int) -> None:
        self.noted: list[Noted] = []
        self.kernels = [KERNEL(self._note(launch)) for launch in range(len(counts))]
        self.table = np.zeros((len(counts), ROW), np.int64)
        for launch, (kernel, tasks) in enumerate(zip(self.kernels, counts, strict=True)):
            address = ctypes.cast(kernel, ctypes.c_void_p).value or 0
            self.table[launch] = address, tasks, 0, int(launch > 0), 100 * launch
        self.stride, self.threads = state_stride(threads), threads
        self.memory = np.zeros((len(counts) + 1) * self.stride + LINE, np.int64)
        self.state = self.memory[-(self.memory.ctypes.data // 8) % LINE :]
        self.driver = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 9)(loader.address(DRIVER))
        self.yield_ = ctypes.CFUNCTYPE(ctypes.c_int32)(lambda: 0)

    def _note(self, launch: int) -> Callable[[int, int, int], None]:
        # A thread's scratch is its number: kernels are told it.
        return lambda task, _, scratch: self.noted.append((launch, (scratch or 0) - 1, task - 100 * launch))

    def go(self, thread: int) -> None:
        give_way = ctypes.cast(self.yield_, ctypes.c_void_p)
        where = 0, len(self.table), self.state.ctypes.data, self.threads, thread, thread + 1
        self.driver(self.table.ctypes.data, *where, None, give_way)

    def alone(self, thread: int) -> list[Noted]:
        """What a thread does while the others sleep before the barriers."""
        self.state[:: self.stride] = self.threads - 1
        self.go(thread)
        return self.noted


@pytest.fixture(scope="module")
def loader() -> Iterator[Loader]:
    target = host_target()
    loader = Loader()
    loader.add(compile_object(driver_text(target), target))
    yield loader


def test_a_thread_begins_with_its_share_and_goes_on_with_the_next(loader: Loader) -> None:
    tasks = [task for _, _, task in Walk(loader, [12], 3).alone(1)]
    assert tasks == [4, 5, 6, 7, 8, 9, 10, 11, 0, 1, 2, 3]


def test_what_others_have_begun_is_not_done_again(loader: Loader) -> None:
    walk = Walk(loader, [12], 3)
    walk.state[LINE::LINE][:3] = 1, 3, 4
    assert [task for _, _, task in walk.alone(2)] == [1, 2, 3, 7]


@pytest.mark.parametrize("counts", [[7, 1, 0, 5], [1, 2, 3], [64, 3, 64], [0], [3]])
@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_every_task_once_and_launches_in_their_order(loader: Loader, counts: list[int], threads: int) -> None:
    walk, team = Walk(loader, counts, threads), Team(threads)
    try:
        for _ in range(3):
            walk.memory[:] = 0
            walk.noted.clear()
            team.run(walk.go)
            assert [launch for launch, _, _ in walk.noted] == sorted(launch for launch, _, _ in walk.noted)
            for launch, count in enumerate(counts):
                assert sorted(t for one, _, t in walk.noted if one == launch) == list(range(count))
    finally:
        team.close()


def test_state_of_one_thread_does_not_share_a_cache_line_with_anothers(loader: Loader) -> None:
    walk = Walk(loader, [9, 9], 3)
    walk.alone(0)
    changed = np.flatnonzero(walk.state[: 2 * walk.stride])
    assert changed.tolist() == [8 * line for line in range(8)]
