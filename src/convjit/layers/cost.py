"""Costs: what training makes small."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from convjit.layers.base import Layer, Pass
from convjit.layers.data import LABELS, Data
from convjit.layers.given import Given
from convjit.layers.options import integer, names, number
from convjit.layers.softmax import Softmax
from convjit.ops.base import Array, Maps, PerImage
from convjit.ops.cost import CostTotals, LogregBackward, LogregForward

__all__ = ["Cost", "Logreg"]


@dataclass(frozen=True, kw_only=True)
class Cost(Layer):
    """Base of costs. The gradient is multiplied by `coeff`, what is reported is not."""

    is_cost: ClassVar = True
    needs_parameters: ClassVar = True
    columns: ClassVar[tuple[str, ...]] = ()
    """What the totals hold, the cost itself first."""
    results: ClassVar[tuple[str, ...]] = ("totals",)
    """Arrays of results whose numbers add up over images and children, the totals first."""
    of_labels: ClassVar[bool] = True
    """Whether it goes by an image's label, so that images without one count nothing."""

    coeff: float = number("coeff", default=1.0, file="params", required=True)
    children: Given[tuple[str, ...], str | Sequence[str]] = names("children", default=())
    """Costs of the same type that are parts of this one: what is reported is the sum."""

    def shape(self, inputs: Sequence[Maps]) -> Maps:
        """One number per image and column; nothing follows a cost."""
        return Maps(len(self.columns))

    def rates(self, sums: Sequence[float]) -> dict[str, tuple[float, ...]]:
        """Shares for every class, by name, from the numbers of `results`; nan where nothing is divided by nothing."""
        return {}

    def total(self, step: Pass) -> None:
        """Sum the rows of the buffer "costs"."""
        count = len(self.columns)
        costs = step.own("costs", PerImage((count,)))
        step.launch("totals", CostTotals(count), costs=costs, totals=step.result("totals", Array((count,), "float64")))


@dataclass(frozen=True, kw_only=True)
class Logreg(Cost):
    """Logistic regression: the negative logarithm of the probability of the right class. Inputs: labels, softmax."""

    kind: ClassVar[str] = "cost.logreg"
    formula: ClassVar[str] = "E = -log p[label]; error: another class is more probable, or topk others are"
    fewest_inputs: ClassVar = 2
    most_inputs: ClassVar = 2
    columns: ClassVar = ("loss", "error", "topk_error")

    topk: int = integer("topk", default=1, least=1, file="params")

    def check(self, sources: Sequence[Layer], inputs: Sequence[Maps], classes: int) -> None:
        labels, probabilities = sources
        if not isinstance(labels, Data) or labels.data_idx != LABELS:
            raise self.error(f"the first input must be labels (type=data, dataIdx=1), not '{labels.name}'", "inputs")
        if not isinstance(probabilities, Softmax):
            found = f"'{probabilities.name}' of type {probabilities.kind}"
            raise self.error(f"the second input must be a softmax layer, not {found}", "inputs")
        outputs = inputs[1].features
        if classes and outputs != classes:
            found = f"'{probabilities.name}' has {outputs} outputs, but the data have {classes} classes"
            if len(probabilities.inputs) == 1:
                found += f"; change {probabilities.inputs[0]} (as by --set {probabilities.inputs[0]}.outputs={classes})"
            raise self.error(found, "inputs")

    def shape(self, inputs: Sequence[Maps]) -> Maps:
        if self.topk > inputs[1].features:
            raise self.error(f"topk={self.topk}: must be 1 to {inputs[1].features}, the number of classes", "topk")
        return super().shape(inputs)

    def measure(self, probabilities: NDArray[Any], labels: NDArray[np.int32]) -> NDArray[np.float64]:
        """What `columns` are for probabilities [N, classes] that did not come from this net's softmax."""
        op = LogregForward(probabilities.shape[1], self.topk)
        arrays: dict[str, NDArray[Any]] = {"p": probabilities.astype(np.float64)[:, :, None, None], "labels": labels}
        return op.reference(arrays)["costs"]

    def forward(self, step: Pass) -> None:
        costs = step.own("costs", PerImage((3,)))
        op = LogregForward(step.views[1].features, self.topk)
        step.launch("forward", op, p=step.inputs[1], labels=step.inputs[0], costs=costs)
        self.total(step)

    def backward(self, step: Pass) -> None:
        if self.coeff == 0 or not (dx := step.input_gradient(1)):
            return
        op = LogregBackward(step.views[1].features, self.coeff, dx.accumulate)
        step.launch("backward", op, p=step.inputs[1], labels=step.inputs[0], dx=dx.buffer)
