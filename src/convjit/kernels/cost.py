"""Costs: their values per image, their gradients, and the totals over the images.

A label selects its probability by comparison with every class number: no label can lead to a load outside the buffer.
"""

from __future__ import annotations

from convjit.codegen import math
from convjit.codegen.kernel import Kernel
from convjit.codegen.values import F64, Index, Value
from convjit.kernels.base import Problem, generator
from convjit.kernels.sweep import Place, each_pixel, sweep
from convjit.ops.cost import SMALLEST, CostTotals, LogregBackward, LogregForward, SoftmaxLogregBackward

__all__: list[str] = []


def _labels(k: Kernel, block: Value) -> Value:
    """The labels of a block, one per lane."""
    return k.word_vectors(k.integers("labels")).load(block)


def _is(k: Kernel, labels: Value, feature: Index) -> Value:
    """Where the label is this class."""
    return labels.equals(k.broadcast(k.to_word(k.index(feature))))


@generator(LogregForward)
def logreg_forward(k: Kernel, problem: Problem) -> int:
    """Task: a block."""
    op = problem.op
    assert isinstance(op, LogregForward)
    p = problem.view(k, "p")
    labels = _labels(k, k.task)
    right, greater, equal = k.variables(3)
    for variable in (right, greater, equal):
        variable.store(k.number(0.0))

    def find(place: Place, feature: Index) -> None:
        right.store(k.select(_is(k, labels, feature), p.load(place("p")), right.load()))

    def rank(place: Place, feature: Index) -> None:
        value = p.load(place("p"))
        greater.store(greater.load() + k.select(value > right.load(), k.number(1.0), 0.0))
        equal.store(equal.load() + k.select(value.equals(right.load()), k.number(1.0), 0.0))

    for body in (find, rank):
        each_pixel(k, {"p": p}, k.task, (0, op.classes), body)

    def error(count: int) -> Value:
        places = k.maximum(float(count) - greater.load(), 0.0)
        return 1.0 - k.minimum(places / equal.load(), 1.0)

    loss = -math.log(k, k.maximum(right.load(), SMALLEST))
    costs = k.scalars("costs") + k.task * (3 * k.lanes)
    for column, value in enumerate((loss, error(1), error(op.topk))):
        labelled = k.select(labels > -1, value, 0.0)
        for lane in range(k.lanes):
            costs.store(k.lane(labelled, lane), 3 * lane + column)
    return problem.blocks


@generator(LogregBackward, SoftmaxLogregBackward)
def logreg_backward(k: Kernel, problem: Problem) -> int:
    """Task: a share of the classes of a block."""
    op = problem.op
    assert isinstance(op, LogregBackward | SoftmaxLogregBackward)
    p, dx = problem.view(k, "p"), problem.view(k, "dx")

    def body(place: Place, block: Value, feature: Index) -> None:
        labels, value = _labels(k, block), p.load(place("p"))
        if isinstance(op, LogregBackward):
            chosen = k.select(labels > -1, -op.coefficient / k.maximum(value, SMALLEST), 0.0)
            gradient = k.select(_is(k, labels, feature), chosen, 0.0)
        else:
            difference = k.select(_is(k, labels, feature), value - 1.0, value)
            gradient = k.select(labels > -1, op.coefficient * difference, 0.0)
        where = place("dx")
        dx.store(dx.load(where) + gradient if op.accumulate else gradient, where)

    return sweep(k, problem, ("p", "dx"), body, unroll=1)


@generator(CostTotals)
def cost_totals(k: Kernel, problem: Problem) -> int:
    """Task: everything, image after image."""
    op = problem.op
    assert isinstance(op, CostTotals)
    costs, totals = k.scalars("costs"), k.doubles("totals")
    sums = k.variables(op.columns, F64)
    for place in sums:
        place.store(k.double(0.0))
    with k.loop(0, problem.batch, name="image") as image:
        for column, place in enumerate(sums):
            place.store(place.load() + k.to_double(costs.load(image * op.columns + column)))
    for column, place in enumerate(sums):
        totals.store(place.load(), column)
    return 1
