"""Programs of few images: which launches work on maps that have a channel per lane, and where the layout changes.

With fewer images than lanes an image per lane leaves lanes idle. Convolutions and fully connected layers then make maps
with a channel per lane, ops that treat channels alike and norms across channels keep them so, and all others are given
images again.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from convjit.ops.base import ChannelMaps, Maps, Op
from convjit.ops.by_channel import (
    PER_CHANNEL,
    ByChannel,
    ChangeLanes,
    ConvByChannel,
    CrossMapNormByChannel,
    FcByChannel,
    PerChannel,
)
from convjit.ops.conv import ConvForward
from convjit.ops.fc import FcForward
from convjit.ops.norm import CrossMapNormForward
from convjit.program.buffer import Buffer, Launch, Program, Role

__all__ = ["MOST_IMAGES", "few_images"]

MOST_IMAGES = 8
"""In a program of few images: as many as the shortest of wide vectors has lanes."""


def few_images(program: Program, lanes: int) -> Program:
    """A forward-only program, no launch of which works in place or has a halo yet, for vectors of `lanes` numbers.

    It is left as it is if it learns, or has more than MOST_IMAGES images.
    """
    learns = any(buffer.role is Role.WEIGHTS for one in program.launches for buffer in _written(one))
    if learns or program.batch > MOST_IMAGES:
        return program
    layout = _Layout(_home(program, lanes))
    for launch in program.launches:
        layout.add(launch)
    return replace(program, launches=tuple(layout.launches))


def _written(launch: Launch) -> list[Buffer]:
    return [launch.buffers[operand] for operand in launch.op.writes if operand in launch.buffers]


def _makes_channels(op: Op, lanes: int) -> bool:
    """Whether an op is a product whose output may have a channel per lane: no vector may span two groups."""
    if isinstance(op, ConvForward):
        return op.shape.groups == 1 or op.shape.group_filters % lanes == 0
    return isinstance(op, FcForward)


def _keeps_channels(op: Op) -> bool:
    """Whether an op can work on maps with a channel per lane, once they are."""
    return type(op) in PER_CHANNEL or isinstance(op, CrossMapNormForward)


def _home(program: Program, lanes: int) -> dict[str, bool]:
    """Whether the maps of each buffer are made with a channel per lane; several launches that add up agree on it."""
    home: dict[str, bool] = {}
    for launch in program.launches:
        maps = [b for b in launch.buffers.values() if isinstance(b.operand, Maps)]
        written = [b.name for b in _written(launch)]
        read = [home[b.name] for b in maps if b.name in home and b.name not in written]
        able = _makes_channels(launch.op, lanes) or (_keeps_channels(launch.op) and any(read))
        for name in written:
            home[name] = home.get(name, True) and able
    return home


@dataclass
class _Layout:
    """The program under construction."""

    home: dict[str, bool]
    launches: list[Launch] = field(default_factory=list)
    changed: dict[str, Buffer] = field(default_factory=dict)
    """What has been brought into the other layout, by the buffer's name."""

    def add(self, launch: Launch) -> None:
        """One launch, in the layout of what it writes, behind the changes that it needs."""
        op: Op = launch.op
        if all(self.home[b.name] for b in _written(launch)):
            op = self._by_channel(launch)
        buffers = {}
        for operand, shape in op.operands().items():
            buffer = launch.buffers[operand]
            if buffer.operand != shape and operand in op.writes:
                buffer = replace(buffer, operand=shape)
            elif isinstance(shape, Maps):
                buffer = self._as(buffer, by_channel=isinstance(shape, ChannelMaps))
            buffers[operand] = buffer
        self.launches.append(Launch(launch.name, op, buffers))

    def _by_channel(self, launch: Launch) -> ByChannel:
        """The op by channel; a product takes its input as it comes."""
        op = launch.op
        if isinstance(op, CrossMapNormForward):
            return CrossMapNormByChannel.of(op)
        if not isinstance(op, ConvForward | FcForward):
            return PerChannel.of(op)
        lanes = ("x", "y") if self.home[launch.buffers["x"].name] else ("y",)
        return ConvByChannel(op, lanes) if isinstance(op, ConvForward) else FcByChannel(op, lanes)

    def _as(self, buffer: Buffer, *, by_channel: bool) -> Buffer:
        """What is read, in the layout that is asked for."""
        maps = buffer.operand
        assert isinstance(maps, Maps)
        there = _channels(maps)
        made = replace(buffer, operand=there) if self.home[buffer.name] else buffer
        if self.home[buffer.name] == by_channel:
            return made
        if buffer.name not in self.changed:
            other = Buffer(f"{buffer.name}.{'channels' if by_channel else 'images'}", there if by_channel else maps)
            change = ChangeLanes.between(maps, "y" if by_channel else "x")
            self.launches.append(Launch(f"{other.name}.change", change, {"x": made, "y": other}))
            self.changed[buffer.name] = other
        return self.changed[buffer.name]


def _channels(maps: Maps) -> ChannelMaps:
    return ChannelMaps(maps.channels, maps.height, maps.width)
