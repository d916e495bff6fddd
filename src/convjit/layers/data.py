"""data: where images and labels come in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from convjit.layers.base import Layer, Pass
from convjit.layers.options import integer
from convjit.ops.base import Maps, Op, PerImage
from convjit.ops.combine import Cut
from convjit.ops.input import Input
from convjit.ops.numbers import Numbers
from convjit.ops.reshape import Reshape
from convjit.ops.targets import Targets
from convjit.program import Buffer

__all__ = ["IMAGES", "LABELS", "TARGETS", "Data"]

IMAGES, LABELS, TARGETS = 0, 1, 2
"""What `dataIdx` counts."""


@dataclass(frozen=True, kw_only=True)
class Data(Layer):
    """Images without their mean, cropped and mirrored (dataIdx 0), labels (1), or a target for every class (2).

    `start` and `end` take a part of the features, channel by channel; end=0 stands for all.
    """

    kind: ClassVar[str] = "data"
    formula: ClassVar[str] = (
        "y = crop of the image - mean (dataIdx=0), the number of its class (1), or targets of all classes (2)"
    )
    fewest_inputs: ClassVar = 0
    most_inputs: ClassVar = 0

    data_idx: int = integer("dataIdx", default=IMAGES, least=0, most=2, required=True)
    start: int = integer("start", default=0, least=0)
    end: int = integer("end", default=0, least=0)

    def shape(self, inputs: Sequence[Maps]) -> Maps:
        """`inputs` are what the data has: images as the net sees them, labels, and targets of the classes."""
        whole = inputs[self.data_idx]
        if not whole.features:
            raise self.error("dataIdx=2 are targets of the classes, whose number is not known", "dataIdx")
        first, end = self.start, self.end or whole.features
        if not 0 <= first < end <= whole.features:
            found = f"start={first}, end={end}: must be a part of the {whole.features} features"
            raise self.error(found, "end" if self.end else "start")
        plane = whole.height * whole.width
        if first % plane or end % plane:
            return Maps(end - first)
        return Maps((end - first) // plane, whole.height, whole.width)

    def forward(self, step: Pass) -> None:
        if self.data_idx == LABELS:
            return
        whole, cut = self._whole(step), step.output
        if whole.features != step.shape.features:
            cut = step.own("whole", whole)
        if self.data_idx == TARGETS:
            rows = step.host("targets", PerImage((whole.features,)))
            step.launch("input", Targets(whole), rows=rows, x=cut)
        else:
            self._images(step, whole, cut)
        if whole.features == step.shape.features:
            return
        plane = whole.height * whole.width
        if step.shape.height * step.shape.width != plane:
            flat = step.own("flat", Maps(whole.features))
            step.launch("flatten", Reshape(whole, Maps(whole.features)), x=cut, y=flat)
            cut, whole, plane = flat, Maps(whole.features), 1
        step.launch("cut", Cut(whole, step.shape, self.start // plane), x=cut, y=step.output)

    def _whole(self, step: Pass) -> Maps:
        return Maps(step.classes) if self.data_idx == TARGETS else step.seen

    def _images(self, step: Pass, maps: Maps, x: Buffer) -> None:
        source, changes = step.source, step.changes
        # 0 stands for no noise; its factor would be 1.
        factor = 1 / (1 + changes.colour_noise) if changes.colour_noise else 0.0
        op: Op = Input(source, maps, factor, changes.warp, changes.recolour, changes.cutout)
        if step.numbers:
            op = Numbers(maps)
        host = {name: step.host(name, operand) for name, operand in op.operands().items() if name != "x"}
        step.launch("input", op, **host, x=x)

    def backward(self, step: Pass) -> None:
        """Nothing is before the data."""
