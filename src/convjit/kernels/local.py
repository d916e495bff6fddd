"""Locally connected layers, forward and the gradient of the input: a register tile of filters x blocks of images.

A weight serves one output pixel only, so that what shares it are images. A task makes some pixels of a row, for all images
and all filters (or channels) of a group. For one row of taps after the other it copies what they see into one stream, and
runs every pixel's filters past its part of it; the sums wait in the output from row to row. Taps outside the image are
left out, not multiplied by zeros: at 6x6 pixels and K = 3 that is a fifth of the work.

SPEED
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from convjit.codegen.kernel import Kernel
from convjit.codegen.tile import Tile, near_equal
from convjit.codegen.values import Index, Pointer, Value
from convjit.kernels.base import MapsView, Problem, generator
from convjit.kernels.conv import tile_sizes
from convjit.kernels.neuron import apply_neuron
from convjit.ops.local import LocalBackwardData, LocalForward

__all__: list[str] = []

FEWEST_TASKS = 12
"""Enough for an even split over a few threads."""


@dataclass(frozen=True)
class _Split:
    """A row of pixels in `parts` of at most `columns`; the outputs of a pixel in `shares` of at most `outputs`."""

    columns: int
    parts: int
    outputs: int
    shares: int


def _split(rows: int, columns: int, outputs: int, tile: int) -> _Split:
    """Whole rows and all outputs in one task, unless that gives too few tasks to keep the threads busy."""
    wide = -(-columns // min(columns, -(-FEWEST_TASKS // rows)))
    parts = -(-columns // wide)
    share = -(-outputs // -(-FEWEST_TASKS // (rows * parts)))
    share = min(outputs, -(-share // tile) * tile)
    return _Split(wide, parts, share, -(-outputs // share))


@dataclass(frozen=True)
class _Sum:
    """result[o, q] += sum over u, v, r of source[u, v, r] * weights[o, q, u, v, r], for a row of pixels q.

    `rows` are the taps u, [first, last); `columns(q)` the taps v of a pixel. Tap v of pixel q sees column `column(q)` + v
    of the source, or - v if `backwards`; all together see `seen`, at most `most` of them. Sources are `source_u` and `source_r`
    vectors apart, weights `weight_o`, ... floats.
    """

    outputs: int
    reduced: int
    rows: tuple[Value, Value]
    columns: Callable[[Value], tuple[Value, Value]]
    column: Callable[[Value], Value]
    backwards: bool
    seen: tuple[Value, Value]
    most: int
    source_u: int
    source_r: int
    weight_o: int
    weight_q: Callable[[Value], Index]
    weight_u: int
    weight_v: int
    weight_r: int


@dataclass(frozen=True)
class _Task:
    """What a task works on: pixels [first, last) of a row, outputs [first, last) of a pixel."""

    k: Kernel
    problem: Problem
    split: _Split
    pixels: tuple[Value, Value]
    outputs: tuple[Value, Value]
    source: Pointer
    """Tap row 0, column 0, r = 0 of block 0."""
    view: MapsView
    weights: Pointer
    """Tap (0, 0), r = 0, o = 0; `weight_q` is added."""
    result: MapsView
    place: Callable[[Index, Index, Index], Index]
    """Index of (block, o, q) in the result."""

    def run(self, s: _Sum, start: Callable[[Value, Value], Value | None], end: Callable[[Value], Value] | None) -> None:
        """result = end(start(o, q) + the sum); `start` gives None to add to what is there."""
        k, blocks = self.k, self.problem.blocks
        tile_b = tile_sizes(self.split.outputs, blocks, k.target)[1]
        with k.loop(*self.pixels, name="pixel") as q, k.loop(*self.outputs, name="start") as o:
            begin = start(o, q)
            if begin is not None:
                with k.loop(0, blocks, name="block") as block:
                    self.result.store(begin, self.place(block, o, q))

        wide = near_equal(blocks, tile_b)
        length = max(1, k.target.second_level // 8 // (4 * k.lanes * wide[0][0] * s.most))
        packed = k.scratch(min(length, s.reduced) * s.most * wide[0][0])
        first_b = 0
        for width, many_b in wide:
            with k.loop(0, many_b, name="blocks") as part_b:
                block, first_r = part_b * width + first_b, 0
                for length, many_r in near_equal(s.reduced, length):
                    with k.loop(0, many_r, name="chunk") as part_r, k.loop(*s.rows, name="tap_row") as u:
                        r = part_r * length + first_r
                        self._pack(s, packed, u, block, r, width, length)
                        with k.loop(*self.pixels, name="pixel") as q:
                            self._outputs(s, packed, q, u, block, r, width, length)
                    first_r += length * many_r
            first_b += width * many_b

        if end:
            with k.loop(*self.pixels, name="pixel") as q, k.loop(*self.outputs, name="end") as o:
                with k.loop(0, blocks, name="block") as block:
                    at = self.place(block, o, q)
                    self.result.store(end(self.result.load(at)), at)

    def _pack(self, s: _Sum, packed: Pointer, u: Value, block: Value, r: Value, width: int, length: int) -> None:
        """What a row of taps sees, as [column][r][block]."""
        k, view = self.k, self.view
        line = self.source + (block * view.block + u * s.source_u + r * s.source_r)
        first, last = s.seen
        with k.loop(first, last, name="column") as column, k.loop(0, length, name="reduced") as i:
            for b in range(width):
                vector = line.load(column + i * s.source_r + b * view.block)
                packed.store(vector, ((column - first) * length + i) * width + b)

    def _outputs(
        self, s: _Sum, packed: Pointer, q: Value, u: Value, block: Value, r: Value, width: int, length: int
    ) -> None:
        """One row of taps of one pixel past all outputs."""
        k = self.k
        tile_o = tile_sizes(self.split.outputs, self.problem.blocks, k.target)[0]
        column = s.column(q) - s.seen[0]
        weights = self.weights + (s.weight_q(q) + u * s.weight_u + r * s.weight_r)

        def tile(height: int, o: Value) -> None:
            def at(i: int, b: int) -> Index:
                return self.place(block + b, o + i, q)

            self._tile(s, height, width, length, packed, column, s.columns(q), weights + o * s.weight_o, at)

        first, last = self.outputs
        if self.split.shares == 1:
            before = 0
            for height, many in near_equal(s.outputs, tile_o):
                with k.loop(0, many, name="outputs") as part:
                    tile(height, part * height + before)
                before += height * many
        else:
            with k.loop(first, last - (tile_o - 1), tile_o, name="outputs") as o:
                tile(tile_o, o)
            with k.loop(first + (last - first) // tile_o * tile_o, last, name="rest") as o:
                tile(1, o)

    def _tile(
        self,
        s: _Sum,
        height: int,
        width: int,
        length: int,
        packed: Pointer,
        column: Value,
        taps: tuple[Value, Value],
        weights: Pointer,
        at: Callable[[int, int], Index],
    ) -> None:
        """Add one row of taps to `height` outputs of `width` blocks."""
        k = self.k
        tile = Tile(k, height, width)
        tile.init(lambda i, b: self.result.load(at(i, b)))
        first, last = taps

        def step(line: Pointer, numbers: Pointer) -> None:
            vectors = [line.load(b) for b in range(width)]
            for i in range(height):
                tile.multiply_add_row(i, k.broadcast(numbers.load(i * s.weight_o)), vectors)

        if s.weight_v == length * s.weight_r and not s.backwards:
            # Sources and weights of a whole row lie side by side.
            line, numbers = packed + (column + first) * (length * width), weights + first * s.weight_v
            with k.loop(0, (last - first) * length, name="sum") as i:
                step(line + i * width, numbers + i * s.weight_r)
        else:
            with k.loop(first, last, name="tap") as v:
                line = packed + (column - v if s.backwards else column + v) * (length * width)
                numbers = weights + v * s.weight_v
                with k.loop(0, length, name="sum") as i:
                    step(line + i * width, numbers + i * s.weight_r)
        tile.each(lambda i, b, value: self.result.store(value, at(i, b)))


def _ranges(k: Kernel, split: _Split, part: Value, share: Value, pixels: int, outputs: int) -> list[tuple[Value, Value]]:
    """Pixels of a part, outputs of a share: [first, last)."""
    q, o = part * split.columns, share * split.outputs
    return [(q, k.minimum(q + split.columns, pixels)), (o, k.minimum(o + split.outputs, outputs))]


@generator(LocalForward)
def local_forward(k: Kernel, problem: Problem) -> int:
    """Task: some pixels of a row of outputs and of a group, or some of their filters."""
    op = problem.op
    assert isinstance(op, LocalForward)
    s = op.shape
    x, y, w = problem.view(k, "x"), problem.view(k, "y"), k.scalars("w")
    tile = tile_sizes(s.group_filters, problem.blocks, k.target)[0]
    split = _split(s.rows * s.groups, s.columns, s.group_filters, tile)
    group, row, part, share = k.split(k.task, s.groups, s.rows, split.parts, split.shares)
    pixels, outputs = _ranges(k, split, part, share, s.columns, s.group_filters)
    top = row * s.stride - s.padding
    filters, one = group * s.group_filters, s.size**2 * s.group_channels
    total = _Sum(
        outputs=s.group_filters,
        reduced=s.group_channels,
        rows=_inside(k, top, s.size, s.height),
        columns=lambda q: _inside(k, q * s.stride - s.padding, s.size, s.width),
        column=lambda q: q * s.stride - s.padding,
        backwards=False,
        seen=(
            k.maximum(pixels[0] * s.stride - s.padding, 0),
            k.minimum((pixels[1] - 1) * s.stride + (s.size - s.padding), s.width),
        ),
        most=min(s.width, (split.columns - 1) * s.stride + s.size),
        source_u=x.row,
        source_r=x.plane,
        weight_o=one,
        weight_q=lambda q: q * (s.filters * one),
        weight_u=s.size * s.group_channels,
        weight_v=s.group_channels,
        weight_r=1,
    )

    def start(o: Value, q: Value) -> Value | None:
        if op.accumulate:
            return None
        if not op.biases:
            return k.number(0)
        return k.broadcast(k.scalars("b").load(((filters + o) * s.rows + row) * s.columns + q))

    neuron = op.neuron
    end = (lambda value: apply_neuron(k, neuron, value)) if neuron else None
    source = x.pointer + x.index(0, group * s.group_channels, top)
    weights = w + (row * (s.columns * s.filters) + filters) * one
    task = _Task(
        k, problem, split, pixels, outputs, source, x, weights, y, lambda b, o, q: y.index(b, filters + o, row, q)
    )
    task.run(total, start, end)
    return s.groups * s.rows * split.parts * split.shares


@generator(LocalBackwardData)
def local_backward_data(k: Kernel, problem: Problem) -> int:
    """Task: some pixels of a row of inputs and of a group, or some of their channels."""
    op = problem.op
    assert isinstance(op, LocalBackwardData)
    s = op.shape
    dy, dx, w = problem.view(k, "dy"), problem.view(k, "dx"), k.scalars("w")
    tile = tile_sizes(s.group_channels, problem.blocks, k.target)[0]
    split = _split(s.height * s.groups, s.width, s.group_channels, tile)
    group, row, part, share = k.split(k.task, s.groups, s.height, split.parts, split.shares)
    pixels, outputs = _ranges(k, split, part, share, s.width, s.group_channels)
    channels, filters = group * s.group_channels, group * s.group_filters
    one = s.size**2 * s.group_channels
    module = s.filters * one
    taps = -(-s.size // s.stride)
    # Pixel q meets the taps q' % S, q' % S + S, ... of the windows q' / S, q' / S - 1, ..., where q' = q + P.
    window, tap = (row + s.padding) // s.stride, (row + s.padding) % s.stride

    def window_of(q: Value) -> Value:
        return (q + s.padding) // s.stride

    def tap_of(q: Value) -> Value:
        return (q + s.padding) % s.stride

    total = _Sum(
        outputs=s.group_channels,
        reduced=s.group_filters,
        rows=_met(k, window, tap, s.size, s.stride, s.rows),
        columns=lambda q: _met(k, window_of(q), tap_of(q), s.size, s.stride, s.columns),
        column=window_of,
        backwards=True,
        seen=(k.maximum(window_of(pixels[0]) - (taps - 1), 0), k.minimum(window_of(pixels[1] - 1) + 1, s.columns)),
        most=min(s.columns, (split.columns - 1) // s.stride + 1 + taps),
        source_u=-dy.row,
        source_r=dy.plane,
        weight_o=1,
        weight_q=lambda q: window_of(q) * module + tap_of(q) * s.group_channels,
        weight_u=s.stride * s.size * s.group_channels - s.columns * module,
        weight_v=s.stride * s.group_channels - module,
        weight_r=one,
    )

    def start(o: Value, q: Value) -> Value | None:
        return None if op.accumulate else k.number(0)

    source = dy.pointer + dy.index(0, filters, window)
    weights = w + (window * (s.columns * module) + filters * one + tap * (s.size * s.group_channels))
    task = _Task(
        k, problem, split, pixels, outputs, source, dy, weights, dx, lambda b, o, q: dx.index(b, channels + o, row, q)
    )
    task.run(total, start, None)
    return s.groups * s.height * split.parts * split.shares


def _inside(k: Kernel, start: Value, size: int, side: int) -> tuple[Value, Value]:
    """[first, last) of the taps of a window that see the image."""
    return k.maximum(-start, 0), k.minimum(side - start, size)


def _met(k: Kernel, window: Value, tap: Value, size: int, stride: int, windows: int) -> tuple[Value, Value]:
    """[first, last) of the numbers a for which tap + a*S is a tap and window - a a window."""
    taps = (k.maximum(size - tap, 0) + (stride - 1)) // stride
    return k.maximum(window - (windows - 1), 0), k.minimum(taps, window + 1)
