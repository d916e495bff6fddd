"""softmax: probabilities of the classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from convjit.layers.base import Inner, Pass
from convjit.ops.base import Maps
from convjit.ops.softmax import SoftmaxBackward, SoftmaxForward

__all__ = ["Softmax"]


@dataclass(frozen=True, kw_only=True)
class Softmax(Inner):
    """Positive numbers of sum 1, over all features of an image."""

    kind: ClassVar[str] = "softmax"
    formula: ClassVar[str] = "y[i] = exp(x[i]) / sum over j of exp(x[j])"

    def views(self, inputs: Sequence[Maps]) -> tuple[Maps, ...]:
        return (Maps(inputs[0].features),)

    def shape(self, inputs: Sequence[Maps]) -> Maps:
        return inputs[0]

    def forward(self, step: Pass) -> None:
        step.launch("forward", SoftmaxForward(step.shape), x=step.inputs[0], y=step.output)

    def backward(self, step: Pass) -> None:
        if dx := step.input_gradient(0):
            op = SoftmaxBackward(step.shape, dx.accumulate)
            step.launch("backward", op, dy=step.gradient(), y=step.output, dx=dx.buffer)
