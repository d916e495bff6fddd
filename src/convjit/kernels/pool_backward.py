"""Pooling backward, in gather form: every pixel sums over the windows that contain it and is written once.

Along one side the pixels fall into runs. In the long run inside the image the windows of pixel u + S are those of pixel
u, each one further on, so that S neighbouring pixels are a pattern that repeats; their code is written out and looped
over. Tiles of such patterns share what they load of the windows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from convjit.codegen.kernel import Kernel
from convjit.codegen.tile import near_equal
from convjit.codegen.values import Index, Value
from convjit.kernels.base import MapsView, Problem, generator
from convjit.kernels.neuron import neuron_gradient
from convjit.kernels.pool import STATIC_CODE, clipped, each_channel
from convjit.kernels.sums import Sums
from convjit.kernels.sweep import outgrows_caches
from convjit.ops.neuron import RELU
from convjit.ops.pool import AvgPoolBackward, MaxPoolBackward, PoolShape

__all__: list[str] = []

Window = tuple[int, int]
"""Number of a window along one side, and its pixels there."""

Put = Callable[[Value, Value, Value, Index, Index], None]
"""Takes the gradient of a pixel: (gradient, block, channel, row, column)."""

TILE_PIXELS = 8
"""Pixels of a tile in a row, about."""


@dataclass(frozen=True)
class Run:
    """`count` repeats of a pattern of pixels from `first` on; each repeat's windows are `shift` further on."""

    first: int
    count: int
    shift: int
    pattern: tuple[tuple[Window, ...], ...]


def _shifted(windows: tuple[Window, ...], by: int) -> tuple[Window, ...]:
    return tuple((number + by, size) for number, size in windows)


def _repeats(pixels: list[tuple[Window, ...]], first: int, period: int, shift: int) -> int:
    """How often the pattern of `period` pixels from `first` on repeats."""
    count = 1
    while first + period * (count + 1) <= len(pixels) and all(
        pixels[first + period * count + phase] == _shifted(pixels[first + phase], shift * count)
        for phase in range(period)
    ):
        count += 1
    return count


def runs(spans: list[tuple[int, int]], side: int, stride: int, sized: bool) -> list[Run]:
    """Cut the pixels of one side into runs; the windows' sizes matter if `sized`."""
    pixels = [
        tuple((i, end - start if sized else 1) for i, (start, end) in enumerate(spans) if start <= u < end)
        for u in range(side)
    ]
    found: list[Run] = []
    first = 0
    while first < side:
        best = Run(first, 1, 0, (pixels[first],))
        for period, shift in ((1, 0), (stride, 1)):
            if first + period <= side:
                count = _repeats(pixels, first, period, shift)
                if count > 1 and count * period > best.count * len(best.pattern):
                    best = Run(first, count, shift, tuple(pixels[first : first + period]))
        found.append(best)
        first += best.count * len(best.pattern)
    return found


@dataclass(frozen=True)
class Line:
    """One row (or column) of a tile: the pixel's place and its windows, relative to a base known at run time."""

    place: Index
    base: Index
    windows: tuple[Window, ...]


def _lines(run: Run, repeat: Index, repeats: int) -> list[Line]:
    """Pixels of `repeats` repeats of a run from `repeat` on."""
    period = len(run.pattern)
    return [
        Line(repeat * period + (run.first + r * period + phase), repeat * run.shift, _shifted(windows, r * run.shift))
        for r in range(repeats)
        for phase, windows in enumerate(run.pattern)
    ]


def _tile_repeats(run: Run) -> int:
    return max(1, TILE_PIXELS // len(run.pattern))


@generator(MaxPoolBackward, AvgPoolBackward)
def pool_backward(k: Kernel, problem: Problem) -> int:
    """Task: some channels of a block."""
    op = problem.op
    assert isinstance(op, MaxPoolBackward | AvgPoolBackward)
    shape = op.shape
    views = {name: problem.view(k, name) for name in op.names}
    sized = isinstance(op, AvgPoolBackward) and not op.sum
    rows = runs(shape.row_spans, shape.height, shape.stride, sized)
    columns = runs(shape.column_spans, shape.width, shape.stride, sized)
    code_y = sum(1 + len(windows) for run in rows for windows in run.pattern)
    code_x = sum((1 + len(windows)) * min(run.count, _tile_repeats(run)) for run in columns for windows in run.pattern)
    gather = _gather_max if isinstance(op, MaxPoolBackward) else _gather_avg

    past_caches = not op.accumulate and outgrows_caches(problem, "dx")

    def put(value: Value, block: Value, c: Value, i: Index, j: Index) -> None:
        dx = views["dx"]
        if op.neuron:
            value = neuron_gradient(k, op.neuron, value, views["z"].load(views["z"].index(block, c, i, j)))
        dx.store(value, dx.index(block, c, i, j), past_caches=past_caches)

    def channel(block: Value, c: Value) -> None:
        if code_y * code_x > STATIC_CODE:
            _scatter(k, op, shape, views, block, c)
            return
        for row in rows:
            with k.loop(0, row.count, name="row") as t:
                lines = _lines(row, t, 1)
                for column in columns:
                    done = 0
                    for repeats, count in near_equal(column.count, _tile_repeats(column)):
                        with k.loop(0, count, name="tile") as part:
                            crossing = _lines(column, part * repeats + done, repeats)
                            gather(k, put, op, views, block, c, lines, crossing)
                        done += repeats * count

    return each_channel(k, problem, shape, channel)


def _once(make: Callable[[int, int], Value]) -> Callable[[int, int], Value]:
    """`make`, called once for each pair of numbers."""
    made: dict[tuple[int, int], Value] = {}

    def get(i: int, j: int) -> Value:
        if (i, j) not in made:
            made[i, j] = make(i, j)
        return made[i, j]

    return get


def _gather_max(
    k: Kernel,
    put: Put,
    op: MaxPoolBackward | AvgPoolBackward,
    views: dict[str, MapsView],
    block: Value,
    c: Value,
    rows: list[Line],
    columns: list[Line],
) -> None:
    """The pixels where some rows and columns cross."""
    x, y, dy, dx = (views[name] for name in ("x", "y", "dy", "dx"))
    # All lines of a tile have the same base.
    corner, corner_dy = (view.index(block, c, rows[0].base, columns[0].base) for view in (y, dy))
    largest = _once(lambda i, j: y.load(corner + (i * y.row + j)))
    gradient = _once(lambda i, j: _sloped(k, op, dy.load(corner_dy + (i * dy.row + j)), largest(i, j)))
    for row in rows:
        for column in columns:
            pixel = x.load(x.index(block, c, row.place, column.place))
            total = dx.load(dx.index(block, c, row.place, column.place)) if op.accumulate else k.number(0.0)
            for i, _ in row.windows:
                for j, _ in column.windows:
                    total = k.select(pixel.equals(largest(i, j)), total + gradient(i, j), total)
            put(total, block, c, row.place, column.place)


def _sloped(k: Kernel, op: MaxPoolBackward | AvgPoolBackward, dy: Value, y: Value) -> Value:
    """A window's gradient, through relu if the pooling has applied it."""
    return neuron_gradient(k, RELU, dy, y) if isinstance(op, MaxPoolBackward) and op.rectified else dy


def _gather_avg(
    k: Kernel,
    put: Put,
    op: MaxPoolBackward | AvgPoolBackward,
    views: dict[str, MapsView],
    block: Value,
    c: Value,
    rows: list[Line],
    columns: list[Line],
) -> None:
    """The pixels where some rows and columns cross; windows are summed down each column, then across."""
    dy, dx = views["dy"], views["dx"]
    corner = dy.index(block, c, rows[0].base, columns[0].base)
    gradient = _once(lambda i, j: dy.load(corner + (i * dy.row + j)))
    for row in rows:
        down: dict[Window, Value] = {}
        for column in columns:
            total = dx.load(dx.index(block, c, row.place, column.place)) if op.accumulate else k.number(0.0)
            for j, size_x in column.windows:
                if row.windows and (j, size_x) not in down:
                    parts = [gradient(i, j) * (1 / (size_y * size_x)) for i, size_y in row.windows]
                    down[j, size_x] = _sum(parts)
                if row.windows:
                    total = total + down[j, size_x]
            put(total, block, c, row.place, column.place)


def _sum(values: list[Value]) -> Value:
    total = values[0]
    for value in values[1:]:
        total = total + value
    return total


def _scatter(
    k: Kernel,
    op: MaxPoolBackward | AvgPoolBackward,
    shape: PoolShape,
    views: dict[str, MapsView],
    block: Value,
    c: Value,
) -> None:
    """A whole channel, with plain loops over every window: for geometries whose patterns would be long."""
    dy, dx = views["dy"], views["dx"]

    def beside(u: Index, v: Index) -> Index:
        return u * shape.width + v

    sums = Sums.of(k, dx, lambda u, v: dx.index(block, c, u, v), beside, shape.height * shape.width)
    if not op.accumulate or sums.apart:
        with k.loop(0, shape.height, name="u") as u, k.loop(0, shape.width, name="v") as v:
            sums.begin(None if op.accumulate else k.number(0.0), u, v)
    with k.loop(0, shape.rows, name="row") as i, k.loop(0, shape.columns, name="column") as j:
        (top, bottom), (left, right) = clipped(k, shape, i, shape.height), clipped(k, shape, j, shape.width)
        gradient = dy.load(dy.index(block, c, i, j))
        if isinstance(op, AvgPoolBackward) and not op.sum:
            gradient = gradient / k.broadcast(k.to_float(k.to_word((bottom - top) * (right - left))))
        if isinstance(op, MaxPoolBackward):
            y = views["y"]
            largest = y.load(y.index(block, c, i, j))
            gradient = _sloped(k, op, gradient, largest)
        with k.loop(top, bottom, name="u") as u, k.loop(left, right, name="v") as v:
            place, index = sums.at(u, v)
            old = place.load(index)
            new = old + gradient
            if isinstance(op, MaxPoolBackward):
                x = views["x"]
                new = k.select(x.load(x.index(block, c, u, v)).equals(largest), new, old)
            place.store(new, index)
    if op.neuron or sums.apart:
        with k.loop(0, shape.height, name="u") as u, k.loop(0, shape.width, name="v") as v:

            def end(total: Value, u: Value = u, v: Value = v) -> Value:
                if not op.neuron:
                    return total
                z = views["z"]
                return neuron_gradient(k, op.neuron, total, z.load(z.index(block, c, u, v)))

            sums.end(end, u, v)
