"""The arena: every buffer of a step gets an offset from its lifetime, so that those that never live together share
bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from convjit.ops.base import ChannelMaps, Maps, PerImage
from convjit.program.buffer import Buffer, Program, Role

__all__ = ["ALIGNMENT", "Plan", "buffer_bytes", "plan", "stored_dtype", "stored_shape"]

ALIGNMENT = 4096
"""Bytes; a page, so that no two buffers share a cache line or a page of the TLB."""


def stored_shape(buffer: Buffer, batch: int, lanes: int) -> tuple[int, ...]:
    """Shape in memory, for V = `lanes`."""
    blocks = -(-batch // lanes)
    shape = buffer.operand
    if isinstance(shape, Maps):
        h = buffer.halo
        if isinstance(shape, ChannelMaps):
            blocks, shape = batch, Maps(-(-shape.channels // lanes), shape.height, shape.width)
        return (blocks, shape.channels, h.top + shape.height + h.bottom, h.left + shape.width + h.right, lanes)
    if isinstance(shape, PerImage):
        return (blocks * lanes, *shape.shape)
    return shape.shape


def stored_dtype(buffer: Buffer) -> np.dtype[Any]:
    """Type of the elements in memory; bfloat16, which NumPy does not have, as uint16."""
    if isinstance(buffer.operand, Maps):
        return np.dtype("uint16" if buffer.narrow else "float32")
    return np.dtype(buffer.operand.dtype)


def buffer_bytes(buffer: Buffer, batch: int, lanes: int) -> int:
    """Size in memory."""
    size = stored_dtype(buffer).itemsize
    for side in stored_shape(buffer, batch, lanes):
        size *= side
    return size


@dataclass(frozen=True)
class Plan:
    """Where everything lies. `offsets` are those of the arena's buffers, in bytes."""

    offsets: dict[str, int]
    arena: int
    unshared: int
    """What the arena's buffers would take if none shared a place."""
    weights: int
    increments: int
    gradients: int
    """Those of learned arrays, where they are summed over the parts of a minibatch."""
    transfer: int
    """Buffers that the host writes or reads."""
    batch: int
    lanes: int

    @property
    def total(self) -> int:
        """Bytes of a step, the kernels' own scratch apart."""
        return self.arena + self.weights + self.increments + self.gradients + self.transfer

    def bytes_of(self, buffer: Buffer) -> int:
        """Size of one buffer in memory."""
        return buffer_bytes(buffer, self.batch, self.lanes)


def plan(program: Program, lanes: int) -> Plan:
    """Place the largest buffer first, each at the lowest offset free during its whole life (first use to last use)."""
    buffers = program.of_role(Role.ARENA)
    sizes = {name: -(-buffer_bytes(b, program.batch, lanes) // ALIGNMENT) * ALIGNMENT for name, b in buffers.items()}
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    for index, launch in enumerate(program.launches):
        for buffer in launch.buffers.values():
            first.setdefault(buffer.name, index)
            last[buffer.name] = index
    offsets: dict[str, int] = {}
    for name in sorted(buffers, key=lambda n: (-sizes[n], first[n], n)):
        taken = sorted(
            (offsets[other], offsets[other] + sizes[other])
            for other in offsets
            if first[other] <= last[name] and first[name] <= last[other]
        )
        place = 0
        for start, end in taken:
            if place + sizes[name] <= start:
                break
            place = max(place, end)
        offsets[name] = place

    def total(*roles: Role) -> int:
        return sum(buffer_bytes(b, program.batch, lanes) for b in program.of_role(*roles).values())

    return Plan(
        offsets,
        max((offsets[n] + sizes[n] for n in offsets), default=0),
        sum(sizes.values()),
        total(Role.WEIGHTS),
        total(Role.INCREMENTS),
        total(Role.GRADIENTS),
        total(Role.INPUT, Role.OUTPUT),
        program.batch,
        lanes,
    )
