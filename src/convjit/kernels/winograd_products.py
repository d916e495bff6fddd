"""The products between Winograd's transforms: at every point e a matrix of weights times a matrix of tiles.

    m[e][o][tile] = sum over r of u[e][o][r] * v[e][r][tile]

u lies in the workspace in the order in which it is read, [n*n][tile of outputs][reduced][output of the tile]. Read from
where the filters lie, as six short streams from the third-level cache, it kept the products at a third of the peak. v
and m are a thread's own, a few tiles at a time. All outputs go past a few columns of v, which stay in the first-level
cache, while the weights of one point stay in the second-level cache from column to column.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from convjit.codegen.kernel import Kernel
from convjit.codegen.target import Target
from convjit.codegen.tile import Tile, near_equal
from convjit.codegen.values import Index, Pointer, Value
from convjit.kernels.conv import tile_sizes
from convjit.kernels.winograd_tiling import Tiling

__all__ = ["Blocking", "Room", "blocking", "multiply", "packed_place"]

_MOST_TILES = 8
_FEWEST_TILES = 4
_TASKS = 32
"""Enough for an even split over many threads; half of them where fewer images would use a weight that was read."""
_IMAGES = 32
"""Of all tiles together, whose products make good use of a weight."""


@dataclass(frozen=True)
class Blocking:
    """Tiles taken through all steps together, in near-equal groups; the register tile of the products.

    `turns` are runs of outputs between two transforms of results: (height of their register tiles, how many of these,
    how many runs).
    """

    groups: list[tuple[int, int]]
    width: int
    turns: list[tuple[int, int, int]]

    @property
    def tiles(self) -> int:
        """Of the largest group."""
        return self.groups[0][0]

    @property
    def outputs(self) -> int:
        """Of the largest turn."""
        return max(height * many for height, many, _ in self.turns)

    @property
    def heights(self) -> list[tuple[int, int]]:
        """(height, how many) register tiles of outputs."""
        found: dict[int, int] = {}
        for height, many, times in self.turns:
            found[height] = found.get(height, 0) + many * times
        return list(found.items())


def blocking(t: Tiling, blocks: int, target: Target) -> Blocking:
    """How `blocks` blocks of images are cut up.

    If a few tiles of all reduced maps fit in half of the second-level cache, a few tiles it is, and their results get
    a quarter. Else both go through the third level once, and more tiles make more of every weight that is read. That
    is worth little and idle threads cost more, so groups are small enough to give every thread some.
    """
    total = t.tiles * blocks
    every = total * t.shape.groups
    vector = 4 * target.lanes
    fit = target.second_level // 2 // (t.points * t.reduced * vector)
    most = min(total, fit if _FEWEST_TILES <= fit < _MOST_TILES else _MOST_TILES)
    most = min(most, max(1, min(_IMAGES // target.lanes, every // (_TASKS // 2)), every // _TASKS))
    height, width = tile_sizes(t.outputs, most, target)
    # A number that divides the tiles needs one piece of code instead of two.
    even = [n for n in range(most, most // 2, -1) if total % n == 0 and n % width == 0]
    groups = near_equal(total, even[0] if even else most)
    room = target.second_level // 4 // (t.points * groups[0][0] * vector) if fit >= _FEWEST_TILES else t.outputs
    turns = [
        (high, many, times)
        for high, count in near_equal(t.outputs, height)
        for many, times in near_equal(count, max(1, room // height))
    ]
    return Blocking(groups, width, turns)


@dataclass(frozen=True)
class Room:
    """A thread's vectors of a group of tiles, [n*n][columns of `width` tiles][maps][width].

    A cache line more between points keeps them in different sets.
    """

    pointer: Pointer
    maps: int
    tiles: int
    width: int
    line: int
    """Vectors in a cache line."""

    @classmethod
    def make(cls, k: Kernel, points: int, maps: int, tiles: int, width: int) -> Room:
        """Room in the kernel's scratch."""
        line = max(1, 16 // k.lanes)
        tiles = -(-tiles // width) * width
        return cls(k.scratch(points * (maps * tiles + line)), maps, tiles, width, line)

    @property
    def step(self) -> int:
        """Vectors from point to point."""
        return self.maps * self.tiles + self.line

    def at(self, point: Index, index: Index, tile: Index) -> Pointer:
        """A point of a map of a tile."""
        column, inside = tile // self.width, tile % self.width
        return self.pointer + (point * self.step + (column * self.maps + index) * self.width + inside)


def packed_place(k: Kernel, heights: list[tuple[int, int]], output: Value, r: Value, reduced: int) -> Value:
    """Where the weight of an output and a reduced map lies in [tile of outputs][reduced][output of the tile]."""
    place, first = k.index(0), 0
    for height, count in heights:
        inside = output - first
        here = inside // height * (height * reduced) + r * height + inside % height + first * reduced
        place = k.select(output < first, place, here) if first else here
        first += height * count
    return place


def multiply(k: Kernel, t: Tiling, v: Room, m: Room, weights: Pointer, tiles: int, height: int, many: int) -> None:
    """The products of one group of tiles for `many` register tiles of outputs, whose weights start at `weights`."""
    plane = t.shape.groups * t.outputs * t.reduced
    # Of the reduced maps as many at a time as leave their part of v in the first-level cache.
    chunk = max(1, k.target.first_level * 3 // 4 // (4 * k.lanes * v.width))
    with k.procedure("multiply", weights, v.pointer, m.pointer) as (weights, vectors, sums):
        v, m = replace(v, pointer=vectors), replace(m, pointer=sums)
        with k.loop(0, t.points, name="point") as e:
            for first, width in _columns(k, tiles, v.width):
                before = 0
                for length, parts in near_equal(t.reduced, chunk):
                    for _ in range(parts):
                        with k.loop(0, many, name="tile") as i:
                            u = weights + (e * plane + (i * t.reduced + before) * height)
                            place = m.at(e, i * height, first)
                            _product(k, (height, width), length, v.at(e, before, first), u, place, m.width, before > 0)
                        before += length


def _columns(k: Kernel, tiles: int, width: int) -> Iterator[tuple[Value, int]]:
    """(first tile, tiles) of every column, in a loop over the full ones."""
    full, rest = divmod(tiles, width)
    if full:
        with k.loop(0, full, name="column") as column:
            yield column * width, width
    if rest:
        yield k.index(full * width), rest


def _product(
    k: Kernel, sizes: tuple[int, int], length: int, v: Pointer, u: Pointer, m: Pointer, step: int, add: bool
) -> None:
    height, width = sizes
    tile = Tile(k, height, width)
    tile.init(lambda i, j: m.load(i * step + j) if add else k.number(0))
    unroll = next(n for n in (4, 3, 2, 1) if length % n == 0)
    with k.loop(0, length, step=unroll, name="sum") as r:
        for n in range(unroll):
            columns = [v.load((r + n) * step + j) for j in range(width)]
            for i in range(height):
                tile.multiply_add_row(i, k.broadcast(u.load((r + n) * height + i)), columns)
    tile.each(lambda i, j, value: m.store(value, i * step + j))
