"""Costs against targets, their gradients, and counts per class."""

from __future__ import annotations

from collections.abc import Callable

from convjit.codegen import math
from convjit.codegen.kernel import Kernel
from convjit.codegen.values import Index, Pointer, Value
from convjit.kernels.base import MapsView, Problem, generator
from convjit.kernels.sweep import Place, each_pixel, sweep
from convjit.ops.target_cost import (
    LEAST,
    BinaryBackward,
    BinaryCounts,
    BinaryForward,
    CrossEntropyBackward,
    CrossEntropyForward,
    LogisticBinaryBackward,
    SoftmaxCrossEntropyBackward,
    SquaresBackward,
    SquaresForward,
)

__all__: list[str] = []


def _log(k: Kernel, p: Value) -> Value:
    return math.log(k, k.maximum(p, LEAST))


def _store_costs(k: Kernel, columns: list[Value]) -> None:
    """Rows of costs of the block that the task is."""
    costs = k.scalars("costs") + k.task * (len(columns) * k.lanes)
    for column, value in enumerate(columns):
        for lane in range(k.lanes):
            costs.store(k.lane(value, lane), len(columns) * lane + column)


def _zeros(k: Kernel, count: int) -> list[Pointer]:
    places = k.variables(count)
    for place in places:
        place.store(k.number(0.0))
    return places


def _one(k: Kernel, condition: Value) -> Value:
    return k.select(condition, k.number(1.0), 0.0)


def _visit(k: Kernel, views: dict[str, MapsView], body: Callable[[Place, Index], None], unroll: int = 1) -> None:
    """All pixels of the block that the task is."""
    each_pixel(k, views, k.task, (0, views["p"].maps.channels), body, unroll)


def _argmax_error(k: Kernel, views: dict[str, MapsView]) -> Value:
    """1 - the share of the largest outputs that are largest targets."""
    p, t = views["p"], views["t"]
    most, most_t = k.variables(2)
    most.store(p.load(p.index(k.task)))
    most_t.store(t.load(t.index(k.task)))

    def find(place: Place, feature: Index) -> None:
        most.store(k.maximum(p.load(place("p")), most.load()))
        most_t.store(k.maximum(t.load(place("t")), most_t.load()))

    _visit(k, views, find)
    right, largest = _zeros(k, 2)

    def count(place: Place, feature: Index) -> None:
        one = _one(k, p.load(place("p")).equals(most.load()))
        largest.store(largest.load() + one)
        right.store(right.load() + k.select(t.load(place("t")).equals(most_t.load()), one, 0.0))

    _visit(k, views, count)
    return k.select(most_t.load() < 0.0, 0.0, 1.0 - right.load() / largest.load())


@generator(CrossEntropyForward)
def cross_entropy_forward(k: Kernel, problem: Problem) -> int:
    """Task: a block."""
    views = {name: problem.view(k, name) for name in ("p", "t")}
    (loss,) = _zeros(k, 1)

    def add(place: Place, feature: Index) -> None:
        t = k.maximum(views["t"].load(place("t")), 0.0)
        loss.store(loss.load() - t * _log(k, views["p"].load(place("p"))))

    _visit(k, views, add)
    _store_costs(k, [loss.load(), _argmax_error(k, views)])
    return problem.blocks


@generator(BinaryForward)
def binary_forward(k: Kernel, problem: Problem) -> int:
    """Task: a block."""
    op = problem.op
    assert isinstance(op, BinaryForward)
    views = {name: problem.view(k, name) for name in ("p", "t")}
    loss, wrong = _zeros(k, 2)

    def add(place: Place, feature: Index) -> None:
        y, t = (views[name].load(place(name)) for name in ("p", "t"))
        terms = (op.weight * t) * _log(k, y) + (1.0 - t) * _log(k, 1.0 - y)
        loss.store(loss.load() - k.select(t < 0.0, 0.0, terms))
        # Of two numbers that are 0 or 1, the distance.
        other = k.absolute(_one(k, y >= 0.5) - _one(k, t >= 0.5))
        wrong.store(wrong.load() + k.select(t < 0.0, 0.0, other))

    _visit(k, views, add)
    _store_costs(k, [loss.load(), wrong.load() / float(op.maps.features), _argmax_error(k, views)])
    return problem.blocks


@generator(CrossEntropyBackward, BinaryBackward, LogisticBinaryBackward)
def target_backward(k: Kernel, problem: Problem) -> int:
    """Task: a share of the channels of a block."""
    op = problem.op
    assert isinstance(op, CrossEntropyBackward | BinaryBackward)
    p, t, dx = (problem.view(k, name) for name in ("p", "t", "dx"))

    def slope(y: Value, target: Value) -> Value:
        if isinstance(op, CrossEntropyBackward):
            return -(target / k.maximum(y, LEAST))
        if isinstance(op, LogisticBinaryBackward):
            return (1.0 - target) * y - (op.weight * target) * (1.0 - y)
        return (1.0 - target) / k.maximum(1.0 - y, LEAST) - (op.weight * target) / k.maximum(y, LEAST)

    def body(place: Place, block: Value, feature: Index) -> None:
        target, where = t.load(place("t")), place("dx")
        gradient = k.select(target < 0.0, 0.0, op.coefficient * slope(p.load(place("p")), target))
        dx.store(dx.load(where) + gradient if op.accumulate else gradient, where)

    return sweep(k, problem, ("p", "t", "dx"), body, unroll=1)


@generator(SoftmaxCrossEntropyBackward)
def softmax_cross_entropy_backward(k: Kernel, problem: Problem) -> int:
    """Task: a block."""
    op = problem.op
    assert isinstance(op, SoftmaxCrossEntropyBackward)
    views = {name: problem.view(k, name) for name in ("p", "t", "dx")}
    p, t, dx = views.values()
    (total,) = _zeros(k, 1)

    def add(place: Place, feature: Index) -> None:
        total.store(total.load() + k.maximum(t.load(place("t")), 0.0))

    def put(place: Place, feature: Index) -> None:
        where = place("dx")
        difference = p.load(place("p")) * total.load() - k.maximum(t.load(place("t")), 0.0)
        gradient = op.coefficient * difference
        dx.store(dx.load(where) + gradient if op.accumulate else gradient, where)

    _visit(k, views, add, unroll=4)
    _visit(k, views, put, unroll=4)
    return problem.blocks


@generator(BinaryCounts)
def binary_counts(k: Kernel, problem: Problem) -> int:
    """Task: a class; whole numbers, whose sums are exact."""
    op = problem.op
    assert isinstance(op, BinaryCounts)
    p, t, counts = problem.view(k, "p"), problem.view(k, "t"), k.scalars("counts")
    sums = _zeros(k, 3)
    with k.loop(0, problem.blocks, name="block") as block:
        target = t.load(t.index(block, k.task))
        image = k.broadcast(k.to_word(block * k.lanes)) + k.lane_numbers()
        real = k.select(image < problem.batch, _one(k, target >= 0.0), 0.0)
        declared = k.select(p.load(p.index(block, k.task)) >= 0.5, real, 0.0)
        there = k.select(target >= 0.5, real, 0.0)
        for place, value in zip(sums, (declared, declared * there, there), strict=True):
            place.store(place.load() + value)
    for row, place in enumerate(sums):
        counts.store(k.lane_sum(place.load()), k.task + row * op.classes)
    return op.classes


@generator(SquaresForward)
def squares_forward(k: Kernel, problem: Problem) -> int:
    """Task: a block."""
    op = problem.op
    assert isinstance(op, SquaresForward)
    x, labels = problem.view(k, "x"), k.word_vectors(k.integers("labels")).load(k.task)
    (total,) = _zeros(k, 1)

    def add(place: Place, feature: Index) -> None:
        value = x.load(place("x"))
        total.store(k.fma(value, value, total.load()))

    each_pixel(k, {"x": x}, k.task, (0, op.maps.channels), add)
    _store_costs(k, [k.select(labels < 0, 0.0, total.load())])
    return problem.blocks


@generator(SquaresBackward)
def squares_backward(k: Kernel, problem: Problem) -> int:
    """Task: a share of the channels of a block."""
    op = problem.op
    assert isinstance(op, SquaresBackward)
    x, dx, labels = problem.view(k, "x"), problem.view(k, "dx"), k.word_vectors(k.integers("labels"))

    def body(place: Place, block: Value, feature: Index) -> None:
        where = place("dx")
        gradient = k.select(labels.load(block) < 0, 0.0, x.load(place("x")) * (2 * op.coefficient))
        dx.store(dx.load(where) + gradient if op.accumulate else gradient, where)

    return sweep(k, problem, ("x", "dx"), body)
