"""Buffers and launches: the two things that a program is made of."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from convjit.ops.base import NO_HALO, Halo, Op, Operand

__all__ = ["BF16", "Buffer", "Launch", "Program", "Role"]

BF16 = "bf16"
"""How maps are stored in half the memory: as bfloat16."""


class Role(enum.Enum):
    """Who keeps a buffer, and for how long."""

    ARENA = "arena"
    """Lives inside one step; the planner gives it a place in the arena."""
    WEIGHTS = "weights"
    """Learned; kept from step to step, shared by programs of one net, saved in checkpoints."""
    INCREMENTS = "increments"
    """The momentum of learned arrays; kept and saved like them."""
    GRADIENTS = "gradients"
    """Of learned arrays, summed over the parts of a minibatch; kept from part to part and not saved."""
    INPUT = "input"
    """Written by the host before a step."""
    OUTPUT = "output"
    """Read by the host after a step."""


@dataclass(frozen=True)
class Buffer:
    """A named array of the program."""

    name: str
    operand: Operand
    role: Role = Role.ARENA
    halo: Halo = NO_HALO
    dtype: str = "float32"
    """Of maps, how they are stored: "float32" or BF16. Other operands have a type of their own."""

    @property
    def narrow(self) -> bool:
        """Whether it holds maps stored as bfloat16."""
        return self.dtype == BF16

    def __str__(self) -> str:
        h = self.halo
        halo = "" if h == NO_HALO else f" halo {h.top},{h.left},{h.bottom},{h.right}"
        return f"{self.name} [{self.operand}{' bf16' if self.narrow else ''}]{halo}"


@dataclass(frozen=True)
class Launch:
    """One op over named buffers; `name` says whose it is, e.g. "conv1.forward"."""

    name: str
    op: Op
    buffers: Mapping[str, Buffer] = field(hash=False)

    def __post_init__(self) -> None:
        if set(self.buffers) != set(self.op.names):
            raise ValueError(f"{self.name}: operands {sorted(self.buffers)}, {self.op.kind()} has {self.op.names}")
        for operand, shape in self.op.operands().items():
            if self.buffers[operand].operand != shape:
                raise ValueError(f"{self.name}: {operand} is {shape}, but its buffer is {self.buffers[operand]}")

    @property
    def read(self) -> set[str]:
        """Names of the buffers whose contents it uses; an accumulating op uses what it writes."""
        return {self.buffers[operand].name for operand in self.read_operands()}

    @property
    def written(self) -> set[str]:
        """Names of the buffers that it changes."""
        return {self.buffers[o].name for o in self.op.writes if o in self.buffers}

    def read_operands(self) -> list[str]:
        """Operands whose contents it uses."""
        added = self.op.writes if getattr(self.op, "accumulate", False) else ()
        return [o for o in dict.fromkeys((*self.op.reads, *added)) if o in self.buffers]

    def rewired(self, change: Mapping[str, Buffer]) -> Launch:
        """The same launch with some buffers, by name, replaced."""
        return replace(self, buffers={o: change.get(b.name, b) for o, b in self.buffers.items()})

    def __str__(self) -> str:
        written = ", ".join(str(self.buffers[o]) for o in self.op.writes if o in self.buffers)
        used = ", ".join(self.buffers[o].name for o in self.op.reads if o in self.buffers)
        return f"{self.name}: {written} = {self.op.text()} ({used})"


@dataclass(frozen=True)
class Program:
    """One step as a flat list of launches, for one number of images."""

    batch: int
    launches: tuple[Launch, ...]

    def buffers(self) -> dict[str, Buffer]:
        """Every buffer by name, in order of first use."""
        return {b.name: b for launch in self.launches for b in launch.buffers.values()}

    def of_role(self, *roles: Role) -> dict[str, Buffer]:
        """The buffers of some roles."""
        return {name: b for name, b in self.buffers().items() if b.role in roles}

    @property
    def update(self) -> int:
        """The first launch of the update: those before it are run once for each part of a minibatch."""
        changing = (
            i
            for i, one in enumerate(self.launches)
            for b in one.buffers.values()
            if b.role is Role.WEIGHTS and b.name in one.written
        )
        return next(changing, len(self.launches))

    def flops(self) -> int:
        """Of one step."""
        return self.batch * sum(launch.op.flops() for launch in self.launches)

    def text(self) -> str:
        """One line per launch; stable, so that a test can pin it."""
        width = len(str(len(self.launches)))
        lines = [f"program of {self.batch} images, {len(self.launches)} launches"]
        lines += [f"{i:{width}d} {launch}" for i, launch in enumerate(self.launches)]
        return "\n".join(lines) + "\n"
