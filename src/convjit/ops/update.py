"""The update of learned arrays: gradient descent with momentum and decay.

    increments = momentum * increments - epsilon * (gradient / N + decay * weights)
    weights = weights + increments

`gradient` is the sum over the N images of dE/dw. The rate is part of the increments, as in cuda-convnet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from convjit.ops.base import Array, Arrays, NdArray, Op, Operand

__all__ = ["Update"]


@dataclass(frozen=True)
class Update(Op):
    """weights and increments after one step; `rates` holds epsilon, momentum, decay and 1/N."""

    reads: ClassVar = ("weights", "increments", "gradient", "rates")
    writes: ClassVar = ("weights", "increments")

    array: Array

    def operands(self) -> dict[str, Operand]:
        return {"weights": self.array, "increments": self.array, "gradient": self.array, "rates": Array((4,))}

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        weights = arrays["weights"]
        epsilon, momentum, decay, inverse = arrays["rates"]
        increments = momentum * arrays["increments"] - epsilon * (inverse * arrays["gradient"] + decay * weights)
        return {"weights": weights + increments, "increments": increments}
