"""The gradient of a locally connected layer's weights: a register tile of filters x vectors of neighbouring weights.

Every weight has a sum over the images alone: too short to be worth a sum over lanes. Instead a task turns a row of
pixels of x around, so that channels lie in the lanes; the gradients dy are broadcast image by image. In memory the
weights of a tap are neighbours, one number for each channel; where channels are few, those of a whole row of taps are.

local3 of cifar10-13pct (c64 h6 f32 k3 p1) on a Zen 4 core of 117 GFLOP/s, 128 images: 1.4 ms, 80 % of the peak in what
is really multiplied.
"""

from __future__ import annotations

from dataclasses import dataclass

from convjit.codegen.kernel import Kernel
from convjit.codegen.tile import Tile, near_equal
from convjit.codegen.values import F32, Index, Pointer, Value
from convjit.kernels.base import MapsView, Problem, generator
from convjit.kernels.conv import tile_sizes
from convjit.kernels.fc import store_part
from convjit.ops.local import LocalBackwardWeights, LocalShape

__all__ = ["Turning", "transpose", "turning"]

FEWEST_TASKS = 16
"""Enough for an even split over a few threads."""


@dataclass(frozen=True)
class Turning:
    """How a row of pixels is turned around: `channels` at a time; `whole` rows of taps, or tap by tap.

    Whole rows need zeros beyond the image. Tap by tap, those outside are left out.
    """

    channels: int
    whole: bool


def turning(s: LocalShape, lanes: int) -> Turning:
    """Channels that fill vectors go tap by tap, in parts of up to four vectors; others by whole rows."""
    c = s.group_channels
    if c % lanes and c < 4 * lanes:
        return Turning(c, True)
    vectors = -(-c // lanes)
    tasks = s.rows * s.groups
    parts = max(-(-vectors // 4), min(vectors // 2, -(-FEWEST_TASKS // tasks)), 1)
    return Turning(min(c, near_equal(vectors, -(-vectors // parts))[0][0] * lanes), False)


def transpose(k: Kernel, rows: list[Value]) -> list[Value]:
    """V vectors as a square, turned: element j of vector i becomes element i of vector j."""
    lanes, step = k.lanes, k.lanes // 2
    while step:
        # Squares of step x step numbers beside the diagonal change places.
        keep = [lane if not lane & step else lanes + lane - step for lane in range(lanes)]
        move = [lane + step if not lane & step else lanes + lane for lane in range(lanes)]
        for i in range(lanes):
            if not i & step:
                a, b = rows[i], rows[i + step]
                rows[i], rows[i + step] = k.shuffle(a, b, keep), k.shuffle(a, b, move)
        step //= 2
    return rows


@dataclass(frozen=True)
class _Row:
    """One row of pixels of x in scratch: [image][pixel][channel], images `pitch` floats apart.

    Pixel 0 is the one under the first tap of the first window.
    """

    numbers: Pointer
    pitch: int
    channels: int
    filters: tuple[Value, int]
    """What it is multiplied with: the first filter of the group, and how many."""

    def fill(self, k: Kernel, s: LocalShape, t: Turning, blocks: int, x: MapsView, channel: Value, y: Value) -> None:
        """Turn row y of all blocks around, for `channels` channels from `channel` on."""
        with k.loop(0, blocks, name="block") as block:
            if t.whole:
                with k.loop(0, k.lanes, name="image") as image, k.loop(0, self.pitch // k.lanes, name="clear") as i:
                    place = self.numbers + ((block * k.lanes + image) * self.pitch + i * k.lanes)
                    k.loose_vectors(place).store(k.number(0))
            # Going upwards: what a vector writes beyond its pixel is written again by the next.
            with k.loop(0, s.width, name="pixel") as column:
                for first in range(0, self.channels, k.lanes):
                    count = min(k.lanes, self.channels - first)
                    given = [x.load(x.index(block, channel + (first + i), y, column)) for i in range(count)]
                    turned = transpose(k, given + [k.number(0)] * (k.lanes - count))
                    for number, vector in enumerate(turned):
                        place = self.numbers + (
                            (block * k.lanes + number) * self.pitch + (column + s.padding) * self.channels + first
                        )
                        k.loose_vectors(place).store(vector)


@generator(LocalBackwardWeights)
def local_backward_weights(k: Kernel, problem: Problem) -> int:
    """Task: a row of output pixels of one group, against some channels."""
    op = problem.op
    assert isinstance(op, LocalBackwardWeights)
    s, lanes = op.shape, k.lanes
    t = turning(s, lanes)
    x = problem.view(k, "x")
    parts = near_equal_lanes(s.group_channels, t.channels)
    pixels = max(s.padding + s.width, (s.columns - 1) * s.stride + s.size)
    # A vector beyond the last pixel; and an odd number of vectors, lest images fall into the same lines of the cache.
    vectors = -(-pixels * t.channels // lanes) + 1
    pitch = (vectors + 1 - vectors % 2) * lanes
    scratch = k.scratch(problem.blocks * pitch)
    spare = k.scratch(1)
    numbers = scratch.view(F32, 4)
    count = sum(many for _, many in parts)
    # Where tasks are few, some filters each: then several turn the same row.
    shares = max(n for n in range(1, FEWEST_TASKS + 1) if s.group_filters % n == 0 and _worth(s, n, count))
    filters = s.group_filters // shares
    group, row, part, share = k.split(k.task, s.groups, s.rows, count, shares)

    def task(channels: int, first: Value) -> None:
        line = _Row(numbers, pitch, channels, (share * filters, filters))
        with k.loop(0, s.size, name="tap_row") as u:
            y = row * s.stride + u - s.padding
            seen = (y >= 0) & (y < s.height)
            with k.when(seen):
                line.fill(k, s, t, problem.blocks, x, group * s.group_channels + first, y)
                _row(k, problem, op, t, line, group, row, u, first, spare)
            if not op.accumulate:
                with k.when(seen.equals(0)), k.loop(0, s.columns * s.size, name="tap") as tap:
                    column, v = tap // s.size, tap % s.size
                    _clear(k, op, line, group, row * s.columns + column, u * s.size + v, first)

    before, first = 0, 0
    for channels, many in parts:
        inside = (part >= before) & (part < before + many)
        if count == many:
            task(channels, part * channels)
        else:
            with k.when(inside):
                task(channels, (part - before) * channels + first)
        before, first = before + many, first + channels * many
    return s.groups * s.rows * count * shares


def _worth(s: LocalShape, shares: int, parts: int) -> bool:
    """Whether filters are worth cutting into so many shares: for want of tasks, and of eight filters at least."""
    wanted = -(-FEWEST_TASKS // (s.groups * s.rows * parts))
    return shares == 1 or (shares <= wanted and s.group_filters // shares >= 8)


def near_equal_lanes(channels: int, part: int) -> list[tuple[int, int]]:
    """[(size, how many), ...]: parts of `part` channels, and what is left."""
    many, rest = divmod(channels, part)
    return [(size, count) for size, count in ((part, many), (rest, 1)) if size and count]


def _weights(k: Kernel, s: LocalShape, group: Value, module: Value, f: Index, tap: Value, c: Value) -> Pointer:
    """dw at a filter of the group, a tap, a channel of the group."""
    filters = module * s.filters + group * s.group_filters + f
    return k.scalars("dw") + ((filters * s.size**2 + tap) * s.group_channels + c)


def _clear(k: Kernel, op: LocalBackwardWeights, line: _Row, group: Value, module: Value, tap: Value, c: Value) -> None:
    """A tap outside the image has no gradient."""
    first, count = line.filters
    with k.loop(0, count, name="filter") as f, k.loop(0, line.channels, name="channel") as i:
        place = _weights(k, op.shape, group, module, first + f, tap, c)
        place.store(k.lane(k.number(0), 0), i)


def _row(
    k: Kernel,
    problem: Problem,
    op: LocalBackwardWeights,
    t: Turning,
    line: _Row,
    group: Value,
    row: Value,
    u: Value,
    c: Value,
    spare: Pointer,
) -> None:
    """The gradients of one row of taps, for all windows of a row."""
    s = op.shape
    run = s.size * line.channels if t.whole else line.channels
    with k.loop(0, s.columns, name="column") as column:
        module = row * s.columns + column
        if t.whole:
            _run(k, problem, op, line, run, column * s.stride, group, (row, column), u * s.size, c, spare)
            return
        with k.loop(0, s.size, name="tap") as v:
            x = column * s.stride + v
            seen = (x >= s.padding) & (x < s.padding + s.width)
            with k.when(seen):
                _run(k, problem, op, line, run, x, group, (row, column), u * s.size + v, c, spare)
            if not op.accumulate:
                with k.when(seen.equals(0)):
                    _clear(k, op, line, group, module, u * s.size + v, c)


def _run(
    k: Kernel,
    problem: Problem,
    op: LocalBackwardWeights,
    line: _Row,
    run: int,
    pixel: Value,
    group: Value,
    at: tuple[Value, Value],
    tap: Value,
    c: Value,
    spare: Pointer,
) -> None:
    """`run` neighbouring weights from `tap`, `c` on, for all filters of the group: sums over all images."""
    s, lanes = op.shape, k.lanes
    dy = problem.view(k, "dy")
    vectors = -(-run // lanes)
    first, count = line.filters
    tile_f, tile_v = tile_sizes(count, vectors, k.target)
    first_v = 0
    for width, many_v in near_equal(vectors, tile_v):
        with k.loop(0, many_v, name="weights") as part_v:
            vector = part_v * width + first_v
            source = line.numbers + (pixel * line.channels + vector * lanes)
            first_f = 0
            for height, many_f in near_equal(count, tile_f):
                with k.loop(0, many_f, name="filters") as part_f:
                    f = first + part_f * height + first_f
                    tile = Tile(k, height, width)
                    tile.init(lambda i, v: k.number(0))
                    with k.loop(0, problem.blocks, name="block") as block:
                        lane0 = dy.numbers + dy.index(block, group * s.group_filters + f, *at) * lanes
                        images = source + block * (lanes * line.pitch)
                        with k.loop(0, lanes, name="lane") as lane:
                            values = [
                                k.loose_vectors(images + (lane * line.pitch + v * lanes)).load() for v in range(width)
                            ]
                            for i in range(height):
                                tile.multiply_add_row(i, k.spread(lane0, i * (dy.plane * lanes) + lane), values)

                    def finish(i: int, v: int, value: Value, f: Value = f, vector: Value = vector) -> None:
                        target = _weights(k, s, group, at[0] * s.columns + at[1], f + i, tap, c) + (vector + v) * lanes
                        room = None if run % lanes == 0 else run - (vector + v) * lanes
                        store_part(k, target, value, spare, room, op.accumulate)

                    tile.each(finish)
                first_f += height * many_f
        first_v += width * many_v
