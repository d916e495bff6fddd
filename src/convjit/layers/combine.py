"""eltsum, eltmax, concat and pass: several inputs become one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from convjit.layers.base import Inner, Pass
from convjit.layers.given import Each
from convjit.layers.options import numbers
from convjit.ops.base import Maps
from convjit.ops.combine import Concat, Cut, Maximum, MaximumBackward, WeightedSum, input_names
from convjit.ops.copy import Copy
from convjit.ops.dropout import Scale
from convjit.program import Buffer

__all__ = ["ConcatLayer", "Eltmax", "Eltsum", "PassLayer"]


@dataclass(frozen=True, kw_only=True)
class Elementwise(Inner):
    """Base of layers whose inputs have equally many features; maps count as such, whatever else is flat."""

    most_inputs: ClassVar = None

    def views(self, inputs: Sequence[Maps]) -> tuple[Maps, ...]:
        images = [maps for maps in inputs if maps.height * maps.width > 1]
        view = (images or inputs)[0]
        for name, maps in zip(self.inputs, inputs, strict=True):
            if maps.features != view.features or (maps in images and maps != view):
                found = f"input '{name}' gives {maps}, but '{self.inputs[inputs.index(view)]}' {view}"
                raise self.error(f"{found}: all inputs must be of one size", "inputs")
        return (view,) * len(inputs)

    def shape(self, inputs: Sequence[Maps]) -> Maps:
        return inputs[0]


def _named(step: Pass) -> dict[str, Buffer]:
    return dict(zip(input_names(len(step.inputs)), step.inputs, strict=True))


@dataclass(frozen=True, kw_only=True)
class Eltsum(Elementwise):
    """The sum of the inputs, each times its coefficient."""

    kind: ClassVar[str] = "eltsum"
    formula: ClassVar[str] = "y[i] = sum over inputs j of coeffs[j] xj[i]"

    coeffs: Each[float] = numbers("coeffs", default=1.0, file="either")

    def forward(self, step: Pass) -> None:
        step.launch("forward", WeightedSum(step.shape, self.coeffs), **_named(step), y=step.output)

    def backward(self, step: Pass) -> None:
        dy = step.gradient()
        for i, factor in enumerate(self.coeffs):
            if dx := step.input_gradient(i):
                op = Copy(step.shape, dx.accumulate) if factor == 1 else Scale(step.shape, factor, dx.accumulate)
                step.launch(f"backward{i}", op, x=dy, y=dx.buffer)


@dataclass(frozen=True, kw_only=True)
class Eltmax(Elementwise):
    """The largest of the inputs; every input that is the largest gets the gradient."""

    kind: ClassVar[str] = "eltmax"
    formula: ClassVar[str] = "y[i] = largest xj[i] of the inputs j"
    fewest_inputs: ClassVar = 2

    def forward(self, step: Pass) -> None:
        step.launch("forward", Maximum(step.shape, len(step.inputs)), **_named(step), y=step.output)

    def backward(self, step: Pass) -> None:
        dy = step.gradient()
        for i, x in enumerate(step.inputs):
            if dx := step.input_gradient(i):
                op = MaximumBackward(step.shape, dx.accumulate)
                step.launch(f"backward{i}", op, x=x, y=step.output, dy=dy, dx=dx.buffer)


@dataclass(frozen=True, kw_only=True)
class ConcatLayer(Inner):
    """The features of the inputs one behind the other; channels, where all images are of one size."""

    kind: ClassVar[str] = "concat"
    formula: ClassVar[str] = "y = x0, then x1, ..."
    most_inputs: ClassVar = None

    def views(self, inputs: Sequence[Maps]) -> tuple[Maps, ...]:
        sides = {(maps.height, maps.width) for maps in inputs}
        return tuple(inputs) if len(sides) == 1 else tuple(Maps(maps.features) for maps in inputs)

    def shape(self, inputs: Sequence[Maps]) -> Maps:
        return Concat(tuple(inputs)).maps

    def forward(self, step: Pass) -> None:
        if len(step.inputs) == 1:
            step.reuse(0)
            return
        step.launch("forward", Concat(tuple(step.views)), **_named(step), y=step.output)

    def backward(self, step: Pass) -> None:
        dy, channel = step.gradient(), 0
        for i, maps in enumerate(step.views):
            if dx := step.input_gradient(i):
                op = Cut(step.shape, maps, channel, accumulate=dx.accumulate)
                step.launch(f"backward{i}", op, x=dy, y=dx.buffer)
            channel += maps.channels


@dataclass(frozen=True, kw_only=True)
class PassLayer(ConcatLayer):
    """The same as concat; the original gathers the parts of a layer that lie on several devices with it."""

    kind: ClassVar[str] = "pass"
