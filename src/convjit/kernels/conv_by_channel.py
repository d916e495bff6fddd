"""Convolution of few images: vectors of V filters, a register tile of pixels x filter vectors.

A number of x is broadcast once for the tile's filters, a vector of weights is loaded once for the tile's pixels. The
weights are packed for this, [group][tile of filter vectors][channel][row][column][filter], by a stage of its own that
is needed once while they stay the same. Each sum is formed in the order of the kernel for many images, from the
bias on, so that it has the same bits.
"""

from __future__ import annotations

from convjit.codegen.kernel import Kernel
from convjit.codegen.target import Target
from convjit.codegen.tile import Tile, near_equal
from convjit.codegen.values import Index, Pointer, Value
from convjit.kernels.base import DIRECT, WORKSPACE, Algorithm, Problem, algorithm
from convjit.kernels.by_channel import Numbers, channel_blocks
from convjit.kernels.conv import tile_sizes
from convjit.kernels.neuron import apply_neuron
from convjit.ops.by_channel import ConvByChannel
from convjit.ops.conv import ConvForward, ConvShape

__all__ = ["end_of", "filter_numbers", "start_of"]


def _vectors(s: ConvShape, target: Target) -> int:
    """Filter vectors of a group."""
    return channel_blocks(s.group_filters, target.lanes)


def _taps(s: ConvShape) -> int:
    return s.group_channels * s.size**2


def _tiles(s: ConvShape, target: Target) -> tuple[int, list[tuple[int, int]]]:
    """(pixels of a tile, [(filter vectors of a tile, how many tiles), ...])."""
    pixels, most = tile_sizes(s.columns, _vectors(s, target), target)
    return pixels, near_equal(_vectors(s, target), most)


def _op(problem: Problem) -> ConvForward:
    assert isinstance(problem.op, ConvByChannel)
    return problem.op.op


def _pack(k: Kernel, problem: Problem) -> int:
    """Task: the weights of V filters."""
    s = _op(problem).shape
    taps, vectors = _taps(s), _vectors(s, problem.target)
    group, vector = k.split(k.task, s.groups, vectors)
    w, packed = k.scalars("w"), k.vectors(WORKSPACE) + group * (vectors * taps)
    rows = [(group * s.group_filters + f) * taps for f in filter_numbers(k, s, vector)]
    first = 0
    for height, count in _tiles(s, problem.target)[1]:
        with k.when((vector >= first) & (vector < first + height * count)):
            inside = vector - first
            to = packed + (inside // height * (height * taps) + inside % height + first * taps)
            with k.loop(0, taps, name="tap") as tap:
                to.store(k.pack([w.load(row + tap) for row in rows]), tap * height)
        first += height * count
    return s.groups * vectors


def filter_numbers(k: Kernel, s: ConvShape, vector: Index) -> list[Value]:
    """The filters of a vector, counted inside their group; lanes beyond the last repeat it."""
    return [k.minimum_index(k.index(vector * k.lanes + lane), s.group_filters - 1) for lane in range(k.lanes)]


def start_of(k: Kernel, op: ConvForward, group: Value, vector: Index, row: Index, column: Index) -> Value | None:
    """The biases of V filters at a pixel; None without biases."""
    s = op.shape
    if op.biases == "none":
        return None
    biases, first = k.scalars("b"), group * s.group_filters
    if op.biases == "shared" and s.group_filters % k.lanes == 0:
        return k.loose_vectors(biases + first).load(vector)
    filters = [first + f for f in filter_numbers(k, s, vector)]
    if op.biases == "unshared":
        filters = [(f * s.rows + row) * s.columns + column for f in filters]
    return k.pack([biases.load(f) for f in filters])


def end_of(k: Kernel, op: ConvForward, value: Value) -> Value:
    """What is stored of a sum."""
    return apply_neuron(k, op.neuron, value) if op.neuron else value


def _convolve(k: Kernel, problem: Problem) -> int:
    """Task: one row of output pixels of one image, for one tile of filter vectors of one group."""
    op, target, lanes = _op(problem), problem.target, k.lanes
    s = op.shape
    x, y = Numbers.of(k, problem, "x"), problem.view(k, "y")
    taps, vectors = _taps(s), _vectors(s, target)
    most, tiles = _tiles(s, target)
    count = sum(n for _, n in tiles)
    # What is larger stays near: the weights of one tile from row to row, or the rows of x from tile to tile.
    if 4 * lanes * vectors * taps > target.second_level // 2:
        image, group, tile, row = k.split(k.task, 0, s.groups, count, s.rows)
    else:
        image, group, row, tile = k.split(k.task, 0, s.groups, s.rows, count)
    packed = k.vectors(WORKSPACE) + group * (vectors * taps)

    def sums(height: int, width: int, vector: Value, weights: Pointer, column: Value) -> None:
        """The tile of `width` pixels from `column` on and of `height` filter vectors."""

        def place(i: int) -> Index:
            return y.index(image, group * vectors + vector + i, row)

        registers = Tile(k, width, height)

        def start(p: int, i: int) -> Value:
            if op.accumulate:
                return y.load(place(i) + column + p)
            return start_of(k, op, group, vector + i, row, column + p) or k.number(0)

        registers.init(start)
        corner = column * s.stride - s.padding
        with k.loop(0, s.group_channels, name="channel") as c, k.loop(0, s.size, name="tap_row") as u:
            line = x.pointer + x.place(image, group * s.group_channels + c, row * s.stride - s.padding + u, corner)
            there = weights + (c * s.size + u) * (s.size * height)
            with k.loop(0, s.size, name="tap") as v:
                filters = [there.load(v * height + i) for i in range(height)]
                for p in range(width):
                    number = line.load((v + p * s.stride) * lanes)
                    registers.multiply_add_row(p, k.broadcast(number), filters)
        registers.each(lambda p, i, value: y.store(end_of(k, op, value), place(i) + column + p))

    first_vector = first_tile = 0
    for height, n in tiles:
        with k.when((tile >= first_tile) & (tile < first_tile + n)):
            vector = (tile - first_tile) * height + first_vector
            first = 0
            for width, times in near_equal(s.columns, most):
                with k.loop(0, times, name="pixels") as part:
                    sums(height, width, vector, packed + vector * taps, part * width + first)
                first += width * times
        first_vector, first_tile = first_vector + height * n, first_tile + n
    return problem.batch * s.groups * count * s.rows


def _workspace(problem: Problem) -> int:
    s = _op(problem).shape
    return 4 * problem.target.lanes * s.groups * _vectors(s, problem.target) * _taps(s)


algorithm(ConvByChannel, DIRECT, Algorithm((_pack, _convolve), lambda problem: 1.0, _workspace, prepares=1))
