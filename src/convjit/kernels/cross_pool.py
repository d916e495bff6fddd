"""Pooling across channels, forward and backward in gather form: every output is written once."""

from __future__ import annotations

from convjit.codegen.kernel import Kernel
from convjit.codegen.values import Index, Value
from convjit.kernels.base import MapsView, Problem, generator
from convjit.kernels.sweep import CHUNK, Place, each_pixel, share, shares
from convjit.ops.cross_pool import CrossPoolBackward, CrossPoolForward

__all__: list[str] = []


@generator(CrossPoolForward)
def cross_pool_forward(k: Kernel, problem: Problem) -> int:
    """Task: a share of the outputs of a block."""
    op = problem.op
    assert isinstance(op, CrossPoolForward)
    shape = op.shape
    x, y = problem.view(k, "x"), problem.view(k, "y")
    tasks, block, first, end = _outputs(k, problem, y)
    (largest,) = k.variables(1)
    with k.loop(first, end, name="output") as o:
        start = o * shape.stride + shape.start
        low, high = k.maximum(start, 0), k.minimum(start + shape.size, shape.maps.channels)

        def pixel(place: Place, feature: Index) -> None:
            # Of the first channel of the window, which is not that of the output.
            here = place("x") + (low - o) * x.plane
            largest.store(x.load(here))
            with k.loop(1, high - low, name="channel") as c:
                largest.store(k.maximum(largest.load(), x.load(here + c * x.plane)))
            y.store(largest.load(), place("y"))

        each_pixel(k, {"x": x, "y": y}, block, (o, o + 1), pixel, unroll=1)
    return tasks


@generator(CrossPoolBackward)
def cross_pool_backward(k: Kernel, problem: Problem) -> int:
    """Task: a share of the channels of a block."""
    op = problem.op
    assert isinstance(op, CrossPoolBackward)
    shape = op.shape
    views = {name: problem.view(k, name) for name in op.names}
    x, y, dy, dx = views.values()
    tasks, block, first, end = _outputs(k, problem, dx)
    (total,) = k.variables(1)
    # Added before a division and taken off again, so that nothing negative is divided.
    lift = -(-shape.size // shape.stride)
    with k.loop(first, end, name="channel") as c:
        low = k.maximum((c - shape.start - shape.size + lift * shape.stride) // shape.stride + (1 - lift), 0)
        high = k.minimum((c - shape.start) // shape.stride + 1, shape.outputs)

        def pixel(place: Place, feature: Index) -> None:
            value, where = x.load(place("x")), place("dx")
            total.store(dx.load(where) if op.accumulate else k.number(0.0))
            with k.loop(low, high, name="window") as o:
                largest = y.load(place("y") + (o - c) * y.plane)
                gradient = dy.load(place("dy") + (o - c) * dy.plane)
                total.store(k.select(value.equals(largest), total.load() + gradient, total.load()))
            dx.store(total.load(), where)

        each_pixel(k, views, block, (c, c + 1), pixel, unroll=1)
    return tasks


def _outputs(k: Kernel, problem: Problem, view: MapsView) -> tuple[int, Value, Index, Index]:
    """Tasks over blocks and shares of the channels of what is written: (tasks, block, first, end)."""
    maps = view.maps
    most = CHUNK // (maps.height * maps.width)
    parts = shares(maps.channels, most)
    block, part = k.split(k.task, problem.blocks, parts)
    first, end = share(k, part, maps.channels, most)
    return problem.blocks * parts, block, first, end
