"""Winograd's minimal filtering for 3x3 and 5x5 filters of stride 1: tiles of 6x6 pixels, multiplied number by number.

    y = A' [ sum over r of (G w G') * (B' x B) ] A         m x m outputs from a tile of 6 x 6 pixels, m + K - 1 = 6

(Winograd 1980; Lavin and Gray, "Fast algorithms for convolutional neural networks", CVPR 2016.) 36 multiplications
make 4x4 outputs of a 3x3 filter instead of 144, or 2x2 of a 5x5 filter instead of 100. A lane is an image: the
transforms are plain vector code.

Stage 0 transforms the weights into the workspace, [36][outputs][reduced]. Stage 1 takes a few tiles at a time through
all three steps, so that what is between them stays in the second-level cache. Where the side is no multiple of m, the
last tile is moved back to end at the edge, and stores only what the one before it has not. Relative error in float32:
2e-6 for 3x3, 3e-6 for 5x5 (36 reduced channels or more).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from convjit.codegen.kernel import Kernel
from convjit.codegen.tile import Tile, near_equal
from convjit.codegen.values import Index, Pointer, Value
from convjit.kernels.base import WORKSPACE, Algorithm, MapsView, Problem, algorithm
from convjit.kernels.conv import tile_sizes
from convjit.kernels.neuron import apply_neuron
from convjit.kernels.winograd_transforms import SIDE, data_transform, output_transform, square, weights_matrix
from convjit.ops.conv import ConvBackwardData, ConvForward, ConvShape

__all__ = ["NAME"]

NAME = "winograd"


@dataclass(frozen=True)
class _Plan:
    """A convolution of stride 1 as both directions see it: `outputs` maps of rows x columns from `reduced` maps."""

    shape: ConvShape
    outputs: int
    reduced: int
    rows: int
    columns: int
    before: int
    """Pixels of the source before the first output's."""
    flipped: bool

    @property
    def made(self) -> int:
        """m: side of a tile's outputs."""
        return SIDE + 1 - self.shape.size

    @property
    def tiles_y(self) -> int:
        return -(-self.rows // self.made)

    @property
    def tiles_x(self) -> int:
        return -(-self.columns // self.made)

    def row_floats(self, lanes: int) -> int:
        """Floats of one output's transformed weights at one point, padded to whole vectors."""
        return -(-self.reduced // lanes) * lanes

    def plane_floats(self, lanes: int) -> int:
        """Floats of all transformed weights at one point."""
        return self.shape.groups * self.outputs * self.row_floats(lanes)


def _plan(problem: Problem) -> _Plan:
    op = problem.op
    if isinstance(op, ConvForward):
        s = op.shape
        return _Plan(s, s.group_filters, s.group_channels, s.rows, s.columns, s.padding, False)
    assert isinstance(op, ConvBackwardData)
    s = op.shape
    return _Plan(s, s.group_channels, s.group_filters, s.height, s.width, s.size - 1 - s.padding, True)


def _gain(problem: Problem) -> float:
    """Multiply-adds of the direct way over operations of this one; the transforms are counted at the cost measured."""
    p = _plan(problem)
    s = p.shape
    fits = s.size in (3, 5) and s.stride == 1 and 0 <= s.padding < s.size
    if not fits or min(p.rows, p.columns) < p.made:
        return 0.0
    exact = s.rows == s.height + 2 * s.padding - s.size + 1 and s.columns == s.width + 2 * s.padding - s.size + 1
    if not exact:
        return 0.0
    direct = p.rows * p.columns * s.size**2 * p.outputs * p.reduced / 0.93
    tiles = p.tiles_y * p.tiles_x
    mine = tiles * (SIDE**2 * p.outputs * p.reduced / 0.85 + 300 * p.reduced + 250 * p.outputs)
    weights = 60 * p.outputs * p.reduced / problem.blocks
    return direct / (mine + weights)


def _workspace(problem: Problem) -> int:
    return SIDE**2 * _plan(problem).plane_floats(problem.target.lanes) * 4


def _transform_weights(k: Kernel, problem: Problem) -> int:
    """Task: one output map's weights; V of the reduced maps at a time."""
    p, lanes = _plan(problem), k.lanes
    s, size = p.shape, p.shape.size
    w, u = k.scalars("w"), k.scalars(WORKSPACE)
    filter_floats = s.group_channels * size**2
    group, output = k.split(k.task, s.groups, p.outputs)
    first = group * (s.group_filters * filter_floats)
    step_o, step_r = (size**2, filter_floats) if p.flipped else (filter_floats, size**2)
    matrix = weights_matrix(size)

    def transform(values: Sequence[Value]) -> list[Value]:
        return [_dot(k, row, values) for row in matrix]

    with k.loop(0, p.row_floats(lanes), step=lanes, name="reduced") as r:
        # Lanes beyond the last map read that one again; nobody uses what they give.
        maps = [k.minimum_index(r + lane, p.reduced - 1) for lane in range(lanes)]
        places = [w + (first + output * step_o + index * step_r) for index in maps]
        taps = [size * size - 1 - tap if p.flipped else tap for tap in range(size * size)]
        flat = [k.pack([place.load(tap) for place in places]) for tap in taps]
        grid = square(transform, [flat[i * size : (i + 1) * size] for i in range(size)])
        for e, value in enumerate(value for row in grid for value in row):
            target = u + (e * p.plane_floats(lanes) + k.task * p.row_floats(lanes) + r)
            k.loose_vectors(target).store(value)
    return s.groups * p.outputs


def _dot(k: Kernel, row: Sequence[float], values: Sequence[Value]) -> Value:
    total: Value | None = None
    for factor, value in zip(row, values, strict=True):
        if factor:
            total = value * factor if total is None else k.fma(k.number(factor), value, total)
    assert total is not None
    return total


TILES = 4
"""Tiles taken through the steps together: 36 points of 32 maps each are 300 KB, a share of the second-level cache."""


@dataclass(frozen=True)
class _Scratch:
    """A thread's room for one group of tiles, [36][maps][tiles]; a vector between points keeps them in different
    sets.
    """

    pointer: Pointer
    maps: int
    tiles: int

    @property
    def step(self) -> int:
        return self.maps * self.tiles + 1

    def at(self, point: Index, index: Index, tile: Index) -> Index:
        return point * self.step + index * self.tiles + tile


def _convolve(k: Kernel, problem: Problem) -> int:
    """Task: a few neighbouring tiles of one group and block of images."""
    p = _plan(problem)
    s, op = p.shape, problem.op
    assert isinstance(op, ConvForward | ConvBackwardData)
    source, result = (problem.view(k, name) for name in (("dy", "dx") if p.flipped else ("x", "y")))
    parts = near_equal(p.tiles_y * p.tiles_x, TILES)
    most = parts[0][0]
    v = _Scratch(k.scratch(SIDE**2 * (p.reduced * most + 1)), p.reduced, most)
    m = _Scratch(k.scratch(SIDE**2 * (p.outputs * most + 1)), p.outputs, most)
    count = sum(n for _, n in parts)
    block, group, part = k.split(k.task, problem.blocks, s.groups, count)

    first, before = 0, 0
    for tiles, n in parts:
        with k.when((part >= before) & (part < before + n)):
            start = (part - before) * tiles + first
            _transform_source(k, p, source, v, tiles, start, block, group)
            _multiply(k, p, v, m, tiles, group)
            _transform_result(k, p, op, result, m, tiles, start, block, group)
        first, before = first + tiles * n, before + n
    return problem.blocks * s.groups * count


def _corner(k: Kernel, p: _Plan, tile: Value) -> tuple[Value, Value, Value, Value]:
    """(y, x) of a tile's first output, and (y, x) of the first that no tile before it has made."""
    y, x = tile // p.tiles_x * p.made, tile % p.tiles_x * p.made
    return k.minimum_index(y, p.rows - p.made), k.minimum_index(x, p.columns - p.made), y, x


def _transform_source(
    k: Kernel, p: _Plan, source: MapsView, v: _Scratch, tiles: int, start: Value, block: Value, group: Value
) -> None:
    with k.loop(0, tiles, name="tile") as t:
        y, x, _, _ = _corner(k, p, start + t)
        corner = source.index(block, group * p.reduced, y - p.before, x - p.before)
        with k.loop(0, p.reduced, name="map") as r:
            at = source.pointer + (corner + r * source.plane)
            grid = [[at.load(i * source.row + j) for j in range(SIDE)] for i in range(SIDE)]
            values = square(lambda values: data_transform(k, values), grid)
            place = v.pointer + v.at(0, r, t)
            # The next map's lines, while this one is transformed: stores to the second level wait for one another.
            for e in range(SIDE**2):
                k.prefetch(place + (e * v.step + v.tiles), writing=True)
            for e, value in enumerate(value for row in values for value in row):
                place.store(value, e * v.step)


def _multiply(k: Kernel, p: _Plan, v: _Scratch, m: _Scratch, tiles: int, group: Value) -> None:
    """m[e][o] = sum over r of u[e][o][r] * v[e][r]: 36 matrix products with the register tile of the direct kernel."""
    lanes = k.lanes
    row, weights = p.row_floats(lanes), k.scalars(WORKSPACE) + group * (p.outputs * p.row_floats(lanes))
    height, width = tile_sizes(p.outputs, tiles, k.target)
    # Of the reduced maps as many at a time as leave their part of v in the first-level cache.
    chunk = max(1, k.target.first_level // 2 // (4 * lanes * tiles))
    with k.loop(0, SIDE**2, name="point") as e:
        before = 0
        for length, many in near_equal(p.reduced, chunk):
            for part in range(many):
                first = before == 0 and part == 0
                vectors = v.pointer + v.at(e, before + part * length, 0)
                u = weights + (e * p.plane_floats(lanes) + (before + part * length))
                _products(k, p, (height, width), tiles, vectors, u, row, m, e, length, first)
            before += length * many


def _products(
    k: Kernel,
    p: _Plan,
    sizes: tuple[int, int],
    tiles: int,
    vectors: Pointer,
    u: Pointer,
    row: int,
    m: _Scratch,
    e: Value,
    length: int,
    first: bool,
) -> None:
    first_o = 0
    for height, many in near_equal(p.outputs, sizes[0]):
        with k.loop(0, many, name="outputs") as part:
            o = part * height + first_o
            first_t = 0
            for width, count in near_equal(tiles, sizes[1]):
                for _ in range(count):
                    place = m.pointer + m.at(e, o, first_t)
                    tile = Tile(k, height, width)
                    tile.init(lambda i, t, place=place: k.number(0) if first else place.load(i * m.tiles + t))  # type: ignore[misc]
                    with k.loop(0, length, name="sum") as r:
                        columns = [vectors.load(r * m.tiles + (first_t + t)) for t in range(width)]
                        for i in range(height):
                            weight = k.broadcast(u.load(o * row + (i * row + r)))
                            tile.multiply_add_row(i, weight, columns)
                    tile.each(lambda i, t, value, place=place: place.store(value, i * m.tiles + t))  # type: ignore[misc]
                    first_t += width
        first_o += height * many


def _transform_result(
    k: Kernel,
    p: _Plan,
    op: ConvForward | ConvBackwardData,
    result: MapsView,
    m: _Scratch,
    tiles: int,
    start: Value,
    block: Value,
    group: Value,
) -> None:
    biases = k.scalars("b") if isinstance(op, ConvForward) and op.biases != "none" else None
    with k.loop(0, tiles, name="tile") as t:
        y, x, new_y, new_x = _corner(k, p, start + t)
        with k.loop(0, p.outputs, name="output") as o:
            at = m.pointer + m.at(0, o, t)
            grid = [[at.load((i * SIDE + j) * m.step) for j in range(SIDE)] for i in range(SIDE)]
            values = square(lambda values: output_transform(k, values, p.made), grid)
            out = group * p.outputs + o

            def store(i: int, j: int, value: Value, y: Value = y, x: Value = x, out: Value = out) -> None:
                place = result.index(block, out, y + i, x + j)
                if biases is not None:
                    assert isinstance(op, ConvForward)
                    unshared = (out * p.rows + (y + i)) * p.columns + (x + j)
                    value = value + k.broadcast(biases.load(out if op.biases == "shared" else unshared))
                if op.accumulate:
                    value = value + result.load(place)
                if isinstance(op, ConvForward) and op.neuron:
                    value = apply_neuron(k, op.neuron, value)
                result.store(value, place)

            for i, line in enumerate(values):
                for j, value in enumerate(line):
                    whole_y, whole_x = p.rows % p.made == 0, p.columns % p.made == 0
                    if whole_y and whole_x:
                        store(i, j, value)
                        continue
                    with k.when((y + i >= new_y) & (x + j >= new_x)):
                        store(i, j, value)


algorithm(ConvForward, NAME, Algorithm((_transform_weights, _convolve), _gain, _workspace))
algorithm(ConvBackwardData, NAME, Algorithm((_transform_weights, _convolve), _gain, _workspace))
