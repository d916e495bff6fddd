"""Costs of outputs against targets, and of outputs alone.

Targets t (N, C, H, W) lie in [0, 1]; a target below 0 stands for none: it adds nothing to the cost and has no gradient.
log is the natural logarithm of at least e**-50, so that log 0 counts as -50; the gradient divides by at least that.

    cross entropy    E[n] = -sum over i of t[n,i] log p[n,i]
                     dE/dp[n,i] = -t[n,i] / p[n,i]; through p = softmax(x)  dE/dx[n,i] = p[n,i] sum of t[n] - t[n,i]
    binary           E[n] = -sum over i of weight t[n,i] log y[n,i] + (1 - t[n,i]) log(1 - y[n,i])
                     dE/dy[n,i] = -weight t[n,i] / y[n,i] + (1 - t[n,i]) / (1 - y[n,i])
                     through y = logistic(x)  dE/dx[n,i] = (1 - t[n,i]) y[n,i] - weight t[n,i] (1 - y[n,i])
    squares          E[n] = sum over i of x[n,i]**2, 0 for images without a label; dE/dx = 2 x

    element error    the share of an image's outputs on the other side of 1/2 than their targets
    arg-max error    1 - (largest outputs that are largest targets) / (largest outputs): a tie of k counts as 1/k right
    counts           per class, over the images: outputs of at least 1/2 ("declared"); those of them whose target is at
                     least 1/2 ("true positives"); targets of at least 1/2
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from convjit.ops.base import Array, Arrays, Maps, NdArray, Op, Operand, PerImage
from convjit.ops.softmax import FEATURES

__all__ = [
    "LEAST",
    "BinaryBackward",
    "BinaryCounts",
    "BinaryForward",
    "CrossEntropyBackward",
    "CrossEntropyForward",
    "LogisticBinaryBackward",
    "SoftmaxCrossEntropyBackward",
    "SquaresBackward",
    "SquaresForward",
]

LEAST = math.exp(-50)
"""Of what logarithms are taken, and by what is divided."""


def _log(p: NdArray) -> NdArray:
    return np.log(np.maximum(p, LEAST))


def _argmax_error(y: NdArray, t: NdArray) -> NdArray:
    """Per image; 0 where no target is given."""
    largest = y == y.max(FEATURES, keepdims=True)
    right = largest & (t == t.max(FEATURES, keepdims=True))
    return np.where(t.max(FEATURES) < 0, 0, 1 - right.sum(FEATURES) / largest.sum(FEATURES))


@dataclass(frozen=True)
class CrossEntropyForward(Op):
    """costs (N, 2): the cost and the arg-max error."""

    reads: ClassVar = ("p", "t")
    writes: ClassVar = ("costs",)
    exact: ClassVar = ("p", "t")

    maps: Maps

    def operands(self) -> dict[str, Operand]:
        return {"p": self.maps, "t": self.maps, "costs": PerImage((2,))}

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        p, t = arrays["p"], arrays["t"]
        loss = -np.where(t < 0, 0, t * _log(p)).sum(FEATURES)
        return {"costs": np.stack([loss, _argmax_error(p, t)], axis=1)}


@dataclass(frozen=True)
class TargetGradient(Op):
    """Base of gradients dx from outputs and targets."""

    reads: ClassVar = ("p", "t")
    writes: ClassVar = ("dx",)
    exact: ClassVar = ("p", "t", "dx")

    maps: Maps
    coefficient: float
    accumulate: bool = False

    def operands(self) -> dict[str, Operand]:
        return {"p": self.maps, "t": self.maps, "dx": self.maps}


@dataclass(frozen=True)
class CrossEntropyBackward(TargetGradient):
    """dx = coefficient dE/dp, where softmax and cost are not fused."""

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        p, t = arrays["p"], np.maximum(arrays["t"], 0)
        return {"dx": -self.coefficient * t / np.maximum(p, LEAST)}


@dataclass(frozen=True)
class SoftmaxCrossEntropyBackward(TargetGradient):
    """dx, the gradient with respect to the input of the softmax that gave p."""

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        p, t = arrays["p"], np.maximum(arrays["t"], 0)
        return {"dx": self.coefficient * (p * t.sum(FEATURES, keepdims=True) - t)}


@dataclass(frozen=True)
class BinaryForward(Op):
    """costs (N, 3): the cost, the element error, the arg-max error."""

    reads: ClassVar = ("p", "t")
    writes: ClassVar = ("costs",)
    exact: ClassVar = ("p", "t")

    maps: Maps
    weight: float = 1.0

    def operands(self) -> dict[str, Operand]:
        return {"p": self.maps, "t": self.maps, "costs": PerImage((3,))}

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        y, t = arrays["p"], arrays["t"]
        terms = self.weight * t * _log(y) + (1 - t) * _log(1 - y)
        wrong = ((y >= 0.5) != (t >= 0.5)) & (t >= 0)
        columns = [-np.where(t < 0, 0, terms).sum(FEATURES), wrong.mean(FEATURES), _argmax_error(y, t)]
        return {"costs": np.stack(columns, axis=1)}


@dataclass(frozen=True)
class BinaryBackward(Op):
    """dx = coefficient dE/dy, where neuron and cost are not fused."""

    reads: ClassVar = ("p", "t")
    writes: ClassVar = ("dx",)
    exact: ClassVar = ("p", "t", "dx")

    maps: Maps
    coefficient: float
    weight: float = 1.0
    accumulate: bool = False

    def operands(self) -> dict[str, Operand]:
        return {"p": self.maps, "t": self.maps, "dx": self.maps}

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        y, t = arrays["p"], arrays["t"]
        slope = (1 - t) / np.maximum(1 - y, LEAST) - self.weight * t / np.maximum(y, LEAST)
        return {"dx": self.coefficient * np.where(t < 0, 0, slope)}


@dataclass(frozen=True)
class LogisticBinaryBackward(BinaryBackward):
    """dx, the gradient with respect to the input of the logistic neuron that gave the output."""

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        y, t = arrays["p"], arrays["t"]
        slope = (1 - t) * y - self.weight * t * (1 - y)
        return {"dx": self.coefficient * np.where(t < 0, 0, slope)}


@dataclass(frozen=True)
class BinaryCounts(Op):
    """counts (3, C): of every class how often it was declared, rightly declared, and there."""

    reads: ClassVar = ("p", "t")
    writes: ClassVar = ("counts",)
    exact: ClassVar = ("p", "t")

    classes: int

    def operands(self) -> dict[str, Operand]:
        return {"p": Maps(self.classes), "t": Maps(self.classes), "counts": Array((3, self.classes))}

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        y, t = arrays["p"][:, :, 0, 0], arrays["t"][:, :, 0, 0]
        declared, there = (y >= 0.5) & (t >= 0), t >= 0.5
        return {"counts": np.stack([one.sum(0) for one in (declared, declared & there, there)]).astype(np.float64)}


@dataclass(frozen=True)
class SquaresForward(Op):
    """costs (N, 1): the sum of squares."""

    reads: ClassVar = ("x", "labels")
    writes: ClassVar = ("costs",)
    exact: ClassVar = ("x",)

    maps: Maps

    def operands(self) -> dict[str, Operand]:
        return {"x": self.maps, "labels": PerImage((), "int32"), "costs": PerImage((1,))}

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        squares = (arrays["x"] ** 2).sum(FEATURES)
        return {"costs": np.where(arrays["labels"] < 0, 0, squares)[:, None]}


@dataclass(frozen=True)
class SquaresBackward(Op):
    """dx = coefficient dE/dx."""

    reads: ClassVar = ("x", "labels")
    writes: ClassVar = ("dx",)
    exact: ClassVar = ("x", "dx")

    maps: Maps
    coefficient: float
    accumulate: bool = False

    def operands(self) -> dict[str, Operand]:
        return {"x": self.maps, "labels": PerImage((), "int32"), "dx": self.maps}

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        labelled = (arrays["labels"] >= 0).reshape(-1, 1, 1, 1)
        return {"dx": np.where(labelled, 2 * self.coefficient * arrays["x"], 0)}
