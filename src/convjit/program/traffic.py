"""How many bytes a launch has to move: every number that it reads or writes once, and no other."""

from __future__ import annotations

from dataclasses import dataclass, replace

from convjit.ops.base import NO_HALO, Maps
from convjit.ops.halo import ClearHalo
from convjit.program.buffer import Launch
from convjit.program.planner import buffer_bytes

__all__ = ["Traffic", "traffic"]


@dataclass(frozen=True)
class Traffic:
    """Bytes read and written, and bytes of memory touched: less where an op works in place."""

    read: int
    written: int
    touched: int


def traffic(launch: Launch, batch: int, lanes: int) -> Traffic:
    """What one launch moves if every cache is perfect."""

    def size(operand: str) -> int:
        buffer = launch.buffers[operand]
        if isinstance(getattr(launch.op, "op", launch.op), ClearHalo):
            return buffer_bytes(buffer, batch, lanes) - buffer_bytes(replace(buffer, halo=NO_HALO), batch, lanes)
        part = launch.op.touched(operand)
        halo = launch.op.reach(operand) if isinstance(part, Maps) else NO_HALO
        return buffer_bytes(replace(buffer, operand=part, halo=halo), batch, lanes)

    read, written = launch.read_operands(), [o for o in launch.op.writes if o in launch.buffers]

    def total(operands: list[str]) -> int:
        """Two operands may be one buffer."""
        return sum({launch.buffers[o].name: size(o) for o in operands}.values())

    return Traffic(total(read), total(written), total([*read, *written]))
