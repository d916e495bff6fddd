"""Every algorithm of a launch: how long it takes here, the workspace it needs, how exact it is."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convjit.codegen.target import Target, host_target
from convjit.kernels import candidates, choose, workspace_bytes
from convjit.program import Launch, Program, Role
from convjit.runtime.executor import Executor
from convjit.runtime.memory import Store
from convjit.runtime.ways import Ways, asked

__all__ = ["Candidate", "fastest", "measure_launch", "ways_of"]

_ROUNDS = 7


@dataclass(frozen=True)
class Candidate:
    """One algorithm for one launch; `error` is the relative error of one block of images against float64."""

    launch: str
    op: str
    algorithm: str
    ms: float
    gflops: float
    workspace: int
    chosen: bool
    """Whether it is the one that arithmetic chooses."""
    error: float | None


def fastest(measured: Iterable[Candidate]) -> dict[str, str]:
    """The algorithm of every launch that took the least time."""
    best: dict[str, Candidate] = {}
    for one in measured:
        if one.launch not in best or one.ms < best[one.launch].ms:
            best[one.launch] = one
    return {name: one.algorithm for name, one in best.items()}


def ways_of(launch: Launch, batch: int, workspace: int | None = None) -> list[str]:
    """The algorithms that this machine has for a launch and that need at most `workspace` bytes."""
    problem = asked(launch, batch, host_target())
    return list(candidates(problem, workspace)) if problem else []


def measure_launch(
    launch: Launch, batch: int, threads: int | None = None, *, workspace: int | None = None, errors: bool = False
) -> list[Candidate]:
    """Time the algorithms of one launch on random numbers; `errors` compares them with float64.

    They take turns, so that a machine that others use treats them alike.
    """
    target = host_target()
    problem = asked(launch, batch, target)
    if problem is None:
        raise ValueError(f"{launch.name}: no kernel")
    ways = ways_of(launch, batch, workspace)
    alone = _alone(launch)
    times: dict[str, list[float]] = {way: [] for way in ways}
    executors = {way: _executor(alone, batch, way, threads) for way in ways}
    numbers = _numbers(launch, batch)
    try:
        for executor in executors.values():
            _fill(executor, numbers)
            executor.run()
        for _ in range(_ROUNDS):
            for way, executor in executors.items():
                start = time.perf_counter()
                executor.run()
                times[way].append(time.perf_counter() - start)
    finally:
        for executor in executors.values():
            executor.close()
    wrong = _errors(alone, ways, target, threads) if errors else {}
    model = choose(problem, workspace).algorithm
    return [
        Candidate(
            launch.name,
            launch.op.kind(),
            way,
            statistics.median(times[way]) * 1e3,
            launch.op.flops() * batch / statistics.median(times[way]) / 1e9,
            workspace_bytes(replace(problem, algorithm=way)),
            way == model,
            wrong.get(way),
        )
        for way in ways
    ]


def _alone(launch: Launch) -> Launch:
    """The launch as a program of its own: it reads what the host wrote, and adds to nothing."""
    op: Any = launch.op
    if getattr(op, "accumulate", False):
        op = replace(op, accumulate=False)
    roles = {o: Role.OUTPUT if o in op.writes else Role.INPUT for o in op.names}
    return Launch(launch.name, op, {o: replace(launch.buffers[o], role=roles[o]) for o in op.names})


def _executor(alone: Launch, batch: int, way: str, threads: int | None) -> Executor:
    return Executor(Program(batch, (alone,)), Store(), threads=threads, ways=Ways({alone.name: way}))


def _numbers(launch: Launch, batch: int) -> dict[str, NDArray[np.float32]]:
    """Random numbers for every operand that is read."""
    random = np.random.default_rng(1)
    shapes = {operand: launch.op.operands()[operand].logical(batch) for operand in launch.op.reads}
    return {operand: random.standard_normal(shape, np.float32) for operand, shape in shapes.items()}


def _fill(executor: Executor, numbers: Mapping[str, NDArray[np.float32]]) -> None:
    (launch,) = executor.program.launches
    for operand, array in numbers.items():
        executor.write(launch.buffers[operand].name, array)


def _errors(alone: Launch, ways: Iterable[str], target: Target, threads: int | None) -> dict[str, float]:
    found: dict[str, float] = {}
    numbers = _numbers(alone, target.lanes)
    wanted: Mapping[str, NDArray[Any]] = {}
    for way in ways:
        with _executor(alone, target.lanes, way, threads) as executor:
            _fill(executor, numbers)
            # As it is stored: the error of a way is not that of the numbers that it is given.
            stored = {operand: executor.read(alone.buffers[operand].name) for operand in numbers}
            executor.run()
            wanted = wanted or alone.op.run({name: array.astype(np.float64) for name, array in stored.items()})
            pairs = [(executor.read(alone.buffers[o].name), want) for o, want in wanted.items()]
            found[way] = max(float(np.linalg.norm(got - want) / np.linalg.norm(want)) for got, want in pairs)
    return found
