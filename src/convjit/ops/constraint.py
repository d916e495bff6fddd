"""Constraints on learned filters, after an update. A filter is a run of I weights that make one output.

    sphere      w = w * b / |w|                                 the length is b afterwards, whatever it was
    ball        w = w * b / |w|              where |w| > b
    deviation   w = w * low / s where s < low, w * high / s where s > high,       s = sqrt(sum (w - mean)**2) / I

The deviation is that of cuda-convnet2, which divides by I where one expects its root. Filters of zeros stay.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from convjit.ops.base import Array, Arrays, NdArray, Op, Operand
from convjit.ops.update import PERIODIC_RATES

__all__ = ["Constrain", "Rule"]


@dataclass(frozen=True)
class Rule:
    """One constraint; of sphere and ball `high` is the bound."""

    kind: Literal["sphere", "ball", "deviation"]
    high: float
    low: float = 0.0

    def __str__(self) -> str:
        return f"{self.kind} {self.low:g}..{self.high:g}" if self.low else f"{self.kind} {self.high:g}"


@dataclass(frozen=True)
class Constrain(Op):
    """Weights held to a rule, filter by filter; if `periodic`, only in steps whose `rates` say that one is due."""

    reads: ClassVar = ("weights", "rates")
    writes: ClassVar = ("weights",)

    array: Array
    filter_size: int
    rule: Rule
    periodic: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        return ("weights", "rates") if self.periodic else ("weights",)

    def operands(self) -> dict[str, Operand]:
        found: dict[str, Operand] = {"weights": self.array}
        return found | {"rates": PERIODIC_RATES} if self.periodic else found

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        weights = arrays["weights"]
        if self.periodic and not arrays["rates"][-1]:
            return {"weights": weights}
        filters = weights.reshape(-1, self.filter_size)
        rule = self.rule
        if rule.kind == "deviation":
            size = np.sqrt(((filters - filters.mean(1, keepdims=True)) ** 2).sum(1, keepdims=True)) / self.filter_size
            wanted = np.clip(size, rule.low, rule.high)
        else:
            size = np.sqrt((filters**2).sum(1, keepdims=True))
            wanted = np.full_like(size, rule.high) if rule.kind == "sphere" else np.minimum(size, rule.high)
        factor = np.divide(wanted, size, out=np.ones_like(size), where=size > 0)
        return {"weights": (filters * factor).reshape(weights.shape)}

    @property
    def filters(self) -> int:
        """How many there are."""
        return math.prod(self.array.shape) // self.filter_size
