"""sfc: split fully connected, each part of the outputs sees one part of the inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from convjit.layers.options import integer
from convjit.layers.weights import Product, WeightLayer
from convjit.ops.base import Array, Maps
from convjit.ops.local import LocalBackwardData, LocalBackwardWeights, LocalForward, LocalShape

__all__ = ["Sfc"]


@dataclass(frozen=True, kw_only=True)
class Sfc(WeightLayer):
    """A matrix for each part of each input, summed, plus biases. `outputs` counts one part's.

    It is a locally connected layer on one pixel whose groups are the parts.
    """

    kind: ClassVar[str] = "sfc"
    formula: ClassVar[str] = "y[p,f] = b[p,f] + sum over inputs, i of x[p,i] w[p,f,i]"

    parts: int = integer("parts", least=1)
    outputs: int = integer("outputs", least=1)

    def views(self, inputs: Sequence[Maps]) -> tuple[Maps, ...]:
        return tuple(Maps(maps.features) for maps in inputs)

    def shape(self, inputs: Sequence[Maps]) -> Maps:
        for name, maps in zip(self.inputs, inputs, strict=True):
            if maps.features % self.parts:
                found = f"the {maps.features} outputs of input '{name}' are not divisible by parts={self.parts}"
                raise self.error(found, "parts")
        return Maps(self.parts * self.outputs)

    def biases(self, inputs: Sequence[Maps]) -> Array:
        return Array((self.parts * self.outputs, 1, 1))

    def products(self, inputs: Sequence[Maps]) -> list[Product]:
        outputs = self.parts * self.outputs
        return [self._product(LocalShape(maps.channels, 1, 1, outputs, 1, groups=self.parts)) for maps in inputs]

    def _product(self, shape: LocalShape) -> Product:
        return Product(
            shape.weights,
            fan_in=shape.group_channels,
            units=self.outputs,
            fan_out=self.outputs,
            forward=LocalForward(shape),
            added=LocalForward(shape, biases=False, accumulate=True),
            backward_weights=lambda accumulate: LocalBackwardWeights(shape, accumulate),
            backward_data=lambda accumulate: LocalBackwardData(shape, accumulate),
        )
