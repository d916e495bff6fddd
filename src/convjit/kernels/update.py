"""The update: one pass over weights, increments and gradient, as flat arrays."""

from __future__ import annotations

import math
from collections.abc import Callable

from convjit.codegen.kernel import Kernel
from convjit.codegen.values import Index, Pointer, Value
from convjit.kernels.base import Problem, generator
from convjit.kernels.sweep import run, share, shares
from convjit.ops.base import Array
from convjit.ops.update import PeriodicUpdate, Update

__all__: list[str] = []

CHUNK = 8192
"""Numbers that one task changes, about: 160 KiB read and written."""


@generator(Update)
def update(k: Kernel, problem: Problem) -> int:
    """Task: a share of the vectors; the last task also does the numbers that fill no vector."""
    op = problem.op
    assert isinstance(op, Update)

    def change(arrays: list[Pointer], factors: list[Value], i: Index) -> None:
        epsilon, momentum, decay, inverse = factors
        weights, increments, gradient = (array.load(i) for array in arrays)
        slope = k.fma(decay, weights, gradient * inverse)
        increments = k.fma(-epsilon, slope, momentum * increments)
        arrays[0].store(weights + increments, i)
        arrays[1].store(increments, i)

    return _flat(k, op.array, ("weights", "increments", "gradient"), _rates(k, 4), change)


@generator(PeriodicUpdate)
def periodic_update(k: Kernel, problem: Problem) -> int:
    """Task: as above; in most steps no more than the total is touched."""
    op = problem.op
    assert isinstance(op, PeriodicUpdate)
    *rates, switch = _rates(k, 5)
    count = _tasks(k, op.array)

    def collect(arrays: list[Pointer], factors: list[Value], i: Index) -> None:
        gradient, total = (array.load(i) for array in arrays)
        arrays[1].store(k.fma(factors[3], gradient, total), i)

    def change(arrays: list[Pointer], factors: list[Value], i: Index) -> None:
        epsilon, momentum, decay, inverse = factors
        weights, increments, gradient, total = (array.load(i) for array in arrays)
        slope = k.fma(decay, weights, k.fma(inverse, gradient, total) * (1 / op.period))
        increments = k.fma(-epsilon, slope, momentum * increments)
        arrays[0].store(weights + increments, i)
        arrays[1].store(increments, i)
        arrays[3].store(total - total, i)

    with k.when(switch.equals(0.0)):
        _flat(k, op.array, ("gradient", "total"), rates, collect)
    with k.when(switch > 0.0):
        _flat(k, op.array, ("weights", "increments", "gradient", "total"), rates, change)
    return count


def _rates(k: Kernel, count: int) -> list[Value]:
    return [k.scalars("rates").load(i) for i in range(count)]


def _tasks(k: Kernel, array: Array) -> int:
    vectors = math.prod(array.shape) // k.lanes
    return shares(vectors, CHUNK // k.lanes) if vectors else 1


def _flat(
    k: Kernel,
    array: Array,
    names: tuple[str, ...],
    rates: list[Value],
    change: Callable[[list[Pointer], list[Value], Index], None],
) -> int:
    """Call `change(arrays, rates, i)` for the numbers of one share, as vectors and what is left. Number of tasks."""
    numbers = math.prod(array.shape)
    vectors, tasks = numbers // k.lanes, _tasks(k, array)
    if vectors:
        arrays = [k.loose_vectors(k.scalars(name)) for name in names]
        factors = [k.broadcast(rate) for rate in rates]
        first, end = share(k, k.task, vectors, CHUNK // k.lanes)
        run(k, first, end, lambda i: change(arrays, factors, i), unroll=2)
    if numbers % k.lanes:
        with k.when(k.task.equals(tasks - 1)), k.loop(vectors * k.lanes, numbers, name="number") as i:
            change([k.scalars(name) for name in names], rates, i)
    return tasks
