"""The gradient of biases: sums over images, and over pixels where a bias is shared by them."""

from __future__ import annotations

from collections.abc import Callable

from convjit.codegen.kernel import Kernel
from convjit.codegen.values import Index, Value
from convjit.kernels.base import Problem, generator
from convjit.kernels.sweep import CHUNK, each_pixel, share, shares
from convjit.ops.conv import BiasBackward

__all__: list[str] = []

SUMS = 4
"""Partial sums, so that an addition need not wait for the one before."""


@generator(BiasBackward)
def bias_backward(k: Kernel, problem: Problem) -> int:
    """Task: some channels."""
    op = problem.op
    assert isinstance(op, BiasBackward)
    maps, dy, db = op.maps, problem.view(k, "dy"), k.scalars("db")
    most = max(1, min(maps.channels // 32, CHUNK // (maps.height * maps.width * problem.blocks)))
    first, end = share(k, k.task, maps.channels, most)

    def put(total: Value, place: Index) -> None:
        number = k.lane_sum(total)
        db.store(db.load(place) + number if op.accumulate else number, place)

    with k.loop(first, end, name="channel") as c:
        if op.shared:
            put(_sum_of_channel(k, problem, c), c)
        else:
            with k.loop(0, maps.height, name="row") as y, k.loop(0, maps.width, name="column") as x:
                start = dy.index(0, c, y, x)

                def load(block: Value, start: Index = start) -> Value:
                    return dy.load(start + block * dy.block)

                put(_sum_of_blocks(k, problem.blocks, load), (c * maps.height + y) * maps.width + x)
    return shares(maps.channels, most)


def _sum_of_channel(k: Kernel, problem: Problem, c: Value) -> Value:
    """The sum of a channel over all blocks and pixels, one number for each lane."""
    dy, sums = problem.view(k, "dy"), k.variables(SUMS)
    for place in sums:
        place.store(k.number(0.0))
    turn = 0

    def add(where: Callable[[str], Index], feature: Index) -> None:
        nonlocal turn
        place = sums[turn % SUMS]
        place.store(place.load() + dy.load(where("dy")))
        turn += 1

    with k.loop(0, problem.blocks, name="block") as block:
        each_pixel(k, {"dy": dy}, block, (c, c + 1), add, unroll=SUMS)
    total = sums[0].load()
    for place in sums[1:]:
        total = total + place.load()
    return total


def _sum_of_blocks(k: Kernel, blocks: int, load: Callable[[Value], Value]) -> Value:
    """The sum of one pixel over all blocks, one number for each lane."""
    (total,) = k.variables(1)
    total.store(k.number(0.0))
    with k.loop(0, blocks, name="block") as block:
        total.store(total.load() + load(block))
    return total.load()
