"""conv: convolution, with groups, padding, stride, several inputs, and biases shared or one per location."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from convjit.layers.base import Learned, Pass
from convjit.layers.given import Each
from convjit.layers.images import ImageLayer
from convjit.layers.options import flag, integer, integers
from convjit.layers.weights import WeightLayer
from convjit.ops.base import Maps
from convjit.ops.conv import BiasBackward, ConvBackwardData, ConvBackwardWeights, ConvForward, ConvShape, modules

__all__ = ["Conv"]


@dataclass(frozen=True, kw_only=True)
class Conv(WeightLayer, ImageLayer):
    """Convolution (cross-correlation) over each input, summed, plus biases. `filters` counts one group's."""

    kind: ClassVar[str] = "conv"
    formula: ClassVar[str] = "y[f,i,j] = b[f] + sum over inputs, c, u, v of x[c, iS-P+u, jS-P+v] w[f,c,u,v]"

    filters: int = integer("filters", least=1)
    filter_size: Each[int] = integers("filterSize", least=1)
    padding: Each[int] = integers("padding", default=0, least=0)
    stride: Each[int] = integers("stride", default=1, least=1)
    groups: Each[int] = integers("groups", default=1, least=1)
    modules_x: int = integer("modulesX", default=0, least=0)
    shared_biases: bool = flag("sharedBiases", default=True)

    def conv_shape(self, index: int, maps: Maps) -> ConvShape:
        """Geometry for one input; ConfigError if it does not fit."""
        size, groups = self.filter_size[index], self.groups[index]
        padding, stride = self.padding[index], self.stride[index]
        if maps.channels % groups:
            raise self.error(f"channels={maps.channels} is not divisible by groups={groups}", "groups")
        for side in (maps.height, maps.width):
            if size > 2 * padding + side:
                found = f"filterSize={size} is larger than the padded image of {2 * padding + side} pixels"
                raise self.error(found, "filterSize")
        rows = self.modules_x or modules(maps.height, size, padding, stride)
        columns = self.modules_x or modules(maps.width, size, padding, stride)
        for count, side in ((rows, maps.height), (columns, maps.width)):
            if -padding + stride * (count - 1) + size < side:
                raise self.error(f"modulesX={count} does not cover the input of {side} pixels", "modulesX")
        filters = self.filters * groups
        return ConvShape(maps.channels, maps.height, maps.width, filters, size, padding, stride, groups, rows, columns)

    def _shapes(self, inputs: Sequence[Maps]) -> list[ConvShape]:
        return [self.conv_shape(i, maps) for i, maps in enumerate(inputs)]

    def shape(self, inputs: Sequence[Maps]) -> Maps:
        outputs = [shape.output for shape in self._shapes(inputs)]
        if len(set(outputs)) > 1:
            raise self.error(f"inputs give different outputs: {', '.join(map(str, outputs))}", "inputs")
        return outputs[0]

    def learned(self, inputs: Sequence[Maps]) -> tuple[Learned, ...]:
        shapes = self._shapes(inputs)
        return self.learned_arrays([s.weights for s in shapes], shapes[0].biases(self.shared_biases))

    def forward(self, step: Pass) -> None:
        for i, shape in enumerate(self._shapes(step.views)):
            x, w, y = step.inputs[i], step.weights(self.weights_name(i)), step.output
            if i == 0:
                biases = "shared" if self.shared_biases else "unshared"
                step.launch("forward", ConvForward(shape, biases), x=x, w=w, b=step.weights("biases"), y=y)
            else:
                step.launch(f"forward{i}", ConvForward(shape, "none", accumulate=True), x=x, w=w, y=y)

    def backward(self, step: Pass) -> None:
        dy = step.gradient()
        for i, shape in enumerate(self._shapes(step.views)):
            suffix = str(i) if i else ""
            if dw := step.weights_gradient(self.weights_name(i)):
                op = ConvBackwardWeights(shape, dw.accumulate)
                step.launch(f"backward_weights{suffix}", op, x=step.inputs[i], dy=dy, dw=dw.buffer)
            if dx := step.input_gradient(i):
                w = step.weights(self.weights_name(i))
                data = ConvBackwardData(shape, dx.accumulate)
                step.launch(f"backward_data{suffix}", data, dy=dy, w=w, dx=dx.buffer)
        if db := step.weights_gradient("biases"):
            bias = BiasBackward(step.shape, self.shared_biases, db.accumulate)
            step.launch("backward_biases", bias, dy=dy, db=db.buffer)
