"""The update of learned arrays: gradient descent with momentum and decay.

    increments = momentum * increments - epsilon * (gradient / N + decay * weights)
    weights = weights + increments

`gradient` is the sum over the N images of dE/dw. The rate is part of the increments, as in cuda-convnet.

A periodic update waits for the gradients of P steps: each step adds its mean to a total, and when it is due

    increments = momentum * increments - epsilon * (total / P + decay * weights)
    weights = weights + increments
    total = 0
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from convjit.ops.base import Array, Arrays, NdArray, Op, Operand

__all__ = ["PERIODIC_RATES", "RATES", "PeriodicUpdate", "Update"]

RATES = Array((4,))
"""epsilon, momentum, decay and 1/N."""
PERIODIC_RATES = Array((5,))
"""The same, and whether the update is due, 1 or 0."""


@dataclass(frozen=True)
class Update(Op):
    """weights and increments after one step; `rates` holds epsilon, momentum, decay and 1/N."""

    reads: ClassVar = ("weights", "increments", "gradient", "rates")
    writes: ClassVar = ("weights", "increments")

    array: Array

    def operands(self) -> dict[str, Operand]:
        return {"weights": self.array, "increments": self.array, "gradient": self.array, "rates": RATES}

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        weights = arrays["weights"]
        epsilon, momentum, decay, inverse = arrays["rates"]
        increments = momentum * arrays["increments"] - epsilon * (inverse * arrays["gradient"] + decay * weights)
        return {"weights": weights + increments, "increments": increments}


@dataclass(frozen=True)
class PeriodicUpdate(Op):
    """The gradient is added to `total`; weights and increments change, and `total` becomes 0, when `rates` say so."""

    reads: ClassVar = ("weights", "increments", "total", "gradient", "rates")
    writes: ClassVar = ("weights", "increments", "total")

    array: Array
    period: int

    def operands(self) -> dict[str, Operand]:
        names = ("weights", "increments", "total", "gradient")
        return {**dict.fromkeys(names, self.array), "rates": PERIODIC_RATES}

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        weights, increments = arrays["weights"], arrays["increments"]
        epsilon, momentum, decay, inverse, due = arrays["rates"]
        total = arrays["total"] + inverse * arrays["gradient"]
        if not due:
            return {"weights": weights, "increments": increments, "total": total}
        increments = momentum * increments - epsilon * (total / self.period + decay * weights)
        return {"weights": weights + increments, "increments": increments, "total": np.zeros_like(total)}
