"""The threads of an executor, and the native driver with which they walk tables of launches."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convjit.codegen.driver import DRIVER, LINE, driver_text, state_stride
from convjit.codegen.jit import Loader, compile_object
from convjit.codegen.target import Target
from convjit.runtime.threads import Team, yield_address

__all__ = ["Walkers"]


class Walkers:
    """So many threads, which wait between walks; close it, so that they end."""

    def __init__(self, threads: int, target: Target) -> None:
        self.team = Team(threads)
        self._loader = Loader()
        self._loader.add(_code(target))
        self.driver = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 9)(self._loader.address(DRIVER))
        """As `convjit.codegen.driver` describes it."""
        self.give_way = yield_address()
        self._state = np.zeros(0, np.int64)

    def walk(
        self,
        table: NDArray[np.int64],
        first: int,
        last: int,
        scratch: Sequence[NDArray[Any]] = (),
        ticks: NDArray[np.int64] | None = None,
    ) -> None:
        """The launches from `first` to before `last` of a table, by all threads.

        Every thread may have scratch of its own, and a row of `ticks` to be filled.
        """
        threads = self.team.size
        size = (len(table) + 1) * state_stride(threads) + LINE
        if len(self._state) < size:
            self._state = np.zeros(size, np.int64)
        self._state[:size] = 0
        # From the start of a cache line, as its lines are laid out.
        state = -(-self._state.ctypes.data // (8 * LINE)) * 8 * LINE
        at, nothing = table.ctypes.data, [None] * threads
        own = [one.ctypes.data for one in scratch] if scratch else nothing
        rows = nothing if ticks is None else [row.ctypes.data for row in ticks]

        def call(thread: int) -> None:
            self.driver(at, first, last, state, threads, thread, own[thread], rows[thread], self.give_way)

        self.team.run(call)

    def close(self) -> None:
        """End the threads."""
        self.team.close()


@cache
def _code(target: Target) -> bytes:
    return compile_object(driver_text(target), target)
