"""neuron: a function applied to every number. The key neuron= of other layers makes one of these behind them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from convjit.layers.base import Layer, Pass
from convjit.layers.given import Given
from convjit.layers.options import neuron
from convjit.ops.base import Maps
from convjit.ops.neuron import Neuron, NeuronBackward, NeuronForward

__all__ = ["NeuronLayer"]


@dataclass(frozen=True, kw_only=True)
class NeuronLayer(Layer):
    """One of the neurons of `convjit.ops.neuron`."""

    kind: ClassVar[str] = "neuron"
    formula: ClassVar[str] = "y[i] = f(x[i])"

    neuron: Given[Neuron, Neuron | str] = neuron("neuron")

    def shape(self, inputs: Sequence[Maps]) -> Maps:
        return inputs[0]

    def forward(self, step: Pass) -> None:
        step.launch("forward", NeuronForward(step.shape, self.neuron), x=step.inputs[0], y=step.output)

    def backward(self, step: Pass) -> None:
        if dx := step.input_gradient(0):
            z = step.inputs[0] if self.neuron.kind.from_input else step.output
            op = NeuronBackward(step.shape, self.neuron, dx.accumulate)
            step.launch("backward", op, dy=step.gradient(), z=z, dx=dx.buffer)
