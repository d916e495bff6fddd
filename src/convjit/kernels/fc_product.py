"""The product of fully connected layers: the convolution's register tile with blocks of images in the place of pixels.

The sum is cut into chunks; how the operands of one are read, or copied first, is a `Way`. Between chunks the sums wait
in the output, or beside a narrow one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from convjit.codegen.kernel import Kernel
from convjit.codegen.tile import Product, Tile, near_equal
from convjit.codegen.values import Index, Pointer, Value
from convjit.kernels.base import MapsView, Problem
from convjit.kernels.conv import tile_sizes
from convjit.kernels.sums import Sums

__all__ = ["TASKS", "Axis", "Columns", "Ends", "Part", "Share", "Terms", "Way", "chunk_of", "multiply"]

TASKS = 32
"""Enough for an even split over a few threads, few enough that a task uses its source many times."""


@dataclass(frozen=True)
class Axis:
    """One loop of the sum: its length, and the distances in the source (vectors) and the weights (numbers)."""

    count: int
    source: int
    weights: int


@dataclass(frozen=True)
class Terms:
    """What is summed up for each of `outputs`: over the axes, numbers of the source times weights.

    `weight_o` is the distance of the weights of neighbouring outputs.
    """

    outputs: int
    axes: Sequence[Axis]
    source: MapsView
    weights: Pointer
    weight_o: int


@dataclass(frozen=True)
class Share:
    """A task's outputs: `first` to `last` - 1, at most `most`, in register tiles of `height`."""

    first: Value
    last: Value
    most: int
    height: int


Taps = Callable[[Value, int], tuple[Pointer, Sequence[Axis]]]
"""From the first output of a register tile, and how many it has, to its first weight and the axes of its sum."""


@dataclass(frozen=True)
class Part:
    """The operands of one chunk: the source and the distance of its blocks, the weights and that of their outputs."""

    source: Pointer
    source_block: int
    taps: Taps
    weight_o: int


@dataclass(frozen=True)
class Way:
    """How a sum is cut: chunks of at most `most` of `count`, which `start` readies, (first, length) -> operands."""

    count: int
    most: int
    start: Callable[[Share], Callable[[Value, int], Part]]
    product: Product | None = None


@dataclass(frozen=True)
class Ends:
    """Where a sum goes, what it begins with (None: what is there) and what is done to it in the end."""

    result: MapsView
    place: Callable[[Value | int, Index], Index]
    """From (block, output) to an index."""
    begin: Callable[[Value], Value | None]
    end: Callable[[Value], Value] | None = None


def chunk_of(problem: Problem) -> int:
    """How many numbers of the source, for all images, take a part of the second-level cache."""
    return max(1, problem.target.second_level // 8 // (4 * problem.target.lanes * min(problem.blocks, 8)))


def multiply(k: Kernel, problem: Problem, outputs: int, way: Way, ends: Ends) -> int:
    """Write the sums of one task's outputs for all images; the number of tasks."""
    blocks = problem.blocks
    tile_o, tile_b = tile_sizes(outputs, blocks, problem.target)
    tiles = -(-outputs // tile_o)
    most = -(-tiles // TASKS) * tile_o
    first = k.task * most
    last = k.minimum_index(first + most, outputs)

    def beside(block: Index, o: Index) -> Index:
        return (o - first) * blocks + block

    sums = Sums.of(k, ends.result, ends.place, beside, most * blocks)
    with k.loop(first, last, name="start") as o:
        begin = ends.begin(o)
        if begin is not None or sums.apart:
            with k.loop(0, blocks, name="block") as block:
                sums.begin(begin, block, o)

    ready = way.start(Share(first, last, most, tile_o))
    before = 0
    for length, many in near_equal(way.count, way.most):
        with k.loop(0, many, name="chunk") as number:
            part = ready(number * length + before, length)
            with k.loop(first, last - (tile_o - 1), step=tile_o, name="outputs") as o:
                _tiles(k, tile_o, tile_b, blocks, part, way.product, sums, o)
            whole = (last - first) // tile_o * tile_o
            with k.loop(first + whole, last, name="rest") as o:
                _tiles(k, 1, tile_b, blocks, part, way.product, sums, o)
        before += length * many

    if ends.end or sums.apart:
        with k.loop(first, last, name="end") as o, k.loop(0, blocks, name="block") as block:
            sums.end(ends.end, block, o)
    return -(-outputs // most)


def _tiles(
    k: Kernel, height: int, tile_b: int, blocks: int, part: Part, product: Product | None, sums: Sums, o: Value
) -> None:
    """Add one chunk of the sum to `height` outputs of all blocks."""
    first_tap, axes = part.taps(o, height)
    first = 0
    for width, many in near_equal(blocks, tile_b):
        with k.loop(0, many, name="blocks") as number:
            block = number * width + first
            tile = Tile(k, height, width, product)
            tile.init(lambda i, b, block=block: sums.load(block + b, o + i))  # type: ignore[misc]
            with ExitStack() as nest:
                line, taps = part.source + block * part.source_block, first_tap
                for axis in axes:
                    i = nest.enter_context(k.loop(0, axis.count, name="sum"))
                    line, taps = line + i * axis.source, taps + i * axis.weights
                vectors = [line.load(b * part.source_block) for b in range(width)]
                for i_o in range(height):
                    tile.multiply_add_row(i_o, k.broadcast(taps.load(i_o * part.weight_o)), vectors)
            tile.each(lambda i, b, value, block=block: sums.store(value, block + b, o + i))  # type: ignore[misc]
        first += width * many


@dataclass(frozen=True)
class Columns:
    """Weights of neighbouring outputs that lie side by side, copied: a task's, row by row, then a register tile's.

    Rows that are a multiple of 4 KiB apart would drive each other out of the caches.
    """

    k: Kernel
    rows: Pointer
    tile: Pointer
    share: Share

    @classmethod
    def make(cls, k: Kernel, count: int, share: Share, like: Pointer) -> Columns:
        """Room for so many rows of the pointer's elements; a vector more, since whole vectors are copied."""
        rows, tile = (k.scratch(-(-count * width // k.lanes) + 2) for width in (share.most, share.height))
        return cls(k, rows.view(like.element, 4), tile.view(like.element, 4), share)

    def fill(self, count: int, read: Callable[[Value, Value, bool], Value]) -> None:
        """Copy `count` rows: `read(row, column, whole)` gives the vector, or the number, from a column on."""
        k, columns = self.k, self.share.last - self.share.first
        with k.loop(0, count, name="row") as row:
            to = self.rows + row * self.share.most
            whole = columns // k.lanes * k.lanes
            with k.loop(0, whole, step=k.lanes, name="copy") as i:
                vector = read(row, i + self.share.first, True)
                (to + i).view(vector.kind, 4).store(vector)
            with k.loop(whole, columns, name="rest") as i:
                to.store(read(row, i + self.share.first, False), i)

    def taps(self, count: int, source: int) -> Taps:
        """Of the tiles that are summed over `count` rows, which are `source` apart in the source."""

        def tile(o: Value, height: int) -> tuple[Pointer, Sequence[Axis]]:
            k, column, full = self.k, o - self.share.first, self.share.height
            if height < full:
                return self.rows + column, [Axis(count, source, self.share.most)]
            with k.loop(0, count, name="row") as row:
                line, to = self.rows + (row * self.share.most + column), self.tile + row * full
                # What a vector holds beyond the row is overwritten with the next.
                for i in range(0, full, k.lanes):
                    k.loose_vectors(to + i).store(k.loose_vectors(line + i).load())
            return self.tile, [Axis(count, source, full)]

        return tile
