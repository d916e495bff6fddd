"""Costs: what is minimised, and its gradient.

Logistic regression, from probabilities p (N, C) and class numbers `labels` (N,):

    costs[n] = -log p[n,label],  top-1 error,  top-k error                   all 0 where the label is below 0 (none)
    top-k error = 1 - min(1, max(0, k - greater) / equal)                    greater, equal: classes c with p[n,c] above
                                                                             and equal to p[n,label], the label included
    dE/dp[n,c] = -coefficient / p[n,c] at the label, else 0
    dE/dx[n,c] = coefficient * (p[n,c] - 1 at the label)                     through p = softmax(x)

So a class that shares the largest p with k - 1 others counts as 1/k right. p is taken as at least the smallest normal
float32 where its logarithm or inverse is formed. Totals are sums over the images, not divided and not weighted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from convjit.ops.base import Array, Arrays, Maps, NdArray, Op, Operand, PerImage

__all__ = ["CostTotals", "LogregBackward", "LogregForward", "SoftmaxLogregBackward"]

SMALLEST = float(np.finfo(np.float32).tiny)


def _labelled(labels: NdArray) -> tuple[NdArray, NdArray]:
    """Images that have a label, and those labels."""
    images = np.flatnonzero(labels >= 0)
    return images, labels[images]


@dataclass(frozen=True)
class LogregForward(Op):
    """costs (N, 3) from probabilities and labels; k of the third column is `topk`."""

    reads: ClassVar = ("p", "labels")
    writes: ClassVar = ("costs",)
    exact: ClassVar = ("p",)

    classes: int
    topk: int = 1

    def operands(self) -> dict[str, Operand]:
        return {"p": Maps(self.classes), "labels": PerImage((), "int32"), "costs": PerImage((3,))}

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        p = arrays["p"][:, :, 0, 0]
        images, labels = _labelled(arrays["labels"])
        right = p[images, labels]
        greater = (p[images] > right[:, None]).sum(1)
        equal = (p[images] == right[:, None]).sum(1)
        costs = np.zeros((len(p), 3))
        costs[images, 0] = -np.log(np.maximum(right, SMALLEST))
        for column, k in ((1, 1), (2, self.topk)):
            costs[images, column] = 1 - np.minimum(1, np.maximum(0, k - greater) / equal)
        return {"costs": costs}


@dataclass(frozen=True)
class LabelGradient(Op):
    """Base of gradients dx from probabilities and labels."""

    reads: ClassVar = ("p", "labels")
    writes: ClassVar = ("dx",)
    exact: ClassVar = ("p", "dx")

    classes: int
    coefficient: float
    accumulate: bool = False

    def operands(self) -> dict[str, Operand]:
        return {"p": Maps(self.classes), "labels": PerImage((), "int32"), "dx": Maps(self.classes)}


@dataclass(frozen=True)
class LogregBackward(LabelGradient):
    """dx = dE/dp, where softmax and cost are not fused."""

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        p = arrays["p"]
        images, labels = _labelled(arrays["labels"])
        dx = np.zeros_like(p)
        dx[images, labels, 0, 0] = -self.coefficient / np.maximum(p[images, labels, 0, 0], SMALLEST)
        return {"dx": dx}


@dataclass(frozen=True)
class SoftmaxLogregBackward(LabelGradient):
    """dx, the gradient with respect to the input of the softmax that gave p."""

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        p = arrays["p"]
        images, labels = _labelled(arrays["labels"])
        dx = np.zeros_like(p)
        dx[images] = p[images]
        dx[images, labels] -= 1
        return {"dx": self.coefficient * dx}


@dataclass(frozen=True)
class CostTotals(Op):
    """totals[i] = sum over n of costs[n,i], in the order of n, in float64."""

    reads: ClassVar = ("costs",)
    writes: ClassVar = ("totals",)

    columns: int

    def operands(self) -> dict[str, Operand]:
        return {"costs": PerImage((self.columns,)), "totals": Array((self.columns,), "float64")}

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        totals = np.zeros(self.columns)
        for row in arrays["costs"]:
            totals += row
        return {"totals": totals}
