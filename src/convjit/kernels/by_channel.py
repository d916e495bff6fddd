"""Ops on maps with a channel per lane.

What treats channels alike needs no kernel of its own: a block of V channels of one image looks to it like one channel
of V images.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from convjit.codegen.kernel import Kernel
from convjit.codegen.values import Index, Pointer, Value
from convjit.kernels.base import GENERATORS, MapsView, Problem, generator
from convjit.kernels.sweep import CHUNK, share, shares
from convjit.ops.base import ChannelMaps, Maps
from convjit.ops.by_channel import ChangeLanes, PerChannel, one_channel

__all__ = ["Numbers", "channel_blocks"]


def channel_blocks(channels: int, lanes: int) -> int:
    """Vectors that the channels of a pixel take."""
    return -(-channels // lanes)


@dataclass(frozen=True)
class Numbers:
    """Maps number by number, whichever way they are stored. Pixels that lie side by side are V numbers apart."""

    pointer: Pointer
    view: MapsView
    by_channel: bool
    lanes: int

    @classmethod
    def of(cls, k: Kernel, problem: Problem, operand: str) -> Numbers:
        """Of one operand."""
        by_channel = isinstance(problem.op.operands()[operand], ChannelMaps)
        return cls(k.scalars(operand), problem.view(k, operand), by_channel, k.lanes)

    def place(self, image: Index, channel: Index, y: Index = 0, x: Index = 0) -> Index:
        """Index of a number."""
        if self.by_channel:
            return self.view.index(image, channel // self.lanes, y, x) * self.lanes + channel % self.lanes
        return self.view.index(image // self.lanes, channel, y, x) * self.lanes + image % self.lanes


@generator(PerChannel)
def per_channel(k: Kernel, problem: Problem) -> int:
    """Tasks of the op itself, on many images of one channel."""
    op = problem.op
    assert isinstance(op, PerChannel)
    maps = next(operand for operand in op.op.operands().values() if isinstance(operand, Maps))
    images = problem.batch * channel_blocks(maps.channels, k.lanes) * k.lanes
    return GENERATORS[type(op.op)](k, replace(problem, op=one_channel(op.op), batch=images))


@generator(ChangeLanes)
def change_lanes(k: Kernel, problem: Problem) -> int:
    """Task: some rows of a vector's channels, or images. Lanes that have none repeat the last."""
    op = problem.op
    assert isinstance(op, ChangeLanes)
    x, y, maps = Numbers.of(k, problem, "x"), problem.view(k, "y"), op.op.maps
    most = CHUNK // (maps.width * k.lanes)
    parts = shares(maps.height, most)
    block, channel, part = k.split(k.task, 0, y.maps.channels, parts)
    first, end = share(k, part, maps.height, most)

    def place(lane: int, row: Value, column: Value) -> Index:
        """Where the number of a lane of y is in x."""
        if x.by_channel:
            return x.place(k.minimum_index(block * k.lanes + lane, problem.batch - 1), channel, row, column)
        return x.place(block, k.minimum_index(channel * k.lanes + lane, maps.channels - 1), row, column)

    with k.loop(first, end, name="row") as row, k.loop(0, maps.width, name="column") as column:
        numbers = [x.pointer.load(place(lane, row, column)) for lane in range(k.lanes)]
        y.store(k.pack(numbers), y.index(block, channel, row, column))
    return (problem.blocks if x.by_channel else problem.batch) * y.maps.channels * parts
