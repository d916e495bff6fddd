"""The threads of an executor, and the native driver with which they walk tables of launches."""

from __future__ import annotations

import ctypes
import queue
import threading
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convjit.codegen.crew import ARGUMENTS, JOB, LEAD, POST, SERVE, SLEEPS, WOKEN, crew_text, mail_size
from convjit.codegen.driver import DRIVER, driver_text, state_stride
from convjit.codegen.jit import Loader, compile_object
from convjit.codegen.target import Target
from convjit.codegen.waiting import LINE
from convjit.runtime.threads import yield_address

__all__ = ["Walkers"]


class Walkers:
    """So many threads, of which the caller is one, each with scratch of its own if there is any. Close it, so that they
    end.

    Between walks they wait in native code for a little while, since waking one takes as long as a small net's launches;
    then they sleep.
    """

    def __init__(self, threads: int, target: Target, scratch: Sequence[NDArray[Any]] = ()) -> None:
        self.threads, self._scratch = threads, scratch
        self._loader = Loader()
        for code in _code(target):
            self._loader.add(code)
        self.driver = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 9)(self._loader.address(DRIVER))
        """As `convjit.codegen.driver` describes it."""
        self._post, self._lead, self._serve_until_tired = (
            ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, *[ctypes.c_int64] * count)(self._loader.address(name))
            for name, count in ((POST, 1), (LEAD, 1), (SERVE, 2))
        )
        self.give_way = yield_address()
        self._state, self._mail = _lines(0), _lines(mail_size(threads))
        self._own = np.zeros((2, threads), np.int64)
        """Addresses of every thread's scratch, and of its ticks."""
        self._own[0, : len(scratch)] = [one.ctypes.data for one in scratch]
        self._own_at = [row.ctypes.data for row in self._own]
        self._wake: list[queue.SimpleQueue[bool]] = [queue.SimpleQueue() for _ in range(threads)]
        self._others = [
            threading.Thread(target=self._serve, args=(number,), name=f"convjit-{number}", daemon=True)
            for number in range(1, threads)
        ]
        # All of them sleep until the first walk.
        self._mail[SLEEPS + LINE :: LINE] = 1
        for thread in self._others:
            thread.start()

    def _serve(self, number: int) -> None:
        seen, mail = 0, self._mail.ctypes.data
        while self._wake[number].get():
            seen = self._serve_until_tired(mail, number, seen)

    def walk(self, table: NDArray[np.int64], first: int, last: int, ticks: NDArray[np.int64] | None = None) -> None:
        """The launches from `first` to before `last` of a table, by all threads; each fills a row of `ticks`."""
        size = (len(table) + 1) * state_stride(self.threads)
        if len(self._state) < size:
            self._state = _lines(size)
        self._state[:size] = 0
        self._own[1] = 0 if ticks is None else [row.ctypes.data for row in ticks]
        where = table.ctypes.data, first, last, self._state.ctypes.data, self.threads
        self._mail[JOB : JOB + ARGUMENTS] = (*where, *self._own_at, self.give_way)
        mail = self._mail.ctypes.data
        self._post(mail, self.threads)
        for number in range(1, self.threads):
            if self._mail[SLEEPS + number * LINE + WOKEN]:
                self._wake[number].put(True)
        self._lead(mail, self.threads)

    def close(self) -> None:
        """End the threads."""
        for wake in self._wake:
            wake.put(False)
        for thread in self._others:
            thread.join()
        self._others = []


def _lines(size: int) -> NDArray[np.int64]:
    """Zeros from the start of a cache line."""
    memory = np.zeros(size + LINE, np.int64)
    return memory[-(memory.ctypes.data // 8) % LINE :][:size]


@cache
def _code(target: Target) -> tuple[bytes, bytes]:
    return compile_object(driver_text(target), target), compile_object(crew_text(target), target)
