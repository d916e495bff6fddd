"""How a convolution is cut into tiles that are multiplied point by point, what that costs, and the tiles' pixels.

A convolution of stride S over C maps is one of stride 1 over C * S * S maps, the phases of x, with filters of
ceil(K / S) taps: phase (c, py, px) holds the pixels (i * S + py, j * S + px) of channel c. Where the outputs' side is
no multiple of m, the last tile is moved back to end at the edge; what it shares with the tile before counts once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from convjit.codegen.kernel import Kernel
from convjit.codegen.target import Target
from convjit.codegen.values import Pointer, Value
from convjit.kernels.base import MapsView, Problem
from convjit.kernels.schemes import SCHEMES, Scheme
from convjit.kernels.transforms import Transform, operations, sides, square
from convjit.ops.conv import ConvBackwardData, ConvBackwardWeights, ConvForward, ConvShape

__all__ = ["Corner", "Tiling", "corner_of", "gain", "put", "square_cost", "tiling", "transform_source"]

_STARTED_PER_CYCLE = 2
"""Vector instructions, and loads, that a core starts in a cycle; stores are half as many."""
_DIRECT_EFFICIENCY = 0.8
"""Share of the peak that the direct way reaches."""
_AHEAD = 1
"""Cache lines from a point to the one that is asked for meanwhile."""
_WAITING = 2.0
"""How much longer a transform takes than its instructions, measured on a Zen 3."""
_OVERFLOWING = 1.5
"""How much longer still, where what is between its two halves leaves the first-level cache no room."""


@dataclass(frozen=True)
class Tiling:
    """A convolution as all directions see it: `outputs` maps of rows x columns from `reduced` maps, in each group."""

    shape: ConvShape
    scheme: Scheme
    outputs: int
    reduced: int
    rows: int
    columns: int
    before: int
    """Pixels of the source before the first output's."""
    stride: int

    @property
    def tiles_y(self) -> int:
        """Tiles in a column."""
        return -(-self.rows // self.scheme.made)

    @property
    def tiles_x(self) -> int:
        """Tiles in a row."""
        return -(-self.columns // self.scheme.made)

    @property
    def tiles(self) -> int:
        """Tiles of an image."""
        return self.tiles_y * self.tiles_x

    @property
    def points(self) -> int:
        """Points of a tile, each of which is a matrix product of its own."""
        return self.scheme.points**2

    @cached_property
    def whole(self) -> bool:
        """Whether no two tiles share an output."""
        return self.rows % self.scheme.made == 0 and self.columns % self.scheme.made == 0


def tiling(problem: Problem, way: str) -> Tiling:
    """The tiling of a problem by one of SCHEMES."""
    op = problem.op
    assert isinstance(op, ConvForward | ConvBackwardData | ConvBackwardWeights)
    s, scheme = op.shape, SCHEMES[way]
    if isinstance(op, ConvBackwardData):
        before = s.size - 1 - s.padding
        return Tiling(s, scheme(s.size), s.group_channels, s.group_filters, s.height, s.width, before, 1)
    taps, reduced = -(-s.size // s.stride), s.group_channels * s.stride**2
    return Tiling(s, scheme(taps), s.group_filters, reduced, s.rows, s.columns, s.padding, s.stride)


def possible(t: Tiling, op: object) -> bool:
    """Whether the way exists for an op: points enough, a tile of real outputs, and a source that its halo covers."""
    s = t.shape
    if not t.scheme.possible or min(t.rows, t.columns) < t.scheme.made:
        return False
    if isinstance(op, ConvBackwardData):
        exact = s.rows == s.height + 2 * s.padding - s.size + 1 and s.columns == s.width + 2 * s.padding - s.size + 1
        return s.stride == 1 and 0 <= s.padding < s.size and exact
    return True


def gain(problem: Problem, t: Tiling, efficiency: float, transforms: Callable[[], float]) -> float:
    """Cycles of the direct way over those of this one, for a block of images; 0 where the way does not exist.

    `efficiency` is the share of the peak that the products reach, `transforms` gives the cycles of one tile's.
    """
    if not possible(t, problem.op):
        return 0.0
    direct = t.rows * t.columns * t.shape.size**2 * t.outputs * t.reduced / t.stride**2 / 2 / _DIRECT_EFFICIENCY
    products = t.points * t.outputs * t.reduced / 2 / efficiency
    weights = 1.5 * t.points * t.outputs * t.reduced / problem.blocks
    return direct / (t.tiles * (products + transforms()) + weights)


def square_cost(transform: Transform, target: Target) -> float:
    """Cycles of `square`, its loads and stores included."""
    made, side = sides(transform)
    waiting = _WAITING * (_OVERFLOWING if made * side * 4 * target.lanes > target.first_level // 2 else 1)
    arithmetic = (side + made) * operations(transform) / _STARTED_PER_CYCLE
    memory = side * (side + made) / _STARTED_PER_CYCLE + made * (side + made)
    return waiting * max(arithmetic, memory) + 0.3 * min(arithmetic, memory)


@dataclass(frozen=True)
class Corner:
    """(y, x) of a tile's first output, and (new_y, new_x) of the first that no tile before it has made."""

    block: Value
    y: Value
    x: Value
    new_y: Value
    new_x: Value


def corner_of(k: Kernel, t: Tiling, tile: Value) -> Corner:
    """Where a tile lies, counted through the images' blocks."""
    made = t.scheme.made
    block, row, column = k.split(tile, 0, t.tiles_y, t.tiles_x)
    y, x = row * made, column * made
    return Corner(block, k.minimum_index(y, t.rows - made), k.minimum_index(x, t.columns - made), y, x)


def transform_source(
    k: Kernel,
    t: Tiling,
    source: MapsView,
    tile: Value,
    first_map: Value,
    reduced: Value,
    place: Pointer,
    step: int,
    room: Pointer,
) -> None:
    """B' x B of one tile of one reduced map: point e goes to place[e * step]. `first_map` is the group's."""
    s, points, corner = t.stride, t.scheme.points, corner_of(k, t, tile)
    channel, phase_y, phase_x = k.split(reduced, t.reduced // s**2, s, s)
    # Beyond the last window there may be no pixel; the taps that would see one there are zero.
    last_y = source.halo.bottom + source.maps.height - 1
    last_x = source.halo.right + source.maps.width - 1
    over_y = (t.rows + t.scheme.size - 1) * s - 1 - t.before > last_y
    over_x = (t.columns + t.scheme.size - 1) * s - 1 - t.before > last_x
    plane = source.index(corner.block, first_map + channel, 0, 0)
    top, left = corner.y * s + phase_y - t.before, corner.x * s + phase_x - t.before

    def load(i: int, j: Value) -> Value:
        y, x = top + i * s, left + j * s
        y = k.minimum_index(y, last_y) if over_y else y
        x = k.minimum_index(x, last_x) if over_x else x
        return source.load(plane + y * source.row + x)

    square(k, t.scheme.data, load, lambda i, j, value: put(k, place, (i * points + j) * step, value), room)


def put(k: Kernel, place: Pointer, index: Value, value: Value) -> None:
    """Store a point, and ask for the place where one of the next tiles will have it.

    The points of a tile lie far apart: without this, stores wait for one another, 2,000 cycles for 64 of them.
    """
    k.prefetch(place + index + _AHEAD * max(1, 16 // k.lanes), writing=True)
    place.store(value, index)
