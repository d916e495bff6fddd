"""Pooling: the largest number or the mean of every window.

    window (i, j) = rows [start + i*S, start + i*S + K) and columns [start + j*S, start + j*S + K), clipped to the image
    max:  y[n,c,i,j] = largest x in the window              dx[n,c,u,v] = sum of dy[n,c,i,j] over the windows that
                                                            contain (u,v) and whose y equals x[n,c,u,v]
    abs:  y[n,c,i,j] = x of largest magnitude in the        as for max
          window, of several the last, row by row
    avg:  y[n,c,i,j] = sum of x over the window / pixels    dx[n,c,u,v] = sum of dy[n,c,i,j] / pixels over the windows
                                                            that contain (u,v)

So pixels that tie for the largest all get the whole gradient. "pixels" counts the window's pixels inside the image
(with `sum` nothing is divided). A window that lies outside the image altogether gives 0.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from convjit.ops.base import Arrays, Maps, NdArray, Op, Operand
from convjit.ops.neuron import ThroughNeuron

__all__ = ["AvgPoolBackward", "AvgPoolForward", "MaxAbsPoolForward", "MaxPoolBackward", "MaxPoolForward", "PoolShape"]


def _outputs(side: int, size: int, stride: int, start: int) -> int:
    return 1 + -(-(side - start - size) // stride)


@dataclass(frozen=True)
class PoolShape:
    """The geometry of a pooling; `rows` x `columns` is the output, by the rule that rounds up if they are 0."""

    channels: int
    height: int
    width: int
    size: int
    stride: int
    start: int = 0
    rows: int = 0
    columns: int = 0

    def __post_init__(self) -> None:
        if not self.rows:
            object.__setattr__(self, "rows", _outputs(self.height, self.size, self.stride, self.start))
        if not self.columns:
            object.__setattr__(self, "columns", _outputs(self.width, self.size, self.stride, self.start))

    @classmethod
    def parse(cls, text: str) -> PoolShape:
        """From words such as "c96 h55 k3 s2 start-1"; w defaults to h, s to 1."""
        found = {name: int(value) for name, value in re.findall(r"\b(start|rows|columns|[chwks])(-?\d+)\b", text)}
        height = found["h"]
        return cls(
            found["c"], height, found.get("w", height), found["k"], found.get("s", 1),
            found.get("start", 0), found.get("rows", 0), found.get("columns", 0),
        )  # fmt: skip

    def __str__(self) -> str:
        text = f"c{self.channels} h{self.height} w{self.width} k{self.size} s{self.stride}"
        ruled = (
            PoolShape(self.channels, self.height, self.width, self.size, self.stride, self.start) if self.rows else self
        )
        extra = (("start", self.start, 0), ("rows", self.rows, ruled.rows), ("columns", self.columns, ruled.columns))
        return text + "".join(f" {word}{value}" for word, value, usual in extra if value != usual)

    @property
    def input(self) -> Maps:
        """Shape of x."""
        return Maps(self.channels, self.height, self.width)

    @property
    def output(self) -> Maps:
        """Shape of y."""
        return Maps(self.channels, self.rows, self.columns)

    def spans(self, outputs: int, side: int) -> list[tuple[int, int]]:
        """(first, end) of every window along one side of the image, clipped; first >= end where nothing is left."""
        starts = [self.start + i * self.stride for i in range(outputs)]
        return [(max(first, 0), min(first + self.size, side)) for first in starts]

    @property
    def row_spans(self) -> list[tuple[int, int]]:
        """(first, end) row of the windows of every output row."""
        return self.spans(self.rows, self.height)

    @property
    def column_spans(self) -> list[tuple[int, int]]:
        """(first, end) column of the windows of every output column."""
        return self.spans(self.columns, self.width)

    def windows(self) -> Iterator[tuple[int, int, slice, slice]]:
        """(i, j, rows, columns) of every window that is not empty."""
        for (i, (top, bottom)), (j, (left, right)) in itertools.product(
            enumerate(self.row_spans), enumerate(self.column_spans)
        ):
            if top < bottom and left < right:
                yield i, j, slice(top, bottom), slice(left, right)


@dataclass(frozen=True)
class MaxPoolForward(Op):
    """y, the largest of each window of x; if `rectified`, at least 0, as relu makes it."""

    reads: ClassVar = ("x",)
    writes: ClassVar = ("y",)

    shape: PoolShape
    rectified: bool = False

    def operands(self) -> dict[str, Operand]:
        return {"x": self.shape.input, "y": self.shape.output}

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        x = arrays["x"]
        y = np.zeros(self.shape.output.logical(len(x)), x.dtype)
        for i, j, rows, columns in self.shape.windows():
            y[:, :, i, j] = x[:, :, rows, columns].max((2, 3))
        return {"y": np.maximum(y, 0) if self.rectified else y}


@dataclass(frozen=True)
class MaxAbsPoolForward(Op):
    """y, of each window of x the number of largest magnitude, with its sign; its gradient is `MaxPoolBackward`."""

    reads: ClassVar = ("x",)
    writes: ClassVar = ("y",)

    shape: PoolShape

    def operands(self) -> dict[str, Operand]:
        return {"x": self.shape.input, "y": self.shape.output}

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        x = arrays["x"]
        y = np.zeros(self.shape.output.logical(len(x)), x.dtype)
        for i, j, rows, columns in self.shape.windows():
            # argmax finds the first, and here the last is wanted.
            window = x[:, :, rows, columns].reshape(*x.shape[:2], -1)[:, :, ::-1]
            place = np.abs(window).argmax(2, keepdims=True)
            y[:, :, i, j] = np.take_along_axis(window, place, 2)[:, :, 0]
        return {"y": y}


@dataclass(frozen=True)
class MaxPoolBackward(ThroughNeuron):
    """dx from dy and what the forward pass has read and written: every x that equals its window's y gets dy.

    If y is `rectified`, windows whose y is 0 hand on nothing: relu's slope.
    """

    reads: ClassVar = ("x", "y", "dy", "z")
    writes: ClassVar = ("dx",)
    compared: ClassVar = (("x", "y"),)

    shape: PoolShape
    accumulate: bool = False
    rectified: bool = False

    def operands(self) -> dict[str, Operand]:
        shapes = {"y": self.shape.output, "dy": self.shape.output}
        return {name: shapes.get(name, self.shape.input) for name in self.names}

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        x, y, dy = arrays["x"], arrays["y"], arrays["dy"]
        dy = dy * (y > 0) if self.rectified else dy
        dx = np.zeros_like(x)
        for i, j, rows, columns in self.shape.windows():
            largest = x[:, :, rows, columns] == y[:, :, i : i + 1, j : j + 1]
            dx[:, :, rows, columns] += np.where(largest, dy[:, :, i : i + 1, j : j + 1], 0)
        return self.through(dx, arrays)


@dataclass(frozen=True)
class AvgPoolForward(Op):
    """y, the mean of each window of x, or its sum."""

    reads: ClassVar = ("x",)
    writes: ClassVar = ("y",)

    shape: PoolShape
    sum: bool = False

    def operands(self) -> dict[str, Operand]:
        return {"x": self.shape.input, "y": self.shape.output}

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        x = arrays["x"]
        y = np.zeros(self.shape.output.logical(len(x)), x.dtype)
        for i, j, rows, columns in self.shape.windows():
            window = x[:, :, rows, columns]
            y[:, :, i, j] = window.sum((2, 3)) if self.sum else window.mean((2, 3))
        return {"y": y}


@dataclass(frozen=True)
class AvgPoolBackward(ThroughNeuron):
    """dx from dy."""

    reads: ClassVar = ("dy", "z")
    writes: ClassVar = ("dx",)

    shape: PoolShape
    sum: bool = False
    accumulate: bool = False

    def operands(self) -> dict[str, Operand]:
        return {name: self.shape.output if name == "dy" else self.shape.input for name in self.names}

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        dy = arrays["dy"]
        dx = np.zeros(self.shape.input.logical(len(dy)), dy.dtype)
        for i, j, rows, columns in self.shape.windows():
            window = dx[:, :, rows, columns]
            pixels = 1 if self.sum else window[0, 0].size
            window += dy[:, :, i : i + 1, j : j + 1] / pixels
        return self.through(dx, arrays)
