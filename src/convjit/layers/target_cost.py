"""cost.crossent, cost.bce, cost.dce, cost.sum2: costs of outputs against targets, and of outputs alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from convjit.layers.base import Layer, Pass
from convjit.layers.cost import Cost
from convjit.layers.options import number
from convjit.layers.softmax import Softmax
from convjit.ops.base import Array, Maps, PerImage
from convjit.ops.target_cost import (
    BinaryBackward,
    BinaryCounts,
    BinaryForward,
    CrossEntropyBackward,
    CrossEntropyForward,
    SquaresBackward,
    SquaresForward,
)

__all__ = ["Bce", "Crossent", "Dce", "Sum2"]


@dataclass(frozen=True, kw_only=True)
class TargetCost(Cost):
    """Base of costs whose inputs are targets and outputs of the same number; a target below 0 stands for none."""

    fewest_inputs: ClassVar = 2
    most_inputs: ClassVar = 2
    of_labels: ClassVar = False
    of_classes: ClassVar[bool] = True
    """Whether both inputs must be as wide as there are classes."""

    def views(self, inputs: Sequence[Maps]) -> tuple[Maps, ...]:
        return tuple(Maps(maps.features) for maps in inputs)

    def check(self, sources: Sequence[Layer], inputs: Sequence[Maps], classes: int) -> None:
        (targets, outputs), (first, second) = sources, (maps.features for maps in inputs)
        if first != second:
            found = f"'{targets.name}' gives {first} targets for the {second} outputs of '{outputs.name}'"
            raise self.error(f"{found}: they must be as many", "inputs")
        if self.of_classes and classes and second != classes:
            found = f"'{outputs.name}' has {second} outputs, but the data have {classes} classes"
            raise self.error(found, "inputs")


@dataclass(frozen=True, kw_only=True)
class Crossent(TargetCost):
    """Cross entropy of probabilities and targets, such as the 1 of N of a data layer with dataIdx=2, or softer ones."""

    kind: ClassVar[str] = "cost.crossent"
    formula: ClassVar[str] = "E = -sum over i of t[i] log p[i]; error: another class than the largest target is largest"
    columns: ClassVar = ("loss", "error")

    def check(self, sources: Sequence[Layer], inputs: Sequence[Maps], classes: int) -> None:
        super().check(sources, inputs, classes)
        if not isinstance(sources[1], Softmax):
            found = f"'{sources[1].name}' of type {sources[1].kind}"
            raise self.error(f"the second input must be a softmax layer, not {found}", "inputs")

    def forward(self, step: Pass) -> None:
        costs = step.own("costs", PerImage((2,)))
        op = CrossEntropyForward(step.views[1])
        step.launch("forward", op, p=step.inputs[1], t=step.inputs[0], costs=costs)
        self.total(step)

    def backward(self, step: Pass) -> None:
        if self.coeff == 0 or not (dx := step.input_gradient(1)):
            return
        op = CrossEntropyBackward(step.views[1], self.coeff, dx.accumulate)
        step.launch("backward", op, p=step.inputs[1], t=step.inputs[0], dx=dx.buffer)


@dataclass(frozen=True, kw_only=True)
class Bce(TargetCost):
    """Binary cross entropy of outputs between 0 and 1, as of a logistic neuron, and targets of 0 or 1."""

    kind: ClassVar[str] = "cost.bce"
    formula: ClassVar[str] = "E = -sum over i of posWeight t[i] log y[i] + (1 - t[i]) log(1 - y[i])"
    columns: ClassVar = ("loss", "element_error", "error")
    of_classes: ClassVar[bool] = False

    pos_weight: float = number("posWeight", default=1.0, least=0, file="params")

    def forward(self, step: Pass) -> None:
        costs = step.own("costs", PerImage((3,)))
        op = BinaryForward(step.views[1], self.pos_weight)
        step.launch("forward", op, p=step.inputs[1], t=step.inputs[0], costs=costs)
        self.total(step)

    def backward(self, step: Pass) -> None:
        if self.coeff == 0 or not (dx := step.input_gradient(1)):
            return
        op = BinaryBackward(step.views[1], self.coeff, self.pos_weight, dx.accumulate)
        step.launch("backward", op, p=step.inputs[1], t=step.inputs[0], dx=dx.buffer)


@dataclass(frozen=True, kw_only=True)
class Dce(Bce):
    """The same as cost.bce for detectors of classes, with what precision and recall of every class are made of.

    "<layer>.counts" holds, per class, how many images were declared to have it, rightly so, and have it.
    """

    kind: ClassVar[str] = "cost.dce"
    formula: ClassVar[str] = "as cost.bce; precision = right / declared, recall = right / there, at a threshold of 1/2"
    of_classes: ClassVar[bool] = True
    results: ClassVar = ("totals", "counts")

    def rates(self, sums: Sequence[float]) -> dict[str, tuple[float, ...]]:
        declared, right, there = np.reshape(sums[len(self.columns) :], (3, -1))
        with np.errstate(invalid="ignore"):
            return {"precision": tuple((right / declared).tolist()), "recall": tuple((right / there).tolist())}

    def forward(self, step: Pass) -> None:
        super().forward(step)
        classes = step.views[1].features
        counts = step.result("counts", Array((3, classes)))
        step.launch("counts", BinaryCounts(classes), p=step.inputs[1], t=step.inputs[0], counts=counts)


@dataclass(frozen=True, kw_only=True)
class Sum2(Cost):
    """The sum of the squares of its input; images without a label count as 0."""

    kind: ClassVar[str] = "cost.sum2"
    formula: ClassVar[str] = "E = sum over i of x[i]^2"
    columns: ClassVar = ("loss",)

    def forward(self, step: Pass) -> None:
        costs, labels = step.own("costs", PerImage((1,))), step.host("labels", PerImage((), "int32"))
        step.launch("forward", SquaresForward(step.views[0]), x=step.inputs[0], labels=labels, costs=costs)
        self.total(step)

    def backward(self, step: Pass) -> None:
        if self.coeff == 0 or not (dx := step.input_gradient(0)):
            return
        labels = step.host("labels", PerImage((), "int32"))
        op = SquaresBackward(step.views[0], self.coeff, dx.accumulate)
        step.launch("backward", op, x=step.inputs[0], labels=labels, dx=dx.buffer)
