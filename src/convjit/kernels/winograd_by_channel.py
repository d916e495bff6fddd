"""Convolution of few images point by point: transforms of V channels, or V filters, at once, products in between.

    m[e][tile][filter] = sum over r of v[e][tile][r] * u[e][r][filter]

The arithmetic is that of the kernel for many images, number by number and in the same order, so that the sums have the
same bits. Stage 0 transforms the weights, once while they stay the same. Stage 1 transforms x, stage 2 multiplies and
transforms the results of some tiles and filter vectors.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from convjit.codegen.kernel import Kernel
from convjit.codegen.target import Target
from convjit.codegen.tile import Tile, near_equal
from convjit.codegen.values import Index, Pointer, Value
from convjit.kernels.base import WORKSPACE, Algorithm, MapsView, Problem, algorithm
from convjit.kernels.by_channel import channel_blocks
from convjit.kernels.conv import tile_sizes
from convjit.kernels.conv_by_channel import end_of, filter_numbers, start_of
from convjit.kernels.schemes import SCHEMES
from convjit.kernels.transforms import square
from convjit.kernels.winograd import taps_of
from convjit.kernels.winograd_tiling import Tiling, corner_of, gain, square_cost, tiling, transform_source
from convjit.ops.base import ChannelMaps
from convjit.ops.by_channel import ConvByChannel
from convjit.ops.conv import ConvForward

__all__: list[str] = []

_EFFICIENCY = 0.8
"""Share of the peak that the products reach."""
_COLUMNS = 2
"""Register tiles' worth of tiles that one task takes: between two transforms they share every weight that is read."""


@dataclass(frozen=True)
class _Plan:
    """How a problem is cut up, and where its numbers lie in the workspace."""

    t: Tiling
    op: ConvForward
    by_channel: bool
    """Whether x has a channel per lane; else it has an image."""
    images: int
    target: Target

    @classmethod
    def of(cls, problem: Problem, way: str) -> _Plan:
        """By one of SCHEMES."""
        op = problem.op
        assert isinstance(op, ConvByChannel)
        t = tiling(replace(problem, op=op.op), way)
        return cls(t, op.op, isinstance(op.operands()["x"], ChannelMaps), problem.batch, problem.target)

    @property
    def vectors(self) -> int:
        """Filter vectors of a group."""
        return channel_blocks(self.t.outputs, self.target.lanes)

    @property
    def maps(self) -> int:
        """Vectors of channels of x."""
        channels = self.t.shape.channels
        return channel_blocks(channels, self.target.lanes) if self.by_channel else channels

    @property
    def source_tiles(self) -> int:
        """Tiles that are transformed at once: those of every image, or of all at once."""
        return self.t.tiles * (self.images if self.by_channel else 1)

    @property
    def sizes(self) -> tuple[int, int]:
        """(tiles, filter vectors) of the register tile."""
        return tile_sizes(self.t.tiles, self.vectors, self.target)

    @property
    def heights(self) -> list[tuple[int, int]]:
        """(filter vectors of a register tile, how many)."""
        return near_equal(self.vectors, self.sizes[1])

    @property
    def groups(self) -> list[tuple[int, int]]:
        """(tiles of an image that a task takes, how many times)."""
        return near_equal(self.t.tiles, self.sizes[0] * _COLUMNS)

    @property
    def weights(self) -> int:
        """Vectors of transformed weights, [group][tile of filter vectors][e][r][filter]."""
        return self.t.shape.groups * self.vectors * self.t.points * self.t.reduced

    @property
    def tile(self) -> int:
        """Vectors of a tile of v, [phase][channel]."""
        return self.maps * self.t.stride**2

    @property
    def step(self) -> int:
        """Vectors of v, [e][tile], from point to point; a cache line more keeps these in different sets."""
        return self.source_tiles * self.tile + max(1, 16 // self.target.lanes)

    @property
    def workspace(self) -> int:
        """Bytes."""
        return 4 * self.target.lanes * (self.weights + self.t.points * self.step)

    def number(self, image: Index, tile: Index, channel: Index, phase: Index) -> Index:
        """Where a number of v lies, counted from its point."""
        lanes = self.target.lanes
        if self.by_channel:
            return ((image * self.t.tiles + tile) * self.tile + phase * self.maps) * lanes + channel
        return (tile * self.tile + phase * self.maps + channel) * lanes + image


def _transform_weights(way: str, k: Kernel, problem: Problem) -> int:
    """Task: the weights of one reduced map, for V filters at a time."""
    p = _Plan.of(problem, way)
    t = p.t
    u, room = k.vectors(WORKSPACE), k.scratch(t.scheme.points * t.scheme.size)
    group, r = k.split(k.task, t.shape.groups, t.reduced)
    first = 0
    for height, count in p.heights:
        with k.loop(0, count, name="tile") as part:
            vector = part * height + first
            tile = u + ((group * p.vectors + vector) * t.points * t.reduced + r * height)
            for i in range(height):
                taps = taps_of(k, t, group, r, filter_numbers(k, t.shape, vector + i), flipped=False)

                def store(y: Value, x: int, value: Value, place: Pointer = tile + i, height: int = height) -> None:
                    place.store(value, (y * t.scheme.points + x) * (t.reduced * height))

                square(k, t.scheme.weights, taps, store, room)
        first += height * count
    return t.shape.groups * t.reduced


def _transform_source(way: str, k: Kernel, problem: Problem) -> int:
    """Task: one tile of all channels."""
    p = _Plan.of(problem, way)
    t = p.t
    room = k.scratch(t.points)
    v = k.vectors(WORKSPACE) + (p.weights + k.task * p.tile)
    with k.loop(0, p.maps, name="channel") as channel, k.loop(0, t.stride**2, name="phase") as phase:
        reduced = channel * t.stride**2 + phase
        place = v + (phase * p.maps + channel)
        transform_source(k, t, problem.view(k, "x"), k.task, k.index(0), reduced, place, p.step, room)
    return p.source_tiles


def _convolve(way: str, k: Kernel, problem: Problem) -> int:
    """Task: some tiles of one image, for one tile of filter vectors of one group."""
    p = _Plan.of(problem, way)
    t, lanes = p.t, k.lanes
    width, most = p.sizes[0], p.groups[0][0]
    filters, parts = sum(n for _, n in p.heights), sum(n for _, n in p.groups)
    m, room = k.scratch(t.points * most * p.heights[0][0]), k.scratch(t.points)
    y = problem.view(k, "y")
    image, group, filter_tile, part = k.split(k.task, 0, t.shape.groups, filters, parts)
    v = k.scalars(WORKSPACE) + p.weights * lanes

    def turn(height: int, vector: Value, tiles: int, start: Value) -> None:
        u = k.vectors(WORKSPACE) + (group * p.vectors + vector) * (t.points * t.reduced)
        with k.loop(0, t.points, name="point") as e:
            first = 0
            for columns, times in near_equal(tiles, width):
                with k.loop(0, times, name="tiles") as column:
                    at = column * columns + first
                    numbers = v + (
                        e * (p.step * lanes) + p.number(image, start + at, group * t.shape.group_channels, 0)
                    )
                    sums = m + (e * most + at) * height
                    _product(k, p, columns, height, numbers, u + e * (t.reduced * height), sums)
                first += columns * times
        with k.loop(0, tiles, name="tile") as tile:
            for i in range(height):
                sums, step = m + (tile * height + i), most * height
                _transform_result(k, p, y, image, group, vector + i, start + tile, sums, step, room)

    first_vector = first_filter = 0
    for height, n in p.heights:
        first_tile = first_part = 0
        for tiles, times in p.groups:
            here = (filter_tile >= first_filter) & (filter_tile < first_filter + n)
            with k.when(here & (part >= first_part) & (part < first_part + times)):
                vector = (filter_tile - first_filter) * height + first_vector
                turn(height, vector, tiles, (part - first_part) * tiles + first_tile)
            first_tile, first_part = first_tile + tiles * times, first_part + times
        first_vector, first_filter = first_vector + height * n, first_filter + n
    return problem.batch * t.shape.groups * filters * parts


def _product(k: Kernel, p: _Plan, tiles: int, height: int, v: Pointer, u: Pointer, m: Pointer) -> None:
    """One point's sums of some tiles and filter vectors; `v` and `u` point to the first channel's."""
    registers = Tile(k, tiles, height)
    registers.init(lambda tile, i: k.number(0))
    phases = p.t.stride**2
    channels = p.t.shape.group_channels
    unroll = next(n for n in (4, 2, 1) if channels % n == 0) if phases == 1 else 1
    with k.loop(0, channels, unroll, name="sum") as first, k.loop(0, phases, name="phase") as phase:
        for c in range(unroll):
            channel = first + c
            there = u + (channel * phases + phase) * height
            weights = [there.load(i) for i in range(height)]
            for tile in range(tiles):
                number = v.load(p.number(0, tile, channel, phase))
                registers.multiply_add_row(tile, k.broadcast(number), weights)
    registers.each(lambda tile, i, value: m.store(value, tile * height + i))


def _transform_result(
    k: Kernel,
    p: _Plan,
    result: MapsView,
    image: Value,
    group: Value,
    vector: Value,
    tile: Value,
    sums: Pointer,
    step: int,
    room: Pointer,
) -> None:
    """A' m A of one tile of V filters, with what follows: biases, what is there already, the neuron."""
    t, op, corner = p.t, p.op, corner_of(k, p.t, tile)

    def put(i: Value, j: int, value: Value) -> None:
        y, x = corner.y + i, corner.x + j
        place = result.index(image, group * p.vectors + vector, y, x)
        bias = start_of(k, op, group, vector, y, x)
        value = value if bias is None else value + bias
        value = value + result.load(place) if op.accumulate else value
        result.store(end_of(k, op, value), place)

    def store(i: Value, j: int, value: Value) -> None:
        if t.columns % t.scheme.made == 0:
            put(i, j, value)
            return
        with k.when(corner.x + j >= corner.new_x):
            put(i, j, value)

    points = t.scheme.points
    square(k, t.scheme.output, lambda i, j: sums.load((i * points + j) * step), store, room, corner.new_y - corner.y)


def _gain(way: str, problem: Problem) -> float:
    p = _Plan.of(problem, way)

    def transforms() -> float:
        of_source, of_result = (square_cost(one, p.target) for one in (p.t.scheme.data, p.t.scheme.output))
        return (p.maps * of_source + p.vectors * of_result) * p.target.lanes

    # By the count of vectors, which hold as many filters as the other layout's hold images.
    return gain(replace(problem, op=p.op), p.t, _EFFICIENCY, transforms)


for _way in SCHEMES:
    algorithm(
        ConvByChannel,
        _way,
        Algorithm(
            tuple(partial(stage, _way) for stage in (_transform_weights, _transform_source, _convolve)),
            partial(_gain, _way),
            lambda problem, way=_way: _Plan.of(problem, way).workspace,  # type: ignore[misc]
            prepares=1,
        ),
    )
