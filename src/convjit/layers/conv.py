"""conv: convolution, with groups, padding, stride, several inputs, and biases shared or one per location."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from convjit.layers.given import Each
from convjit.layers.options import flag, numbers
from convjit.layers.sparse import SparseLayer
from convjit.layers.weights import Product
from convjit.ops.base import Array, Maps
from convjit.ops.constraint import Rule
from convjit.ops.conv import ConvBackwardData, ConvBackwardWeights, ConvForward, ConvShape

__all__ = ["Conv"]


@dataclass(frozen=True, kw_only=True)
class Conv(SparseLayer):
    """Convolution (cross-correlation) over each input, summed, plus biases. `filters` counts one group's."""

    kind: ClassVar[str] = "conv"
    formula: ClassVar[str] = "y[f,i,j] = b[f] + sum over inputs, c, u, v of x[c, iS-P+u, jS-P+v] w[f,c,u,v]"

    shared_biases: bool = flag("sharedBiases", default=True)
    wc_norm_min: Each[float] = numbers("wcNormMin", default=0.0, least=0, file="params")
    wc_norm_max: Each[float] = numbers("wcNormMax", default=0.0, least=0, file="params")

    def __post_init__(self) -> None:
        super().__post_init__()
        for low, high in zip(self.wc_norm_min, self.wc_norm_max, strict=True):
            if low > high:
                raise self.error(f"wcNormMin={low:g} is above wcNormMax={high:g}", "wcNormMin")

    def biases(self, inputs: Sequence[Maps]) -> Array:
        return self.conv_shape(0, inputs[0]).biases(self.shared_biases)

    def rules(self, index: int) -> tuple[Rule, ...]:
        low, high = self.wc_norm_min[index], self.wc_norm_max[index]
        return (*super().rules(index), *((Rule("deviation", high, low),) if high else ()))

    def products(self, inputs: Sequence[Maps]) -> list[Product]:
        return [self._product(self.conv_shape(i, maps)) for i, maps in enumerate(inputs)]

    def _product(self, shape: ConvShape) -> Product:
        return Product(
            shape.weights,
            fan_in=shape.group_channels * shape.size**2,
            units=shape.group_filters,
            fan_out=shape.group_filters * shape.size**2,
            forward=ConvForward(shape, "shared" if self.shared_biases else "unshared"),
            added=ConvForward(shape, "none", accumulate=True),
            backward_weights=lambda accumulate: ConvBackwardWeights(shape, accumulate),
            backward_data=lambda accumulate: ConvBackwardData(shape, accumulate),
        )
