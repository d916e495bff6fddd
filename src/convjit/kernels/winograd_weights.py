"""Winograd's filtering for the gradient of the weights: forward's formula, differentiated.

    y = A' [(G w G') * (B' x B)] A     gives     dw = G' [ sum over tiles and images of (A dy A') * (B' x B) ] G

Stage 0 transforms x and dy, some tiles at a time, into the workspace as [n*n][maps][tiles]. Stage 1 multiplies them
point by point: a register tile of filters x maps whose sums run over tiles, vectors over images to the end, and are
then summed across lanes, many at once. Both come round until all tiles have had their turn, adding up. Stage 2
transforms the sums back.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from convjit.codegen.kernel import Kernel
from convjit.codegen.target import Target
from convjit.codegen.tile import Tile, near_equal
from convjit.codegen.values import Index, Pointer, Value
from convjit.kernels.base import WORKSPACE, Algorithm, Problem, Round, algorithm
from convjit.kernels.conv import tile_sizes
from convjit.kernels.schemes import SCHEMES
from convjit.kernels.transforms import square, transposed
from convjit.kernels.winograd_tiling import Tiling, corner_of, gain, put, square_cost, tiling, transform_source
from convjit.ops.conv import ConvBackwardWeights

__all__: list[str] = []

_EFFICIENCY = 0.65
"""Share of the peak that the products reach."""
_FAR = 2.2
"""How much longer transforms take that store to the third-level cache."""


@dataclass(frozen=True)
class _Layout:
    """The workspace, in vectors: x and dy of one round at every point, then the sums of every point."""

    t: Tiling
    lanes: int
    total: int
    """Tiles of all blocks of images."""
    once: int
    """Tiles of a round."""
    height: int
    width: int

    @property
    def rounds(self) -> int:
        return -(-self.total // self.once)

    @property
    def pitch(self) -> int:
        """Vectors from map to map: an odd number of cache lines, lest the rows of a product lie in one set."""
        line = max(1, 16 // self.lanes)
        return (-(-self.once // line) | 1) * line

    @property
    def maps(self) -> int:
        """Maps of x and dy, all groups."""
        return self.t.shape.groups * (self.t.reduced + self.t.outputs)

    @property
    def step(self) -> int:
        """Vectors from point to point; a cache line more than the maps, for different sets of the cache."""
        return self.maps * self.pitch + max(1, 16 // self.lanes)

    def x(self, group: Index, r: Index) -> Index:
        """A map of x at point 0."""
        return (group * self.t.reduced + r) * self.pitch

    def dy(self, group: Index, o: Index) -> Index:
        """A map of dy at point 0."""
        return (self.t.shape.groups * self.t.reduced + group * self.t.outputs + o) * self.pitch

    @property
    def filters(self) -> list[tuple[int, int]]:
        """(height, how many) register tiles."""
        return near_equal(self.t.outputs, self.height)

    @property
    def columns(self) -> list[tuple[int, int]]:
        """(width, how many) register tiles."""
        return near_equal(self.t.reduced, self.width)

    @property
    def many(self) -> tuple[int, int]:
        """Register tiles of one point and group: (of filters, of reduced maps)."""
        return sum(n for _, n in self.filters), sum(n for _, n in self.columns)

    @property
    def vectors(self) -> int:
        """That hold the sums of one register tile."""
        return -(-self.filters[0][0] * self.columns[0][0] // self.lanes)

    def sums(self, point: Index, group: Index, f: Index, c: Index) -> Index:
        """The sums of a register tile."""
        filters, columns = self.many
        tile = ((point * self.t.shape.groups + group) * filters + f) * columns + c
        return tile * self.vectors + self.t.points * self.step

    @property
    def size(self) -> int:
        """Vectors of the whole."""
        filters, columns = self.many
        return self.t.points * (self.step + self.t.shape.groups * filters * columns * self.vectors)


def _layout(t: Tiling, blocks: int, target: Target) -> _Layout:
    total, vector = t.tiles * blocks, 4 * target.lanes
    height, width = tile_sizes(t.outputs, t.reduced, target)
    # A few rows of filters stay in the first-level cache, the round as a whole in the last.
    near = target.first_level * 3 // 4 // (vector * height)
    far = target.third_level // 2 // (vector * t.points * t.shape.groups * (t.reduced + t.outputs))
    most = max(16, min(near, far))
    return _Layout(t, target.lanes, total, -(-total // -(-total // most)), height, width)


def _gain(way: str, problem: Problem) -> float:
    t = tiling(problem, way)

    def transforms() -> float:
        of_dy = square_cost(transposed(t.scheme.output), problem.target)
        return _FAR * (t.reduced * square_cost(t.scheme.data, problem.target) + t.outputs * of_dy)

    return gain(problem, t, _EFFICIENCY, transforms)


def _workspace(way: str, problem: Problem) -> int:
    t = tiling(problem, way)
    return _layout(t, problem.blocks, problem.target).size * 4 * problem.target.lanes


def _rounds(way: str, problem: Problem) -> list[Round]:
    rounds = _layout(tiling(problem, way), problem.blocks, problem.target).rounds
    return [*(Round(stage, i, rounds) for i in range(rounds) for stage in (0, 1)), Round(2)]


def _transform(way: str, k: Kernel, problem: Problem) -> int:
    """Task: one map of x or dy, all tiles of one round."""
    t = tiling(problem, way)
    s, n = t.shape, t.scheme.points
    lay = _layout(t, problem.blocks, problem.target)
    x, dy, space = problem.view(k, "x"), problem.view(k, "dy"), k.vectors(WORKSPACE)
    room = k.scratch(n * n)
    part, index = k.split(k.task, lay.rounds, lay.maps)
    start = part * lay.once
    count = k.minimum_index(k.index(lay.total) - start, lay.once)
    sources = s.groups * t.reduced

    with k.when(index < sources):
        group, r = k.split(index, s.groups, t.reduced)
        with k.loop(0, count, name="tile") as i:
            place = space + (lay.x(group, r) + i)
            transform_source(k, t, x, start + i, group * (t.reduced // t.stride**2), r, place, lay.step, room)
    with k.when(index >= sources), k.loop(0, count, name="tile") as i:
        group, o = k.split(index - sources, s.groups, t.outputs)
        place = space + (lay.dy(group, o) + i)
        corner = corner_of(k, t, start + i)
        first = dy.index(corner.block, group * t.outputs + o, corner.y, corner.x)

        def load(y: int, column: Value) -> Value:
            value = dy.load(first + y * dy.row + column)
            if t.whole:
                return value
            new = (corner.y + y >= corner.new_y) & (corner.x + column >= corner.new_x)
            return k.select(new, value, 0)

        def store(y: Value, column: int, value: Value) -> None:
            put(k, place, (y * n + column) * lay.step, value)

        square(k, transposed(t.scheme.output), load, store, room)
    return lay.rounds * lay.maps


def _multiply(way: str, k: Kernel, problem: Problem) -> int:
    """Task: one point of one group, a row of register tiles, in one round."""
    t = tiling(problem, way)
    lay = _layout(t, problem.blocks, problem.target)
    space = k.vectors(WORKSPACE)
    many, _ = lay.many
    part, e, group, f = k.split(k.task, lay.rounds, t.points, t.shape.groups, many)
    count = k.minimum_index(k.index(lay.total) - part * lay.once, lay.once)
    point = space + e * lay.step
    first_f, before_f = 0, 0
    for height, n in lay.filters:
        with k.when((f >= before_f) & (f < before_f + n)):
            rows = point + lay.dy(group, (f - before_f) * height + first_f)
            first_c, before_c = 0, 0
            for width, times in lay.columns:
                with k.loop(0, times, name="column") as c:
                    columns = point + lay.x(group, c * width + first_c)
                    sums = space + lay.sums(e, group, f, c + before_c)
                    _product(k, lay, (height, width), count, rows, columns, sums, part)
                first_c, before_c = first_c + width * times, before_c + times
        first_f, before_f = first_f + height * n, before_f + n
    return lay.rounds * t.points * t.shape.groups * many


def _product(
    k: Kernel,
    lay: _Layout,
    sizes: tuple[int, int],
    count: Value,
    rows: Pointer,
    columns: Pointer,
    sums: Pointer,
    part: Value,
) -> None:
    tile = Tile(k, *sizes)
    tile.init(lambda i, j: k.number(0))
    with k.loop(0, count, name="sum") as i:
        right = [columns.load(i + j * lay.pitch) for j in range(sizes[1])]
        for row in range(sizes[0]):
            tile.multiply_add_row(row, rows.load(i + row * lay.pitch), right)
    found: list[Value] = []
    tile.each(lambda i, j, value: found.append(value))
    for vector, value in enumerate(k.lane_sums(found)):
        sums.store(value + k.select(part > 0, sums.load(vector), 0), vector)


def _transform_back(way: str, k: Kernel, problem: Problem) -> int:
    """Task: the gradients of one register tile's filters and maps, V at a time, one to a lane."""
    op = problem.op
    assert isinstance(op, ConvBackwardWeights)
    t = tiling(problem, way)
    s, n = t.shape, t.scheme.points
    lay = _layout(t, problem.blocks, problem.target)
    space, dw, room = k.vectors(WORKSPACE), k.scalars("dw"), k.scratch(n * n)
    filters, columns = lay.many
    group, f, c = k.split(k.task, s.groups, filters, columns)
    sums = space + lay.sums(0, group, f, c)
    step = s.groups * filters * columns * lay.vectors

    def tile(height: int, first_o: Value, width: int, first_r: Value) -> None:
        for vector in range(-(-height * width // k.lanes)):
            lanes = range(min(k.lanes, height * width - vector * k.lanes))
            pairs = [divmod(vector * k.lanes + lane, width) for lane in lanes]
            places = [_place(k, t, group, first_o + o, first_r + r) for o, r in pairs]

            def store(u: Value, v: int, value: Value, places: list[tuple[Value, Value, Value]] = places) -> None:
                for lane, (filter_, phase_y, phase_x) in enumerate(places):
                    y, x = u * t.stride + phase_y, phase_x + v * t.stride
                    target = dw + (filter_ + y * s.size + x)
                    if t.stride == 1:
                        _put(target, k.lane(value, lane), add=op.accumulate)
                        continue
                    with k.when((y < s.size) & (x < s.size)):
                        _put(target, k.lane(value, lane), add=op.accumulate)

            def load(i: int, j: Value, vector: int = vector) -> Value:
                return sums.load((j + i * n) * step + vector)

            square(k, transposed(t.scheme.weights), load, store, room)

    first_f, before_f = 0, 0
    for height, n_f in lay.filters:
        first_c, before_c = 0, 0
        for width, n_c in lay.columns:
            inside = (f >= before_f) & (f < before_f + n_f) & (c >= before_c) & (c < before_c + n_c)
            with k.when(inside):
                tile(height, (f - before_f) * height + first_f, width, (c - before_c) * width + first_c)
            first_c, before_c = first_c + width * n_c, before_c + n_c
        first_f, before_f = first_f + height * n_f, before_f + n_f
    return s.groups * filters * columns


def _place(k: Kernel, t: Tiling, group: Value, o: Value, r: Value) -> tuple[Value, Value, Value]:
    """(first weight of a filter for a reduced map's channel, the map's phase down, and across)."""
    s = t.shape
    channel, phase_y, phase_x = k.split(r, s.group_channels, t.stride, t.stride)
    return ((group * s.group_filters + o) * s.group_channels + channel) * s.size**2, phase_y, phase_x


def _put(place: Pointer, value: Value, *, add: bool) -> None:
    place.store(place.load() + value if add else value)


for _way in SCHEMES:
    algorithm(
        ConvBackwardWeights,
        _way,
        Algorithm(
            (partial(_transform, _way), partial(_multiply, _way), partial(_transform_back, _way)),
            partial(_gain, _way),
            partial(_workspace, _way),
            partial(_rounds, _way),
        ),
    )
