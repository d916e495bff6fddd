"""Sums and maxima of several maps, in one pass; concatenation and cuts, which copy."""

from __future__ import annotations

from convjit.codegen.kernel import Kernel
from convjit.codegen.values import Index, Value
from convjit.kernels.base import MapsView, Problem, generator
from convjit.kernels.sweep import CHUNK, Place, run, share, shares, sweep
from convjit.ops.base import Maps
from convjit.ops.combine import Concat, Cut, Maximum, MaximumBackward, WeightedSum

__all__: list[str] = []


@generator(WeightedSum, Maximum)
def combine(k: Kernel, problem: Problem) -> int:
    """Task: a share of the channels of a block."""
    op = problem.op
    assert isinstance(op, WeightedSum | Maximum)
    views = {name: problem.view(k, name) for name in op.names}

    def body(place: Place, block: Value, feature: Index) -> None:
        values = [views[name].load(place(name)) for name in op.reads]
        if isinstance(op, WeightedSum):
            total = values[0] * op.coefficients[0]
            for value, factor in zip(values[1:], op.coefficients[1:], strict=True):
                total = k.fma(value, k.number(factor), total)
        else:
            total = values[0]
            for value in values[1:]:
                total = k.maximum(total, value)
        views["y"].store(total, place("y"))

    return sweep(k, problem, op.names, body)


@generator(MaximumBackward)
def maximum_backward(k: Kernel, problem: Problem) -> int:
    """Task: a share of the channels of a block."""
    op = problem.op
    assert isinstance(op, MaximumBackward)
    x, y, dy, dx = (problem.view(k, name) for name in op.names)

    def body(place: Place, block: Value, feature: Index) -> None:
        largest, where = x.load(place("x")).equals(y.load(place("y"))), place("dx")
        gradient = k.select(largest, dy.load(place("dy")), 0.0)
        dx.store(dx.load(where) + gradient if op.accumulate else gradient, where)

    return sweep(k, problem, op.names, body)


def _copy_channels(
    k: Kernel,
    x: MapsView,
    y: MapsView,
    block: Value,
    part: Value,
    maps: Maps,
    corner: tuple[int, int, int],
    at: int = 0,
    accumulate: bool = False,
) -> None:
    """Share `part` of a copy of maps.channels channels: those of y from `at` on, from the corner of a box in x."""
    most = CHUNK // (maps.height * maps.width)
    first, end = share(k, part, maps.channels, most)
    channel, top, left = corner
    with k.loop(first, end, name="channel") as c:

        def row(i: Index, count: int) -> None:
            source, target = x.index(block, c + channel, i + top, left), y.index(block, c + at, i)

            def pixel(j: Index) -> None:
                value = x.load(source + j)
                y.store(y.load(target + j) + value if accumulate else value, target + j)

            run(k, 0, count, pixel)

        if x.row == maps.width == y.row:
            row(0, maps.height * maps.width)
        else:
            with k.loop(0, maps.height, name="row") as i:
                row(i, maps.width)


def _shares(maps: Maps) -> int:
    return shares(maps.channels, CHUNK // (maps.height * maps.width))


@generator(Cut)
def cut(k: Kernel, problem: Problem) -> int:
    """Task: a share of the channels of a block."""
    op = problem.op
    assert isinstance(op, Cut)
    block, part = k.split(k.task, problem.blocks, _shares(op.maps))
    corner = (op.channel, op.top, op.left)
    x, y = problem.view(k, "x"), problem.view(k, "y")
    _copy_channels(k, x, y, block, part, op.maps, corner, accumulate=op.accumulate)
    return problem.blocks * _shares(op.maps)


@generator(Concat)
def concat(k: Kernel, problem: Problem) -> int:
    """Task: a share of the channels of an input of a block."""
    op = problem.op
    assert isinstance(op, Concat)
    y, counts = problem.view(k, "y"), [_shares(maps) for maps in op.parts]
    block, part = k.split(k.task, problem.blocks, sum(counts))
    at = first = 0
    for name, maps, count in zip(op.reads, op.parts, counts, strict=True):
        with k.when(part >= first), k.when(part < first + count):
            _copy_channels(k, problem.view(k, name), y, block, part - first, maps, (0, 0, 0), at)
        at, first = at + maps.channels, first + count
    return problem.blocks * sum(counts)
