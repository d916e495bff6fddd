"""dropout and dropout2: numbers are left out at random while training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from convjit.layers.base import Inner, Pass
from convjit.layers.options import flag, number
from convjit.ops.base import Maps
from convjit.ops.copy import Copy
from convjit.ops.dropout import DROPOUT_KEY, DropoutBackward, DropoutForward, Scale

__all__ = ["Dropout", "Dropout2"]


@dataclass(frozen=True, kw_only=True)
class Dropout(Inner):
    """Each number is kept with probability `keep` and then divided by it, so that testing needs nothing."""

    kind: ClassVar[str] = "dropout"
    formula: ClassVar[str] = "training: y[i] = x[i] mask[i] / keep; testing: y = x"
    needs_parameters: ClassVar = True
    inverted: ClassVar[bool] = True

    enable: bool = flag("enable", default=True, file="params")
    keep: float = number("keep", default=0.5, least=1e-6, most=1, file="params")

    def shape(self, inputs: Sequence[Maps]) -> Maps:
        return inputs[0]

    def forward(self, step: Pass) -> None:
        if step.training and self.enable:
            key = step.host(f"{self.name}.key", DROPOUT_KEY)
            op = DropoutForward(step.shape, self.keep, self.inverted)
            step.launch("forward", op, x=step.inputs[0], key=key, y=step.output)
        else:
            self.forward_plain(step)

    def backward(self, step: Pass) -> None:
        if not (dx := step.input_gradient(0)):
            return
        dy = step.gradient()
        if self.enable:
            key = step.host(f"{self.name}.key", DROPOUT_KEY)
            op = DropoutBackward(step.shape, self.keep, self.inverted, dx.accumulate)
            step.launch("backward", op, dy=dy, key=key, dx=dx.buffer)
            return
        if not self.inverted:
            scaled = step.own("scaled", step.shape)
            step.launch("backward_scale", Scale(step.shape, self.keep), x=dy, y=scaled)
            dy = scaled
        step.launch("backward", Copy(step.shape, dx.accumulate), x=dy, y=dx.buffer)

    def forward_plain(self, step: Pass) -> None:
        """Without a mask."""
        step.reuse(0)


@dataclass(frozen=True, kw_only=True)
class Dropout2(Dropout):
    """Each number is kept with probability `keep`; without a mask all are multiplied by it.

    As in cuda-convnet2, enable=false takes the mask away and leaves the multiplication, when training too.
    """

    kind: ClassVar[str] = "dropout2"
    formula: ClassVar[str] = "training: y[i] = x[i] mask[i]; testing, and always with enable=false: y = keep x"
    inverted: ClassVar[bool] = False

    def forward_plain(self, step: Pass) -> None:
        step.launch("forward", Scale(step.shape, self.keep), x=step.inputs[0], y=step.output)
