"""fc: fully connected, every output sees every number of each input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from convjit.layers.base import Learned, Pass
from convjit.layers.options import integer
from convjit.layers.weights import WeightLayer
from convjit.ops.base import Array, Maps
from convjit.ops.conv import BiasBackward
from convjit.ops.fc import FcBackwardData, FcBackwardWeights, FcForward, FcShape

__all__ = ["Fc"]


@dataclass(frozen=True, kw_only=True)
class Fc(WeightLayer):
    """A matrix for each input, summed, plus biases."""

    kind: ClassVar[str] = "fc"
    formula: ClassVar[str] = "y[f] = b[f] + sum over inputs, i of x[i] w[f,i]"

    outputs: int = integer("outputs", least=1)

    def _shapes(self, inputs: Sequence[Maps]) -> list[FcShape]:
        return [FcShape(maps, self.outputs) for maps in inputs]

    def shape(self, inputs: Sequence[Maps]) -> Maps:
        return Maps(self.outputs)

    def learned(self, inputs: Sequence[Maps]) -> tuple[Learned, ...]:
        return self.learned_arrays([s.weights for s in self._shapes(inputs)], Array((self.outputs,)))

    def forward(self, step: Pass) -> None:
        for i, shape in enumerate(self._shapes(step.views)):
            x, w, y = step.inputs[i], step.weights(self.weights_name(i)), step.output
            if i == 0:
                step.launch("forward", FcForward(shape), x=x, w=w, b=step.weights("biases"), y=y)
            else:
                step.launch(f"forward{i}", FcForward(shape, biases=False, accumulate=True), x=x, w=w, y=y)

    def backward(self, step: Pass) -> None:
        dy = step.gradient()
        for i, shape in enumerate(self._shapes(step.views)):
            suffix = str(i) if i else ""
            if dw := step.weights_gradient(self.weights_name(i)):
                op = FcBackwardWeights(shape, dw.accumulate)
                step.launch(f"backward_weights{suffix}", op, x=step.inputs[i], dy=dy, dw=dw.buffer)
            if dx := step.input_gradient(i):
                w = step.weights(self.weights_name(i))
                step.launch(f"backward_data{suffix}", FcBackwardData(shape, dx.accumulate), dy=dy, w=w, dx=dx.buffer)
        if db := step.weights_gradient("biases"):
            step.launch("backward_biases", BiasBackward(step.shape, True, db.accumulate), dy=dy, db=db.buffer)
