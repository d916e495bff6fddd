"""The gradient of a convolution's weights: a register tile of filters x taps, summed over pixels, lanes last.

Accumulators are vectors over images; they are summed across lanes once, at the end. One task makes the gradients of a
few filters for a run of channels. It walks over the pixels in patches of dy small enough for the first-level cache,
and runs all its channels and taps past each patch; their sums wait in the second-level cache in between.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from convjit.codegen.kernel import Kernel
from convjit.codegen.target import Target
from convjit.codegen.tile import Product, Tile, near_equal
from convjit.codegen.values import Index, Pointer, Value
from convjit.kernels.base import MapsView, Problem, generator
from convjit.ops.conv import ConvBackwardWeights, ConvShape

__all__ = ["Pixels", "WeightsTiling", "backward_weights", "weights_tiling"]

FEWEST_TASKS = 16
"""Enough for an even split over a few threads."""


@dataclass(frozen=True)
class WeightsTiling:
    """`filters` x (`channels` x taps of one row, in parts) accumulators; `chunk` channels a task; patches of rows x
    columns.
    """

    filters: int
    channels: int
    taps: int
    chunk: int
    rows: int
    columns: int


@dataclass(frozen=True)
class Pixels:
    """How the pixels of a row are read: up to `together` at once, as `load(pointer, index, distance, how many)`."""

    load: Callable[[Pointer, Index, int, int], Value]
    together: int = 1
    product: Product | None = None


SINGLE = Pixels(lambda pointer, index, distance, many: pointer.load(index))


def weights_tiling(s: ConvShape, target: Target, vector: int) -> WeightsTiling:
    """The tiling for a shape: accumulators, the smaller side's operands and one of the other leave a register spare.
    `vector` is the size of one of dy's, in bytes.

    Taps of a row share their pixels, so that with 16 registers two filters against all 5 taps of a row, 85 % of the
    peak, beat four against 3 taps, 59 %.
    """
    few = 4 if target.registers >= 32 else 2

    def fits(filters: int, wide: int) -> bool:
        return filters * wide + min(filters, wide) + 1 < target.registers

    taps = next(
        -(-s.size // parts) for parts in range(1, s.size + 1) if fits(few, -(-s.size // parts)) or parts == s.size
    )
    channels = max(1, min(s.group_channels, 4 // taps))
    wide = taps * channels
    most = max(n for n in range(1, min(s.group_filters, 8) + 1) if n == 1 or fits(n, wide))
    # A size that divides the filters needs one piece of code instead of two.
    even = [n for n in range(most, most // 2, -1) if s.group_filters % n == 0]
    filters = even[0] if even else near_equal(s.group_filters, most)[0][0]
    chunk = max(channels, target.second_level // 4 // (4 * target.lanes * filters * s.size**2))
    parts_f = s.groups * -(-s.group_filters // filters)
    most_chunk = max(1, s.group_channels // -(-FEWEST_TASKS // parts_f)) if parts_f < FEWEST_TASKS else s.group_channels
    chunk = min(chunk, max(channels, most_chunk), s.group_channels)
    patch = max(1, target.first_level * 5 // 8 // (vector * filters))
    columns = near_equal(s.columns, patch)[0][0]
    rows = near_equal(s.rows, max(1, patch // columns))[0][0]
    return WeightsTiling(filters, channels, taps, chunk, rows, columns)


@dataclass(frozen=True)
class _Patch:
    """What the innermost code needs to know of its surroundings."""

    k: Kernel
    s: ConvShape
    pixels: Pixels
    x: MapsView
    dy: MapsView
    source: Pointer
    """x at the patch's first pixel, first tap, first channel of the chunk."""
    gradient: Pointer
    """dy at the patch's first pixel, first filter of the tile."""
    rows: int
    columns: int


@generator(ConvBackwardWeights)
def conv_backward_weights(k: Kernel, problem: Problem) -> int:
    """Task: a tile of filters of one group, and a chunk of its channels."""
    return backward_weights(k, problem, SINGLE)


def backward_weights(k: Kernel, problem: Problem, pixels: Pixels) -> int:
    """`conv_backward_weights` with pixels that are read in any way."""
    op = problem.op
    assert isinstance(op, ConvBackwardWeights)
    s = op.shape
    t = weights_tiling(s, problem.target, problem.vector_bytes("dy") if pixels.together > 1 else 4 * k.lanes)
    x, dy, dw = problem.view(k, "x"), problem.view(k, "dy"), k.scalars("dw")
    chunks = near_equal(s.group_channels, t.chunk)
    tiles = near_equal(s.group_filters, t.filters)
    count_c, count_f = sum(n for _, n in chunks), sum(n for _, n in tiles)
    sums = k.scratch(t.filters * chunks[0][0] * s.size**2)
    # Neighbouring tasks share a chunk of x, which is larger than their gradients and stays in the third-level cache.
    group, part_c, part_f = k.split(k.task, s.groups, count_c, count_f)

    def task(height: int, f: Value, depth: int, c: Value) -> None:
        """Filters f .. f+height of the group against its channels c .. c+depth."""
        places = height * depth * s.size**2
        with k.loop(0, places, name="clear") as i:
            sums.store(k.number(0), i)
        filters, channels = group * s.group_filters + f, group * s.group_channels + c
        with k.loop(0, problem.blocks, name="block") as block:
            _walk_patches(k, s, pixels, t, height, depth, x, dy, sums, block, filters, channels)
        with k.loop(0, depth, name="channel") as ci, k.loop(0, height, name="filter") as fi:
            target = dw + ((filters + fi) * s.group_channels + (c + ci)) * s.size**2
            with k.loop(0, s.size, name="tap_row") as u:
                for v in range(s.size):
                    value = k.lane_sum(sums.load(((ci * s.size + u) * s.size + v) * height + fi))
                    target.store(target.load(u * s.size + v) + value if op.accumulate else value, u * s.size + v)

    first_f, before_f = 0, 0
    for height, many_f in tiles:
        first_c, before_c = 0, 0
        for depth, many_c in chunks:
            inside = _between(k, part_f, before_f, many_f, count_f) & _between(k, part_c, before_c, many_c, count_c)
            with k.when(inside):
                f = (part_f - before_f) * height + first_f
                task(height, f, depth, (part_c - before_c) * depth + first_c)
            first_c, before_c = first_c + depth * many_c, before_c + many_c
        first_f, before_f = first_f + height * many_f, before_f + many_f
    return s.groups * count_f * count_c


def _between(k: Kernel, index: Value, start: int, count: int, total: int) -> Value:
    """start <= index < start + count."""
    return (index >= start) & (index < start + count)


def _walk_patches(
    k: Kernel,
    s: ConvShape,
    pixels: Pixels,
    t: WeightsTiling,
    height: int,
    depth: int,
    x: MapsView,
    dy: MapsView,
    sums: Pointer,
    block: Value,
    filters: Value,
    channels: Value,
) -> None:
    first_y = 0
    for rows, many_y in near_equal(s.rows, t.rows):
        with k.loop(0, many_y, name="patch_y") as patch_y:
            y = patch_y * rows + first_y
            first_x = 0
            for columns, many_x in near_equal(s.columns, t.columns):
                with k.loop(0, many_x, name="patch_x") as patch_x:
                    q = patch_x * columns + first_x
                    at = x.index(block, channels, y * s.stride - s.padding, q * s.stride - s.padding)
                    gradient = dy.pointer + dy.index(block, filters, y, q)
                    patch = _Patch(k, s, pixels, x, dy, x.pointer + at, gradient, rows, columns)
                    _run_channels(patch, t, height, depth, sums)
                first_x += columns * many_x
        first_y += rows * many_y


def _run_channels(p: _Patch, t: WeightsTiling, height: int, depth: int, sums: Pointer) -> None:
    """All channels of the chunk and all taps past one patch."""
    first_c = 0
    for channels, many in near_equal(depth, t.channels):
        with p.k.loop(0, many, name="channels") as i, p.k.loop(0, p.s.size, name="tap_row") as u:
            c = i * channels + first_c
            first_v = 0
            for taps, count in near_equal(p.s.size, t.taps):
                for _ in range(count):
                    columns = [(dc, first_v + v) for dc in range(channels) for v in range(taps)]
                    source = p.source + (c * p.x.plane + u * p.x.row)
                    _tile(p, height, columns, source, sums + ((c * p.s.size + u) * p.s.size) * height)
                    first_v += taps
        first_c += channels * many


def _tile(p: _Patch, height: int, columns: list[tuple[int, int]], source: Pointer, sums: Pointer) -> None:
    """Add one patch to the sums of `height` filters x `columns` (channel, tap)."""
    k, s, together = p.k, p.s, p.pixels.together
    tile = Tile(k, height, len(columns), p.pixels.product)

    def place(f: int, column: int) -> int:
        channel, tap = columns[column]
        return (channel * s.size**2 + tap) * height + f

    def add(line: Pointer, gradient: Pointer, count: int) -> None:
        """`count` pixels from there on."""
        loaded: dict[tuple[int, int], Value] = {}
        for n in range(0, count, together):
            many = min(together, count - n)
            at = [(channel * p.x.plane + tap + n * s.stride, many) for channel, tap in columns]
            for index in at:
                if index not in loaded:
                    loaded[index] = p.pixels.load(line, index[0], s.stride, many)
            for f in range(height):
                b = p.pixels.load(gradient, f * p.dy.plane + n, 1, many)
                tile.multiply_add_row(f, b, [loaded[index] for index in at])

    tile.init(lambda f, column: sums.load(place(f, column)))
    steps = p.columns // together
    unroll = together * next(n for n in (4, 3, 2, 1) if steps % n == 0)
    with k.loop(0, p.rows, name="row") as r:
        line, gradient = source + r * (s.stride * p.x.row), p.gradient + r * p.dy.row
        if steps:
            with k.loop(0, p.columns // unroll, name="pixel") as part:
                add(line + part * (unroll * s.stride), gradient + part * unroll, unroll)
        if rest := p.columns % together:
            add(line + steps * together * s.stride, gradient + steps * together, rest)
    tile.each(lambda f, column, value: sums.store(value, place(f, column)))
