"""data: where images and labels come in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from convjit.layers.base import Layer, Pass
from convjit.layers.options import integer
from convjit.ops.base import Array, Maps, PerImage
from convjit.ops.input import Input

__all__ = ["IMAGES", "LABELS", "Data"]

IMAGES, LABELS = 0, 1
"""What `dataIdx` counts."""


@dataclass(frozen=True, kw_only=True)
class Data(Layer):
    """Images without their mean, cropped and mirrored (dataIdx 0), or labels (dataIdx 1)."""

    kind: ClassVar[str] = "data"
    formula: ClassVar[str] = "y = crop of the image - mean (dataIdx=0), or the number of its class (dataIdx=1)"
    fewest_inputs: ClassVar = 0
    most_inputs: ClassVar = 0

    data_idx: int = integer("dataIdx", default=IMAGES, least=0, most=1, required=True)

    def shape(self, inputs: Sequence[Maps]) -> Maps:
        """`inputs` are what the data has: images as the net sees them, and labels."""
        return inputs[self.data_idx]

    def forward(self, step: Pass) -> None:
        if self.data_idx == LABELS:
            return
        source, maps = step.source, step.shape
        step.launch(
            "input",
            Input(source, maps),
            pixels=step.host("pixels", PerImage((source.channels, source.height, source.width), "uint8")),
            crops=step.host("crops", PerImage((3,), "int32")),
            mean=step.host("mean", Array((maps.channels, maps.height, maps.width))),
            x=step.output,
        )

    def backward(self, step: Pass) -> None:
        """Nothing is before the data."""
