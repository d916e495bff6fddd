"""Maps on another grid of pixels. Places are worked out in float64, so that they are those of the reference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from convjit.codegen import math
from convjit.codegen.kernel import Kernel
from convjit.codegen.values import Index, Pointer, Value
from convjit.kernels.base import MapsView, Problem, generator
from convjit.kernels.pool import Segment, segments
from convjit.kernels.sweep import CHUNK, run, share, shares
from convjit.ops.base import Maps
from convjit.ops.resample import EDGE, Blur, Mirror, Nailbed, NailbedBackward, Rescale, Resize

__all__: list[str] = []


def _each_channel(k: Kernel, problem: Problem, maps: Maps, body: Callable[[Value, Value], None]) -> int:
    """Tasks over blocks and shares of the channels: `body(block, channel)`. Returns their number."""
    most = CHUNK // (maps.height * maps.width)
    parts = shares(maps.channels, most)
    block, part = k.split(k.task, problem.blocks, parts)
    first, end = share(k, part, maps.channels, most)
    with k.loop(first, end, name="channel") as channel:
        body(block, channel)
    return problem.blocks * parts


@generator(Nailbed, Mirror)
def sample(k: Kernel, problem: Problem) -> int:
    """Task: some channels of a block."""
    op = problem.op
    assert isinstance(op, Nailbed | Mirror)
    x, y = problem.view(k, "x"), problem.view(k, "y")
    (top, left), stride = op.start if isinstance(op, Nailbed) else (0, 0), op.stride if isinstance(op, Nailbed) else 1

    def channel(block: Value, c: Value) -> None:
        with k.loop(0, op.maps.height, name="row") as i:

            def pixel(j: Index) -> None:
                column = j * stride + left if isinstance(op, Nailbed) else k.index(op.maps.width - 1) - j
                y.store(x.load(x.index(block, c, i * stride + top, column)), y.index(block, c, i, j))

            run(k, 0, op.maps.width, pixel)

    return _each_channel(k, problem, op.maps, channel)


@generator(NailbedBackward)
def nailbed_backward(k: Kernel, problem: Problem) -> int:
    """Task: some channels of a block."""
    op = problem.op
    assert isinstance(op, NailbedBackward)
    dy, dx, (top, left) = problem.view(k, "dy"), problem.view(k, "dx"), op.forward.start
    source, maps = op.source, op.forward.maps

    def channel(block: Value, c: Value) -> None:
        if not op.accumulate:
            with k.loop(0, source.height, name="row") as i:
                run(k, 0, source.width, lambda j: dx.store(k.number(0.0), dx.index(block, c, i, j)))
        with k.loop(0, maps.height, name="row") as i, k.loop(0, maps.width, name="column") as j:
            place = dx.index(block, c, i * op.stride + top, j * op.stride + left)
            value = dy.load(dy.index(block, c, i, j))
            dx.store(dx.load(place) + value if op.accumulate else value, place)

    return _each_channel(k, problem, source, channel)


@generator(Blur)
def blur(k: Kernel, problem: Problem) -> int:
    """Task: some channels of a block; each row is filtered down the columns into scratch, then across."""
    op = problem.op
    assert isinstance(op, Blur)
    maps, weights, far = op.maps, op.weights, op.size // 2
    x, y = problem.view(k, "x"), problem.view(k, "y")
    line = k.scratch(maps.width + 2 * far)
    for place in (*range(far), *range(far + maps.width, maps.width + 2 * far)):
        line.store(k.number(0.0), place)
    spans = [(max(i - far, 0), min(i + far + 1, maps.height)) for i in range(maps.height)]

    def filtered(numbers: list[Value], from_weight: int) -> Value:
        total = numbers[0] * weights[from_weight]
        for i, number in enumerate(numbers[1:]):
            total = k.fma(number, k.number(weights[from_weight + 1 + i]), total)
        return total

    def row(block: Value, c: Value, i: Value, rows: Segment) -> None:
        top, skipped = i - (rows.first - rows.start), rows.start - (rows.first - far)

        def down(j: Index) -> None:
            column = [x.load(x.index(block, c, top + v, j)) for v in range(rows.size)]
            line.store(filtered(column, skipped), far + j)

        def across(j: Index) -> None:
            value, place = filtered([line.load(j + v) for v in range(op.size)], 0), y.index(block, c, i, j)
            y.store(y.load(place) + value if op.accumulate else value, place)

        run(k, 0, maps.width, down, unroll=2)
        run(k, 0, maps.width, across, unroll=2)

    def channel(block: Value, c: Value) -> None:
        for rows in segments(spans, 1):
            with k.loop(rows.first, rows.first + rows.count, name="row") as i:
                row(block, c, i, rows)

    return _each_channel(k, problem, maps, channel)


@dataclass(frozen=True)
class _Axis:
    """One side: from output pixels to places on the input. `begin` counts pixels; the rest are float64 or plain."""

    k: Kernel
    side: int
    begin: Index
    scale: Value
    middle: Value
    last: Value

    def at(self, i: Index) -> tuple[Value, Value, Value]:
        """(pixel, the next one, share of the next one) for an output pixel."""
        k = self.k
        number = k.to_double(k.to_float(k.to_word(k.index(self.begin) + i)))
        place = number * self.scale + self.middle
        place = k.select(place > self.last, self.last, place)
        place = k.select(place < 0.0, 0.0, place)
        low = k.truncate(place)
        # float32 holds 24 bits of the share.
        rest = k.truncate((place - k.to_double(k.to_float(low))) * 2.0**24)
        first = k.to_index(low)
        return first, k.minimum(first + 1, self.side - 1), k.broadcast(k.to_float(rest) * 2.0**-24)


def _bilinear(k: Kernel, problem: Problem, maps: Maps, rows: _Axis, columns: _Axis) -> int:
    x, y = problem.view(k, "x"), problem.view(k, "y")

    def channel(block: Value, c: Value) -> None:
        with k.loop(0, maps.height, name="row") as i:
            top, bottom, down = rows.at(i)
            with k.loop(0, maps.width, name="column") as j:
                left, right, across = columns.at(j)
                upper, lower = (_between(k, x, block, c, row, left, right, across) for row in (top, bottom))
                y.store(k.fma(down, lower - upper, upper), y.index(block, c, i, j))

    return _each_channel(k, problem, maps, channel)


def _between(
    k: Kernel, x: MapsView, block: Value, c: Value, row: Value, left: Value, right: Value, share: Value
) -> Value:
    a, b = (x.load(x.index(block, c, row, column)) for column in (left, right))
    return k.fma(share, b - a, a)


@generator(Resize)
def resize(k: Kernel, problem: Problem) -> int:
    """Task: some channels of a block."""
    op = problem.op
    assert isinstance(op, Resize)

    def axis(side: int, count: int) -> _Axis:
        middle = k.double((side - count * op.scale) / 2)
        return _Axis(k, side, 0, k.double(op.scale), middle, k.double(side - EDGE))

    source, maps = op.source, op.maps
    rows, columns = axis(source.height, maps.height), axis(source.width, maps.width)
    return _bilinear(k, problem, maps, rows, columns)


@generator(Rescale)
def rescale(k: Kernel, problem: Problem) -> int:
    """Task: some channels of a block; every task draws the same numbers."""
    op = problem.op
    assert isinstance(op, Rescale)
    drawn = _three_numbers(k, k.integers("key"))
    size = k.index(op.smallest)
    for threshold in op.thresholds():
        size = size + k.select(drawn[0] < threshold, k.index(0), k.index(1))
    whole_image = size.equals(op.side)
    real_size = k.to_double(k.to_float(k.to_word(size)))
    scale = k.double(op.side) / real_size

    def axis(side: int, count: int, number: Value) -> _Axis:
        whole = size * side // op.side
        begin = (number * (k.maximum(whole - count, 0) + 1)) >> 24
        middle = (side - k.to_double(k.to_float(k.to_word(whole))) * scale) / k.double(2)
        last = k.select(whole_image, k.double(side - 1), side - EDGE)
        return _Axis(k, side, begin, scale, middle, last)

    source, maps = op.source, op.maps
    rows, columns = axis(source.height, maps.height, drawn[1]), axis(source.width, maps.width, drawn[2])
    return _bilinear(k, problem, maps, rows, columns)


def _three_numbers(k: Kernel, key: Pointer) -> list[Value]:
    """2**24 times the first three of `random.uniform(key)`; a vector has at least four lanes."""
    words = k.broadcast(key.load(0)), k.broadcast(key.load(1))
    numbers = math.draw(k, words, k.lane_numbers(), k.word(0)) >> 8
    return [k.to_index(k.lane(numbers, lane)) for lane in range(3)]
