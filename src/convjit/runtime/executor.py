"""Runs a program natively: compiled kernels, a table of launches, threads that walk it together."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convjit.codegen.driver import ROW
from convjit.codegen.jit import Loader
from convjit.codegen.target import Target, host_target
from convjit.kernels import Problem, Round, has_kernel, prepares, rounds, stages, workspace_bytes
from convjit.program import Buffer, Launch, Plan, Program, Role, check, plan
from convjit.runtime.compiler import Progress, compile_all
from convjit.runtime.memory import Store, allocate, from_lanes, to_lanes, view_of
from convjit.runtime.schedule import barriers
from convjit.runtime.threads import thread_count
from convjit.runtime.walk import Walkers
from convjit.runtime.ways import Ways

__all__ = ["Executor", "LaunchTime", "kernel_memory"]

NdArray = NDArray[Any]


@dataclass(frozen=True)
class LaunchTime:
    """One launch of a profiled step."""

    launch: Launch
    seconds: float


class Executor:
    """One program, compiled and ready to run step after step.

    Learned arrays live in `store` and may be shared with other executors; everything else belongs to this one. Use it
    as a context manager, or close it, so that its threads end. An `arena` that is large enough may be that of another
    executor, if the two never run at the same time.
    """

    def __init__(
        self,
        program: Program,
        store: Store,
        *,
        threads: int | None = None,
        target: Target | None = None,
        ways: Ways | None = None,
        constant: bool = False,
        progress: Progress | None = None,
        arena: NDArray[np.uint8] | None = None,
    ) -> None:
        """`constant` says that learned arrays stay what they are until `arrays_changed` is called: what kernels make of
        them alone is made once.
        """
        self.program = check(program)
        self.target = target or host_target()
        self.store = store
        self.ways = ways or Ways()
        self.plan: Plan = plan(program, self.target.lanes)
        self.threads = thread_count(threads)
        self.shares_arena = arena is not None and arena.nbytes >= self.plan.arena
        self.arena = arena if arena is not None and self.shares_arena else allocate(self.plan.arena)
        self._host: dict[str, NdArray] = {}
        self._arrays = {name: self._place(buffer) for name, buffer in program.buffers().items()}
        self._constant = constant
        self._prepared = False
        self._compile(progress)
        self._segments = self._cut()
        self.walkers = Walkers(self.threads, self.target, self._scratch)

    # Building

    def _place(self, buffer: Buffer) -> NdArray:
        batch, lanes = self.program.batch, self.target.lanes
        if buffer.role in (Role.WEIGHTS, Role.INCREMENTS, Role.GRADIENTS):
            return self.store.ensure(buffer)
        if buffer.role is Role.ARENA:
            return view_of(self.arena[self.plan.offsets[buffer.name] :], buffer, batch, lanes)
        size = self.plan.bytes_of(buffer)
        self._host[buffer.name] = view_of(allocate(size), buffer, batch, lanes)
        return self._host[buffer.name]

    def _compile(self, progress: Progress | None) -> None:
        """Kernels for all launches, and the table: one row per turn, since an algorithm may have several stages."""
        launches = self.program.launches
        problems = [self.ways.problem(launch, self.program.batch, self.target) for launch in launches]
        turns = [(i, p, turn) for i, problem in enumerate(problems) if problem for p, turn in rounds(problem)]
        compiled = compile_all([p for _, p, _ in turns], workers=thread_count(), progress=progress)
        self._loader = Loader()
        for entry in {entry.symbol: entry for entry in compiled.values()}.values():
            self._loader.add(entry.code)
        kept = [self._constant and bool(problem and prepares(problem)) for problem in problems]
        shared = [None if keep else problem for keep, problem in zip(kept, problems, strict=True)]
        self.scratch_bytes = kernel_memory(problems, compiled)[0]
        self.workspace_bytes = kernel_memory(shared, compiled)[1]
        self._workspace = allocate(self.workspace_bytes)
        self._kept = {i: allocate(workspace_bytes(p)) for i, p in enumerate(problems) if p and kept[i]}
        self._scratch = [allocate(self.scratch_bytes) for _ in range(self.threads)]
        self._pointers = [self._addresses(launch, self._kept.get(i)) for i, launch in enumerate(launches)]
        waits = barriers(self.program, self._arrays, [bool(p and workspace_bytes(p)) for p in shared])

        def table(chosen: list[tuple[int, Problem, Round]]) -> NDArray[np.int64]:
            rows, before = np.zeros((len(chosen), ROW), np.int64), -1
            for row, (i, problem, turn) in zip(rows, chosen, strict=True):
                entry = compiled[problem]
                first, tasks = turn.tasks(entry.tasks)
                # The turns of one launch wait for each other.
                wait = waits[i] or i == before
                row[:] = self._loader.address(entry.symbol), tasks, self._pointers[i].ctypes.data, wait, first
                before = i
            return rows

        early = [turn for turn in turns if kept[turn[0]] and turn[1].stage < prepares(turn[1])]
        turns = [turn for turn in turns if turn not in early]
        self._preparation, self._table = table(early), table(turns)
        self._rows = np.searchsorted([i for i, _, _ in turns], np.arange(len(launches) + 1))
        self._ticks = np.zeros((self.threads, len(turns) + 1), np.int64)

    def _addresses(self, launch: Launch, workspace: NDArray[np.uint8] | None) -> NDArray[np.int64]:
        own = self._workspace if workspace is None else workspace
        arrays = [*(self._arrays[launch.buffers[o].name] for o in launch.op.names), own]
        return np.array([array.ctypes.data for array in arrays], np.int64)

    def _cut(self) -> list[tuple[int, int, bool]]:
        """(first, last, native) runs of launches; an op without a kernel goes through its reference."""
        segments: list[tuple[int, int, bool]] = []
        slow: set[str] = set()
        for i, launch in enumerate(self.program.launches):
            native = has_kernel(launch.op)
            if not native:
                slow.add(launch.op.kind())
            if segments and native and segments[-1][2]:
                segments[-1] = (segments[-1][0], i + 1, True)
            else:
                segments.append((i, i + 1, native))
        if slow:
            warnings.warn(f"no kernel yet, computed by the slow reference: {', '.join(sorted(slow))}", stacklevel=3)
        return segments

    # Running

    def arrays_changed(self) -> None:
        """Learned arrays that were said to be constant are others now."""
        self._prepared = False

    def _prepare(self) -> None:
        """Make what is made of learned arrays alone, unless it is there."""
        if not self._prepared and len(self._preparation):
            self.walkers.walk(self._preparation, 0, len(self._preparation))
        self._prepared = True

    def run(self, first: int = 0, end: int | None = None) -> None:
        """One step, or the launches from `first` to before `end` of one."""
        self._prepare()
        end = len(self.program.launches) if end is None else end
        for start, stop, native in self._segments:
            start, stop = max(start, first), min(stop, end)
            if start >= stop:
                continue
            if native:
                self.walkers.walk(self._table, int(self._rows[start]), int(self._rows[stop]))
            else:
                self._reference(self.program.launches[start])

    def _reference(self, launch: Launch) -> None:
        # Over whole blocks, as kernels work: what later launches sum up must be right in lanes without an image too.
        images = -(-self.program.batch // self.target.lanes) * self.target.lanes
        stored = {o: (self._arrays[b.name], b) for o, b in launch.buffers.items()}
        arrays = {o: from_lanes(*stored[o], images) for o in launch.read_operands()}
        for operand, value in launch.op.run(arrays).items():
            to_lanes(value, *stored[operand])

    def profile(self) -> list[LaunchTime]:
        """One step with a barrier after every launch; the wall time of each."""
        if any(not native for _, _, native in self._segments):
            raise ValueError("a program with ops that have no kernel cannot be profiled")
        self._prepare()
        table = self._table.copy()
        table[:, 3] = 1
        start = time.perf_counter()
        self.walkers.walk(table, 0, len(table), self._ticks)
        seconds = time.perf_counter() - start
        # A launch begins and ends when the last thread comes to a barrier, whenever the others wake up to see it.
        ticks = np.diff(self._ticks.max(0)[self._rows]).astype(np.float64)
        scale = seconds / max(ticks.sum(), 1)
        return [LaunchTime(launch, t * scale) for launch, t in zip(self.program.launches, ticks, strict=True)]

    # Arrays

    @property
    def host(self) -> Mapping[str, NdArray]:
        """Arrays that the host writes before a step and reads after it; N rows (padded to whole blocks) if per
        image.
        """
        return self._host

    def read(self, name: str) -> NdArray:
        """A copy of a buffer as its logical array; an arena buffer is only meaningful while it lives."""
        return from_lanes(self._arrays[name], self.program.buffers()[name], self.program.batch)

    def write(self, name: str, logical: NdArray) -> None:
        """Set a buffer from its logical array."""
        to_lanes(logical, self._arrays[name], self.program.buffers()[name])

    @property
    def kernel_bytes(self) -> int:
        """Room that kernels need beside the buffers: every thread's scratch, and the workspace."""
        kept = sum(len(workspace) for workspace in self._kept.values())
        return self.workspace_bytes + kept + self.scratch_bytes * self.threads

    def memory_bytes(self) -> int:
        """Everything that this executor and its store hold for the program."""
        return self.plan.total + self.kernel_bytes

    @property
    def own_bytes(self) -> int:
        """The same without what other executors of the store hold too."""
        return self.plan.transfer + self.kernel_bytes + (0 if self.shares_arena else self.plan.arena)

    def close(self) -> None:
        """End the threads."""
        self.walkers.close()

    def __enter__(self) -> Executor:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def kernel_memory(problems: Iterable[Problem | None], scratch: Mapping[Problem, Any]) -> tuple[int, int]:
    """(each thread's scratch, the shared workspace) in bytes; `scratch` has a `scratch_bytes` for every stage."""
    found = [p for p in problems if p]
    private = max((scratch[stage].scratch_bytes for p in found for stage in stages(p)), default=0)
    shared = max((workspace_bytes(p) for p in found), default=0)
    return -(-max(private, 1) // 4096) * 4096, -(-shared // 4096) * 4096
