"""The programs of a net: one for each mode, and for the few images of a prediction, over one store of arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from convjit.graph import Net, lower
from convjit.graph.lower import Dtype, Mode
from convjit.program import MOST_IMAGES, Program
from convjit.runtime import Executor, Store, Ways, host_target, thread_count
from convjit.runtime.fit import Fitted, fit

__all__ = ["CompileProgress", "Programs"]

CompileProgress = Callable[[int, int], None]


class Programs:
    """Executors, compiled when they are first asked for and handed to `prepare` then; the options are `Session`'s."""

    def __init__(
        self,
        net: Net,
        batch: int,
        store: Store,
        prepare: Callable[[Executor, Mode], None],
        *,
        dtype: Dtype,
        ways: Ways | None,
        accumulate: bool,
        memory: int | None,
        fixed: bool,
        constant: bool,
        threads: int | None,
        progress: CompileProgress | None,
    ) -> None:
        self.net, self.batch, self.store, self._prepare = net, batch, store, prepare
        self.dtype, self.accumulate, self.ways = dtype, accumulate, ways or Ways()
        self._memory, self._fixed, self._constant = memory, fixed, constant
        self._threads, self._progress = threads, progress
        self.fitted: Fitted | None = None
        self._executors: dict[tuple[Mode, tuple[str, ...], int], Executor] = {}

    def __len__(self) -> int:
        return len(self._executors)

    def __iter__(self) -> Iterator[Executor]:
        return iter(self._executors.values())

    def executor(self, mode: Mode, exports: tuple[str, ...] = (), images: int = 0) -> Executor:
        """The compiled program of one mode; `exports` are layers whose rows are wanted besides.

        For a number of `images` that is much smaller than a minibatch it may be one of fewer images, which gives the
        same numbers for each.
        """
        key = mode, exports, self._size(mode, images)
        if key not in self._executors:
            target, size = host_target(), key[2]
            program = self._program(mode, exports)
            ways = self.ways
            if size < self.batch:
                ways = ways.pinned(program, target)
                program = lower(self.net, size, mode, exports=exports, few=target.lanes)
            largest = max((one.arena for one in self._executors.values()), key=lambda arena: arena.nbytes, default=None)
            executor = Executor(
                program, self.store, threads=self._threads, target=target, ways=ways, constant=self._constant,
                progress=self._progress, arena=largest,
            )  # fmt: skip
            self._executors[key] = executor
            self._prepare(executor, mode)
        return self._executors[key]

    def _program(self, mode: Mode, exports: tuple[str, ...]) -> Program:
        """What one mode runs; when training, within the limit of memory."""
        if mode != "train":
            return lower(self.net, self.batch, mode, exports=exports, dtype=self.dtype)
        program = lower(self.net, self.batch, mode, exports=exports, dtype=self.dtype, accumulate=self.accumulate)
        if self._memory is None:
            return program
        threads = thread_count(self._threads)
        self.fitted = fit(program, self._memory, self.ways, threads=threads, fixed=self._fixed)
        self.ways = self.fitted.ways
        return self.fitted.program

    def _size(self, mode: Mode, images: int) -> int:
        """Images of a step, where `images` are wanted in all.

        A step of few takes as long as its share of a minibatch, if not less, once the weights are prepared.
        """
        if mode != "predict" or self.dtype != "fp32" or not self._constant or not 0 < images <= self.batch // 2:
            return self.batch
        return min(MOST_IMAGES, 1 << (images - 1).bit_length())

    def close(self) -> None:
        """End the threads."""
        for executor in self:
            executor.close()
        self._executors = {}
