"""Fully connected layers: the convolution's register tile with blocks of images in the place of pixels.

Forward reads TF rows of the weights (F, I) as streams, where they lie. The gradient of the input reads TF neighbours of
one row after the other: a task copies its columns first, since rows that are a multiple of 4 KiB apart would drive each
other out of the caches. The sum is cut into chunks whose part of the source fits the second-level cache; between chunks
the sums wait in the output, or beside a narrow one. The gradient of the weights wants vectors along I: its slice of x
is turned around first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from convjit.codegen.kernel import Kernel
from convjit.codegen.tile import Tile, near_equal
from convjit.codegen.values import F32, Index, Pointer, Value
from convjit.kernels.base import MapsView, Problem, generator
from convjit.kernels.conv import tile_sizes
from convjit.kernels.neuron import apply_neuron
from convjit.kernels.sums import Sums
from convjit.ops.fc import FcBackwardData, FcBackwardWeights, FcForward

__all__ = ["store_part"]

TASKS = 32
"""Enough for an even split over a few threads, few enough that a task uses its source many times."""


@dataclass(frozen=True)
class _Axis:
    """One loop of the sum: its length, and the distances in the source (vectors) and the weights (floats)."""

    count: int
    source: int
    weights: int


def _product(
    k: Kernel,
    problem: Problem,
    outputs: int,
    axes: Sequence[_Axis],
    source: MapsView,
    weights: Pointer,
    weight_o: int,
    result: MapsView,
    place: Callable[[Value | int, Index], Index],
    start: Callable[[Value], Value | None],
    end: Callable[[Value], Value] | None,
) -> int:
    """result[o] = end(start(o) + sum over the axes of source * weights[o]) for the outputs of one task; the number of
    tasks.

    `place(block, o)` is the output's index; `start` gives None to add to what is there. Weights of neighbouring outputs
    that lie side by side are copied.
    """
    blocks = problem.blocks
    tile_o, tile_b = tile_sizes(outputs, blocks, problem.target)
    tiles = -(-outputs // tile_o)
    share = -(-tiles // TASKS) * tile_o
    tasks = -(-outputs // share)
    first = k.task * share
    last = k.minimum_index(first + share, outputs)

    def beside(block: Index, o: Index) -> Index:
        return (o - first) * blocks + block

    sums = Sums.of(k, result, place, beside, share * blocks)
    with k.loop(first, last, name="start") as o:
        begin = start(o)
        if begin is not None or sums.apart:
            with k.loop(0, blocks, name="block") as block:
                sums.begin(begin, block, o)

    rest = 1
    for axis in axes[1:]:
        rest *= axis.count
    chunk = max(1, problem.target.second_level // 8 // (4 * k.lanes * min(blocks, 8) * rest))
    copied = _Copied.make(k, min(chunk, axes[0].count), share, tile_o, weights) if weight_o == 1 else None
    before = 0
    for length, many in near_equal(axes[0].count, chunk):
        with k.loop(0, many, name="chunk") as part:
            at = part * length + before
            inner = [_Axis(length, axes[0].source, axes[0].weights), *axes[1:]]
            from_here, taps = source.pointer + (source.origin + at * axes[0].source), weights + at * axes[0].weights
            if copied:
                copied.fill(k, taps, axes[0].weights, length, first, last)

            def part_of_sums(
                o: Value,
                height: int,
                inner: list[_Axis] = inner,
                from_here: Pointer = from_here,
                taps: Pointer = taps,
            ) -> None:
                taps = taps + o * weight_o
                if copied:
                    taps, inner = copied.tile(k, o - first, inner[0], height)
                _tiles(k, height, tile_b, blocks, inner, from_here, source.block, taps, weight_o, sums, o)

            with k.loop(first, last - (tile_o - 1), step=tile_o, name="outputs") as o:
                part_of_sums(o, tile_o)
            whole = (last - first) // tile_o * tile_o
            with k.loop(first + whole, last, name="rest") as o:
                part_of_sums(o, 1)
        before += length * many

    if end or sums.apart:
        with k.loop(first, last, name="end") as o, k.loop(0, blocks, name="block") as block:
            sums.end(end, block, o)
    return tasks


@dataclass(frozen=True)
class _Copied:
    """A task's columns of the weights, one row of `share` floats after the other; then those of one register tile."""

    columns: Pointer
    tiles: Pointer
    share: int
    height: int

    @classmethod
    def make(cls, k: Kernel, rows: int, share: int, height: int, weights: Pointer) -> _Copied:
        """Room for so many rows; a vector more, since whole vectors are copied."""
        columns, tiles = (k.scratch(-(-rows * width // k.lanes) + 2) for width in (share, height))
        return cls(columns.view(weights.element, 4), tiles.view(weights.element, 4), share, height)

    def fill(self, k: Kernel, rows: Pointer, step: int, count: int, first: Value, last: Value) -> None:
        """Copy columns first ... last - 1 of `count` rows, which are `step` floats apart."""
        with k.loop(0, count, name="row") as row:
            line, to = rows + (row * step + first), self.columns + row * self.share
            whole = (last - first) // k.lanes * k.lanes
            with k.loop(0, whole, step=k.lanes, name="copy") as i:
                k.loose_vectors(to + i).store(k.loose_vectors(line + i).load())
            with k.loop(whole, last - first, name="rest") as i:
                to.store(line.load(i), i)

    def tile(self, k: Kernel, column: Value, axis: _Axis, height: int) -> tuple[Pointer, list[_Axis]]:
        """(first weight, axes) of the register tile of `height` outputs that starts with a column of the task's."""
        if height < self.height:
            return self.columns + column, [_Axis(axis.count, axis.source, self.share)]
        with k.loop(0, axis.count, name="row") as row:
            line, to = self.columns + (row * self.share + column), self.tiles + row * height
            # What a vector holds beyond the row is overwritten with the next.
            for i in range(0, height, k.lanes):
                k.loose_vectors(to + i).store(k.loose_vectors(line + i).load())
        return self.tiles, [_Axis(axis.count, axis.source, height)]


def _tiles(
    k: Kernel,
    height: int,
    tile_b: int,
    blocks: int,
    axes: Sequence[_Axis],
    source: Pointer,
    source_block: int,
    weights: Pointer,
    weight_o: int,
    sums: Sums,
    o: Value,
) -> None:
    """Add one chunk of the sum to `height` outputs of all blocks."""
    first = 0
    for width, many in near_equal(blocks, tile_b):
        with k.loop(0, many, name="blocks") as part:
            block = part * width + first
            tile = Tile(k, height, width)
            tile.init(lambda i, b, block=block: sums.load(block + b, o + i))  # type: ignore[misc]
            with ExitStack() as nest:
                line, taps = source + block * source_block, weights
                for axis in axes:
                    i = nest.enter_context(k.loop(0, axis.count, name="sum"))
                    line, taps = line + i * axis.source, taps + i * axis.weights
                vectors = [line.load(b * source_block) for b in range(width)]
                for i_o in range(height):
                    tile.multiply_add_row(i_o, k.broadcast(taps.load(i_o * weight_o)), vectors)
            tile.each(lambda i, b, value, block=block: sums.store(value, block + b, o + i))  # type: ignore[misc]
        first += width * many


@generator(FcForward)
def fc_forward(k: Kernel, problem: Problem) -> int:
    """Task: a range of outputs, for all images."""
    op = problem.op
    assert isinstance(op, FcForward)
    s = op.shape
    x, y, w = problem.view(k, "x"), problem.view(k, "y"), k.scalars("w")
    m = s.input
    if x.dense:
        axes = [_Axis(m.features, 1, 1)]
    else:
        axes = [_Axis(m.channels, x.plane, m.height * m.width), _Axis(m.height, x.row, m.width), _Axis(m.width, 1, 1)]

    def start(o: Value) -> Value | None:
        if op.accumulate:
            return None
        return k.broadcast(k.scalars("b").load(o)) if op.biases else k.number(0)

    neuron = op.neuron
    end = (lambda value: apply_neuron(k, neuron, value)) if neuron else None
    return _product(k, problem, s.outputs, axes, x, w, m.features, y, lambda b, o: y.index(b, o), start, end)


@generator(FcBackwardData)
def fc_backward_data(k: Kernel, problem: Problem) -> int:
    """Task: a range of input features, for all images."""
    op = problem.op
    assert isinstance(op, FcBackwardData)
    s = op.shape
    dy, dx, w = problem.view(k, "dy"), problem.view(k, "dx"), k.scalars("w")
    m = s.input

    def place(block: Value | int, o: Index) -> Index:
        if dx.dense:
            return block * dx.block + o
        channel, y, x = k.split(k.index(o), m.channels, m.height, m.width)
        return dx.index(block, channel, y, x)

    def start(o: Value) -> Value | None:
        return None if op.accumulate else k.number(0)

    return _product(k, problem, m.features, [_Axis(s.outputs, dy.plane, m.features)], dy, w, 1, dx, place, start, None)


@generator(FcBackwardWeights)
def fc_backward_weights(k: Kernel, problem: Problem) -> int:
    """Task: a slice of input features against all outputs, in groups of as many as a register tile takes."""
    op = problem.op
    assert isinstance(op, FcBackwardWeights)
    s, lanes = op.shape, k.lanes
    x, dy = problem.view(k, "x"), problem.view(k, "dy")
    features = s.input.features
    vectors = min(4 if problem.target.registers >= 32 else 2, -(-features // lanes))
    width = vectors * lanes
    # dy passes once for each slice: as wide as stays in the first-level cache, and leaves tasks enough.
    near = problem.target.first_level // (problem.blocks * lanes * width * 4)
    groups = max(1, min(4, near, features // (width * TASKS)))
    size = problem.blocks * lanes * vectors
    turned = k.scratch(groups * size)
    spare = k.scratch(1)
    numbers = turned.view(F32, 4)
    start = k.task * (groups * width)
    stop = k.minimum_index(start + groups * width, features)

    with k.loop(start, stop, name="feature") as i, k.loop(0, problem.blocks, name="block") as block:
        channel, row, column = k.split(i, s.input.channels, s.input.height, s.input.width)
        vector = x.load(x.index(block, channel, row, column))
        group, place = (i - start) // width, (i - start) % width
        for lane in range(lanes):
            numbers.store(k.lane(vector, lane), group * (size * lanes) + (block * lanes + lane) * width + place)

    dw = k.scalars("dw")
    height = tile_sizes(s.outputs, vectors, problem.target)[0]
    before = 0
    for rows, many in near_equal(s.outputs, height):
        with k.loop(0, many, name="outputs") as part, k.loop(start, stop, step=width, name="group") as first:
            f = part * rows + before
            slice_ = turned + (first - start) // width * size
            tile = Tile(k, rows, vectors)
            tile.init(lambda i, v: k.number(0))
            with k.loop(0, problem.blocks, name="block") as block, k.loop(0, lanes, name="lane") as lane_index:
                images = [slice_.load((block * lanes + lane_index) * vectors + v) for v in range(vectors)]
                at = dy.index(block, f) * lanes + lane_index
                for i_o in range(rows):
                    tile.multiply_add_row(i_o, k.spread(dy.numbers, at + i_o * dy.plane * lanes), images)

            def finish(i: int, v: int, value: Value, f: Value = f, first: Value = first) -> None:
                target = dw + ((f + i) * features + first + v * lanes)
                room = None if features % width == 0 else stop - first - v * lanes
                store_part(k, target, value, spare, room, op.accumulate)

            tile.each(finish)
        before += rows * many
    return -(-features // (groups * width))


def store_part(k: Kernel, target: Pointer, value: Value, spare: Pointer, room: Value | None, accumulate: bool) -> None:
    """Store a vector where all of it fits (always, if `room` is None), else its first `room` elements."""
    whole = k.loose_vectors(target)
    if room is None:
        whole.store(whole.load() + value if accumulate else value)
        return
    with k.when(room >= k.lanes):
        whole.store(whole.load() + value if accumulate else value)
    with k.when(room < k.lanes):
        spare.store(value)
        numbers = spare.view(target.element, 4)
        with k.loop(0, room, name="lane") as lane:
            number = numbers.load(lane)
            target.store(target.load(lane) + number if accumulate else number, lane)
