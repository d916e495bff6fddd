"""The product of locally connected layers: rows of taps past a register tile of filters x blocks of images.

A weight serves one output pixel only, so that what shares it are images. A task makes some pixels of a row, for all
images and all filters (or channels) of a group. For one row of taps after the other it copies what they see into one
stream, and runs every pixel's filters past its part of it; the sums wait in the output from row to row, or beside a
narrow one. Taps outside the image are left out, not multiplied by zeros: at 6x6 pixels and K = 3 that is a fifth of the
work.

local3 of cifar10-13pct (c64 h6 f32 k3 p1) on a Zen 4 core of 117 GFLOP/s, 128 images: forward 1.4 ms, gradient of the
input 1.45 ms, 117 GFLOP/s as the op counts them; in what is really multiplied, 79 % of the peak. Copying what a pixel
sees, instead of a row at a time, was a quarter slower.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from convjit.codegen.kernel import Kernel
from convjit.codegen.tile import Tile, near_equal
from convjit.codegen.values import Index, Pointer, Value
from convjit.kernels.base import MapsView, Problem
from convjit.kernels.conv import tile_sizes
from convjit.kernels.sums import Sums
from convjit.ops.local import LocalShape

__all__ = ["Split", "Sum", "Task", "fit_near", "split_of"]

FEWEST_TASKS = 16
"""Enough for an even split over a few threads."""


@dataclass(frozen=True)
class Split:
    """A row of pixels in `parts` of at most `columns`; the outputs of a pixel in `shares` of at most `outputs`."""

    columns: int
    parts: int
    outputs: int
    shares: int


def split_of(rows: int, columns: int, outputs: int, tile: int) -> Split:
    """Whole rows and all outputs in one task, unless that gives too few tasks to keep the threads busy."""
    wide = -(-columns // min(columns, -(-FEWEST_TASKS // rows)))
    parts = -(-columns // wide)
    share = -(-outputs // -(-FEWEST_TASKS // (rows * parts)))
    share = min(outputs, -(-share // tile) * tile)
    return Split(wide, parts, share, -(-outputs // share))


@dataclass(frozen=True)
class Sum:
    """result[o, q] += sum over u, v, r of source[u, v, r] * weights[o, q, u, v, r], for a row of pixels q.

    `rows` are the taps u, [first, last); `columns(q)` the taps v of a pixel. Tap v of pixel q sees column `column(q)`
    + v of the source, or - v if `backwards`; all together see `seen`, at most `most` of them. Sources are `source_u`
    and `source_r` vectors apart, weights `weight_o`, ... floats.
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


def fit_near(s: LocalShape, k: Kernel) -> bool:
    """Whether the weights of a row of pixels fit the second-level cache."""
    return 4 * math.prod(s.weights.shape) // s.rows <= k.target.second_level


def _tiles(blocks: int, most: int) -> list[tuple[int, int, int]]:
    """(first, width, how many) tiles of at most `most` blocks."""
    first, found = 0, []
    for width, many in near_equal(blocks, most):
        found.append((first, width, many))
        first += width * many
    return found


@dataclass(frozen=True)
class Task:
    """What a task works on: pixels [first, last) of a row, outputs [first, last) of a pixel."""

    k: Kernel
    problem: Problem
    split: Split
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
    near: bool
    """What `fit_near` says."""

    def run(self, s: Sum, start: Callable[[Value, Value], Value | None], end: Callable[[Value], Value] | None) -> None:
        """result = end(start(o, q) + the sum); `start` gives None to add to what is there."""
        k, blocks = self.k, self.problem.blocks
        tile_b = tile_sizes(self.split.outputs, blocks, k.target)[1]
        sums = self._sums()
        with k.loop(*self.pixels, name="pixel") as q, k.loop(*self.outputs, name="start") as o:
            begin = start(o, q)
            if begin is not None or sums.apart:
                with k.loop(0, blocks, name="block") as block:
                    sums.begin(begin, block, o, q)

        # Where a row's weights are too many to wait in the cache for the next blocks, two tiles' are done at once.
        groups = near_equal(blocks, tile_b if self.near else 2 * tile_b)
        most = max(1, k.target.second_level // 8 // (4 * k.lanes * groups[0][0] * s.most))
        packed = k.scratch(min(most, s.reduced) * s.most * groups[0][0])
        first_b = 0
        for count, many_b in groups:
            tiles = _tiles(count, tile_b)
            with k.loop(0, many_b, name="blocks") as part_b:
                block, first_r = part_b * count + first_b, 0
                for length, many_r in near_equal(s.reduced, most):
                    with k.loop(0, many_r, name="chunk") as part_r, k.loop(*s.rows, name="tap_row") as u:
                        r = part_r * length + first_r
                        for first, width, many in tiles:
                            with k.loop(0, many, name="tile") as part:
                                b = part * width + first
                                self._pack(s, packed + b * (s.most * length), u, block + b, r, width, length)
                        with k.loop(*self.pixels, name="pixel") as q:
                            self._outputs(s, sums, packed, q, u, block, r, tiles, length)
                    first_r += length * many_r
            first_b += count * many_b

        if end or sums.apart:
            with ExitStack() as nest:
                q = nest.enter_context(k.loop(*self.pixels, name="pixel"))
                o = nest.enter_context(k.loop(*self.outputs, name="end"))
                sums.end(end, nest.enter_context(k.loop(0, blocks, name="block")), o, q)

    def _sums(self) -> Sums:
        """By (block, o, q), as `place` has them."""
        blocks, split, (first_o, _), (first_q, _) = self.problem.blocks, self.split, self.outputs, self.pixels

        def beside(block: Index, o: Index, q: Index) -> Index:
            return ((q - first_q) * split.outputs + (o - first_o)) * blocks + block

        return Sums.of(self.k, self.result, self.place, beside, split.columns * split.outputs * blocks)

    def _pack(self, s: Sum, packed: Pointer, u: Value, block: Value, r: Value, width: int, length: int) -> None:
        """What a row of taps sees, as [column][r][block]."""
        k, view = self.k, self.view
        line = self.source + (block * view.block + u * s.source_u + r * s.source_r)
        first, last = s.seen
        with k.loop(first, last, name="column") as column, k.loop(0, length, name="reduced") as i:
            for b in range(width):
                vector = line.load(column + i * s.source_r + b * view.block)
                packed.store(vector, ((column - first) * length + i) * width + b)

    def _outputs(
        self,
        s: Sum,
        sums: Sums,
        packed: Pointer,
        q: Value,
        u: Value,
        block: Value,
        r: Value,
        tiles: list[tuple[int, int, int]],
        length: int,
    ) -> None:
        """One row of taps of one pixel past all outputs."""
        k = self.k
        tile_o = tile_sizes(self.split.outputs, self.problem.blocks, k.target)[0]
        column = s.column(q) - s.seen[0]
        weights = self.weights + (s.weight_q(q) + u * s.weight_u + r * s.weight_r)

        def tile(height: int, o: Value) -> None:
            for first, width, many in tiles:
                with k.loop(0, many, name="tile") as part:
                    b = part * width + first

                    def at(i: int, j: int, b: Value = b) -> tuple[Pointer, Index]:
                        return sums.at(block + b + j, o + i, q)

                    source, taps = packed + b * (s.most * length), weights + o * s.weight_o
                    self._tile(s, height, width, length, source, column, s.columns(q), taps, at)

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
        s: Sum,
        height: int,
        width: int,
        length: int,
        packed: Pointer,
        column: Value,
        taps: tuple[Value, Value],
        weights: Pointer,
        at: Callable[[int, int], tuple[Pointer, Index]],
    ) -> None:
        """Add one row of taps to `height` outputs of `width` blocks."""
        k = self.k
        tile = Tile(k, height, width)

        def load(i: int, b: int) -> Value:
            pointer, index = at(i, b)
            return pointer.load(index)

        def store(i: int, b: int, value: Value) -> None:
            pointer, index = at(i, b)
            pointer.store(value, index)

        tile.init(load)
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
        tile.each(store)
