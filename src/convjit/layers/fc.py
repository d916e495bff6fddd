"""fc: fully connected, every output sees every number of each input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from convjit.layers.options import integer
from convjit.layers.weights import Product, WeightLayer
from convjit.ops.base import Array, Maps
from convjit.ops.fc import FcBackwardData, FcBackwardWeights, FcForward, FcShape

__all__ = ["Fc"]


@dataclass(frozen=True, kw_only=True)
class Fc(WeightLayer):
    """A matrix for each input, summed, plus biases."""

    kind: ClassVar[str] = "fc"
    formula: ClassVar[str] = "y[f] = b[f] + sum over inputs, i of x[i] w[f,i]"

    outputs: int = integer("outputs", least=1)

    def shape(self, inputs: Sequence[Maps]) -> Maps:
        return Maps(self.outputs)

    def biases(self, inputs: Sequence[Maps]) -> Array:
        return Array((self.outputs,))

    def products(self, inputs: Sequence[Maps]) -> list[Product]:
        return [self._product(FcShape(maps, self.outputs)) for maps in inputs]

    def _product(self, shape: FcShape) -> Product:
        return Product(
            shape.weights,
            fan_in=shape.input.features,
            units=self.outputs,
            fan_out=self.outputs,
            forward=FcForward(shape),
            added=FcForward(shape, biases=False, accumulate=True),
            backward_weights=lambda accumulate: FcBackwardWeights(shape, accumulate),
            backward_data=lambda accumulate: FcBackwardData(shape, accumulate),
        )
