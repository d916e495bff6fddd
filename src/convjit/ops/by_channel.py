"""Ops on maps that have a channel in every lane: what they mean is what the ops mean that they are made of.

With fewer images than lanes the usual layout, an image in every lane, leaves lanes idle.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, TypeVar

from convjit.ops.base import Arrays, ChannelMaps, Halo, Maps, NdArray, Op, Operand
from convjit.ops.combine import Maximum, WeightedSum
from convjit.ops.conv import ConvForward
from convjit.ops.copy import Copy
from convjit.ops.dropout import Scale
from convjit.ops.fc import FcForward
from convjit.ops.halo import ClearHalo
from convjit.ops.neuron import NeuronForward
from convjit.ops.norm import ContrastNormForward, CrossMapNormForward, ResponseNormForward
from convjit.ops.pool import AvgPoolForward, MaxAbsPoolForward, MaxPoolForward
from convjit.ops.resample import Blur, Mirror, Nailbed, Resize

__all__ = [
    "PER_CHANNEL", "ByChannel", "ChangeLanes", "ConvByChannel", "CrossMapNormByChannel", "FcByChannel", "PerChannel",
    "one_channel",
]  # fmt: skip

PER_CHANNEL: frozenset[type[Op]] = frozenset(
    (
        AvgPoolForward, Blur, ClearHalo, ContrastNormForward, MaxAbsPoolForward, MaxPoolForward, Maximum, Mirror,
        Nailbed, NeuronForward, Resize, ResponseNormForward, Scale, WeightedSum,
    )
)  # fmt: skip
"""Ops that do the same to every channel, whatever the others hold."""

T = TypeVar("T")


@dataclass(frozen=True)
class ByChannel(Op):
    """`op` with the operands in `lanes` stored with a channel per lane."""

    op: Op
    lanes: tuple[str, ...]

    def __post_init__(self) -> None:
        for name in ("reads", "writes", "in_place"):
            object.__setattr__(self, name, getattr(self.op, name))

    @property
    def accumulate(self) -> bool:
        """Whether the op adds to its output."""
        return bool(getattr(self.op, "accumulate", False))

    @property
    def names(self) -> tuple[str, ...]:
        return self.op.names

    def operands(self) -> dict[str, Operand]:
        return {name: self._stored(name, operand) for name, operand in self.op.operands().items()}

    def reach(self, operand: str) -> Halo:
        return self.op.reach(operand)

    def touched(self, operand: str) -> Operand:
        return self._stored(operand, self.op.touched(operand))

    def _stored(self, name: str, operand: Operand) -> Operand:
        if name not in self.lanes:
            return operand
        assert isinstance(operand, Maps)
        return ChannelMaps(operand.channels, operand.height, operand.width)

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        return self.op.reference(arrays)

    def flops(self) -> int:
        return self.op.flops()

    def text(self) -> str:
        return f"{self.kind()} {','.join(self.lanes)}: {self.op.text()}"


@dataclass(frozen=True)
class ConvByChannel(ByChannel):
    """A convolution; y has a channel per lane, x may have."""

    op: ConvForward


@dataclass(frozen=True)
class FcByChannel(ByChannel):
    """A fully connected layer; y has a channel per lane, x may have."""

    op: FcForward


@dataclass(frozen=True)
class ChangeLanes(ByChannel):
    """A copy from one layout to the other: one of x and y has a channel per lane."""

    op: Copy

    @classmethod
    def between(cls, maps: Maps, by_channel: str) -> ChangeLanes:
        """The change whose operand `by_channel`, "x" or "y", has a channel per lane."""
        return cls(Copy(maps), (by_channel,))


@dataclass(frozen=True)
class PerChannel(ByChannel):
    """An op of PER_CHANNEL; all its maps have a channel per lane."""

    @classmethod
    def of(cls, op: Op) -> PerChannel:
        """`op` with a channel per lane."""
        return cls(op, tuple(name for name, operand in op.operands().items() if isinstance(operand, Maps)))


@dataclass(frozen=True)
class CrossMapNormByChannel(ByChannel):
    """A response norm across channels; its maps have a channel per lane."""

    op: CrossMapNormForward

    @classmethod
    def of(cls, op: CrossMapNormForward) -> CrossMapNormByChannel:
        """`op` with a channel per lane."""
        return cls(op, ("x", "y"))


def one_channel(spec: T) -> T:
    """An op of PER_CHANNEL, or a part of its spec, for maps of one channel."""
    changed: dict[str, Any] = {}
    for field in fields(spec):  # type: ignore[arg-type]
        value = getattr(spec, field.name)
        if field.name == "channels":
            changed[field.name] = 1
        elif is_dataclass(value):
            changed[field.name] = one_channel(value)
    return replace(spec, **changed)  # type: ignore[type-var]
