"""Response normalisation across channels of few images, whose maps have a channel per lane.

The squares of a window are added up in the order of the kernel for many images, so that the bits are the same: each
channel has its own order there, and its own permutation here.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

from convjit.codegen.kernel import Kernel
from convjit.codegen.values import F32, Pointer, Value, constant
from convjit.kernels.base import Problem, generator
from convjit.kernels.by_channel import channel_blocks
from convjit.kernels.channel_tiles import tile_channels
from convjit.kernels.norm import inverse_powers, plus_square
from convjit.kernels.window import STATIC
from convjit.ops.by_channel import CrossMapNormByChannel
from convjit.ops.norm import CrossMapNormForward

__all__: list[str] = []


def _orders(op: CrossMapNormForward) -> list[tuple[list[int], list[int]]]:
    """The channels of every window in the two orders whose sums are added: to the left, and to the right."""
    channels, size = op.shape.maps.channels, op.shape.size
    if op.blocked or size > STATIC:
        return [([], list(range(first, end))) for first, end in op.spans()]
    found = []
    tile = tile_channels(size)
    for channel in range(channels):
        j = channel % tile
        start = channel - j - size // 2
        left, right = range(tile - 2, j - 1, -1), range(tile - 1, size + j)
        found.append(([start + n for n in left], [start + n for n in right]))
    return [tuple([c for c in part if 0 <= c < channels] for part in parts) for parts in found]  # type: ignore[misc]


@generator(CrossMapNormByChannel)
def cross_map_norm_by_channel(k: Kernel, problem: Problem) -> int:
    """Task: a row of an image."""
    assert isinstance(problem.op, CrossMapNormByChannel)
    op = problem.op.op
    maps, lanes = op.shape.maps, k.lanes
    blocks, orders = channel_blocks(maps.channels, lanes), _orders(op)
    x, y = problem.view(k, "x"), problem.view(k, "y")
    # A pixel's channels, and room for what whole vectors read beyond them.
    line = k.scratch(blocks + 2)
    numbers = line.view(F32, 4)
    image, row = k.split(k.task, 0, maps.height)

    with k.loop(0, maps.width, name="column") as column:
        for block in range(blocks):
            line.store(x.load(x.index(image, block, row, column)), block)
        for block in range(blocks):
            some = orders[block * lanes : (block + 1) * lanes]
            some += [([], [])] * (lanes - len(some))
            sums = [_sum(k, numbers, [order[side] for order in some]) for side in (0, 1)]
            total = functools.reduce(Value.__add__, [one for one in sums if one is not None])
            denominator = k.fma(total, k.number(op.alpha), k.number(op.shape.constant))
            (factor,), _ = inverse_powers(k, [denominator], op.shape.power)
            y.store(line.load(block) * factor, y.index(image, block, row, column))
    return problem.batch * maps.height


def _sum(k: Kernel, numbers: Pointer, orders: Sequence[Sequence[int]]) -> Value | None:
    """Squares of the given channels, added up in every lane in its own order; those with fewer add zeros."""
    total = None
    for step in range(max(map(len, orders))):
        channels = [order[step] if step < len(order) else None for order in orders]
        total = plus_square(k, total, _gathered(k, numbers, channels))
    return total


def _gathered(k: Kernel, numbers: Pointer, channels: Sequence[int | None]) -> Value:
    """The numbers of some channels; 0 where there is none."""
    first = min(c for c in channels if c is not None)
    places = [0 if c is None else c - first for c in channels]
    if max(places) >= 2 * k.lanes:
        zero = Value(k.at, constant(F32, 0.0))
        return k.pack([zero if c is None else numbers.load(c) for c in channels])
    low = k.loose_vectors(numbers + first).load()
    high = k.loose_vectors(numbers + (first + k.lanes)).load() if max(places) >= k.lanes else low
    found = k.shuffle(low, high, places)
    if None not in channels:
        return found
    return k.as_floats(k.as_words(found) & k.words([0 if c is None else 0xFFFFFFFF for c in channels]))
