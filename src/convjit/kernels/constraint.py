"""Constraints: each filter is read for its size, and again to be scaled; the second time it comes from a near cache."""

from __future__ import annotations

from convjit.codegen.kernel import Kernel
from convjit.codegen.values import Index, Pointer, Value
from convjit.kernels.base import Problem, generator
from convjit.kernels.sweep import run, share, shares
from convjit.ops.constraint import Constrain

__all__: list[str] = []

CHUNK = 4096
"""Weights that one task works on, about."""


@generator(Constrain)
def constrain(k: Kernel, problem: Problem) -> int:
    """Task: some filters."""
    op = problem.op
    assert isinstance(op, Constrain)
    most = max(1, CHUNK // op.filter_size)
    first, end = share(k, k.task, op.filters, most)
    if not op.periodic:
        _filters(k, op, first, end)
        return shares(op.filters, most)
    with k.when(k.scalars("rates").load(4) > 0.0):
        _filters(k, op, first, end)
    return shares(op.filters, most)


def _filters(k: Kernel, op: Constrain, first: Index, end: Index) -> None:
    rule, size = op.rule, op.filter_size
    with k.loop(first, end, name="filter") as f:
        weights = k.scalars("weights") + f * size
        if rule.kind == "deviation":
            mean = _sum(k, weights, size, k.number(0)) * (1 / size)
            found = k.sqrt(_sum(k, weights, size, mean, squares=True)) * (1 / size)
            factor = k.select(found < rule.low, rule.low / found, k.number(1))
            factor = k.select(found > rule.high, rule.high / found, factor)
        else:
            found = k.sqrt(_sum(k, weights, size, k.number(0), squares=True))
            factor = rule.high / found
            if rule.kind == "ball":
                factor = k.select(found > rule.high, factor, k.number(1))
        factor = k.select(found > 0.0, factor, k.number(1))
        vectors = k.loose_vectors(weights)
        if size >= k.lanes:
            run(k, 0, size // k.lanes, lambda i: vectors.store(vectors.load(i) * factor, i))
        if rest := size % k.lanes:
            scale = k.lane(factor, 0)
            with k.loop(size - rest, size, name="rest") as i:
                weights.store(weights.load(i) * scale, i)


def _sum(k: Kernel, weights: Pointer, size: int, mean: Value, squares: bool = False) -> Value:
    """Sum of the weights less `mean`, or of its squares, in every lane."""
    (total,) = k.variables(1)
    total.store(k.number(0))

    def add(value: Value) -> None:
        total.store(k.fma(value, value, total.load()) if squares else total.load() + value)

    vectors = k.loose_vectors(weights)
    if size >= k.lanes:
        with k.loop(0, size // k.lanes, name="weights") as i:
            add(vectors.load(i) - mean)
    if rest := size % k.lanes:
        with k.loop(size - rest, size, name="rest") as i:
            # One number in the first lane, nothing in the others.
            number = weights.load(i) - k.lane(mean, 0)
            add(k.with_lane(k.number(0), number, 0))
    return k.broadcast(k.lane_sum(total.load()))
