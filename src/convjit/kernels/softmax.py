"""Softmax, forward and backward: a lane is an image, so that all its sums run down one register."""

from __future__ import annotations

from convjit.codegen import math
from convjit.codegen.kernel import Kernel
from convjit.codegen.values import Index
from convjit.kernels.base import Problem, generator
from convjit.kernels.sweep import Place, each_pixel
from convjit.ops.softmax import SoftmaxBackward, SoftmaxForward

__all__: list[str] = []


@generator(SoftmaxForward)
def softmax_forward(k: Kernel, problem: Problem) -> int:
    """Task: a block."""
    op = problem.op
    assert isinstance(op, SoftmaxForward)
    x, y = problem.view(k, "x"), problem.view(k, "y")
    views, channels = {"x": x, "y": y}, (0, op.maps.channels)
    largest, total = k.variables(2)

    def find_largest(place: Place, feature: Index) -> None:
        largest.store(k.maximum(x.load(place("x")), largest.load()))

    def raise_and_add(place: Place, feature: Index) -> None:
        value = math.exp(k, x.load(place("x")) - largest.load())
        total.store(total.load() + value)
        y.store(value, place("y"))

    largest.store(x.load(x.index(k.task)))
    total.store(k.number(0.0))
    each_pixel(k, views, k.task, channels, find_largest)
    each_pixel(k, views, k.task, channels, raise_and_add, unroll=1)
    inverse = 1.0 / total.load()
    each_pixel(k, views, k.task, channels, lambda place, f: y.store(y.load(place("y")) * inverse, place("y")))
    return problem.blocks


@generator(SoftmaxBackward)
def softmax_backward(k: Kernel, problem: Problem) -> int:
    """Task: a block."""
    op = problem.op
    assert isinstance(op, SoftmaxBackward)
    dy, y, dx = (problem.view(k, name) for name in ("dy", "y", "dx"))
    views, channels = {"dy": dy, "y": y, "dx": dx}, (0, op.maps.channels)
    (dot,) = k.variables(1)

    def add(place: Place, feature: Index) -> None:
        dot.store(k.fma(dy.load(place("dy")), y.load(place("y")), dot.load()))

    dot.store(k.number(0.0))
    each_pixel(k, views, k.task, channels, add)
    total = dot.load()

    def put(place: Place, feature: Index) -> None:
        gradient = y.load(place("y")) * (dy.load(place("dy")) - total)
        where = place("dx")
        dx.store(dx.load(where) + gradient if op.accumulate else gradient, where)

    each_pixel(k, views, k.task, channels, put)
    return problem.blocks
