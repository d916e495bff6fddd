"""local: locally connected, a convolution with filters and biases of its own at every output pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import ClassVar

from convjit.layers.weights import Product
from convjit.layers.windows import WindowLayer
from convjit.ops.base import Array, Maps
from convjit.ops.local import LocalBackwardData, LocalBackwardWeights, LocalForward, LocalShape

__all__ = ["Local"]


@dataclass(frozen=True, kw_only=True)
class Local(WindowLayer):
    """Unshared filters over each input, summed, plus biases. `filters` counts one group's."""

    kind: ClassVar[str] = "local"
    formula: ClassVar[str] = "y[f,i,j] = b[f,i,j] + sum over inputs, c, u, v of x[c, iS-P+u, jS-P+v] w[i,j,f,u,v,c]"

    ball: ClassVar = "ball"
    """Here filters are only made shorter."""

    def local_shape(self, index: int, maps: Maps) -> LocalShape:
        """Geometry for one input; ConfigError if it does not fit."""
        shape = self.conv_shape(index, maps)
        return LocalShape(**{field.name: getattr(shape, field.name) for field in fields(shape)})

    def biases(self, inputs: Sequence[Maps]) -> Array:
        return self.local_shape(0, inputs[0]).biases()

    def products(self, inputs: Sequence[Maps]) -> list[Product]:
        return [self._product(self.local_shape(i, maps)) for i, maps in enumerate(inputs)]

    def _product(self, shape: LocalShape) -> Product:
        return Product(
            shape.weights,
            fan_in=shape.group_channels * shape.size**2,
            units=shape.group_filters,
            fan_out=shape.group_filters * shape.size**2,
            forward=LocalForward(shape),
            added=LocalForward(shape, biases=False, accumulate=True),
            backward_weights=lambda accumulate: LocalBackwardWeights(shape, accumulate),
            backward_data=lambda accumulate: LocalBackwardData(shape, accumulate),
        )
