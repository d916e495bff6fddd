"""The rules that a program keeps, checked after every rewrite."""

from __future__ import annotations

from convjit.ops.base import Maps
from convjit.program.buffer import Buffer, Program, Role

__all__ = ["check"]


def check(program: Program) -> Program:
    """The program itself, if it keeps the rules; ValueError naming the launch otherwise.

    1. A name stands for one buffer.
    2. Nothing is read before it is written, but for what the host or an earlier step wrote.
    3. The host's inputs are never written.
    4. Only maps have halos, and a halo is as wide as every reader's reach.
    5. An operand that is written shares its buffer with another operand only where the op allows it.
    6. Only maps are narrow, and none that an op wants exact, or compares with others that are not.
    """
    known: dict[str, Buffer] = {}
    written: set[str] = set()
    for launch in program.launches:
        for operand, buffer in launch.buffers.items():
            if known.setdefault(buffer.name, buffer) != buffer:
                raise ValueError(f"{launch.name}: two buffers are called {buffer.name}")
            if not isinstance(buffer.operand, Maps) and buffer.halo.union(type(buffer.halo)()) != type(buffer.halo)():
                raise ValueError(f"{launch.name}: {buffer} has a halo")
            reach = launch.op.reach(operand)
            if buffer.halo.union(reach) != buffer.halo:
                raise ValueError(f"{launch.name}: {operand} reaches {reach}, beyond the halo of {buffer}")
        narrow = {operand for operand, buffer in launch.buffers.items() if buffer.narrow}
        for operand in narrow:
            if not isinstance(launch.buffers[operand].operand, Maps) or operand in launch.op.exact:
                raise ValueError(f"{launch.name}: {operand} may not be narrow, as {launch.buffers[operand]} is")
        for one, other in launch.op.compared:
            if other in narrow and one not in narrow:
                raise ValueError(f"{launch.name}: {one} is compared with {other}, which is rounded")
        for name in sorted(launch.read):
            if name not in written and known[name].role in (Role.ARENA, Role.OUTPUT):
                raise ValueError(f"{launch.name}: {name} is read before it is written")
        for name in sorted(launch.written):
            if known[name].role is Role.INPUT:
                raise ValueError(f"{launch.name}: {name} belongs to the host")
        allowed = {frozenset(pair) for pair in launch.op.in_place}
        for operand in launch.op.writes:
            for other in launch.op.names:
                same = other != operand and launch.buffers[other].name == launch.buffers[operand].name
                if same and frozenset((operand, other)) not in allowed:
                    raise ValueError(f"{launch.name}: {operand} and {other} are one buffer")
        written |= launch.written
    return program
