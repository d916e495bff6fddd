"""The update: one pass over weights, increments and gradient, as flat arrays."""

from __future__ import annotations

import math

from convjit.codegen.kernel import Kernel
from convjit.codegen.values import Index, Pointer, Value
from convjit.kernels.base import Problem, generator
from convjit.kernels.sweep import run, share, shares
from convjit.ops.update import Update

__all__: list[str] = []

CHUNK = 8192
"""Numbers that one task changes, about: 160 KiB read and written."""


@generator(Update)
def update(k: Kernel, problem: Problem) -> int:
    """Task: a share of the vectors; the last task also does the numbers that fill no vector."""
    op = problem.op
    assert isinstance(op, Update)
    names = ("weights", "increments", "gradient")
    rates = [k.scalars("rates").load(i) for i in range(4)]

    def change(arrays: list[Pointer], factors: list[Value], i: Index) -> None:
        epsilon, momentum, decay, inverse = factors
        weights, increments, gradient = (array.load(i) for array in arrays)
        slope = k.fma(decay, weights, gradient * inverse)
        increments = k.fma(-epsilon, slope, momentum * increments)
        arrays[0].store(weights + increments, i)
        arrays[1].store(increments, i)

    numbers = math.prod(op.array.shape)
    vectors = numbers // k.lanes
    tasks = shares(vectors, CHUNK // k.lanes) if vectors else 1
    if vectors:
        arrays = [k.loose_vectors(k.scalars(name)) for name in names]
        factors = [k.broadcast(rate) for rate in rates]
        first, end = share(k, k.task, vectors, CHUNK // k.lanes)
        run(k, first, end, lambda i: change(arrays, factors, i), unroll=2)
    if numbers % k.lanes:
        with k.when(k.task.equals(tasks - 1)), k.loop(vectors * k.lanes, numbers, name="number") as i:
            change([k.scalars(name) for name in names], rates, i)
    return tasks
